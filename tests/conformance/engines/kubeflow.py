"""Kubeflow Pipelines: the emitted YAML, executed by kfp.local's SubprocessRunner.

A task that failed is seen to fail; what was never started, though its loop has such an item, is `upstream_failed`, as
on a cluster, and only where something that it waits for is. A task that was started and did not run its step wrote so
itself, as did those of a run whose end must see failures: Kubeflow shows their output ``outcome``.
"""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penstock import Pipeline
from penstock.harness import FAILURES, instance, parts_of
from penstock.values import Json
from penstock_backends.kubeflow import arguments_for
from penstock_backends.kubeflow.channels import identifier, task_name
from penstock_backends.kubeflow.entry import read_input
from penstock_backends.lowering import Program, Unit, program_of
from tests.conformance.engine import Observed
from tests.conformance.secret_values import variables_of
from tests.engines.kfp import Execution, KfpRun, kfp


class KfpLocal:
    """One file, loaded by kfp, each task a process of kfp's own environment, in which there is no Penstock."""

    name = "kfp.local"
    target = "kubeflow"

    def run(self, pipeline: Pipeline[..., Any], parameters: dict[str, Any], folder: Path) -> Observed:
        (text,) = pipeline.compile("kubeflow").values()
        given = arguments_for(pipeline.spec.parameters, pipeline.encode_parameters(parameters))
        given = {name: given[name] for name in parameters}
        ran = kfp().run(text, given, folder=folder, environ={**_with_pip(folder), **variables_of(pipeline)})
        return observed(program_of(pipeline.spec), ran, folder)


def observed(program: Program, ran: KfpRun, folder: Path) -> Observed:
    """What a run shows of a pipeline's units; ``folder`` is for what has to be unpacked."""
    assert not ran.crash, f"{ran.crash}\n{ran.log}"
    assert {each.state for each in ran.executions} <= {"success", "failure"}, ran.executions
    seen = _Seen(program, ran)
    state = {"success": "succeeded", "failed": "failed"}[ran.state]
    return Observed(state, seen.nodes(), seen.outputs(folder), ran.log)


class _Seen:
    """What has been seen of a pipeline's units."""

    def __init__(self, program: Program, ran: KfpRun) -> None:
        self.program = program
        self.executions = {(each.task, each.place): each for each in ran.executions}
        assert len(self.executions) == len(ran.executions), ran.executions

    def of(self, unit: Unit) -> Iterator[Execution]:
        name = task_name(unit.id)
        return (each for (task, _), each in self.executions.items() if task == name)

    def nodes(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for unit in self.program.by_id.values():
            for execution in self.of(unit):
                found |= self._states(unit, execution)
        for unit in self.program.units:
            for at in self._places(unit.loops, found):
                if (name := instance(unit.id, at)) not in found:
                    ended = {parts_of(other)[0] for other, state in found.items() if state in FAILURES}
                    assert ended & set(self.program.waits_for(unit)), f"{name} was not started"
                    found[name] = "upstream_failed"
        return found

    def _states(self, unit: Unit, execution: Execution) -> dict[str, str]:
        name = instance(unit.id, execution.place)
        if execution.state == "failure":
            return {name: "failed"}
        told = json.loads(execution.outputs.get("outcome") or "null") if _is_text(execution) else _outcome(execution)
        if told is None:
            return {name: "succeeded"}
        guard = self.executions.get((task_name(f"{unit.id}.passed"), execution.place))
        if guard is not None and told:
            assert (guard.state == "failure") is (told[name][0] == "failed")
        return {each: state for each, (state, _) in told.items()}

    def _places(self, loops: tuple[str, ...], found: dict[str, str]) -> list[tuple[int, ...]]:
        """Where the instances of a unit in these loops stand."""
        places: list[tuple[int, ...]] = [()]
        for loop in loops:
            counts = [(at, self._count(loop, at)) for at in places if found.get(instance(loop, at)) == "succeeded"]
            places = [(*at, number) for at, count in counts for number in range(count)]
        return places

    def _count(self, loop: str, at: tuple[int, ...]) -> int:
        listed = self.executions[task_name(loop), at].outputs["Output"]
        return len([each for each in listed if -1 not in json.loads(each)])

    def outputs(self, folder: Path) -> dict[str, dict[str, Json]]:
        found: dict[str, dict[str, Json]] = {}
        nodes = self.nodes()
        for unit in self.program.by_id.values():
            for execution in self.of(unit):
                raw = {each.name: execution.outputs.get(identifier(each.name)) for each in unit.outputs}
                name = instance(unit.id, execution.place)
                if nodes.get(name) == "succeeded":
                    found[name] = {output: _wire(value, folder) for output, value in raw.items()}
                elif unit.role == "rollback" and unit.loops:
                    found |= self._undone(unit, raw, folder)
        return found

    def _undone(self, unit: Unit, raw: dict[str, Any], folder: Path) -> dict[str, dict[str, Json]]:
        """The outputs of the instances of one that undoes a step in loops: all of them are run by one task."""
        (execution,) = self.of(unit)
        ended = self._states(unit, execution)
        found: dict[str, dict[str, Json]] = {name: {} for name, state in ended.items() if state == "succeeded"}
        for output, value in raw.items():
            for at, _, wire in read_input(value, folder):
                found[instance(unit.id, at)][output] = wire
        return found


def _is_text(execution: Execution) -> bool:
    return isinstance(execution.outputs.get("outcome"), str)


def _outcome(execution: Execution) -> Any:
    artifact = execution.outputs.get("outcome")
    return json.loads(Path(artifact["uri"]).read_text()) if artifact else None


def _wire(value: Any, folder: Path) -> Json:
    """A parameter's text, or what is behind an artifact."""
    wire = json.loads(value) if isinstance(value, str) else read_input(value, folder)
    is_marked = isinstance(wire, dict) and list(wire) == ["$instance"]
    return wire["$instance"][2] if is_marked else wire


def _with_pip(folder: Path) -> dict[str, str]:
    """What gives the steps a pip, which an image has, and keeps what it installs out of kfp's own environment."""
    packages = folder / "packages"
    packages.mkdir()
    (packages / "pip").symlink_to(Path(sysconfig.get_path("purelib")) / "pip")
    return {"PYTHONPATH": str(packages), "PIP_TARGET": str(packages)}


ENGINES = (KfpLocal(),)
