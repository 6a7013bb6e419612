"""Where the units of a pipeline stand in a DAG file: in which mapped task group, behind what, and under what rule.

A loop is a task group that Airflow maps over the numbers of its items, so that each item's tasks wait for their own.
Airflow maps no group inside of another. So the body of a loop in a loop is a group of its own beside the outer one,
mapped over all combinations of items (its *places*), and what the outer body does after it is a third one. Between
these groups, Airflow knows only "all of that task": a unit that waits for some of another group's instances runs when
all have ended, and decides by itself what that means for it (``penstock.harness.Inputs.obstacle``).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from penstock.spec import (
    Arm,
    Binding,
    ChoiceBinding,
    CollectBinding,
    Group,
    Loop,
    Node,
    OutputBinding,
    bodies,
    references,
    within,
)
from penstock_backends.airflow.reserved import free_name
from penstock_backends.lowering import Program, Unit

Rule = Literal["", "none_failed", "all_done"]


@dataclass(frozen=True)
class Block:
    """A mapped task group: what runs once for each combination of the items of ``loops``.

    ``part`` numbers the groups of one loop, of which a later one waits for what stands between them.
    """

    loops: tuple[str, ...]
    part: int


@dataclass(frozen=True)
class Layout:
    """A program as an Airflow DAG lays it out."""

    program: Program
    _waits: dict[str, tuple[str, ...]] = field(default_factory=dict, init=False, repr=False)

    @functools.cached_property
    def blocks(self) -> Mapping[str, Block]:
        """The mapped task group of each unit that is in one."""
        found: dict[str, Block] = {}
        for unit in self.program.units:
            if not unit.loops:
                continue
            parts = [0]
            for other in self.program.waits_for(unit):
                before = found.get(other)
                if before is not None and before.loops[0] == unit.loops[0]:
                    deeper = before.loops != unit.loops and before.loops[: len(unit.loops)] == unit.loops
                    parts.append(before.part + deeper)
            found[unit.id] = Block(unit.loops, max(parts))
        return found

    @functools.cached_property
    def containers(self) -> Mapping[str, tuple[Group | Loop, ...]]:
        """The nested pipelines and loops around each node, outermost first."""
        return dict(_containers(self.program.pipeline.body, ()))

    @functools.cached_property
    def places(self) -> Mapping[str, str]:
        """The ids of tasks that list places, by what is mapped over these: a loop, or a rollback, in a loop."""
        taken = {*self.program.by_id, *self.containers}
        nested = [block.loops[-1] for block in self.blocks.values() if len(block.loops) > 1]
        undone = [unit.id for unit in self.program.rollbacks if unit.loops]
        return {id_: free_name(f"{id_}_places", taken) for id_ in dict.fromkeys((*nested, *undone))}

    @functools.cached_property
    def summaries(self) -> Mapping[str, str]:
        """The ids of tasks that say for all items how a unit in a loop ended, by the unit, where Airflow does not.

        Before it maps a task, Airflow calls it failed because of what is before it, though there may be no items, and
        then it means nothing to those that take the collected list: that is empty.
        """
        taken = {*self.program.by_id, *self.containers, *self.places.values()}
        outside = [each for unit in self.program.units if not self._waits_for_all(unit) for each in self.waits(unit)]
        wanted = [each for each in self.blocks if each in outside and each in self._unclear]
        return {id_: free_name(f"{id_}_ended", taken) for id_ in wanted}

    def _waits_for_all(self, unit: Unit) -> bool:
        return self.rule(unit) == "all_done"

    @functools.cached_property
    def _unclear(self) -> frozenset[str]:
        """The units in loops that Airflow may call failed while they have no items."""
        found: set[str] = set()
        for id_ in self.blocks:
            unit = self.program.by_id[id_]
            sure = self._ancestors(unit.loops[-1:], found, self._choosy)
            risky = (each in found if self._together(unit, each) else each not in sure for each in self.waits(unit))
            if not self._waits_for_all(unit) and any(risky):
                found.add(id_)
        return frozenset(found)

    @functools.cached_property
    def _choosy(self) -> frozenset[str]:
        """The units that may run though something they refer to failed, as the value of an arm that is not taken."""
        found: set[str] = set()
        sure: dict[Arm, set[str]] = {}
        for unit in self.program.units:
            for arm, binding in _picked(unit):
                if arm not in sure:
                    sure[arm] = self._of_arm(arm, found)
                if not sure[arm].issuperset(self.program.of_binding(binding)):
                    found.add(unit.id)
        return frozenset(found)

    def _of_arm(self, arm: Arm, choosy: Container[str]) -> set[str]:
        """The units that fail only where an arm is taken, or its condition fails, too."""
        sure = {arm.branch, *self._ancestors((arm.branch,), self.blocks, choosy)}
        for unit in self.program.units:
            if arm in unit.arms and sure.issuperset(self.waits(unit)):
                sure.add(unit.id)
        return sure

    def _ancestors(self, ids: Iterable[str], unclear: Container[str], choosy: Container[str]) -> set[str]:
        """What units have certainly waited for, and would not have come to a good end without."""
        found: set[str] = set()
        waiting = list(ids)
        while waiting:
            id_ = waiting.pop()
            new = [each for each in self._before(id_, unclear) if each not in found and id_ not in choosy]
            found |= set(new)
            waiting += new
        return found

    @functools.cached_property
    def watcher(self) -> str:
        """The id of the task that fails where any other did; empty where Airflow itself calls such a run a failure.

        It does not where what runs in spite of a failure is the last of all.
        """
        needed = any(map(self._waits_for_all, self.program.by_id.values())) or bool(self.summaries)
        taken = {*self.program.by_id, *self.containers, *self.places.values(), *self.summaries.values()}
        return free_name("watcher", taken) if needed else ""

    @functools.cached_property
    def updated(self) -> str:
        """The id of the task that tells of the data which a run has updated; empty where that is none."""
        taken = {*self.program.by_id, *self.containers, *self.places.values(), *self.summaries.values(), self.watcher}
        return free_name("updated", taken) if self.program.pipeline.updates else ""

    @property
    def endings(self) -> tuple[Unit, ...]:
        """What runs at the end of a run, in its order."""
        return (*self.program.rollbacks, *self.program.on_failure, *self.program.on_exit)

    def over(self, unit: Unit) -> str:
        """The task over whose result a unit is mapped, if it is."""
        if not unit.loops:
            return ""
        return self.places[unit.id] if unit.role != "main" else self.places.get(unit.loops[-1], unit.loops[-1])

    def groups(self, unit: Unit) -> tuple[str, ...]:
        """The nested pipelines around a unit, or around the outermost loop that it is in."""
        around = self.containers.get(unit.id, ()) if unit.role == "main" else ()
        return tuple(each.id for each in itertools.takewhile(_is_group, around))

    def inner_groups(self, unit: Unit) -> tuple[str, ...]:
        """The nested pipelines around a unit that are inside of its innermost loop."""
        around = self.containers[unit.id]
        return tuple(each.id for each in itertools.takewhile(_is_group, reversed(around)))[::-1] if unit.loops else ()

    def handed(self, unit: Unit) -> dict[str, Binding]:
        """The inputs that are arguments of the task function: what Airflow can resolve, instance by instance."""
        return {name: binding for name, binding in unit.task.inputs if self._is_handed(unit, binding)}

    def _is_handed(self, unit: Unit, binding: Binding) -> bool:
        if any(each.kind in ("item", "collect", "status") for each in within(binding)) or (
            unit.loops and unit.role != "main"
        ):
            return False
        refs = list(references(binding))
        return bool(refs) and all(self._is_at_hand(unit, ref.node) for ref in refs if isinstance(ref, OutputBinding))

    def _is_at_hand(self, unit: Unit, other: str) -> bool:
        return not self.program.by_id[other].loops or self._together(unit, other)

    def _together(self, unit: Unit, other: str) -> bool:
        """Whether Airflow pairs the instances of two units: both are in the same mapped task group."""
        return unit.role == "main" and unit.id in self.blocks and self.blocks[unit.id] == self.blocks.get(other)

    def taken(self, unit: Unit) -> tuple[str, ...]:
        """The units whose results reach a unit as arguments."""
        refs = (ref for binding in self.handed(unit).values() for ref in references(binding))
        return tuple(dict.fromkeys(ref.node for ref in refs if isinstance(ref, OutputBinding)))

    def pulled(self, unit: Unit) -> tuple[str, ...]:
        """The units whose results a task fetches by itself: for its conditions, items and collected lists."""
        handed = self.handed(unit)
        found = dict.fromkeys(arm.branch for arm in unit.arms)
        own = [binding for name, binding in unit.task.inputs if name not in handed]
        own += [bound for check in unit.task.checks for bound in check.bounds]
        for binding in (*own, *handed.values()):
            found |= dict.fromkeys(self.program.of_binding(binding))
        for other in self.taken(unit):
            if not any(other in self.program.of_binding(binding) for binding in own):
                found.pop(other, None)
        return tuple(found)

    def waits(self, unit: Unit) -> tuple[str, ...]:
        """What must have ended before a unit begins, the loops around it apart: without their items it is not there."""
        if unit.id not in self._waits:
            waits = (other for other in self.program.waits_for(unit) if other not in unit.loops)
            self._waits[unit.id] = tuple(waits)
        return self._waits[unit.id]

    def rule(self, unit: Unit) -> Rule:
        """Airflow's trigger rule for a unit: empty for its default, that all before it succeeded."""
        across = any(self._is_across(unit, other) for other in self.waits(unit))
        if unit.role != "main" or across or unit.id in self._choosy:
            return "all_done"
        listed = (self.program.by_id[loop] for loop in unit.loops)
        if any(map(self.program.can_be_skipped, listed)) or any(
            self._may_lack(unit, each) for each in self.waits(unit)
        ):
            return "none_failed"
        return ""

    def _is_across(self, unit: Unit, other: str) -> bool:
        """Whether a unit waits for some instances of another, and Airflow could only let it wait for all of them."""
        theirs = self.program.by_id[other].loops
        return bool(unit.loops and theirs) and unit.loops[0] == theirs[0] and not self._together(unit, other)

    def _may_lack(self, unit: Unit, other: str) -> bool:
        """Whether Airflow may show as skipped what a unit waits for: by a condition, or because a loop has no items."""
        before = self.program.by_id[other]
        return self.program.can_be_skipped(before) or bool(before.loops and not self._together(unit, other))

    def order_only(self, unit: Unit) -> list[str]:
        """What a unit waits for without taking its result, without what is before that, or before its data, anyway."""
        taken = self.taken(unit)
        left = [other for other in self.waits(unit) if other not in taken]
        seen = self._ancestors(self.waits(unit), self._unclear, self._choosy) if left else set()
        return [other for other in left if other not in seen]

    def behind(self, unit: Unit, other: str) -> str:
        """The task behind which a unit stands in order to wait for another one."""
        plain = self._waits_for_all(unit) or self._together(unit, other)
        return other if plain else self.summaries.get(other, other)

    def is_near(self, unit: Unit, other: str) -> bool:
        """Whether the function of the mapped group that a unit is in knows the result of another one by its name."""
        return bool(unit.loops) and self._is_at_hand(unit, other)

    def _before(self, other: str, unclear: Container[str]) -> tuple[str, ...]:
        """Of what a unit waits for, that which it certainly has waited for, though it may have had no instances."""
        unit = self.program.by_id[other]
        loops = unit.loops
        before = [each for each in self.waits(unit) if self.program.by_id[each].loops[: len(loops)] == loops]
        return (*before, *(loops if len(loops) == 1 and other not in unclear else ()))


def _picked(unit: Unit) -> Iterator[tuple[Arm, Binding]]:
    """What a unit takes only where an arm is taken."""
    for each in (inner for binding in unit.bindings for inner in within(binding)):
        if isinstance(each, ChoiceBinding):
            yield Arm(branch=each.branch, holds=True), each.then
            yield Arm(branch=each.branch, holds=False), each.otherwise
        elif isinstance(each, CollectBinding):
            yield from ((arm, entry.value) for entry in each.entries for arm in entry.when)


def _is_group(node: Group | Loop) -> bool:
    return isinstance(node, Group)


def _containers(
    body: tuple[Node, ...], above: tuple[Group | Loop, ...]
) -> Iterator[tuple[str, tuple[Group | Loop, ...]]]:
    for node in body:
        yield node.id, above
        inner = (*above, node) if isinstance(node, (Group, Loop)) else above
        for each in bodies(node):
            yield from _containers(each, inner)
