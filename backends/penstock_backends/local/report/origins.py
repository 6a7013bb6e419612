"""Which earlier runs did what a run took from the cache: there is what was printed then."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

from penstock.history import History, PastAttempt, PastNode, PastRun
from penstock_backends.local.explaining import READ_BACK

Origin = tuple[PastRun, PastAttempt]


def origins_of(history: History, run: PastRun, nodes: Iterable[PastNode]) -> Mapping[str, Origin]:
    """The run and the attempt that gave each cached result, by the result; runs long before this one are not read."""
    wanted = {node.result for node in nodes if node.state == "cached" and node.result}
    found: dict[str, Origin] = {}
    older = itertools.dropwhile(lambda other: other.id >= run.id, history.runs(run.pipeline)) if wanted else iter(())
    for other in itertools.islice(older, READ_BACK):
        for node in history.nodes(other).values():
            if node.state == "succeeded" and node.attempts and node.result in wanted:
                found.setdefault(node.result, (other, node.attempts[-1]))
        if len(found) == len(wanted):
            break
    return found
