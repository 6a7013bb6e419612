"""Where something came from, and what became of it: the computations before and after it, across runs.

`penstock.history.History.lineage` gives it, `penstock.pedigree` shows it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Taken:
    """What a computation was given as one argument: in words, and the ids of the computations that it came from."""

    argument: str
    text: str
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Made:
    """A computation. ``id`` is the run and the node that did it, ``RUN:NODE``, whoever took its result from the cache.

    ``step`` is its function, ``place`` where that stands, ``code`` a digest of all code that it reaches; what is no
    task has none, but a ``text``: the condition, or the loop's items. ``gave`` holds what came out by the output's
    name: a value, or the format and the digest of an artifact; ``metadata`` what was recorded of it, as JSON (encoded).
    """

    id: str
    run: str
    node: str
    pipeline: str
    state: str
    began: dt.datetime
    kind: str = "task"
    text: str = ""
    step: str = ""
    place: str = ""
    code: str = ""
    taken: tuple[Taken, ...] = ()
    gave: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sources(self) -> tuple[str, ...]:
        """What it was made from, each once."""
        return tuple(dict.fromkeys(source for each in self.taken for source in each.sources))


@dataclass(frozen=True)
class Lineage:
    """The computations that made what was asked for (``subjects``), all that they came from, and all that used them.

    ``made`` holds them by their ids, ``users`` the ids of those that used one.
    """

    what: str
    subjects: tuple[str, ...]
    made: Mapping[str, Made]
    users: Mapping[str, tuple[str, ...]]
