"""What exists already as one of Kubeflow's own importers, which tell the page of an artifact and copy nothing.

An importer takes gs://, s3:// and minio:// alone, as a constant or from a parameter of the pipeline. It looks at
nothing: the launcher fetches the content for each task that takes it. With ``reimport`` each run has an artifact of its
own, so that the cache, which knows artifacts by their number, keeps nothing of what takes it; without, the URI stands
for the content. kfp.local knows what it gives by the name ``artifact`` only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from penstock.spec import Binding, LiteralBinding, ParameterBinding, Settings, Task, takes_what_exists
from penstock_backends.kubeflow import entry
from penstock_backends.kubeflow.channels import Channel, identifier, output_channel
from penstock_backends.kubeflow.options import KubeflowOptions
from penstock_backends.lowering import Program, Unit

URI = "uri"
_STORES = ("gs", "s3", "minio")
_OBJECT = re.compile(rf"({'|'.join(_STORES)})://[^/?#]+/[^?#]+")


@dataclass(frozen=True)
class Importer:
    """An importer: what its task's input ``uri`` is bound to, what it gives, and what stands for a container."""

    bound: dict[str, Any]
    output: Channel
    spec: dict[str, Any]


def importer_of(program: Program, unit: Unit, options: KubeflowOptions) -> Importer | None:
    """The importer for a unit that runs once and may fail; None where only a container can do what is asked."""
    if not takes_what_exists(unit.step) or not _asks_for_nothing_more(unit.task, options):
        return None
    given = _uri(program, dict(unit.task.inputs))
    if given is None:
        return None
    bound, uri = given
    output = output_channel(unit.outputs[0]).named("artifact")
    spec: dict[str, Any] = {
        "artifactUri": uri,
        "typeSchema": {"schemaTitle": output.type, "schemaVersion": "0.0.1"},
        **({} if unit.task.settings.cache else {"reimport": True}),
        "metadata": {"format": "path"},
    }
    return Importer(bound, output, spec)


def _asks_for_nothing_more(task: Task, options: KubeflowOptions) -> bool:
    plain = task.settings.model_copy(update={"cache": True}) == Settings()
    return plain and not task.checks and options.pod_of(task) == options.pod_of(None)


def _uri(program: Program, inputs: dict[str, Binding]) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The URI as what the task's input is bound to, and as the importer is told of it."""
    uri, scheme = inputs[URI], inputs.get("scheme", LiteralBinding(value=""))
    begins = scheme.value if isinstance(scheme, LiteralBinding) else ""
    if isinstance(uri, LiteralBinding):
        found = _OBJECT.fullmatch(uri.value)
        if not found or begins not in ("", found[1]) or entry.has_mark(uri.value):
            return None
        return {"runtimeValue": {"constant": uri.value}}, {"constant": uri.value}
    if isinstance(uri, ParameterBinding) and not uri.path and begins in _STORES:
        parameter = next(each for each in program.pipeline.parameters if each.name == uri.name)
        if parameter.required or not entry.has_mark(parameter.default):
            return {"componentInputParameter": identifier(uri.name)}, {"runtimeParameter": URI}
    return None
