"""What stands for each unit in the file: its place in the graph, its component, its container, its pod's settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from penstock.keeping import last_kept
from penstock.spec import (
    CHECK,
    DECIDE,
    GIVE,
    ITEMS,
    Branch,
    ChoiceBinding,
    CollectBinding,
    Gate,
    ItemBinding,
    OutputBinding,
    PipelineSpec,
    Settings,
    StepSpec,
    Task,
    within,
)
from penstock.spec import Loop as LoopNode
from penstock_backends.kubeflow import entry
from penstock_backends.kubeflow.channels import (
    ARTIFACT,
    CURVES,
    LIST,
    METRICS,
    STRING,
    Channel,
    identifier,
    output_channel,
    task_name,
)
from penstock_backends.kubeflow.form import read_as
from penstock_backends.kubeflow.importing import URI, Importer, importer_of
from penstock_backends.kubeflow.inputs import Inputs, is_ordinary, job_for, ordinary_job
from penstock_backends.kubeflow.options import NOTHING, KubeflowOptions
from penstock_backends.kubeflow.pod import inward_of, platform_of, resources_of
from penstock_backends.kubeflow.program import (
    START_SHARED,
    WRITE_SHARED,
    Carried,
    carried,
    harness_text,
    job_text,
    packed_harness,
    sliced,
)
from penstock_backends.kubeflow.softness import soft_units
from penstock_backends.kubeflow.text import Shared
from penstock_backends.kubeflow.wiring import OUTCOME, Loop, Scope, Step, Wiring
from penstock_backends.kubeflow.workflow import LIKELY_ITEMS, Sizes, sizes_of
from penstock_backends.lowering import Program, Unit, job_of, parameters_used, program_of
from penstock_backends.rendering import compact_json

LARGEST_CONTAINER = 125_000  # bytes; a container's JSON is one argument of its driver, and Linux takes 131,072

# What the lists that a task takes from loops may cost of its command line, and what each item may.
ROOM, ROOM_FOR_ARTIFACT, ROOM_FOR_TEXT = 120_000, 480, 240
ROOM_FOR_SHOWN = ROOM_FOR_ARTIFACT + entry.ROOM_IN_LOOPS

OWN = (DECIDE, ITEMS, CHECK, GIVE)  # the harness's own steps, of which no configuration speaks by name


@dataclass
class Planned:
    """A task, and all that stands for it in the file; ``executor`` is the label of its container, or ``importer``.

    ``unit`` is what it runs, unless it is a task of the backend's own.
    """

    unit: Unit | None
    name: str
    scope: Scope
    task_spec: dict[str, Any]
    component: dict[str, Any]
    container: dict[str, Any]
    platform: dict[str, Any]
    importer: dict[str, Any] = field(default_factory=dict)
    executor: str = ""

    @property
    def runs(self) -> dict[str, Any]:
        """What its executor is."""
        return {"importer": self.importer} if self.importer else {"container": self.container}


@dataclass(frozen=True)
class Plan:
    """A pipeline as Kubeflow is to run it: its tasks, each scope's in its order, and its loops.

    ``size`` is what the cluster keeps of it, in bytes, with the state of a run.
    """

    program: Program
    tasks: tuple[Planned, ...]
    loops: tuple[Loop, ...]
    outputs: Mapping[tuple[str, str], Channel]
    size: int = 0

    def dag(self, scope: Scope = ()) -> dict[str, Any]:
        """The tasks of a scope by name."""
        found = {}
        loops = {loop.items: loop for loop in self.loops if loop.scope == scope}
        for each in (each for each in self.tasks if each.scope == scope):
            found[each.name] = each.task_spec
            if each.name in loops:
                found[loops[each.name].name] = _loop_task(loops[each.name])
        return found

    def components(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every component by name."""
        yield from ((f"comp-{each.name}", each.component) for each in self.tasks)
        for loop in self.loops:
            scope = (*loop.scope, _loop_id(self.program, loop))
            yield f"comp-{loop.name}", _loop_component(loop, self.dag(scope))


