"""What branches, loops, gates and endings promise on this machine, in worker processes, inline, and in the file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock import terminal
from penstock.results import AttemptStarted, Event, NodeEnded, Noticed
from tests.backends.local import control
from tests.backends.local.test_journal import check_events
from tests.backends.local.test_run import is_alive, states, wait_until

ROOT = Path(__file__).parents[3]
both = pytest.mark.parametrize("inline", [False, True], ids=["workers", "inline"])


@pytest.fixture(autouse=True)
def _store(tmp_path, monkeypatch):
    monkeypatch.setenv("PENSTOCK_STORE", str(tmp_path / "store"))


@pytest.fixture
def note(tmp_path):
    return tmp_path / "note"


def lines(note: Path) -> list[str]:
    return note.read_text().splitlines() if note.exists() else []


@both
def test_nodes_stand_in_the_authors_order_and_then_in_that_of_the_items(inline):
    run = control.fanned.run(inline=inline)
    assert states(run) == {
        "upto": "succeeded",
        "for": "succeeded",
        "if[0]": "succeeded",
        "if[1]": "succeeded",
        "if[2]": "succeeded",
        "double[0]": "succeeded",
        "double[1]": "skipped",
        "double[2]": "succeeded",
        "total": "succeeded",
    }
    assert list(run.nodes) == list(states(run))
    assert run.outputs == control.fanned() == 4
    assert run["for"].outputs == [0, 1, 2]
    assert (run["for"].kind, run["for"].size, run["if[1]"].kind, run["if[1]"].outputs) == ("loop", 3, "branch", False)
    assert run["double[2]"].metrics == {"doubled": 4}


@both
@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_list_has_as_many_items_as_plain_python_gives_it(inline, count):
    assert control.over.run(values=list(range(count)), inline=inline).outputs == [2 * n for n in range(count)]


@both
def test_the_other_items_finish_and_the_error_names_the_one_that_failed(inline):
    run = control.some_fail.run(values=[1, 13, 2], inline=inline)
    assert [run[f"double[{number}]"].state.value for number in range(3)] == ["succeeded", "failed", "succeeded"]
    assert (run["total"].state.value, run["total"].error) == ("upstream_failed", "`double[1]` failed")


@both
def test_an_items_result_is_cached_by_the_item_wherever_it_stands(inline):
    control.over.run(values=[1, 2, 3], inline=inline)
    run = control.over.run(values=[3, 4, 1], inline=inline)
    assert [run[f"double[{number}]"].state.value for number in range(3)] == ["cached", "succeeded", "cached"]
    assert run.outputs == [6, 8, 2]
    assert run["for"].state.value == "succeeded"


def test_no_more_items_are_under_way_than_the_author_allows():
    under_way: set[str] = set()
    most = 0

    def watch(event):
        nonlocal most
        if isinstance(event, AttemptStarted) and "[" in event.node:
            under_way.add(event.node.partition("[")[2])
        if isinstance(event, NodeEnded) and event.node.id.startswith("second["):
            under_way.discard(event.node.id.partition("[")[2])
        most = max(most, len(under_way))

    run = control.bounded.run(count=5, max_workers=4, on_event=watch)
    assert run.outputs == [0, 1, 2, 3, 4]
    assert most == 2


def test_the_authors_own_comparison_runs_in_a_process_of_its_own():
    run = control.graded.run()
    assert run.outputs == 6
    assert "compared" in run["if"].log.read_text()


@both
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.9, {"score": "succeeded", "assert": "succeeded", "noted": "succeeded"}),
        (0.82, {"score": "succeeded", "assert": "failed", "noted": "upstream_failed"}),
        (0.5, {"score": "failed", "assert": "upstream_failed", "noted": "upstream_failed"}),
    ],
)
def test_what_comes_after_a_gate_runs_if_it_is_passed(inline, value, expected, note):
    run = control.gated.run(note=str(note), value=value, inline=inline)
    assert states(run) == expected
    assert lines(note) == (["deployed"] if value == 0.9 else [])


@both
def test_a_gate_tells_value_bound_verdict_and_message(inline, note):
    run = control.gated.run(note=str(note), value=0.5, inline=inline)
    assert [(each["gate"], each["passed"], each["values"]) for each in run["score"].gates] == [
        ("output >= 0.8", False, {"output": 0.5}),
        ("margin < 10", True, {"margin": 0.25}),
    ]
    assert run["score"].error == "gate output >= 0.8: failed (output = 0.5): too weak"
    assert run["score"].outputs == 0.5
    assert run["score"].metrics == {"margin": 0.25}
    written = [json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines()]
    (ended,) = [each for each in written if each["event"] == "node_ended" and each["node"] == "score"]
    assert ended["gates"] == [dict(each) for each in run["score"].gates]
    weak = control.gated.run(note=str(note), value=0.82, inline=inline)
    assert weak["assert"].error == "gate checked > 0.85: failed (score = 0.82): only 0.82"


@both
def test_a_cached_step_does_not_pass_gates_that_it_failed_or_was_not_asked(inline, note):
    def run(value, floor):
        return control.gated.run(note=str(note), value=value, floor=floor, inline=inline)["score"]

    assert run(0.9, 0.8).state.value == "succeeded"
    again = run(0.9, 0.8)
    assert again.state.value == "cached"
    assert [each["passed"] for each in again.gates] == [True, True]
    assert run(0.9, 0.95).state.value == "failed"
    failed_again = run(0.9, 0.95)
    assert (failed_again.state.value, failed_again.gates[0]["passed"]) == ("failed", False)


def test_the_terminal_shows_instances_decisions_and_verdicts(note):
    shown: list[str] = []
    progress = terminal.Progress()
    control.fanned.run(inline=True, on_event=lambda event: shown.extend(progress.lines(event)))
    control.gated.run(note=str(note), value=0.82, inline=True, on_event=lambda e: shown.extend(progress.lines(e)))
    text = "\n".join(shown)
    assert "3 items of upto(count)" in text
    assert "value != 1: no" in text
    assert "double[1]  skipped" in text
    assert "gate output >= 0.8: passed (output = 0.82)" in text
    assert "gate checked > 0.85: failed (score = 0.82): only 0.82" in text


@both
def test_what_was_done_is_undone_in_reverse_and_done_again_by_the_next_run(inline, note):
    run = control.undone.run(note=str(note), inline=inline)
    made, ended = lines(note)[:4], lines(note)[4:]
    assert sorted(made) == ["create a", "create a0", "create a1", "create a2"]
    assert ended == ["undo a2", "undo a1", "undo a0", "undo a", *["undone failed ['dies']"] * 2]
    assert list(run.nodes)[-6:] == ["undo_2[2]", "undo_2[1]", "undo_2[0]", "undo", "told", "told_last"]
    note.unlink()
    again = control.undone.run(note=str(note), how="fine", inline=inline)
    assert again.state.value == "succeeded"
    assert again["create"].state.value == "succeeded"
    assert lines(note)[-1] == "undone succeeded []"
    assert [node.state.value for id_, node in again.nodes.items() if id_.startswith("undo")] == ["skipped"] * 4
    third = control.undone.run(note=str(note), how="exit" if not inline else "raise", inline=inline)
    assert third["create"].state.value == "cached"
    assert [node.state.value for id_, node in third.nodes.items() if id_.startswith("undo")] == ["skipped"] * 4


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_a_step_that_dies_leaves_the_end_of_the_run_to_run(how, note):
    run = control.undone.run(note=str(note), how=how)
    assert run.state.value == "failed"
    assert lines(note)[-3:] == ["undo a", "undone failed ['dies']", "undone failed ['dies']"]


@pytest.mark.slow
@both
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_run_ends_in_time_with_all_that_it_started(inline, note, tmp_path):
    pids = tmp_path / "pids"
    began = time.monotonic()
    run = control.overdue.run(note=str(note), pids=str(pids), inline=inline)
    assert time.monotonic() - began < 20
    assert states(run) == {
        "double": "succeeded",
        "sleeps": "failed",
        "after_quick": "failed" if inline else "succeeded",
        "use": "upstream_failed",
        "told": "succeeded",
    }
    assert run["sleeps"].error == "the run exceeded its timeout"
    assert lines(note)[0].startswith("overdue failed [")
    started = [int(pid) for pid in pids.read_text().split()][inline:]
    assert wait_until(lambda: not any(map(is_alive, started)), 3)


@pytest.mark.slow
@both
def test_a_run_out_of_time_waits_for_no_further_attempt(inline):
    began = time.monotonic()
    run = control.overdue_between_attempts.run(inline=inline)
    assert time.monotonic() - began < 20
    assert (run["never"].error, run["never"].attempts) == ("the run exceeded its timeout", 1)
    assert states(run) == {"never": "failed", "double": "upstream_failed"}


SCRIPT = """
import sys
from tests.backends.local import control

