"""Leaves out of a pipeline what its author allowed a target not to keep, and says so where it was."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from penstock.spec import (
    Branch,
    ConcurrencySpec,
    DataTrigger,
    Feature,
    Group,
    Loop,
    Node,
    PipelineSpec,
    PipelineTrigger,
    PullRequestTrigger,
    PushTrigger,
    ScheduleSpec,
    Settings,
    Task,
)

# What can be left out of a task's settings, with what stands for nothing there.
_SETTINGS: dict[Feature, dict[str, Any]] = {
    Feature.RETRY: {"retry": None},
    Feature.TIMEOUT: {"timeout": None},
    Feature.RESOURCES: {"resources": None},
    Feature.QUOTAS: {"quotas": ()},
    Feature.PRIORITY: {"priority": 0},
    Feature.ENV: {"env": ()},
    Feature.PACKAGES: {"packages": None},
    Feature.IMAGE: {"image": ""},
    Feature.CACHE: {"cache": True, "cache_version": ""},
}
_PIPELINE: dict[Feature, dict[str, Any]] = {
    Feature.SCHEDULE: {"schedule": None},
    Feature.PIPELINE_TIMEOUT: {"timeout": None},
    Feature.ON_FAILURE: {"on_failure": ()},
    Feature.ON_EXIT: {"on_exit": ()},
    Feature.UPDATES: {"updates": ()},
    Feature.CONCURRENCY: {"concurrency": None},
}
_TRIGGERS = {
    Feature.PUSH: PushTrigger,
    Feature.PULL_REQUEST: PullRequestTrigger,
    Feature.AFTER_PIPELINE: PipelineTrigger,
    Feature.DATA_CHANGE: DataTrigger,
}
# What can be left out of how a pipeline is started, apart from all of it.
_SCHEDULE: dict[Feature, dict[str, Any]] = {
    Feature.SCHEDULE_START: {"start": "", "catch_up": False},
    Feature.CATCH_UP: {"catch_up": False},
}
_CONCURRENCY: dict[Feature, dict[str, Any]] = {
    Feature.SEVERAL_RUNS: {"limit": 1},
    Feature.CANCEL_RUNNING: {"cancel_running": False},
}
DEGRADABLE = frozenset(
    {
        *_SETTINGS,
        *_PIPELINE,
        *_TRIGGERS,
        *_SCHEDULE,
        *_CONCURRENCY,
        Feature.LOOP_PARALLELISM,
        Feature.ROLLBACK,
    }
)
"""The features without which a pipeline still computes the same."""


def permission(feature: Feature, target: str) -> str:
    """How a project allows a target to leave a feature out, as the end of a fix."""
    return f'or have it left out: write `allow_degraded = ["{feature.value}"]` in [tool.penstock.{target}]'


def without(pipeline: PipelineSpec, features: Collection[Feature]) -> PipelineSpec:
    """The pipeline without the features, each node that had one marked by ``left_out``."""
    pipeline, left_out_starts = _without_starts(pipeline, features)
    changes, left_out = _changes(pipeline, _PIPELINE, features)
    body = tuple(_node(node, features) for node in pipeline.body)
    endings = {
        name: tuple(_task(task, features) for task in getattr(pipeline, name)) for name in ("on_failure", "on_exit")
    }
    return pipeline.model_copy(update={"body": body, **endings, **changes, "left_out": (*left_out, *left_out_starts)})


def _without_starts(pipeline: PipelineSpec, features: Collection[Feature]) -> tuple[PipelineSpec, tuple[Feature, ...]]:
    """The pipeline without those features that are a part of its schedule, triggers or concurrency."""
    changed: dict[str, Any] = {}
    found: list[Feature] = []
    parts = {"schedule": (pipeline.schedule, _SCHEDULE), "concurrency": (pipeline.concurrency, _CONCURRENCY)}
    for name, (thing, known) in parts.items():
        if thing is not None:
            changes, left_out = _changes(thing, known, features)
            changed[name] = thing.model_copy(update=changes)
            found.extend(left_out)
    gone = {feature: kind for feature, kind in _TRIGGERS.items() if feature in features}
    changed["triggers"] = tuple(each for each in pipeline.triggers if not isinstance(each, tuple(gone.values())))
    found.extend(feature for feature, kind in gone.items() if any(isinstance(each, kind) for each in pipeline.triggers))
    return pipeline.model_copy(update=changed), tuple(found)


def _node(node: Node, features: Collection[Feature]) -> Node:
    if isinstance(node, Task):
        return _task(node, features)
    if isinstance(node, Group):
        return node.model_copy(update={"body": tuple(_node(each, features) for each in node.body)})
    if isinstance(node, Branch):
        arms = {
            name: tuple(_node(each, features) for each in body)
            for name, body in (("then", node.then), ("otherwise", node.otherwise))
        }
        return node.model_copy(update=arms)
    if isinstance(node, Loop):
        body = tuple(_node(each, features) for each in node.body)
        if node.parallelism is None or Feature.LOOP_PARALLELISM not in features:
            return node.model_copy(update={"body": body})
        return node.model_copy(update={"body": body, "parallelism": None, "left_out": (Feature.LOOP_PARALLELISM,)})
    return node


def _task(task: Task, features: Collection[Feature]) -> Task:
    changes, left_out = _changes(task.settings, _SETTINGS, features)
    rollback = _task(task.rollback, features) if task.rollback else None
    if rollback is not None and Feature.ROLLBACK in features:
        rollback, left_out = None, (*left_out, Feature.ROLLBACK)
    settings = task.settings.model_copy(update=changes)
    return task.model_copy(update={"settings": settings, "rollback": rollback, "left_out": left_out})


def _changes(
    thing: Settings | PipelineSpec | ScheduleSpec | ConcurrencySpec,
    known: dict[Feature, dict[str, Any]],
    features: Collection[Feature],
) -> tuple[dict[str, Any], tuple[Feature, ...]]:
    """What to set so that the features are gone, and which of them were there."""
    changes: dict[str, Any] = {}
    found = []
    for feature, nothing in known.items():
        if feature in features and any(getattr(thing, name) != value for name, value in nothing.items()):
            changes |= nothing
            found.append(feature)
    return changes, tuple(found)
