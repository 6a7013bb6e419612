"""How far a run has come: the parts of its pipeline, and what the run's events have told of each so far."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from penstock.harness import parts_of
from penstock.results import AttemptFailed, AttemptStarted, Event, NodeEnded, NodeRun, State
from penstock.spec import Branch, Gate, Group, Loop, Node, PipelineSpec, bodies


@dataclass(eq=False)
class Part:
    """A node of the pipeline with all its instances, or a nested pipeline or loop with all that is in it (a box).

    A loop counts what is in it; that its items were listed counts in the boxes around it.
    ``total`` is how many instances are known to come; ``running`` those under way, each with its attempt and when that
    began; ``last`` the one that ended last; ``moment`` grows with each event.
    """

    id: str
    label: str
    depth: int = 0
    box: Part | None = None
    is_box: bool = False
    total: int = 0
    ended: Counter[State] = field(default_factory=Counter)
    running: dict[str, tuple[int, float]] = field(default_factory=dict)
    last: NodeRun | None = None
    moment: int = 0

    @property
    def done(self) -> int:
        """How many instances have ended."""
        return self.ended.total()

    @property
    def has_failed(self) -> bool:
        """Whether an instance has failed."""
        return State.FAILED in self.ended

    @property
    def is_over(self) -> bool:
        """Whether everything that is known to come has ended."""
        return self.done >= self.total and not self.running and (self.done > 0 or self.last is not None)

    @property
    def around(self) -> Iterator[Part]:
        """The boxes around it, the nearest first."""
        box = self.box
        while box is not None:
            yield box
            box = box.box


class Tally:
    """The parts of a pipeline in the author's order, boxes before what they hold.

    The items of a loop are counted once it is known how many there are.
    """

    def __init__(self, pipeline: PipelineSpec, clock: Callable[[], float] = time.monotonic) -> None:
        self.parts: list[Part] = []
        self.whole = Part("", pipeline.name, is_box=True)
        self._clock = clock
        self._by_id: dict[str, Part] = {}
        self._in_loop: dict[str, list[Part]] = {}
        self._moments = itertools.count(1)
        self._add(pipeline.body, self.whole, None)

    def take(self, event: Event) -> None:
        """Takes what has happened."""
        if isinstance(event, AttemptStarted):
            part = self._part(event.node)
            for each in (part, *part.around):
                each.running[event.node] = (event.attempt, self._clock())
                each.moment = next(self._moments)
        elif isinstance(event, AttemptFailed):
            self._stop(event.node)
        elif isinstance(event, NodeEnded):
            self._stop(event.node.id)
            self._end(event.node)

    def room_for(self, node: str) -> int:
        """How wide the names of a node's instances are, as long as each loop around it has no more than 100 items."""
        part = self._by_id.get(node)
        loops = sum(box.id in self._in_loop for box in part.around) if part is not None else 0
        return len(node) + loops * len("[99]")

    def _add(self, body: tuple[Node, ...], box: Part, loop: str | None) -> None:
        for node in body:
            depth = 0 if box is self.whole else box.depth + 1
            part = Part(node.id, _label(node), depth, box, isinstance(node, (Group, Loop)))
            self.parts.append(part)
            if not isinstance(node, Group):
                self._by_id[node.id] = part
                if loop is None:
                    _expect(part, 1)
                else:
                    self._in_loop[loop].append(part)
            if isinstance(node, Loop):
                self._in_loop[node.id] = []
            inside = part if part.is_box else box
            for inner in bodies(node):
                self._add(inner, inside, node.id if isinstance(node, Loop) else loop)

    def _part(self, node: str) -> Part:
        """The part of an instance; what is not in the pipeline's own body is added as it comes."""
        id_ = parts_of(node)[0]
        if id_ not in self._by_id:
            self._by_id[id_] = Part(id_, id_, box=self.whole)
            self.parts.append(self._by_id[id_])
            _expect(self._by_id[id_], 1)
        return self._by_id[id_]

    def _stop(self, node: str) -> None:
        part = self._part(node)
        for each in (part, *part.around):
            each.running.pop(node, None)

    def _end(self, node: NodeRun) -> None:
        part = self._part(node.id)
        is_listing = part.is_box and node.state.is_good
        for each in (*(() if is_listing else (part,)), *part.around):
            each.ended[node.state] += 1
            each.moment = next(self._moments)
        part.last = node
        if node.size:
            for inner in self._in_loop.get(part.id, ()):
                _expect(inner, node.size)


def _expect(part: Part, count: int) -> None:
    for each in (*(() if part.is_box else (part,)), *part.around):
        each.total += count


def _label(node: Node) -> str:
    if isinstance(node, Loop):
        return f"for each of {node.text}"
    if isinstance(node, Branch):
        return f"if {node.text}"
    return f"assert {node.text}" if isinstance(node, Gate) else node.id.rpartition(".")[2]
