"""A run's events as OpenTelemetry's spans and metrics; needs the ``otel`` extra.

Names are those of the semantic conventions for CI/CD where these have one, and begin with ``penstock.`` otherwise.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from penstock.harness import decode, parts_of, verdict_text
from penstock.spec import Task
from penstock_backends.local.objects import Json
from penstock_backends.local.trace_context import TraceContext
from penstock_backends.lowering import Program

SPANS_AT_ONCE = 512
LONGEST_VALUE = 1000
_LOGGER = "opentelemetry"
_TOO_LARGE = 2**63  # for an integer of OTLP
_RESULTS = {
    "succeeded": "success",
    "cached": "success",
    "failed": "failure",
    "skipped": "skip",
    "upstream_failed": "skip",
    "cancelled": "cancellation",
}


class Signals:
    """Makes spans and metrics of events, and exports them.

    Args:
        context: the run's ids.
        program: what it runs.
        parameters: what it was given, encoded, as far as that may be told.
        endpoint: the collector's base URL; by default what the environment says.
        headers: what to send with each request.
    """

    def __init__(
        self,
        context: TraceContext,
        program: Program,
        parameters: Mapping[str, Json],
        endpoint: str | None,
        headers: Mapping[str, str],
    ) -> None:
        self._context = context
        self._program = program
        self._places = {step.id: step.span for step in program.pipeline.steps}
        self._parameters = parameters
        self._words = _Words()
        self._ended: list[ReadableSpan] = []
        self._spans: dict[tuple[str, int], Span] = {}
        self.lost = 0
        # What is sent from this thread is no concern of the author's own instrumentation.
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        resource = _resource()
        given = dict(headers) or None
        self._exporter = OTLPSpanExporter(endpoint=_below(endpoint, "traces"), headers=given)
        self._ids = _Ids(context)
        tracers = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        tracers.add_span_processor(_Collector(self._ended.append))
        self._tracer = tracers.get_tracer("penstock")
        self._metric_exporter = _MetricExporter(endpoint=_below(endpoint, "metrics"), headers=given)
        # Without an interval: it is this object's thread that exports, no other.
        self._reader = PeriodicExportingMetricReader(self._metric_exporter, export_interval_millis=math.inf)
        meters = MeterProvider([self._reader], resource=resource, shutdown_on_exit=False)
        self._meters = _Meters(meters)

    def take(self, event: Json) -> None:
        """Takes an event."""
        deal = getattr(self, f"_{event['event']}", None)
        if deal is not None:
            deal(event, round(event["time"] * 1e9))

    @property
    def size(self) -> int:
        """How many spans there are to export."""
        return len(self._ended)

    @property
    def trouble(self) -> str:
        """What the exporters complained of last; empty for nothing."""
        return self._words.last

    def export(self) -> None:
        """Sends the spans that have ended; what cannot be sent is lost."""
        while self._ended:
            batch = self._ended[:SPANS_AT_ONCE]
            del self._ended[:SPANS_AT_ONCE]
            if self._exporter.export(batch) is not SpanExportResult.SUCCESS:
                self.lost += len(batch)

    def finish(self) -> str:
        """Sends what is left; why something did not arrive, empty where all did."""
        self.export()
        self._reader.force_flush()
        self.shut_down()
        self._words.close()
        parts = [f"{self.lost} spans"] * (self.lost > 0) + ["the metrics"] * self._metric_exporter.has_failed
        return f"{' and '.join(parts)} were not taken: {self.trouble or 'no reason was given'}" if parts else ""

    def shut_down(self) -> None:
        """Ends what waits for the collector."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]
        self._metric_exporter.shutdown()

    # --- events

    def _run_started(self, event: Json, now: int) -> None:
        attributes = {
            "cicd.pipeline.name": event["pipeline"],
            "cicd.pipeline.run.id": event["run"],
            "cicd.pipeline.action.name": "RUN",
            "host.name": event["host"],
            "process.pid": event["pid"],
            "penstock.version": event["version"],
            "penstock.spec": event["spec"],
            "penstock.resumes": event.get("resumes"),
            "vcs.ref.head.revision": event.get("commit"),
            **{f"penstock.parameter.{name}": _value(wire) for name, wire in self._parameters.items()},
        }
        self._pipeline, self._run = event["pipeline"], event["run"]
        self._begin("", 0, f"RUN {event['pipeline']}", attributes, now, SpanKind.SERVER)

    def _attempt_started(self, event: Json, now: int) -> None:
        node, attempt = event["node"], event["attempt"]
        if (node, 0) not in self._spans:
            self._begin_node(node, now)
        attributes = {"cicd.pipeline.task.name": _task(node), "penstock.node": node, "penstock.attempt": attempt}
        self._begin(node, attempt, f"{_task(node)} attempt", attributes, now)

    def _attempt_ended(self, event: Json, now: int) -> None:
        node = event["node"]
        span = self._spans.pop((node, event["attempt"]))
        usage = {
            "penstock.attempt.cpu_time": event.get("cpu_seconds"),
            "penstock.attempt.peak_memory": event.get("peak_memory"),
            "penstock.attempt.retry_in": event.get("retry_in"),
        }
        _finish(span, event["state"], event.get("error", ""), usage, now, "penstock.attempt.state")
        about = {**self._about(node), "penstock.attempt.state": event["state"]}
        self._meters.attempts.add(1, about)
        self._meters.attempt_duration.record(event["seconds"], about)
        if event.get("cpu_seconds") is not None:
            self._meters.cpu_time.record(event["cpu_seconds"], self._about(node))
        if event.get("peak_memory") is not None:
            self._meters.peak_memory.record(event["peak_memory"], self._about(node))

    def _node_ended(self, event: Json, now: int) -> None:
        node, state = event["node"], event["state"]
        if (node, 0) not in self._spans:
            self._begin_node(node, now)
        span = self._spans.pop((node, 0))
        metrics = {name: decode(wire) for name, wire in event.get("metrics", {}).items()}
        gates = event.get("gates", ())
        more = {
            "cicd.pipeline.task.run.result": _RESULTS[state],
            "penstock.node.kind": event.get("kind", "task"),
            "penstock.node.attempts": event.get("attempts", 0),
            **{f"penstock.metric.{name}": _value(value) for name, value in metrics.items()},
            **_metadata(event.get("metadata", {})),
            "penstock.gates.passed": [verdict_text(each) for each in gates if each["passed"]] or None,
            "penstock.gates.failed": [verdict_text(each) for each in gates if not each["passed"]] or None,
        }
        error = event.get("error", "") if state == "failed" else ""
        _finish(span, state, error, more, now, "penstock.node.state", event.get("traceback", ""))
        self._meters.nodes.add(1, {**self._about(node), "penstock.node.state": state})
        if error:
            self._meters.errors.add(1, {"cicd.pipeline.name": self._pipeline, "error.type": _type_of(error)})
        for name, value in metrics.items():
            if abs(value) < _TOO_LARGE:
                self._meters.metric.set(value, {**self._about(node), "penstock.metric.name": name})

    def _flagged(self, event: Json, now: int) -> None:
        span = self._spans.get((event.get("node", ""), 0))
        if span is not None:
            facts = {name: event[name] for name in ("what", "value", "threshold", "text")}
            span.add_event("penstock.flagged", {f"penstock.{name}": value for name, value in facts.items()}, now)

    def _run_ended(self, event: Json, now: int) -> None:
        result = _RESULTS[event["state"]]
        counts = {f"penstock.nodes.{state}": count for state, count in event["counts"].items()}
        span = self._spans.pop(("", 0))
        more = {"cicd.pipeline.result": result, **counts}
        _finish(span, event["state"], event.get("error", ""), more, now, "penstock.run.state")
        about = {
            "cicd.pipeline.name": self._pipeline,
            "cicd.pipeline.run.state": "executing",
            "cicd.pipeline.result": result,
        }
        self._meters.run_duration.record(event["seconds"], about)

    # --- spans

    def _begin_node(self, node: str, now: int) -> None:
        attributes = {
            **self._about(node),
            "cicd.pipeline.task.run.id": f"{self._run}/{node}",
            "penstock.node": node,
            **dict(self._written(_task(node))),
        }
        self._begin(node, 0, _task(node), attributes, now)

    def _begin(
        self,
        node: str,
        attempt: int,
        name: str,
        attributes: Mapping[str, Any],
        now: int,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> None:
        self._ids.next = self._context.span_of(node, attempt) if node else self._context.run
        parent = self._spans.get((node, 0) if attempt else ("", 0))
        above = set_span_in_context(parent or self._outside())
        self._spans[node, attempt] = self._tracer.start_span(name, above, kind, _given(attributes), start_time=now)

    def _outside(self) -> Span:
        """The span that the run is part of, which may be none."""
        context, parent = self._context, int(self._context.parent or "0", 16)
        trace = int(context.trace, 16) if parent else 0
        return NonRecordingSpan(SpanContext(trace, parent, True, TraceFlags(int(context.flags, 16))))

    def _about(self, node: str) -> dict[str, str]:
        return {"cicd.pipeline.name": self._pipeline, "cicd.pipeline.task.name": _task(node)}

    def _written(self, task: str) -> Iterator[tuple[str, Any]]:
        """What its author has said of a task."""
        unit = self._program.by_id.get(task)
        if unit is None or not isinstance(unit.node, Task):
            return
        asked = unit.node.settings.resources
        if asked is not None:
            yield "penstock.resources.cpu", asked.cpu
            yield "penstock.resources.memory", asked.memory
            yield "penstock.resources.gpu", asked.gpu or None
        yield "code.function.name", unit.node.step
        span = self._places.get(unit.node.step)
        if span is not None:
            yield "code.file.path", span.file
            yield "code.line.number", span.line


def _task(node: str) -> str:
    return parts_of(node)[0]


def _finish(
    span: Span, state: str, error: str, more: Mapping[str, Any], now: int, name: str, traceback: str = ""
) -> None:
    """Ends a span with its state, and the error that it ended with as an exception."""
    span.set_attributes(_given({name: state, **more}))
    if state == "failed":
        span.set_status(Status(StatusCode.ERROR, _sound(error.partition("\n")[0][:LONGEST_VALUE])))
    if error:
        span.set_attributes(_given({"error.type": _type_of(error)}))
        said = {
            "exception.type": _type_of(error),
            "exception.message": error.partition(": ")[2] or error,
            "exception.stacktrace": traceback or None,
        }
        span.add_event("exception", _given(said), now)
    span.end(now)


def _given(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Those that there are; in texts what UTF-8 cannot hold is written out, or the exporter would drop all spans."""
    return {name: _sound(value) for name, value in attributes.items() if value is not None}


def _sound(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(value, str) else value


def _type_of(error: str) -> str:
    """The class of an error by its message; ``_OTHER`` where it was no exception, as the conventions want it."""
    name = error.partition(":")[0]
    return name if name.isidentifier() else "_OTHER"


def _metadata(wires: Mapping[str, Json]) -> dict[str, str | bool | int | float]:
    """What was recorded of outputs, each value an attribute."""
    known = {output: decode(wire) for output, wire in wires.items()}
    return {
        f"penstock.metadata.{output}.{name}": _value(value)
        for output, values in known.items()
        for name, value in values.items()
    }


def _value(wire: Json) -> str | bool | int | float:
    """A parameter as an attribute's value: plain where OpenTelemetry has it so, else as JSON."""
    if isinstance(wire, (str, bool, float)) or (isinstance(wire, int) and abs(wire) < _TOO_LARGE):
        return wire[:LONGEST_VALUE] if isinstance(wire, str) else wire
    return json.dumps(wire)[:LONGEST_VALUE]


def _below(endpoint: str | None, signal: str) -> str | None:
    return None if endpoint is None else f"{endpoint.rstrip('/')}/v1/{signal}"


def _resource() -> Resource:
    """What the environment says of this service; it is called penstock where that says nothing."""
    found = Resource.create()
    if str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        return found.merge(Resource({SERVICE_NAME: "penstock"}))
    return found


class _Ids(IdGenerator):
    """Gives spans the ids that are asked for beforehand."""

    def __init__(self, context: TraceContext) -> None:
        self._trace = int(context.trace, 16)
        self.next = ""

    def generate_span_id(self) -> int:
        return int(self.next, 16)

    def generate_trace_id(self) -> int:
        return self._trace


class _Collector(SpanProcessor):
    def __init__(self, take: Callable[[ReadableSpan], None]) -> None:
        self._take = take

    def on_end(self, span: ReadableSpan) -> None:
        self._take(span)


class _MetricExporter(OTLPMetricExporter):
    """Remembers that an export failed."""

    has_failed = False

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **more: Any
    ) -> MetricExportResult:
        result = super().export(metrics_data, timeout_millis, **more)
        self.has_failed |= result is not MetricExportResult.SUCCESS
        return result


class _Meters:
    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter("penstock")
        self.run_duration = meter.create_histogram("cicd.pipeline.run.duration", "s", "How long runs took.")
        self.errors = meter.create_counter("cicd.pipeline.run.errors", "{error}", "Failed nodes.")
        self.nodes = meter.create_counter("penstock.nodes", "{node}", "Nodes by what they came to.")
        self.attempts = meter.create_counter("penstock.attempts", "{attempt}", "Attempts by how they ended.")
        self.attempt_duration = meter.create_histogram("penstock.attempt.duration", "s", "How long attempts took.")
        self.cpu_time = meter.create_histogram("penstock.attempt.cpu_time", "s", "The CPU time of attempts.")
        self.peak_memory = meter.create_histogram("penstock.attempt.peak_memory", "By", "The peak memory of attempts.")
        self.metric = meter.create_gauge("penstock.metric", "1", "What steps logged as metrics.")


class _Words(logging.Handler):
    """Keeps the last words of the exporters, which say by logging why they failed, and keeps them off the terminal."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""
        self._logger = logging.getLogger(_LOGGER)
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()

    def close(self) -> None:
        self._logger.removeHandler(self)
        super().close()
