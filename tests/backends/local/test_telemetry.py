"""Telemetry, read by a real OTLP/HTTP receiver: what it gets of a run, and that it can neither break nor delay one."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider

from penstock.diagnostics import ConfigurationError
from penstock.results import Noticed, RunEnded
from penstock_backends.local import observers, telemetry
from penstock_backends.local.trace_context import TraceContext, context_here
from tests.backends.local import control, pipelines
from tests.backends.local.test_journal import check_events

both = pytest.mark.parametrize("inline", [False, True], ids=["workers", "inline"])


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    monkeypatch.setenv("PENSTOCK_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(telemetry, "PATIENCE", 60.0)  # what is to arrive does, however busy the machine is
    monkeypatch.setattr(observers, "PATIENCE", 60.0)
    for name in [*os.environ]:
        if name.startswith("OTEL_") or name == "TRACEPARENT":
            monkeypatch.delenv(name)


@dataclass(frozen=True)
class Seen:
    """A span as it arrived."""

    id: str
    parent: str
    trace: str
    name: str
    kind: int
    seconds: float
    status: int
    attributes: dict[str, object]
    events: list[tuple[str, dict[str, object]]]


def plain(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(each) for each in value.array_value.values]
    return getattr(value, kind)


def plainly(attributes):
    return {each.key: plain(each.value) for each in attributes}


class Receiver:
    """Takes OTLP over HTTP as a collector does. ``status`` is what it answers; 0 hangs."""

    def __init__(self, status: int = 200) -> None:
        self.spans: list[Seen] = []
        self.metrics: dict[str, list[object]] = {}
        self.resources: list[dict[str, object]] = []
        self.headers: list[dict[str, str]] = []
        self.status = status
        self.released = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
                if receiver.status == 0:
                    receiver.released.wait(60)
                    return
                if receiver.status == 200:
                    receiver.take(self.path, body)
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resources.append(plainly(resource.resource.attributes))
                self.spans += [seen(span) for scope in resource.scope_spans for span in scope.spans]
        elif path == "/v1/metrics":
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for metric in (each for scope in resource.scope_metrics for each in scope.metrics):
                    points = getattr(metric, metric.WhichOneof("data")).data_points
                    self.metrics.setdefault(metric.name, []).extend(points)

    def span(self, name: str, **attributes: object) -> Seen:
        found = [
            each
            for each in self.spans
            if each.name == name and all(each.attributes.get(key) == value for key, value in attributes.items())
        ]
        assert len(found) == 1, (name, attributes, [each.name for each in self.spans])
        return found[0]

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


def seen(span) -> Seen:
    return Seen(
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.trace_id.hex(),
        span.name,
        span.kind,
        (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        span.status.code,
        plainly(span.attributes),
        [(event.name, plainly(event.attributes)) for event in span.events],
    )


@pytest.fixture
def receiver():
    made = []

    def make(status=200):
        made.append(Receiver(status))
        return made[-1]

    yield make
    for each in made:
        each.close()


@both
def test_a_run_its_nodes_and_their_attempts_are_spans_in_one_another(receiver, inline):
    got = receiver()
    run = control.burning.run(inline=inline, telemetry={"endpoint": got.url, "headers": {"x-team": "ml"}})
    whole, node = got.span("RUN burning"), got.span("burns")
    first, second = (got.span("burns attempt", **{"penstock.attempt": number}) for number in (1, 2))
    assert len(got.spans) == 4
    assert {each.trace for each in got.spans} == {check_events(run)[0]["trace"]}
    assert [each.parent for each in (whole, node, first, second)] == ["", whole.id, node.id, node.id]
    assert whole.attributes["cicd.pipeline.name"] == "burning"
    assert whole.attributes["cicd.pipeline.run.id"] == run.id
    assert whole.attributes["cicd.pipeline.result"] == "success"
    assert whole.attributes["penstock.nodes.succeeded"] == 1
    assert whole.kind == 2  # a server's, as the conventions want it
    assert node.attributes["cicd.pipeline.task.name"] == "burns"
    assert node.attributes["cicd.pipeline.task.run.result"] == "success"
    assert node.attributes["penstock.node.attempts"] == 2
    code = [node.attributes[f"code.{name}"] for name in ("function.name", "file.path", "line.number")]
    assert code[0].endswith("control:burns")
    assert code[1].endswith("control.py")
    assert abs(code[2] - control.burns.function.__code__.co_firstlineno) <= 1
    assert whole.seconds >= node.seconds >= first.seconds + second.seconds > 0
    assert [each.status for each in (whole, node, first, second)] == [0, 0, 2, 0]
    assert (first.attributes["penstock.attempt.state"], first.attributes["error.type"]) == ("failed", "ValueError")
    assert first.events == [("exception", {"exception.type": "ValueError", "exception.message": "once more"})]
    assert first.attributes["penstock.attempt.cpu_time"] + second.attributes[
        "penstock.attempt.cpu_time"
    ] == pytest.approx(run["burns"].cpu_seconds, abs=1e-5)
    assert got.resources[0]["service.name"] == "penstock"
    assert all(each["x-team"] == "ml" for each in got.headers)


def test_what_a_run_comes_to_is_told_with_its_errors_gates_and_metrics(receiver, tmp_path):
    got = receiver()
    note = str(tmp_path / "note")
    control.gated.run(note=note, value=0.5, inline=True, telemetry={"endpoint": got.url})
    whole, score, deploy = got.span("RUN gated"), got.span("score"), got.span("noted")
    assert (whole.status, whole.attributes["penstock.run.state"]) == (2, "failed")
    assert whole.attributes["cicd.pipeline.result"] == "failure"
    assert (whole.attributes["penstock.parameter.value"], whole.attributes["penstock.parameter.note"]) == (0.5, note)
    assert score.attributes["penstock.metric.margin"] == 0.25
    assert score.attributes["penstock.metadata.output.unit"] == "points"
    assert score.attributes["penstock.metadata.output.of"] == "[1, null]"
    assert score.attributes["penstock.gates.failed"] == ["gate output >= 0.8: failed (output = 0.5): too weak"]
    assert score.attributes["penstock.gates.passed"] == ["gate margin < 10: passed (margin = 0.25)"]
    assert deploy.attributes["penstock.node.state"] == "upstream_failed"
    assert deploy.attributes["cicd.pipeline.task.run.result"] == "skip"
    assert (deploy.status, deploy.seconds) == (0, 0)
    margins = {point.as_double for point in got.metrics["penstock.metric"]}
    assert margins == {0.25}
    (errors,) = got.metrics["cicd.pipeline.run.errors"]
    assert errors.as_int == 1


def test_an_error_is_recorded_with_the_authors_traceback(receiver):
    got = receiver()
    control.some_fail.run(values=[13], inline=True, telemetry={"endpoint": got.url})
    node = got.span("double")
    assert node.attributes["penstock.node"] == "double[0]"
    ((name, said),) = node.events
    assert (name, said["exception.type"], said["exception.message"]) == ("exception", "ValueError", "unlucky")
    assert "control.py" in said["exception.stacktrace"]
    assert "penstock_backends" not in said["exception.stacktrace"]


def test_durations_counts_and_resources_are_metrics(receiver):
    got = receiver()
    for _ in range(2):
        control.burning.run(inline=True, telemetry={"endpoint": got.url})
    states = [plainly(point.attributes) for point in got.metrics["penstock.nodes"]]
    assert [each["penstock.node.state"] for each in states] == ["succeeded", "cached"]
    (attempts,) = got.metrics["penstock.attempt.cpu_time"]
    assert (attempts.count, attempts.sum >= 0.1) == (2, True)
    runs = got.metrics["cicd.pipeline.run.duration"]
    assert [plainly(point.attributes)["cicd.pipeline.result"] for point in runs] == ["success", "success"]
    assert {"penstock.attempts", "penstock.attempt.duration"} <= got.metrics.keys()


@both
def test_an_authors_own_spans_can_be_parts_of_the_attempts(receiver, inline):
    got = receiver()
    run = control.traced.run(inline=inline, telemetry={"endpoint": got.url})
    attempt = got.span("parent_of_spans attempt")
    by_environment, by_context = run.outputs
    assert by_environment == f"00-{attempt.trace}-{attempt.id}-01"
    assert by_context == (attempt.id if inline else "0" * 16)
    assert "TRACEPARENT" not in os.environ


def test_a_run_is_part_of_the_trace_that_it_was_started_in(receiver, monkeypatch):
    got = receiver()
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    monkeypatch.setenv("TRACEPARENT", f"00-{trace}-{parent}-01")
    pipelines.nothing.run(inline=True, telemetry={"endpoint": got.url})
    whole = got.span("RUN nothing")
    assert (whole.trace, whole.parent) == (trace, parent)


def test_a_run_is_part_of_the_span_that_its_caller_is_in(receiver):
    got = receiver()
    with TracerProvider().get_tracer("caller").start_as_current_span("nightly") as span:
        pipelines.nothing.run(inline=True, telemetry={"endpoint": got.url})
    assert got.span("RUN nothing").parent == f"{span.get_span_context().span_id:016x}"


@pytest.mark.parametrize("given", ["", "nonsense", f"00-{'0' * 32}-{'0' * 16}-01", f"00-{'a' * 32}-{'b' * 15}-01"])
def test_a_trace_that_makes_no_sense_is_none(given, monkeypatch):
    monkeypatch.setenv("TRACEPARENT", given)
    first, second = context_here(), context_here()
    assert first.parent == ""
    assert (len(first.trace), len(first.run)) == (32, 16)
    assert first.trace != second.trace


def test_spans_of_nodes_and_attempts_have_ids_of_their_own():
    context = TraceContext("1" * 32, "2" * 16)
    ids = {context.span_of(node, attempt) for node in ("a", "a[1]", "a 1") for attempt in (0, 1, 11)}
    assert len(ids | {context.run}) == 10
    assert all(len(each) == 16 for each in ids)
    assert context.span_of("a", 1) == TraceContext("1" * 32, "2" * 16, "3" * 16).span_of("a", 1)


def test_the_environment_says_where_telemetry_goes(receiver, monkeypatch):
    got = receiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", got.url)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "nightly")
    pipelines.nothing.run(inline=True)
    assert got.headers == []
    pipelines.nothing.run(inline=True, telemetry=True)
    assert got.resources[0]["service.name"] == "nightly"


def test_values_that_otlp_cannot_hold_cost_no_span(receiver):
    got = receiver()
    run = control.odd.run(text="a\ud800", number=10**30, inline=True, telemetry={"endpoint": got.url})
    assert run["odd_values"].metrics == {"large": 2**70, "nan": pytest.approx(float("nan"), nan_ok=True)}
    assert len(got.spans) == 3
    whole = got.span("RUN odd")
    assert whole.attributes["penstock.parameter.text"] == "a\\ud800"
    assert got.span("odd_values").attributes["penstock.metric.large"] == str(2**70)
    assert [event["event"] for event in check_events(run)].count("telemetry_failed") == 0


def test_parameters_can_be_kept_back(receiver):
    got = receiver()
    control.fanned.run(count=0, inline=True, telemetry={"endpoint": got.url, "parameters": False})
    assert [name for name in got.span("RUN fanned").attributes if "parameter" in name] == []


def test_a_flag_is_an_event_of_the_span(receiver):
    got = receiver()
    alerts = [{"on": "duration", "node": "pauses", "above": 0.0}]
    control.pausing.run(seconds=0.1, inline=True, alerts=alerts, telemetry={"endpoint": got.url})
    ((name, said),) = got.span("pauses").events
    assert (name, said["penstock.what"], said["penstock.threshold"]) == ("penstock.flagged", "duration", 0.0)


def unserved():
    got = Receiver()
    got.close()
    return got.url


@pytest.mark.slow
@pytest.mark.parametrize("what", ["hangs", "is down", "refuses"])
def test_a_collector_out_of_order_neither_breaks_nor_delays_a_run(receiver, what, monkeypatch, caplog):
    monkeypatch.setattr(telemetry, "PATIENCE", 0.5)
    url = {"hangs": lambda: receiver(0).url, "is down": unserved, "refuses": lambda: receiver(400).url}[what]()
    heard = []
    times = []

    def listen(event):
        heard.append(event)
        times.append(time.monotonic())

    run = control.fanned.run(inline=True, telemetry={"endpoint": url}, on_event=listen)
    assert run.state.value == "succeeded"
    ended = next(at for event, at in zip(heard, times, strict=True) if isinstance(event, RunEnded))
    assert time.monotonic() - ended < 20  # it hangs for a minute
    (notice,) = [event for event in heard if isinstance(event, Noticed)]
    assert notice.what == "telemetry_failed"
    assert notice.text.startswith("telemetry did not arrive: ")
    assert {"hangs": "in time", "is down": "refused", "refuses": "400"}[what] in notice.text
    assert [each["event"] for each in check_events(run)].count("telemetry_failed") == 1


@pytest.mark.slow
def test_nothing_of_the_exporters_reaches_the_terminal():
    program = """
