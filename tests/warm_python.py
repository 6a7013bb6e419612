"""Python as users start it, without what starting it and importing Penstock takes (0.4 s each time)."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.engines.environments import HERE
from tests.engines.jobs import carry_out
from tests.engines.processes import Helper

PROGRAM = HERE / "programs" / "warm_python.py"


def penstock(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of Penstock to its end in that folder."""
    return python(folder, "-m", "penstock", *words)


def python(folder: Path, *arguments: str, warnings: str = "default") -> subprocess.CompletedProcess[str]:
    """Runs a script or a module to its end, in a process of its own that was forked from one with Penstock imported.

    ``warnings`` says what Python does with those that the program raises.
    """
    with tempfile.TemporaryDirectory() as own:
        outcome = carry_out(_helper(warnings), Path(own), 120, None, cwd=str(folder), arguments=list(arguments))
        assert not outcome.crash, outcome.crash
        stdout, stderr = (Path(own, name).read_text(encoding="utf-8") for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(arguments, outcome.seen["code"], stdout, stderr)


@functools.cache
def _helper(warnings: str) -> Helper:
    return Helper([sys.executable, "-W", warnings, PROGRAM], os.environ)
