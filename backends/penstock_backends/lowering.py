"""What several targets do to a spec before they emit it, and the job of a task as the harness reads it."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from penstock.keeping import last_kept
from penstock.spec import (
    CHECK,
    DECIDE,
    ITEMS,
    Arm,
    Binding,
    Branch,
    ChoiceBinding,
    CollectBinding,
    Gate,
    Group,
    ItemBinding,
    LiteralBinding,
    Loop,
    MappingBinding,
    Node,
    OutputBinding,
    OutputSpec,
    ParameterBinding,
    PipelineSpec,
    Settings,
    StepSpec,
    Task,
    TypeKind,
    TypeSpec,
    bindings_of,
    bodies,
    parts,
    references,
    structures,
    within,
)

Role = Literal["main", "rollback", "on_failure", "on_exit"]


@dataclass(frozen=True)
class Unit:
    """What an engine runs as one task.

    It is a call of a step, or of a step of the harness's own that decides a branch (`DECIDE`, output ``holds``), lists
    a loop's items (`ITEMS`, output ``items``) or passes a gate (`CHECK`); ``node`` is what it came from. ``loops`` are
    those around it, outermost first: it runs once for each combination of their items. ``arms`` are those around it,
    all of which must run for it to run. ``after`` names units that must have ended, each with how many of the loops
    around it are this one's too; a skip satisfies it.
    """

    task: Task
    step: StepSpec
    node: Node
    place: int
    loops: tuple[str, ...] = ()
    arms: tuple[Arm, ...] = ()
    after: tuple[tuple[str, int], ...] = ()
    role: Role = "main"

    @property
    def id(self) -> str:
        """The node's id, unique in the pipeline."""
        return self.task.id

    @property
    def outputs(self) -> tuple[OutputSpec, ...]:
        """What it gives."""
        if isinstance(self.node, Loop):
            listed = TypeSpec(kind=TypeKind.LIST, args=(self.node.item,), text=f"list[{self.node.item.text}]")
            return (OutputSpec(name="items", type=listed),)
        return self.step.outputs

    @functools.cached_property
    def bindings(self) -> tuple[Binding, ...]:
        """Everything that it takes."""
        return tuple(binding for _, binding in bindings_of(self.task))


@dataclass(frozen=True)
class Program:
    """A pipeline as the units that an engine runs, in the author's order, groups and structures dissolved.

    ``rollbacks`` stand in the order in which they run: what undoes the last unit first. ``members`` holds the ids of
    the units inside each loop, at any depth.
    """

    pipeline: PipelineSpec
    units: tuple[Unit, ...]
    rollbacks: tuple[Unit, ...]
    on_failure: tuple[Unit, ...]
    on_exit: tuple[Unit, ...]
    members: Mapping[str, tuple[str, ...]]

    @functools.cached_property
    def by_id(self) -> Mapping[str, Unit]:
        """Every unit, whatever its role, by its id."""
        return {unit.id: unit for unit in (*self.units, *self.rollbacks, *self.on_failure, *self.on_exit)}

    @functools.cached_property
    def parts(self) -> Mapping[str, dict[str, Any]]:
        """The part of a job that is the same for every call of a step, by the step's id."""
        return {step.id: step_part(step) for step in self.pipeline.steps}

    @functools.cached_property
    def kinds(self) -> Mapping[str, dict[str, Any]]:
        """The pipeline's parameters by name, each as the harness's ``coerce`` reads its type."""
        return {parameter.name: kind_of(parameter.type) for parameter in self.pipeline.parameters}

    def data(self, unit: Unit) -> tuple[str, ...]:
        """The units whose outputs a unit may read, each once: those whose end decides whether it runs, `after` apart.

        They are those it refers to, the branches and loops around it, and all that is in a loop it collects from.
        """
        if unit.id not in self._data:
            self._data[unit.id] = self._data_of(unit)
        return self._data[unit.id]

    @functools.cached_property
    def _data(self) -> dict[str, tuple[str, ...]]:
        return {}

    def _data_of(self, unit: Unit) -> tuple[str, ...]:
        found = dict.fromkeys((*unit.loops, *(arm.branch for arm in unit.arms)))
        for binding in unit.bindings:
            found |= dict.fromkeys(self.of_binding(binding))
        found.pop(unit.id, None)
        return tuple(found)

    def of_binding(self, binding: Binding) -> tuple[str, ...]:
        """The units that a binding depends on."""
        found: dict[str, None] = {}
        for each in within(binding):
            if isinstance(each, OutputBinding):
                found[each.node] = None
            elif isinstance(each, CollectBinding):
                found |= dict.fromkeys(self.members.get(each.loop, ()))
        return tuple(found | dict.fromkeys(structures(binding)))

    def waits_for(self, unit: Unit) -> tuple[str, ...]:
        """The units that must have ended before a unit starts: its `data`, then ``after``."""
        return tuple(dict.fromkeys((*self.data(unit), *(node for node, _ in unit.after))))

    def can_be_skipped(self, unit: Unit) -> bool:
        """Whether a unit, or an instance of it, may end as skipped while nothing fails."""
        return bool(self.arms_needed(unit))

    def arms_needed(self, unit: Unit) -> frozenset[Arm]:
        """The arms that must run for a unit to run: those around it, and around what it cannot do without."""
        return self._arms[unit.id]

    @functools.cached_property
    def _arms(self) -> Mapping[str, frozenset[Arm]]:
        found: dict[str, frozenset[Arm]] = {}
        for unit in self.units:
            needed = (node for binding in unit.bindings for node in _strict(binding))
            found[unit.id] = frozenset(unit.arms).union(*(found.get(node, frozenset()) for node in needed))
        return found


