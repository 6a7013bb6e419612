"""Several runs on one machine share one budget: each writes down what it has taken, and leaves the others theirs.

Each run has a file in a folder of this user's, and holds a lock on it while it lives: the kernel releases that when
the run dies, however it does, and with it all that it had taken. Whoever takes more holds the folder's own lock
meanwhile, so no two runs take the same.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from penstock.diagnostics import ConfigurationError, Diagnostic
from penstock_backends.local.budget import Request

Json = Any
VARIABLE = "PENSTOCK_CLAIMS"
NOTHING = Request()


def claims_folder() -> Path:
    """Where runs write down what they have taken: what ``PENSTOCK_CLAIMS`` says, else a folder of this user's."""
    given = os.environ.get(VARIABLE)
    return Path(given) if given else Path(tempfile.gettempdir()) / f"penstock-claims-{os.geteuid()}"


class Claims:
    """What one run has taken of a budget that others share.

    Raises:
        ConfigurationError: the folder cannot be used, or is another user's.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(0o700, parents=True, exist_ok=True)
            found = folder.stat()
            if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise PermissionError(errno.EPERM, "others may write to it")
            self._gate = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._file = folder / f"{os.getpid()}-{secrets.token_hex(4)}.json"
            fcntl.flock(self._gate, fcntl.LOCK_EX)  # or another run might find the file while nobody has locked it
            self._handle = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._handle, fcntl.LOCK_EX)
            fcntl.flock(self._gate, fcntl.LOCK_UN)
        except OSError as error:
            message = f"no budget can be shared by way of the folder {folder}: {error.strerror}"
            fix = f"name another folder in the environment variable {VARIABLE}, or leave `share_budget` out"
            raise ConfigurationError(Diagnostic("P739", message, fix=fix)) from None
        self._folder = folder
        self._since: float | None = None

    @contextlib.contextmanager
    def agreed(self) -> Iterator[tuple[Request, tuple[str, ...]]]:
        """For its duration nobody else takes anything; what others have taken by now, and their GPUs.

        That includes what others are to get before this run: they have waited for it for longer.
        """
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        try:
            others = [claim for claim in map(self._of, self._folder.glob("*.json")) if claim is not None]
            taken = [_request(claim["taken"]) for claim in others]
            first = [_request(each["wanted"]) for each in others if each["wanted"] and self._is_later(each["since"])]
            yield total([*taken, *first]), tuple(device for claim in others for device in claim["devices"])
        finally:
            fcntl.flock(self._gate, fcntl.LOCK_UN)

    def write(self, taken: Request, devices: Iterable[str], wanted: Request | None, *, is_next: bool) -> None:
        """Writes down what this run has taken, and what it waits for that runs which come later are to leave to it.

        ``is_next`` says whether something of it was started meanwhile: then it is the others' turn first.
        """
        since = None if is_next else self._since
        self._since = None if wanted is None else since or time.time()
        claim = {
            "taken": asdict(taken),
            "devices": list(devices),
            "wanted": None if wanted is None else asdict(wanted),
            "since": self._since,
        }
        content = json.dumps(claim).encode("ascii")
        os.pwrite(self._handle, content, 0)
        os.ftruncate(self._handle, len(content))

    def close(self) -> None:
        """Gives everything back."""
        self._file.unlink(missing_ok=True)
        os.close(self._handle)
        os.close(self._gate)

    def _is_later(self, since: float) -> bool:
        return self._since is None or since < self._since

    def _of(self, file: Path) -> Json:
        """What another run has taken; None where it has ended, and left no more than a file."""
        if file == self._file:
            return None
        try:
            handle = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.unlink(missing_ok=True)
        except BlockingIOError:
            content = os.pread(handle, 1 << 20, 0)
            return json.loads(content) if content else None
        finally:
            os.close(handle)
        return None


def total(requests: Iterable[Request]) -> Request:
    """What several requests come to."""
    cpu, memory, gpu, quotas = 0.0, 0, 0, dict[str, int]()
    for each in requests:
        cpu, memory, gpu = cpu + each.cpu, memory + each.memory, gpu + each.gpu
        for name, amount in each.quotas:
            quotas[name] = quotas.get(name, 0) + amount
    return Request(cpu, memory, gpu, tuple(sorted(quotas.items())))


def _request(claim: Json) -> Request:
    quotas = tuple((name, amount) for name, amount in claim["quotas"])
    return Request(claim["cpu"], claim["memory"], claim["gpu"], quotas)
