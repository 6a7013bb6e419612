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
_ANEW = "something has removed it while the run went on: run again, and what is left of its results is taken"
_RIGHTS = "see to it that you may write to it, or use another store: `store=...`"
_ROOM = "make room, for instance by `penstock store gc`, and resume the run: what it completed is kept"
_FIXES = {errno.ENOENT: _ANEW, **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), _RIGHTS)}


@contextmanager
def on_disk(folder: Path) -> Iterator[None]:
    """Ends a run whose books cannot be kept in ``folder`` with a `RunError` that names the disk, and its room."""
    try:
        yield
    except OSError as error:
        if error.errno not in FAILURES and not _is_in(folder, error):
            raise
        said = told_of_room(error.strerror or "", folder)
        message = f"the run cannot go on, for its store {folder} cannot be written: {said}"
        raise RunError(Diagnostic("P613", message, fix=_FIXES.get(error.errno or 0, _ROOM))) from error


def _is_in(folder: Path, error: OSError) -> bool:
    """Whether an error is about a file in a folder."""
    return isinstance(error.filename, (str, Path)) and folder in Path(error.filename).parents


def told_of_room(error: str, folder: Path) -> str:
    """The error of an attempt; where a disk was full, with what is free on that of the store, which it works on."""
    if os.strerror(errno.ENOSPC) not in error:
        return error
    with suppress(OSError):
        usage = shutil.disk_usage(folder)
        return f"{error} (on the disk of {folder}, {size_text(usage.free)} of {size_text(usage.total)} are free)"
    return error
