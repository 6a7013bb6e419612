"""What the jobs of a large workflow repeat, written once: YAML's anchors, which GitHub takes since September 2025.

Smaller workflows are written without: actionlint takes anchors from 1.7.8 on, and a server of one's own may be older.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Container

import yaml

NOTE = "What jobs repeat is written once, as &NAME, and is *NAME elsewhere: the file would be too large for GitHub."

_REPEATED = re.compile(
    r"^(?P<start>      - )(?P<first>name: (?P<name>.*)\n)(?P<rest>(?:\n* {8}.*\n)*)"
    r"|^(?P<key>    permissions:)\n(?P<scopes>(?:\n* {6}.*\n)+)",
    re.MULTILINE,
)


def written_once(workflow: str) -> str:
    """A workflow in which the steps and permissions that several jobs have alike are written at the first of these."""
    times = Counter(found[0] for found in _REPEATED.finditer(workflow))
    anchors: dict[str, str] = {}

    def once(found: re.Match[str]) -> str:
        text, start = found[0], found["start"] or f"{found['key']} "
        if times[text] == 1:
            return text
        if text in anchors:
            return f"{start}*{anchors[text]}\n"
        anchors[text] = _anchor(found["name"] or "permissions", anchors.values())
        whole = found["scopes"] or f"        {found['first']}{found['rest']}"
        return f"{start}&{anchors[text]}\n{whole}"

    return _REPEATED.sub(once, workflow)


def nodes_of(workflow: str) -> int:
    """What GitHub counts as nodes of YAML: scalars, and the begin and end of all else; an anchor's each time anew.

    ``workflow`` is written without anchors.
    """
    return sum(1 for _ in yaml.parse(workflow, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def _anchor(name: str, taken: Container[str]) -> str:
    """What a step's name makes of an anchor, which is no other's."""
    word = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "step"
    names = (word if number == 1 else f"{word}_{number}" for number in itertools.count(1))
    return next(each for each in names if each not in taken)
