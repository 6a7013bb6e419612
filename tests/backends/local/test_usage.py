"""What worker processes tell of each attempt's use of the machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from penstock import pipeline, step
from penstock_backends.local.execution import Execution

MEGABYTE = 1 << 20
BURN = "import time\nwhile time.process_time() < 0.2: pass"


@step(timeout=3)
def works(how: str) -> int:
    held = bytearray(80 * MEGABYTE)
    held[::4096] = b"x" * len(held[::4096])
    subprocess.run([sys.executable, "-c", BURN], check=True)
    if how == "raise":
        raise ValueError("enough")
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "hang":
        time.sleep(60)
    return len(held)


@pipeline
def working(how: str) -> int:
    return works(how)


@pytest.mark.parametrize("how", ["return", "raise", "die", "hang"])
@pytest.mark.slow
def test_an_attempt_is_charged_with_its_time_its_memory_and_its_children_however_it_ends(how, tmp_path, monkeypatch):
    told = []
    for name in ("succeeded", "failed"):
        original = getattr(Execution, name)

        def take(self, node, key, answer, original=original):
            told.append(answer["usage"])
            return original(self, node, key, answer)

        monkeypatch.setattr(Execution, name, take)
    run = working.run(how=how, store=tmp_path)
    assert run.state.value == ("succeeded" if how == "return" else "failed"), run["works"].error
    (usage,) = told
    assert 0.19 <= usage["cpu_seconds"] < 3  # told in hundredths, where it still ran
    assert 80 * MEGABYTE <= usage["peak_memory"] < 400 * MEGABYTE
