"""What can be chosen for a DAG file."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from penstock.rejections import text_like
from penstock.spec import Task
from penstock_backends.alerting import AlertOptions
from penstock_backends.lowering import Unit
from penstock_backends.step_options import StepOptions, options_of


class AirflowStepOptions(StepOptions):
    """Where one step runs, and what its pod is, where it has one.

    Args:
        isolation: ``process``: a process on the worker, with its Python. ``virtualenv``: one in a virtual environment
            of the step's requirements, made on first use. ``external_python``: one with another interpreter.
            ``kubernetes``: a pod.
        python: the interpreter for ``external_python``, by its absolute path on the workers.
        queue: the queue of the executor whose workers take the task; the executor's default where empty.
        namespace: the pod's, and so on: in Airflow's words, each left to the installation where empty.
        service_account: as whom the pod may use the cluster.
        node_selector: the labels that the pod's node must have.
        pod_template_file: a pod on the workers' disks, for all that is not said here.
    """

    isolation: Literal["process", "virtualenv", "external_python", "kubernetes"] = "process"
    python: str = ""
    queue: str = ""
    namespace: str = ""
    service_account: str = ""
    node_selector: Mapping[str, str] = Field(default_factory=dict)
    pod_template_file: str = ""

    @property
    def is_pod(self) -> bool:
        """Whether the step runs in a pod."""
        return self.isolation == "kubernetes"


NOTHING_SAID = AirflowStepOptions()


class AirflowOptions(AlertOptions):
    """What can be chosen for a DAG file.

    Args:
        airflow: the major version of Airflow that the file is for.
        artifact_root: the folder, shared by all workers, for artifacts and large values; or a place in an object store,
            as Airflow writes it: ``s3://CONNECTION@BUCKET/PREFIX``. Empty: the Airflow Variable ``artifact_root``, or
            where there is none, ``$AIRFLOW_HOME/artifacts``.
        scratch: the folder of the workers for an attempt's copies of what is in an object store; where they make
            temporary files when empty.
        largest_xcom: the most bytes of JSON that an output has in XCom; of a larger one it holds a reference.
        cache: whether a step that may be cached takes over what it gave before for the same code and inputs, which is
            kept in ``@cache`` below the artifact root.
        start_date: the first day that a schedule may run for, as ``YYYY-MM-DD``, where the pipeline does not say.
        pool: the pool that the tasks take a slot of; Airflow's default pool where empty.
        artifact_claim: the persistent volume claim that pods mount at ``artifact_root``, as the workers do; at
            ``scratch`` where that is in an object store.
        base_image: the image of pods whose step asks for none.
        steps: what holds for single steps.
    """

    airflow: Literal[3, 2] = 3
    artifact_root: str = Field(default="", repr=False)  # who gives a password in it should not find that in an error
    scratch: Annotated[str, text_like("(/.*)?", "an absolute path")] = ""
    largest_xcom: int = Field(default=48 * 1024, ge=256)
    cache: bool = False
    start_date: dt.date | None = None
    pool: str = ""
    artifact_claim: str = ""
    base_image: str = "python:3.12-slim"
    steps: Mapping[str, AirflowStepOptions] = Field(default_factory=dict)

    def step(self, unit: Unit) -> AirflowStepOptions:
        """What holds for a unit; what the harness itself decides runs on the worker, always."""
        if not self.steps or not isinstance(unit.node, Task):
            return NOTHING_SAID
        return options_of(unit.task, self.steps, NOTHING_SAID)

    @property
    def is_in_store(self) -> bool:
        """Whether artifacts are certainly kept in an object store."""
        return "://" in self.artifact_root

    @property
    def may_be_in_store(self) -> bool:
        """Whether artifacts may be kept in an object store: it is for an Airflow Variable to say, if not for this."""
        return self.is_in_store or not self.artifact_root

    @property
    def shared_folder(self) -> str:
        """The folder in which pods and workers find each other's files; empty where none is named."""
        return self.scratch if self.is_in_store else self.artifact_root

    @field_validator("artifact_root")
    @classmethod
    def _is_a_place(cls, root: str) -> str:
        if not root or root.startswith("/"):
            return root
        scheme, parts = root.partition("://")[0], urlsplit(root)
        if "://" not in root or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
            raise ValueError(
                "must be the absolute path of a folder that all workers mount, or `SCHEME://CONNECTION@BUCKET/PREFIX`"
            )
        if ":" in parts.netloc.rpartition("@")[0]:
            raise ValueError("holds credentials: name the connection of Airflow that does, before the `@`")
        if scheme in ("http", "https", "ftp"):
            raise ValueError(f"is no object store: nothing can be kept by {scheme}")
        if parts.query or parts.fragment or not (parts.netloc.rpartition("@")[2] or scheme == "file"):
            raise ValueError("must name a bucket, and a prefix in it: `SCHEME://CONNECTION@BUCKET/PREFIX`")
        return root.rstrip("/")
