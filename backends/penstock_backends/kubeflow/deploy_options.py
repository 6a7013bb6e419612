"""What a user can choose about where a pipeline is deployed to, and as what."""

from __future__ import annotations

from pydantic import Field, field_validator

from penstock.deployment import DeployOptions


class KubeflowDeployOptions(DeployOptions):
    """Which Kubeflow, and which place in it.

    Args:
        host: the address of Kubeflow Pipelines, such as ``https://kubeflow.example.org/pipeline``; where it is left
            out, that of ``KF_PIPELINES_ENDPOINT``, which kfp reads, too.
        namespace: whose pipeline it is, where several teams share the installation.
        experiment: the group that its runs stand in, made where it is missing.
        service_account: the Kubernetes account of its runs, where not the one that the installation gives them.
        replaces: names that the pipeline had before, whose recurring runs are to end.
        seconds_between_looks: how often a run that is followed is looked at.
    """

    host: str = ""
    namespace: str = ""
    experiment: str = "Default"
    service_account: str = ""
    replaces: tuple[str, ...] = ()
    seconds_between_looks: float = Field(default=3, gt=0)

    @field_validator("replaces", mode="before")
    @classmethod
    def _one_or_several(cls, given: object) -> object:
        return (given,) if isinstance(given, str) else given
