"""What a run on this machine promises, in worker processes and inline."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock import ConfigurationError, RunError
from penstock.backend import Definition
from penstock.compiler import load_spec
from penstock.results import AttemptFailed, AttemptStarted, NodeEnded, RunEnded, RunStarted
from penstock_backends.local import LocalBackend
from penstock_backends.local.options import RunOptions
from tests.backends.local import pipelines

ROOT = Path(__file__).parents[3]
both = pytest.mark.parametrize("inline", [False, True], ids=["workers", "inline"])


@pytest.fixture(autouse=True)
def _store(tmp_path, monkeypatch):
    monkeypatch.setenv("PENSTOCK_STORE", str(tmp_path / "store"))


def states(run):
    return {node.id: node.state.value for node in run.nodes.values()}


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(condition())


@both
@pytest.mark.parametrize("name", ["chain", "named", "several", "nothing", "arrays", "spoiled"])
def test_a_run_returns_what_plain_python_returns(name, inline, tmp_path, monkeypatch):
    (tmp_path / "plain").mkdir()
    monkeypatch.chdir(tmp_path / "plain")
    chosen = getattr(pipelines, name)
    run = chosen.run(inline=inline)
    assert set(states(run).values()) == {"succeeded"}
    if name != "spoiled":
        expected = chosen()
        assert run.outputs == expected
        assert type(run.outputs) is type(expected)


@both
def test_a_nodes_outputs_are_what_its_step_returned(inline):
    run = pipelines.several.run(point=pipelines.Point(7), inline=inline)
    assert run["summarise"].outputs == pipelines.Summary(7, ["a", "b"])
    assert type(run["summarise"].outputs) is pipelines.Summary
    assert run["wrap"].outputs == pipelines.Opaque(7)


@both
def test_what_depends_on_a_failure_does_not_run_and_the_rest_does(inline):
    run = pipelines.one_failure.run(inline=inline)
    assert run.state.value == "failed"
    assert run.outputs is None
    assert states(run) == {
        "one": "succeeded",
        "fails": "failed",
        "independent": "succeeded",
        "below": "upstream_failed",
        "add": "upstream_failed",
    }
    assert run["below"].attempts == 0


@both
def test_a_traceback_shows_the_authors_frames_and_no_others(inline):
    failed = pipelines.one_failure.run(inline=inline)["fails"]
    assert failed.error == "ZeroDivisionError: integer division or modulo by zero"
    frames = [line for line in failed.traceback.splitlines() if line.startswith("  File")]
    assert len(frames) == 1
    assert frames[0].startswith(f'  File "{pipelines.__file__}", line ')
    assert "return value // scale" in failed.traceback


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("exit", "exit code 3 and no result"),
        ("sys.exit", "SystemExit: enough"),
        ("segfault", "killed by SIGSEGV"),
        ("kill", "killed by SIGKILL (often: out of memory)"),
        ("kill worker", "worker process of the attempt was ended from outside"),
    ],
)
def test_a_death_is_a_failed_attempt_that_says_why_and_is_retried(how, message):
    failed = pipelines.misbehaving.run(how=how)["misbehaves"]
    assert failed.state.value == "failed"
    assert message in failed.error
    assert "last words" in failed.log.read_text()
    again = pipelines.misbehaving_once.run(how=how)
    assert again.outputs == how
    assert again["misbehaves"].attempts == 2


def test_a_step_that_closes_its_descriptors_or_leaves_its_folder_harms_no_other():
    run = pipelines.careless.run(max_workers=1)
    assert run.outputs == ("done", "/", ("", "[]"))


@pytest.mark.slow
def test_what_a_step_returns_when_its_time_was_up_comes_too_late():
    run = pipelines.polite.run()
    assert states(run) == {"ends_politely": "failed"}
    assert "0.5 s" in run["ends_politely"].error


def test_a_process_that_was_killed_while_it_waited_for_an_attempt_is_replaced():
    run = pipelines.waiting_ones_killed.run(max_workers=3)
    assert run.state.value == "succeeded"
    assert run.outputs >= 1


def test_a_step_that_writes_to_every_socket_that_it_finds_gives_what_it_returned():
    assert pipelines.out_of_turn.run().outputs == 2


@pytest.mark.slow
def test_a_daemon_that_a_step_leaves_holding_its_log_ends_with_the_attempt(tmp_path):
    note = tmp_path / "pid"
    began = time.monotonic()
    assert pipelines.daemonic.run(note=str(note)).outputs == 1
    assert time.monotonic() - began < 30
    assert wait_until(lambda: not is_alive(int(note.read_text())), 30)


@pytest.mark.slow
def test_a_killed_worker_leaves_none_of_its_attempt(tmp_path):
    note = tmp_path / "pid"
    events = []

    def kill(event):
        events.append(event)
        if isinstance(event, AttemptStarted) and event.node == "sleeps":
            wait_until(note.exists)
            wait_until(lambda: len(note.read_text().split()) >= 2)
            attempt = int(note.read_text().split()[0])
            worker = int(Path(f"/proc/{attempt}/stat").read_text().rpartition(")")[2].split()[1])
            os.kill(worker, signal.SIGKILL)

    run = pipelines.sleeping.run(note=str(note), seconds=3.0, max_workers=2, on_event=kill)
    assert "failed" in states(run).values()
    first = [int(pid) for pid in note.read_text().split()[:2]]
    assert wait_until(lambda: not any(map(is_alive, first)), 2)


@pytest.mark.slow
def test_a_retry_waits_without_taking_a_workers_place():
    events = []
    run = pipelines.retried_beside_others.run(max_workers=1, on_event=events.append)
    assert run.outputs == (3, [0.01, 0.02, 0.03])
    delays = [event.retry_in for event in events if isinstance(event, AttemptFailed)]
    assert delays == [0.4, 0.5]
    order = [event.node for event in events if isinstance(event, AttemptStarted)]
    assert order == ["third_time", "naps", "naps_2", "naps_3", "third_time", "third_time"]


def most_at_once(events) -> int:
    running = most = 0
    for event in events:
        running += isinstance(event, AttemptStarted)
        running -= isinstance(event, NodeEnded)
        most = max(most, running)
    return most


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_as_many_attempts_run_at_once_as_there_are_workers(workers):
    events = []
    pipelines.nap_together.run(max_workers=workers, on_event=events.append)
    assert most_at_once(events) == workers


@pytest.mark.slow
def test_attempts_stay_within_the_budget_and_smaller_ones_fill_it():
    events = []
    pipelines.hungry.run(max_workers=4, cpu=2, on_event=events.append)
    greedy = [event for event in events if getattr(event, "node", None) in ("naps", "naps_2")]
    started = [event.node for event in events if isinstance(event, AttemptStarted)]
    assert started[:2] == ["naps", "naps_3"]
    assert most_at_once(events) == 2
    assert greedy


def test_what_can_never_fit_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(RunError) as caught:
        pipelines.too_hungry.run()
    (problem,) = caught.value.diagnostics
    assert problem.code == "P610"
    assert "10000 cores of" in problem.message
    assert "memory" in problem.message
    assert "Resources(cpu=10_000" in problem.location.text
    assert not (tmp_path / "store").exists()


def test_what_a_step_prints_is_kept_as_bytes():
    run = pipelines.talkative.run()
    assert run["prints_bytes"].log.read_bytes() == b"text before\n\xff\x00rawand an error"
    assert run["add"].log is None


def test_steps_draw_different_random_numbers_though_their_processes_are_forked():
    first, second = pipelines.random_twice.run().outputs
    assert first != second


@both
def test_events_tell_a_run_in_order(inline):
    events = []
    run = pipelines.with_metrics.run(inline=inline, on_event=events.append)
    assert [type(event) for event in events] == [RunStarted, AttemptStarted, NodeEnded, RunEnded]
    assert events[0].nodes == ("measured",)
    assert repr(events[2].node.metrics) == "{'value': 3, 'half': 1.5, 'none': nan}" == repr(run["measured"].metrics)
    written = [json.loads(line)["event"] for line in (run.folder / "events.jsonl").read_text().splitlines()]
    assert written == ["run_started", "attempt_started", "attempt_ended", "node_ended", "run_ended"]
    assert json.loads((run.folder / "run.json").read_text())["nodes"]["measured"]["state"] == "succeeded"


def test_a_listener_that_raises_leaves_no_process_behind():
    def refuse(event):
        events.append(event)
        if len(events) == 4:
            raise RuntimeError("no more")

    events = []
    before = set(children())
    with pytest.raises(RuntimeError, match="no more"):
        pipelines.nap_together.run(on_event=refuse)
    assert set(children()) == before


def children():
    return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()


SCRIPT = """
import sys
from tests.backends.local import pipelines
from penstock.results import AttemptStarted

