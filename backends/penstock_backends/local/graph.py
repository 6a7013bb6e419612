"""Who waits for whom, instance by instance: those in a loop come into being when its items are known.

`Graph` is also embedded in the emitted stand-alone files: it needs the standard library alone, from Python 3.9 on.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from penstock.spec import Loop
from penstock_backends.lowering import Program, Unit

Key = tuple[str, tuple[int, ...]]
"""A unit's id and the beginning of an index: one instance, or all those whose index begins so."""


class Graph:
    """Told how each instance ended, it says which may be looked at next.

    ``loops`` holds the loops around each unit, outermost first; ``waits`` what it waits for, each with how many of the
    loops around it are this one's, too; ``bounds``, for each loop, how many items of it may be under way at a time.

    Time and memory are linear in the instances and their edges: what waits for all instances in a loop waits for one
    key that stands for them, not for each.
    """

    def __init__(
        self,
        loops: Mapping[str, Sequence[str]],
        waits: Mapping[str, Sequence[tuple[str, int]]],
        bounds: Mapping[str, int | None],
    ) -> None:
        self._loops, self._waits, self._bounds = loops, waits, bounds
        self._members: dict[str, list[str]] = {loop: [] for loop in bounds}
        self._bodies: dict[str, list[str]] = {loop: [] for loop in ("", *bounds)}
        for unit, around in loops.items():
            self._bodies[around[-1] if around else ""].append(unit)
            for loop in around:
                self._members[loop].append(unit)
        self._missing: dict[Key, int] = {}
        self._followers: dict[Key, list[Key]] = {}
        self._parts: dict[Key, int] = {}
        self._good: dict[Key, bool] = {}
        self._troubled: set[Key] = set()
        self._sizes: dict[Key, int] = {}
        self._held_back: dict[Key, Iterator[int]] = {}
        self._left: dict[Key, int] = {}
        self._under_way = 0

    def begin(self) -> list[Key]:
        """The instances that wait for nothing."""
        return self._made(self._bodies[""], ())

    @property
    def is_over(self) -> bool:
        """Whether every instance that came into being has ended."""
        return self._under_way == 0

    def is_troubled(self, key: Key) -> bool:
        """Whether anything that an instance waited for did not succeed."""
        return key in self._troubled

    def waiting(self) -> list[Key]:
        """The instances that still wait."""
        return list(self._missing)

    def unsuccessful(self, key: Key) -> list[Key]:
        """The instances that this one waited for and that did not succeed."""
        unit, index = key
        found: list[Key] = []
        pending = deque((other, index[:shared]) for other, shared in self._waits[unit])
        while pending:
            other, begun = pending.popleft()
            if self._good.get((other, begun), True):
                continue
            loops = self._loops[other]
            if len(begun) == len(loops):
                found.append((other, begun))
            else:
                size = self._sizes[loops[len(begun)], begun]
                pending.extend((other, (*begun, number)) for number in range(size))
        return found

    def ended(self, key: Key, is_good: bool, size: int = 0) -> list[Key]:
        """Takes the end of an instance; the instances that waited for it last.

        Among them are those that came into being by it, as a loop's body does: ``size`` is the number of its items.
        """
        self._under_way -= 1
        ready: list[Key] = []
        ends = deque([(key, is_good)])
        if key[0] in self._bounds:
            ready += self._opened(key, size)
            if not size:
                ends.extend(((member, key[1]), is_good) for member in self._members[key[0]])
        while ends:
            each, is_good = ends.popleft()
            self._good[each] = is_good
            ready += self._followers_of(each, is_good)
            ready += self._ended_in_loop(each, is_good, ends)
        return ready

    def _opened(self, loop: Key, size: int) -> list[Key]:
        """Has the instances in a loop's body come into being, as many items of it as may be under way at a time."""
        id_, index = loop
        self._sizes[loop] = size
        for member in self._members[id_] if size else ():
            self._parts[member, index] = size
        numbers = iter(range(size))
        self._held_back[loop] = numbers
        return [key for number in itertools.islice(numbers, self._bounds[id_]) for key in self._item(loop, number)]

    def _item(self, loop: Key, number: int) -> list[Key]:
        id_, index = loop
        self._left[id_, (*index, number)] = len(self._members[id_])
        return self._made(self._bodies[id_], (*index, number))

    def _made(self, units: Sequence[str], index: tuple[int, ...]) -> list[Key]:
        ready = []
        for unit in units:
            key, missing = (unit, index), 0
            for other, shared in self._waits[unit]:
                awaited = (other, index[:shared])
                if awaited not in self._good:
                    self._followers.setdefault(awaited, []).append(key)
                    missing += 1
                elif not self._good[awaited]:
                    self._troubled.add(key)
            self._under_way += 1
            if missing:
                self._missing[key] = missing
            else:
                ready.append(key)
        return ready

    def _followers_of(self, key: Key, is_good: bool) -> list[Key]:
        ready = []
        for follower in self._followers.pop(key, ()):
            if not is_good:
                self._troubled.add(follower)
            self._missing[follower] -= 1
            if not self._missing[follower]:
                del self._missing[follower]
                ready.append(follower)
        return ready

    def _ended_in_loop(self, key: Key, is_good: bool, ends: deque[tuple[Key, bool]]) -> list[Key]:
        """Counts an end towards that of all instances in the loop around it, and of the item."""
        id_, index = key
        if not index:
            return []
        whole, loop = (id_, index[:-1]), self._loops[id_][len(index) - 1]
        self._parts[whole] -= 1
        if not is_good:
            self._troubled.add(whole)
        if not self._parts[whole]:
            ends.append((whole, whole not in self._troubled))
        self._left[loop, index] -= 1
        if self._left[loop, index]:
            return []
        return [
            each
            for number in itertools.islice(self._held_back[loop, index[:-1]], 1)
            for each in self._item((loop, index[:-1]), number)
        ]


def graph_of(program: Program) -> Graph:
    """The graph of a program's units, apart from what runs at the end."""
    loops = {unit.id: unit.loops for unit in program.units}
    bounds = {unit.id: unit.node.parallelism for unit in program.units if isinstance(unit.node, Loop)}
    return Graph(loops, {unit.id: waits_of(program, unit) for unit in program.units}, bounds)


def waits_of(program: Program, unit: Unit) -> tuple[tuple[str, int], ...]:
    """What a unit waits for, each with how many of the loops around it are this one's, too."""
    others = ((id_, program.by_id[id_].loops) for id_ in program.waits_for(unit))
    return tuple((id_, _shared(unit.loops, loops)) for id_, loops in others)


def _shared(loops: tuple[str, ...], others: tuple[str, ...]) -> int:
    pairs = zip(loops, others, strict=False)
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
