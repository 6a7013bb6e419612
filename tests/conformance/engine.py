"""What the conformance suite asks of an engine, and what it sees of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from penstock import Pipeline
from penstock.values import Json


@dataclass(frozen=True)
class Observed:
    """A run as an engine shows it.

    ``state`` is ``succeeded`` or ``failed``. ``nodes`` maps every instance (``train``, in a loop ``train[0]``; also
    branches, loops, gates and what runs at the end) to its state in the words of `penstock.results.State`. ``outputs``
    holds each succeeded instance's outputs as wires, the ``file`` of an artifact an absolute path that is there until
    the test's folder goes.
    """

    state: str
    nodes: dict[str, str]
    outputs: dict[str, dict[str, Json]] = field(default_factory=dict)
    log: str = ""


class Engine(Protocol):
    """One way to execute a pipeline for real."""

    name: str
    """As it stands in the matrix: ``airflow-3``, ``kfp.local``, ``act``, ``local-workers`` ..."""
    target: str
    """What is compiled to."""

    def run(self, pipeline: Pipeline[..., Any], parameters: dict[str, Any], folder: Path) -> Observed:
        """Compiles, runs to the end in ``folder``, and says what came of it."""
