"""Emits the stand-alone runner: one Python file that runs a pipeline as the local engine does, without Penstock."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from penstock.backend import Files
from penstock.spec import CHECK, Branch, Gate, Loop, ParameterSpec, PipelineSpec, Task, within
from penstock_backends.local.graph import Graph, waits_of
from penstock_backends.lowering import (
    Program,
    Unit,
    arguments_of,
    kind_of,
    outputs_of,
    program_of,
    requirements_of,
    secrets_part,
    standing_of,
    wire_of,
)
from penstock_backends.rendering import embedded_harness, header, python_template

Json = Any
QUOTA = "quota "  # before its name, among the resources of a node


def standalone_files(pipeline: PipelineSpec) -> Files:
    """``NAME.py`` for a pipeline."""
    name = re.sub(r"\W+", "_", pipeline.name)
    program = program_of(pipeline)
    is_plain = _is_plain(program)
    nodes = {unit.id: _node(program, unit, is_plain) for unit in program.units}
    endings = {unit.id: _ending(program, unit) for unit in program.by_id.values() if unit.role != "main"}
    everything = [*nodes.values(), *endings.values()]
    text = python_template(
        "standalone.py.jinja",
        header=header(pipeline, "local"),
        docstring=_docstring(program, f"{name}.py"),
        modules={module.name: module.text for module in pipeline.modules},
        parameters={parameter.name: _parameter(parameter) for parameter in pipeline.parameters},
        steps=program.parts,
        nodes=nodes,
        notes={unit.id: note for unit in program.units for note in _notes(unit)},
        endings=endings,
        loops={unit.id: unit.node.parallelism for unit in program.units if isinstance(unit.node, Loop)},
        timeout=pipeline.timeout,
        pipeline=pipeline.name,
        collects=pipeline.result is not None and any(each.kind == "collect" for each in within(pipeline.result)),
        result=None if pipeline.result is None else wire_of(pipeline.result),
        harness=embedded_harness(),
        graph="" if is_plain else inspect.getsource(Graph),
        has_packages=any("packages" in node for node in everything),
        has_resources=any("resources" in node for node in everything),
        quotas=_largest_quotas(everything),
        secrets=_secrets(program),
        concurrency=pipeline.concurrency,
        schedule=pipeline.schedule if _from_its_start(pipeline) else None,
        has_metadata=any("log_metadata" in module.text for module in pipeline.modules),
        has_gates=any(node["step"] == CHECK or "checks" in node for node in everything),
        store=f"{name}-runs",
    )
    return {f"{name}.py": text}


def _is_plain(program: Program) -> bool:
    """Whether a pipeline is tasks alone: every one is run once, and nothing but a failure keeps it from that."""
    tasks_alone = all(isinstance(unit.node, Task) for unit in program.by_id.values())
    return tasks_alone and len(program.by_id) == len(program.units) and program.pipeline.timeout is None


def _notes(unit: Unit) -> Iterator[str]:
    """What a node stands for, as its author wrote it, on one line."""
    words = {Branch: "if", Loop: "for each of", Gate: "assert"}
    node = unit.node
    if isinstance(node, (Branch, Loop, Gate)) and node.text:
        yield f"{words[type(node)]} {' '.join(node.text.split())}"


def _docstring(program: Program, file: str) -> str:
    pipeline = program.pipeline
    parts = [f"Runs the pipeline {pipeline.name} on this machine. `python {file} --help` shows its parameters."]
    if pipeline.description:
        parts.append(pipeline.description.strip())
    parts.append(_needs(program))
    secrets = _secrets(program)
    if secrets:
        listed = "\n".join(f"    {variable}: {reference}" for variable, reference in secrets.items())
        parts.append(f"It takes secrets from its environment, and starts nothing without them:\n\n{listed}")
    if pipeline.schedule is not None:
        zone = pipeline.schedule.timezone
        parts.append(
            f"It runs at {pipeline.schedule.cron} ({zone}) where a crontab says so:\n\n"
            f"    CRON_TZ={zone}\n    {pipeline.schedule.cron} python3 /path/to/{file}{_from_its_start(pipeline)}"
        )
    parts.append(
        "In this file, from the top: the author's source, the pipeline's parameters, the steps, the nodes, the\n"
        "harness that runs a step, and the runner."
    )
    return "\n\n".join(parts) + "\n"


def _from_its_start(pipeline: PipelineSpec) -> str:
    return " --scheduled" if pipeline.schedule is not None and pipeline.schedule.start else ""


def _needs(program: Program) -> str:
    found = {
        requirement
        for unit in program.by_id.values()
        if unit.task.settings.packages is None
        for requirement in requirements_of(unit.step, unit.task.settings)
    }
    if not found:
        return "It needs Python 3.9 or later" + ("." if _secrets(program) else ", and nothing else.")
    return "It needs Python 3.9 or later, and:\n\n" + "\n".join(f"    {each}" for each in sorted(found))


def _parameter(parameter: ParameterSpec) -> dict[str, Json]:
    found: dict[str, Json] = {"type": kind_of(parameter.type)}
    if not parameter.required:
        found["default"] = parameter.default
    if parameter.description:
        found["description"] = parameter.description
    return found


def _node(program: Program, unit: Unit, is_plain: bool) -> dict[str, Json]:
    """A node of the pipeline itself; of a plain one, without what all of its nodes have in common."""
    if is_plain:
        return {
            **_call(unit),
            "waits_for": list(program.waits_for(unit)),
            **standing_of(program, unit),
            **_settings(unit),
        }
    node = {**_call(unit), "waits_for": [list(each) for each in waits_of(program, unit)]}
    if unit.loops:
        node["loops"] = list(unit.loops)
    if isinstance(unit.node, Loop):
        node["outputs"] = outputs_of(unit)
    return {**node, **standing_of(program, unit), **_settings(unit)}


def _ending(program: Program, unit: Unit) -> dict[str, Json]:
    """A node that runs at the end of a run."""
    undone = {"undoes": unit.node.id} if unit.role == "rollback" else {}
    return {"role": unit.role, **undone, **_call(unit), **standing_of(program, unit), **_settings(unit)}


def _call(unit: Unit) -> dict[str, Json]:
    return {"step": unit.task.step, "arguments": arguments_of(unit.task)}


def _settings(unit: Unit) -> dict[str, Json]:
    settings = unit.task.settings
    node: dict[str, Json] = {}
    if settings.retry is not None and settings.retry.max_retries:
        node["retry"] = settings.retry.model_dump(mode="json", exclude_defaults=True)
    if settings.timeout is not None:
        node["timeout"] = settings.timeout
    if settings.env:
        node["env"] = dict(settings.env)
    node.update(secrets_part(settings))
    if settings.packages is not None:
        node["packages"] = list(settings.packages)
    asked = {f"{QUOTA}{name}": amount for name, amount in settings.quotas}
    if settings.resources is not None:
        asked |= settings.resources.model_dump(mode="json", exclude={"gpu_type"}, exclude_defaults=True)
    node.update({"resources": asked} if asked else {})
    return node


def _secrets(program: Program) -> dict[str, str]:
    """The environment variables in which secrets are, with what each is called."""
    found: dict[str, list[str]] = {}
    for unit in program.by_id.values():
        for variable, reference in unit.task.settings.secrets:
            found.setdefault(variable, []).append(reference)
    return {variable: ", ".join(dict.fromkeys(found[variable])) for variable in sorted(found)}


def _largest_quotas(nodes: Iterable[Mapping[str, Json]]) -> dict[str, int]:
    """Of each quota, the most that one node asks for: enough for each node to run, and never more than there is."""
    largest: dict[str, int] = {}
    for node in nodes:
        for name, amount in node.get("resources", {}).items():
            if name.startswith(QUOTA):
                largest[name] = max(largest.get(name, 0), amount)
    return largest
