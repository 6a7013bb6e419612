"""Alerts and flags: what is told to whom, and that no webhook or command can break or delay a run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from penstock.diagnostics import ConfigurationError
from penstock.results import AttemptStarted, Noticed, RunEnded
from penstock_backends.local import observers, sending
from penstock_backends.local.alerts import Alert
from penstock_backends.local.health import Health, Usual
from tests.backends.local import control, pipelines
from tests.backends.local.test_journal import check_events, events_of


@pytest.fixture(autouse=True)
def _quickly(tmp_path, monkeypatch):
    monkeypatch.setenv("PENSTOCK_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(sending, "PAUSE", 0.01)
    monkeypatch.setattr(sending, "TIMEOUT", 60.0)  # what is to arrive does, however busy the machine is
    monkeypatch.setattr(observers, "PATIENCE", 60.0)


class Webhook:
    """An HTTP server that notes what it is sent, and answers with one status after another; 0 hangs."""

    def __init__(self, *statuses: int) -> None:
        self.received: list[tuple[str, dict[str, str], dict[str, object]]] = []
        self.released = threading.Event()
        webhook, answers = self, list(statuses)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                webhook.received.append((self.path, dict(self.headers), body))
                status = answers.pop(0) if len(answers) > 1 else answers[0]
                if status == 0:
                    webhook.released.wait(60)
                    return
                self.send_response(status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def webhook():
    made = []

    def make(*statuses):
        made.append(Webhook(*statuses))
        return made[-1]

    yield make
    for each in made:
        each.close()


def ends(run):
    """What the journal says became of each alert."""
    return [each for each in events_of(run) if each["event"] in ("alert_sent", "alert_failed")]


def fail(alert, **options):
    run = control.some_fail.run(values=[12, 13, 14], inline=True, alerts=[{"on": "failure", **alert}], **options)
    assert (run.state.value, run["double[2]"].state.value) == ("failed", "succeeded")
    check_events(run)
    (end,) = ends(run)
    return run, end


def test_a_failure_reaches_the_webhook_with_all_that_one_wants_to_know(webhook, monkeypatch):
    monkeypatch.setenv("TOKEN", "secret-7")
    hook = webhook(204)
    heard = []
    url = hook.url.replace("/hook", "/${TOKEN}")
    run, end = fail({"to": url, "headers": {"Authorization": "Bearer ${TOKEN}"}}, on_event=heard.append)
    ((path, headers, body),) = hook.received
    assert (path, headers["Authorization"], headers["Content-Type"]) == (
        "/secret-7",
        "Bearer secret-7",
        "application/json",
    )
    assert body["text"].startswith(f"some_fail failed: `double[1]`: ValueError: unlucky (run {run.id} on ")
    assert (body["format"], body["on"], body["state"], body["run"]) == (1, "failure", "failed", run.id)
    assert body["failures"] == {"double[1]": "ValueError: unlucky"}
    assert body["folder"] == str(run.folder)
    assert (end["event"], end["to"], end["tries"]) == ("alert_sent", url, 1)
    assert [type(each) for each in heard[-2:]] == [RunEnded, Noticed]
    assert "secret-7" not in (run.folder / "events.jsonl").read_text()


@pytest.mark.parametrize(
    ("statuses", "event", "tries"),
    [
        ((500, 200), "alert_sent", 2),
        ((500,), "alert_failed", 3),
        ((429, 503, 201), "alert_sent", 3),
        ((404,), "alert_failed", 1),
        ((302,), "alert_failed", 1),
        ((307,), "alert_failed", 1),
    ],
)
def test_what_may_pass_is_tried_again(webhook, statuses, event, tries):
    hook = webhook(*statuses)
    _, end = fail({"to": hook.url})
    assert (end["event"], end["tries"], len(hook.received)) == (event, tries, tries)
    if event == "alert_failed":
        assert f"the webhook answered {statuses[0]}" in end["error"]


def test_a_webhook_that_hangs_is_given_up(webhook, monkeypatch):
    monkeypatch.setattr(sending, "TIMEOUT", 0.1)
    _, end = fail({"to": webhook(0).url})
    assert (end["event"], end["error"]) == ("alert_failed", "the webhook gave no answer within 0.1 s")


def test_the_end_of_a_run_waits_for_no_more_than_a_while(webhook, monkeypatch):
    monkeypatch.setattr(observers, "PATIENCE", 0.3)
    ended = []
    hook = webhook(0)
    run = control.some_fail.run(
        values=[13],
        inline=True,
        alerts=[{"on": "failure", "to": hook.url}, {"on": "failure", "to": ["true"]}],
        on_event=lambda event: ended.append(time.monotonic()) if isinstance(event, RunEnded) else None,
    )
    assert time.monotonic() - ended[0] < 20  # it hangs for a minute
    assert [(each["event"], each["error"]) for each in ends(run)] == 2 * [
        ("alert_failed", "there was no time left for it at the end of the run")
    ]


def test_a_webhook_that_nobody_serves_fails_the_alert_alone(webhook):
    hook = webhook(200)
    hook.close()
    _, end = fail({"to": hook.url})
    assert (end["event"], end["tries"]) == ("alert_failed", 3)
    assert "the webhook cannot be reached" in end["error"]


def test_a_secret_that_is_not_set_is_named():
    _, end = fail({"to": "https://hooks.invalid/${NO_SUCH_TOKEN}"})
    assert end["error"] == "the environment variable NO_SUCH_TOKEN is not set"


def test_a_variable_cannot_lead_to_a_file(monkeypatch):
    monkeypatch.setenv("HOOK", "file:///etc/hostname")
    _, end = fail({"to": "${HOOK}"})
    assert end["error"] == "its URL is not one of http or https"


def test_a_command_gets_the_message_where_the_run_was_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, end = fail({"to": ["sh", "-c", "cat > told.json"]})
    assert end["event"] == "alert_sent"
    assert json.loads((tmp_path / "told.json").read_text())["pipeline"] == "some_fail"


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (["sh", "-c", "echo no such channel >&2; exit 3"], "the command ended with 3: no such channel"),
        (["true"], None),  # it reads nothing
        (["no-such-command"], "the command cannot be started: No such file or directory"),
    ],
)
def test_a_command_that_fails_fails_the_alert_alone(command, error):
    _, end = fail({"to": command})
    assert end.get("error") == error


def test_a_command_that_hangs_is_ended_with_what_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(sending, "TIMEOUT", 1.0)
    pid = tmp_path / "pid"
    _, end = fail({"to": ["sh", "-c", f"sleep 60 & echo $! > {pid}; wait"]})
    assert end["error"] == "the command did not end within 1 s"
    child = Path(f"/proc/{int(pid.read_text())}/stat")
    deadline = time.monotonic() + 30
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        while child.read_text().split()[2] != "Z":
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_who_is_told_of_what(webhook, tmp_path):
    hook = webhook(200)
    to = {"to": hook.url}
    alerts = [
        {"on": "gate", **to},
        {"on": "gate", "node": "assert*", **to},
        {"on": "failure", "node": "no*", **to},
        {"on": "failure", "pipeline": "other", **to},
        {"on": "cancelled", **to},
        {"on": "failure", "node": "score", **to},
    ]
    run = control.gated.run(note=str(tmp_path / "note"), value=0.5, inline=True, alerts=alerts)
    assert [(body["on"], body["node"]) for _, _, body in hook.received] == [("gate", "score"), ("failure", "score")]
    gate = hook.received[0][2]
    assert gate["text"].startswith("`score` of gated: gate output >= 0.8: failed (output = 0.5): too weak")
    assert [(each["gate"], each["passed"]) for each in gate["gates"]] == [("output >= 0.8", False)]
    assert gate["run"] == run.id


def test_a_cancelled_run_is_no_failure(webhook, tmp_path):
    def stop(event):
        if getattr(event, "node", None) == "sleeps":
            raise KeyboardInterrupt

    hook = webhook(200)
    note = str(tmp_path / "note")
    alerts = [{"on": "failure", "to": hook.url}, {"on": "cancelled", "to": hook.url}]
    control.interrupted.run(note=note, pids=note, inline=True, alerts=alerts, on_event=stop)
    assert [body["on"] for _, _, body in hook.received] == ["cancelled"]


def test_a_run_that_the_runner_itself_gives_up_is_a_failure(webhook):
    def refuse(event):
        if type(event) is AttemptStarted:
            raise RuntimeError("the listener is broken")

    hook = webhook(200)
    with pytest.raises(RuntimeError):
        control.fanned.run(inline=True, alerts=[{"on": "failure", "to": hook.url}], on_event=refuse)
    ((_, _, body),) = hook.received
    assert body["text"].startswith("fanned failed: RuntimeError: the listener is broken (run ")


@pytest.mark.slow
def test_ctrl_c_ends_the_wait_for_a_webhook_and_not_the_runs_own_result(webhook, tmp_path):
    hook = webhook(0)
    program = """
