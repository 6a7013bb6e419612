"""What a person sees of a run while it goes on, and at its end."""

import io
import itertools
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from penstock import Retry, log_metric, pipeline, step, terminal
from penstock.live import Lines, Picture, chosen_parts, shown
from penstock.logs import end_of, headline, own_lines
from penstock.results import AttemptStarted, NodeEnded, NodeRun, Run, RunStarted, State
from penstock.spec import Group, PipelineSpec, Returns, StepSpec, Task
from penstock.tally import Tally

STEP = StepSpec(id="m:f", returns=Returns(kind="none"))


@step
def load() -> list[int]:
    return [1, 2, 3]


@step(retry=Retry(1))
def train(row: int) -> int:
    log_metric("auc", row / 10)
    if row == 3:
        print("about to fail")
        raise ValueError("no third row")
    return row


@step
def total(numbers: list[int]) -> int:
    return sum(numbers)


@pipeline
def prepared() -> list[int]:
    return load()


@pipeline
def scored() -> int:
    return total([train(row) for row in prepared()])


def wide(groups, calls):
    def group(number):
        inside = tuple(Task(id=f"region_{number}.call_{each}", step="m:f") for each in range(calls))
        return Group(id=f"region_{number}", pipeline="m:p", body=inside)

    return PipelineSpec(name="wide", steps=(STEP,), body=tuple(map(group, range(groups))))


def drawn(picture, width=80, height=30):
    console = Console(width=width, height=height, file=io.StringIO(), color_system=None, legacy_windows=False)
    before, picture._console = picture._console, console
    with console.capture() as captured:
        console.print(picture.picture())
    picture._console = before
    return captured.get()


@pytest.fixture
def pictures(tmp_path):
    """The picture of a real run, after each of its events."""
    console = Console(file=io.StringIO(), width=80, height=40)
    picture = Picture(scored.spec, console)
    found = []

    def take(event):
        picture.take(event)
        found.append(drawn(picture))

    run = scored.run(store=tmp_path, inline=True, on_event=take)
    return found, console.file.getvalue(), list(picture.closing(run))


def test_the_picture_tells_how_far_a_run_is(pictures):
    found, _, _ = pictures
    under_way = next(text for text in found if "[1/3]" in text)
    assert "scored  run 2" in under_way
    assert "prepared" in under_way
    assert "for each of prepared()" in under_way
    assert next(line for line in under_way.splitlines() if "train" in line).split() == ["·", "train", "[1/3]"]
    assert "1 failed" in found[-1]


def test_what_fails_stays_above_the_picture(pictures):
    _, above, _ = pictures
    assert "↻ train[2]" in above
    assert "✗ train[2]" in above
    assert "✓" not in above


def test_at_the_end_each_node_of_a_small_run_has_a_line(pictures):
    closing = "\n".join(pictures[2])
    for name in ("prepared.load", "train[0]", "train[2]", "total"):
        assert name in closing
    assert "auc=0.1" in closing


def played(spec, events):
    tally = Tally(spec, clock=itertools.count().__next__)
    for event in events:
        tally.take(event)
    return tally


def ended(id_, state=State.SUCCEEDED, **more):
    return NodeEnded(NodeRun(id_, state, attempts=1, seconds=1.0, **more))


def test_a_thousand_nodes_fit_on_a_screen_and_what_runs_or_failed_is_among_them():
    spec = wide(50, 20)
    events = [ended(f"region_{group}.call_{call}") for group in range(20) for call in range(20)]
    events += [ended("region_3.call_7", State.FAILED), AttemptStarted("region_20.call_4", 1)]
    tally = played(spec, events)
    chosen = [part.id for part in chosen_parts(tally.parts, 24)]
    assert len(chosen) == 23
    assert {"region_3.call_7", "region_20.call_4", "region_20"} <= set(chosen)
    assert chosen == [part.id for part in tally.parts if part.id in chosen]
    picture = Picture(spec, Console(file=io.StringIO()))
    for event in events:
        picture.take(event)
    for width, height in ((80, 24), (30, 8), (200, 60)):
        text = drawn(picture, width, height)
        assert len(text.splitlines()) <= height
        assert all(len(line) <= width for line in text.splitlines())
        assert "call_4" in text
    assert "401 of 1000" in drawn(picture)
    assert "to come" in drawn(picture)


