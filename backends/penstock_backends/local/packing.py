"""Who is next: the best in order for whom there is room, without anyone's turn being put off for ever.

The order is by priority, then the author's. One for whom there is no room is passed by others, a bounded number of
times; from then on, what it asks for is kept free for it: others start only where it could still start once all has
ended that ran at that moment.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from penstock_backends.local.budget import Budget, Request

T = TypeVar("T")
MOST_OVERTAKINGS = 8
NONE_TAKEN = Request()


@dataclass(frozen=True)
class Grant(Generic[T]):
    """One that runs, and what it was given: ``devices`` are the names of its GPUs.

    ``reservation`` is the number of the one during which it was started, 0 where there was none.
    """

    item: T
    request: Request
    devices: tuple[str, ...] = ()
    reservation: int = 0


@dataclass
class _Line(Generic[T]):
    """Those that ask for the same, so that what fits is found by a look at each request, not at each of them."""

    request: Request
    waiting: list[tuple[Any, int, T]] = field(default_factory=list)
    overtaken: int = 0


class Packing(Generic[T]):
    """Those that wait to run, and the budget for them.

    ``at_once`` is how many may run at one time, whatever they ask for.
    """

    def __init__(self, budget: Budget, devices: Collection[str], at_once: int) -> None:
        self._whole, self._free = budget, budget
        self._devices = list(devices)
        self._at_once, self._slots = at_once, at_once
        self._lines: dict[Request, _Line[T]] = {}
        self._others, self._others_devices = NONE_TAKEN, frozenset[str]()
        self._reserved: _Line[T] | None = None
        # What others may take while something is reserved: all but that, and a place to run it.
        self._spare, self._spare_slots = budget, at_once
        self._reservation = 0
        self._numbers = itertools.count()

    def add(self, item: T, request: Request, rank: Any) -> None:
        """Has one wait; the lowest rank is first."""
        line = self._lines.setdefault(request, _Line(request))
        heapq.heappush(line.waiting, (rank, next(self._numbers), item))

    @property
    def is_waiting(self) -> bool:
        """Whether anything waits."""
        return any(line.waiting for line in self._lines.values())

    @property
    def wanted(self) -> Request | None:
        """What is kept free for one that was passed too often."""
        return self._reserved.request if self._reserved is not None else None

    @property
    def first(self) -> Request | None:
        """What the one asks for whose turn it is."""
        line = self._first()
        return None if line is None else line.request

    def leave(self, taken: Request, devices: Collection[str] = ()) -> None:
        """Leaves to others, who share the budget, what they have taken."""
        self._others, self._others_devices = taken, frozenset(devices)

    def chosen(self) -> T | None:
        """The one to start next, if any can be."""
        line = self._chosen()
        return line.waiting[0][2] if line is not None else None

    def start(self) -> Grant[T]:
        """Takes the one that is `chosen` off the line."""
        line = self._chosen()
        if line is None:
            raise LookupError("there is nothing to start")
        first = self._first()
        if first is not line and first is not None and self._reserved is None:
            first.overtaken += 1
            if first.overtaken >= MOST_OVERTAKINGS:
                self._reserve(first)
                return self._started(line, 0)
        if line is self._reserved:
            self._reserved = None
        if line is first:
            line.overtaken = 0
        return self._started(line, self._reservation if self._reserved is not None else 0)

    def give_back(self, grant: Grant[T]) -> None:
        """Takes back what one was given that has ended."""
        self._free = self._free.plus(grant.request)
        self._slots += 1
        self._devices = sorted([*self._devices, *grant.devices], key=_natural)
        if self._reserved is not None and grant.reservation == self._reservation:
            self._spare = self._spare.plus(grant.request)
            self._spare_slots += 1

    def _started(self, line: _Line[T], reservation: int) -> Grant[T]:
        _, _, item = heapq.heappop(line.waiting)
        if not line.waiting:
            del self._lines[line.request]
        request = line.request
        self._free = self._free.less(request)
        self._slots -= 1
        if reservation:
            self._spare = self._spare.less(request)
            self._spare_slots -= 1
        free = [each for each in self._devices if each not in self._others_devices]
        given = tuple(free[: request.gpu])
        self._devices = [each for each in self._devices if each not in given]
        return Grant(item, request, given, reservation)

    def _reserve(self, line: _Line[T]) -> None:
        self._reserved = line
        self._reservation += 1
        self._spare, self._spare_slots = self._whole.less(line.request), self._at_once - 1

    def _first(self) -> _Line[T] | None:
        """The line whose turn it is."""
        return self._reserved or min(self._lines.values(), key=_rank, default=None)

    def _chosen(self) -> _Line[T] | None:
        first = self._first()
        if first is None or self._slots <= 0:
            return None
        free = self._free.less(self._others)
        if free.holds(first.request):
            return first
        fitting = (line for line in self._lines.values() if free.holds(line.request) and self._is_spared(line))
        return min(fitting, key=_rank, default=None)

    def _is_spared(self, line: _Line[T]) -> bool:
        return self._reserved is None or (self._spare_slots > 0 and self._spare.holds(line.request))


def _rank(line: _Line[Any]) -> Any:
    return line.waiting[0][:2]


def _natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (1 << 30, name)
