"""The steps that random pipelines call: small, and total unless their name says otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from penstock import Retry, RunStatus, current_attempt, step

LAST_ATTEMPT = 3
"""Of every step that asks which one it is: plain Python makes this one alone."""


@dataclass
class Point:
    """A record with a default."""

    x: int
    y: int = 0
    label: str = ""


class Bounds(NamedTuple):
    """A step's two outputs."""

    low: int
    high: int


@step
def number(value: int) -> int:
    return value


@step
def plus(value: int, more: int = 1) -> int:
    return value + more


@step
def total(values: list[int]) -> int:
    return sum(values)


@step
def upto(count: int) -> list[int]:
    return list(range(count % 4))


@step
def backwards(values: list[int]) -> list[int]:
    return values[::-1]


@step
def rows(count: int) -> list[list[int]]:
    return [list(range(length)) for length in range(count % 4)]


@step
def is_odd(value: int) -> bool:
    return value % 2 == 1


@step
def point(x: int, y: int = 0) -> Point:
    return Point(x, y, f"at {x}")


@step
def points(values: list[int], label: str = "p") -> list[Point]:
    return [Point(value, -value, label) for value in values]


@step
def distance(one: Point) -> int:
    return abs(one.x) + abs(one.y)


@step
def bounds(values: list[int]) -> Bounds:
    return Bounds(min(values, default=0), max(values, default=0))


@step
def perhaps(value: int) -> int | None:
    return None if value % 2 else value


@step
def filled(value: int | None, otherwise: int = 7) -> int:
    return otherwise if value is None else value


@step
def spelled(value: int) -> str:
    return "abc"[value % 3] * (value % 4)


@step
def words(text: str) -> list[str]:
    return text.split()


@step
def size(text: str) -> int:
    return len(text)


@step
def table(values: list[int]) -> dict[str, int]:
    return {"abc"[value % 3]: value for value in values}


@step
def looked_up(known: dict[str, int], key: str) -> int:
    return known.get(key, -1)


@step
def shown(value: Any) -> str:
    return repr(value)


@step
def joined(texts: list[str]) -> str:
    return " ".join(texts)


@step
def noted(value: int) -> None:
    print(value)


@step
def fails_if_even(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"{value} is even")
    return value


@step
def fails_if_large(value: int) -> int:
    if value > 4:
        raise ArithmeticError(f"{value} is large")
    return value


@step(retry=Retry(2))
def flaky(value: int, failures: int = 1) -> int:
    if current_attempt() <= failures:
        raise RuntimeError(f"attempt {current_attempt()} at {value}")
    return value


@step
def undo(value: int, output: int) -> str:
    return f"{value} gave {output}"


@step(rollback=undo)
def done(value: int) -> int:
    return value + 10


@step
def told(status: RunStatus) -> list[str]:
    return [status.pipeline, status.state, *sorted(status.failures)]


@step
def tidied() -> int:
    return 0
