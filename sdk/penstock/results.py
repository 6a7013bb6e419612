"""What a run on this machine came to, and what it tells while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, TypeAlias

from penstock.diagnostics import did_you_mean


class State(str, Enum):
    """The end of a node, or of a run (`SUCCEEDED` or `FAILED`, or `CANCELLED` where it was stopped)."""

    SUCCEEDED = "succeeded"
    CACHED = "cached"
    FAILED = "failed"
    SKIPPED = "skipped"
    UPSTREAM_FAILED = "upstream_failed"
    CANCELLED = "cancelled"

    @property
    def is_good(self) -> bool:
        """Whether what depends on the node may run."""
        return self in (State.SUCCEEDED, State.CACHED)


@dataclass(frozen=True)
class NodeRun:
    """What became of one node; in a loop, for one item: ``train[2]``.

    ``attempts`` counts those that ran (0 where none did); ``seconds`` is the wall time of all of them; ``error`` is the
    last one's message, ``traceback`` its text; ``log`` the file with what it printed (None where it printed to this
    process's own output, as an inline run does, or did not run). ``cpu_seconds`` is the CPU time of all attempts, and
    ``peak_memory`` the largest memory of one process in any of them, in bytes, child processes included; either is None
    where no attempt ran, or it could not be told. ``gates`` holds the verdicts of its gates, each with
    ``gate`` (what was asked), ``passed``, ``values`` (those in it, as JSON) and ``message``. ``metadata`` is what was
    recorded of its outputs, by their names (``output`` where it has none). ``kind`` is ``task``, or what else in the
    pipeline it comes from: ``branch``, ``loop`` or ``gate``; ``text`` is that as its author wrote it, ``size`` the
    number of a loop's items.
    """

    id: str
    state: State
    attempts: int = 0
    seconds: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    traceback: str = ""
    log: Path | None = None
    gates: tuple[Mapping[str, Any], ...] = ()
    kind: str = "task"
    text: str = ""
    size: int | None = None
    _load: Callable[[], Any] | None = field(default=None, repr=False)
    cpu_seconds: float | None = None
    peak_memory: int | None = None
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def outputs(self) -> Any:
        """What the step returned, read from the store; None where it returned nothing or did not succeed.

        What a step returned that failed by its gates alone is there, too.
        """
        return self._load() if self._load is not None else None


@dataclass(frozen=True)
class Run:
    """A run that has ended. ``run["train"]`` is what became of the node ``train``; in a loop, ``run["train[2]"]``.

    ``nodes`` holds them in the author's order, those in a loop by its items, then what ran at the end of the run:
    rollbacks, ``on_failure`` and ``on_exit``.
    """

    id: str
    pipeline: str
    state: State
    nodes: Mapping[str, NodeRun]
    folder: Path | None = None
    seconds: float = 0.0
    _load: Callable[[], Any] | None = field(default=None, repr=False)

    @property
    def outputs(self) -> Any:
        """What the pipeline returned, as calling it in Python would; None where it failed or returns nothing."""
        return self._load() if self._load is not None and self.state.is_good else None

    def __getitem__(self, node: str) -> NodeRun:
        if node not in self.nodes:
            instances = [each for each in self.nodes if each.startswith(f"{node}[")]
            shown = ", ".join((*instances[:5], *(["..."] if instances[5:] else ())))
            told = f"{node} stands in a loop, ask for one of its instances: {shown}"
            raise KeyError(told if instances else f"no node {node}: {did_you_mean(node, self.nodes)}")
        return self.nodes[node]


@dataclass(frozen=True)
class RunStarted:
    """A run is about to begin. ``nodes`` holds the ids of all that it may run, in the author's order.

    In a loop, each is run as often as there are items, as ``train[0]`` and so on.
    """

    run: str
    pipeline: str
    nodes: tuple[str, ...]
    folder: Path


@dataclass(frozen=True)
class AttemptStarted:
    """A node is tried for the ``attempt``-th time, from 1."""

    node: str
    attempt: int


@dataclass(frozen=True)
class AttemptFailed:
    """An attempt failed, and another follows in ``retry_in`` seconds. It ran for ``seconds``; the rest as `NodeRun`."""

    node: str
    attempt: int
    error: str
    traceback: str
    retry_in: float
    seconds: float = 0.0
    cpu_seconds: float | None = None
    peak_memory: int | None = None


@dataclass(frozen=True)
class NodeEnded:
    """A node came to its end."""

    node: NodeRun


@dataclass(frozen=True)
class Noticed:
    """Something about a run, or one of its nodes, that changes nothing of what it comes to but should be seen.

    ``what`` is ``flagged`` (it takes longer, or more memory, than is expected), ``draining`` (Ctrl-C came, and what is
    under way is waited for), ``waiting`` (for another run to end, before this one begins), ``superseded`` (by a further
    run), ``alert_sent``, ``alert_failed`` or ``telemetry_failed``; ``text`` says it in a sentence. ``node`` is empty
    where it is about the run. What is noticed after the end of a run comes after `RunEnded`.
    """

    what: str
    node: str
    text: str


@dataclass(frozen=True)
class RunEnded:
    """All nodes came to their ends."""

    run: Run


Event: TypeAlias = RunStarted | AttemptStarted | AttemptFailed | NodeEnded | Noticed | RunEnded
"""What ``run(on_event=...)`` is called with, in the order in which it happens, in the thread that runs the pipeline."""

Listener: TypeAlias = Callable[[Event], object]