import sys
from tests.backends.local import control
from penstock_backends.local import observers, sending
observers.PATIENCE = sending.TIMEOUT = 60.0
run = control.some_fail.run(values=[13], inline=True, alerts=[{"on": "failure", "to": sys.argv[1]}])
print(run.state.value, flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, hook.url],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path])},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 30
        while not hook.received and time.monotonic() < deadline:
            time.sleep(0.01)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[0] == "failed\n"
        assert time.monotonic() - began < 20
    finally:
        process.kill()


def test_a_failure_rate_counts_the_runs_before(webhook):
    hook = webhook(200)
    alert = {"on": "failure_rate", "above": 0.5, "runs": 4, "to": hook.url}
    heard = []
    for values in ([13], [13], [1], [13], [1], [2], [13]):
        control.some_fail.run(values=values, inline=True, alerts=[alert])
        heard.append(len(hook.received))
    assert heard == [0, 0, 0, 1, 1, 1, 1]
    body = hook.received[0][2]
    assert (body["value"], body["threshold"]) == (0.75, 0.5)
    assert "3 of the last 4 runs of some_fail failed" in body["text"]


def test_what_takes_too_long_is_flagged_while_it_runs(tmp_path):
    release = tmp_path / "release"
    heard = []

    def let_go(event):
        heard.append(event)
        if isinstance(event, Noticed) and event.what == "flagged" and event.node:
            release.touch()

    alerts = [{"on": "duration", "node": "holds", "above": 0.05}, {"on": "duration", "above": 3600}]
    run = control.holding.run(release=str(release), alerts=alerts, on_event=let_go)
    assert run.state.value == "succeeded"
    events = check_events(run)
    names = [(each["event"], each.get("node")) for each in events]
    assert names.index(("flagged", "holds")) < names.index(("attempt_ended", "holds"))
    (flag,) = [each for each in events if each["event"] == "flagged"]
    assert (flag["what"], flag["threshold"], flag["text"]) == ("duration", 0.05, "`holds` takes longer than 0.05 s")


