"""GitHub Actions: the emitted workflow, executed by act."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import yaml

from penstock import Pipeline
from penstock.harness import FAILURES, Inputs, Place, instance, located
from penstock.spec import TypeKind
from penstock.values import Json
from penstock_backends.github.jobs import START, every_unit
from penstock_backends.github.names import input_ids, job_id, secret_id
from penstock_backends.lowering import Program, Unit, job_of, program_of
from tests.conformance.engine import Observed
from tests.conformance.secret_values import asked_by
from tests.engines.environments import PYTHON
from tests.engines.github import ActRun, github

STATES = {"success": "succeeded", "failure": "failed"}


class Act:
    """The workflow with its program beside it, in a repository of its own, started by hand."""

    name = "act"
    target = "github"

    def run(self, pipeline: Pipeline[..., Any], parameters: dict[str, Any], folder: Path) -> Observed:
        files = pipeline.compile("github", python_version=PYTHON)
        workflow = next(path for path in files if path.endswith(".yml"))
        secrets = {secret_id(reference): value for reference, value in asked_by(pipeline).items()}
        ran = github().run(files, workflow, typed_inputs(pipeline, parameters), folder=folder, secrets=secrets)
        assert not ran.crash, ran.crash
        program = program_of(pipeline.spec)
        jobs = {job_id(unit.id) for unit in every_unit(program)} | ({START} if pipeline.spec.timeout else set())
        assert set(yaml.safe_load(files[workflow])["jobs"]) == jobs
        seen = _Seen(program, ran, folder / "outputs")
        return Observed(STATES[ran.state], seen.states, seen.outputs, ran.log)


class _Seen:
    """The state of each instance, by the result of its job, and in loops by what the job kept of each item.

    A job that was not started has one result, whatever the reason: that follows from the states of those before it.
    """

    def __init__(self, program: Program, ran: ActRun, folder: Path) -> None:
        self.program, self.ran = program, ran
        self.states: dict[str, str] = {}
        self.outputs: dict[str, dict[str, Json]] = {}
        self.kept = {
            archive.stem: unpacked(archive, folder / archive.stem)
            for artifact in ran.artifacts.values()
            for archive in artifact.glob("*.tar")
        }
        for unit in every_unit(program):
            for index in self.places(unit.loops):
                self.see(unit, index)
            self.compare(unit)

    def places(self, loops: tuple[str, ...]) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = [()]
        for loop in loops:
            sizes = {index: len(self.outputs.get(instance(loop, index), {}).get("items", ())) for index in found}
            found = [(*index, number) for index in found for number in range(sizes[index])]
        return found

    def see(self, unit: Unit, index: tuple[int, ...]) -> None:
        name, job = instance(unit.id, index), job_id(unit.id)
        kept = ".".join([job, *map(str, index)])
        result = self.ran.jobs[job]
        if result == "skipped":
            self.states[name] = self.why_not(unit, index)
        elif unit.loops:
            endings = {"": "succeeded", ".failed": "failed", ".skipped": "skipped"}
            ended = [(state, self.kept[kept + end]) for end, state in endings.items() if kept + end in self.kept]
            self.states[name] = ended[0][1].get("state", ended[0][0]) if len(ended) == 1 else "not kept once"
        else:
            self.states[name] = STATES[result]
        if self.states[name] == "succeeded":
            self.outputs[name] = self.kept[kept]["outputs"] if kept in self.kept else {}

    def why_not(self, unit: Unit, index: tuple[int, ...]) -> str:
        if unit.role != "main":
            return "skipped"
        job = job_of(self.program, unit)
        found = Inputs({}, {}, self.outputs, job=job, place=Place(index, self.states)).obstacle(job)
        return found or "not started, for no reason"

    def compare(self, unit: Unit) -> None:
        """The jobs of a matrix, each by its own result, failed where what they kept says so."""
        for each in self.ran.instances:
            if each.job == job_id(unit.id) and each.matrix:
                first = tuple(map(int, each.matrix["index"].split("~")[0].split(".")))
                if "~" not in each.matrix["index"]:
                    failed = self.states[instance(unit.id, first)] in FAILURES
                    assert failed == (each.result == "failure"), (each, self.states)


def typed_inputs(pipeline: Pipeline[..., Any], parameters: dict[str, Any]) -> dict[str, str]:
    """The values as a person types them: a text as it is, all else as JSON."""
    ids = input_ids(tuple(parameter.name for parameter in pipeline.spec.parameters))
    texts = {each.name for each in pipeline.spec.parameters if each.type.kind is TypeKind.STR}
    wires = pipeline.encode_parameters(parameters)
    return {ids[name]: wires[name] if name in texts else json.dumps(wires[name]) for name in parameters}


def unpacked(archive: Path, folder: Path) -> dict[str, Json]:
    """The result in an archive that a job kept, its outputs' files there."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="fully_trusted")
    result = json.loads((folder / "result.json").read_text(encoding="ascii"))
    return {**result, "outputs": {name: located(wire, folder) for name, wire in result["outputs"].items()}}


ENGINES = (Act(),)
