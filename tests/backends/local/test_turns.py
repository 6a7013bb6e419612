"""How many runs of a pipeline there are at a time, in one store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock import Concurrency, pipeline, step
from penstock.results import Noticed, Run

# Each run waits for another one.
pytestmark = pytest.mark.slow


@step(cache=False)
def hold(folder: str, name: str) -> str:
    place = Path(folder)
    (place / f"{name}.begun").touch()
    while not (place / f"{name}.go").exists():
        time.sleep(0.02)
    return name


@step
def leave(folder: str, name: str) -> None:
    (Path(folder) / f"{name}.left").touch()


@pipeline(concurrency=1)
def one(folder: str, name: str) -> str:
    return hold(folder, name)


@pipeline(concurrency=2)
def two(folder: str, name: str) -> str:
    return hold(folder, name)


@pipeline(concurrency=Concurrency(1, cancel_running=True), on_exit=leave)
def latest(folder: str, name: str) -> str:
    return hold(folder, name)


def until(condition: Callable[[], bool]) -> None:
    """Waits for something that must come about."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


class Started(threading.Thread):
    """A run in a thread of its own, with what was noticed of it."""

    def __init__(self, made, folder: Path, name: str, **options) -> None:
        super().__init__(daemon=True)
        self.noticed: list[str] = []
        self.finished: Run | None = None
        self._run = lambda: made.run(
            folder=str(folder), name=name, store=folder / "store", on_event=self._take, max_workers=1, **options
        )
        self.start()

    def run(self) -> None:
        self.finished = self._run()

    def _take(self, event: object) -> None:
        if isinstance(event, Noticed):
            self.noticed.append(event.what)


def test_a_further_run_waits_and_says_so(tmp_path):
    first = Started(one, tmp_path, "a")
    until(lambda: (tmp_path / "a.begun").exists())
    other = Started(one, tmp_path, "b")
    until(lambda: other.noticed == ["waiting"])
    time.sleep(0.3)
    assert not (tmp_path / "b.begun").exists()
    for name in "ab":
        (tmp_path / f"{name}.go").touch()
    first.join(30)
    other.join(30)
    assert first.noticed == []
    assert [run.finished.outputs for run in (first, other)] == ["a", "b"]


def test_as_many_run_at_a_time_as_may_and_another_pipeline_is_no_concern_of_theirs(tmp_path):
    runs = [Started(two, tmp_path, name) for name in "ab"] + [Started(one, tmp_path, "x")]
    until(lambda: all((tmp_path / f"{name}.begun").exists() for name in "abx"))
    third = Started(two, tmp_path, "c")
    until(lambda: third.noticed == ["waiting"])
    (tmp_path / "b.go").touch()
    until(lambda: (tmp_path / "c.begun").exists())
    for name in "acx":
        (tmp_path / f"{name}.go").touch()
    for run in (*runs, third):
        run.join(30)
    assert [run.finished.state for run in (*runs, third)] == ["succeeded"] * 4


@pytest.mark.parametrize("inline", [False, True])
def test_a_further_run_ends_the_oldest_whose_exit_steps_still_run(inline, tmp_path):
    first = Started(latest, tmp_path, "a", inline=inline)
    until(lambda: (tmp_path / "a.begun").exists())
    (tmp_path / "b.go").touch()
    other = Started(latest, tmp_path, "b", inline=inline)
    first.join(30)
    other.join(30)
    assert (first.finished.state, other.finished.state) == ("cancelled", "succeeded")
    assert (first.noticed, other.noticed) == (["superseded"], ["waiting"])
    assert (tmp_path / "a.left").exists()


def test_an_emitted_file_waits_for_other_runs_and_ends_the_oldest(tmp_path):
    for made in (one, latest):
        for file, text in made.compile("local").items():
            (tmp_path / file).write_text(text)

    def started(made, name: str) -> subprocess.Popen[str]:
        command = [sys.executable, f"{made.name}.py", "--folder", str(tmp_path), "--name", name, "--json"]
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    with started(one, "a") as first:
        until(lambda: (tmp_path / "a.begun").exists())
        with started(one, "b") as second:
            assert second.stderr.readline() == "waiting for another run to end\n"
            (tmp_path / "b.go").touch()
            assert not (tmp_path / "b.begun").exists()
            first.kill()
            assert json.loads(second.communicate(timeout=60)[0])["result"] == "b"
    with started(latest, "x") as first:
        until(lambda: (tmp_path / "x.begun").exists())
        (tmp_path / "y.go").touch()
        with started(latest, "y") as second:
            assert json.loads(second.communicate(timeout=60)[0])["result"] == "y"
        assert json.loads(first.communicate(timeout=60)[0])["state"] == "cancelled"
    assert (tmp_path / "x.left").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_run_had_is_free_however_it_ends_and_one_that_waits_can_be_interrupted(number, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, time\nfrom pathlib import Path\nfrom penstock import pipeline, step\n\n\n"
        "@step(cache=False)\ndef hold(name: str) -> None:\n"
        "    Path(name + '.begun').touch()\n    time.sleep(0 if name.endswith('c') else 60)\n\n\n"
        "@pipeline(concurrency=1)\ndef held(name: str) -> None:\n    hold(name)\n"
    )

    def started(name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "penstock", "run", str(program), "-p", f"name={tmp_path / name}"]
        command += ["--store", str(tmp_path / "store")]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ})

    with started("a") as first:
        until(lambda: (tmp_path / "a.begun").exists())
        with started("b") as waiting:
            assert waiting.stdout is not None
            assert b"waiting for another run of `held`" in waiting.stdout.readline()
            waiting.send_signal(signal.SIGINT)
            assert waiting.wait(30) == 128 + signal.SIGINT
        assert not (tmp_path / "b.begun").exists()
        first.send_signal(number)
        with started("c") as third:
            assert third.wait(60) == 0
        assert first.wait(30) != 0
