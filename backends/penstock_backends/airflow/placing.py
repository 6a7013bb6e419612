"""What a step asks for that only some places keep: an image and resources are those of a pod."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.degrading import permission
from penstock.diagnostics import Diagnostic
from penstock.spec import Branch, Feature, Group, Loop, Node, PipelineSpec, Task, location_of
from penstock_backends.airflow.options import NOTHING_SAID, AirflowOptions
from penstock_backends.lowering import Unit
from penstock_backends.step_options import options_of

# What only a pod has, with what stands for nothing there.
OF_PODS: dict[Feature, dict[str, Any]] = {Feature.RESOURCES: {"resources": None}, Feature.IMAGE: {"image": ""}}


def misplaced(unit: Unit, options: AirflowOptions) -> Iterator[Diagnostic]:
    """What a unit asks for, or is told, that does not go together with where it runs."""
    task, chosen = unit.task, options.step(unit)
    where = location_of(task.span)
    for feature in _only_in_pods(task, options):
        if feature not in options.allow_degraded:
            message = f"airflow cannot keep the {feature.value} of `{task.id}`: a worker is there already"
            fix = f'run the step in a pod (`isolation = "kubernetes"` under [tool.penstock.airflow.steps.{task.id}])'
            yield Diagnostic("P536", message, where, f"{fix}; {permission(feature, 'airflow')}")
    if chosen.is_pod and not (options.shared_folder and options.artifact_claim):
        message = f"`{task.id}` runs in a pod, and nothing says what that shares with the workers"
        fix = "name the folder that they share, and the claim of the volume: `artifact_root` and `artifact_claim`"
        if options.is_in_store:
            message += ", which do the copying from and to the object store"
            fix = "name a folder that they share, and the claim of the volume: `scratch` and `artifact_claim`"
        yield Diagnostic("P537", message, where, fix)
    if chosen.is_pod and unit.loops and unit.role != "main":
        message = f"`{task.id}` undoes the items of a loop one by one, for which Airflow starts no pods"
        yield Diagnostic("P537", message, where, "let it run on the workers: another `isolation`")
    if (chosen.isolation == "external_python") != bool(chosen.python):
        message = f"of `{task.id}`, `isolation` and `python` do not go together"
        yield Diagnostic("P537", message, where, 'give both `isolation = "external_python"` and the path of a `python`')
    if chosen.isolation == "external_python" and task.settings.packages is not None:
        message = f"`{task.id}` asks for `packages`, and nothing is installed for an interpreter that is there already"
        yield Diagnostic("P537", message, where, 'leave `packages` out, or choose `isolation = "virtualenv"`')


def placed(pipeline: PipelineSpec, options: AirflowOptions) -> PipelineSpec:
    """The pipeline without what its author lets be left out of the steps that run in no pod, each of these marked."""
    if not OF_PODS.keys() & set(options.allow_degraded):
        return pipeline
    return pipeline.model_copy(
        update={
            "body": tuple(_placed(node, options) for node in pipeline.body),
            "on_failure": tuple(_placed_task(task, options) for task in pipeline.on_failure),
            "on_exit": tuple(_placed_task(task, options) for task in pipeline.on_exit),
        }
    )


def _placed(node: Node, options: AirflowOptions) -> Node:
    if isinstance(node, Task):
        return _placed_task(node, options)
    bodies = {Group: ("body",), Loop: ("body",), Branch: ("then", "otherwise")}.get(type(node), ())
    return node.model_copy(
        update={name: tuple(_placed(each, options) for each in getattr(node, name)) for name in bodies}
    )


def _placed_task(task: Task, options: AirflowOptions) -> Task:
    gone = [each for each in _only_in_pods(task, options) if each in options.allow_degraded]
    changes = {name: value for feature in gone for name, value in OF_PODS[feature].items()}
    changed = {
        "settings": task.settings.model_copy(update=changes),
        "rollback": task.rollback and _placed_task(task.rollback, options),
        "left_out": (*task.left_out, *gone),
    }
    return task.model_copy(update=changed)


def _only_in_pods(task: Task, options: AirflowOptions) -> list[Feature]:
    """What a task asks for in vain, as it runs in no pod."""
    if options_of(task, options.steps, NOTHING_SAID).is_pod:
        return []
    return [
        feature
        for feature, nothing in OF_PODS.items()
        if any(getattr(task.settings, name) != value for name, value in nothing.items())
    ]