@pytest.mark.slow
def test_what_takes_too_much_memory_is_flagged_while_it_runs(tmp_path):
    release = tmp_path / "release"
    alerts = [{"on": "memory", "node": "holds", "above": "100M", "to": ["touch", str(release)]}]
    run = control.holding.run(release=str(release), size=200_000_000, alerts=alerts)
    names = [(each["event"], each.get("node")) for each in check_events(run)]
    assert names.index(("flagged", "holds")) < names.index(("attempt_ended", "holds"))
    assert run.state.value == "succeeded"


def test_an_inline_run_tells_of_flags_once_the_step_is_over():
    heard = []
    alerts = [{"on": "duration", "node": "burns", "above": 0.0}]
    run = control.burning.run(inline=True, alerts=alerts, on_event=heard.append)
    assert [each.node for each in heard if isinstance(each, Noticed)] == ["burns"]
    assert [each["event"] for each in events_of(run)].count("flagged") == 1


@pytest.mark.slow
def test_a_rule_may_be_a_multiple_of_what_is_usual(webhook):
    hook = webhook(200)
    alerts = [{"on": "duration", "node": "pauses", "times": 3, "to": hook.url}]
    for number in range(3):
        control.pausing.run(seconds=0.02 + number / 1000, inline=True, alerts=alerts)
    assert hook.received == []
    control.pausing.run(seconds=0.5, inline=True, alerts=alerts)
    ((_, _, body),) = hook.received
    assert "times what is usual" in body["text"]


def rule(**given):
    return Alert.model_validate({"on": "duration", "node": "train", **given})


