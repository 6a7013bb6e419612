"""A step goes on from what an earlier attempt at it left: in the same run, and in one that resumes it."""

from __future__ import annotations

import linecache
import os
import signal
import sys
import warnings
from pathlib import Path

import pytest

from penstock import checkpoint_dir
from penstock.loading import load_pipeline

SOURCE = """
import os
import signal
from pathlib import Path
from penstock import checkpoint_dir, current_attempt, pipeline, step

@step(retry=RETRIES, cache=False)
def count(start: int, fate: str) -> list[str]:
    kept = checkpoint_dir() / "words"
    words = kept.read_text().split() if kept.exists() else []
    words.append(f"{start}.{current_attempt()}")
    kept.write_text(" ".join(words))
    if Path(fate).exists():
        if Path(fate).read_text() == "raise":
            raise ValueError("not yet")
        os.kill(os.getpid(), signal.SIGKILL)
    return words

@pipeline
def work(fate: str, start: int = 1) -> list[str]:
    return count(start, fate)

@pipeline
def twice(fate: str) -> list[list[str]]:
    return [count(1, fate), count(1, fate)]
"""


class Author:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "counting.py"
        self.fate = folder / "fate"
        self.write()

    def write(self, retries: int = 0, before: str = "", after: str = "") -> None:
        self.file.write_text(SOURCE.replace("RETRIES", str(retries)).replace(before, after))

    def pipeline(self, name: str = "work"):
        linecache.clearcache()
        sys.modules.pop("counting", None)
        return load_pipeline(f"{self.file}:{name}")

    def run(self, name: str = "work", **options):
        return self.pipeline(name).run(fate=str(self.fate), **options)

    def resume(self, **options):
        return self.pipeline().resume("latest", **options)


@pytest.fixture
def author(tmp_path, among_edits):
    yield Author(tmp_path)
    sys.modules.pop("counting", None)


def left_over(run):
    return [file for file in (run.folder / "checkpoints").rglob("*") if file.is_file()]


@pytest.mark.parametrize("inline", [False, True], ids=["workers", "inline"])
def test_attempts_and_runs_go_on_until_the_step_succeeds(author, inline):
    author.write(retries=1)
    author.fate.write_text("raise")
    failed = author.run(inline=inline)
    assert failed["count"].attempts == 2
    assert [file.read_text() for file in left_over(failed)] == ["1.1 1.2"]
    author.resume(inline=inline)
    author.fate.unlink()
    run = author.resume(inline=inline)
    assert run.outputs == ["1.1", "1.2", "1.1", "1.2", "1.1"]
    assert left_over(failed) == []


def test_an_attempt_that_is_killed_leaves_what_it_had(author):
    author.write(retries=1)
    author.fate.write_text("kill")
    run = author.run()
    assert "SIGKILL" in run["count"].error
    author.fate.unlink()
    assert author.resume().outputs == ["1.1", "1.2", "1.1"]


def test_a_runner_that_is_killed_leaves_what_its_step_had(author):
    author.fate.write_text("kill")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks while threads run
        child = os.fork()
    if not child:
        author.run(inline=True)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    author.fate.unlink()
    assert author.resume(inline=True).outputs == ["1.1", "1.1"]


def test_changed_code_starts_anew(author):
    author.fate.write_text("raise")
    author.run(inline=True)
    author.fate.unlink()
    author.write(0, 'f"{start}.', 'f"from {start}.')
    assert author.resume(inline=True).outputs == ["from 1.1"]


def test_two_equal_calls_and_two_runs_have_folders_of_their_own(author):
    author.fate.write_text("raise")
    author.run("twice", inline=True)
    author.run(inline=True)
    author.fate.unlink()
    assert author.run("twice", inline=True).outputs == [["1.1"], ["1.1"]]
    assert author.run(inline=True).outputs == ["1.1"]


def test_outside_of_a_run_there_is_nothing_to_go_on_from(author):
    first, second = checkpoint_dir(), checkpoint_dir()
    assert first != second
    assert list(first.iterdir()) == []
    assert author.pipeline()(str(author.fate)) == ["1.1"]
