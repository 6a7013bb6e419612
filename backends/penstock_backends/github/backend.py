"""A spec to a GitHub Actions workflow and its program."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from penstock.backend import Backend, Definition, Files, Options, Support, emulated, native, unsupported
from penstock.deployment import Deployment, DeployOptions
from penstock.diagnostics import Diagnostic
from penstock.graph import arrows, marks_of, mermaid
from penstock.settings import size_text
from penstock.spec import GIVE, Feature, Loop, PipelineSpec, Task, location_of
from penstock_backends import reuse
from penstock_backends.alerting import with_alert
from penstock_backends.emptiness import nothing_to_run
from penstock_backends.github import actions
from penstock_backends.github.anchors import NOTE, nodes_of, written_once
from penstock_backends.github.caching import cached_part, takes_from_cache
from penstock_backends.github.conditions import FAILED
from penstock_backends.github.deploy_options import GithubDeployOptions
from penstock_backends.github.inputs import LONGEST_INPUTS, MOST_INPUTS, Input, input_of, one_line
from penstock_backends.github.jobs import (
    LONGEST_EXPRESSION,
    SHOW,
    START,
    TELL,
    Job,
    by_the_program,
    every_unit,
    jobs_of,
    longest,
    sources,
)
from penstock_backends.github.names import input_ids, job_id
from penstock_backends.github.options import GithubOptions
from penstock_backends.github.text import comment, workflow_text
from penstock_backends.github.triggers import Events, events_of, group, limits_of_triggers, meant
from penstock_backends.lowering import (
    Program,
    Unit,
    arguments_of,
    kind_of,
    outputs_of,
    program_of,
    standing_of,
)
from penstock_backends.rendering import embedded, embedded_harness, header, python_template
from penstock_backends.step_options import unknown_steps

LONGEST_GRAPH, MOST_ARROWS = 50_000, 500  # characters and arrows that Mermaid draws on GitHub
LARGEST_FILE, MOST_NODES = 510_000, 50_000  # bytes, of 512,000; and see `nodes_of`
FEW_NODES = 300_000  # bytes, which never hold as many nodes

_SUPPORTS: Mapping[Feature, Support] = MappingProxyType({
    Feature.DATA_EDGES: native("`needs`, and an artifact of the run for each job's outputs"),
    Feature.PARAMETERS: native("inputs of `workflow_dispatch`; a run that no person starts takes the defaults"),
    Feature.ARTIFACTS: native("artifacts of the run, as tar files so that modes, links and empty folders survive"),
    Feature.NAMED_OUTPUTS: native(),
    Feature.COLLECTED_INPUTS: native("the job fetches the outputs of each job that it collects from"),
    Feature.FIELD_ACCESS: emulated("the program reads the field from the whole value"),
    Feature.AFTER: native("`needs`"),
    Feature.NESTED_PIPELINES: emulated("flattened: a job per step, named after its place (`outer.inner`)"),
    Feature.CONDITIONS: native("a job decides, and `if` of the others names its output and the jobs that must succeed"),
    Feature.LOOPS: native("a job lists the items, and a matrix has a job for each; for more than 256, one for several"),
    Feature.NESTED_LOOPS: emulated("one matrix over all items of all inner lists"),
    Feature.LOOP_PARALLELISM: emulated("`max-parallel`, and the jobs of the loop's steps one after the other"),
    Feature.GATES: emulated("a job that fails, with value, bound and verdict in its summary"),
    Feature.ON_FAILURE: native("a job after all others, with an `if` on their results"),
    Feature.ON_EXIT: native("a job after all others, with `if: always()`"),
    Feature.ROLLBACK: emulated("jobs after all others, newest first; one for all items of a loop"),
    Feature.PIPELINE_TIMEOUT: emulated("a first job notes the time, and each later one ends when it is up"),
    Feature.RETRY: emulated("the program tries again within the job; GitHub has no retry of its own"),
    Feature.TIMEOUT: emulated("the program ends the attempt; `timeout-minutes` stands behind it"),
    Feature.RESOURCES: emulated("the job gets the first configured runner that is large enough, or is refused"),
    Feature.QUOTAS: unsupported(
        "a concurrency group holds one job, so it counts nothing",
        "leave `quotas` out, and bound the loop around the steps (`parallelism`)",
    ),
    Feature.PRIORITY: unsupported("runners take jobs in the order in which they are queued", "leave `priority` out"),
    Feature.ENV: emulated("the program sets them for the step alone, so that no mark in them is evaluated"),
    Feature.SCHEDULE_START: unsupported(
        "a schedule is on from when its workflow is on the default branch",
        "leave `start` out, and merge the workflow when it is to begin",
    ),
    Feature.CATCH_UP: unsupported("GitHub starts no run for a time that has passed", "leave `catch_up` out"),
    Feature.PUSH: native("`push`, by branches and paths; not by tags"),
    Feature.PULL_REQUEST: native("`pull_request`, by branches and paths"),
    Feature.AFTER_PIPELINE: native("`workflow_run`, and an `if` on how that run ended; not those of pull requests"),
    Feature.DATA_CHANGE: native("`repository_dispatch`, an event called by the URI that is sent to the repository"),
    Feature.UPDATES: emulated("a last job, with a permission of its own, sends the events of `repository_dispatch`"),
    Feature.CONCURRENCY: native("`concurrency`, where `queue: max` lets 100 runs wait"),
    Feature.SEVERAL_RUNS: unsupported(
        "a concurrency group holds one run",
        "set `concurrency=1`, which is what is left of it with permission, or leave it out",
    ),
    Feature.CANCEL_RUNNING: native("`cancel-in-progress`"),
    Feature.SECRETS: native("`secrets`, in the environment of the step that runs the author's; logs and errors masked"),
    Feature.PACKAGES: native("installed by pip in the job"),
    Feature.IMAGE: native("`container`; the image must hold bash, Python 3.9 or newer, and pip if there are packages"),
    Feature.CACHE: emulated("with the option `cache`, by `actions/cache` by code and inputs; else nothing is reused"),
    Feature.EXISTING: emulated("a job that fetches it, by HTTP or fsspec, and hands it on as an artifact"),
    Feature.METRICS: native("a table in the job's summary, and in its result"),
    Feature.METADATA: native("a table in the job's summary, and in its result"),
    Feature.SCHEDULE: native("`schedule`, with its time zone"),
})  # fmt: skip


class GithubBackend(Backend):
    """A workflow with a job per step, and a program that the jobs run.

    ``.github/workflows/NAME.yml`` says what runs when and where; ``.github/penstock/NAME.py`` holds the steps.
    """

    name: ClassVar[str] = "github"
    supports: ClassVar[Mapping[Feature, Support]] = _SUPPORTS
    options: ClassVar[type[Options]] = GithubOptions
    deploy_options: ClassVar[type[DeployOptions]] = GithubDeployOptions

    def emit(self, pipeline: PipelineSpec, options: GithubOptions) -> Files:
        """The workflow and its program."""
        stem = job_id(pipeline.name)
        program, file = program_of(pipeline), _file(pipeline)
        return {
            f".github/workflows/{stem}.yml": _workflow(program, options, list(jobs_of(program, options, file))),
            file: _program(program, options),
        }

    def deployment(
        self, definition: Definition, options: GithubOptions, deploy_options: GithubDeployOptions
    ) -> Deployment:
        """The files in a git repository; see `penstock.deployment.Deployer`."""
        from penstock_backends.github.deploy import deployment_of  # noqa: PLC0415  # compiling needs none of it

        return deployment_of(definition.spec, deploy_options, definition.source)

    def prepared(self, pipeline: PipelineSpec, options: GithubOptions) -> PipelineSpec:
        """The pipeline with the alert that the options ask for."""
        return with_alert(pipeline, options.alert, "GitHub")

    def limits(self, pipeline: PipelineSpec, options: GithubOptions) -> Iterable[Diagnostic]:
        """What GitHub would not take: too large inputs, conditions and files, jobs that no runner can hold."""
        yield from nothing_to_run(pipeline, "GitHub")
        yield from _limits_of_inputs(pipeline)
        yield from limits_of_triggers(pipeline)
        yield from unknown_steps(pipeline, options.steps, self.name)
        program = program_of(pipeline)
        yield from (problem for unit in every_unit(program) for problem in _without_image(unit.task, options))
        yield from _limits_of_graph(pipeline, options)
        without_runner = [problem for unit in every_unit(program) for problem in _without_runner(unit.task, options)]
        yield from without_runner
        if not without_runner and not any(limits_of_triggers(pipeline)):
            yield from _limits_of_size(program, options)


# --- what GitHub would not take ---------------------------------------------------------------------------------------


def _limits_of_inputs(pipeline: PipelineSpec) -> Iterator[Diagnostic]:
    where = location_of(pipeline.span)
    count = len(pipeline.parameters)
    if count > MOST_INPUTS:
        message = f"`{pipeline.name}` has {count} parameters; GitHub takes at most {MOST_INPUTS} inputs"
        yield Diagnostic("P540", message, where, "put parameters that belong together into a dataclass")
    shown = {each.id: len(str(each.default)) for each in _inputs(pipeline).values() if each.default is not None}
    if sum(shown.values()) > LONGEST_INPUTS:
        largest = max(shown, key=shown.__getitem__)
        message = (
            f"the defaults of `{pipeline.name}` are {sum(shown.values()):,} characters long (`{largest}` alone "
            f"{shown[largest]:,}); GitHub takes inputs of {LONGEST_INPUTS:,} together"
        )
        yield Diagnostic("P541", message, where, "make the large default a constant that a step reads")


def _limits_of_graph(pipeline: PipelineSpec, options: GithubOptions) -> Iterator[Diagnostic]:
    if not options.graph:
        return
    size, count = len(_graph(pipeline)), len(list(arrows(pipeline.body)))
    if size > LONGEST_GRAPH or count > MOST_ARROWS:
        message = (
            f"the graph of `{pipeline.name}` would be {size:,} characters and {count} arrows; GitHub draws "
            f"{LONGEST_GRAPH:,} and {MOST_ARROWS}"
        )
        yield Diagnostic("P551", message, location_of(pipeline.span), "leave the option `graph` out")


def _without_image(task: Task, options: GithubOptions) -> Iterator[Diagnostic]:
    asked = options.step(task)
    if (asked.container or asked.registry) and not task.settings.image:
        message = f"the configuration of github speaks of the container of `{task.id}`, which has no image"
        yield Diagnostic("P549", message, location_of(task.span), "give the step an `image`, or leave the option out")


def _without_runner(task: Task, options: GithubOptions) -> Iterator[Diagnostic]:
    resources, seconds = task.settings.resources, longest(task.settings)
    if options.runner(task, seconds) is not None:
        return
    asked = [] if resources is None else [
        f"{resources.cpu:g} cores" if resources.cpu else "",
        f"{size_text(resources.memory)} of memory" if resources.memory else "",
        f"{resources.gpu} GPU {resources.gpu_type}".rstrip() if resources.gpu else "",
    ]  # fmt: skip
    asked.append(f"up to {seconds / 3600:.3g} hours for all attempts" if seconds else "")
    message = f"`{task.id}` asks for {', '.join(filter(None, asked))}, which no configured GitHub runner offers"
    fix = "name one under [[tool.penstock.github.runners]] (labels, cpu, memory_gib, gpu, minutes), or ask for less"
    yield Diagnostic("P543", message, location_of(task.span), fix)


def _limits_of_size(program: Program, options: GithubOptions) -> Iterator[Diagnostic]:
    pipeline = program.pipeline
    jobs = list(jobs_of(program, options, _file(pipeline)))
    size, nodes = _size(program, options, jobs)
    if size > LARGEST_FILE or nodes > MOST_NODES:
        told = f"be {size:,} bytes; GitHub takes {LARGEST_FILE:,}"
        if size <= LARGEST_FILE:
            told = f"have {nodes:,} nodes of YAML; GitHub takes {MOST_NODES:,}"
        message = f"the workflow of `{pipeline.name}` ({len(jobs)} jobs) would {told}"
        fix = (
            "loop over a list that is known only when the pipeline runs, which is one job for all items; do more in "
            "one step; or divide the pipeline into several"
        )
        yield Diagnostic("P544", message, location_of(pipeline.span), fix)
    for job, unit in zip(jobs, every_unit(program), strict=True):
        what, length = max(_expressions(job), key=lambda each: each[1])
        if length > LONGEST_EXPRESSION:
            message = f"{what} `{unit.id}` would be {length:,} characters long; GitHub takes {LONGEST_EXPRESSION:,}"
            fix = "let it depend on fewer steps that may be skipped or are in the same loop, or do more in one step"
            yield Diagnostic("P546", message, location_of(unit.task.span), fix)


def _expressions(job: Job) -> Iterator[tuple[str, int]]:
    """What is evaluated as a whole, with how long it is."""
    yield "the condition of", max(map(len, (job.condition, *(value for _, value in job.env))))
    if job.fetch and "${{" in job.fetch.value:
        yield "the names of what is fetched for", len(job.fetch.value)


# --- the workflow -----------------------------------------------------------------------------------------------------


def _workflow(program: Program, options: GithubOptions, jobs: Sequence[Job]) -> str:
    text = _written(program, options, jobs)
    return text if len(text.encode()) <= LARGEST_FILE else written_once(_written(program, options, jobs, alike=True))


def _size(program: Program, options: GithubOptions, jobs: Sequence[Job]) -> tuple[int, int]:
    """The bytes of the workflow, and its nodes; these are 0 where they are few."""
    text = _written(program, options, jobs)
    if len(text.encode()) <= LARGEST_FILE:
        return len(text.encode()), nodes_of(text) if len(text) > FEW_NODES else 0
    text = _written(program, options, jobs, alike=True)
    return len(written_once(text).encode()), nodes_of(text)


def _written(program: Program, options: GithubOptions, jobs: Sequence[Job], *, alike: bool = False) -> str:
    """The workflow without anchors; with ``alike``, its jobs keep their outputs by a step that is the same in all."""
    pipeline = program.pipeline
    events = events_of(pipeline)
    note = ["", NOTE] if alike else []
    return workflow_text(
        header=[*header(pipeline, "github", options), *_paragraph(pipeline.description), *note],
        alike=alike,
        name=one_line(pipeline.name),
        inputs=list(_inputs(pipeline).values()),
        schedule=pipeline.schedule,
        events=events,
        group=group(pipeline, events),
        concurrency=pipeline.concurrency,
        start=START if pipeline.timeout else "",
        meant=meant(events),
        show=SHOW if options.graph else "",
        program=_file(pipeline),
        tell=TELL if pipeline.updates else "",
        ended=_ended(events),
        updates=[json.dumps({"event_type": uri}) for uri in pipeline.updates],
        labels=options.runs_on,
        retention_days=options.retention_days,
        python_version=options.python_version,
        jobs=jobs,
        checkout=options.action(actions.CHECKOUT),
        setup_python=options.action(actions.SETUP_PYTHON),
        upload_artifact=options.action(actions.UPLOAD_ARTIFACT),
        download_artifact=options.action(actions.DOWNLOAD_ARTIFACT),
        cache=options.action(actions.CACHE),
    )


def _ended(events: Events) -> str:
    """Where a run has come to its end and nothing failed; one for a fork's pull request may tell nobody."""
    terms = ["!cancelled()", f"!{FAILED}"]
    if events.pull_request is not None:
        terms.append("!github.event.pull_request.head.repo.fork")
    return " &&\n".join([*terms, *filter(None, [meant(events)])])