run = pipelines.sleeping.run(note=sys.argv[1], max_workers=2, on_event=lambda e: print(type(e).__name__, flush=True))
print({node.id: node.state.value for node in run.nodes.values()}, run.state.value)
"""


@pytest.fixture
def sleeper(tmp_path):
    note = tmp_path / "pids"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(note)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert wait_until(lambda: note.exists() and len(note.read_text().split()) == 4, 20)
    yield process, [int(pid) for pid in note.read_text().split()]
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_ctrl_c_cancels_what_is_left_and_leaves_no_process(sleeper):
    process, pids = sleeper
    os.killpg(process.pid, signal.SIGINT)
    assert "Noticed\n" in process.stdout  # that it waits for what is under way
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    expected = {"one": "succeeded", "other": "cancelled", "after": "cancelled", "sleeps": "cancelled"}
    assert str(dict(sorted(expected.items()))) in str(
        dict(sorted(eval(said.splitlines()[-1].rpartition(" ")[0]).items()))
    )
    assert said.endswith("cancelled\n")
    assert not any(map(is_alive, pids))


@pytest.mark.slow
def test_a_killed_runner_leaves_no_process(sleeper):
    process, pids = sleeper
    process.kill()
    assert wait_until(lambda: not any(map(is_alive, pids)), 3)


MAIN = """
from dataclasses import dataclass
from penstock import pipeline, step

