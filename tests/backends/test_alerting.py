"""A failed run is told to a webhook, by a step that the option `alert` adds: on each engine, to a real server."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from penstock import ConfigurationError, RunStatus, compiler, pipeline, step
from penstock.backend import Definition
from penstock_backends import alert_webhook
from penstock_backends.airflow.tables import task_id
from penstock_backends.alerting import VARIABLE, with_alert
from penstock_backends.kubeflow import arguments_for
from tests.engines.airflow import airflow
from tests.engines.environments import PYTHON
from tests.engines.github import github
from tests.engines.kfp import kfp


@step
def weigh(name: str) -> int:
    if name == "bad":
        raise ValueError(f"{name} weighs nothing")
    return len(name)


@step
def publish(weight: int) -> None:
    assert weight


@step
def clean() -> None:
    print("cleaned up")


@pipeline(on_exit=clean)
def watched(name: str = "bad") -> None:
    publish(weigh(name))


class Webhook:
    """A server that keeps what is posted to it, and answers as it is told to."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.answer = 200
        webhook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                webhook.messages.append(json.loads(body))
                self.send_response(webhook.answer)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks/T0KEN"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    served = Webhook()
    thread = threading.Thread(target=served.server.serve_forever)
    thread.start()
    yield served
    served.server.shutdown()
    thread.join()
    served.server.server_close()


def message(engine: str) -> dict[str, Any]:
    return {
        "text": f"watched failed on {engine}\nweigh: ValueError: bad weighs nothing",
        "pipeline": "watched",
        "state": "failed",
        "failures": {"weigh": "ValueError: bad weighs nothing"},
        "engine": engine,
        "format": 1,
    }


def test_the_step_is_added_last_and_keeps_what_a_spec_must():
    spec = with_alert(watched.spec, "alerts/webhook", "Airflow")
    compiler.verify_spec(Definition(spec))
    assert [task.id for task in spec.on_failure] == ["alert"]
    assert spec.on_failure[0].settings.secrets == ((VARIABLE, "alerts/webhook"),)
    assert with_alert(spec, "alerts/webhook", "Airflow").on_failure[1].id == "alert_2"
    assert with_alert(watched.spec, "", "Airflow") is watched.spec


def test_an_alert_asks_for_no_newer_airflow_than_the_pipeline_does():
    (text,) = watched.compile("airflow", alert="alerts/webhook").values()
    assert "RetryPolicy" not in text


@pytest.mark.parametrize("target", ["airflow", "github", "kubeflow"])
def test_a_url_in_place_of_the_secrets_name_is_refused_and_not_shown(target):
    with pytest.raises(ConfigurationError, match="names the secret that holds the URL") as caught:
        watched.compile(target, alert="https://hooks.example.org/T0KEN")
    assert "T0KEN" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "answer", "said"),
    [
        ("", 403, "the webhook answered 403 Forbidden"),
        ("http://127.0.0.1:1/T0KEN", 200, "the webhook cannot be reached: .*refused"),
        ("file:///etc/T0KEN", 200, "the secret is not the URL of a webhook"),
    ],
)
def test_a_webhook_that_cannot_be_told_is_an_error_that_does_not_say_where_it_is(
    url, answer, said, webhook, monkeypatch
):
    webhook.answer = answer
    monkeypatch.setenv(VARIABLE, url or webhook.url)
    with pytest.raises((ConnectionError, ValueError), match=said) as caught:
        alert_webhook.tell_of_failure(RunStatus("p", "failed", {"a": "x" * 1000}), "Airflow")
    assert "T0KEN" not in str(caught.value)


def test_long_messages_are_cut_in_the_text_alone_and_github_says_where_the_run_is(webhook, monkeypatch):
    monkeypatch.setenv(VARIABLE, webhook.url + "\n")
    for name, value in {"SERVER_URL": "https://github.com", "REPOSITORY": "a/b", "RUN_ID": "7"}.items():
        monkeypatch.setenv(f"GITHUB_{name}", value)
    alert_webhook.tell_of_failure(RunStatus("p", "failed", {"a": "x\ny" * 1000}), "GitHub")
    (told,) = webhook.messages
    assert told["failures"] == {"a": "x\ny" * 1000}
    assert told["run"] == "https://github.com/a/b/actions/runs/7"
    assert len(told["text"]) < 500
    assert told["text"].endswith(told["run"])


@pytest.mark.engine
def test_kubeflow_tells_the_webhook(webhook, tmp_path):
    (text,) = watched.compile("kubeflow", alert="alerts/webhook").values()
    given = arguments_for(watched.spec.parameters, watched.encode_parameters({}))
    ran = kfp().run(text, given, folder=tmp_path, environ={VARIABLE: webhook.url})
    assert webhook.messages == [message("Kubeflow")], ran.log
    assert ran.state == "failed"
    assert "T0KEN" not in ran.log


@pytest.mark.engine
def test_airflow_tells_the_webhook(webhook, tmp_path):
    files = watched.compile("airflow", alert="alerts/webhook")
    held = json.dumps({"conn_type": "generic", "extra": {"webhook": webhook.url}})
    environ = {"AIRFLOW_VAR_ARTIFACT_ROOT": str(tmp_path), "AIRFLOW_CONN_ALERTS": held}
    ran = airflow(3).dag_test(files, {}, environ=environ)
    assert webhook.messages == [message("Airflow")], ran.log
    states = [ran.tasks[task_id(node), -1] for node in ("weigh", "alert", "clean")]
    assert (ran.state, states) == ("failed", ["failed", "success", "success"])
    assert "T0KEN" not in ran.log


@pytest.mark.engine
def test_github_tells_the_webhook(webhook, tmp_path):
    files = watched.compile("github", alert="alerts/webhook", python_version=PYTHON)
    workflow = next(path for path in files if path.endswith(".yml"))
    secrets = {"ALERTS_WEBHOOK": webhook.url}
    seen = github().run(files, workflow, {"name": "bad"}, folder=tmp_path, secrets=secrets)
    (told,) = webhook.messages
    run = told.pop("run")
    assert run.endswith("/actions/runs/1")
    assert told == {**message("GitHub"), "text": f"{message('GitHub')['text']}\n{run}"}
    jobs = [seen.jobs[node] for node in ("weigh", "alert", "clean")]
    assert (seen.state, jobs) == ("failure", ["failure", "success", "success"])
    assert "T0KEN" not in seen.log
