"""What must hold of every spec, however it came to be: from the decorators, from JSON, or from a lowering pass."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from penstock.diagnostics import Diagnostic
from penstock.spec import (
    Binding,
    Group,
    Node,
    OutputBinding,
    ParameterBinding,
    PipelineSpec,
    Span,
    StepSpec,
    Task,
    TypeSpec,
    location_of,
    references,
    tasks,
    walk,
)
from penstock.types import why_not

_NAME = r"[^\W\d]\w*"
_PATTERNS = {
    "a pipeline's name": re.compile(r"\w[\w .-]*"),
    "a node's id": re.compile(r"\w[\w-]*(\.\w[\w-]*)*"),
    "a name": re.compile(_NAME),
    "a module's name": re.compile(rf"{_NAME}(\.{_NAME})*"),
    "a step's id": re.compile(rf"{_NAME}(\.{_NAME})*:{_NAME}(\.{_NAME})*"),
    "a file's path": re.compile(r"[^\x00-\x1f\x7f\u2028\u2029]+"),
    "a requirement": re.compile(r"[A-Za-z0-9][^\x00-\x1f\x7f\u2028\u2029]*"),
    "an environment variable's name": re.compile(r"[A-Za-z_][A-Za-z0-9_]*"),
}


def verify(pipeline: PipelineSpec) -> Iterator[Diagnostic]:
    """Everything wrong with a spec: bad names, duplicates, dangling references, types that do not fit, cycles."""
    yield from _names(pipeline)
    yield from _duplicates(pipeline)
    steps = {step.id: step for step in pipeline.steps}
    outputs = {
        task.id: {each.name for each in steps[task.step].outputs} for task in tasks(pipeline.body) if task.step in steps
    }
    nodes = {node.id for node in walk(pipeline.body)}
    parameters = {each.name for each in pipeline.parameters}
    for task in tasks(pipeline.body):
        where = f"node `{task.id}`"
        if task.step not in steps:
            yield _problem("P405", f"{where} calls `{task.step}`, which is not among the steps", task.span)
            continue
        yield from _inputs(task, steps[task.step])
        for name, binding in task.inputs:
            yield from _dangling(binding, f"input `{name}` of {where}", parameters, outputs, task.span)
    for node in walk(pipeline.body):
        for other in node.after:
            if other not in nodes:
                yield _problem("P404", f"node `{node.id}` is after `{other}`, which does not exist", node.span)
    if pipeline.result is not None:
        yield from _dangling(pipeline.result, "the pipeline's result", parameters, outputs, pipeline.span)
    yield from _misfits(pipeline, steps)
    yield from _cycles(pipeline)


def _names(pipeline: PipelineSpec) -> Iterator[Diagnostic]:
    settings = [task.settings for task in tasks(pipeline.body)]
    placed: list[PipelineSpec | StepSpec | Node] = [pipeline, *pipeline.steps, *walk(pipeline.body)]
    spans = [each.span for each in placed if each.span]
    named: dict[str, Iterable[str]] = {
        "a pipeline's name": [pipeline.name],
        "a node's id": [node.id for node in walk(pipeline.body)],
        "a name": [each.name for each in pipeline.parameters]
        + [each.name for step in pipeline.steps for each in step.inputs]
        + [each.name for step in pipeline.steps for each in step.outputs],
        "a module's name": [module.name for module in pipeline.modules],
        "a step's id": [step.id for step in pipeline.steps],
        "a file's path": [module.file for module in pipeline.modules] + [span.file for span in spans],
        "a requirement": [each for step in pipeline.steps for each in step.requirements]
        + [each for setting in settings for each in setting.packages or ()],
        "an environment variable's name": [name for setting in settings for name, _ in setting.env],
    }
    for what, names in named.items():
        for name in dict.fromkeys(names):
            if not _PATTERNS[what].fullmatch(name):
                yield _problem("P402", f"{name!r} cannot be {what}", pipeline.span)


def _duplicates(pipeline: PipelineSpec) -> Iterator[Diagnostic]:
    listed = {
        "node": [node.id for node in walk(pipeline.body)],
        "step": [step.id for step in pipeline.steps],
        "parameter": [each.name for each in pipeline.parameters],
        "module": [module.name for module in pipeline.modules],
    }
    for what, ids in listed.items():
        for id_, count in Counter(ids).items():
            if count > 1:
                yield _problem("P403", f"{count} {what}s are called `{id_}`", pipeline.span)


def _inputs(task: Task, step: StepSpec) -> Iterator[Diagnostic]:
    known = {each.name for each in step.inputs}
    given = {name for name, _ in task.inputs}
    for name in sorted(given - known):
        yield _problem("P406", f"node `{task.id}` gives `{name}`, which `{step.id}` does not take", task.span)
    for each in step.inputs:
        if each.required and each.name not in given:
            yield _problem("P406", f"node `{task.id}` does not give `{each.name}`, which `{step.id}` needs", task.span)


def _dangling(
    binding: Binding, where: str, parameters: set[str], outputs: dict[str, set[str]], span: Span | None
) -> Iterator[Diagnostic]:
    for ref in references(binding):
        if not isinstance(ref, OutputBinding):
            if ref.name not in parameters:
                yield _problem("P404", f"{where} refers to parameter `{ref.name}`, which does not exist", span)
        elif ref.output not in outputs.get(ref.node, ()):
            yield _problem(
                "P404", f"{where} refers to output `{ref.output}` of `{ref.node}`, which does not exist", span
            )


def _misfits(pipeline: PipelineSpec, steps: dict[str, StepSpec]) -> Iterator[Diagnostic]:
    """Edges that hand on one whole output or parameter to an input of another type."""
    outputs = {
        (task.id, each.name): each.type
        for task in tasks(pipeline.body)
        if task.step in steps
        for each in steps[task.step].outputs
    }
    parameters = {each.name: each.type for each in pipeline.parameters}
    for task in tasks(pipeline.body):
        takes = {each.name: each.type for each in steps[task.step].inputs} if task.step in steps else {}
        for name, binding in task.inputs:
            source: TypeSpec | None = None
            if isinstance(binding, OutputBinding) and not binding.path:
                source = outputs.get((binding.node, binding.output))
            elif isinstance(binding, ParameterBinding) and not binding.path:
                source = parameters.get(binding.name)
            reason = why_not(source, takes[name]) if source is not None and name in takes else ""
            if reason:
                yield _problem("P407", f"input `{name}` of node `{task.id}`: {reason}", task.span)


def _cycles(pipeline: PipelineSpec) -> Iterator[Diagnostic]:
    """One diagnostic for each node on a cycle that a depth-first walk meets first; chains may outgrow recursion."""
    edges = _edges(pipeline.body)
    done: set[str] = set()
    for start in edges:
        path: list[str] = []
        on_path: set[str] = set()
        stack = [(start, False)]
        while stack:
            node, leaving = stack.pop()
            if leaving:
                done.add(path.pop())
                on_path.discard(node)
            elif node in on_path:
                circle = [*path[path.index(node) :], node]
                yield _problem("P401", f"these nodes wait for each other: {' -> '.join(circle)}", pipeline.span)
            elif node not in done:
                path.append(node)
                on_path.add(node)
                stack.append((node, True))
                stack.extend((other, False) for other in edges.get(node, ()))


def _edges(body: tuple[Node, ...], groups: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Each node and what it waits for. A node waits for what its groups wait for; a group for all that it holds."""
    edges: dict[str, list[str]] = {}
    for node in body:
        start = f"{node.id} (start)"
        edges[start] = [*node.after, *(f"{group} (start)" for group in groups[-1:])]
        if isinstance(node, Group):
            edges[node.id] = [start, *(each.id for each in node.body)]
            edges |= _edges(node.body, (*groups, node.id))
        else:
            refs = (
                ref.node for _, binding in node.inputs for ref in references(binding) if isinstance(ref, OutputBinding)
            )
            edges[node.id] = [start, *refs]
    return edges


def _problem(code: str, message: str, span: Span | None) -> Diagnostic:
    return Diagnostic(code, message, location_of(span))
