"""What a project's configuration says of single steps on one target, beyond what every engine understands.

``[tool.penstock.TARGET.steps.NAME]``, where NAME is the id of a node (``prepare.load``), the name of a step (``load``),
or ``"*"`` for all; after ``PIPELINE:`` where it is of one pipeline alone. Where several hold for a node, the more exact
one goes first, option by option.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from penstock.diagnostics import Diagnostic, did_you_mean
from penstock.spec import PipelineSpec, Task, location_of, tasks

EVERY = "*"


class StepOptions(BaseModel):
    """What one target can be told of one step. Every option has a default, which changes nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")


T = TypeVar("T", bound=StepOptions)


def options_of(task: Task, given: Mapping[str, T], nothing: T) -> T:
    """What is said of one call of a step, or ``nothing``."""
    chosen: dict[str, object] = {}
    for name in (EVERY, step_name(task), task.id):
        found = given.get(name)
        if found is not None:
            chosen |= {each: getattr(found, each) for each in found.model_fields_set}
    return nothing.model_copy(update=chosen) if chosen else nothing


def step_name(task: Task) -> str:
    """The name of the function that a task calls."""
    return task.step.rpartition(":")[2].rpartition(".")[2]


def called(pipeline: PipelineSpec) -> list[Task]:
    """Every call of a step, rollbacks and what runs at the end included."""
    found = [each for body in (pipeline.body, pipeline.on_failure, pipeline.on_exit) for each in tasks(body)]
    return found + [each.rollback for each in found if each.rollback is not None]


def unknown_steps(pipeline: PipelineSpec, given: Mapping[str, StepOptions], target: str) -> Iterator[Diagnostic]:
    """The names in a target's ``steps`` that no node and no step of this pipeline has."""
    known = {EVERY, *(each.id for each in called(pipeline)), *map(step_name, called(pipeline))}
    for name in given:
        if name not in known:
            message = f"the configuration of {target} speaks of a step `{name}`, which `{pipeline.name}` does not have"
            near = did_you_mean(name, sorted(known - {EVERY}), otherwise="its nodes and steps are: {}.")
            fix = f"{near} A step of another pipeline is named with it: `PIPELINE:{name}`"
            yield Diagnostic("P506", message, location_of(pipeline.span), fix)
