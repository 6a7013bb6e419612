"""What is to run and in which order, as far as the spec says it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.settings import size_text
from penstock.spec import PipelineSpec, ResourcesSpec, StepSpec, Task, tasks
from penstock_backends.lowering import arguments_of, flatten_groups, kind_of, parameters_used, predecessors

ROUNDING = 1e-9  # fractions of cores do not add up exactly


@dataclass(frozen=True)
class PlannedNode:
    """A task with what running it takes, looked up once.

    ``place`` is its position in the author's order; ``arguments`` its bindings as JSON; ``kinds`` the types of the
    parameters that it takes.
    """

    task: Task
    step: StepSpec
    place: int
    arguments: dict[str, Any]
    kinds: dict[str, Any]

    @property
    def id(self) -> str:
        """The node's id."""
        return self.task.id

    @property
    def allowed_attempts(self) -> int:
        """How often it may be tried."""
        retry = self.task.settings.retry
        return 1 + (retry.max_retries if retry else 0)


def plan_of(pipeline: PipelineSpec) -> dict[str, PlannedNode]:
    """Every task of a pipeline by its id, groups dissolved, in the author's order."""
    steps = {step.id: step for step in pipeline.steps}
    kinds = {parameter.name: kind_of(parameter.type) for parameter in pipeline.parameters}
    return {
        task.id: PlannedNode(
            task, steps[task.step], place, arguments_of(task), {name: kinds[name] for name in parameters_used(task)}
        )
        for place, task in enumerate(tasks(flatten_groups(pipeline).body))
    }


class Graph:
    """Who waits for whom.

    Told how each node ended, it says what that decides. Time and memory are linear in the edges.
    """

    def __init__(self, waits_for: Mapping[str, Iterable[str]]) -> None:
        self._missing = {node: len(tuple(before)) for node, before in waits_for.items()}
        self._dependants: dict[str, list[str]] = {node: [] for node in waits_for}
        for node, before in waits_for.items():
            for each in before:
                self._dependants[each].append(node)
        self._lost: set[str] = set()

    def roots(self) -> list[str]:
        """The nodes that wait for nothing."""
        return [node for node, missing in self._missing.items() if missing == 0]

    def succeeded(self, node: str) -> list[str]:
        """The nodes that waited for this one last."""
        ready = []
        for dependant in self._dependants[node]:
            self._missing[dependant] -= 1
            if self._missing[dependant] == 0:
                ready.append(dependant)
        return ready

    def failed(self, node: str) -> list[str]:
        """The nodes that now can never run, each said once."""
        lost: list[str] = []
        queue = deque(self._dependants[node])
        while queue:
            each = queue.popleft()
            if each not in self._lost:
                self._lost.add(each)
                lost.append(each)
                queue.extend(self._dependants[each])
        return lost


def graph_of(plan: Mapping[str, PlannedNode]) -> Graph:
    """The graph of a plan."""
    return Graph({node.id: predecessors(node.task) for node in plan.values()})


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
