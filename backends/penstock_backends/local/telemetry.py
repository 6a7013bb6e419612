"""Sends a run's spans and metrics to an OpenTelemetry collector while the run goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, field_validator

from penstock.diagnostics import Diagnostic
from penstock_backends.local.expanding import expanded
from penstock_backends.local.objects import Json
from penstock_backends.local.observing import Background
from penstock_backends.local.trace_context import TraceContext
from penstock_backends.lowering import Program

if TYPE_CHECKING:
    from penstock_backends.local.signals import Signals
else:
    Signals = object

EVERY = 5.0  # seconds between two exports
MOST_WAITING = 2000  # spans that are exported before that
PATIENCE = 3.0  # seconds after the end of a run for what is still to be sent
PATIENCE_IN_TROUBLE = 0.5  # the same, where there were errors: more tries would hardly help
_SIGNALS = "penstock_backends.local.signals"  # by its name, for only the extra can import it
_EXPORTER = "opentelemetry.exporter.otlp.proto.http"


class TelemetryOptions(BaseModel):
    """Where telemetry goes.

    Attributes:
        endpoint: the base URL of a collector that speaks OTLP over HTTP, such as ``http://localhost:4318``; by default
            what ``OTEL_EXPORTER_OTLP_ENDPOINT`` and its like say.
        headers: what to send with each request. ``${NAME}`` stands for an environment variable.
        parameters: whether the run's parameters are told.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    parameters: bool = True

    @field_validator("endpoint")
    @classmethod
    def _is_http(cls, given: str | None) -> str | None:
        if given is not None and not given.startswith(("http://", "https://")):
            raise ValueError("not a URL, such as http://localhost:4318")
        return given


def telemetry_lacks() -> Iterator[Diagnostic]:
    """What telemetry lacks here."""
    try:
        is_there = find_spec(_EXPORTER) is not None and find_spec("opentelemetry.sdk") is not None
    except ModuleNotFoundError:
        is_there = False
    if not is_there:
        fix = "install the extra: `pip install 'penstock[otel]'`, or leave `telemetry` out"
        yield Diagnostic("P738", "`telemetry` is asked for, and OpenTelemetry is not installed", fix=fix)


class Telemetry(Background[Json]):
    """Takes a run's events. ``report`` is told in a sentence what did not arrive, and why."""

    def __init__(
        self,
        options: TelemetryOptions,
        context: TraceContext,
        program: Program,
        parameters: Mapping[str, Json],
        report: Callable[[str], None],
    ) -> None:
        super().__init__("penstock-telemetry")
        self._options = options
        self._context = context
        self._program = program
        self._parameters = parameters if options.parameters else {}
        self._report = report
        self._signals: Signals | None = None
        self._is_broken = self._is_given_up = False
        self._last = 0.0

    def take(self, item: Json) -> None:
        """Makes signals of an event."""
        if self._is_broken:
            return
        if self._signals is None:
            self._signals = self._new_signals()
            self._last = time.monotonic()
        self._signals.take(item)
        if self._signals.size >= MOST_WAITING:
            self._signals.export()

    def failed(self, error: Exception) -> None:
        """Says why there will be no more."""
        if not self._is_broken:
            self._is_broken = True
            self._report(f"{type(error).__name__}: {error}")

    def due(self) -> float:
        """When the next export is due."""
        return self._last + EVERY if self._signals is not None and self._signals.size else math.inf

    def look(self) -> None:
        """Exports what there is from time to time."""
        if self._signals is not None and time.monotonic() >= self.due():
            self._signals.export()
            self._last = time.monotonic()

    def finish(self) -> None:
        """Exports the rest."""
        error = self._signals.finish() if self._signals is not None else ""
        if error and not self._is_given_up:
            self._report(error)

    def close(self, patience: float) -> bool:
        """Waits for the rest to be sent, as long as there is patience, and never long."""
        end = time.monotonic() + min(patience, PATIENCE)
        has_ended = super().close(min(patience, PATIENCE_IN_TROUBLE))
        if not has_ended and not self._trouble:
            self._thread.join(max(0.0, end - time.monotonic()))
            has_ended = not self._thread.is_alive()
        if has_ended:
            return True
        self._is_given_up = True
        self._report(f"the collector did not take all of it in time{self._trouble and f': {self._trouble}'}")
        if self._signals is not None:
            self._signals.shut_down()
        return False

    @property
    def _trouble(self) -> str:
        """What the exporters have complained of, empty for nothing."""
        return "" if self._signals is None else self._signals.trouble

    def _new_signals(self) -> Signals:
        options = self._options
        headers = {name: expanded(value) for name, value in options.headers.items()}
        made: Signals = import_module(_SIGNALS).Signals(
            self._context, self._program, self._parameters, options.endpoint, headers
        )
        return made


@contextmanager
def below(context: TraceContext | None, node: str, attempt: int) -> Iterator[None]:
    """Has spans that this thread begins for its duration be parts of an attempt's, as in a process of its own."""
    if context is None:
        yield
        return
    context_api, trace = import_module("opentelemetry.context"), import_module("opentelemetry.trace")
    ids = int(context.trace, 16), int(context.span_of(node, attempt), 16)
    span = trace.NonRecordingSpan(trace.SpanContext(*ids, True, trace.TraceFlags(int(context.flags, 16))))
    token = context_api.attach(trace.set_span_in_context(span))
    try:
        yield
    finally:
        context_api.detach(token)
