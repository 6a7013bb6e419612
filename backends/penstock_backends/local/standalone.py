"""Emits the stand-alone runner: one Python file that runs a pipeline as the local engine does, without Penstock."""

from __future__ import annotations

import re
from typing import Any

from penstock.backend import Files
from penstock.spec import ParameterSpec, PipelineSpec, Task, tasks
from penstock_backends.lowering import arguments_of, kind_of, predecessors, requirements_of, step_part
from penstock_backends.rendering import embedded_harness, header, python_template

Json = Any


def standalone_files(pipeline: PipelineSpec) -> Files:
    """``NAME.py`` for a pipeline without groups."""
    name = re.sub(r"\W+", "_", pipeline.name)
    nodes = {task.id: _node(task) for task in tasks(pipeline.body)}
    text = python_template(
        "standalone.py.jinja",
        header=header(pipeline, "local"),
        docstring=_docstring(pipeline, f"{name}.py"),
        modules={module.name: module.text for module in pipeline.modules},
        parameters={parameter.name: _parameter(parameter) for parameter in pipeline.parameters},
        steps={step.id: step_part(step) for step in pipeline.steps},
        nodes=nodes,
        result=None if pipeline.result is None else _bare(pipeline.result.model_dump(mode="json")),
        harness=embedded_harness(),
        has_packages=any("packages" in node for node in nodes.values()),
        has_resources=any("resources" in node for node in nodes.values()),
        store=f"{name}-runs",
    )
    return {f"{name}.py": text}


def _docstring(pipeline: PipelineSpec, file: str) -> str:
    parts = [f"Runs the pipeline {pipeline.name} on this machine. `python {file} --help` shows its parameters."]
    if pipeline.description:
        parts.append(pipeline.description.strip())
    parts.append(_needs(pipeline))
    if pipeline.schedule is not None:
        zone = pipeline.schedule.timezone
        parts.append(
            f"It runs at {pipeline.schedule.cron} ({zone}) where a crontab says so:\n\n"
            f"    CRON_TZ={zone}\n    {pipeline.schedule.cron} python3 /path/to/{file}"
        )
    parts.append(
        "In this file, from the top: the author's source, the pipeline's parameters, the steps, the nodes, the\n"
        "harness that runs a step, and the runner."
    )
    return "\n\n".join(parts) + "\n"


def _needs(pipeline: PipelineSpec) -> str:
    steps = {step.id: step for step in pipeline.steps}
    found = {
        requirement
        for task in tasks(pipeline.body)
        if task.settings.packages is None
        for requirement in requirements_of(steps[task.step], task.settings)
    }
    if not found:
        return "It needs Python 3.9 or later, and nothing else."
    return "It needs Python 3.9 or later, and:\n\n" + "\n".join(f"    {each}" for each in sorted(found))


def _parameter(parameter: ParameterSpec) -> dict[str, Json]:
    found: dict[str, Json] = {"type": kind_of(parameter.type)}
    if not parameter.required:
        found["default"] = parameter.default
    if parameter.description:
        found["description"] = parameter.description
    return found


def _node(task: Task) -> dict[str, Json]:
    settings = task.settings
    node: dict[str, Json] = {
        "step": task.step,
        "arguments": {name: _bare(binding) for name, binding in arguments_of(task).items()},
        "waits_for": list(predecessors(task)),
    }
    if settings.retry is not None and settings.retry.max_retries:
        node["retry"] = settings.retry.model_dump(mode="json", exclude_defaults=True)
    if settings.timeout is not None:
        node["timeout"] = settings.timeout
    if settings.env:
        node["env"] = dict(settings.env)
    if settings.packages is not None:
        node["packages"] = list(settings.packages)
    if settings.resources is not None:
        asked = settings.resources.model_dump(mode="json", exclude={"gpu_type"}, exclude_defaults=True)
        node.update({"resources": asked} if asked else {})
    return node


def _bare(binding: Json) -> Json:
    """A binding without its empty paths."""
    if binding["kind"] == "literal":
        return binding
    bare = {key: value for key, value in binding.items() if key != "path" or value}
    if binding["kind"] in ("list", "tuple"):
        bare["items"] = [_bare(item) for item in binding["items"]]
    for key in ("items", "fields"):
        if binding["kind"] in ("dict", "record") and key in binding:
            bare[key] = [[name, _bare(item)] for name, item in binding[key]]
    return bare