def _file(pipeline: PipelineSpec) -> str:
    """Where the program of a pipeline stands."""
    return f".github/penstock/{job_id(pipeline.name)}.py"


def _paragraph(text: str) -> list[str]:
    return ["", *text.splitlines()] if text else []


def _inputs(pipeline: PipelineSpec) -> dict[str, Input]:
    """The inputs, by the name of their parameter."""
    ids = input_ids(tuple(parameter.name for parameter in pipeline.parameters))
    return {parameter.name: input_of(ids[parameter.name], parameter) for parameter in pipeline.parameters}


# --- the program ------------------------------------------------------------------------------------------------------


def _program(program: Program, options: GithubOptions) -> str:
    pipeline = program.pipeline
    units = every_unit(program)
    return python_template(
        "github_program.py.jinja",
        header=[comment(line) for line in header(pipeline, "github", options)],
        modules={module.name: module.text for module in pipeline.modules},
        parameters=_parameters(pipeline),
        steps=program.parts,
        jobs={job_id(unit.id): _entry(program, unit, options) for unit in units},
        cached=any(takes_from_cache(unit, options) for unit in units),
        reuse=embedded(reuse).strip(),
        graph=_graph(pipeline) if options.graph else "",
        marks={job_id(node): mark for node, mark in marks_of(pipeline).items() if node in program.by_id},
        pipeline=pipeline.name,
        has_metadata=any("log_metadata" in module.text for module in pipeline.modules),
        returns=next((unit.id for unit in program.units if unit.step.id == GIVE), ""),
        timeout=pipeline.timeout,
        harness=embedded_harness(),
    )


