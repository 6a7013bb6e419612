"""What a run's journal promises: each event as the published schema says, whatever the run comes to."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from penstock.event_log import event_schema
from penstock.results import AttemptFailed, AttemptStarted
from tests.backends.local import control, pipelines

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "docs/event-log.schema.json"
VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))


@pytest.fixture(autouse=True)
def _store(tmp_path, monkeypatch):
    monkeypatch.setenv("PENSTOCK_STORE", str(tmp_path / "store"))


def events_of(run):
    return [json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines()]


def check_events(run):
    """Holds the events of a journal to the schema."""
    events = events_of(run)
    for event in events:
        VALIDATOR.validate(event)
    return events


def check(run):
    """Holds a journal to the schema, and to the order in which things happen; its events."""
    events = check_events(run)
    kinds = [event["event"] for event in events]
    assert (kinds[0], kinds[-1]) == ("run_started", "run_ended")
    assert (kinds.count("run_started"), kinds.count("run_ended")) == (1, 1)
    open_attempts, ended = set(), set()
    for event in events:
        attempt = (event.get("node"), event.get("attempt"))
        if event["event"] == "attempt_started":
            assert event["node"] not in ended
            open_attempts.add(attempt)
        elif event["event"] == "attempt_ended":
            open_attempts.remove(attempt)
        elif event["event"] == "node_ended":
            assert event["node"] not in ended
            ended.add(event["node"])
    assert not open_attempts
    states = {event["node"]: event["state"] for event in events if event["event"] == "node_ended"}
    assert states == {node.id: node.state.value for node in run.nodes.values()}
    assert (events[-1]["state"], sum(events[-1]["counts"].values())) == (run.state.value, len(states))
    return events


def stop_at(node):
    def stop(event):
        if isinstance(event, AttemptStarted) and event.node == node:
            raise KeyboardInterrupt

    return stop


def test_the_published_schema_is_that_of_the_code_and_of_the_command(capsys):
    from penstock.cli import app

    app(["schema", "--events"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out) == json.loads(SCHEMA.read_text()) == event_schema()


RUNS = {
    "loop": (lambda note: control.fanned.run(inline=True), "succeeded"),
    "failed item": (lambda note: control.some_fail.run(values=[12, 13, 14], inline=True), "failed"),
    "failed gate": (lambda note: control.gated.run(note=note, value=0.5, inline=True), "failed"),
    "passed gates": (lambda note: control.gated.run(note=note, value=0.9, inline=True), "succeeded"),
    "rollback": (lambda note: control.undone.run(note=note, inline=True), "failed"),
    "cancelled": (
        lambda note: control.interrupted.run(note=note, pids=note, inline=True, on_event=stop_at("sleeps")),
        "cancelled",
    ),
    "metrics": (lambda note: pipelines.with_metrics.run(inline=True), "succeeded"),
    "failed step": (lambda note: pipelines.one_failure.run(inline=True), "failed"),
    "retries": (lambda note: pipelines.retried_beside_others.run(), "succeeded"),
    "killed step": (lambda note: pipelines.misbehaving.run(how="kill"), "failed"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_every_journal_is_as_the_schema_says(kind, tmp_path):
    run, state = RUNS[kind]
    assert check(run(str(tmp_path / "note")))[-1]["state"] == state


def test_a_cached_node_has_an_end_and_no_attempt():
    control.fanned.run(inline=True)
    events = check(control.fanned.run(inline=True))
    assert [event["event"] for event in events if event.get("node") == "upto"] == ["node_ended"]


def test_a_clock_that_is_set_back_moves_no_event_before_another(monkeypatch):
    hours = iter(range(10_000, 0, -1))
    monkeypatch.setattr("time.time", lambda: 3600.0 * next(hours))
    times = [event["time"] for event in check(control.fanned.run(inline=True))]
    assert times == sorted(times)
    assert times[-1] - times[0] < 3600


def test_a_run_that_resumes_another_names_it():
    first = control.some_fail.run(values=[1, 13], inline=True)
    second = control.some_fail.resume(first, inline=True)
    started = check(second)[0]
    assert (started["resumes"], started["spec"]) == (first.id, events_of(first)[0]["spec"])


@pytest.mark.slow
def test_an_attempt_that_is_followed_says_when_and_why_it_failed():
    heard = []
    run = pipelines.retried_beside_others.run(on_event=heard.append)
    ended = [each for each in check(run) if each["event"] == "attempt_ended" and each["node"] == "third_time"]
    assert [(each["state"], each.get("retry_in")) for each in ended] == [
        ("failed", 0.4),
        ("failed", 0.5),
        ("succeeded", None),
    ]
    told = [event for event in heard if isinstance(event, AttemptFailed)]
    assert [(each.error, round(each.seconds, 6), each.cpu_seconds) for each in told] == [
        (each["error"], each["seconds"], each["cpu_seconds"]) for each in ended[:2]
    ]


@pytest.mark.slow
def test_a_run_out_of_time_says_so_of_the_attempt_under_way(tmp_path):
    run = control.overdue.run(note=str(tmp_path / "note"), pids=str(tmp_path / "pids"))
    (ended,) = [each for each in check(run) if each["event"] == "attempt_ended" and each["node"] == "sleeps"]
    assert (ended["state"], ended["error"]) == ("failed", "the run exceeded its timeout")
    assert ended["seconds"] == pytest.approx(run["sleeps"].seconds, abs=1e-5)


@pytest.mark.parametrize("inline", [False, True], ids=["workers", "inline"])
def test_what_attempts_used_is_told_of_the_node_the_run_and_in_the_journal(inline):
    run = control.burning.run(inline=inline)
    node = run["burns"]
    first, second = [each for each in check(run) if each["event"] == "attempt_ended"]
    assert node.attempts == 2
    assert node.cpu_seconds == pytest.approx(first["cpu_seconds"] + second["cpu_seconds"], abs=1e-5)
    assert node.cpu_seconds >= 0.1
    summary = json.loads((run.folder / "run.json").read_text())["nodes"]["burns"]
    assert (summary["cpu_seconds"], summary["peak_memory"]) == (node.cpu_seconds, node.peak_memory)
    if not inline:  # there it depends on what this process needed before
        assert node.peak_memory == max(first["peak_memory"], second["peak_memory"]) > 100_000_000


@pytest.mark.slow
def test_an_inline_peak_is_told_where_it_is_the_highest_of_its_process():
    program = """
from penstock_backends.local.usage import Meter
meter = Meter()
memory = bytearray(1) * 200_000_000
print(meter.usage()["peak_memory"] > 200_000_000)
del memory
print("peak_memory" in Meter().usage())
"""
    # A program begins with the peak of the process that it was forked from: of a shell, which is small.
    command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_what_never_ran_used_nothing():
    run = pipelines.one_failure.run(inline=True)
    assert (run["below"].cpu_seconds, run["below"].peak_memory) == (None, None)


def test_the_documentation_names_every_event_and_what_it_holds():
    rows = re.findall(r"^\| (`.+?) \|.*\| (.+) \|$", (ROOT / "docs/local.md").read_text(), re.MULTILINE)
    told = {
        name: set(re.findall(r"`(\w+)`", fields)) for names, fields in rows for name in re.findall(r"`(\w+)`", names)
    }
    events = [each["properties"] for each in event_schema()["$defs"].values() if "event" in each["properties"]]
    assert len(events) > 5
    for fields in events:
        assert fields.keys() - {"event", "time"} <= told[fields["event"]["const"]]
