"""Which features a pipeline asks for, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from penstock.diagnostics import Location
from penstock.spec import (
    Binding,
    Feature,
    MappingBinding,
    OutputBinding,
    ParameterBinding,
    PipelineSpec,
    SequenceBinding,
    Settings,
    StepSpec,
    Task,
    location_of,
    references,
    tasks,
    walk,
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
    if pipeline.schedule is not None:
        yield Use(Feature.SCHEDULE, f"the schedule `{pipeline.schedule.cron}`", top)
    for node in walk(pipeline.body):
        where = location_of(node.span)
        if node.after:
            yield Use(Feature.AFTER, f"`after` of `{node.id}`", where)
        if not isinstance(node, Task):
            yield Use(Feature.NESTED_PIPELINES, f"nested pipeline `{node.id}`", where)
    for task in tasks(pipeline.body):
        yield from _of_task(task, pipeline.step(task))


def _of_task(task: Task, step: StepSpec) -> Iterator[Use]:
    where = location_of(task.span)
    for name, binding in task.inputs:
        for feature in _of_binding(binding):
            yield Use(feature, f"input `{name}` of `{task.id}`", where)
    if len(step.outputs) > 1 or step.returns.kind in ("namedtuple", "dataclass", "tuple"):
        yield Use(Feature.NAMED_OUTPUTS, f"the outputs of `{task.id}`", where)
    for output in step.outputs:
        if output.type.is_artifact:
            yield Use(Feature.ARTIFACTS, f"output `{output.name}` of `{task.id}`", where)
    if any("log_metric" in reach.names for reach in step.reach):
        yield Use(Feature.METRICS, f"the metrics of `{task.id}`", where)
    for feature, said in _of_settings(task.settings):
        yield Use(feature, f"{said} of `{task.id}`", where)


def _of_binding(binding: Binding) -> Iterator[Feature]:
    for ref in references(binding):
        if isinstance(ref, OutputBinding):
            yield Feature.DATA_EDGES
        if isinstance(ref, ParameterBinding):
            yield Feature.PARAMETERS
        if ref.path:
            yield Feature.FIELD_ACCESS
    if isinstance(binding, (SequenceBinding, MappingBinding)):
        yield Feature.COLLECTED_INPUTS


def _of_settings(settings: Settings) -> Iterator[tuple[Feature, str]]:
    asked = {
        Feature.RETRY: (settings.retry is not None and settings.retry.max_retries > 0, "the retries"),
        Feature.TIMEOUT: (settings.timeout is not None, "the timeout"),
        Feature.RESOURCES: (settings.resources is not None, "the resources"),
        Feature.ENV: (bool(settings.env), "the environment variables"),
        Feature.PACKAGES: (settings.packages is not None, "the packages"),
        Feature.IMAGE: (bool(settings.image), "the image"),
        Feature.CACHE: (not settings.cache or bool(settings.cache_version), "the cache settings"),
    }
    yield from ((feature, said) for feature, (wanted, said) in asked.items() if wanted)
