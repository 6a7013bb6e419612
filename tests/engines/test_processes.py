from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What a driver does: it has services that are no part of its session, one of which is stopped.
DRIVER = """
import os, signal, subprocess, sys, time
from pathlib import Path
from tests.engines.processes import Guard

folder = Path(sys.argv[1])
guard = Guard(folder)
named = subprocess.Popen(["sleep", "60"], env={"HOME": str(folder)}, cwd="/", start_new_session=True)
stopped = subprocess.Popen(["sleep", "60"], env={}, cwd=folder / "below", start_new_session=True)
other = subprocess.Popen(["sleep", "60"], env={}, cwd="/", start_new_session=True)
stopped.send_signal(signal.SIGSTOP)
print(named.pid, stopped.pid, other.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="what a process has of a folder is read in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_services_do_not_outlive_the_tests_however_these_end(number: signal.Signals, tmp_path: Path) -> None:
    folder = tmp_path / "services"
    (folder / "below").mkdir(parents=True)
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, folder], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with driver:
        assert driver.stdout is not None
        named, stopped, other = map(int, driver.stdout.readline().split())
        driver.send_signal(number)
    end = time.monotonic() + 30
    while folder.exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert not folder.exists()
    assert [is_alive(pid) for pid in (named, stopped)] == [False, False]
    assert is_alive(other)
    os.kill(other, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
