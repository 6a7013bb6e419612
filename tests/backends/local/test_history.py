"""What is read of a run is what the run came to, whatever state its record was left in."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from penstock import ConfigurationError, compiler
from penstock_backends.local import history as reading
from tests.backends.local import control, pipelines

STARTED = {"time": 1000.0, "event": "run_started", "run": "old", "pipeline": "work", "format": 1}


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("PENSTOCK_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


def write_run(store, name, *events, torn=b""):
    folder = store / "runs" / name
    folder.mkdir(parents=True)
    lines = [json.dumps(each).encode() + b"\n" for each in events]
    (folder / "events.jsonl").write_bytes(b"".join(lines) + torn)
    return folder


@pytest.mark.parametrize(
    ("pipeline", "parameters"),
    [
        (pipelines.chain, {}),
        (control.fanned, {}),
        (control.some_fail, {"values": [1, 2, 3]}),
        (control.graded, {}),
        (control.gated, {"note": "note", "value": 0.5}),
        (control.undone, {"note": "note"}),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_what_is_read_is_what_the_run_said(pipeline, parameters, store):
    given = {name: str(store.parent / value) if name == "note" else value for name, value in parameters.items()}
    run = pipeline.run(given, inline=True)
    history = compiler.history(None)
    found = history.find(run.id)
    nodes = history.nodes(found)
    assert (found.state, found.pipeline) == (run.state.value, run.pipeline)
    assert found.seconds == pytest.approx(run.seconds)
    assert list(nodes) == list(run.nodes)
    for name, node in run.nodes.items():
        past = nodes[name]
        assert (past.state, past.kind, past.text) == (node.state.value, node.kind, node.text)
        assert (len(past.attempts), past.error, dict(past.metrics)) == (node.attempts, node.error, dict(node.metrics))
        assert past.gates == node.gates
        assert past.seconds == pytest.approx(node.seconds, abs=1e-5)
    assert sum(found.counts.values()) == len(nodes)
    assert history.spec(found) == pipeline.spec


def test_a_torn_line_and_an_end_that_is_missing_are_an_interruption(store):
    events = [
        STARTED,
        {"time": 1001.0, "event": "attempt_started", "node": "a", "attempt": 1},
        {"time": 1002.0, "event": "node_ended", "node": "a", "state": "succeeded"},
        {"time": 1002.5, "event": "attempt_started", "node": "b", "attempt": 1},
    ]
    write_run(store, "20200101-000000-000000", *events, torn=b'{"time": 1003.0, "event": "node_ended", "node"')
    history = compiler.history(None)
    run = history.find("latest")
    assert (run.state, run.seconds, run.counts) == ("interrupted", 2.5, {"succeeded": 1})
    nodes = history.nodes(run)
    assert {name: node.state for name, node in nodes.items()} == {"a": "succeeded", "b": "interrupted"}
    assert nodes["a"].seconds == 1.0
    with pytest.raises(ConfigurationError, match=r"P732.*spec\.json"):
        history.spec(run)


def test_attempts_of_the_first_format_are_read(store):
    events = [
        STARTED,
        {"time": 1001.0, "event": "attempt_started", "node": "a", "attempt": 1},
        {"time": 1002.0, "event": "attempt_failed", "node": "a", "attempt": 1, "error": "no", "retry_in": 0},
        {"time": 1003.0, "event": "attempt_started", "node": "a", "attempt": 2},
        {"time": 1005.0, "event": "node_ended", "node": "a", "state": "cancelled"},
        {"time": 1006.0, "event": "run_ended", "state": "cancelled", "seconds": 6.0},
    ]
    write_run(store, "20200101-000000-000000", *events)
    history = compiler.history(None)
    run = history.find("2020")
    assert (run.state, run.seconds, run.counts) == ("cancelled", 6.0, {"cancelled": 1})
    attempts = history.nodes(run)["a"].attempts
    assert [(each.state, each.seconds, each.error) for each in attempts] == [
        ("failed", 1.0, "no"),
        ("cancelled", 2.0, ""),
    ]


def test_a_run_that_had_not_begun_is_none(store):
    write_run(store, "20200101-000000-000000", torn=b'{"time": 1')
    history = compiler.history(None)
    assert list(history.runs()) == []
    with pytest.raises(ConfigurationError, match="holds no runs"):
        history.find("latest")


def test_the_beginning_of_an_id_is_enough_where_it_is_one(store):
    for name in ("20200101-1", "20200102-1", "20200102-12"):
        write_run(store, name, STARTED)
    history = compiler.history(None)
    assert [run.id for run in history.runs()] == ["20200102-12", "20200102-1", "20200101-1"]
    assert [run.id for run in history.runs("other")] == []
    assert history.find("20200101").id == "20200101-1"
    assert history.find("20200102-1").id == "20200102-1"
    with pytest.raises(ConfigurationError, match="beginning of 2 runs"):
        history.find("20200102")


def test_the_latest_run_is_so_though_the_clock_was_set_back(store):
    write_run(store, "20991231-235959-999999", STARTED)
    runs = [pipelines.chain.run(inline=True).id for _ in range(2)]
    assert runs == ["21000101-000000-000000", "21000101-000000-000001"]
    assert compiler.history(None).find("latest").id == runs[1]


def test_a_run_lives_as_long_as_its_process(store):
    holder = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'rb'); fcntl.flock(f, fcntl.LOCK_EX); print('.', flush=True)"
    )
    started = {**STARTED, "host": socket.gethostname(), "pid": os.getpid()}
    folder = write_run(store, "20200101-000000-000000", started)
    history = compiler.history(None)
    assert history.find("latest").state == "interrupted"
    command = [sys.executable, "-c", f"{holder}; time.sleep(60)", str(folder / "events.jsonl")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.read(1)
        run = history.find("latest")
        assert run.state == "running"
        assert run.seconds == pytest.approx(time.time() - 1000.0, abs=5.0)
        with pytest.raises(ConfigurationError, match="P731"):
            history.remove(run)
        # A process that the runner has left behind holds the lock, too.
        (folder / "events.jsonl").write_text(json.dumps({**started, "pid": 2**22 + 1}) + "\n")
        assert history.find("latest").state == "interrupted"
        process.kill()
    history.remove(history.find("latest"))
    assert not folder.exists()


def test_where_files_cannot_be_locked_the_process_tells(store, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(reading.fcntl, "flock", refuse)
    started = {**STARTED, "host": socket.gethostname(), "pid": os.getpid()}
    write_run(store, "1", started)
    write_run(store, "2", {**started, "pid": 2**22 + 1})
    write_run(store, "3", {**started, "host": "elsewhere"})
    states = {run.id: run.state for run in compiler.history(None).runs()}
    assert states == {"1": "running", "2": "interrupted", "3": "interrupted"}
    assert pipelines.chain.run(inline=True).state.value == "succeeded"
