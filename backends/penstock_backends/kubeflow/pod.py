"""What a task asks of its pod: resources in the container, all else in the document for Kubernetes beside the pipeline.

Names are given in the fields that every version of the server reads: newer ones can also take them from parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from penstock.diagnostics import Diagnostic
from penstock.spec import PipelineSpec, ResourcesSpec, RetrySpec, Settings, location_of
from penstock_backends.kubeflow.options import SHARED_MEMORY, KubeflowOptions, KubeflowStepOptions, Toleration
from penstock_backends.step_options import called


def resources_of(asked: ResourcesSpec | None) -> dict[str, Any]:
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


def platform_of(settings: Settings, pod: KubeflowStepOptions, options: KubeflowOptions) -> dict[str, Any]:
    """A task's entry in the document for Kubernetes; empty where it asks for nothing."""
    found: dict[str, Any] = {
        "activeDeadlineSeconds": _longest(settings, options.deadline_margin),
        "secretAsEnv": list(_by_name("secret", settings.secrets)),
        "configMapAsEnv": list(_by_name("configMap", tuple(pod.config_env.items()))),
        "nodeSelector": {"labels": labels} if (labels := _node_labels(settings, pod, options)) else {},
        "tolerations": [_toleration(each) for each in pod.tolerations],
        "pvcMount": [{"constant": name, "mountPath": path} for path, name in pod.volumes.items()],
        "secretAsVolume": [{"secretName": name, "mountPath": path} for path, name in pod.secret_volumes.items()],
        "configMapAsVolume": [{"configMapName": name, "mountPath": path} for path, name in pod.config_volumes.items()],
        "emptyDirMounts": list(_empty_folders(pod)),
        "imagePullPolicy": pod.image_pull_policy,
        "imagePullSecret": [{"secretName": name} for name in pod.image_pull_secrets],
        "podMetadata": _given({"labels": dict(pod.labels), "annotations": dict(pod.annotations)}),
        "securityContext": _given({"runAsUser": pod.run_as_user, "runAsGroup": pod.run_as_group}),
    }
    return _given(found)


def _given(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if value not in (None, "", [], {})}


def reference_of(variable: str, reference: str) -> tuple[str, str]:
    """The object and the key in it that ``NAME/KEY`` refers to; without a KEY, it is the name of the variable."""
    name, _, key = reference.partition("/")
    return name, key or variable


def _by_name(kind: str, given: tuple[tuple[str, str], ...]) -> Iterator[dict[str, Any]]:
    """The variables that are taken from Secrets or ConfigMaps, for each of these together."""
    found: dict[str, list[dict[str, str]]] = {}
    for variable, reference in given:
        name, key = reference_of(variable, reference)
        found.setdefault(name, []).append({f"{kind}Key": key, "envVar": variable})
    return ({f"{kind}Name": name, "keyToEnv": keys} for name, keys in found.items())


def _node_labels(settings: Settings, pod: KubeflowStepOptions, options: KubeflowOptions) -> dict[str, str]:
    kind = settings.resources.gpu_type if settings.resources else ""
    return ({options.gpu_label: kind} if kind and "/" not in kind else {}) | dict(pod.node_selector)


def _toleration(given: Toleration) -> dict[str, Any]:
    words = {"key": given.key, "operator": given.operator, "value": given.value, "effect": given.effect}
    return _given({**words, "tolerationSeconds": given.seconds})


def _empty_folders(pod: KubeflowStepOptions) -> Iterator[dict[str, str]]:
    for number, (path, size) in enumerate(pod.scratch.items(), 1):
        yield {"volumeName": f"penstock-scratch-{number}", "mountPath": path, "sizeLimit": size}
    if pod.shared_memory:
        shared = {"volumeName": "penstock-shared-memory", "mountPath": SHARED_MEMORY, "medium": "Memory"}
        yield {**shared, "sizeLimit": pod.shared_memory}


def _longest(settings: Settings, margin: int) -> int | None:
    """Seconds that a pod may take, if its step has a timeout: all attempts, the delays between them, and a margin."""
    if settings.timeout is None:
        return None
    retry = settings.retry or RetrySpec(max_retries=0)
    longest_delay = math.inf if retry.max_delay is None else retry.max_delay
    delays = (min(retry.delay * retry.backoff**k, longest_delay) for k in range(retry.max_retries))
    attempts = settings.timeout * (1 + retry.max_retries)
    return math.ceil(attempts + sum(delays) * (1 + retry.jitter)) + margin


def inward_of(settings: Settings, pod: KubeflowStepOptions) -> dict[str, Any]:
    """What of the cluster's own a step can see, by name: part of its job, and so of the key of Kubeflow's cache."""
    seen = {
        "secrets": dict(settings.secrets),
        "config_env": dict(pod.config_env),
        "mounts": {**pod.volumes, **pod.secret_volumes, **pod.config_volumes},
    }
    return _given(seen)


def impossible_pods(pipeline: PipelineSpec, options: KubeflowOptions) -> Iterator[Diagnostic]:
    """The pods that Kubernetes would not take."""
    for task in called(pipeline):
        pod, where = options.pod_of(task), location_of(task.span)
        settled = {*dict(task.settings.env), *dict(task.settings.secrets)}
        for name in pod.twice():
            message = f"the pod of `{task.id}` would have `{name}` twice, by the configuration of kubeflow"
            yield Diagnostic("P525", message, where, "mount each volume once, and each at a path of its own")
        for variable in sorted(settled & set(pod.config_env)):
            message = f"`{variable}` of `{task.id}` is in `config_env`, and in the step's own `env` or `secrets`"
            yield Diagnostic("P525", message, where, "leave one of them out")
