"""Who looks on while a pipeline runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from penstock_backends.local.execution import Execution
from penstock_backends.local.options import RunOptions
from penstock_backends.local.watching import watch_of

PATIENCE = 10.0  # seconds after the end of a run for all that is still to be sent


@contextmanager
def observed(execution: Execution, options: RunOptions) -> Iterator[None]:
    """Has a run observed as its options ask for; in the end waits a little for what is still to be sent."""
    observers = watch_of(options.alerts, execution.spec.name, execution.store, execution.folder, execution.notice)
    for each in observers:
        execution.journal.readers.append(each.put)
        each.start()
    try:
        yield
    finally:
        end = time.monotonic() + PATIENCE
        for each in observers:
            try:
                each.close(max(0.0, end - time.monotonic()))
            except KeyboardInterrupt:  # Ctrl-C: whoever waits has no more patience, and the run has its end
                end = time.monotonic()
                each.close(0.0)
        execution.tell_what_was_noticed()
