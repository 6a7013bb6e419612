"""Going on with a run that was stopped or failed: nothing that it completed is done again, nothing is lost."""

from __future__ import annotations

import functools
import itertools
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock import ConfigurationError, ParameterError, compiler
from penstock.loading import load_definition, load_pipeline
from penstock_backends.local.journal import Journal

SOURCE = """
import os
import signal
from pathlib import Path
from penstock import pipeline, step


def count(name: str) -> None:
    with open(os.environ["COUNTS"], "a") as file:
        file.write(name + "\\n")

def is_spoiled(name: str) -> bool:
    return Path(os.environ["COUNTS"] + "." + name).exists()

@step
def load(value: int) -> int:
    count("load")
    return value + 1

@step(cache=False)
def stamp(value: int) -> int:
    count("stamp")
    return value * 2

@step
def undo(value: int) -> None:
    count("undo")

@step(rollback=undo)
def publish(value: int) -> int:
    count("publish")
    return value

@step
def finish(value: int) -> int:
    count("finish")
    if is_spoiled("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if is_spoiled("failing"):
        raise ValueError("not today")
    return value + 1

@pipeline
def work(value: int = 1) -> int:
    stamped = stamp(load(value))
    if stamped > 1:
        return finish(publish(stamped))
    return stamped
"""


class Author:
    """Writes the pipeline, runs it in a process or here, and reads what its steps counted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts = folder / "counts"
        self.file = folder / "resumed.py"
        self.write()

    def write(self, *changes: tuple[str, str]) -> None:
        source = SOURCE
        for before, after in changes:
            assert before in source
            source = source.replace(before, after)
        self.file.write_text(source)

    def spoil(self, how: str, is_so: bool = True) -> None:
        place = Path(f"{self.counts}.{how}")
        place.touch() if is_so else place.unlink()

    def counted(self) -> list[str]:
        found = self.counts.read_text().split() if self.counts.exists() else []
        self.counts.unlink(missing_ok=True)
        return found

    def pipeline(self):
        sys.modules.pop("resumed", None)
        return load_pipeline(str(self.file))

    def run_until_killed(self) -> None:
        self.spoil("killed")
        assert self.is_killed(lambda: self.pipeline().run(inline=True))
        self.spoil("killed", False)

    def is_killed(self, run: Callable[[], object]) -> bool:
        """Whether a run in a process of its own is killed; else it comes to its end."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks while threads run
            child = os.fork()
        if not child:
            run()
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return os.WIFSIGNALED(status)


@pytest.fixture
def author(tmp_path, monkeypatch, among_edits):
    monkeypatch.setenv("COUNTS", str(tmp_path / "counts"))
    yield Author(tmp_path)
    sys.modules.pop("resumed", None)


def states(run):
    return {node.id: node.state.value for node in run.nodes.values() if node.kind == "task"}


def test_a_killed_run_resumes_without_repeating_a_finished_step(author):
    author.run_until_killed()
    assert author.counted() == ["load", "stamp", "publish", "finish"]
    history = compiler.history(None)
    killed = history.find("latest")
    assert killed.state == "interrupted"
    assert history.nodes(killed)["finish"].state == "interrupted"
    run = author.pipeline().resume("latest", inline=True)
    assert author.counted() == ["finish"]
    assert run.outputs == 5
    assert (history.find("latest").id, history.find("latest").resumes) == (run.id, killed.id)


def test_a_run_that_resumes_one_that_resumed_has_what_both_completed(author):
    author.run_until_killed()
    author.spoil("failing")
    author.write(('count("stamp")', 'count("stamp again")'))
    author.pipeline().resume("latest", inline=True)
    author.counted()
    author.spoil("failing", False)
    run = author.pipeline().resume("latest", inline=True)
    assert author.counted() == ["publish", "finish"]  # publish was rolled back
    assert run.outputs == 5


def test_what_completed_before_the_kill_is_rolled_back_where_the_resumed_run_fails(author):
    author.run_until_killed()
    author.counted()
    author.spoil("failing")
    run = author.pipeline().resume("latest", inline=True)
    assert author.counted() == ["finish", "undo"]
    assert states(run)["publish"] == "cached"
    author.spoil("failing", False)
    assert author.pipeline().resume("latest", inline=True).state.value == "succeeded"
    assert author.counted() == ["publish", "finish"]


