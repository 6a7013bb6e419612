"""The command line as users start it, without what starting Python and importing Penstock takes (0.4 s a command)."""

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

PROGRAM = HERE / "programs" / "penstock_commands.py"


def penstock(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, in a process of its own that was forked from one with Penstock imported."""
    with tempfile.TemporaryDirectory() as own:
        outcome = carry_out(_helper(), Path(own), 120, None, cwd=str(folder), words=list(words))
        assert not outcome.crash, outcome.crash
        stdout, stderr = (Path(own, name).read_text(encoding="utf-8") for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(words, outcome.seen["code"], stdout, stderr)


@functools.cache
def _helper() -> Helper:
    return Helper([sys.executable, PROGRAM], os.environ)
