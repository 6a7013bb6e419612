"""What arrives at the container of an ordinary task: inputs in Kubeflow's words, and bindings in terms of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.spec import (
    Binding,
    LiteralBinding,
    MappingBinding,
    OutputBinding,
    ParameterBinding,
    RecordBinding,
    SequenceBinding,
    within,
)
from penstock.values import Json
from penstock_backends.kubeflow import entry
from penstock_backends.kubeflow.channels import Channel, identifier, parameter_type, task_name
from penstock_backends.kubeflow.form import read_as
from penstock_backends.lowering import Program, Unit, job_of, requirements_of
from penstock_backends.rendering import compact_json

Channels = Mapping[tuple[str, str], Channel]
"""How each output travels, by node and output."""

_ORDINARY = (LiteralBinding, ParameterBinding, OutputBinding, SequenceBinding, MappingBinding, RecordBinding)


def is_ordinary(binding: Binding) -> bool:
    """Whether a binding stands for the same whatever branches were taken, and wherever it is."""
    return all(isinstance(each, _ORDINARY) for each in within(binding))


@dataclass
class Inputs:
    """A task's inputs by name: what they are, in ``channels``; where they come from, in KFP's words, in ``bound``.

    ``arguments`` are the task's bindings, in which the name of an input stands for a reference (``{"input": NAME,
    "path": ...}`` for a part of it; see `entry.binding_of`). An argument that comes as a whole has an input of its own
    name, the parts of a list have numbered ones. ``kinds`` are the types of those inputs that are parameters of the
    pipeline.
    """

    program: Program
    outputs: Channels
    channels: dict[str, Channel] = field(default_factory=dict)
    bound: dict[str, dict[str, Any]] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    kinds: dict[str, Any] = field(default_factory=dict)
    _seen: dict[tuple[str, ...], str] = field(default_factory=dict)

    @classmethod
    def of(cls, program: Program, unit: Unit, outputs: Channels) -> Inputs:
        """The inputs of a unit whose bindings are all ordinary."""
        inputs = cls(program, outputs)
        for name, binding in unit.task.inputs:
            inputs.arguments[name] = inputs._argument(identifier(name), binding)
        return inputs

    def _argument(self, name: str, binding: Binding) -> Json:
        if isinstance(binding, LiteralBinding):
            self._add(Channel(name), {"runtimeValue": {"constant": entry.guarded(compact_json(binding.value))}})
            return name
        if isinstance(binding, (ParameterBinding, OutputBinding)):
            return self._reference(name, binding)
        return self._part(name, binding)

    def _part(self, name: str, binding: Binding) -> Json:
        """A binding within the argument ``name``, rewritten; a constant stays in it."""
        if isinstance(binding, (ParameterBinding, OutputBinding)):
            number = 1 + sum(other.startswith(f"{name}-") for other in self.channels)
            return self._reference(f"{name}-{number}", binding)
        if isinstance(binding, SequenceBinding):
            return {"kind": binding.kind, "items": [self._part(name, item) for item in binding.items]}
        if isinstance(binding, MappingBinding):
            return {"kind": "dict", "items": [[key, self._part(name, item)] for key, item in binding.items]}
        if isinstance(binding, RecordBinding):
            fields = [[key, self._part(name, item)] for key, item in binding.fields]
            return {"kind": "record", "type": binding.type, "fields": fields}
        return binding.model_dump(mode="json")

    def _reference(self, name: str, binding: ParameterBinding | OutputBinding) -> Json:
        """A reference as a reference to an input, which is added unless what it carries has one."""
        whole = (binding.node, binding.output) if isinstance(binding, OutputBinding) else (binding.name,)
        name = self._seen.setdefault(whole, name)
        if isinstance(binding, OutputBinding):
            channel = self.outputs[binding.node, binding.output]
            self._add(channel.named(name), channel.of_task(task_name(binding.node)))
        else:
            parameter = next(each for each in self.program.pipeline.parameters if each.name == binding.name)
            self._add(Channel(name, parameter_type(parameter)), {"componentInputParameter": identifier(binding.name)})
            self.kinds[name] = read_as(parameter)
        path = [access.model_dump(mode="json") for access in binding.path]
        return {"input": name, "path": path} if path else name

    def _add(self, channel: Channel, bound: dict[str, Any]) -> None:
        self.channels[channel.key] = channel
        self.bound[channel.key] = bound


def ordinary_job(program: Program, unit: Unit, inputs: Inputs, outputs: Channels) -> dict[str, Any]:
    """A unit's job (see `penstock_backends.lowering.job_of`) in which the bindings refer to the task's inputs."""
    return job_for(program, unit, inputs.channels, outputs, arguments=inputs.arguments, parameters=inputs.kinds)


def job_for(
    program: Program, unit: Unit, arriving: Mapping[str, Channel], outputs: Channels, **more: Any
) -> dict[str, Any]:
    """A unit's job as `entry` reads it, with ``more`` in place of what stands there by default; nothing empty in it.

    ``inputs`` is for the reader, and for the sameness of executors, only.
    """
    job, settings = job_of(program, unit), unit.task.settings
    retry = settings.retry.model_dump() if settings.retry and settings.retry.max_retries else None
    full = {
        "function": job["function"],
        "inputs": {name: channel.declared for name, channel in arriving.items()},
        "arguments": job["arguments"],
        "parameters": job["parameters"],
        "outputs": [{**output, "key": outputs[unit.id, output["name"]].key} for output in job["outputs"]],
        "returns": {key: value for key, value in job["returns"].items() if value},
        "retry": retry and {key: value for key, value in retry.items() if value is not None},
        "timeout": settings.timeout,
        "requirements": list(requirements_of(unit.step, settings)),
        "env": job["env"],
        "cache_version": settings.cache_version,
        "reach": job["reach"],
        **more,
    }
    return {key: value for key, value in full.items() if value}
