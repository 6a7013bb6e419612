"""What must hold of every spec, however it came to be: from the decorators, from JSON, or from a lowering pass."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from penstock.assignability import known_values, without_none
from penstock.diagnostics import Diagnostic
from penstock.spec import (
    CHECK,
    DECIDE,
    GIVE,
    ITEMS,
    Binding,
    Branch,
    ChoiceBinding,
    CollectBinding,
    Gate,
    ItemBinding,
    Loop,
    Node,
    OutputBinding,
    ParameterBinding,
    PipelineSpec,
    Span,
    StatusBinding,
    StepSpec,
    Task,
    bindings_of,
    bodies,
    is_computed,
    location_of,
    parts,
    tasks,
    walk,
    within,
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
    known = _Known(pipeline, steps)
    for task in _all_tasks(pipeline):
        if task.step not in steps:
            yield _problem("P405", f"node `{task.id}` calls `{task.step}`, which is not among the steps", task.span)
        else:
            yield from _inputs(task, steps[task.step])
    for node in walk(pipeline.body):
        needed = {Branch: DECIDE, Loop: ITEMS, Gate: CHECK}.get(type(node))
        if needed is not None and needed not in steps:
            yield _problem("P405", f"node `{node.id}` needs `{needed}`, which is not among the steps", node.span)
        for other in node.after:
            if other not in known.nodes:
                yield _problem("P404", f"node `{node.id}` is after `{other}`, which does not exist", node.span)
    yield from known.dangling(pipeline.body, frozenset())
    for task in (*pipeline.on_failure, *pipeline.on_exit):
        yield from known.of_node(task, frozenset(), at_the_end=True)
    if pipeline.result is not None:
        yield from known.of_binding(pipeline.result, "the pipeline's result", pipeline.span, frozenset())
        if is_computed(pipeline.result):
            message = f"the pipeline's result is computed by no node: what has to be is an output of one of `{GIVE}`"
            yield _problem("P410", message, pipeline.span)
    yield from _misfits(pipeline, steps)
    yield from _cycles(pipeline)


def _all_tasks(pipeline: PipelineSpec) -> Iterator[Task]:
    """Every task, with those that undo others and those at the end of a run."""
    for task in tasks(pipeline.body):
        yield task
        if task.rollback is not None:
            yield task.rollback
    yield from (*pipeline.on_failure, *pipeline.on_exit)


def _names(pipeline: PipelineSpec) -> Iterator[Diagnostic]:
    settings = [task.settings for task in _all_tasks(pipeline)]
    nodes = [*walk(pipeline.body), *_beside(pipeline)]
    placed: list[PipelineSpec | StepSpec | Node] = [pipeline, *pipeline.steps, *nodes]
    spans = [each.span for each in placed if each.span]
    named: dict[str, Iterable[str]] = {
        "a pipeline's name": [pipeline.name],
        "a node's id": [node.id for node in nodes],
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


def _beside(pipeline: PipelineSpec) -> Iterator[Task]:
    """The tasks that stand in no body: those that undo others, and those at the end of a run."""
    yield from (task.rollback for task in tasks(pipeline.body) if task.rollback is not None)
    yield from (*pipeline.on_failure, *pipeline.on_exit)


def _duplicates(pipeline: PipelineSpec) -> Iterator[Diagnostic]:
    listed = {
        "node": [node.id for node in (*walk(pipeline.body), *_beside(pipeline))],
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


class _Known:
    """What the bindings of a pipeline may refer to, and where."""

    def __init__(self, pipeline: PipelineSpec, steps: dict[str, StepSpec]) -> None:
        self.parameters = {each.name for each in pipeline.parameters}
        self.nodes = {node.id: node for node in walk(pipeline.body)}
        self.outputs = {
            task.id: {each.name for each in steps[task.step].outputs}
            for task in tasks(pipeline.body)
            if task.step in steps
        }
        self.loops: dict[str, frozenset[str]] = {}
        self._note_loops(pipeline.body, frozenset())

    def _note_loops(self, body: tuple[Node, ...], loops: frozenset[str]) -> None:
        for node in body:
            self.loops[node.id] = loops
            for inner in bodies(node):
                self._note_loops(inner, loops | {node.id} if isinstance(node, Loop) else loops)

    def dangling(self, body: tuple[Node, ...], loops: frozenset[str]) -> Iterator[Diagnostic]:
        """The bindings of a body, and of what is in it, that refer to nothing."""
        for node in body:
            yield from self.of_node(node, loops)
            if isinstance(node, Task) and node.rollback is not None:
                yield from self.of_node(node.rollback, loops)
            for inner in bodies(node):
                yield from self.dangling(inner, loops | {node.id} if isinstance(node, Loop) else loops)

    def of_node(self, node: Node, loops: frozenset[str], *, at_the_end: bool = False) -> Iterator[Diagnostic]:
        """As `dangling`, for what a node itself takes."""
        for name, binding in bindings_of(node):
            where = f"input `{name}` of node `{node.id}`" if name else f"a gate of node `{node.id}`"
            yield from self.of_binding(binding, where, node.span, loops)
            if not at_the_end and any(isinstance(each, StatusBinding) for each in within(binding)):
                yield _problem("P408", f"{where} takes the run's status, which is known at its end only", node.span)

    def of_binding(
        self, binding: Binding, where: str, span: Span | None, loops: frozenset[str]
    ) -> Iterator[Diagnostic]:
        """As `dangling`, for a binding that stands in the bodies of ``loops``."""
        inner = loops | {binding.loop} if isinstance(binding, CollectBinding) and binding.loop else loops
        if isinstance(binding, ParameterBinding) and binding.name not in self.parameters:
            yield _problem("P404", f"{where} refers to parameter `{binding.name}`, which does not exist", span)
        if isinstance(binding, OutputBinding):
            if binding.output not in self.outputs.get(binding.node, ()):
                said = f"output `{binding.output}` of `{binding.node}`"
                yield _problem("P404", f"{where} refers to {said}, which does not exist", span)
            elif self.loops[binding.node] - loops:
                yield _problem("P409", f"{where} takes one item's value of `{binding.node}` outside its loop", span)
        for id_, kind in _structures(binding):
            if not isinstance(self.nodes.get(id_), kind):
                yield _problem("P404", f"{where} refers to `{id_}`, which is no {kind.__name__.lower()}", span)
            elif self.loops[id_] - inner:
                yield _problem("P409", f"{where} asks for `{id_}` of one item outside its loop", span)
        if isinstance(binding, ItemBinding) and binding.loop not in loops:
            yield _problem("P409", f"{where} takes an item of `{binding.loop}` outside that loop", span)
        for part in parts(binding):
            yield from self.of_binding(part, where, span, inner)


def _structures(binding: Binding) -> Iterator[tuple[str, type[Branch | Loop]]]:
    """The branches and loops that a binding itself asks for."""
    if isinstance(binding, ChoiceBinding):
        yield binding.branch, Branch
    elif isinstance(binding, CollectBinding):
        if binding.loop:
            yield binding.loop, Loop
        yield from dict.fromkeys((arm.branch, Branch) for entry in binding.entries for arm in entry.when)


def _misfits(pipeline: PipelineSpec, steps: dict[str, StepSpec]) -> Iterator[Diagnostic]:
    """Edges that hand on one whole output or parameter to an input of another type."""
    types = {("", each.name): each.type for each in pipeline.parameters}
    for task in tasks(pipeline.body):
        outputs = steps[task.step].outputs if task.step in steps else ()
        types |= {(task.id, each.name): each.type for each in outputs}
    conditions = {node.id: node.condition for node in walk(pipeline.body) if isinstance(node, Branch)}
    for node, known in _with_known(pipeline.body, (), conditions):
        takes = {each.name: each.type for each in steps[node.step].inputs} if node.step in steps else {}
        for name, binding in node.inputs:
            source = types.get(_whole(binding))
            if source is not None and binding in known:
                source = without_none(source)
            reason = why_not(source, takes[name]) if source is not None and name in takes else ""
            if reason:
                yield _problem("P407", f"input `{name}` of node `{node.id}`: {reason}", node.span)


def _whole(binding: Binding) -> tuple[str, str]:
    """The node and output, or the parameter, that a binding hands on whole; two empty texts for all others."""
    if isinstance(binding, OutputBinding) and not binding.path:
        return binding.node, binding.output
    return ("", binding.name) if isinstance(binding, ParameterBinding) and not binding.path else ("", "")


def _with_known(
    body: tuple[Node, ...], known: tuple[Binding, ...], conditions: dict[str, Binding]
) -> Iterator[tuple[Task, tuple[Binding, ...]]]:
    """Every task, and the values that are not None where it stands: by the conditions around, and the gates before."""
    for node in body:
        if isinstance(node, Task):
            yield node, known
        elif isinstance(node, Branch):
            for holds, arm in ((True, node.then), (False, node.otherwise)):
                inside = (*known, *known_values(node.condition, conditions, holds=holds))
                yield from _with_known(arm, inside, conditions)
        elif isinstance(node, Gate):
            known = (*known, *known_values(node.condition, conditions, holds=True))
        else:
            for inner in bodies(node):
                yield from _with_known(inner, known, conditions)


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


def _edges(body: tuple[Node, ...], around: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Each node and what it waits for. A node waits for what those around it wait for; these for all that they hold."""
    edges: dict[str, list[str]] = {}
    for node in body:
        start = f"{node.id} (start)"
        edges[start] = [*node.after, *(f"{outer} (start)" for outer in around[-1:])]
        taken = [
            each.node for _, binding in bindings_of(node) for each in within(binding) if isinstance(each, OutputBinding)
        ]
        if isinstance(node, (Branch, Loop)):
            edges[start] += taken
        else:
            edges[node.id] = [start, *taken]
        if bodies(node):
            inner = [each.id for held in bodies(node) for each in held]
            edges[node.id] = [start, *inner]
            for held in bodies(node):
                edges |= _edges(held, (*around, node.id))
    return edges


def _problem(code: str, message: str, span: Span | None) -> Diagnostic:
    return Diagnostic(code, message, location_of(span))
