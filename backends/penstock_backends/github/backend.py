"""A spec to a GitHub Actions workflow and its program."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from penstock.backend import Backend, Files, Options, Pass, Support, emulated, native
from penstock.diagnostics import Diagnostic
from penstock.settings import size_text
from penstock.spec import Feature, PipelineSpec, RetrySpec, Settings, StepSpec, Task, location_of, tasks
from penstock_backends.github import actions
from penstock_backends.github.cron import cron_problem
from penstock_backends.github.inputs import LONGEST_INPUTS, MOST_INPUTS, Input, input_of, one_line
from penstock_backends.github.names import input_ids, job_id
from penstock_backends.github.options import GithubOptions, Runner
from penstock_backends.github.text import comment, workflow_text
from penstock_backends.lowering import (
    arguments_of,
    dependencies,
    flatten_groups,
    kind_of,
    predecessors,
    requirements_of,
    step_part,
)
from penstock_backends.rendering import embedded_harness, header, python_template

LARGEST_FILE = 500_000  # bytes; GitHub's 50,000 YAML nodes are not reached before
SETUP_MINUTES = 15  # what checking out, installing, and moving files may add to the time of the step itself

_SUPPORTS: Mapping[Feature, Support] = MappingProxyType({
    Feature.DATA_EDGES: native("`needs`, and an artifact of the run for each job's outputs"),
    Feature.PARAMETERS: native("inputs of `workflow_dispatch`; a scheduled run takes the defaults"),
    Feature.ARTIFACTS: native("artifacts of the run, as tar files so that modes, links and empty folders survive"),
    Feature.NAMED_OUTPUTS: native(),
    Feature.COLLECTED_INPUTS: native("the job fetches the outputs of each job that it collects from"),
    Feature.FIELD_ACCESS: emulated("the program reads the field from the whole value"),
    Feature.AFTER: native("`needs`"),
    Feature.NESTED_PIPELINES: emulated("flattened: a job per step, named after its place (`outer.inner`)"),
    Feature.RETRY: emulated("the program tries again within the job; GitHub has no retry of its own"),
    Feature.TIMEOUT: emulated("the program ends the attempt; `timeout-minutes` stands behind it"),
    Feature.RESOURCES: emulated("the job gets the first configured runner that is large enough, or is refused"),
    Feature.ENV: emulated("the program sets them for the step alone, so that no mark in them is evaluated"),
    Feature.PACKAGES: native("installed by pip in the job"),
    Feature.IMAGE: native("`container`; the image must hold bash, Python 3.9 or newer, and pip if there are packages"),
    Feature.CACHE: emulated("a permission to reuse, of which no use is made: each run computes everything anew"),
    Feature.METRICS: native("a table in the job's summary, and in its result"),
    Feature.SCHEDULE: native("`schedule`, with its time zone"),
})  # fmt: skip


@dataclass(frozen=True)
class Fetch:
    """The outputs that a job downloads: by ``name`` where it is one, else by ``pattern``."""

    key: str
    value: str


@dataclass(frozen=True)
class Job:
    """A job of the workflow, ready to be written."""

    id: str
    name: str
    needs: tuple[str, ...]
    labels: str | tuple[str, ...]
    image: str
    minutes: int
    requirements: tuple[str, ...]
    fetch: Fetch | None
    python: str
    run: str
    keeps: bool


class GithubBackend(Backend):
    """A workflow with a job per step, and a program that the jobs run.

    ``.github/workflows/NAME.yml`` says what runs when and where; ``.github/penstock/NAME.py`` holds the steps.
    """

    name: ClassVar[str] = "github"
    supports: ClassVar[Mapping[Feature, Support]] = _SUPPORTS
    passes: ClassVar[tuple[Pass, ...]] = (flatten_groups,)
    options: ClassVar[type[Options]] = GithubOptions

    def emit(self, pipeline: PipelineSpec, options: GithubOptions) -> Files:
        """The workflow and its program."""
        stem = job_id(pipeline.name)
        program = f".github/penstock/{stem}.py"
        return {
            f".github/workflows/{stem}.yml": _workflow(pipeline, options, program),
            program: _program(pipeline, options),
        }

    def limits(self, pipeline: PipelineSpec, options: GithubOptions) -> Iterable[Diagnostic]:
        """What GitHub would not take: too many or too large inputs, jobs that no runner can hold, a large file."""
        yield from _limits_of_inputs(pipeline)
        yield from _limits_of_schedule(pipeline)
        without_runner = [problem for task in tasks(pipeline.body) for problem in _without_runner(task, options)]
        yield from without_runner
        if not without_runner:
            yield from _limits_of_size(pipeline, options)


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


def _limits_of_schedule(pipeline: PipelineSpec) -> Iterator[Diagnostic]:
    if pipeline.schedule is None:
        return
    where = location_of(pipeline.span)
    problem = cron_problem(pipeline.schedule.cron)
    if problem:
        message = f"the schedule `{pipeline.schedule.cron}` of `{pipeline.name}`: {problem}"
        yield Diagnostic("P545", message, where, "write it as GitHub takes it, or start the workflow by other means")
    required = [parameter.name for parameter in pipeline.parameters if parameter.required]
    if required:
        names = ", ".join(f"`{name}`" for name in required)
        message = f"`{pipeline.name}` has a schedule, but a scheduled run has no value for {names}"
        yield Diagnostic("P542", message, where, "give each parameter a default")


def _without_runner(task: Task, options: GithubOptions) -> Iterator[Diagnostic]:
    resources, seconds = task.settings.resources, _longest(task.settings)
    if options.runner(resources, seconds) is not None:
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


def _limits_of_size(pipeline: PipelineSpec, options: GithubOptions) -> Iterator[Diagnostic]:
    size = len(_workflow(pipeline, options, f".github/penstock/{job_id(pipeline.name)}.py").encode())
    if size > LARGEST_FILE:
        jobs = f"{len(pipeline.body)} jobs"
        message = f"the workflow of `{pipeline.name}` ({jobs}) would be {size:,} bytes; GitHub takes {LARGEST_FILE:,}"
        fix = "do more in one step, or divide the pipeline into several"
        yield Diagnostic("P544", message, location_of(pipeline.span), fix)


# --- the workflow -----------------------------------------------------------------------------------------------------


def _workflow(pipeline: PipelineSpec, options: GithubOptions, program: str) -> str:
    steps = {step.id: step for step in pipeline.steps}
    return workflow_text(
        header=[*header(pipeline, "github", options), *_paragraph(pipeline.description)],
        name=one_line(pipeline.name),
        inputs=list(_inputs(pipeline).values()),
        schedule=pipeline.schedule,
        retention_days=options.retention_days,
        python_version=options.python_version,
        jobs=[_job(task, steps[task.step], options, program) for task in tasks(pipeline.body)],
        checkout=actions.CHECKOUT,
        setup_python=actions.SETUP_PYTHON,
        upload_artifact=actions.UPLOAD_ARTIFACT,
        download_artifact=actions.DOWNLOAD_ARTIFACT,
    )


def _paragraph(text: str) -> list[str]:
    return ["", *text.splitlines()] if text else []


def _inputs(pipeline: PipelineSpec) -> dict[str, Input]:
    """The inputs, by the name of their parameter."""
    ids = input_ids(tuple(parameter.name for parameter in pipeline.parameters))
    return {parameter.name: input_of(ids[parameter.name], parameter) for parameter in pipeline.parameters}


def _job(task: Task, step: StepSpec, options: GithubOptions, program: str) -> Job:
    seconds = _longest(task.settings)
    runner = options.runner(task.settings.resources, seconds)
    if runner is None:
        raise ValueError(f"no runner for {task.id}")  # `limits` comes before
    id_ = job_id(task.id)
    python = "python3" if task.settings.image else "python"
    return Job(
        id=id_,
        name=task.id,
        needs=tuple(job_id(node) for node in predecessors(task)),
        labels=runner.labels[0] if len(runner.labels) == 1 else runner.labels,
        image=task.settings.image,
        minutes=_minutes(seconds, runner),
        requirements=requirements_of(step, task.settings),
        fetch=_fetch([job_id(node) for node in dependencies(task)]),
        python=python,
        run=f"{python} -u {program} run {id_}",
        keeps=bool(step.outputs),
    )


def _fetch(jobs: list[str]) -> Fetch | None:
    if not jobs:
        return None
    return Fetch("name", jobs[0]) if len(jobs) == 1 else Fetch("pattern", f"{{{','.join(jobs)}}}")


def _longest(settings: Settings) -> float:
    """Seconds that all attempts and the delays between them may take; 0 where no timeout bounds them."""
    if settings.timeout is None:
        return 0.0
    retry = settings.retry or RetrySpec(max_retries=0)
    most = math.inf if retry.max_delay is None else retry.max_delay
    delays = (min(retry.delay * retry.backoff**k, most) * (1 + retry.jitter) for k in range(retry.max_retries))
    return settings.timeout * (1 + retry.max_retries) + sum(delays)


def _minutes(seconds: float, runner: Runner) -> int:
    return min(math.ceil(seconds / 60) + SETUP_MINUTES, runner.minutes) if seconds else runner.minutes


# --- the program ------------------------------------------------------------------------------------------------------


def _program(pipeline: PipelineSpec, options: GithubOptions) -> str:
    return python_template(
        "github_program.py.jinja",
        header=[comment(line) for line in header(pipeline, "github", options)],
        modules={module.name: module.text for module in pipeline.modules},
        parameters=_parameters(pipeline),
        steps={step.id: step_part(step) for step in pipeline.steps},
        jobs={job_id(task.id): _entry(task) for task in tasks(pipeline.body)},
        harness=embedded_harness(),
    )


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


def _entry(task: Task) -> dict[str, Any]:
    """A job as the program has it in its table; what is not asked for is left out."""
    settings = task.settings
    entry = {
        "node": task.id,
        "step": task.step,
        "arguments": arguments_of(task),
        "inputs": {node: job_id(node) for node in dependencies(task)},
        "retry": settings.retry.model_dump() if settings.retry else {},
        "timeout": settings.timeout,
        "env": dict(settings.env),
    }
    return {key: value for key, value in entry.items() if value or key == "arguments"}
