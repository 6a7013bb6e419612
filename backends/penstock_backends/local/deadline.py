"""Ends code of this process after some time, and leaves alone the alarm that someone else may have set meanwhile."""

from __future__ import annotations

import bdb
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_AT_ONCE = 1e-6  # 0 would mean never


class TimeIsUpError(BaseException):
    """Raised in the author's code, past its `except Exception`, when its time is up."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Ends its body by `TimeIsUpError` after some seconds; a debugger at work suspends that.

    Signals reach only the main thread: in another one nothing happens. Whoever had set an alarm before, as a test
    runner does for its own time limit, gets it when it is due, during the body or after it.
    """
    handler = signal.getsignal(signal.SIGALRM)
    if seconds == math.inf or handler is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    outer = _OuterAlarm(handler)
    end = time.monotonic() + seconds

    def ring(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if outer.due <= now:
            outer.advance(now)
            _arm(min(end, outer.due))
            outer.ring(number, frame)
        if end <= now:
            _arm(outer.due)
            if not _is_debugging():
                raise TimeIsUpError

    signal.signal(signal.SIGALRM, ring)
    _arm(min(end, outer.due))
    try:
        yield
    finally:
        _arm(math.inf)
        signal.signal(signal.SIGALRM, handler)
        _arm(outer.due, outer.interval)


class _OuterAlarm:
    """The alarm that is set: its handler, when it is due, and the seconds after which it repeats (0 for never)."""

    def __init__(self, handler: signal._HANDLER) -> None:
        left, self.interval = signal.getitimer(signal.ITIMER_REAL)
        self.due = time.monotonic() + left if left > 0 else math.inf
        self._handler = handler

    def advance(self, now: float) -> None:
        """Notes that it is ringing: it is due again after its interval."""
        self.due = now + self.interval if self.interval > 0 else math.inf

    def ring(self, number: int, frame: FrameType | None) -> None:
        """Does what would have been done."""
        if callable(self._handler):
            self._handler(number, frame)
        elif self._handler == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


def _arm(due: float, interval: float = 0.0) -> None:
    left = 0.0 if due == math.inf else max(due - time.monotonic(), _AT_ONCE)
    signal.setitimer(signal.ITIMER_REAL, left, interval)


def _is_debugging() -> bool:
    trace = sys.gettrace()
    return isinstance(getattr(trace, "__self__", None), bdb.Bdb) or "pydevd" in type(trace).__module__
