"""What is to run and in which order, as far as the spec says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from penstock.harness import instance
from penstock.spec import Settings, StepSpec, Task, within
from penstock_backends.local.budget import Request, request_of
from penstock_backends.lowering import (
    Program,
    Role,
    Unit,
    arguments_of,
    outputs_of,
    parameters_used,
    standing_of,
)

Json = Any
Place = tuple[int, tuple[int, ...]]
"""A position in the author's order, then among the items of the loops around it."""
_SETTLED_LATER = ("item", "choice", "collect", "status")


@dataclass(frozen=True)
class PlannedUnit:
    """A unit with what running it takes, looked up once.

    ``job`` is the part of its job that differs from call to call; ``kinds`` are the types of the parameters that it
    takes; ``is_plain`` says whether its bindings mean the same wherever it stands; ``request`` is what an attempt asks
    for.
    """

    unit: Unit
    job: dict[str, Json]
    kinds: dict[str, Json]
    is_plain: bool
    request: Request


@dataclass(frozen=True)
class PlannedNode:
    """An instance of a unit: ``index`` holds the number of its item in each loop around it, outermost first."""

    planned: PlannedUnit
    index: tuple[int, ...]
    id: str

    @property
    def unit(self) -> Unit:
        """What it is an instance of."""
        return self.planned.unit

    @property
    def task(self) -> Task:
        """The call that it makes."""
        return self.unit.task

    @property
    def step(self) -> StepSpec:
        """What it calls."""
        return self.unit.step

    @property
    def settings(self) -> Settings:
        """How it runs."""
        return self.unit.task.settings

    @property
    def role(self) -> Role:
        """Whether it belongs to the pipeline itself, or to its end."""
        return self.unit.role

    @property
    def place(self) -> Place:
        """Where it stands among the others."""
        return (self.unit.place, self.index)

    @property
    def is_cached(self) -> bool:
        """Whether an earlier result may stand in for it: not for decisions and gates, nor for what ends a run."""
        return self.role == "main" and isinstance(self.unit.node, Task) and self.settings.cache


def plan_of(program: Program) -> dict[str, PlannedUnit]:
    """Every unit of a program by its id."""
    return {id_: _planned(program, unit) for id_, unit in program.by_id.items()}


def _planned(program: Program, unit: Unit) -> PlannedUnit:
    job = {"arguments": arguments_of(unit.task), "outputs": outputs_of(unit), **standing_of(program, unit)}
    used = {name: program.kinds[name] for name in parameters_used(unit.task)}
    is_plain = not unit.loops and all(
        each.kind not in _SETTLED_LATER for binding in unit.bindings for each in within(binding)
    )
    return PlannedUnit(unit, job, used, is_plain, request_of(unit.task.settings))


def node_of(planned: PlannedUnit, index: tuple[int, ...]) -> PlannedNode:
    """An instance of a planned unit."""
    return PlannedNode(planned, index, instance(planned.unit.id, index))
