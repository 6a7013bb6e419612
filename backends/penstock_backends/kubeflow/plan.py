"""What stands for each task in the file: its place in the graph, its component, its container, its pod's settings."""

from __future__ import annotations

import ast
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.spec import PipelineSpec, ResourcesSpec, RetrySpec, Settings, StepSpec, Task, tasks
from penstock_backends.kubeflow import entry
from penstock_backends.kubeflow.channels import METRICS, Channel, output_channel, task_name
from penstock_backends.kubeflow.inputs import Inputs, job_for
from penstock_backends.kubeflow.options import KubeflowOptions
from penstock_backends.kubeflow.program import Slice, harness_text, job_text, joined, joiner_for, packed_harness, sliced
from penstock_backends.kubeflow.text import Shared
from penstock_backends.lowering import predecessors
from penstock_backends.rendering import compact_json

# Argo keeps the state of a run compressed in 1 MiB. It holds each task's container three times, and gzip does not see
# that they are the same once they are more than 32 kB apart (a harness packed to 17 kB costs next to nothing).
LARGEST_TEXT_STATE = 500_000


@dataclass
class Planned:
    """A task, and all that stands for it in the file; ``executor`` is the label of its container."""

    task: Task
    name: str
    task_spec: dict[str, Any]
    component: dict[str, Any]
    container: dict[str, Any]
    platform: dict[str, Any]
    executor: str = ""


def plan_of(pipeline: PipelineSpec, options: KubeflowOptions) -> list[Planned]:
    """All tasks, in the author's order; those whose containers and components are equal share an executor."""
    slices = {step.id: _slices(pipeline, step) for step in pipeline.steps}
    plan = [_planned(pipeline, task, slices[task.step], options) for task in tasks(pipeline.body)]
    program = Shared(packed_harness() if options.harness == "packed" else harness_text())
    if options.harness == "auto" and _state_as_text(plan, program) > LARGEST_TEXT_STATE:
        program = Shared(packed_harness())
    labels: dict[str, str] = {}
    for each in plan:
        sameness = compact_json([each.container, each.platform, each.component])
        each.executor = labels.setdefault(sameness, f"exec-{each.name}")
        each.component = {"executorLabel": each.executor, **each.component}
        each.container = {**each.container, "command": ["python3", "-c", program]}
    return plan


def _state_as_text(plan: list[Planned], program: str) -> int:
    """Bytes of a run's state if the harness stands there as text."""
    containers = Counter(compact_json(each.container) for each in plan)
    return sum(3 * times * len(zlib.compress((program + text).encode())) for text, times in containers.items())


def _slices(pipeline: PipelineSpec, step: StepSpec) -> list[Slice]:
    modules = {module.name: module for module in pipeline.modules}
    return [sliced(modules[reach.module], reach.names) for reach in step.reach]


def _planned(pipeline: PipelineSpec, task: Task, slices: list[Slice], options: KubeflowOptions) -> Planned:
    name, inputs = task_name(task.id), Inputs.of(pipeline, task)
    outputs = {output.name: output_channel(output) for output in pipeline.step(task).outputs}
    job = job_for(pipeline, task, inputs, outputs)
    leaving = list(outputs.values())
    if any(map(_logs_metrics, slices)):
        metrics = Channel(next(key for key in ("metrics", "logged_metrics") if key not in outputs), METRICS)
        job, leaving = {**job, "metrics": metrics.key}, [*leaving, metrics]
    return Planned(
        task,
        name,
        _task_spec(task, name, inputs),
        _component(inputs.channels.values(), leaving),
        _container(task.settings, job, slices, options),
        _platform(task.settings, options),
    )


def _logs_metrics(part: Slice) -> bool:
    mentioned = (getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(ast.parse(part.text)))
    return "log_metric" in mentioned


def _task_spec(task: Task, name: str, inputs: Inputs) -> dict[str, Any]:
    given: dict[str, dict[str, Any]] = {}
    for key, channel in inputs.channels.items():
        given.setdefault(channel.side, {})[key] = inputs.bound[key]
    before = [task_name(node) for node in predecessors(task)]
    return {
        "taskInfo": {"name": task.id},
        "componentRef": {"name": f"comp-{name}"},
        **({"inputs": given} if given else {}),
        **({"dependentTasks": before} if before else {}),
        "cachingOptions": {"enableCache": True} if task.settings.cache else {},
    }


def _component(arriving: Iterable[Channel], leaving: Iterable[Channel]) -> dict[str, Any]:
    component: dict[str, Any] = {}
    for definitions, channels in (("inputDefinitions", arriving), ("outputDefinitions", leaving)):
        for channel in channels:
            component.setdefault(definitions, {}).setdefault(channel.side, {})[channel.key] = channel.declaration
    return component


def _container(
    settings: Settings, job: Mapping[str, Any], slices: list[Slice], options: KubeflowOptions
) -> dict[str, Any]:
    """A container without its command."""
    joiner = joiner_for(part.text for part in slices)
    safe = [joined(part.text, joiner) for part in slices]
    modules = {part.module: {"file": part.file, "lines": part.lines} for part in slices}
    marked = {"joiner": joiner} if safe != [part.text for part in slices] else {}
    env = [{"name": name, "value": value} for name, value in settings.env if not entry.has_mark(value)]
    resources = _resources(settings.resources)
    return {
        "image": settings.image or options.base_image,
        **({"env": env} if env else {}),
        **({"resources": resources} if resources else {}),
        "args": ["{{$}}", job_text({**job, "modules": modules, **marked}), *safe],
    }


def _resources(asked: ResourcesSpec | None) -> dict[str, Any]:
    """Each quantity twice: as a number for older servers, as text for those that read it."""
    found: dict[str, Any] = {}
    if asked is not None and asked.cpu is not None:
        found |= {"cpuRequest": asked.cpu, "resourceCpuRequest": f"{asked.cpu:g}"}
    if asked is not None and asked.memory is not None:
        found |= {"memoryRequest": asked.memory / 1e9, "resourceMemoryRequest": _quantity(asked.memory)}
    if asked is not None and asked.gpu:
        kind = asked.gpu_type if "/" in asked.gpu_type else "nvidia.com/gpu"
        count = str(asked.gpu)
        found["accelerator"] = {"count": count, "type": kind, "resourceCount": count, "resourceType": kind}
    return found


def _quantity(size: int) -> str:
    for unit, power in (("Gi", 30), ("Mi", 20), ("Ki", 10)):
        if size % 2**power == 0:
            return f"{size >> power}{unit}"
    return str(size)


def _platform(settings: Settings, options: KubeflowOptions) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if settings.timeout is not None:
        found["activeDeadlineSeconds"] = math.ceil(_longest(settings)) + options.deadline_margin
    if settings.resources and settings.resources.gpu_type and "/" not in settings.resources.gpu_type:
        found["nodeSelector"] = {"labels": {options.gpu_label: settings.resources.gpu_type}}
    return found


def _longest(settings: Settings) -> float:
    """Seconds that all attempts of a step and the delays between them can take."""
    retry = settings.retry or RetrySpec(max_retries=0)
    longest_delay = math.inf if retry.max_delay is None else retry.max_delay
    delays = (min(retry.delay * retry.backoff**k, longest_delay) for k in range(retry.max_retries))
    return (settings.timeout or 0) * (1 + retry.max_retries) + sum(delays) * (1 + retry.jitter)