def test_health_flags_once_for_all_items_of_a_loop_and_not_what_ended_in_time():
    health = Health([rule(above=10)], lambda rule, task: [])
    health.started("train[0]", 100.0)
    health.started("train[1]", 101.0)
    health.started("load", 101.0)
    assert health.next_due() == 110.0
    assert list(health.ended("train[0]", 9.0)) == []
    assert list(health.overdue(110.5)) == []
    assert [(flag.node, flag.value) for flag in health.overdue(111.5)] == [("train[1]", 10.5)]
    assert list(health.ended("train[1]", 12.0)) == []


def test_a_retried_attempt_has_its_own_time():
    health = Health([rule(above=10)], lambda rule, task: [])
    health.started("train", 100.0)
    assert list(health.ended("train", 5.0)) == []
    health.started("train", 106.0)
    assert list(health.overdue(112.0)) == []
    assert [flag.value for flag in health.overdue(116.0)] == [10.0]


def test_what_is_usual_needs_three_runs(tmp_path):
    for number in range(4):
        (tmp_path / str(number)).mkdir()
        nodes = {
            "train[0]": {"state": "succeeded", "attempts": 2, "seconds": 2.0 * number, "peak_memory": 10},
            "train[1]": {"state": "succeeded", "attempts": 1, "seconds": 0.5, "peak_memory": 7 + number},
            "load": {"state": "cached", "attempts": 0, "seconds": 0.0, "peak_memory": None},
        }
        (tmp_path / str(number) / "run.json").write_text(json.dumps({"seconds": 100.0, "nodes": nodes}))
    usual = Usual([tmp_path / str(number) for number in (3, 2, 1, 0)])
    assert usual.values("duration", "train", 20) == [3.0, 2.0, 1.0, 0.5]
    assert usual.values("memory", "train", 2) == [10, 10]
    assert usual.values("duration", "load", 20) == []
    assert usual.values("duration", "", 20) == 4 * [100.0]
    for count, due in ((2, float("inf")), (3, 104.0)):
        health = Health([rule(times=2)], lambda rule, task, count=count: usual.values("duration", task, count))
        health.started("train[7]", 100.0)
        assert health.next_due() == due


@pytest.mark.parametrize(
    ("alert", "said"),
    [
        ({"on": "failure"}, "an alert on failure needs `to`"),
        ({"on": "failure", "to": "mail -s"}, "neither a URL (https://...) nor a command as a list"),
        ({"on": "failure", "to": []}, "the command is empty"),
        ({"on": "failure", "to": "https://x", "above": 1}, "takes no `above`"),
        ({"on": "duration", "node": "a"}, "needs a bound: either `above` or `times`"),
        ({"on": "memory", "above": "2Gi", "times": 2}, "needs a bound: either `above` or `times`"),
        ({"on": "memory", "above": "lots"}, "is not a size"),
        ({"on": "failure_rate", "to": "https://x", "above": 50}, "a share below 1"),
        ({"on": "success", "to": "https://x"}, "failure"),
        ({"on": "failure", "to": "https://x", "aboev": 1}, "run option `alerts.0` has no option `aboev`"),
        ({"on": "failure", "to": "https://x", "aboev": 1}, "did you mean `above`"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_before_anything_runs(alert, said, tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        pipelines.nothing.run(inline=True, alerts=[alert])
    assert said in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_a_bound_may_be_a_size():
    assert Alert.model_validate({"on": "memory", "above": "2Gi"}).above == 2**31


@pytest.mark.slow
def test_rules_come_from_the_project(tmp_path):
    (tmp_path / "flow.py").write_text(
        "from penstock import pipeline, step\n\n"
        "@step\ndef fails() -> int:\n    raise ValueError('no')\n\n"
        "@pipeline\ndef main() -> int:\n    return fails()\n"
    )
    (tmp_path / "pyproject.toml").write_text(
        '[[tool.penstock.run.alerts]]\non = "failure"\nto = ["sh", "-c", "cat > told.json"]\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "run", "flow.py", "--inline"],
        cwd=tmp_path,
        env={**os.environ, "PENSTOCK_STORE": str(tmp_path / "store")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert json.loads((tmp_path / "told.json").read_text())["on"] == "failure"
    assert "▲ told sh -c cat > told.json: main failed: `fails`: ValueError: no" in done.stdout
