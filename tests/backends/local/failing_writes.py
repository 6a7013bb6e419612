"""Runs a pipeline again and again, and has another one of the things that it does to its store fail each time.

Prints one line of JSON for each: what failed, what the run came to, and what is left in the store.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock import PenstockError, pipeline, step
from penstock_backends.local.store import Store
from penstock_backends.local.upkeep import LocalUpkeep

CHANGES = ("os.rename", "os.mkdir", "os.chmod", "os.link", "os.truncate", "os.utime")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@step
def make() -> tuple[bytearray, Path]:
    Path("made").mkdir()
    Path("made", "file").write_text("text")
    return bytearray(b"bytes"), Path("made")


@step
def read(content: bytearray, folder: Path) -> str:
    return content.decode() + (folder / "file").read_text()


@pipeline
def small() -> str:
    content, folder = make()
    return read(content, folder)


class Fault:
    """Counts what is done to files below a folder, and fails one of these things with a full disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._left: int | None = None
        self.failed = ""
        sys.addaudithook(self._look)

    @contextmanager
    def at(self, number: int) -> Iterator[None]:
        """Has the so-manieth thing fail that is done meanwhile."""
        self._left, self.failed = number, ""
        try:
            yield
        finally:
            self._left = None

    def _look(self, event: str, given: tuple[object, ...]) -> None:
        if self._left is None or not (event in CHANGES or (event == "open" and _is_to_write(given[2]))):
            return
        if not str(given[0]).startswith(self._folder):
            return
        self._left -= 1
        if self._left == 0:
            self.failed = f"{event} {given[0]}"
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(given[0]))


def _is_to_write(flags: object) -> bool:
    return isinstance(flags, int) and bool(flags & WRITING)


def outcome(store: Path) -> dict[str, object]:
    """The state of a run, and why it is no better."""
    try:
        run = small.run(store=store, inline=True)
    except PenstockError as error:
        return {"state": "refused", "errors": [each.message for each in error.diagnostics]}
    return {"state": run.state.value, "errors": [node.error for node in run.nodes.values() if node.error]}


def main(folder: str) -> None:
    """Goes on until nothing is left to fail."""
    store = Path(folder) / "store"
    fault = Fault(store)
    for number in range(1, 1000):
        shutil.rmtree(store, ignore_errors=True)
        with fault.at(number):
            seen = outcome(store)
        if not fault.failed:
            return
        drafts = [file.name for file in (store / "drafts").glob("*")]
        kept = LocalUpkeep(Store(store)).verify()
        damages = [f"{each.kind} {each.problem}" for each in kept.damages]
        said = {"failed": fault.failed, **seen, "drafts": drafts, "damages": damages, "again": outcome(store)}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
