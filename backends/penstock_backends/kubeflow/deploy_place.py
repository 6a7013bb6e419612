"""Where on a Kubeflow a pipeline is: under its name, in a namespace, its runs in an experiment."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from penstock.diagnostics import DeployError
from penstock_backends.kubeflow.deploy_api import Api, where
from penstock_backends.kubeflow.deploy_options import KubeflowDeployOptions


@dataclass(frozen=True)
class Place:
    """The place of the pipeline of this name."""

    name: str
    options: KubeflowDeployOptions
    api: Api

    def __str__(self) -> str:
        return f"pipeline `{self.name}` at {self.api.server}"

    @property
    def namespace(self) -> dict[str, str]:
        """The part of a request that says whose it is."""
        return {"namespace": self.options.namespace} if self.options.namespace else {}

    @property
    def account(self) -> dict[str, str]:
        """The part of a request that says as whom its runs run."""
        return {"service_account": self.options.service_account} if self.options.service_account else {}

    def pipeline_id(self, name: str = "") -> str | None:
        """The pipeline's id on the server, or that of another one, if it is there."""
        found = self.api.all("/pipelines", "pipelines", **where(name or self.name), **self.namespace)
        return next((str(each["pipeline_id"]) for each in found), None)

    def experiment_id(self) -> str:
        """The id of the experiment, which is made where it is missing."""
        name = self.options.experiment
        found = next(self.api.all("/experiments", "experiments", **where(name), **self.namespace), None)
        made = found or self.api.post("/experiments", {"display_name": name, **self.namespace})
        return str(made["experiment_id"])


@contextlib.contextmanager
def or_else(undo: Callable[[], None]) -> Iterator[None]:
    """Takes back what was done where what follows fails; that this fails, too, hides nothing."""
    try:
        yield
    except DeployError:
        with contextlib.suppress(DeployError):
            undo()
        raise
