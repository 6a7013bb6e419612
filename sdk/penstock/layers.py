"""Where boxes stand so that arrows between them are easy to follow: in layers, with few crossings, in straight lines.

The steps are those of Sugiyama, Tagawa and Toda (1981): each box one layer after the last that leads to it, an item
without a size in each layer that an arrow passes, an order within the layers by the mean of the neighbours, and places
as near to the neighbours' as their sizes allow. The same boxes get the same places on every machine.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Pair = tuple[str, str]
Point = tuple[float, float]
_SWEEPS = 8


@dataclass(frozen=True)
class Spacing:
    """The least room between layers, and between neighbours in one: boxes, or an arrow that passes and a box."""

    between_layers: float = 56.0
    between_boxes: float = 18.0
    beside_arrows: float = 12.0


@dataclass(frozen=True)
class Placement:
    """Where boxes stand: their corners, what they take together, and the points that each arrow passes, ends included.

    A coordinate is first along the layers' direction, then across it.
    """

    corners: Mapping[str, Point]
    size: Point
    routes: Mapping[Pair, tuple[Point, ...]]


def ranks_of(boxes: Sequence[str], pairs: Iterable[Pair]) -> dict[str, int]:
    """The layer of each box: one after the last that leads to it, where pairs that close a circle count for nothing."""
    order = {box: number for number, box in enumerate(boxes)}
    after: dict[str, list[str]] = defaultdict(list)
    missing = dict.fromkeys(boxes, 0)
    for source, target in pairs:
        after[source].append(target)
        missing[target] += 1
    ranks = dict.fromkeys(boxes, 0)
    ready = [box for box in boxes if not missing[box]]
    left = set(boxes) - set(ready)
    while ready or left:
        if not ready:
            first = min(left, key=lambda box: order[box])
            left.discard(first)
            ready.append(first)
        box = ready.pop()
        for target in after[box]:
            if target not in left:
                continue
            ranks[target] = max(ranks[target], ranks[box] + 1)
            missing[target] -= 1
            if not missing[target]:
                left.discard(target)
                ready.append(target)
    return ranks


def place(sizes: Mapping[str, Point], pairs: Iterable[Pair], spacing: Spacing | None = None) -> Placement:
    """Places boxes, given the size of each (along the layers' direction, across it) and what leads to what."""
    spacing = spacing or Spacing()
    known = [pair for pair in dict.fromkeys(pairs) if pair[0] != pair[1]]
    ranks = ranks_of(list(sizes), known)
    _draw_near(ranks, known)
    forward = [pair for pair in known if ranks[pair[0]] < ranks[pair[1]]]
    net = _Net(sizes, ranks, forward, spacing)
    net.untangle()
    net.straighten()
    return net.placement()


def _draw_near(ranks: dict[str, int], pairs: Sequence[Pair]) -> None:
    """Moves boxes that nothing leads to next to what they lead to."""
    targets = {target for _, target in pairs}
    first: dict[str, int] = {}
    for source, target in pairs:
        if source not in targets and ranks[target] > ranks[source]:
            first[source] = min(first.get(source, ranks[target]), ranks[target])
    ranks.update({box: rank - 1 for box, rank in first.items()})


@dataclass
class _Item:
    """A box in its layer, or the place where an arrow passes it; ``at`` is its middle, across the layers."""

    along: float
    across: float
    is_box: bool
    before: list[int] = field(default_factory=list)
    after: list[int] = field(default_factory=list)
    at: float = 0.0


class _Net:
    """The boxes in their layers, joined by arrows that go from one layer to the next."""

    def __init__(
        self, sizes: Mapping[str, Point], ranks: Mapping[str, int], pairs: Sequence[Pair], spacing: Spacing
    ) -> None:
        self._spacing = spacing
        self._items = [_Item(along, across, is_box=True) for along, across in sizes.values()]
        self._numbers = {box: number for number, box in enumerate(sizes)}
        self._layers: list[list[int]] = [[] for _ in range(max(ranks.values(), default=-1) + 1)]
        for box, number in self._numbers.items():
            self._layers[ranks[box]].append(number)
        self._chains = {pair: self._chain(pair, ranks) for pair in pairs}

    def _chain(self, pair: Pair, ranks: Mapping[str, int]) -> list[int]:
        source, target = pair
        chain = [self._numbers[source]]
        for rank in range(ranks[source] + 1, ranks[target]):
            self._items.append(_Item(0.0, 0.0, is_box=False))
            self._layers[rank].append(len(self._items) - 1)
            chain.append(len(self._items) - 1)
        chain.append(self._numbers[target])
        for one, other in itertools.pairwise(chain):
            self._items[one].after.append(other)
            self._items[other].before.append(one)
        return chain

    def untangle(self) -> None:
        """Orders each layer by the neighbours' middle, back and forth; keeps the order with the fewest crossings."""
        best, fewest = [list(layer) for layer in self._layers], self._crossings()
        for sweep in range(_SWEEPS):
            if not fewest:
                break
            is_down = sweep % 2 == 0
            for layer in self._layers[1:] if is_down else self._layers[-2::-1]:
                position = self._positions()
                middles = {each: self._middle(each, position, is_down=is_down) for each in layer}
                layer.sort(key=middles.__getitem__)
            crossings = self._crossings()
            if crossings < fewest:
                best, fewest = [list(layer) for layer in self._layers], crossings
        self._layers = best

    def _positions(self) -> dict[int, int]:
        return {each: place for layer in self._layers for place, each in enumerate(layer)}

    def _middle(self, number: int, position: Mapping[int, int], *, is_down: bool) -> float:
        item = self._items[number]
        others = item.before if is_down else item.after
        return sum(position[each] for each in others) / len(others) if others else float(position[number])

    def _crossings(self) -> int:
        position = self._positions()
        found = 0
        for layer in self._layers:
            ends = [sorted(position[other] for other in self._items[each].after) for each in layer]
            found += _inversions(end for each in ends for end in each)
        return found

    def straighten(self) -> None:
        """Moves everything towards its neighbours, as far as what stands beside it in the layer lets it."""
        for layer in self._layers:
            self._settle(layer, [0.0] * len(layer))
        for sweep in range(2 * _SWEEPS):
            is_down = sweep % 2 == 0
            for layer in self._layers if is_down else reversed(self._layers):
                self._settle(layer, [self._wish(each, is_down=is_down, is_last=sweep > _SWEEPS) for each in layer])

    def _wish(self, number: int, *, is_down: bool, is_last: bool) -> float:
        item = self._items[number]
        others = [*item.before, *item.after] if is_last else item.before if is_down else item.after
        return sum(self._items[each].at for each in others) / len(others) if others else item.at

    def _settle(self, layer: Sequence[int], wishes: Sequence[float]) -> None:
        """The places nearest to what is wished for (by least squares) at which nothing overlaps and the order holds."""
        offsets = [0.0]
        for one, other in itertools.pairwise(layer):
            offsets.append(offsets[-1] + self._apart(self._items[one], self._items[other]))
        blocks: list[tuple[float, float, int]] = []  # mean, weight, count
        for number, wish, offset in zip(layer, wishes, offsets, strict=True):
            block = (wish - offset, 1.0 if self._items[number].is_box else 2.0, 1)
            while blocks and blocks[-1][0] > block[0]:
                mean, weight, count = blocks.pop()
                total = weight + block[1]
                block = ((mean * weight + block[0] * block[1]) / total, total, count + block[2])
            blocks.append(block)
        means = [mean for mean, _, count in blocks for _ in range(count)]
        for number, mean, offset in zip(layer, means, offsets, strict=True):
            self._items[number].at = mean + offset

    def _apart(self, one: _Item, other: _Item) -> float:
        room = self._spacing.between_boxes if one.is_box and other.is_box else self._spacing.beside_arrows
        return (one.across + other.across) / 2 + room

    def placement(self) -> Placement:
        """The places as they are now, moved so that they begin at 0."""
        first = min((item.at - item.across / 2 for item in self._items), default=0.0)
        last = max((item.at + item.across / 2 for item in self._items), default=0.0)
        corners: dict[int, Point] = {}
        begins = 0.0
        for layer in self._layers:
            depth = max((self._items[each].along for each in layer), default=0.0)
            for each in layer:
                item = self._items[each]
                if not item.is_box:
                    item.along = depth
                corners[each] = (begins + (depth - item.along) / 2, item.at - item.across / 2 - first)
            begins += depth + self._spacing.between_layers
        routes = {pair: self._route(chain, corners) for pair, chain in self._chains.items()}
        named = {box: corners[number] for box, number in self._numbers.items()}
        return Placement(named, (max(begins - self._spacing.between_layers, 0.0), last - first), routes)

    def _route(self, chain: Sequence[int], corners: Mapping[int, Point]) -> tuple[Point, ...]:
        """From the end of the first box to the beginning of the last, straight through the layers between."""
        points: list[Point] = []
        for number in chain:
            begins, across = corners[number]
            item = self._items[number]
            points += [(begins, across + item.across / 2), (begins + item.along, across + item.across / 2)]
        return tuple(points[1:-1])


def _inversions(numbers: Iterable[int]) -> int:
    """How many pairs of numbers stand in the wrong order."""
    seen: list[int] = []
    found = 0
    for number in numbers:
        position = bisect_right(seen, number)
        found += len(seen) - position
        seen.insert(position, number)
    return found
