"""What goes on beside a run, in threads of its own: it takes the run's events, and neither delays nor breaks it."""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Background(ABC, Generic[Item]):
    """A thread that takes items one by one, in their order. It ends with its process, whatever it is at."""

    def __init__(self, name: str) -> None:
        self._items: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Has it begin."""
        self._thread.start()

    def put(self, item: Item) -> None:
        """Gives it an item; returns at once."""
        self._items.put(item)

    def close(self, patience: float) -> bool:
        """Waits so many seconds for it to take what it was given, and to end; whether it has."""
        self._items.put(None)
        self._thread.join(patience)
        return not self._thread.is_alive()

    @abstractmethod
    def take(self, item: Item) -> None:
        """Deals with an item."""

    @abstractmethod
    def failed(self, error: Exception) -> None:
        """Takes note of an error that any of the other methods raised."""

    def look(self) -> None:
        """Called when it was due, and when all items so far were taken."""

    def due(self) -> float:
        """When `look` is to be called without an item, by the monotonic clock."""
        return math.inf

    def finish(self) -> None:
        """Called in the end."""

    def _work(self) -> None:
        goes_on = True
        while goes_on:
            try:
                goes_on = self._turn()
            except Exception as error:  # noqa: BLE001  # nothing of it may break the run
                self.failed(error)
        try:
            self.finish()
        except Exception as error:  # noqa: BLE001  # as above
            self.failed(error)

    def _turn(self) -> bool:
        patience = self.due() - time.monotonic()
        with contextlib.suppress(queue.Empty):
            item = self._items.get(timeout=None if patience == math.inf else max(0.0, patience))
            if item is None:
                return False
            self.take(item)
        if self._items.empty():
            self.look()
        return True
