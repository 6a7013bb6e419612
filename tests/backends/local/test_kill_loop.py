"""Runs that are killed at random moments resume; `benchmarks/kill_loop.py` does this more often."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks/kill_loop.py"


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["runner", "worker", "group"])
def test_a_run_that_is_killed_at_any_moment_resumes_and_repeats_nothing(victim):
    command = [sys.executable, SCRIPT, "--times", "5", "--seed", "4", "--only", victim]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert "all resumed soundly" in done.stdout, done.stderr
