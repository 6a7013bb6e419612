"""A task's inputs on Kubeflow, and the job that says what the harness makes of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from penstock.spec import (
    Binding,
    LiteralBinding,
    MappingBinding,
    OutputBinding,
    ParameterBinding,
    PipelineSpec,
    SequenceBinding,
    Task,
    tasks,
)
from penstock.values import Json
from penstock_backends.kubeflow import entry
from penstock_backends.kubeflow.channels import Channel, identifier, output_channel, parameter_type, task_name
from penstock_backends.lowering import job_of, kind_of, requirements_of
from penstock_backends.rendering import compact_json


@dataclass
class Inputs:
    """A task's inputs by name: what they are, in ``channels``; where they come from, in KFP's words, in ``bound``.

    ``arguments`` are the task's bindings, in which the name of an input stands for a reference (``{"input": NAME,
    "path": ...}`` for a part of it; see `entry.binding_of`). An argument that comes as a whole has an input of its own
    name, the parts of a list have numbered ones. ``kinds`` are the types of those inputs that are parameters of the
    pipeline.
    """

    pipeline: PipelineSpec
    channels: dict[str, Channel] = field(default_factory=dict)
    bound: dict[str, dict[str, Any]] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    kinds: dict[str, Any] = field(default_factory=dict)
    _seen: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, pipeline: PipelineSpec, task: Task) -> Inputs:
        """The inputs of a task."""
        inputs = cls(pipeline)
        for name, binding in task.inputs:
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
        if isinstance(binding, LiteralBinding):
            return binding.model_dump(mode="json")
        if isinstance(binding, (ParameterBinding, OutputBinding)):
            number = 1 + sum(other.startswith(f"{name}-") for other in self.channels)
            return self._reference(f"{name}-{number}", binding)
        if isinstance(binding, SequenceBinding):
            return {"kind": binding.kind, "items": [self._part(name, item) for item in binding.items]}
        if isinstance(binding, MappingBinding):
            return {"kind": "dict", "items": [[key, self._part(name, item)] for key, item in binding.items]}
        fields = [[key, self._part(name, item)] for key, item in binding.fields]
        return {"kind": "record", "type": binding.type, "fields": fields}

    def _reference(self, name: str, binding: ParameterBinding | OutputBinding) -> Json:
        """A reference as a reference to an input, which is added unless what it carries has one."""
        name = self._seen.setdefault(binding.model_copy(update={"path": ()}).model_dump_json(), name)
        if isinstance(binding, OutputBinding):
            self._add(channel_of(self.pipeline, binding).named(name), _from_task(self.pipeline, binding))
        else:
            parameter = next(each for each in self.pipeline.parameters if each.name == binding.name)
            self._add(Channel(name, parameter_type(parameter)), {"componentInputParameter": identifier(binding.name)})
            self.kinds[name] = kind_of(parameter.type)
        path = [access.model_dump(mode="json") for access in binding.path]
        return {"input": name, "path": path} if path else name

    def _add(self, channel: Channel, bound: dict[str, Any]) -> None:
        self.channels[channel.key] = channel
        self.bound[channel.key] = bound


def channel_of(pipeline: PipelineSpec, binding: OutputBinding) -> Channel:
    """How the output travels that a binding refers to."""
    producer = next(task for task in tasks(pipeline.body) if task.id == binding.node)
    return output_channel(next(each for each in pipeline.step(producer).outputs if each.name == binding.output))


def _from_task(pipeline: PipelineSpec, binding: OutputBinding) -> dict[str, Any]:
    channel, producer = channel_of(pipeline, binding), {"producerTask": task_name(binding.node)}
    if channel.is_artifact:
        return {"taskOutputArtifact": {**producer, "outputArtifactKey": channel.key}}
    return {"taskOutputParameter": {**producer, "outputParameterKey": channel.key}}


def job_for(pipeline: PipelineSpec, task: Task, inputs: Inputs, outputs: dict[str, Channel]) -> dict[str, Any]:
    """A task's job (see `penstock_backends.lowering.job_of`) in which the bindings refer to the task's inputs.

    What is empty is left out. ``inputs`` is for the reader, and for the sameness of executors, only.
    """
    job, settings = job_of(pipeline, task), task.settings
    retry = settings.retry.model_dump() if settings.retry and settings.retry.max_retries else None
    full = {
        "function": job["function"],
        "inputs": {name: channel.type for name, channel in inputs.channels.items()},
        "arguments": inputs.arguments,
        "parameters": inputs.kinds,
        "outputs": [{**output, "key": outputs[output["name"]].key} for output in job["outputs"]],
        "returns": {key: value for key, value in job["returns"].items() if value},
        "retry": retry and {key: value for key, value in retry.items() if value is not None},
        "timeout": settings.timeout,
        "requirements": list(requirements_of(pipeline.step(task), settings)),
        "env": job["env"],
        "cache_version": settings.cache_version,
        "reach": job["reach"],
    }
    return {key: value for key, value in full.items() if value}
