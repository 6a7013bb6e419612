"""Annotations of every shape that has values, for property-based tests."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, NamedTuple, TypedDict, Union

from hypothesis import strategies as st


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


@dataclass
class Point:
    x: int
    y: float


class Span(NamedTuple):
    low: int
    high: int


class Row(TypedDict):
    name: str
    size: int


LEAVES = (
    type(None),
    bool,
    int,
    float,
    str,
    bytes,
    date,
    datetime,
    Decimal,
    Literal["a"],
    Literal["a", "b"],
    Literal[1, True],
    Literal[True, False],
    Literal[Size.SMALL],
    Literal[Size.SMALL, Size.LARGE],
    Size,
    Point,
    Span,
    Row,
)


def annotations(*extra: object) -> st.SearchStrategy[Any]:
    """Any annotation built of plain types, records and containers, and of ``extra``."""
    return st.recursive(st.sampled_from([*LEAVES, *extra]), _containers, max_leaves=5)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    # Sets only of what hashes; only the plain types surely do.
    hashable = st.sampled_from([bool, int, str, Size, date])
    return st.one_of(
        inner.map(lambda item: list[item]),
        inner.map(lambda item: tuple[item, ...]),
        st.lists(inner, max_size=3).map(lambda items: tuple[tuple(items)]),
        st.tuples(hashable, inner).map(lambda pair: dict[pair]),
        hashable.map(lambda item: set[item]),
        hashable.map(lambda item: frozenset[item]),
        st.lists(inner, min_size=2, max_size=3).map(lambda items: Union[tuple(items)]),  # noqa: UP007  # of a list
    )
