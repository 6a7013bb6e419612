"""The trace that a run belongs to, as it is handed from process to process: W3C's ``traceparent``."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass

VARIABLE = "TRACEPARENT"
_FORM = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True)
class TraceContext:
    """The ids of a run's spans, in hexadecimal. They follow from the run's own, so that any thread can tell them.

    ``parent`` is the span that the run is part of, empty where it is the first.
    """

    trace: str
    run: str
    parent: str = ""
    flags: str = "01"

    def span_of(self, node: str, attempt: int = 0) -> str:
        """The id of the span of a node, or of one of its attempts."""
        text = f"{self.trace} {self.run} {attempt} {node}"
        return hashlib.blake2b(text.encode("utf-8"), digest_size=8).hexdigest()

    def environment(self, node: str, attempt: int) -> dict[str, str]:
        """What lets an attempt's process add its own spans to that of the attempt."""
        return {VARIABLE: f"00-{self.trace}-{self.span_of(node, attempt)}-{self.flags}"}


def context_here() -> TraceContext:
    """The context of a new run: below the span that this thread is in, or that its process was started for."""
    match = _FORM.fullmatch(_current_span() or os.environ.get(VARIABLE, ""))
    if match is None or not int(match[1], 16) or not int(match[2], 16):
        return TraceContext(secrets.token_hex(16), secrets.token_hex(8))
    return TraceContext(match[1], secrets.token_hex(8), match[2], match[3])


def _current_span() -> str:
    """The span of this thread; only where OpenTelemetry was imported there can be one."""
    module = sys.modules.get("opentelemetry.trace")
    if module is None:
        return ""
    context = module.get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def environment_of(context: TraceContext | None, node: str, attempt: int) -> Mapping[str, str]:
    """What an attempt's environment holds of the trace; nothing where there is none."""
    return {} if context is None else context.environment(node, attempt)
