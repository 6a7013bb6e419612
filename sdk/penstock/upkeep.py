"""What there is to know of a store, and to do about it: what it takes up, whether it is whole, what may go."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

COPIED = "copied"
_SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True)
class Holding:
    """How many of one kind of thing a store holds (or has let go), and the bytes that they take up together."""

    count: int = 0
    size: int = 0


@dataclass(frozen=True)
class Damage:
    """One thing in a store that is not as it should be.

    ``kind`` is ``object``, ``result``, ``run`` or ``draft``; ``name`` the one of that kind; ``problem`` what is wrong
    with it; ``is_mended`` whether it was removed, so that nothing can meet it again.
    """

    kind: str
    name: str
    problem: str
    is_mended: bool = False


@dataclass(frozen=True)
class Verified:
    """What came of looking at all that a store holds: ``counts`` by kind, and each thing that is damaged."""

    counts: Mapping[str, int]
    damages: tuple[Damage, ...] = ()


@dataclass(frozen=True)
class Cleared:
    """What was let go, or would be: by kind; and the bytes that are ``left`` in the store afterwards."""

    gone: Mapping[str, Holding] = field(default_factory=dict)
    left: int = 0

    @property
    def size(self) -> int:
        """The bytes that this frees."""
        return sum(each.size for each in self.gone.values())


class Upkeep(Protocol):
    """What can be done for a store. All of it may be asked for while runs use the store."""

    @property
    def place(self) -> str:
        """Where the store is, as a person writes it."""

    def info(self) -> Mapping[str, Holding]:
        """What it holds, by kind; of a store elsewhere also, as `COPIED`, what a copy here takes up."""

    def verify(self, repair: bool = False) -> Verified:
        """Reads everything. With ``repair`` what is damaged is removed, so that a later run computes it anew."""

    def gc(self, dry_run: bool = False, older_than: float | None = None, max_size: int | None = None) -> Cleared:
        """Removes what nothing refers to, and what may go beyond that; nothing that a run under way uses.

        Args:
            dry_run: remove nothing, and say what would go.
            older_than: let go of results, too, that no run has used for so many seconds.
            max_size: let go of results, too, those first that have not been used for the longest time, until the store
                takes up no more than so many bytes.
        """


def span_of(text: str) -> float:
    """A span of time in seconds, from a number with a unit: ``90s``, ``15m``, ``12h``, ``30d``, ``2w``.

    Raises `ValueError` for what is none.
    """
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a span of time; write for instance '12h', '30d' or '2w'")
    return float(match[1]) * _SECONDS[match[2]]
