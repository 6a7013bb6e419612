"""What the process that forks all others of a run does when the run ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from penstock import harness
from penstock_backends.local import objects, workers


def test_what_a_slot_has_left_that_is_killed_as_its_run_ends_ends_with_the_nursery():
    program = Path(__file__).with_name("leaving_nursery.py")
    command = [sys.executable, program, workers.HERE / "worker.py", harness.__file__, objects.__file__]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    stray = int(done.stdout)
    with pytest.raises(ProcessLookupError):
        os.kill(stray, signal.SIGKILL)
