"""What GitHub takes of cron."""

from __future__ import annotations

import itertools
import re

SHORTEST_PAUSE = 5  # minutes; GitHub leaves out what comes sooner, and says nothing

_FIELD = re.compile(r"(?:[0-9*,/-]|[A-Z]{3})+", re.IGNORECASE)
_MINUTES = re.compile(r"(\*|\d+(?:-\d+)?)(?:/(\d+))?")


def cron_problem(cron: str) -> str:
    """Why GitHub would not run at these times; empty if it would."""
    fields = cron.split()
    if len(fields) != 5 or not all(map(_FIELD.fullmatch, fields)):
        return "GitHub takes the five fields of POSIX cron, without @daily, L, W or #"
    minutes = _minutes(fields[0])
    if not minutes:
        return f"{fields[0]} is no list of minutes"
    pauses = [later - earlier for earlier, later in itertools.pairwise(minutes)]
    if not fields[1].isdigit():
        pauses.append(minutes[0] + 60 - minutes[-1])
    shortest = min(pauses, default=60)
    if shortest >= SHORTEST_PAUSE:
        return ""
    return f"that is every {shortest} minutes, and GitHub starts no run sooner than {SHORTEST_PAUSE} after the last"


def _minutes(field: str) -> list[int]:
    """The minutes that a field names, in order; empty where it is not a field of minutes."""
    found: set[int] = set()
    for part in field.split(","):
        match = _MINUTES.fullmatch(part)
        if match is None or match[2] == "0":
            return []
        first, _, last = match[1].replace("*", "0-59").partition("-")
        stop = int(last) if last else 59 if match[2] else int(first)
        found.update(range(int(first), stop + 1, int(match[2] or 1)))
    return sorted(found) if max(found, default=60) < 60 else []
