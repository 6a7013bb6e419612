"""What a run that goes on with an earlier one has from it.

Results are found by their keys, as in any run: so one that was stored counts, though its runner was killed before it
had written that down. What is added is the key of what is not to be cached, which is that of one run alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from penstock.diagnostics import ConfigurationError, Diagnostic
from penstock.history import PastRun
from penstock_backends.local.history import INTERRUPTED, RUNNING, StoredHistory, is_under_way, nodes_of


@dataclass(frozen=True)
class Resumption:
    """The runs that a run goes on with: their ids, the newest first, none for one that begins anew.

    ``completed`` holds the nodes that succeeded in them, each with the key of its result; ``under_way`` those that had
    begun when a run was interrupted. ``folder`` is that of the oldest run, which keeps what all of them share.
    """

    runs: tuple[str, ...] = ()
    completed: frozenset[tuple[str, str]] = frozenset()
    under_way: frozenset[str] = frozenset()
    folder: Path | None = None

    def has_done(self, node: str, key: str) -> bool:
        """Whether the result of this key comes from these runs, and not from any other that did the same."""
        return (node, key) in self.completed or node in self.under_way


ANEW = Resumption()


def resumption_of(history: StoredHistory, run_id: str, pipeline: str) -> Resumption:
    """What a run of ``pipeline`` has from the run of an id, and from those that this one went on with.

    Raises:
        ConfigurationError: there is no such run; it is one of another pipeline; it, or one that goes on with it, is
            under way.
    """
    run = history.find(run_id)
    if run.pipeline != pipeline:
        message = f"run {run.id} is one of the pipeline `{run.pipeline}`, not of `{pipeline}`"
        raise ConfigurationError(Diagnostic("P733", message, fix=f"`penstock runs list --pipeline {pipeline}`"))
    live = next(_under_way(history, run), None)
    if live is not None:
        raise ConfigurationError(
            is_under_way(f"run {run.id}" if live == run.id else f"run {live}, which resumes {run.id},")
        )
    chain = [run, *earlier_of(history, run)]
    completed: set[tuple[str, str]] = set()
    under_way: set[str] = set()
    for each in chain:
        for node in nodes_of(each).values():
            if node.state == "succeeded":
                completed.add((node.id, node.result))
            elif node.state in (INTERRUPTED, RUNNING):
                under_way.add(node.id)
    ids = tuple(each.id for each in chain)
    return Resumption(ids, frozenset(completed), frozenset(under_way), chain[-1].folder)


def earlier_of(history: StoredHistory, run: PastRun) -> Iterator[PastRun]:
    """The runs that a run went on with, the newest first, as far as they are kept."""
    while run.resumes and history.has(run.resumes):
        run = history.find(run.resumes)
        yield run


def _under_way(history: StoredHistory, run: PastRun) -> Iterator[str]:
    """Those of a run and the ones that resume it whose process lives."""
    newer = itertools.takewhile(lambda other: other.id >= run.id, history.runs(run.pipeline))
    yield from (other.id for other in newer if run.id in (other.id, other.resumes) and other.state == RUNNING)
