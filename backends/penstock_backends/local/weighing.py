"""How much memory attempts under way have, read from ``/proc``; nothing is known where there is none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from penstock import harness


def peaks(logs: Mapping[str, str]) -> dict[str, int]:
    """The largest resident set so far of one process of each attempt, in bytes.

    ``logs`` gives the attempts' names by the files that they print to, links followed: by these their processes are
    known, each of which leads a session of its own.
    """
    found: dict[str, int] = {}
    owners: dict[int, str] = {}
    for pid in harness.descendants([os.getpid()]):
        with suppress(OSError, ValueError, IndexError):
            session = os.getsid(pid)
            if session not in owners:
                owners[session] = logs.get(str(Path(f"/proc/{session}/fd/1").readlink()), "")
            owner = owners[session]
            if owner:
                status = Path(f"/proc/{pid}/status").read_text(errors="replace")
                peak = int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) * 1024
                found[owner] = max(peak, found.get(owner, 0))
    return found
