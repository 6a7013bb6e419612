"""Work that waits for other machines, done by threads meanwhile; what it comes to is taken up by whoever gave it."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

AT_ONCE = 16


class Errands:
    """Runs errands. ``wake`` is called from a thread whenever one is done."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._done: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._threads: ThreadPoolExecutor | None = None

    def give(self, errand: Callable[[], None], then: Callable[[OSError | None], None]) -> None:
        """Has an errand run; `take_up` will call ``then`` with the `OSError` that it ended with, if it did."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(AT_ONCE, "penstock-errand")
        self._threads.submit(self._run, errand, then)

    def take_up(self) -> None:
        """Goes on with what was given, in this thread, for each errand that is done."""
        while not self._done.empty():
            self._done.get()()

    def close(self) -> None:
        """Drops what was not begun."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self, errand: Callable[[], None], then: Callable[[OSError | None], None]) -> None:
        problem: OSError | None = None
        try:
            errand()
        except OSError as error:
            problem = error
        except Exception as error:  # noqa: BLE001  # whoever gave it waits for an end, whatever that is
            problem = OSError(f"{type(error).__name__}: {error}")
        self._done.put(lambda: then(problem))
        self._wake()
