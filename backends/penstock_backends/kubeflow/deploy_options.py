"""What a user can choose about where a pipeline is deployed to, and as what."""

from __future__ import annotations

from pydantic import Field

from penstock.deployment import Address, DeployOptions, Names


class KubeflowDeployOptions(DeployOptions):
    """Which Kubeflow, and which place in it.

    Args:
        server: the address of Kubeflow Pipelines, such as ``https://kubeflow.example.org/pipeline``; where it is left
            out, that of ``KF_PIPELINES_ENDPOINT``, which kfp reads, too.
        namespace: whose pipeline it is, where several teams share the installation.
        experiment: the group that its runs stand in, made where it is missing.
        service_account: the Kubernetes account of its runs, where not the one that the installation gives them.
        replaces: names that the pipeline had before, whose recurring runs are to end; and its own, where what is
            deployed under that was defined in another file.
        poll_seconds: how long to wait before looking again how a run goes.
    """

    server: Address = ""
    namespace: str = ""
    experiment: str = "Default"
    service_account: str = ""
    replaces: Names = ()
    poll_seconds: float = Field(default=3, gt=0)
