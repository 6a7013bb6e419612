"""A cluster as far as Kubeflow's Go code decides what a task gets: without pods, each container a process here.

Read in the server's compiler, driver and launcher. What differs from kfp.local, and would go unnoticed there:

- A task starts once all that it depends on succeeded; a task that failed leaves no outputs, not even those it wrote.
- An input of a DAG keeps one artifact, and an artifact one name.
- What a loop gives, at any depth, is one flat list; of no items it cannot be taken at all.
- A task that does what another did is served its outputs, the same artifacts, if it may be.
- An importer takes stores' URIs alone, looks at nothing, and with ``reimport`` makes an artifact of its own.
- Commands go through Argo's and Kubernetes' own templates, numbers through doubles, files through a store.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.engines.kfp import Execution, KfpRun

LONGEST_ARGUMENT = 131_071
PLACEHOLDER = r"\{\{\$(?:\.(inputs|outputs)\.artifacts\['([\w-]+)'\]\.path)?\}\}"


class DriverError(Exception):
    """The driver of a task cannot resolve an input."""


@dataclass
class Ended:
    """A task that has ended: a container with its outputs, or a DAG with what ended in it, for a loop once an item."""

    succeeded: bool
    outputs: dict[str, Any] = field(default_factory=dict)
    component: dict[str, Any] = field(default_factory=dict)
    turns: list[dict[str, Ended]] = field(default_factory=list)

    def output(self, key: str) -> list[Any]:
        """An output, as all that there is of it in order."""
        if "dag" not in self.component:
            if key not in self.outputs:
                raise DriverError(f"there is no output {key}")
            return [self.outputs[key]]
        outputs = self.component["dag"]["outputs"]
        if not self.turns:
            raise DriverError(f"the producer of {key} is not in tasks")
        found: list[Any] = []
        for turn in self.turns:
            if key in outputs.get("parameters", {}):
                chosen = outputs["parameters"][key]["valueFromParameter"]
                found += turn[chosen["producerSubtask"]].output(chosen["outputParameterKey"])
            else:
                (chosen,) = outputs["artifacts"][key]["artifactSelectors"]
                found += turn[chosen["producerSubtask"]].output(chosen["outputArtifactKey"])
        return found


@dataclass
class Given:
    """What a DAG was given."""

    parameters: dict[str, Any]
    artifacts: dict[str, Any] = field(default_factory=dict)


class Cluster:
    """Runs one pipeline; ``executions`` are those of its containers, in order."""

    def __init__(self, loaded: dict[str, Any], folder: Path) -> None:
        self.loaded, self.folder = loaded, folder
        self.executions: list[Execution] = []
        self.log = ""
        self.cache: dict[str, Ended] = {}
        self.numbers = itertools.count()
        self.tasks: dict[str, Ended] = {}

    def run(self, arguments: dict[str, Any]) -> KfpRun:
        """To the end, with these arguments and the defaults of the others."""
        declared = self.loaded["root"].get("inputDefinitions", {}).get("parameters", {})
        defaults = {name: each["defaultValue"] for name, each in declared.items() if "defaultValue" in each}
        root = Ended(True, component=self.loaded["root"])
        self.tasks = self.run_dag(root.component, Given(delivered({**defaults, **arguments})), ())
        state = "success" if all(each.succeeded for each in self.tasks.values()) else "failed"
        state = state if set(self.tasks) == set(self.loaded["root"]["dag"]["tasks"]) else "failed"
        return KfpRun(state, {}, tuple(self.executions), "", "", self.log, 0.0)

    def run_dag(self, component: dict[str, Any], given: Given, place: tuple[int, ...]) -> dict[str, Ended]:
        """The tasks of a DAG that were started, by name."""
        ended: dict[str, Ended] = {}
        left = dict(component["dag"]["tasks"])
        while left:
            name = next(each for each in left if not set(left) & set(waits(left[each])))
            task = left.pop(name)
            if all(other in ended and ended[other].succeeded for other in waits(task)):
                ended[name] = self.run_task(name, task, given, ended, place)
        return ended

    def run_task(
        self, name: str, task: dict[str, Any], given: Given, ended: dict[str, Ended], place: tuple[int, ...]
    ) -> Ended:
        component = self.loaded["components"][task["componentRef"]["name"]]
        is_cached = bool(task.get("cachingOptions", {}).get("enableCache"))
        try:
            inputs = self.inputs(task, component, given, ended)
        except DriverError as error:
            self.log += f"driver of {name}{list(place)}: {error}\n"
            return Ended(succeeded=False)
        if "importer" in self.executor(component):
            return self.run_importer(name, component, task, inputs)
        if "parameterIterator" not in task:
            return self.run_container(name, component, inputs, place, is_cached=is_cached)
        iterator = task["parameterIterator"]
        items = inputs["parameterValues"].pop(iterator["items"]["inputParameter"])
        turns = []
        for number, item in enumerate(items):
            parameters = {**inputs["parameterValues"], iterator["itemInput"]: item}
            kept = {key: each["artifacts"][-1] for key, each in inputs["artifacts"].items()}
            names = {artifact["name"]: key for key, artifact in kept.items()}
            artifacts = {key: kept[key] for key in names.values()}
            turns.append(self.run_dag(component, Given(parameters, artifacts), (*place, number)))
        wanted = set(component["dag"]["tasks"])
        succeeded = all(set(turn) == wanted and all(each.succeeded for each in turn.values()) for turn in turns)
        return Ended(succeeded, component=component, turns=turns)

    def inputs(
        self, task: dict[str, Any], component: dict[str, Any], given: Given, ended: dict[str, Ended]
    ) -> dict[str, Any]:
        declared = component.get("inputDefinitions", {})
        found: dict[str, Any] = {"parameterValues": {}, "artifacts": {}}
        for key, source in task.get("inputs", {}).get("parameters", {}).items():
            kind = declared["parameters"][key]["parameterType"]
            found["parameterValues"][key] = delivered(self.parameter(source, kind, given, ended))
        for key, source in task.get("inputs", {}).get("artifacts", {}).items():
            if "componentInputArtifact" in source:
                if source["componentInputArtifact"] not in given.artifacts:
                    raise DriverError(f"parent DAG does not have input artifact {key}")
                found["artifacts"][key] = {"artifacts": [given.artifacts[source["componentInputArtifact"]]]}
            else:
                origin = source["taskOutputArtifact"]
                listed = ended[origin["producerTask"]].output(origin["outputArtifactKey"])
                assert len(listed) == 1 or declared["artifacts"][key].get("isArtifactList"), key
                found["artifacts"][key] = {"artifacts": listed}
        return found

    def parameter(self, source: dict[str, Any], kind: str, given: Given, ended: dict[str, Ended]) -> Any:
        if "componentInputParameter" in source:
            value = given.parameters[source["componentInputParameter"]]
        elif "runtimeValue" in source:
            value = source["runtimeValue"]["constant"]
        else:
            origin = source["taskOutputParameter"]
            producer = ended[origin["producerTask"]]
            listed = producer.output(origin["outputParameterKey"])
            value = listed if "dag" in producer.component else listed[0]
        assert isinstance(value, list) is (kind == "LIST"), f"type mismatch: {kind}, {value!r}"
        return value

    def executor(self, component: dict[str, Any]) -> dict[str, Any]:
        executors: dict[str, dict[str, Any]] = self.loaded["deploymentSpec"]["executors"]
        return executors.get(component.get("executorLabel", ""), {})

    def run_importer(self, name: str, component: dict[str, Any], task: dict[str, Any], inputs: dict[str, Any]) -> Ended:
        importer = self.executor(component)["importer"]
        source = importer["artifactUri"]
        if "runtimeParameter" in source:
            key = source["runtimeParameter"]
            assert "componentInputParameter" in task["inputs"]["parameters"][key], "it is sought in the DAG alone"
            uri = inputs["parameterValues"][key]
        else:
            uri = source["constant"]
        if not re.fullmatch(r"(gs|s3|minio)://[^/?]+(/[^?]*)?", uri):
            self.log += f"--- {name}\nunsupported Cloud bucket: {uri}\n"
            self.executions.append(Execution(name, "failure", 1, {}))
            return Ended(succeeded=False)
        (key,) = component["outputDefinitions"]["artifacts"]
        number = str(next(self.numbers)) if importer.get("reimport") else uri
        artifact = {"name": number, "uri": uri, "metadata": importer["metadata"]}
        self.executions.append(Execution(name, "success", 1, {key: self.shown(artifact)}))
        return Ended(True, {key: artifact}, component)

    def run_container(
        self, name: str, component: dict[str, Any], inputs: dict[str, Any], place: tuple[int, ...], *, is_cached: bool
    ) -> Ended:
        path = "/".join((name, *map(str, place)))
        key = json.dumps([component, inputs])
        if is_cached and key in self.cache:
            shown = {key: self.shown(each) for key, each in self.cache[key].outputs.items()}
            self.executions.append(Execution(name, "success", 0, shown, place))
            return self.cache[key]
        request = {"inputs": inputs, "outputs": self.slots(path, component)}
        container = self.executor(component)["container"]
        command = [*container["command"], *container["args"]]
        assert all(re.fullmatch(PLACEHOLDER, each) for each in command if "{{" in each), "a template of Argo's own"
        environ = {"HOME": "/broken", "PATH": os.environ["PATH"]}
        command = [kubernetes(each, environ) for each in command]
        sent = kubernetes(json.dumps(request), environ)
        assert len(sent) <= LONGEST_ARGUMENT
        command[2] = unpacked(command[2])
        command = [each.replace("{{$}}", sent) for each in placed(command, request)]
        for store in ("minio", "s3", "gcs"):
            command = [each.replace(f"/{store}/", f"{self.folder}/{store}/") for each in command]
        done = subprocess.run(
            [sys.executable, *command[1:]], cwd="/", capture_output=True, text=True, env=environ, check=False
        )
        self.log += f"--- {path}\n{done.stdout}{done.stderr}"
        if done.returncode:
            self.executions.append(Execution(name, "failure", 1, {}, place))
            return Ended(succeeded=False)
        outputs = dict(self.collected(component, request["outputs"]))
        shown = {key: self.shown(each) for key, each in outputs.items()}
        self.executions.append(Execution(name, "success", 1, shown, place))
        self.cache[key] = Ended(True, outputs, component)
        return self.cache[key]

    def slots(self, path: str, component: dict[str, Any]) -> dict[str, Any]:
        declared = component.get("outputDefinitions", {})
        root = self.folder / "outputs" / path
        logs = {"name": "executor-logs", "uri": f"minio://bucket/{path}/executor-logs", "type": {}}
        return {
            "outputFile": str(root / "executor_output.json"),
            "parameters": {key: {"outputFile": str(root / key)} for key in declared.get("parameters", {})},
            "artifacts": {
                key: {"artifacts": [{"name": key, "uri": f"minio://bucket/{path}/{key}", "type": each["artifactType"]}]}
                for key, each in declared.get("artifacts", {}).items()
            }
            | {"executor-logs": {"artifacts": [logs]}},
        }

    def collected(self, component: dict[str, Any], slots: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        declared = component.get("outputDefinitions", {})
        for key, each in declared.get("parameters", {}).items():
            text = Path(slots["parameters"][key]["outputFile"]).read_text()
            yield key, delivered(json.loads(text)) if each["parameterType"] == "LIST" else text
        told = Path(slots["outputFile"])
        artifacts = json.loads(told.read_text())["artifacts"] if told.exists() else {}
        assert set(artifacts) == set(declared.get("artifacts", {}))
        for key, each in artifacts.items():
            (artifact,) = each["artifacts"]
            assert self.file(artifact).exists()
            # The store tells artifacts apart by number.
            yield key, {**artifact, "name": str(next(self.numbers))}

    def file(self, artifact: dict[str, Any]) -> Path:
        """Where the store keeps an artifact."""
        return self.folder / artifact["uri"].replace("gs://", "gcs://").replace("://", "/")

    def shown(self, output: Any) -> Any:
        """An output as kfp.local would show it."""
        return {**output, "uri": str(self.file(output))} if isinstance(output, dict) else output


def unpacked(program: str) -> str:
    """A program as text, so that the folders in it can be moved."""
    if "exec(bz2" not in program:
        return program
    run: dict[str, Any] = {}
    exec(program.replace("exec(", "found = ("), run)
    return str(run["found"].decode())


def placed(command: list[str], request: dict[str, Any]) -> list[str]:
    """A command with the paths of artifacts, as the launcher has them, where it asks for these."""
    found = []
    for each in command:
        asked = re.fullmatch(PLACEHOLDER, each)
        is_path = asked is not None and asked[1] is not None
        artifacts = request[asked[1]]["artifacts"][asked[2]]["artifacts"] if asked and is_path else ()
        found.append(artifacts[0]["uri"].replace("minio://", "/minio/") if artifacts else each)
    return found


def waits(task: dict[str, Any]) -> list[str]:
    """What a task depends on: by name, and by its inputs."""
    sources = [each for side in task.get("inputs", {}).values() for each in side.values()]
    producers = [part["producerTask"] for each in sources for part in each.values() if "producerTask" in part]
    return [*task.get("dependentTasks", ()), *producers]


def kubernetes(text: str, environ: dict[str, str]) -> str:
    """What Kubernetes makes of an element of a command: ``$$`` becomes ``$``, a known ``$(VAR)`` its value."""

    def replaced(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else environ.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", replaced, text)


def delivered(raw: Any) -> Any:
    """What is left of a value after Kubeflow kept its numbers as doubles and wrote them as JSON again."""
    if isinstance(raw, list):
        return [delivered(item) for item in raw]
    if isinstance(raw, dict):
        return {key: delivered(item) for key, item in raw.items()}
    if isinstance(raw, bool) or not isinstance(raw, (int, float)):
        return raw
    return int(float(raw)) if float(raw).is_integer() else float(raw)
