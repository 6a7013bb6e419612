"""The workflow that Kubeflow's server makes of a file, and its state once a run has ended, as Argo keeps both.

Written after the server's compiler (``argocompiler``), its driver and launcher, and Argo's controller. Of a loop there
is one turn. What is random in a real run (ids, times, paths in the store) is random here, too, for gzip's sake.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

NAME = "pipeline-x7k2p"
NO_ITERATION = {"name": "parent-dag-id", "value": "{{inputs.parameters.parent-dag-id}}"}


def in_go(value: object) -> str:
    """JSON as Go writes it."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def parameters(**values: str) -> dict[str, list[dict[str, str]]]:
    """The parameters of one of Argo's tasks or nodes."""
    return {"parameters": [{"name": name.replace("_", "-"), "value": value} for name, value in values.items()]}


@dataclass
class Workflow:
    """The parts of a workflow that grow with a pipeline."""

    loaded: Mapping[str, Any]
    platform: Mapping[str, Any]
    arguments: dict[str, str] = field(default_factory=dict)
    templates: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.add_dag("root", self.loaded["root"])

    def container(self, component: Mapping[str, Any]) -> Mapping[str, Any]:
        executors: Mapping[str, Any] = self.loaded["deploymentSpec"]["executors"]
        container: Mapping[str, Any] = executors[component["executorLabel"]]["container"]
        return container

    def add_dag(self, name: str, component: Mapping[str, Any]) -> None:
        self.arguments[f"components-{name}"] = in_go(component)
        tasks: list[dict[str, Any]] = []
        for task_name, task in component["dag"]["tasks"].items():
            called = task["componentRef"]["name"]
            used = self.loaded["components"][called]
            tasks += self.loop(task_name, task, called, used) if "dag" in used else self.one(task_name, task, used)
        self.add(name, tasks)

    def add(self, name: str, tasks: list[dict[str, Any]]) -> None:
        about = {"annotations": {"sidecar.istio.io/inject": "false"}}
        self.templates.append({"name": name, "metadata": about, "inputs": {}, "outputs": {}, "dag": {"tasks": tasks}})

    def one(self, name: str, task: Mapping[str, Any], component: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        label = component["executorLabel"]
        hashed = f"{random.Random(in_go(self.container(component))).getrandbits(256):064x}"
        self.arguments[f"components-{hashed}"] = in_go(component)
        self.arguments[f"implementations-{hashed}"] = in_go(self.container(component))
        given = parameters(
            component=f"{{{{workflow.parameters.components-{hashed}}}}}",
            task=in_go(task),
            container=f"{{{{workflow.parameters.implementations-{hashed}}}}}",
            task_name=name,
        )
        given["parameters"].append(NO_ITERATION)
        if label in self.platform:
            self.arguments[f"kubernetes-{task['componentRef']['name']}"] = in_go(self.platform[label])
            kept = f"{{{{workflow.parameters.kubernetes-{task['componentRef']['name']}}}}}"
            given["parameters"].append({"name": "kubernetes-config", "value": kept})
        depends = " && ".join(f"{each}.Succeeded" for each in task.get("dependentTasks", ()))
        driver, outputs = f"{name}-driver", f"{{{{tasks.{name}-driver.outputs.parameters"
        yield {"name": driver, "template": "system-container-driver", "arguments": given, "depends": depends}
        patch = parameters(
            pod_spec_patch=f"{outputs}.pod-spec-patch}}}}", cached_decision=f"{outputs}.cached-decision}}}}"
        )
        yield {
            "name": name,
            "template": "system-container-executor",
            "arguments": patch,
            "depends": f"{driver}.Succeeded",
        }

    def loop(
        self, name: str, task: Mapping[str, Any], called: str, component: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        self.add_dag(called, component)
        given = parameters(
            component=f"{{{{workflow.parameters.components-{called}}}}}", task=in_go(task), task_name=name
        )
        for template in (f"{called}-{name}-iterator", f"{called}-iteration"):
            driver = {"name": "iteration-item-driver", "template": "system-dag-driver", "arguments": given}
            inner = parameters(
                parent_dag_id="{{tasks.iteration-driver.outputs.parameters.execution-id}}",
                condition="{{tasks.iteration-item-driver.outputs.parameters.condition}}",
            )
            self.add(template, [driver, {"name": "iteration-item", "template": called, "arguments": inner}])
        yield {"name": name, "template": f"{called}-{name}-iterator", "arguments": {"parameters": [NO_ITERATION]}}

    def spec_size(self) -> int:
        """The bytes of the workflow before it runs, the templates that each has among them."""
        arguments = [{"name": name, "value": value} for name, value in self.arguments.items()]
        return len(in_go([arguments, self.templates]).encode()) + 8_500

    def state_size(self) -> int:
        """The bytes that the state of a run has, compressed as Argo does it."""
        state = State(self)
        dags = [self.loaded["root"], *(each for each in self.loaded["components"].values() if "dag" in each)]
        for dag in dags:
            for name, task in dag["dag"]["tasks"].items():
                component = self.loaded["components"][task["componentRef"]["name"]]
                if "dag" not in component:
                    state.add(name, task, component)
        text = json.dumps(dict(sorted(state.nodes.items())), separators=(",", ":"))
        return len(base64.b64encode(gzip.compress(text.encode(), 6)))


@dataclass
class State:
    """The nodes of a run: of each task the driver's, the executor's, and the pod's."""

    workflow: Workflow
    nodes: dict[str, Any] = field(default_factory=dict)
    random: random.Random = field(default_factory=lambda: random.Random(1))

    def add(self, name: str, task: Mapping[str, Any], component: Mapping[str, Any]) -> None:
        container = self.workflow.container(component)
        patch = self.patch(name, component, container)
        common = {"component": in_go(component), "task": in_go(task), "container": in_go(container), "task_name": name}
        self.node(f"{name}-driver", "Pod", "system-container-driver", common, {"pod_spec_patch": patch})
        self.node(name, "DAG", "system-container-executor", {"pod_spec_patch": patch, "cached_decision": "false"}, {})
        self.node(f"{name}.executor", "Pod", "system-container-impl", {"pod_spec_patch": patch}, {})

    def patch(self, name: str, component: Mapping[str, Any], container: Mapping[str, Any]) -> str:
        told = ["--pipeline_name", "pipeline", "--run_id", str(uuid.UUID(int=7)), "--execution_id", self.digits(4)]
        told += ["--executor_input", in_go(self.request(name, component)), "--component_spec", in_go(component)]
        told += ["--pod_name", "$(KFP_POD_NAME)", "--pod_uid", "$(KFP_POD_UID)", "--task_name", name]
        told += ["--fingerprint", f"{self.random.getrandbits(256):064x}", "--"]
        main = {"name": "main", "image": container["image"], "command": ["/kfp-launcher/launch"]}
        return in_go({"containers": [{**main, "args": [*told, *container["command"], *container["args"]]}]})

    def request(self, name: str, component: Mapping[str, Any]) -> dict[str, Any]:
        def artifacts(side: str) -> dict[str, Any]:
            declared = component.get(side, {}).get("artifacts", {})
            root = f"minio://mlpipeline/v2/artifacts/pipeline/{uuid.UUID(int=7)}/{name}"
            places = {key: f"{root}/{uuid.UUID(int=self.random.getrandbits(128))}/{key}" for key in declared}
            return {
                key: {"artifacts": [{"name": self.digits(6), "uri": places[key], "type": each["artifactType"]}]}
                for key, each in declared.items()
            }

        def values(side: str) -> Mapping[str, Any]:
            found: Mapping[str, Any] = component.get(side, {}).get("parameters", {})
            return found

        given = {key: self.digits(5) for key in values("inputDefinitions")}
        files = {key: {"outputFile": f"/tmp/kfp/outputs/{key}"} for key in values("outputDefinitions")}
        return {
            "inputs": {"parameterValues": given, "artifacts": artifacts("inputDefinitions")},
            "outputs": {"parameters": files, "artifacts": artifacts("outputDefinitions"), "outputFile": "/tmp/kfp"},
        }

    def node(self, name: str, kind: str, template: str, inputs: dict[str, str], outputs: dict[str, str]) -> None:
        id_ = f"{NAME}-{self.digits(10)}"
        self.nodes[id_] = {
            "id": id_,
            "name": f"{NAME}.root.{name}",
            "displayName": name,
            "type": kind,
            "templateName": template,
            "templateScope": f"local/{NAME}",
            "phase": "Succeeded",
            "boundaryID": f"{NAME}-1234567890",
            "startedAt": self.moment(),
            "finishedAt": self.moment(),
            "progress": "1/1",
            "resourcesDuration": {"cpu": self.random.randrange(9), "memory": self.random.randrange(99)},
            "inputs": parameters(**inputs),
            "outputs": {**parameters(**outputs), "exitCode": "0"},
            "children": [f"{NAME}-{self.digits(10)}"],
            "hostNodeName": f"node-{self.random.randrange(9)}",
        }

    def digits(self, count: int) -> str:
        return str(self.random.randrange(10 ** (count - 1), 10**count))

    def moment(self) -> str:
        return f"2026-11-22T02:{self.random.randrange(60):02}:{self.random.randrange(60):02}Z"
