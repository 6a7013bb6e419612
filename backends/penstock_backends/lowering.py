"""What several targets do to a spec before they emit it, and the job of a task as the harness reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.spec import (
    Group,
    Node,
    OutputBinding,
    ParameterBinding,
    PipelineSpec,
    Settings,
    StepSpec,
    Task,
    TypeKind,
    TypeSpec,
    references,
    walk,
)


def flatten_groups(pipeline: PipelineSpec) -> PipelineSpec:
    """Nested pipelines dissolved: every task in one body, under its full id, in the author's order.

    An ``after`` on a group holds for each of its tasks; an ``after`` that names a group names all of its tasks.
    """
    members = {
        node.id: tuple(task.id for task in walk(node.body) if isinstance(task, Task))
        for node in walk(pipeline.body)
        if isinstance(node, Group)
    }
    flat = tuple(
        task.model_copy(update={"after": tuple(id_ for each in after for id_ in members.get(each, (each,)))})
        for task, after in _with_inherited_after(pipeline.body, ())
    )
    return pipeline.model_copy(update={"body": flat})


def _with_inherited_after(body: tuple[Node, ...], after: tuple[str, ...]) -> Iterator[tuple[Task, tuple[str, ...]]]:
    for node in body:
        all_after = tuple(dict.fromkeys((*after, *node.after)))
        if isinstance(node, Task):
            yield node, all_after
        else:
            yield from _with_inherited_after(node.body, all_after)


def dependencies(task: Task) -> tuple[str, ...]:
    """The ids of the tasks whose outputs a task takes, in the order of its inputs, each once."""
    found = (ref.node for _, binding in task.inputs for ref in references(binding) if isinstance(ref, OutputBinding))
    return tuple(dict.fromkeys(found))


def predecessors(task: Task) -> tuple[str, ...]:
    """The ids of everything a task waits for: its `dependencies`, then ``after``."""
    return tuple(dict.fromkeys((*dependencies(task), *task.after)))


def parameters_used(task: Task) -> tuple[str, ...]:
    """The names of the pipeline's parameters that a task takes, each once."""
    found = (ref.name for _, binding in task.inputs for ref in references(binding) if isinstance(ref, ParameterBinding))
    return tuple(dict.fromkeys(found))


def requirements_of(step: StepSpec, settings: Settings) -> tuple[str, ...]:
    """The distributions a task's environment must hold: ``packages`` where the author gave them, else those found."""
    return step.requirements if settings.packages is None else settings.packages


def kind_of(type_: TypeSpec) -> dict[str, Any]:
    """A type as the harness's ``coerce`` reads it."""
    return type_.model_dump(mode="json", exclude_defaults=True, exclude={"bases", "label", "serializer"})


def job_of(pipeline: PipelineSpec, task: Task) -> dict[str, Any]:
    """Everything the harness must know to run a task (see ``penstock.harness.run_job``), as JSON."""
    kinds = {parameter.name: parameter.type for parameter in pipeline.parameters}
    fixed = step_part(pipeline.step(task))
    return {
        "function": fixed["function"],
        "reach": fixed["reach"],
        "arguments": arguments_of(task),
        "parameters": {name: kind_of(kinds[name]) for name in parameters_used(task)},
        "outputs": fixed["outputs"],
        "returns": fixed["returns"],
        "env": dict(task.settings.env),
    }


def step_part(step: StepSpec) -> dict[str, Any]:
    """The part of a job that is the same for every call of a step."""
    return {
        "function": step.id,
        "reach": {reach.module: list(reach.names) for reach in step.reach},
        "outputs": [_output(output.name, output.type) for output in step.outputs],
        "returns": step.returns.model_dump(mode="json"),
    }


def arguments_of(task: Task) -> dict[str, Any]:
    """A task's bindings by the name of the input, as the harness resolves them."""
    return {name: _without_empty_paths(binding.model_dump(mode="json")) for name, binding in task.inputs}


def _without_empty_paths(binding: dict[str, Any]) -> dict[str, Any]:
    """A binding in fewer words, for those who read it in what is emitted."""
    kind = binding["kind"]
    if kind in ("parameter", "output"):
        return {key: value for key, value in binding.items() if key != "path" or value}
    if kind in ("list", "tuple"):
        return {**binding, "items": [_without_empty_paths(item) for item in binding["items"]]}
    parts = {"dict": "items", "record": "fields"}.get(kind)
    if parts is None:
        return binding
    return {**binding, parts: [[name, _without_empty_paths(item)] for name, item in binding[parts]]}


# Whose values the harness compares with the annotation before it hands them on.
_CHECKED = (TypeKind.BOOL, TypeKind.INT, TypeKind.FLOAT, TypeKind.STR, TypeKind.BYTES)


def _output(name: str, type_: TypeSpec) -> dict[str, Any]:
    output: dict[str, Any] = {"name": name, "text": type_.text}
    if type_.kind in _CHECKED:
        output["kind"] = type_.kind.value
    if type_.is_artifact:
        output |= {"artifact": True, "serializer": type_.serializer or "any"}
    return output
