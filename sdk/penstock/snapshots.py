"""What ordinary objects hold at one moment, to tell later whether any of them was changed in place."""

from __future__ import annotations

import dataclasses
import enum
import functools
import itertools
import types
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from penstock import cells
from penstock.lists import BuiltList, Missing
from penstock.modules import is_author_file
from penstock.placeholders import Placeholder
from penstock.progress import comes_on, position_of

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_FOLLOWED = (Placeholder, BuiltList, Missing)
"""What a trace follows by itself."""
_SEQUENCES = (list, tuple, set, frozenset, deque, bytearray)


class Snapshot:
    """What named objects hold, with all that these hold in turn.

    Looked into are Python's containers, dataclasses, the author's own classes and their objects; and how far iterators
    and generators of random numbers have come. A value that a `functools.cached_property` keeps is no change.
    """

    def __init__(self, named: Mapping[Any, object]) -> None:
        seen: set[int] = set()
        self._held = [
            (name, each, held_by(each))
            for name, value in named.items()
            for each in reached(value, seen)
            if _is_looked_into(each)
        ]

    @property
    def changed(self) -> Any:
        """The first name of which an object does not hold any more what it held; None if there is none."""
        return next((name for name, each, before in self._held if not same_all(held_by(each), before)), None)

    @property
    def is_empty(self) -> bool:
        """Whether none of the objects can be changed."""
        return not self._held


def reached(value: object, seen: set[int] | None = None) -> Iterator[object]:
    """An object and all that it holds, directly or not, each once; those in ``seen`` (their ids) are left out."""
    seen = set() if seen is None else seen
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if type(each) not in _PLAIN and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting.extend(held_by(each))


def held_by(value: object) -> tuple[object, ...]:
    """What an object itself holds: its items, and what its attributes stand for."""
    if not _is_looked_into(value):
        return ()
    if isinstance(value, type):
        own = (pair for pair in vars(value).items() if not pair[0].startswith("__"))
        return (*value.__bases__, *itertools.chain.from_iterable(own))
    if comes_on(value):
        return position_of(value)
    if isinstance(value, dict):
        return (*dict.keys(value), *dict.values(value), *_attributes(value))
    base: Any = next((each for each in _SEQUENCES if isinstance(value, each)), None)
    return (*(base.__iter__(value) if base is not None else ()), *_attributes(value))


def is_same(one: object, other: object) -> bool:
    """Whether nobody could tell one value from the other: one object, or equal ones of a type without parts."""
    return one is other or (type(one) is type(other) and type(one) in _PLAIN and one == other)


def same_all(now: tuple[object, ...], before: tuple[object, ...]) -> bool:
    """Whether all parts of an object are the same as they were."""
    return len(now) == len(before) and all(map(is_same, now, before))


def _is_looked_into(value: object) -> bool:
    if isinstance(value, (*_PLAIN, *_FOLLOWED)):
        return False
    if isinstance(value, type):  # an enum's own tables of its members grow as they are asked for
        return is_author_file(cells.module_file(value)) and not isinstance(value, enum.EnumMeta)
    kind: Any = type(value)
    return isinstance(value, (*_SEQUENCES, dict)) or _has_attributes(kind) or comes_on(value)


@functools.lru_cache(maxsize=1024)
def _has_attributes(cls: type) -> bool:
    is_record = issubclass(cls, types.SimpleNamespace) or dataclasses.is_dataclass(cls)
    return is_record or is_author_file(cells.module_file(cls))


def _attributes(value: Any) -> Iterator[object]:
    kind: Any = type(value)
    if not _has_attributes(kind):
        return
    for name, each in getattr(value, "__dict__", {}).items():
        if not isinstance(getattr(kind, name, None), functools.cached_property):
            yield from (name, each)
    yield kind
    for name, slot in itertools.chain.from_iterable(vars(each).items() for each in kind.__mro__):
        if isinstance(slot, types.MemberDescriptorType) and hasattr(value, name):
            yield from (name, slot.__get__(value))
