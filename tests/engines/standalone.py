"""Runs an emitted stand-alone program with a Python that has the scientific packages, and no Penstock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.engines.environments import Environment, environment
from tests.engines.processes import Ended, bare_environment, run


@dataclass(frozen=True)
class Standalone:
    """The bare interpreter. Get it by `standalone`."""

    home: Environment

    def run(
        self,
        files: Mapping[str, str],
        program: str,
        arguments: Sequence[str] = (),
        *,
        folder: Path,
        environ: Mapping[str, str] | None = None,
        seconds: float = 120,
    ) -> Ended:
        """Write the files below ``folder`` and run one of them there; ``code`` is None where the time was up.

        The interpreter is isolated (`-P` and no user site): it sees its own packages and the program's standard
        library.
        """
        for path, text in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        command = [self.home.python, "-P", "-s", program, *arguments]
        return run(command, folder, bare_environment(**(environ or {})), seconds)


def standalone() -> Standalone:
    """The driver; skips where the environment is not installed."""
    return Standalone(environment("science"))
