"""A compiled Kubeflow pipeline as plain facts, each task by its place, and where each of its inputs comes from.

Nothing is left out: what two compilers make of one pipeline can be compared, and each difference named.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Facts = dict[str, Any]


@dataclass
class Shape:
    """``tasks`` maps a task's path (``for-loop-1/add``) to facts of it; so do ``inputs`` and ``outputs`` by name."""

    pipeline: Facts = field(default_factory=dict)
    inputs: dict[str, Facts] = field(default_factory=dict)
    outputs: dict[str, Facts] = field(default_factory=dict)
    tasks: dict[str, Facts] = field(default_factory=dict)


def shape_of(documents: tuple[Mapping[str, Any], Mapping[str, Any]]) -> Shape:
    """The shape of a pipeline's two documents, as the server's message types have them in JSON."""
    return _Reader(*documents).shape()


@dataclass(frozen=True)
class _Dag:
    """A component that holds tasks, where one task puts it: ``given`` are its inputs, as sources."""

    path: str
    component: Mapping[str, Any]
    given: Mapping[str, str]

    @property
    def tasks(self) -> Mapping[str, Mapping[str, Any]]:
        tasks: Mapping[str, Mapping[str, Any]] = self.component["dag"]["tasks"]
        return tasks

    def inside(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name


class _Reader:
    def __init__(self, specification: Mapping[str, Any], platform: Mapping[str, Any]) -> None:
        self.specification = dict(specification)
        self.components: Mapping[str, Any] = specification.get("components", {})
        self.executors: Mapping[str, Any] = specification["deploymentSpec"]["executors"]
        self.platform = platform

    def shape(self) -> Shape:
        root = self.specification["root"]
        described = {
            key: value
            for key, value in self.specification.items()
            if key not in ("components", "deploymentSpec", "root")
        }
        shape = Shape(pipeline=described, inputs=_definitions(root.get("inputDefinitions", {})))
        top = _Dag("", root, {name: f"parameter {name}" for name in shape.inputs})
        for name, facts in _definitions(root.get("outputDefinitions", {})).items():
            shape.outputs[name] = {**facts, "from": self._output(top, name)}
        shape.tasks = dict(self._tasks(top))
        return shape

    def _tasks(self, dag: _Dag) -> Iterator[tuple[str, Facts]]:
        for name, task in dag.tasks.items():
            component = self.components[task["componentRef"]["name"]]
            path = dag.inside(name)
            given = _definitions(task.get("inputs", {}))
            sources = {key: self._source(dag, path, each) for key, each in given.items()}
            settings = {key: value for key, value in task.items() if key not in ("inputs", "dependentTasks")}
            waits = {dag.inside(each) for each in task.get("dependentTasks", ())}
            yield path, {**settings, "waits": waits, **_declared(component, sources), **self._executor(component)}
            if "dag" in component:
                yield from self._tasks(self._inner(dag, name))

    def _executor(self, component: Mapping[str, Any]) -> Facts:
        if "dag" in component:
            return {"dag": True}
        label = component["executorLabel"]
        return {**self.executors[label].get("container", self.executors[label]), "platform": self.platform.get(label)}

    def _inner(self, dag: _Dag, name: str) -> _Dag:
        """The DAG that a task of another one is."""
        task, path = dag.tasks[name], dag.inside(name)
        given = {key: self._source(dag, path, each) for key, each in _definitions(task.get("inputs", {})).items()}
        if iterator := task.get("parameterIterator"):
            given[iterator["itemInput"]] = f"item of {path}"
        return _Dag(path, self.components[task["componentRef"]["name"]], given)

    def _source(self, dag: _Dag, taker: str, bound: Mapping[str, Any]) -> str:
        """Where an input of a task comes from, through all the DAGs around it."""
        part = bound.get("parameterExpressionSelector", "")
        ((kind, value),) = ((k, v) for k, v in bound.items() if k != "parameterExpressionSelector")
        if kind in ("componentInputParameter", "componentInputArtifact"):
            return dag.given[value] + part
        if kind == "runtimeValue":
            return f"constant {json.dumps(value['constant'])}{part}"
        if kind in ("taskOutputParameter", "taskOutputArtifact"):
            key = value.get("outputParameterKey") or value.get("outputArtifactKey")
            return self._given_by(dag, value["producerTask"], key) + part
        return f"{kind} of {value}"

    def _given_by(self, dag: _Dag, name: str, key: str) -> str:
        """What an output of a task stands for; one of a loop for what each item gives."""
        if "dag" not in self.components[dag.tasks[name]["componentRef"]["name"]]:
            return f"{dag.inside(name)}.{key}"
        found = self._output(self._inner(dag, name), key)
        return f"each of {found}" if "parameterIterator" in dag.tasks[name] else found

    def _output(self, dag: _Dag, key: str) -> str:
        selected = _definitions(dag.component["dag"]["outputs"])[key]
        if "valueFromParameter" in selected:
            options = [selected["valueFromParameter"]]
        elif "valueFromOneof" in selected:
            options = selected["valueFromOneof"]["parameterSelectors"]
        else:
            options = selected["artifactSelectors"]
        found = [
            self._given_by(dag, each["producerSubtask"], each.get("outputParameterKey") or each["outputArtifactKey"])
            for each in options
        ]
        return found[0] if len(found) == 1 else f"one of {', '.join(found)}"


def _definitions(sides: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Parameters and artifacts by name, together."""
    found = {name: each for side in sides.values() for name, each in side.items()}
    return {name: _typed(each) for name, each in found.items()}


def _declared(component: Mapping[str, Any], sources: Mapping[str, str]) -> Facts:
    """What a component says of its inputs and outputs, with where the inputs come from; nothing is given to some."""
    inputs = _definitions(component.get("inputDefinitions", {}))
    outputs = _definitions(component.get("outputDefinitions", {}))
    types = {key: each.pop("parameterType") for key, each in (*inputs.items(), *outputs.items())}
    return {
        "takes": {key: (types[key], source) for key, source in sources.items()},
        "left out": {key: types[key] for key in inputs if key not in sources},
        "gives": {key: types[key] for key in outputs},
        "optional": sorted(key for key, each in inputs.items() if each.pop("isOptional", False)),
        "more": {key: each for key, each in (*inputs.items(), *outputs.items()) if each},
    }


def _typed(each: Mapping[str, Any]) -> Facts:
    """An artifact's type in one word, so that it compares with a parameter's."""
    if "artifactType" in each:
        rest = {key: value for key, value in each.items() if key != "artifactType"}
        return {"parameterType": each["artifactType"]["schemaTitle"], **rest}
    return dict(each)
