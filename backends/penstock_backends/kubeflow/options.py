"""What a user can choose about what is emitted for Kubeflow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from penstock.rejections import text_like
from penstock.spec import Task
from penstock_backends.alerting import AlertOptions
from penstock_backends.kubeflow.workflow import LARGEST_WORKFLOW
from penstock_backends.step_options import EVERY, StepOptions, options_of

_OBJECT = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_SIZE = r"[0-9]+(\.[0-9]+)?(|k|M|G|T|Ki|Mi|Gi|Ti)"
_WANTED_SIZE = "a size, such as `512Mi`"
Path = Annotated[str, text_like(r"/[^\x00-\x1f:]*", "an absolute path without a `:`")]
VolumeName = Annotated[
    str, text_like(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "a name of at most 63 small letters, digits and `-`")
]
ObjectName = Annotated[str, text_like(_OBJECT, "a name of small letters, digits, `-` and `.`")]
Variable = Annotated[str, text_like(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable")]
ConfigReference = Annotated[
    str, text_like(rf"{_OBJECT}(/[A-Za-z0-9._-]+)?", "the name of a ConfigMap, or `NAME/KEY` of one")
]
Size = Annotated[str, text_like(_SIZE, _WANTED_SIZE)]
LabelKey = Annotated[str, text_like(rf"({_OBJECT}/)?{_LABEL}", "a key as Kubernetes has them, such as `team/cost`")]
LabelValue = Annotated[
    str, text_like(rf"({_LABEL})?", "a value of at most 63 letters, digits, `-`, `_` and `.`, as Kubernetes has them")
]

SHARED_MEMORY = "/dev/shm"  # noqa: S108  # where Linux has it


class Toleration(BaseModel):
    """A taint of nodes that a pod may be placed on all the same, in Kubernetes' words.

    An ``effect`` left empty is any; ``seconds`` is how long it may stay after ``NoExecute``, for ever by default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    seconds: int | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Toleration:
        if self.operator == "Exists" and self.value:
            raise ValueError('a toleration with the operator "Exists" has no value')
        if self.operator == "Equal" and not self.key:
            raise ValueError('a toleration without a key is for all taints: its operator is "Exists"')
        if self.seconds is not None and self.effect != "NoExecute":
            raise ValueError('`seconds` of a toleration are for the effect "NoExecute"')
        return self


class KubeflowStepOptions(StepOptions):
    """What can be said of the pod of one step.

    Args:
        node_selector: the labels that a node must have for the pod to be placed there.
        tolerations: the taints of nodes that the pod is placed on all the same.
        volumes: the persistent volume claims that it mounts, by the path.
        secret_volumes: the Secrets that it mounts, by the path: a file for each key.
        config_volumes: the ConfigMaps that it mounts, by the path: a file for each key.
        scratch: empty folders of its own, by the path, each with the size that it may grow to.
        shared_memory: the size of its ``/dev/shm``; what the cluster gives by default, mostly 64 MiB.
        config_env: environment variables that are taken from ConfigMaps, each ``NAME/KEY``; where there is no KEY it is
            the variable's name.
        image_pull_policy: when the step's image is fetched; as Kubernetes does by default where empty.
        image_pull_secrets: the Secrets by which it may be fetched.
        labels: labels of the pod.
        annotations: annotations of the pod.
        run_as_user: the user that the container runs as, by number.
        run_as_group: its group, by number.
    """

    node_selector: Mapping[LabelKey, LabelValue] = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    volumes: Mapping[Path, VolumeName] = Field(default_factory=dict)
    secret_volumes: Mapping[Path, VolumeName] = Field(default_factory=dict)
    config_volumes: Mapping[Path, VolumeName] = Field(default_factory=dict)
    scratch: Mapping[Path, Size] = Field(default_factory=dict)
    shared_memory: Annotated[str, text_like(rf"({_SIZE})?", _WANTED_SIZE)] = ""
    config_env: Mapping[Variable, ConfigReference] = Field(default_factory=dict)
    image_pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = ""
    image_pull_secrets: tuple[ObjectName, ...] = ()
    labels: Mapping[LabelKey, LabelValue] = Field(default_factory=dict)
    annotations: Mapping[LabelKey, str] = Field(default_factory=dict)
    run_as_user: int | None = Field(default=None, ge=0)
    run_as_group: int | None = Field(default=None, ge=0)

    def twice(self) -> list[str]:
        """The paths and volumes that a pod cannot have twice: Kubeflow names a volume after what is mounted."""
        mounted = (self.volumes, self.secret_volumes, self.config_volumes)
        paths = [path.rstrip("/") for each in (*mounted, self.scratch) for path in each]
        paths += [SHARED_MEMORY] * bool(self.shared_memory)
        names = [name for each in mounted for name in each.values()]
        return [name for found in (paths, names) for name, times in Counter(found).items() if times > 1]


NOTHING = KubeflowStepOptions()


class KubeflowOptions(AlertOptions):
    """How to emit for Kubeflow.

    Args:
        base_image: runs the steps that ask for no image of their own; it must have Python 3.9 or newer as ``python3``.
        harness: ``text`` writes the harness into each container as Python that can be read, ``packed`` compresses it
            there, ``shared`` has a task of its own write it, as text, for all the others. ``auto`` takes the first of
            these by which the workflow is no larger than a cluster keeps.
        largest_workflow: the bytes that the cluster keeps of a workflow with the state of a run: Argo's
            ``MAX_WORKFLOW_SIZE``, less what the cluster adds. There is more room where Argo keeps the state in a
            database (``nodeStatusOffLoad``).
        deadline_margin: the seconds that a pod may take beyond all attempts of its step, for pulling the image,
            installing packages and moving data.
        gpu_label: the node label that tells the type of a node's GPUs.
        schedule_timezone: the time zone in which the cluster reads all schedules (``CRON_SCHEDULE_TIMEZONE`` there).
        steps: what holds for the pod of one step.
    """

    base_image: str = "python:3.12-slim"
    harness: Literal["auto", "text", "packed", "shared"] = "auto"
    largest_workflow: int = Field(default=LARGEST_WORKFLOW, gt=0)
    deadline_margin: int = Field(default=3600, ge=0)
    gpu_label: str = "nvidia.com/gpu.product"
    schedule_timezone: str = "UTC"
    steps: Mapping[str, KubeflowStepOptions] = Field(default_factory=dict)

    def pod_of(self, task: Task | None) -> KubeflowStepOptions:
        """What is said of the pod of a call of a step, or of a task of the backend's own."""
        return options_of(task, self.steps, NOTHING) if task else self.steps.get(EVERY, NOTHING)