run = control.interrupted.run(
    note=sys.argv[1], pids=sys.argv[2], seconds=float(sys.argv[3]), inline=sys.argv[4] == "inline"
)
print({node.id: node.state.value for node in run.nodes.values()}, run.state.value, sep="|")
"""


def wait_for(condition) -> None:
    assert wait_until(condition, 20)


@pytest.fixture
def start(note, tmp_path):
    """Starts a run in a process of its own, one of its steps asleep."""
    started = []

    def begin(seconds: float, how: str):
        pids = tmp_path / "pids"
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(note), str(pids), str(seconds), how],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def interrupt(run: subprocess.Popen[str], how: str, folder: Path) -> None:
    """Has what is under way end: in workers, the first Ctrl-C would wait for it."""
    run.send_signal(signal.SIGINT)
    if how == "workers":
        (journal,) = (folder / "store" / "runs").glob("*/events.jsonl")
        wait_for(lambda: '"draining"' in journal.read_text())
        run.send_signal(signal.SIGINT)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["workers", "inline"])
def test_ctrl_c_cancels_the_run_but_not_what_runs_on_exit(start, note, how, tmp_path):
    process = start(0.0, how)
    interrupt(process, how, tmp_path)
    said, _ = process.communicate(timeout=20)
    ended, _, state = said.strip().partition("|")
    assert eval(ended) == {
        "create": "succeeded",
        "sleeps": "cancelled",
        "use": "cancelled",
        "undo": "skipped",
        "told": "skipped",
        "last": "succeeded",
    }
    assert state == "cancelled"
    assert lines(note)[-1] == "left"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["workers", "inline"])
def test_another_ctrl_c_stops_that_too(start, note, how, tmp_path):
    process = start(60.0, how)
    interrupt(process, how, tmp_path)
    wait_for(lambda: "leaving" in lines(note))
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=20)
    assert "'last': 'cancelled'" in said
    assert lines(note)[-1] == "leaving"


class Interrupter:
    """Presses Ctrl-C when a node is tried, and then does something when it is told what is waited for."""

    def __init__(self, node: str, then: Callable[[], object]) -> None:
        self._node = node
        self._then = then
        self.told: list[str] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, AttemptStarted) and event.node == self._node:
            signal.raise_signal(signal.SIGINT)
        if isinstance(event, Noticed):
            self.told.append(event.text)
            self._then()


def test_ctrl_c_lets_what_is_under_way_end(note, tmp_path):
    release = tmp_path / "release"
    press = Interrupter("holds", release.touch)
    run = control.drained.run(note=str(note), release=str(release), on_event=press)
    assert states(run) == {
        "holds": "succeeded",
        "double": "cancelled",
        "never": "cancelled",
        "last": "succeeded",
    }
    assert run.state.value == "cancelled"
    assert press.told == ["waiting for `holds`; Ctrl-C again ends that, too"]
    assert lines(note)[-1] == "left"
    assert "draining" in [event["event"] for event in check_events(run)]


def test_what_fails_after_ctrl_c_is_not_tried_again(note, tmp_path):
    began = time.monotonic()
    run = control.drained.run(note=str(note), release="", on_event=Interrupter("never", int), max_workers=1)
    assert time.monotonic() - began < 20
    assert (run["never"].state.value, run["never"].attempts) == ("cancelled", 1)


def test_ctrl_c_changes_nothing_where_nothing_was_left(note):
    run = control.holding.run(release=str(note), on_event=Interrupter("holds", note.touch))
    assert run.state.value == "cancelled"  # the assert was left
    assert control.pausing.run(seconds=0.05, on_event=Interrupter("pauses", int)).state.value == "succeeded"


def test_sigterm_waits_for_nothing(note, monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.default_int_handler)
    press = Interrupter("pauses", int)

    def terminate(event: Event) -> None:
        press(event)
        if isinstance(event, Noticed):
            signal.raise_signal(signal.SIGTERM)

    run = control.pausing.run(seconds=60.0, on_event=terminate)
    assert states(run) == {"pauses": "cancelled"}


def test_a_run_that_was_cancelled_goes_on_where_it_was_left(note):
    cancelled = control.holding.run(release=str(note), on_event=Interrupter("holds", note.touch))
    assert states(cancelled) == {"holds": "succeeded", "assert": "cancelled"}
    assert states(control.holding.resume()) == {"holds": "cached", "assert": "succeeded"}