@dataclass
class Pair:
    left: int

class Thing:
    def __init__(self, pair):
        self.pair = pair

@step
def make() -> Thing:
    return Thing(Pair(1))

@step
def take(thing: Thing) -> tuple[str, Pair]:
    return type(thing).__qualname__, thing.pair

@pipeline
def mine() -> tuple[Thing, Pair]:
    thing = make()
    return thing, take(thing)[1]

if __name__ == "__main__":
    import sys
    for inline in sys.argv[1:]:
        run = mine.run(inline=inline == "inline")
        thing, pair = run.outputs
        assert type(thing) is Thing and type(pair) is Pair and type(thing.pair) is Pair
        assert Thing.__module__ == "__main__"
        print(*(node.state.value for node in run.nodes.values()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("order", [("inline", "workers"), ("workers", "inline")])
def test_a_script_stores_its_classes_under_names_that_every_process_finds(order, tmp_path):
    (tmp_path / "myscript.py").write_text(MAIN)
    command = [sys.executable, "myscript.py", *order]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.stdout == "succeeded succeeded\ncached cached\n", done.stderr
    pickled = [file.read_bytes() for file in (tmp_path / "store" / "objects").rglob("*") if file.is_file()]
    assert len(pickled) == 1
    assert b"myscript" in pickled[0]
    assert b"__main__" not in pickled[0]


def test_inline_runs_the_authors_function_in_this_process():
    assert pipelines.chain.run(inline=True).outputs == 5
    calls = []

    def trace(frame, event, arg):
        if frame.f_code.co_filename == pipelines.__file__:
            calls.append(frame.f_code.co_name)

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        pipelines.chain.run(start=10, inline=True)
    finally:
        sys.settrace(before)
    assert calls.count("add") == 5


@pytest.mark.parametrize("chosen", [pipelines.chain, pipelines.one_failure], ids=lambda each: each.name)
def test_a_pipeline_read_from_json_runs_without_its_files(chosen, tmp_path):
    definition = Definition(load_spec(chosen.spec.model_dump_json()))
    run = LocalBackend().run(definition, chosen.encode_parameters({}), RunOptions())
    assert states(run) == states(chosen.run(store=tmp_path / "other"))
    assert run.outputs == (5 if chosen is pipelines.chain else None)
    if chosen is pipelines.one_failure:
        assert 'File "<tests.backends.local.pipelines>"' in run["fails"].traceback
        assert "return value // scale" in run["fails"].traceback


def test_inline_needs_functions():
    definition = Definition(load_spec(pipelines.chain.spec.model_dump_json()))
    with pytest.raises(ConfigurationError) as caught:
        LocalBackend().run(definition, {"start": 0}, RunOptions(inline=True))
    assert caught.value.diagnostics[0].code == "P726"


def test_runs_may_go_on_side_by_side_in_threads():
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda start: pipelines.chain.run(start=start, max_workers=2), range(3)))
    assert [run.outputs for run in runs] == [5, 6, 7]
    assert len({run.id for run in runs}) == 3


@pytest.mark.slow
def test_packages_that_cannot_be_installed_fail_their_step_with_what_the_installer_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PENSTOCK_ENVIRONMENTS", str(tmp_path / "environments"))
    run = pipelines.with_impossible_packages.run()
    assert states(run) == {"add": "failed", "one": "succeeded"}
    assert "the step's packages cannot be installed" in run["add"].error
    assert "nowhere.whl" in run["add"].error
