"""What attempts under way have used so far, read from ``/proc``; nothing is known where there is none.

``logs`` gives the attempts' names by the files that they print to, links followed: by these their processes are known,
each of which leads a session of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from penstock import harness
from penstock.history import Usage

_TICKS = os.sysconf("SC_CLK_TCK")


def peaks(logs: Mapping[str, str]) -> dict[str, int]:
    """The largest resident set so far of one process of each attempt, in bytes."""
    found: dict[str, int] = {}
    for owner, process in _processes(logs):
        with suppress(OSError, ValueError, IndexError):
            found[owner] = max(_peak(process), found.get(owner, 0))
    return found


def usages(logs: Mapping[str, str]) -> dict[str, Usage]:
    """What each attempt has used so far, with all of its processes and the children that these waited for."""
    found: dict[str, Usage] = {}
    for owner, process in _processes(logs):
        with suppress(OSError, ValueError, IndexError):
            before = found.get(owner, Usage(0.0, 0))
            spent = (before.cpu_seconds or 0.0) + _cpu_seconds(process)
            found[owner] = Usage(spent, max(before.peak_memory or 0, _peak(process)))
    return found


def _processes(logs: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """The processes of attempts: whose each is, and its folder in ``/proc``."""
    owners: dict[int, str] = {}
    for pid in harness.descendants([os.getpid()]):
        with suppress(OSError):
            session = os.getsid(pid)
            if session not in owners:
                owners[session] = logs.get(str(Path(f"/proc/{session}/fd/1").readlink()), "")
            if owners[session]:
                yield owners[session], Path(f"/proc/{pid}")


def _peak(process: Path) -> int:
    status = (process / "status").read_text(errors="replace")
    return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) * 1024


def _cpu_seconds(process: Path) -> float:
    """User and system time of a process and of the children that it has waited for."""
    fields = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS
