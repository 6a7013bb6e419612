"""Everything in which two pipelines differ, named as their authors know it.

What does not change what a pipeline means is left out: places in files, comments, layout, names of local variables.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.differences import ADDED, CHANGED, REMOVED, Code, code_changes
from penstock.spec import (
    Branch,
    LiteralBinding,
    Node,
    ParameterSpec,
    PipelineSpec,
    Settings,
    StepSpec,
    Task,
    bodies,
    walk,
)

# What a thing is called by, where it stands, and what is compared elsewhere.
_APART = {"kind", "id", "span", "left_out", "text", "shown", "body", "then", "otherwise"}
_COMPARED_ELSEWHERE = {"version", "parameters", "steps", "body", "modules", "on_failure", "on_exit", "span", "left_out"}


@dataclass(frozen=True)
class Change:
    """A property that has another value, each as the spec has it; None where it is not there."""

    what: str
    before: object
    after: object


@dataclass(frozen=True)
class Difference:
    """A thing that only one side has (``how`` is ``added`` or ``removed``), or that has changed."""

    name: str
    how: str
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class CodeDifference:
    """A function, class, constant or import that differs, and the steps that reach it.

    ``diff`` holds the lines of a unified diff of its source.
    """

    name: str
    how: str
    is_step: bool
    steps: tuple[str, ...]
    diff: tuple[str, ...]


@dataclass(frozen=True)
class Delta:
    """In what two pipelines differ; true where they do."""

    pipeline: tuple[Change, ...]
    parameters: tuple[Difference, ...]
    nodes: tuple[Difference, ...]
    steps: tuple[Difference, ...]
    code: tuple[CodeDifference, ...]

    def __bool__(self) -> bool:
        return any((self.pipeline, self.parameters, self.nodes, self.steps, self.code))


def delta_of(before: PipelineSpec, after: PipelineSpec) -> Delta:
    """What one pipeline has that another has not, or has otherwise.

    Where their files are called differently, what these define is taken to be the same by its name in the file.
    """
    old, new = _called_alike(before, after), after
    return Delta(
        pipeline=(*_changes(dict(_of_pipeline(old)), dict(_of_pipeline(new))), *_orders(old, new)),
        parameters=tuple(_differences(_parameters(old.parameters), _parameters(new.parameters))),
        nodes=node_differences(old, new),
        steps=tuple(each for each in _differences(_steps(old), _steps(new)) if each.how == CHANGED),
        code=tuple(_code(old, new)),
    )


def node_differences(before: PipelineSpec, after: PipelineSpec) -> tuple[Difference, ...]:
    """The nodes that are not what they were, code apart, in the author's order."""
    return tuple(_differences(_nodes(before), _nodes(after)))


def _differences(
    old: Mapping[str, Mapping[str, object]], new: Mapping[str, Mapping[str, object]]
) -> Iterator[Difference]:
    """The differences of named things, each given by its facts: those that are there now first, in their order."""
    for name in dict.fromkeys((*new, *old)):
        if name not in old or name not in new:
            how = ADDED if name in new else REMOVED
            yield Difference(name, how, tuple(_changes(old.get(name, {}), new.get(name, {}))))
        elif changes := tuple(_changes(old[name], new[name])):
            yield Difference(name, CHANGED, changes)