def _strict(binding: Binding) -> Iterator[str]:
    """The units without whose outputs a binding has no value: not the arms of a choice, nor the entries of a list."""
    if isinstance(binding, OutputBinding):
        yield binding.node
    elif isinstance(binding, ChoiceBinding):
        yield binding.branch
    elif isinstance(binding, (CollectBinding, ItemBinding)):
        yield from filter(None, (binding.loop,))
    else:
        for part in parts(binding):
            yield from _strict(part)


@last_kept
def program_of(pipeline: PipelineSpec) -> Program:
    """The units of a pipeline."""
    return _Lowering(pipeline).program()


class _Lowering:
    def __init__(self, pipeline: PipelineSpec) -> None:
        self.pipeline = pipeline
        self.steps = {step.id: step for step in pipeline.steps}
        self.around: dict[str, tuple[str, ...]] = {}
        self.inside: dict[str, tuple[str, ...]] = {}
        self.found: list[Unit] = []

    def program(self) -> Program:
        for node in self.pipeline.body:
            self._survey(node, ())
        for node in self.pipeline.body:
            self._add(node, (), (), ())
        units = tuple(self.found)
        undone = [
            Unit(
                unit.task.rollback,
                self.steps[unit.task.rollback.step],
                unit.node,
                0,
                unit.loops,
                unit.arms,
                (),
                "rollback",
            )
            for unit in reversed(units)
            if unit.task.rollback is not None
        ]
        loops = {unit.id for unit in units if isinstance(unit.node, Loop)}
        members = {id_: tuple(each for each in ids if each != id_) for id_, ids in self.inside.items() if id_ in loops}
        return Program(
            self.pipeline,
            units,
            tuple(undone),
            tuple(self._at_the_end(task, "on_failure") for task in self.pipeline.on_failure),
            tuple(self._at_the_end(task, "on_exit") for task in self.pipeline.on_exit),
            members,
        )

    def _survey(self, node: Node, loops: tuple[str, ...]) -> tuple[str, ...]:
        """Notes the loops around each unit, and the units that each node stands for; returns these."""
        own = () if isinstance(node, Group) else (node.id,)
        if own:
            self.around[node.id] = loops
        inner = (*loops, node.id) if isinstance(node, Loop) else loops
        below = tuple(id_ for body in bodies(node) for each in body for id_ in self._survey(each, inner))
        self.inside[node.id] = (*own, *below)
        return self.inside[node.id]

    def _add(self, node: Node, loops: tuple[str, ...], arms: tuple[Arm, ...], after: tuple[str, ...]) -> None:
        """Makes units of a node; ``after`` are the nodes that the groups around it wait for."""
        waits = (*after, *node.after)
        if isinstance(node, Group):
            for each in node.body:
                self._add(each, loops, arms, waits)
            return
        task = _task_of(node)
        named = dict.fromkeys(id_ for each in waits for id_ in self.inside.get(each, (each,)))
        ordered = dict.fromkeys(id_ for each in named for id_ in (*self._loops_apart(loops, each), each))
        shared = tuple((id_, self._shared(loops, id_)) for id_ in ordered)
        self.found.append(Unit(task, self.steps[task.step], node, len(self.found), loops, arms, shared))
        if isinstance(node, Branch):
            for holds, body in ((True, node.then), (False, node.otherwise)):
                for each in body:
                    self._add(each, loops, (*arms, Arm(branch=node.id, holds=holds)), after)
        elif isinstance(node, Loop):
            for each in node.body:
                self._add(each, (*loops, node.id), arms, after)

    def _loops_apart(self, loops: tuple[str, ...], other: str) -> tuple[str, ...]:
        """The loops that are around another unit but not this one: where one of them fails, nothing in it does."""
        return self.around.get(other, ())[self._shared(loops, other) :]

    def _shared(self, loops: tuple[str, ...], other: str) -> int:
        """How many of the loops around a unit are around another one, too."""
        pairs = zip(loops, self.around.get(other, ()), strict=False)
        return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))

    def _at_the_end(self, task: Task, role: Role) -> Unit:
        return Unit(task, self.steps[task.step], task, 0, role=role)


def _task_of(node: Task | Branch | Loop | Gate) -> Task:
    if isinstance(node, Task):
        return node
    inputs: tuple[tuple[str, Binding], ...]
    if isinstance(node, Branch):
        step, inputs = DECIDE, (("condition", node.condition),)
    elif isinstance(node, Loop):
        step, inputs = ITEMS, (("items", node.items),)
    else:
        message = node.message or LiteralBinding(value=None)
        shown = MappingBinding(items=node.shown)
        text = LiteralBinding(value=node.text)
        step, inputs = CHECK, (("condition", node.condition), ("text", text), ("shown", shown), ("message", message))
    return Task(id=node.id, step=step, inputs=inputs, after=node.after, span=node.span)