def test_the_items_of_nested_loops_are_counted_once_they_are_known(tmp_path):
    @pipeline
    def nested(rows: list[list[int]] = [[1, 2], [3]]) -> None:
        for row in rows:
            for each in row:
                train(each)

    tally = Tally(nested.spec)
    seen = []

    def take(event):
        tally.take(event)
        seen.append((tally.whole.done, tally.whole.total))

    nested.run(store=tmp_path, inline=True, on_event=take)
    assert seen[0] == (0, 1)
    assert tally.whole.done == tally.whole.total == 1 + 2 + 3
    assert not tally.whole.running


def test_where_nothing_can_be_redrawn_lines_follow_one_another(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with shown(scored.spec) as display:
        run = scored.run(store=tmp_path, inline=True, on_event=display.take)
    printed = capsys.readouterr().out
    assert printed.count("train[0]") == 1
    assert not {"\x1b[2K", "\x1b[?25l"} & set(re.findall(r"\x1b\[[?0-9;]*[A-Za-z]", printed))
    assert list(display.closing(run)) == []


def test_a_quiet_run_shows_nothing(capsys, tmp_path):
    with shown(scored.spec, quiet=True) as display:
        run = scored.run(store=tmp_path, inline=True, on_event=display.take)
    assert "train" not in capsys.readouterr().out
    assert list(display.closing(run)) == []


def test_a_thousand_nodes_are_a_few_lines_in_a_log_but_each_failure_has_its_own():
    spec = wide(50, 20)
    names = [f"region_{group}.call_{call}" for group in range(50) for call in range(20)]
    states = {name: State.FAILED if number in (5, 700) else State.SUCCEEDED for number, name in enumerate(names)}
    file = io.StringIO()
    lines = Lines(spec, Console(file=file, width=200))
    lines.take(RunStarted("r", "wide", tuple(names), Path()))
    nodes = {name: ended(name, state, metrics={"auc": 0.5}).node for name, state in states.items()}
    for node in nodes.values():
        lines.take(NodeEnded(node))
    printed = file.getvalue()
    assert len(printed.splitlines()) < 20
    assert "✗ region_0.call_5" in printed
    assert "1000 of 1000 done: 2 failed, 998 succeeded" in printed
    closing = "\n".join(lines.closing(Run("r", "wide", State.FAILED, nodes)))
    assert "auc = 0.5 to 0.5  [dim]1000 calls of call[/]" in closing
    assert "longest:" in closing


def test_a_failure_is_told_with_its_traceback_its_log_and_how_to_go_on(tmp_path):
    run = scored.run(store=tmp_path / "a store", max_workers=1)
    told = "\n".join(terminal.failures(run))
    assert told.count('raise ValueError("no third row")') == 1
    assert "  about to fail" in told
    assert "its log:" in told
    assert "harness" not in told
    (hint,) = terminal.how_to_resume(run, tmp_path / "a store")
    assert f"penstock runs resume {run.id} --store '{tmp_path}/a store'" in hint


def test_of_a_long_log_the_last_twenty_lines_are_told(tmp_path):
    log = tmp_path / "x.1.log"
    log.write_text("".join(f"line {number} \x1b[1m[bold]\x1b[0m\n" for number in range(5000)))
    node = NodeRun("x", State.FAILED, 1, error="no", log=log)
    told = list(terminal.failures(Run("r", "p", State.FAILED, {"x": node})))
    shown_lines = [line for line in told if "line " in line]
    assert len(shown_lines) == 20
    assert shown_lines[-1].strip() == r"line 4999 \[bold]"
    assert end_of(log, 100)[0].startswith("line ")


def test_a_long_message_is_told_once_and_bounded_and_moves_no_cursor(tmp_path):
    error = "ValueError: many\n" + "y" * 50_000
    traceback = f"Traceback (most recent call last):\n  \x1b[2J\n{error}\n"
    log = tmp_path / "x.1.log"
    log.write_text(traceback)
    node = NodeRun("x", State.FAILED, 1, error=error, traceback=traceback, log=log)
    headline, *rest = terminal.failures(Run("r", "p", State.FAILED, {"x": node}))
    assert headline.endswith("failed[/]: ValueError: many")
    told = "\n".join(rest)
    assert 2000 < len(told) < 5000
    assert "characters are left out here" in told
    assert "\x1b" not in told
    assert "its log" not in told


def test_an_error_that_a_log_ends_with_is_not_told_again(tmp_path):
    log = tmp_path / "x.2.log"
    log.write_text("about to wait\nerror: it took too long\n")
    node = NodeRun("x", State.FAILED, 2, error="it took too long", log=log)
    told = "\n".join(terminal.failures(Run("r", "p", State.FAILED, {"x": node})))
    assert "failed[/] at attempt 2: it took too long" in told
    assert told.count("it took too long") == 1
    assert "  about to wait" in told


def test_what_a_log_ends_with_is_not_its_own():
    trace = "Traceback (most recent call last):\nValueError: many\nlines"
    assert own_lines(f"said\n{trace}", "ValueError: many\nlines", trace) == ["said"]
    assert own_lines("lines", "ValueError: many\nlines", trace) == []
    assert own_lines("said\nerror: too long", "too long", "") == ["said"]
    assert own_lines("said", "too long", "") == ["said"]
    assert headline("ValueError: many\nlines", trace) == "ValueError: many"
    assert headline("ended\nby itself", "error: ended\nby itself") == "ended\nby itself"


WAITS = """
import time
from penstock import pipeline, step

@step
def wait(seconds: float) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        pass

@pipeline
def waits(seconds: float = 0.0) -> None:
    wait(seconds)
"""


def on_terminal(folder, *words, interrupt_at=()):
    """What a command shows on a terminal, and its exit code; Ctrl-C comes as it shows each of ``interrupt_at``."""
    waiting = list(interrupt_at)
    (folder / "flow.py").write_text(WAITS)
    mine, its = pty.openpty()
    command = [sys.executable, "-m", "penstock", *words]
    process = subprocess.Popen(command, cwd=folder, stdin=its, stdout=its, stderr=its, start_new_session=True)
    os.close(its)
    text = b""
    ends = time.monotonic() + 60
    try:
        while time.monotonic() < ends:
            try:
                text += os.read(mine, 65536)
            except OSError:  # its side is closed
                break
            if waiting and waiting[0] in text.decode(errors="replace"):
                process.send_signal(signal.SIGINT)
                del waiting[0]
        return text.decode(), process.wait(10)
    finally:
        os.close(mine)
        process.kill()


@pytest.mark.slow
def test_on_a_terminal_there_is_a_picture_and_in_its_place_lines_at_the_end(tmp_path):
    text, code = on_terminal(tmp_path, "run", "flow.py", "-p", "seconds=2.5")
    assert code == 0
    assert "0 of 1" in text
    assert re.search(r"s CPU +[0-9.]+ MiB", text)
    closing = text[text.rindex("\x1b[?25h") :]
    assert "✓" in closing
    assert "succeeded" in closing
    assert "0 of 1" not in closing


@pytest.mark.slow
def test_after_ctrl_c_the_terminal_is_as_it_was(tmp_path):
    text, code = on_terminal(tmp_path, "run", "flow.py", "-p", "seconds=30", interrupt_at=("▸", "Ctrl-C"))
    assert code == 130
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1
    assert "penstock runs resume" in text[text.rindex("\x1b[?25h") :]
