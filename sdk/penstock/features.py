"""Which features a pipeline asks for, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from penstock.diagnostics import Location
from penstock.spec import (
    Binding,
    Branch,
    CollectBinding,
    Feature,
    Gate,
    Group,
    Loop,
    MappingBinding,
    Node,
    OutputBinding,
    ParameterBinding,
    PipelineSpec,
    PipelineTrigger,
    PullRequestTrigger,
    PushTrigger,
    SequenceBinding,
    Settings,
    StepSpec,
    Task,
    bindings_of,
    bodies,
    location_of,
    takes_what_exists,
    within,
)


@dataclass(frozen=True)
class Use:
    """A feature that is asked for; ``said`` is how a message names the occurrence."""

    feature: Feature
    said: str
    location: Location | None


def features_of(pipeline: PipelineSpec) -> Iterator[Use]:
    """Every use of every feature, in the author's order."""
    top = location_of(pipeline.span)
    for parameter in pipeline.parameters:
        yield Use(Feature.PARAMETERS, f"parameter `{parameter.name}`", top)
    yield from (Use(feature, said, top) for feature, said in _of_starts(pipeline))
    if pipeline.timeout is not None:
        yield Use(Feature.PIPELINE_TIMEOUT, f"the pipeline's timeout of {pipeline.timeout:g} s", top)
    for feature, ending in ((Feature.ON_FAILURE, pipeline.on_failure), (Feature.ON_EXIT, pipeline.on_exit)):
        for task in ending:
            yield Use(feature, f"`{task.id}`", location_of(task.span))
            yield from _of_task(task, pipeline.step(task))
    yield from _of_body(pipeline, pipeline.body, in_loop=False)


def _of_starts(pipeline: PipelineSpec) -> Iterator[tuple[Feature, str]]:
    """What decides when runs start, and how many there may be."""
    schedule, concurrency = pipeline.schedule, pipeline.concurrency
    if schedule is not None:
        yield Feature.SCHEDULE, f"the schedule `{schedule.cron}`"
        if schedule.start:
            yield Feature.SCHEDULE_START, f"the schedule's start, {schedule.start}"
        if schedule.catch_up:
            yield Feature.CATCH_UP, "the schedule's catching up"
    for trigger in pipeline.triggers:
        if isinstance(trigger, PushTrigger):
            yield Feature.PUSH, "the trigger by pushes"
        elif isinstance(trigger, PullRequestTrigger):
            yield Feature.PULL_REQUEST, "the trigger by pull requests"
        elif isinstance(trigger, PipelineTrigger):
            yield Feature.AFTER_PIPELINE, f"the trigger by pipeline `{trigger.pipeline}`"
        else:
            yield Feature.DATA_CHANGE, f"the trigger by the data `{trigger.uri}`"
    for uri in pipeline.updates:
        yield Feature.UPDATES, f"that it updates the data `{uri}`"
    if concurrency is not None:
        runs = "1 run" if concurrency.limit == 1 else f"{concurrency.limit} runs"
        yield Feature.CONCURRENCY, f"the bound of {runs} at a time"
        if concurrency.limit > 1:
            yield Feature.SEVERAL_RUNS, f"{runs} at a time"
        if concurrency.cancel_running:
            yield Feature.CANCEL_RUNNING, "that a new run ends the one under way"


def _of_body(pipeline: PipelineSpec, body: tuple[Node, ...], *, in_loop: bool) -> Iterator[Use]:
    for node in body:
        where = location_of(node.span)
        if node.after:
            yield Use(Feature.AFTER, f"`after` of `{node.id}`", where)
        if isinstance(node, Group):
            yield Use(Feature.NESTED_PIPELINES, f"nested pipeline `{node.id}`", where)
        elif isinstance(node, Branch):
            yield Use(Feature.CONDITIONS, f"the condition `{node.text}`", where)
        elif isinstance(node, Gate):
            yield Use(Feature.GATES, f"the gate `{node.text}`", where)
        elif isinstance(node, Loop):
            yield Use(Feature.NESTED_LOOPS if in_loop else Feature.LOOPS, f"the loop over `{node.text}`", where)
            if node.parallelism is not None:
                yield Use(Feature.LOOP_PARALLELISM, f"the bound on the loop over `{node.text}`", where)
        else:
            yield from _of_task(node, pipeline.step(node))
            if node.rollback is not None:
                yield Use(Feature.ROLLBACK, f"the rollback of `{node.id}`", where)
                yield from _of_task(node.rollback, pipeline.step(node.rollback))
        for inner in bodies(node):
            yield from _of_body(pipeline, inner, in_loop=in_loop or isinstance(node, Loop))


def _of_task(task: Task, step: StepSpec) -> Iterator[Use]:
    where = location_of(task.span)
    for name, binding in bindings_of(task):
        for feature in _of_binding(binding):
            yield Use(feature, f"input `{name}` of `{task.id}`" if name else f"a gate of `{task.id}`", where)
    if task.checks:
        yield Use(Feature.GATES, f"the gates of `{task.id}`", where)
    if len(step.outputs) > 1 or step.returns.kind in ("namedtuple", "dataclass", "tuple"):
        yield Use(Feature.NAMED_OUTPUTS, f"the outputs of `{task.id}`", where)
    for output in step.outputs:
        if output.type.is_artifact:
            yield Use(Feature.ARTIFACTS, f"output `{output.name}` of `{task.id}`", where)
    if takes_what_exists(step):
        yield Use(Feature.EXISTING, f"what exists for `{task.id}`", where)
    if any("log_metric" in reach.names for reach in step.reach):
        yield Use(Feature.METRICS, f"the metrics of `{task.id}`", where)
    if any("log_metadata" in reach.names for reach in step.reach):
        yield Use(Feature.METADATA, f"the metadata of `{task.id}`", where)
    for feature, said in _of_settings(task.settings):
        yield Use(feature, f"{said} of `{task.id}`", where)


def _of_binding(binding: Binding) -> Iterator[Feature]:
    for each in within(binding):
        if isinstance(each, OutputBinding):
            yield Feature.DATA_EDGES
        if isinstance(each, ParameterBinding):
            yield Feature.PARAMETERS
        if getattr(each, "path", ()):
            yield Feature.FIELD_ACCESS
        if isinstance(each, (SequenceBinding, MappingBinding, CollectBinding)):
            yield Feature.COLLECTED_INPUTS


def _of_settings(settings: Settings) -> Iterator[tuple[Feature, str]]:
    asked = {
        Feature.RETRY: (settings.retry is not None and settings.retry.max_retries > 0, "the retries"),
        Feature.TIMEOUT: (settings.timeout is not None, "the timeout"),
        Feature.RESOURCES: (settings.resources is not None, "the resources"),
        Feature.QUOTAS: (bool(settings.quotas), "the quotas"),
        Feature.PRIORITY: (settings.priority != 0, "the priority"),
        Feature.ENV: (bool(settings.env), "the environment variables"),
        Feature.SECRETS: (bool(settings.secrets), "the secrets"),
        Feature.PACKAGES: (settings.packages is not None, "the packages"),
        Feature.IMAGE: (bool(settings.image), "the image"),
        Feature.CACHE: (not settings.cache or bool(settings.cache_version), "the cache settings"),
    }
    yield from ((feature, said) for feature, (wanted, said) in asked.items() if wanted)
