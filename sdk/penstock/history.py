"""What the runs on this machine have left, as whoever asks sees it; the local engine keeps it (see `History`)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from penstock.lineage import Lineage


@dataclass(frozen=True)
class Usage:
    """What an attempt took, its child processes included.

    ``cpu_seconds`` is user and system time; ``peak_memory`` the largest resident set of one process, in bytes. Either
    is None where it could not be told.
    """

    cpu_seconds: float | None = None
    peak_memory: int | None = None


@dataclass(frozen=True)
class PastAttempt:
    """One attempt of a node: its ``number`` from 1, when it began, and how long it took (None while it is under way).

    ``state`` is ``succeeded``, ``failed``, ``cancelled``, ``running``, or ``interrupted``; ``log`` what it printed,
    where that was kept.
    """

    number: int
    state: str
    began: dt.datetime
    seconds: float | None = None
    usage: Usage = Usage()
    error: str = ""
    log: Path | None = None


@dataclass(frozen=True)
class PastNode:
    """What became of a node: as `penstock.NodeRun`, read from the run's record.

    ``state`` is a `penstock.State`'s value, or that of the run (``running``, ``interrupted``) where it has not ended.
    ``result`` is the key under which the store keeps what it gave (empty where it gave nothing).
    """

    id: str
    state: str
    kind: str = "task"
    text: str = ""
    attempts: tuple[PastAttempt, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    gates: tuple[Mapping[str, Any], ...] = ()
    error: str = ""
    traceback: str = ""
    result: str = ""
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """The wall time of all its attempts that have ended."""
        return sum(each.seconds or 0.0 for each in self.attempts)


@dataclass(frozen=True)
class PastRun:
    """One run, read from its folder. What is cheap is there; what takes reading is read when it is asked for.

    ``state`` is a `penstock.State`'s value, ``running`` while its process lives, or ``interrupted`` where that is gone
    without an end. ``target`` is what was run, as ``FILE:NAME`` relative to ``directory``, where that is known;
    ``resumes`` the id of the run that this one went on with. ``python`` is the interpreter's version
    (``cpython-3.12``), ``digest`` the SHA-256 of its spec, ``counts`` how many nodes came to each state.
    """

    id: str
    pipeline: str
    state: str
    began: dt.datetime
    seconds: float
    folder: Path
    target: str = ""
    directory: str = ""
    resumes: str = ""
    python: str = ""
    digest: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)


class History(Protocol):
    """The runs that a store holds."""

    @property
    def place(self) -> str:
        """Which store it is, as ``store=`` takes it."""

    def runs(self, pipeline: str = "") -> Iterator[PastRun]:
        """All of them, or those of one pipeline, the newest first."""

    def find(self, text: str) -> PastRun:
        """The run of an id, of the beginning of one, or the ``latest``.

        Raises `penstock.ConfigurationError` where there is none, or several.
        """

    def nodes(self, run: PastRun) -> Mapping[str, PastNode]:
        """A run's nodes by their ids, in the author's order; those in a loop by its items."""

    def spec(self, run: PastRun) -> Any:
        """The `penstock.PipelineSpec` that it ran."""

    def parameters(self, run: PastRun) -> Mapping[str, Any]:
        """The parameters that it was given, as JSON (encoded)."""

    def explain(self, run: PastRun) -> Mapping[str, str]:
        """Why each node of the pipeline ran, or that an earlier result stood in, by the node's id.

        Nodes that did not run for want of their inputs, and what runs at the end of a run, are left out.
        """

    def lineage(self, what: str) -> Lineage:
        """Where something came from and what used it, across all runs.

        ``what`` is a run as for `find`, ``RUN:NODE``, the digest of an object or its beginning, or a file with the
        content of one. Raises `penstock.ConfigurationError` where nothing made it.
        """

    def remove(self, run: PastRun) -> None:
        """Forgets a run that is not under way: its folder, not what other runs may use of it."""
