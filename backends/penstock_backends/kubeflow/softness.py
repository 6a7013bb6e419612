"""Which units must not fail where Kubeflow can see it, because something runs although they failed.

A task of Kubeflow runs only once every task that it waits for, in all loops around it too, has succeeded. Mostly that
is what is meant. Where it is not (a merge whose other branch is fed by a failed step, the tasks at the end of a run),
the failed unit ends as succeeded to Kubeflow, hands on how it really ended, and the run is failed by a last task.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from penstock.spec import Arm, Binding, ChoiceBinding, CollectBinding, OutputBinding, parts
from penstock_backends.lowering import Program, Unit


def soft_units(program: Program) -> frozenset[str]:
    """The ids of the main units that Kubeflow is to see succeed whatever becomes of them."""
    if program.on_failure or program.on_exit or program.rollbacks:
        return frozenset(unit.id for unit in program.units)
    if not any(unit.arms or unit.loops for unit in program.units):
        return frozenset()
    return _Reach(program).soft()


class _Reach:
    """Sets of units as bits of an integer, by their place in the program, so that thousands of units cost little."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.bits = {unit.id: 1 << place for place, unit in enumerate(program.units)}
        self.inside = {loop: self._set(ids) for loop, ids in program.members.items()}
        self.meant: dict[str, int] = {}  # whose failure means that a unit must not run
        self.blocking: dict[str, int] = {}  # whose failure keeps Kubeflow from running it
        self.around: dict[str, int] = {loop: self._outside(loop) for loop in program.members}

    def soft(self) -> frozenset[str]:
        found = 0
        for unit in self.program.units:
            self.meant[unit.id] = self._closed(self.meant, _strict_nodes(self.program, unit))
            found |= self._blocked(unit) & ~self.meant[unit.id] & ~self._excused(unit)
        chosen: set[str] = set()
        for unit in self.program.units:
            if found & self.bits[unit.id] or chosen & set(self.program.waits_for(unit)):
                chosen.add(unit.id)
        return frozenset(chosen)

    def _set(self, ids: Iterable[str]) -> int:
        return sum(self.bits[id_] for id_ in dict.fromkeys(ids))

    def _closed(self, reach: dict[str, int], ids: Iterable[str]) -> int:
        found = 0
        for id_ in ids:
            found |= self.bits[id_] | reach.get(id_, 0)
        return found

    def _outside(self, loop: str) -> int:
        """What the loop as a whole waits for: all that anything in it does."""
        waits = (node for id_ in self.program.members[loop] for node in self.program.waits_for(self.program.by_id[id_]))
        return self._set((*waits, loop)) & ~self.inside[loop]

    def _blocked(self, unit: Unit) -> int:
        direct = self._set(self.program.waits_for(unit))
        for loop in unit.loops:
            direct |= self.around[loop]
        found = 0
        for other in self._units(direct):
            found |= self.bits[other.id] | self.blocking.get(other.id, 0)
            for loop in other.loops:
                if loop not in unit.loops:
                    found |= self._closed(self.blocking, self.program.members[loop])
        self.blocking[unit.id] = found
        return found

    def _units(self, chosen: int) -> Iterator[Unit]:
        while chosen:
            lowest = chosen & -chosen
            yield self.program.units[lowest.bit_length() - 1]
            chosen ^= lowest

    def _excused(self, unit: Unit) -> int:
        """What can only fail in the arm that the unit then takes its value from."""
        found = 0
        for binding in unit.bindings:
            for arm, value in _options(binding):
                below = self._closed(self.meant, _strict_of(self.program, value))
                guarded = (other.id for other in self._units(below) if arm in other.arms)
                found |= self._set(guarded)
        return found


def _strict_nodes(program: Program, unit: Unit) -> Iterator[str]:
    yield from unit.loops
    yield from (arm.branch for arm in unit.arms)
    yield from (node for node, _ in unit.after)
    for binding in unit.bindings:
        yield from _strict_of(program, binding)


def _strict_of(program: Program, binding: Binding) -> Iterator[str]:
    """The units without which a binding has no value."""
    if isinstance(binding, OutputBinding):
        yield binding.node
    elif isinstance(binding, ChoiceBinding):
        yield binding.branch
    elif isinstance(binding, CollectBinding) and binding.loop:
        yield from (binding.loop, *program.members[binding.loop])
        yield from _strict_entries(program, binding)
    elif isinstance(binding, CollectBinding):
        for entry in binding.entries:
            yield from (arm.branch for arm in entry.when)
        yield from _strict_entries(program, binding)
    elif binding.kind == "item":
        yield binding.loop
    else:
        for part in parts(binding):
            yield from _strict_of(program, part)


def _strict_entries(program: Program, binding: CollectBinding) -> Iterator[str]:
    for entry in binding.entries:
        if not entry.when:
            yield from _strict_of(program, entry.value)


def _options(binding: Binding) -> Iterator[tuple[Arm, Binding]]:
    """Each arm that a binding may take a value from, with that value, at any depth."""
    if isinstance(binding, ChoiceBinding):
        for holds, option in ((True, binding.then), (False, binding.otherwise)):
            yield Arm(branch=binding.branch, holds=holds), option
    if isinstance(binding, CollectBinding):
        for entry in binding.entries:
            yield from ((arm, entry.value) for arm in entry.when)
    for part in parts(binding):
        yield from _options(part)