def test_what_an_unrelated_run_computed_is_not_rolled_back(author):
    author.pipeline().run(inline=True)
    author.write(("return value + 1\n\n@pipeline", "return value + 2\n\n@pipeline"))
    author.spoil("failing")
    author.pipeline().run(inline=True)
    author.counted()
    author.pipeline().resume("latest", inline=True)
    assert author.counted() == ["finish"]


def test_a_run_anew_takes_nothing_over_that_is_not_to_be_cached(author):
    author.run_until_killed()
    author.counted()
    author.pipeline().run(inline=True)
    assert author.counted() == ["stamp", "finish"]


def test_only_what_a_change_touches_is_done_again(author):
    author.run_until_killed()
    author.counted()
    author.write(("return value * 2", "return 2 * value"))
    author.pipeline().resume("latest", inline=True)
    assert author.counted() == ["stamp", "finish"]


def test_the_parameters_are_those_of_the_run(author):
    author.spoil("failing")
    failed = author.pipeline().run(value=4, inline=True)
    author.spoil("failing", False)
    assert author.pipeline().resume(failed.id, inline=True).outputs == 11


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("value: int = 1", "value: str = ''"), "parameter `value`"),
        (("work(value: int = 1)", "work(value: int, more: int)"), "`more`"),
    ],
)
def test_parameters_that_do_not_fit_any_more_are_told(author, change, said):
    author.run_until_killed()
    author.write(change, ("load(value)", "load(2)"))
    with pytest.raises(ParameterError) as caught:
        author.pipeline().resume("latest")
    assert said in str(caught.value)
    assert "--as-it-was" in str(caught.value)


def test_a_run_under_way_cannot_be_resumed(author):
    def resume(event) -> None:
        if type(event).__name__ == "AttemptStarted" and event.node == "publish":
            with pytest.raises(ConfigurationError, match=r"P731.*under way"):
                author.pipeline().resume("latest")
            found.append(event)

    found: list[object] = []
    author.pipeline().run(inline=True, on_event=resume)
    assert found


def test_a_run_of_another_pipeline_cannot_be_resumed(author):
    author.run_until_killed()
    author.write(("def work(", "def other("))
    with pytest.raises(ConfigurationError, match=r"P733.*`work`, not of `other`"):
        author.pipeline().resume("latest")


def test_what_is_stored_but_not_written_down_is_found(author):
    author.run_until_killed()
    author.counted()
    run = compiler.history(None).find("latest")
    journal = run.folder / "events.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    torn = next(number for number, line in enumerate(lines) if b'"node":"stamp"' in line and b"attempt_ended" in line)
    journal.write_bytes(b"".join(lines[:torn]) + lines[torn][:20])
    author.pipeline().resume("latest", inline=True)
    assert author.counted() == ["finish"]


@pytest.mark.slow
def test_a_runner_killed_before_any_event_resumes_with_each_step_done_once(author, monkeypatch, tmp_path):
    written = Journal.note

    def run(last: int) -> None:
        numbers = itertools.count()

        def note(*arguments, **more) -> None:
            if next(numbers) == last:
                os.kill(os.getpid(), signal.SIGKILL)
            written(*arguments, **more)

        monkeypatch.setattr(Journal, "note", note)
        author.pipeline().run(inline=True)

    kills = 0
    for last in itertools.count(1):  # before the first event there is no run to go on with
        monkeypatch.setenv("PENSTOCK_STORE", str(tmp_path / f"store-{last}"))
        if not author.is_killed(functools.partial(run, last)):
            break
        kills += 1
        assert author.pipeline().resume("latest", inline=True).outputs == 5
        assert author.counted() == ["load", "stamp", "publish", "finish"]
    assert kills == 17  # three events for each of five nodes, one of the rollback that is not due, and the end


def test_a_spec_is_resumed_in_workers_as_it_was(author):
    author.run_until_killed()
    author.counted()
    run = compiler.history(None).find("latest")
    author.file.unlink()
    finished = compiler.run_definition(load_definition(str(run.folder / "spec.json")), {"value": 1}, resumes=run.id)
    assert finished.outputs == 5
    assert author.counted() == ["finish"]
    assert os.path.exists(run.folder)