@last_kept
def plan_of(pipeline: PipelineSpec, options: KubeflowOptions) -> Plan:
    """All tasks, in the author's order; those whose containers and components are equal share these.

    The harness is in each container for as long as a cluster keeps that, as text or packed; else a task hands it on.
    """
    program = program_of(pipeline)
    plan, kind = _without_harness(program, options, is_shared=False)
    once, longest = _sizes(plan), _longest_container(plan)
    sizes = _sizes(plan, LIKELY_ITEMS) if plan.loops else once
    for form, written in (("text", harness_text), ("packed", packed_harness)):
        text = written(*kind)
        fits = sizes.with_harness(text) <= options.largest_workflow
        fits &= form == "packed" or longest + len(compact_json(text)) <= LARGEST_CONTAINER
        if options.harness == form or (options.harness == "auto" and fits):
            return _started(plan, text, once.with_harness(text))
    plan, _ = _without_harness(program, options, is_shared=True)
    return _started(plan, START_SHARED, _sizes(plan).with_harness(START_SHARED), _shared_path("inputs"))


def _without_harness(program: Program, options: KubeflowOptions, *, is_shared: bool) -> tuple[Plan, tuple[bool, bool]]:
    """All tasks, their containers without a command yet, and what kind of harness they need."""
    planner = _Planner(program, options)
    steps = planner.steps()
    kind = any("does" in step.job for step in steps), any(step.settings.secrets for step in steps)
    containers = _Containers(options)
    if is_shared:
        steps = [planner.share_harness(steps), *steps]
    tasks = [_planned(step, planner.units.get(step.name), containers) for step in steps]
    if is_shared:
        arguments = [_shared_path("outputs"), "{{$}}", harness_text(*kind)]
        command = ["python3", "-c", WRITE_SHARED]
        tasks[0].container = {"image": options.base_image, "command": command, "args": arguments}
    first: dict[tuple[int, str], Planned] = {}
    for each in tasks:
        same = first.setdefault((id(each.container), compact_json(each.component)), each)
        if same is each:
            each.executor = f"exec-{each.name}"
            each.component = {"executorLabel": each.executor, **each.component}
            each.container = dict(each.container)
        each.executor, each.component, each.container = same.executor, same.component, same.container
    return Plan(program, tuple(tasks), tuple(planner.wiring.loops.values()), planner.outputs), kind


def _shared_path(side: str) -> str:
    """What Kubeflow replaces by the path of the harness that all tasks share."""
    return f"{{{{$.{side}.artifacts['{entry.HARNESS}'].path}}}}"


def _sizes(plan: Plan, items: int = 1) -> Sizes:
    components = dict(plan.components())
    dags = {"root": {"dag": {"tasks": plan.dag()}}, **{n: each for n, each in components.items() if "dag" in each}}
    containers = {each.executor: each.container for each in plan.tasks if not each.importer}
    platform = {each.executor: each.platform for each in plan.tasks if each.platform}
    return sizes_of(dags, containers, components, platform, items)


def _longest_container(plan: Plan) -> int:
    texts = {id(each.container): each.container for each in plan.tasks}
    return max(len(compact_json(each)) for each in texts.values())


def _started(plan: Plan, program: str, size: int, *arguments: str) -> Plan:
    """The plan with containers that are started as this program."""
    shared = Shared(program)
    for each in (each for each in plan.tasks if not each.importer):
        each.container.setdefault("command", ["python3", "-c", shared, *arguments])
    return replace(plan, size=size)


# --- tasks ------------------------------------------------------------------------------------------------------------


