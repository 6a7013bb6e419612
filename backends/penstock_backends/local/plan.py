"""What is to run and in which order, as far as the spec says it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.harness import instance
from penstock.settings import size_text
from penstock.spec import ResourcesSpec, Settings, StepSpec, Task, within
from penstock_backends.lowering import (
    Program,
    Role,
    Unit,
    arguments_of,
    kind_of,
    outputs_of,
    parameters_used,
    standing_of,
)

Json = Any
Place = tuple[int, tuple[int, ...]]
"""A position in the author's order, then among the items of the loops around it."""
ROUNDING = 1e-9  # fractions of cores do not add up exactly
_SETTLED_LATER = ("item", "choice", "collect", "status")


@dataclass(frozen=True)
class PlannedUnit:
    """A unit with what running it takes, looked up once.

    ``job`` is the part of its job that differs from call to call; ``kinds`` are the types of the parameters that it
    takes; ``is_plain`` says whether its bindings mean the same wherever it stands.
    """

    unit: Unit
    job: dict[str, Json]
    kinds: dict[str, Json]
    is_plain: bool


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
    kinds = {parameter.name: kind_of(parameter.type) for parameter in program.pipeline.parameters}
    return {id_: _planned(program, unit, kinds) for id_, unit in program.by_id.items()}


def _planned(program: Program, unit: Unit, kinds: Mapping[str, Json]) -> PlannedUnit:
    job = {"arguments": arguments_of(unit.task), "outputs": outputs_of(unit), **standing_of(program, unit)}
    used = {name: kinds[name] for name in parameters_used(unit.task)}
    is_plain = not unit.loops and all(
        each.kind not in _SETTLED_LATER for binding in unit.bindings for each in within(binding)
    )
    return PlannedUnit(unit, job, used, is_plain)


def node_of(planned: PlannedUnit, index: tuple[int, ...]) -> PlannedNode:
    """An instance of a planned unit."""
    return PlannedNode(planned, index, instance(planned.unit.id, index))


@dataclass(frozen=True)
class Budget:
    """What the attempts that run at one time may take together.

    ``cpu`` is in cores, ``memory`` in bytes, ``gpu`` in devices.
    """

    cpu: float
    memory: int
    gpu: int

    def lacks(self, asked: ResourcesSpec | None) -> list[str]:
        """Which of the resources that one attempt asks for exceed the whole budget, in words."""
        if asked is None:
            return []
        said = []
        if (asked.cpu or 0) > self.cpu + ROUNDING:
            said.append(f"{asked.cpu:g} cores of {self.cpu:g}")
        if (asked.memory or 0) > self.memory:
            said.append(f"{size_text(asked.memory or 0)} of memory of {size_text(self.memory)}")
        if asked.gpu > self.gpu:
            said.append(f"{asked.gpu} GPUs of {self.gpu}")
        return said

    def less(self, asked: ResourcesSpec) -> Budget:
        """What is left when an attempt takes what it asks for."""
        return Budget(self.cpu - (asked.cpu or 0), self.memory - (asked.memory or 0), self.gpu - asked.gpu)

    def plus(self, asked: ResourcesSpec) -> Budget:
        """What is left when an attempt gives it back."""
        return Budget(self.cpu + (asked.cpu or 0), self.memory + (asked.memory or 0), self.gpu + asked.gpu)


def machine() -> Budget:
    """What this machine has, as far as this process may use it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Budget(float(cores), memory, len(list(Path("/dev").glob("nvidia[0-9]*"))))
