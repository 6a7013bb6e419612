"""Memory that runs out: the kernel ends an attempt, the run says so, and its other steps go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LIMIT = 256 << 20
GROUPS = Path("/sys/fs/cgroup")


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group whose processes have so much memory together; skips where nobody may make one."""
    name = f"penstock-{os.getpid()}"
    own = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    is_old = "memory" in own  # version 1 of control groups has one tree for each resource
    place = GROUPS / "memory" / own["memory"].strip("/") / name if is_old else GROUPS / name
    try:
        place.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        try:
            (place / ("memory.limit_in_bytes" if is_old else "memory.max")).write_text(str(LIMIT))
            (place / ("memory.swappiness" if is_old else "memory.swap.max")).write_text("0")
        except OSError as error:
            pytest.skip(f"no memory can be bounded by a control group here: {error}")
        yield place
    finally:
        place.rmdir()


@pytest.mark.slow
def test_an_attempt_for_which_there_is_no_memory_fails_alone_and_says_what_it_held(group, tmp_path):
    enter = f'echo $$ > {group}/cgroup.procs && exec "$@"'
    command = ["sh", "-c", enter, "sh", sys.executable, HERE / "scarce_memory.py", tmp_path / "store"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert {seen["states"].pop(name) for name in ("fills", "counts")} == {"failed", "upstream_failed"}
    assert set(seen["states"].values()) == {"succeeded"}
    assert LIMIT / 4 < seen["peak"] < LIMIT
    assert f"out of memory, the kernel says; it held {seen['peak'] / 2**20:.0f} MiB" in seen["error"]
    assert "resources=Resources(memory=...)" in seen["error"]
