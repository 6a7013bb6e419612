"""How many runs of a pipeline there are at a time: each takes a turn, and gives it back when it ends, however it does.

A turn is a file in the store with a lock on it, which the kernel releases when the process is gone. Whoever waits
holds a lock on the queue, so that only the first of those who wait takes what is given back. Who ends another run
leaves a note beside its file; that run looks for one.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from penstock.results import Listener, Noticed
from penstock.spec import PipelineSpec
from penstock_backends.local.books import Books

LOOK_AGAIN = 0.1  # seconds
FOLDER = "turns"


class Turn:
    """One of the turns of a pipeline, had by this run; ``gives_way`` says whether a further run may end this one."""

    def __init__(self, handle: int, note: Path, *, gives_way: bool) -> None:
        self._handle = handle
        self._note = note
        self.gives_way = gives_way

    @property
    def is_wanted(self) -> bool:
        """Whether a further run has asked this one to end."""
        return self._note.exists()

    def give_back(self) -> None:
        """Lets another run have it."""
        self._note.unlink(missing_ok=True)
        os.close(self._handle)


@contextmanager
def turn_of(pipeline: PipelineSpec, store: Path, listener: Listener | None) -> Iterator[Turn | None]:
    """A turn for a run in a store, as long as the run takes; None where its pipeline may have as many runs as it will.

    Where all are taken, this waits, and says so.
    """
    if pipeline.concurrency is None:
        yield None
        return
    limit, cancels = pipeline.concurrency.limit, pipeline.concurrency.cancel_running
    queue = Queue(store / FOLDER / quote(pipeline.name, safe=""), cancels=cancels)
    turn = queue.taken(limit)
    if turn is None:
        if listener is not None:
            runs = "another run" if limit == 1 else f"one of {limit} other runs"
            how = "which is asked to end" if cancels else f"for there may be {limit} at a time"
            listener(Noticed("waiting", "", f"waiting for {runs} of `{pipeline.name}`, {how}"))
        turn = queue.waited_for(limit)
    try:
        yield turn
    finally:
        turn.give_back()


@contextmanager
def giving_way(turn: Turn | None, books: Books, end: Callable[[], object]) -> Iterator[None]:
    """For its duration another thread calls ``end``, once, when a further run asks this one to give up its turn."""
    if turn is None or not turn.gives_way:
        yield
        return
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(LOOK_AGAIN):
            if turn.is_wanted:
                books.notice("superseded", "", "a further run of the pipeline ends this one")
                end()
                return

    thread = threading.Thread(target=look, name="penstock-turn", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


class Queue:
    """The turns of a pipeline: ``N.turn`` for each, ``N.end`` where its run is asked to end, ``queue`` who is next."""

    def __init__(self, folder: Path, *, cancels: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._cancels = cancels

    def taken(self, limit: int) -> Turn | None:
        """A turn that is free, if fewer than so many are taken and nobody waits."""
        with self._locked(fcntl.LOCK_NB) as is_first:
            return self._free(limit) if is_first else None

    def waited_for(self, limit: int) -> Turn:
        """A turn, as soon as this is the first of those who wait and one is free; or the oldest, whose run is ended."""
        with self._locked(0):
            while True:
                turn = self._free(limit)
                if turn is not None:
                    return turn
                if self._cancels:
                    self._end_oldest(limit)
                time.sleep(LOOK_AGAIN)

    @contextmanager
    def _locked(self, how: int) -> Iterator[bool]:
        handle = os.open(self._folder / "queue", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | how)
            yield True
        except BlockingIOError:
            yield False
        finally:
            os.close(handle)

    def _free(self, limit: int) -> Turn | None:
        """The first free turn, taken; None where so many others are had."""
        had = self._had()
        if len(had) >= limit:
            return None
        for note in self._folder.glob("*.end"):  # for runs that have ended
            if note.stem not in {turn["token"] for turn in had.values() if turn}:
                note.unlink(missing_ok=True)
        number = next(each for each in range(limit) if each not in had)
        handle = os.open(self._folder / f"{number}.turn", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        token = secrets.token_hex(8)
        content = json.dumps({"since": time.time(), "token": token, "pid": os.getpid()}).encode("ascii")
        os.ftruncate(handle, 0)
        os.pwrite(handle, content, 0)
        return Turn(handle, self._folder / f"{token}.end", gives_way=self._cancels)

    def _had(self) -> dict[int, Any]:
        """What the runs that have one wrote into their turns, by its number."""
        found: dict[int, Any] = {}
        for file in self._folder.glob("*.turn"):
            handle = os.open(file, os.O_RDWR)
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found[int(file.stem)] = json.loads(os.pread(handle, 1 << 16, 0) or b"null")
            finally:
                os.close(handle)
        return found

    def _end_oldest(self, limit: int) -> None:
        """Asks as many of the oldest runs to end as there are too many for one more."""
        had = sorted(filter(None, self._had().values()), key=lambda turn: turn["since"])
        for turn in had[: max(0, len(had) - limit + 1)]:
            (self._folder / f"{turn['token']}.end").touch()


def interrupting_this_thread() -> Callable[[], None]:
    """What has the thread that calls this find a `KeyboardInterrupt`, as Ctrl-C would; for another thread to call."""
    thread = threading.get_ident()
    is_main = threading.current_thread() is threading.main_thread()

    def interrupt() -> None:
        if is_main and callable(signal.getsignal(signal.SIGINT)):
            with suppress(ProcessLookupError):
                signal.pthread_kill(thread, signal.SIGINT)  # which also ends a call that waits
        else:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt))

    return interrupt