@dataclass
class _Planner:
    program: Program
    options: KubeflowOptions
    soft: frozenset[str] = frozenset()
    wiring: Wiring = field(init=False)
    outputs: dict[tuple[str, str], Channel] = field(default_factory=dict)
    units: dict[str, Unit] = field(default_factory=dict)
    inward: set[tuple[str, str]] = field(default_factory=set)  # the outputs that go into loops
    importers: dict[str, Importer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.soft = soft_units(self.program)
        self.wiring = Wiring(self.program.pipeline)
        self.modules = {module.name: module for module in self.program.pipeline.modules}
        self._carried: dict[str, Carried] = {}

    def steps(self) -> list[Step]:
        """Every task with a container."""
        program = self.program
        taken = {task_name(id_) for id_ in program.by_id}
        self.clock = self._own("run_start", taken) if program.pipeline.timeout is not None else None
        found = [self.clock] if self.clock else []
        if self.clock:
            self.clock.job = {"does": "start", "timeout": program.pipeline.timeout}
            self.clock.leaving.append(Channel("deadline", ARTIFACT))
            self.clock.channels["deadline"] = Channel("deadline", ARTIFACT)
        self._name_outputs()
        for unit in program.units:
            found += self._main(unit)
        found += self._at_the_end(taken)
        for step in self.wiring.added:
            step.job["inputs"] = {key: channel.declared for key, channel in step.arriving.items()}
        found += self.wiring.added
        for step in found:
            self._bound_lists(step)
        return found

    def _bound_lists(self, step: Step) -> None:
        """Has loops refuse more items than a task's command line has room for what they gave."""
        lists = {key: channel for key, channel in step.arriving.items() if channel.many}
        most = ROOM // (sum(map(_room_for, lists.values())) or 1)
        origins = {part["producerTask"] for key in lists for part in step.bound[key].values()}
        for loop in self.wiring.loops.values():
            if loop.name in origins:
                job = next(each.job for each in self.wiring.steps.values() if each.name == loop.items)
                job["most"] = min(most, job.get("most", most))

    def share_harness(self, steps: Iterable[Step]) -> Step:
        """The task that writes the harness, which it gives to all the others."""
        harness = self._own("harness", {step.name for step in steps})
        channel = Channel(entry.HARNESS, ARTIFACT)
        harness.leaving.append(channel)
        harness.settings = Settings(cache=any(step.settings.cache for step in steps))
        for step in (step for step in steps if not step.importer):
            self.wiring.hand_on(step, harness, channel)
        return harness

    def _own(self, base: str, taken: set[str]) -> Step:
        """A task of the backend's own, which no unit's name meets."""
        number = 1
        while task_name(node := base if number == 1 else f"{base}_{number}") in taken:
            number += 1
        step = Step(task_name(node), node, (), Settings(cache=False))
        self.wiring.steps[node] = step
        return step

    def _name_outputs(self) -> None:
        """Settles how everything travels: what goes into a loop as an artifact, which kfp.local brings there whole."""
        inward = self.inward
        for unit in self.program.units:
            for node, output in (*_values(unit), *self._outcomes(unit)):
                around = self.program.by_id[node].loops
                if len(unit.loops) > len(around) and unit.loops[: len(around)] == around:
                    inward.add((node, output))
        for unit in self.program.units:
            importer = importer_of(self.program, unit, self.options) if self._may_import(unit) else None
            if importer:
                self.importers[unit.id] = importer
        for unit in self.program.by_id.values():
            for each in unit.outputs:
                channel = self.importers[unit.id].output if unit.id in self.importers else output_channel(each)
                crosses = (unit.id, each.name) in inward and not channel.is_artifact
                is_many = unit.role == "rollback" and bool(unit.loops)
                self.outputs[unit.id, each.name] = Channel(channel.key, ARTIFACT) if crosses or is_many else channel
            kind = ARTIFACT if (unit.id, OUTCOME) in inward else STRING
            names = {output.name for output in unit.outputs}
            key = next(key for key in ("outcome", "its_outcome") if key not in names)
            self.outputs[unit.id, OUTCOME] = Channel(key, kind)

    def _outcomes(self, unit: Unit) -> list[tuple[str, str]]:
        """The soft units whose end decides whether a unit runs."""
        if unit.id not in self.soft:
            return []
        return [(node, OUTCOME) for node in self.program.waits_for(unit) if node in self.soft]

    def _main(self, unit: Unit) -> Iterator[Step]:
        step = self._step(unit, unit.loops)
        if unit.id in self.importers:
            step.importer = self.importers[unit.id].spec
            step.take(Channel(URI), self.importers[unit.id].bound)
        elif self._is_ordinary(unit):
            inputs = Inputs.of(self.program, unit, self.outputs)
            for channel in inputs.channels.values():
                step.take(channel, inputs.bound[channel.key])
            step.job = ordinary_job(self.program, unit, inputs, self.outputs)
        else:
            self._place(step, unit)
        for node in self.program.waits_for(unit):
            self.wiring.order(step, node)
        self._give(step, unit)
        yield step
        if unit.id in self.wiring.steps and step.guard:
            yield self._guard(step, unit)
        if isinstance(unit.node, LoopNode):
            name = task_name(f"{unit.id}.each")
            label = f"{unit.id}: each of {unit.node.text or 'its items'}"
            loop = Loop(name, label, unit.loops, step.name, unit.node.parallelism)
            loop.waits[step.ended] = None
            self.wiring.loops[unit.id] = loop

    def _step(self, unit: Unit, scope: Scope) -> Step:
        step = Step(task_name(unit.id), _label(unit), scope, unit.task.settings, source=self._source(unit.step))
        names = (OUTCOME, *(output.name for output in unit.outputs))
        step.channels = {name: self.outputs[unit.id, name] for name in names}
        self.wiring.steps[unit.id] = step
        self.units[step.name] = unit
        return step

    def _source(self, step: StepSpec) -> Carried:
        if step.id not in self._carried:
            self._carried[step.id] = carried([sliced(self.modules[reach.module], reach.names) for reach in step.reach])
        return self._carried[step.id]

    def _may_import(self, unit: Unit) -> bool:
        """Whether a unit runs exactly once, and may fail."""
        # Two importers without `reimport` may give the same artifact; see `_is_ordinary`.
        shares = unit.task.settings.cache and any((unit.id, each.name) in self.inward for each in unit.outputs)
        return not (shares or unit.loops or unit.arms or unit.id in self.soft)

    def _is_ordinary(self, unit: Unit) -> bool:
        """Whether a unit runs exactly once, on values that are there whenever it is started."""
        own = (LoopNode, Branch, Gate)
        if self.clock or unit.loops or unit.arms or unit.id in self.soft or isinstance(unit.node, own):
            return False
        if any((unit.id, each.name) in self.inward for each in unit.outputs):
            return False  # an equal task could be served the same artifact, which a DAG has by one name only
        plain = all(map(is_ordinary, unit.bindings)) and not unit.task.checks
        return plain and not any(self.program.can_be_skipped(self.program.by_id[n]) for n in self.program.data(unit))

    def _place(self, step: Step, unit: Unit) -> None:
        """The inputs and the job of a unit that stands in loops and branches, or ends in its own way."""
        sources = self._sources(step, (*_values(unit), *self._outcomes(unit)))
        more: dict[str, Any] = {"does": "step", "node": unit.id, "sources": sources}
        if step.scope:
            loop = self.wiring.loops[step.scope[-1]]
            step.take(Channel(INDEX), loop.index.of_component)
            more["index"] = INDEX
        if self.clock:
            more["deadline"] = self.wiring.value(step, self.clock.label, "deadline").key
        if unit.id in self.soft:
            more["soft"] = True
            step.settings = step.settings.model_copy(update={"cache": False})
        more |= self._about(unit, step)
        step.job = job_for(self.program, unit, step.arriving, self.outputs, **more)

    def _sources(self, step: Step, values: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
        return {self.wiring.value(step, node, output).key: [node, output] for node, output in dict.fromkeys(values)}

    def _about(self, unit: Unit, step: Step) -> dict[str, Any]:
        """What a job says of the pipeline's parameters, of its own end, and of where it stands."""
        for name in parameters_used(unit.task):
            step.take(*self.wiring.parameter(step.scope, name))
        job = job_of(self.program, unit)
        return {
            "arguments": _renamed(job["arguments"]),
            "parameters": {identifier(name): read_as(self.wiring.parameters[name]) for name in job["parameters"]},
            "outcome": self.outputs[unit.id, OUTCOME].key,
            **{key: _renamed(job[key]) for key in ("checks", "when", "after", "depths", "members") if key in job},
        }

    def _give(self, step: Step, unit: Unit) -> None:
        """The outputs of a unit's task."""
        step.leaving += [self.outputs[unit.id, output.name] for output in unit.outputs]
        has_gates = unit.step.id == CHECK or bool(unit.task.checks)
        shown = {"metrics": METRICS} if has_gates or "log_metric" in step.source.logs else {}
        if "log_metadata" in step.source.logs and not all(channel.is_artifact for channel in step.leaving):
            shown["metadata"] = ARTIFACT  # of outputs that are parameters, which have none themselves
        for name, type_ in shown.items():
            taken = {channel.key for channel in step.leaving}
            channel = Channel(next(key for key in (name, f"logged_{name}") if key not in taken), type_)
            step.job[name] = channel.key
            step.leaving.append(channel)
        if "outcome" in step.job:
            step.leaving.append(self.outputs[unit.id, OUTCOME])
        if isinstance(unit.node, LoopNode):
            step.job["listed"] = "Output"
            step.leaving.append(Channel("Output", LIST))
        if has_gates and unit.id not in self.soft:
            step.guard = task_name(f"{unit.id}.passed")

    def _guard(self, step: Step, unit: Unit) -> Step:
        """What fails in the place of a task whose gates are not passed, so that the task itself keeps its outputs."""
        guard = Step(step.guard, f"{unit.id}: are its gates passed?", step.scope, Settings(cache=False))
        channel = self.outputs[unit.id, OUTCOME]
        guard.take(channel, channel.of_task(step.name))
        guard.job = {"does": "guard", "node": unit.id, "inputs": {channel.key: channel.declared}}
        return guard

    def _at_the_end(self, taken: set[str]) -> Iterator[Step]:
        """What runs after all else: the pipeline's own, and what fails the run if a soft unit failed."""
        if not self.soft:
            return
        program = self.program
        status = self._own("run_status", taken)
        chosen = [(unit.id, OUTCOME) for unit in program.units if unit.id in self.soft]
        sources = self._sources(status, chosen)
        ends = (*program.rollbacks, *program.on_failure, *program.on_exit)
        status.job = {"does": "status", "pipeline": program.pipeline.name, "sources": sources}
        status.job |= {} if ends else {"fails": True}
        status.job["inputs"] = {key: channel.declared for key, channel in status.arriving.items()}
        status.channels["status"] = Channel("status", ARTIFACT)
        status.leaving.append(Channel("status", ARTIFACT))
        yield status
        before = status
        for unit in ends:
            step = self._end(unit, status)
            step.waits[before.name] = None
            yield step
            before = step
        if ends:
            yield self._verdict(status, ends, taken)

    def _end(self, unit: Unit, status: Step) -> Step:
        step = self._step(unit, ())
        more: dict[str, Any] = {"does": "end", "node": unit.id, "role": unit.role}
        more["status"] = self.wiring.value(step, status.label, "status").key
        more["sources"] = self._sources(step, _values(unit))
        if unit.role == "rollback":
            more |= {"parent": unit.node.id, "many": bool(unit.loops)}
        step.settings = step.settings.model_copy(update={"cache": False})
        more |= self._about(unit, step)
        step.job = job_for(self.program, unit, step.arriving, self.outputs, **more)
        self._give(step, unit)
        return step

    def _verdict(self, status: Step, ends: Iterable[Unit], taken: set[str]) -> Step:
        """Fails the run if anything failed, at its very end."""
        verdict = self._own("run_result", taken)
        key = self.wiring.value(verdict, status.label, "status").key
        sources = self._sources(verdict, [(unit.id, OUTCOME) for unit in ends])
        verdict.job = {"does": "result", "status": key, "sources": sources}
        verdict.job["inputs"] = {key: channel.declared for key, channel in verdict.arriving.items()}
        return verdict


INDEX = "loop--index"  # no parameter and no output is called so


def _values(unit: Unit) -> list[tuple[str, str]]:
    """The outputs that a unit may read, by node and output: decisions and the items of loops among them."""
    found = [] if unit.role == "rollback" else [(arm.branch, "holds") for arm in unit.arms]
    for binding in unit.bindings:
        for each in within(binding):
            if isinstance(each, OutputBinding):
                found.append((each.node, each.output))
            elif isinstance(each, ChoiceBinding):
                found.append((each.branch, "holds"))
            elif isinstance(each, ItemBinding):
                found.append((each.loop, "items"))
            elif isinstance(each, CollectBinding):
                found += [(each.loop, "items")] if each.loop else []
                found += [(arm.branch, "holds") for entry_ in each.entries for arm in entry_.when]
    return list(dict.fromkeys(found))


def _renamed(wire: Any) -> Any:
    """Bindings in which a parameter of the pipeline has the name that it has as an input."""
    if isinstance(wire, list):
        return [_renamed(each) for each in wire]
    if not isinstance(wire, dict) or wire.get("kind") == "literal":
        return wire
    if wire.get("kind") == "parameter":
        return {**wire, "name": identifier(wire["name"])}
    return {key: _renamed(value) for key, value in wire.items()}


def _room_for(channel: Channel) -> int:
    if channel.type in (METRICS, CURVES):
        return ROOM_FOR_SHOWN
    return ROOM_FOR_ARTIFACT if channel.is_artifact else ROOM_FOR_TEXT


def _label(unit: Unit) -> str:
    """What Kubeflow's page calls a unit: its id, and of a branch, a loop or a gate what its author wrote."""
    text = getattr(unit.node, "text", "") if unit.role == "main" else ""
    return f"{unit.id}: {text}".replace("{{", "{ {").replace("}}", "} }") if text else unit.id


# --- the engine's words -----------------------------------------------------------------------------------------------


class _Containers:
    """The containers of steps, without a command, and what their pods are asked for; equal ones are the same object."""

    def __init__(self, options: KubeflowOptions) -> None:
        self._options = options
        self._of_jobs: dict[tuple[Settings, Carried, str, str], tuple[dict[str, Any], dict[str, Any]]] = {}
        self._equal: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}

    def of(self, step: Step, task: Task | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """The container, and its pod's entry in the document for Kubernetes, of what calls a step, if anything does."""
        pod = self._options.pod_of(task)
        key = step.settings, step.source, "" if pod is NOTHING else pod.model_dump_json(), compact_json(step.job)
        if key not in self._of_jobs:
            job = {**step.job, **inward_of(step.settings, pod)}
            container = _container(step.settings, job, step.source, self._options)
            made = container, platform_of(step.settings, pod, self._options)
            self._of_jobs[key] = self._equal.setdefault(compact_json(made), made)
        return self._of_jobs[key]


def _planned(step: Step, unit: Unit | None, containers: _Containers) -> Planned:
    component = _component(step.arriving.values(), step.leaving)
    if step.importer:
        return Planned(unit, step.name, step.scope, _task_spec(step), component, {}, {}, step.importer)
    container, platform = containers.of(step, None if unit is None or unit.step.id in OWN else unit.task)
    return Planned(unit, step.name, step.scope, _task_spec(step), component, container, platform)


def _task_spec(step: Step) -> dict[str, Any]:
    given = _given(step.arriving, step.bound)
    return {
        "taskInfo": {"name": step.label},
        "componentRef": {"name": f"comp-{step.name}"},
        **({"inputs": given} if given else {}),
        **({"dependentTasks": list(step.waits)} if step.waits else {}),
        "cachingOptions": {"enableCache": True} if step.settings.cache else {},
    }


def _given(channels: Mapping[str, Channel], bound: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    given: dict[str, dict[str, Any]] = {}
    for key, channel in channels.items():
        given.setdefault(channel.side, {})[key] = bound[key]
    return given


def _component(arriving: Iterable[Channel], leaving: Iterable[Channel]) -> dict[str, Any]:
    component: dict[str, Any] = {}
    for definitions, channels in (("inputDefinitions", arriving), ("outputDefinitions", leaving)):
        for channel in channels:
            component.setdefault(definitions, {}).setdefault(channel.side, {})[channel.key] = channel.declaration
    return component


def _loop_id(program: Program, loop: Loop) -> str:
    return next(unit.id for unit in program.units if task_name(f"{unit.id}.each") == loop.name)


def _loop_task(loop: Loop) -> dict[str, Any]:
    items = Channel("Output", LIST).of_task(loop.items)
    given = _given({loop.listed.key: loop.listed, **loop.inputs}, {loop.listed.key: items, **loop.given})
    bound = {"iteratorPolicy": {"parallelismLimit": loop.parallelism}} if loop.parallelism else {}
    return {
        "taskInfo": {"name": loop.label.replace("{{", "{ {").replace("}}", "} }")},
        "componentRef": {"name": f"comp-{loop.name}"},
        "inputs": given,
        "dependentTasks": list(loop.waits),
        "parameterIterator": {"itemInput": loop.index.key, "items": {"inputParameter": loop.listed.key}},
        **bound,
    }


def _loop_component(loop: Loop, tasks: dict[str, Any]) -> dict[str, Any]:
    leaving = [channel for channel, _ in loop.outputs.values()]
    dag: dict[str, Any] = {"tasks": tasks}
    for key, (channel, selector) in loop.outputs.items():
        dag.setdefault("outputs", {}).setdefault(channel.side, {})[key] = selector
    return {**_component([loop.listed, loop.index, *loop.inputs.values()], leaving), "dag": dag}


def _container(settings: Settings, job: Mapping[str, Any], source: Carried, options: KubeflowOptions) -> dict[str, Any]:
    """A container without its command."""
    env = [{"name": name, "value": value} for name, value in settings.env if not entry.has_mark(value)]
    resources = resources_of(settings.resources)
    return {
        "image": settings.image or options.base_image,
        **({"env": env} if env else {}),
        **({"resources": resources} if resources else {}),
        "args": ["{{$}}", job_text({**job, **source.told}), *source.texts],
    }
