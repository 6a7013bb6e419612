"""Kubeflow Pipelines: the emitted YAML, executed by kfp.local's SubprocessRunner.

kfp.local stops at the first task that fails and says nothing of those it did not start, where a cluster goes on with
what does not depend on the failure. To see what becomes of those, what has failed and all that depends on it is cut
from the file, and the rest is run again, until all of it has been seen. So a node is `upstream_failed` because it
depends on a task that was seen to fail and was itself never started; everything else is what kfp.local showed.
"""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path
from typing import Any

import yaml

from penstock import Pipeline
from penstock.spec import PipelineSpec, tasks
from penstock.values import Json
from penstock_backends.kubeflow import arguments_for
from penstock_backends.kubeflow.channels import identifier, task_name
from penstock_backends.kubeflow.entry import read_input
from penstock_backends.lowering import flatten_groups, predecessors
from tests.conformance.engine import Observed
from tests.engines.kfp import kfp


class KfpLocal:
    """One file, loaded by kfp, each task a process of kfp's own environment, in which there is no Penstock."""

    name = "kfp.local"
    target = "kubeflow"

    def run(self, pipeline: Pipeline[..., Any], parameters: dict[str, Any], folder: Path) -> Observed:
        spec = flatten_groups(pipeline.spec)
        (text,) = pipeline.compile("kubeflow").values()
        given = arguments_for(spec.parameters, pipeline.encode_parameters(parameters))
        given = {name: given[name] for name in parameters}
        seen = _Seen(spec)
        while left := seen.unseen():
            part = folder / f"part-{len(seen.logs)}"
            part.mkdir()
            ran = kfp().run(_cut(text, left, whole=not seen.logs), given, folder=part, environ=_with_pip(part))
            assert not ran.crash, f"{ran.crash}\n{ran.log}"
            assert {each.state for each in ran.executions} <= {"success", "failure"}, ran.executions
            assert ran.executions, ran.log
            seen.add(ran.tasks, {each.task: each.outputs for each in ran.executions}, ran.log)
        return Observed(seen.state, seen.nodes, seen.outputs(folder), "\n".join(seen.logs))


class _Seen:
    """What has been seen of a pipeline's tasks so far."""

    def __init__(self, spec: PipelineSpec) -> None:
        self.spec = spec
        self.ids = {task_name(task.id): task.id for task in tasks(spec.body)}
        self.states: dict[str, str] = {}
        self.raw: dict[str, dict[str, Any]] = {}
        self.logs: list[str] = []

    def add(self, states: dict[str, str], outputs: dict[str, dict[str, Any]], log: str) -> None:
        words = {"success": "succeeded", "failure": "failed"}
        self.states |= {self.ids[name]: words[state] for name, state in states.items()}
        self.raw |= {self.ids[name]: found for name, found in outputs.items()}
        self.logs.append(log)

    @property
    def nodes(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for task in tasks(self.spec.body):
            is_below = any(found[node] in ("failed", "upstream_failed") for node in predecessors(task))
            assert not (is_below and task.id in self.states), f"{task.id} was started though it depends on a failure"
            found[task.id] = "upstream_failed" if is_below else self.states.get(task.id, "")
        return found

    @property
    def state(self) -> str:
        return "failed" if "failed" in self.states.values() else "succeeded"

    def unseen(self) -> set[str]:
        """The names of the tasks to run, if any of them has not been seen yet."""
        left = {node for node, state in self.nodes.items() if state not in ("failed", "upstream_failed")}
        return {task_name(node) for node in left} if left - set(self.states) else set()

    def outputs(self, folder: Path) -> dict[str, dict[str, Json]]:
        found: dict[str, dict[str, Json]] = {}
        for task in tasks(self.spec.body):
            if self.nodes[task.id] == "succeeded":
                names = [output.name for output in self.spec.step(task).outputs]
                found[task.id] = {name: _wire(self.raw[task.id][identifier(name)], folder) for name in names}
        return found


def _wire(value: Any, folder: Path) -> Json:
    """A parameter's text, or what is behind an artifact."""
    return json.loads(value) if isinstance(value, str) else read_input(value, folder)


def _cut(text: str, left: set[str], *, whole: bool) -> str:
    """The file with these tasks only."""
    if whole:
        return text
    pipeline, *platforms = yaml.safe_load_all(text)
    root = pipeline["root"]
    root["dag"] = {"tasks": {name: task for name, task in root["dag"]["tasks"].items() if name in left}}
    root.pop("outputDefinitions", None)
    used = {task["componentRef"]["name"] for task in root["dag"]["tasks"].values()}
    pipeline["components"] = {name: each for name, each in pipeline["components"].items() if name in used}
    return yaml.safe_dump_all([pipeline, *platforms], sort_keys=False)


def _with_pip(folder: Path) -> dict[str, str]:
    """What gives the steps a pip, which an image has, and keeps what it installs out of kfp's own environment."""
    packages = folder / "packages"
    packages.mkdir()
    (packages / "pip").symlink_to(Path(sysconfig.get_path("purelib")) / "pip")
    return {"PYTHONPATH": str(packages), "PIP_TARGET": str(packages)}


ENGINES = (KfpLocal(),)


ENGINES = (KfpLocal(),)
