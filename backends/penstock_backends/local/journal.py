"""A run's journal: one line of JSON for each thing that happens, in order.

`penstock.event_log` says what each event holds. A line is appended by one write, so that what a killed run leaves
behind ends with at most one torn line. Its lock is held until it is closed, or its process is gone. Times never go
back, though the machine's clock may be set while the run goes on.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from penstock_backends.local.history import lock
from penstock_backends.local.layout import JOURNAL
from penstock_backends.local.objects import Json


class Journal:
    """A new journal in a run's folder. It may be written by several threads.

    ``readers`` are called with each event after it was written, in the thread that wrote it; they must be quick.
    """

    def __init__(self, folder: Path) -> None:
        self._handle = os.open(folder / JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        lock(self._handle)
        self._writing = threading.Lock()
        self._epoch = time.time() - time.monotonic()
        self._encode = json.JSONEncoder(separators=(",", ":")).encode
        self.readers: list[Callable[[Json], None]] = []

    def note(self, event: str, **more: Json) -> None:
        """Writes an event down, with the time; nothing where the journal is closed."""
        with self._writing:
            if self._handle < 0:
                return
            said = {"time": round(self._epoch + time.monotonic(), 6), "event": event, **more}
            _append(self._handle, self._encode(said).encode("ascii") + b"\n")
        for read in self.readers:
            read(said)

    def close(self) -> None:
        """Lets go of the file."""
        with self._writing:
            os.close(self._handle)
            self._handle = -1


def _append(handle: int, line: bytes) -> None:
    """Appends a line whole, or not at all: a disk that is nearly full takes the beginning of it without an error."""
    written = os.write(handle, line)
    if written < len(line):
        os.ftruncate(handle, os.fstat(handle).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
