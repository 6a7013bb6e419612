"""Steps in pods of their own: what Kubernetes is asked for, in the words of Airflow's operator."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.spec import ResourcesSpec, Task
from penstock_backends.airflow.options import AirflowOptions, AirflowStepOptions
from penstock_backends.airflow.source import arguments, in_one_line, literal

GPU = "nvidia.com/gpu"
GPU_LABEL = "nvidia.com/gpu.product"


def pod_arguments(task: Task, chosen: AirflowStepOptions, options: AirflowOptions) -> Iterator[str]:
    """The arguments of the operator that say what a task's pod is."""
    yield f"image={literal(task.settings.image or options.base_image)}"
    resources = task.settings.resources
    if resources is not None:
        yield f"container_resources=k8s.V1ResourceRequirements{arguments(list(_quantities(resources)), 12, 60)}"
    selector = {**_kind_of_gpu(resources), **chosen.node_selector}
    if selector:
        yield f"node_selector={literal(selector, 12, 30)}"
    plain = {
        "namespace": chosen.namespace,
        "service_account_name": chosen.service_account,
        "pod_template_file": chosen.pod_template_file,
    }
    yield from (f"{name}={literal(value)}" for name, value in plain.items() if value)
    if task.settings.secrets:
        yield f"secrets={arguments(list(_secrets(task)), 12, 20, '[]')}"


def _quantities(asked: ResourcesSpec) -> Iterator[str]:
    """What is asked for; a device is a limit, which is a request, too."""
    requests = {"cpu": f"{asked.cpu:g}"} if asked.cpu is not None else {}
    requests |= {"memory": _quantity(asked.memory)} if asked.memory is not None else {}
    if requests:
        yield f"requests={in_one_line(requests)}"
    if asked.gpu:
        yield f"limits={in_one_line({_device(asked): str(asked.gpu)})}"


def _device(asked: ResourcesSpec) -> str:
    return asked.gpu_type if "/" in asked.gpu_type else GPU


def _kind_of_gpu(asked: ResourcesSpec | None) -> dict[str, str]:
    return {GPU_LABEL: asked.gpu_type} if asked and asked.gpu_type and "/" not in asked.gpu_type else {}


def _quantity(size: int) -> str:
    for unit, power in (("Gi", 30), ("Mi", 20), ("Ki", 10)):
        if size % 2**power == 0:
            return f"{size >> power}{unit}"
    return str(size)


def _secrets(task: Task) -> Iterator[str]:
    """The keys of Kubernetes' own secrets; one that is named without a key has that of the variable's name."""
    for variable, reference in task.settings.secrets:
        name, _, key = reference.partition("/")
        yield f"Secret({', '.join(map(literal, ('env', variable, name, key or variable)))})"