def _graph(pipeline: PipelineSpec) -> str:
    """The graph as Mermaid, in which nothing ends the block that it stands in."""
    return mermaid(pipeline).replace("`", "&#96;")


def _parameters(pipeline: PipelineSpec) -> dict[str, dict[str, Any]]:
    inputs = _inputs(pipeline)
    table: dict[str, dict[str, Any]] = {}
    for parameter in pipeline.parameters:
        entry: dict[str, Any] = {"input": inputs[parameter.name].id, "type": kind_of(parameter.type)}
        if inputs[parameter.name].quoted:
            entry["quoted"] = True
        if inputs[parameter.name].shown:
            entry["shown"] = inputs[parameter.name].shown
        if not parameter.required:
            entry["default"] = parameter.default
        table[parameter.name] = entry
    return table


def _entry(program: Program, unit: Unit, options: GithubOptions) -> dict[str, Any]:
    """A unit as the program has it in its table; what is not asked for is left out."""
    settings = unit.task.settings
    arms, awaited = by_the_program(program, unit)
    standing = standing_of(program, unit) | {
        "when": [arm.model_dump(mode="json") for arm in arms],
        "after": [list(each) for each in awaited],
    }
    entry = {
        "node": unit.id,
        "step": unit.task.step,
        **cached_part(program, unit, options),
        "arguments": arguments_of(unit.task),
        "inputs": {node: job_id(node) for node in sources(program, unit)},
        "role": "" if unit.role == "main" else unit.role,
        "undoes": unit.node.id if unit.role == "rollback" else "",
        "loops": list(unit.loops),
        **standing,
        "retry": settings.retry.model_dump() if settings.retry else {},
        "timeout": settings.timeout,
        "env": dict(settings.env),
        "secrets": {variable: options.secret_name(reference) for variable, reference in settings.secrets},
    }
    if isinstance(unit.node, Loop) and unit.role == "main":
        entry["outputs"] = outputs_of(unit)
    return {key: value for key, value in entry.items() if value or key == "arguments"}