def parameters_used(task: Task) -> tuple[str, ...]:
    """The names of the pipeline's parameters that a task takes, each once."""
    found = (ref.name for _, each in bindings_of(task) for ref in references(each) if isinstance(ref, ParameterBinding))
    return tuple(dict.fromkeys(found))


def requirements_of(step: StepSpec, settings: Settings) -> tuple[str, ...]:
    """The distributions a task's environment must hold: ``packages`` where the author gave them, else those found."""
    return step.requirements if settings.packages is None else settings.packages


def kind_of(type_: TypeSpec) -> dict[str, Any]:
    """A type as the harness's ``coerce`` reads it."""
    return type_.model_dump(mode="json", exclude_defaults=True, exclude={"bases", "label", "serializer"})


def job_of(program: Program, unit: Unit) -> dict[str, Any]:
    """Everything the harness must know to run a unit (see ``penstock.harness.run_job``), as JSON.

    What most units have none of is there only where there is any: ``secrets`` (for ``supervise``), ``checks``,
    ``when``, ``after``, ``depths``, ``members``.
    """
    fixed = program.parts[unit.step.id]
    return {
        "function": fixed["function"],
        "reach": fixed["reach"],
        "arguments": arguments_of(unit.task),
        "parameters": {name: program.kinds[name] for name in parameters_used(unit.task)},
        "outputs": outputs_of(unit) if isinstance(unit.node, Loop) else fixed["outputs"],
        "returns": fixed["returns"],
        "env": dict(unit.task.settings.env),
        **secrets_part(unit.task.settings),
        **standing_of(program, unit),
    }


def secrets_part(settings: Settings) -> dict[str, Any]:
    """The part of a unit's job that names the variables with secrets, for the harness to hide; empty for most units."""
    return {"secrets": [name for name, _ in settings.secrets]} if settings.secrets else {}


def standing_of(program: Program, unit: Unit) -> dict[str, Any]:
    """The part of a unit's job that says where among loops, branches and others it stands; empty for most units."""
    collected = [each.loop for binding in unit.bindings for each in within(binding) if isinstance(each, CollectBinding)]
    members = {loop: list(program.members[loop]) for loop in dict.fromkeys(collected) if loop}
    named = (*program.data(unit), *(id_ for ids in members.values() for id_ in ids))
    depths = {id_: len(program.by_id[id_].loops) for id_ in dict.fromkeys(named)}
    checks = [_compact(check.model_dump(mode="json")) for check in unit.task.checks]
    found = {
        "checks": checks,
        "when": [arm.model_dump(mode="json") for arm in unit.arms],
        "after": [list(each) for each in unit.after],
        "depths": {id_: depth for id_, depth in depths.items() if depth},
        "members": members,
    }
    return {name: value for name, value in found.items() if value}


def step_part(step: StepSpec) -> dict[str, Any]:
    """The part of a job that is the same for every call of a step."""
    return {
        "function": step.id,
        "reach": {reach.module: list(reach.names) for reach in step.reach},
        "outputs": [_output(output.name, output.type) for output in step.outputs],
        "returns": step.returns.model_dump(mode="json"),
    }


def outputs_of(unit: Unit) -> list[dict[str, Any]]:
    """What a unit gives, as the harness writes it."""
    if isinstance(unit.node, Loop):
        return [{"name": "items", "text": unit.outputs[0].type.text, "each": _output("item", unit.node.item)}]
    return [_output(output.name, output.type) for output in unit.step.outputs]


def arguments_of(task: Task) -> dict[str, Any]:
    """A task's bindings by the name of the input, as the harness resolves them."""
    return {name: wire_of(binding) for name, binding in task.inputs}


def wire_of(binding: Binding) -> Any:
    """A binding as the harness resolves it, without what is empty anyway."""
    return _compact(binding.model_dump(mode="json"))


def _compact(wire: Any) -> Any:
    """Bindings in fewer words, for those who read them in what is emitted: without what is empty anyway."""
    if isinstance(wire, list):
        return [_compact(each) for each in wire]
    if not isinstance(wire, dict) or wire.get("kind") == "literal":
        return wire
    empty: dict[str, Any] = {"path": [], "when": [], "spread": False, "loop": ""}
    return {key: _compact(value) for key, value in wire.items() if key not in empty or value != empty[key]}


# Whose values the harness compares with the annotation before it hands them on.
_CHECKED = (TypeKind.BOOL, TypeKind.INT, TypeKind.FLOAT, TypeKind.STR, TypeKind.BYTES)


def _output(name: str, type_: TypeSpec) -> dict[str, Any]:
    output: dict[str, Any] = {"name": name, "text": type_.text}
    if type_.kind in _CHECKED:
        output["kind"] = type_.kind.value
    if type_.is_artifact:
        output |= {"artifact": True, "serializer": type_.serializer or "any"}
    return output
