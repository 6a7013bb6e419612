"""Who looks on while a pipeline runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from penstock_backends.local.execution import Execution
from penstock_backends.local.objects import Json
from penstock_backends.local.options import RunOptions
from penstock_backends.local.telemetry import Telemetry
from penstock_backends.local.trace_context import context_here

if TYPE_CHECKING:
    from penstock_backends.local.watching import Watch

PATIENCE = 10.0  # seconds after the end of a run for all that is still to be sent


@contextmanager
def observed(execution: Execution, options: RunOptions) -> Iterator[None]:
    """Has a run observed as its options ask for; in the end waits a little for what is still to be sent."""
    observers = [*_watch_of(execution, options), *_telemetry_of(execution, options)]
    for each in observers:
        execution.books.journal.readers.append(each.put)
        each.start()
    try:
        yield
    except Exception as error:
        for each in observers:
            each.put(_broken_off(execution, error))
        raise
    finally:
        end = time.monotonic() + PATIENCE
        for each in observers:
            try:
                each.close(max(0.0, end - time.monotonic()))
            except KeyboardInterrupt:  # Ctrl-C: whoever waits has no more patience, and the run has its end
                end = time.monotonic()
                each.close(0.0)
        execution.books.tell_what_was_noticed()


def _broken_off(execution: Execution, error: Exception) -> Json:
    """The end of a run that the runner itself could not bring to an end, for instance because of a full disk."""
    return {
        "event": "run_ended",
        "time": time.time(),
        "state": "failed",
        "seconds": execution.seconds,
        "counts": {},
        "error": f"{type(error).__name__}: {error}",
    }


def _watch_of(execution: Execution, options: RunOptions) -> list[Watch]:
    """What watches the run; nothing where no rule is about its pipeline."""
    name = execution.spec.name
    rules = [rule for rule in options.alerts if fnmatchcase(name, rule.pipeline)]
    if not rules:
        return []
    from penstock_backends.local.watching import Watch  # noqa: PLC0415  # it loads what speaks HTTP

    note, weighs = execution.books.notice, not options.inline
    return [Watch(rules, name, execution.store, execution.folder, note, weighs=weighs)]


def _telemetry_of(execution: Execution, options: RunOptions) -> list[Telemetry]:
    """What sends telemetry, if that is asked for; the run is traced from here on."""
    if options.telemetry is None:
        return []
    execution.trace = context_here()

    def report(error: str) -> None:
        execution.books.notice("telemetry_failed", "", f"telemetry did not arrive: {error}", error=error)

    return [Telemetry(options.telemetry, execution.trace, execution.program, execution.parameters, report)]
