"""What becomes of a run when its store cannot be written any more."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from penstock.diagnostics import Diagnostic, RunError
from penstock.settings import size_text

FAILURES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


@contextmanager
def on_disk(folder: Path) -> Iterator[None]:
    """Ends a run whose books cannot be kept in ``folder`` with a `RunError` that names the disk, and its room."""
    try:
        yield
    except OSError as error:
        if error.errno not in FAILURES:
            raise
        said = told_of_room(error.strerror or "", folder)
        message = f"the run cannot go on, for its store {folder} cannot be written: {said}"
        fix = "make room, for instance by `penstock store gc`, and resume the run: what it completed is kept"
        raise RunError(Diagnostic("P613", message, fix=fix)) from error


def told_of_room(error: str, folder: Path) -> str:
    """The error of an attempt; where a disk was full, with what is free on that of the store, which it works on."""
    if os.strerror(errno.ENOSPC) not in error:
        return error
    with suppress(OSError):
        usage = shutil.disk_usage(folder)
        return f"{error} (on the disk of {folder}, {size_text(usage.free)} of {size_text(usage.total)} are free)"
    return error