def _changes(old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[Change]:
    for what in dict.fromkeys((*new, *old)):
        if old.get(what) != new.get(what):
            yield Change(what, old.get(what), new.get(what))


# --- the facts of each thing


def _of_pipeline(pipeline: PipelineSpec) -> Iterator[tuple[str, object]]:
    for name in PipelineSpec.model_fields:
        if name not in _COMPARED_ELSEWHERE:
            yield name, getattr(pipeline, name)


def _parameters(given: Iterable[ParameterSpec]) -> dict[str, dict[str, object]]:
    return {
        each.name: {
            "type": each.type,
            "default": None if each.required else LiteralBinding(value=each.default),
            "description": each.description,
        }
        for each in given
    }


def _steps(pipeline: PipelineSpec) -> dict[str, dict[str, object]]:
    """What each step takes, gives and needs, apart from its code."""
    return {step.id: dict(_of_step(step)) for step in pipeline.steps}


def _of_step(step: StepSpec) -> Iterator[tuple[str, object]]:
    for name, facts in _parameters(step.inputs).items():
        yield from ((f"inputs.{name}.{what}", value) for what, value in facts.items())
    yield from ((f"outputs.{each.name}", each.type) for each in step.outputs)
    yield "returns", step.returns
    yield "requirements", step.requirements


def _nodes(pipeline: PipelineSpec) -> dict[str, dict[str, object]]:
    placed = [
        *_placed(pipeline.body, ""),
        *_placed(pipeline.on_failure, "on_failure"),
        *_placed(pipeline.on_exit, "on_exit"),
    ]
    return {node.id: {"kind": node.kind, "inside": place, **dict(_of_node(node))} for node, place in placed}


def _placed(body: Sequence[Node], place: str) -> Iterator[tuple[Node, str]]:
    """Every node with the node that holds it; of a branch, also which arm."""
    for node in body:
        yield node, place
        arms = ("yes", "no") if isinstance(node, Branch) else ("",)
        for arm, inner in zip(arms, bodies(node), strict=False):
            yield from _placed(inner, f"{node.id}: {arm}" if arm else node.id)


def _of_node(node: Node) -> Iterator[tuple[str, object]]:
    for name in type(node).model_fields:
        value = getattr(node, name)
        if name == "inputs":
            yield from ((f"inputs.{key}", binding) for key, binding in value)
        elif name == "checks":
            yield "gates", value
        elif isinstance(value, Settings):
            yield from ((each, getattr(value, each)) for each in Settings.model_fields)
        elif isinstance(value, Task):
            yield from ((f"{name}.{what}", each) for what, each in _of_node(value))
        elif name not in _APART:
            yield name, value


def _orders(old: PipelineSpec, new: PipelineSpec) -> Iterator[Change]:
    """Where the author's order counts: rollbacks run against it, what runs at the end runs along it."""
    for what in ("rollback", "on_failure", "on_exit"):
        before, after = (_ordered(each, what) for each in (old, new))
        common = set(before) & set(after)
        sides = [tuple(each for each in side if each in common) for side in (before, after)]
        if sides[0] != sides[1]:
            yield Change(f"order of {what}", *sides)


def _ordered(pipeline: PipelineSpec, what: str) -> list[str]:
    if what == "rollback":
        return [node.id for node in walk(pipeline.body) if isinstance(node, Task) and node.rollback]
    return [task.id for task in getattr(pipeline, what)]


# --- code


def _code(old: PipelineSpec, new: PipelineSpec) -> Iterator[CodeDifference]:
    before, after = Code(old), Code(new)
    for each in code_changes(old, new):
        left = before.source(each.name) if each.how != ADDED else ""
        right = after.source(each.name) if each.how != REMOVED else ""
        lines = list(difflib.unified_diff(left.splitlines(), right.splitlines(), lineterm=""))
        yield CodeDifference(each.name, each.how, each.is_step, each.steps, tuple(lines[2:]))


def _called_alike(old: PipelineSpec, new: PipelineSpec) -> PipelineSpec:
    """The old pipeline as if its file had the name of the new one's."""
    before, after = _own_module(old), _own_module(new)
    if before == after or not before or not after or after in {module.name for module in old.modules}:
        return old
    renamed = _renamed(old.model_dump(mode="json"), before, after)
    return PipelineSpec.model_validate(renamed)


def _own_module(pipeline: PipelineSpec) -> str:
    """The module that defines the pipeline, where a step reaches something of it."""
    file = pipeline.span.file if pipeline.span else ""
    return next((module.name for module in pipeline.modules if module.file == file), "")


def _renamed(value: Any, before: str, after: str, key: str = "") -> Any:
    """JSON of a spec with another module name: in ``module:qualname``, of modules, and of what is reached of them."""
    if isinstance(value, dict):
        is_module = "statements" in value
        return {
            name: _renamed(each, before, after, "module" if is_module and name == "name" else name)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [_renamed(each, before, after, key) for each in value]
    if not isinstance(value, str) or key in ("source", "text"):
        return value
    if key == "module" and value == before:
        return after
    return f"{after}{value[len(before) :]}" if value.startswith(f"{before}:") else value