import sys
from penstock_backends.local import telemetry
from tests.backends.local import pipelines
telemetry.PATIENCE = 0.5
run = pipelines.nothing.run(inline=True, telemetry={"endpoint": sys.argv[1]})
print(run.state.value)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, unserved()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path])},
    )
    assert (done.stdout, done.stderr) == ("succeeded\n", "")


def test_no_handler_of_ours_is_left_behind(receiver):
    before = [*logging.getLogger("opentelemetry").handlers]  # those of runs that have given up on a collector
    pipelines.nothing.run(inline=True, telemetry={"endpoint": receiver().url})
    assert {*logging.getLogger("opentelemetry").handlers} <= {*before}


def test_an_address_that_makes_no_sense_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        pipelines.nothing.run(inline=True, telemetry={"endpoint": "localhost:4318"})
    assert "run option `telemetry.endpoint`: not a URL" in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_without_the_extra_telemetry_is_refused_before_anything_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(telemetry, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError) as caught:
        pipelines.nothing.run(inline=True, telemetry=True)
    assert "penstock[otel]" in str(caught.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
def test_a_run_without_telemetry_loads_none_of_it():
    program = """
import sys
from tests.backends.local import pipelines
pipelines.nothing.run(inline=True)
print([name for name in sys.modules if "opentelemetry" in name])
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path])},
    )
    assert done.stdout == "[]\n"
