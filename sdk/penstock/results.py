"""What a run on this machine came to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any


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
    """What became of one node.

    ``attempts`` counts those that ran (0 where none did); ``seconds`` is the wall time of all of them; ``error`` is the
    last one's message, ``traceback`` its text; ``log`` the file with what the attempts printed.
    """

    id: str
    state: State
    attempts: int = 0
    seconds: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    traceback: str = ""
    log: Path | None = None
    _load: Callable[[], Any] | None = field(default=None, repr=False)

    @property
    def outputs(self) -> Any:
        """What the step returned, read from the store; None where it returned nothing or did not succeed."""
        return self._load() if self._load is not None and self.state.is_good else None


@dataclass(frozen=True)
class Run:
    """A run that has ended. ``run["train"]`` is what became of the node ``train``."""

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
        return self.nodes[node]
