"""What the processes that fork others do when a run ends: nothing is left of these."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from penstock import harness
from penstock_backends.local import objects, workers


def stray_of(program, *arguments):
    """What a program has started, by its id, when it has ended."""
    files = [workers.HERE / "worker.py", harness.__file__, objects.__file__]
    command = [sys.executable, Path(__file__).with_name(program), *files, *arguments]
    return int(subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout)


def test_what_a_slot_has_left_that_is_killed_as_its_run_ends_ends_with_the_nursery():
    stray = stray_of("leaving_nursery.py")
    with pytest.raises(ProcessLookupError):
        os.kill(stray, signal.SIGKILL)


def test_a_slot_that_is_to_end_just_after_a_fork_ends_what_that_attempt_has_started(tmp_path):
    stray = stray_of("leaving_slot.py", tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(stray, signal.SIGKILL)
