"""A disk that is full, and writes that fail: the store stays sound, the run says why it ended, the next one goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
MOUNTING = (["unshare", "-rm"], ["sudo", "-n", "unshare", "-m"])
SIZES = 64  # in pages of 4 KiB; about half of them are too small


def mounting():
    """What a program is started with that may mount a disk of its own."""
    for words in MOUNTING:
        try:
            done = subprocess.run([*words, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
        except FileNotFoundError:
            continue
        if done.returncode == 0:
            return words
    reason = "nobody may mount a disk here: neither by a user namespace (unshare) nor by sudo"
    if os.environ.get("CI"):
        pytest.fail(reason)
    return pytest.skip(reason)


def lines_of(program, *arguments, by=()):
    command = [*by, "env", f"PYTHONPATH={ROOT}", sys.executable, HERE / program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def check(seen):
    """What holds of every run that could not write what it had to, and of its store."""
    ended_well = seen["state"] == "succeeded"
    assert ended_well == (seen["errors"] == [])
    assert ended_well or "No space left on device" in seen["errors"][0]
    assert seen.get("drafts", []) == []
    assert seen.get("damages", []) == []
    assert seen["again"] == {"state": "succeeded", "errors": []}


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "step"), [("inline", 1), ("workers", 4)])
def test_a_full_disk_ends_a_run_with_what_it_lacked_and_leaves_the_store_sound(tmp_path, engine, step):
    by = mounting()
    tried = lines_of("full_disk.py", tmp_path, engine, *range(1, SIZES + 1, step), by=by)
    assert len(tried) == len(range(1, SIZES + 1, step))
    for seen in tried:
        check(seen)
        if seen["state"] != "succeeded":
            assert str(tmp_path / "store") in seen["errors"][0]  # the disk is named
    assert {seen["state"] for seen in tried} == {"refused", "failed", "succeeded"}


@pytest.mark.slow
def test_whatever_fails_of_all_that_a_run_does_to_its_store_leaves_it_sound(tmp_path):
    tried = lines_of("failing_writes.py", tmp_path)
    assert len(tried) > 40
    for seen in tried:
        check(seen)
    assert {seen["state"] for seen in tried} == {"refused", "failed", "succeeded"}
