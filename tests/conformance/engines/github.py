"""GitHub Actions: the emitted workflow, executed by act."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import yaml

from penstock import Pipeline
from penstock.harness import read_outputs
from penstock.spec import TypeKind, tasks
from penstock.values import Json
from penstock_backends.github.names import input_ids, job_id
from penstock_backends.lowering import flatten_groups
from tests.conformance.engine import Observed
from tests.engines.environments import PYTHON
from tests.engines.github import github

STATES = {"success": "succeeded", "failure": "failed", "skipped": "upstream_failed"}


class Act:
    """The workflow with its program beside it, in a repository of its own, started by hand."""

    name = "act"
    target = "github"

    def run(self, pipeline: Pipeline[..., Any], parameters: dict[str, Any], folder: Path) -> Observed:
        files = pipeline.compile("github", python_version=PYTHON)
        workflow = next(path for path in files if path.endswith(".yml"))
        ran = github().run(files, workflow, typed_inputs(pipeline, parameters), folder=folder)
        assert not ran.crash, ran.crash
        jobs = {task.id: job_id(task.id) for task in tasks(flatten_groups(pipeline.spec).body)}
        assert set(yaml.safe_load(files[workflow])["jobs"]) == set(jobs.values())
        nodes = {node: STATES[ran.jobs[job]] for node, job in jobs.items()}
        outputs = {
            node: unpacked(ran.artifacts[job] / f"{job}.tar", folder / "outputs" / job) if job in ran.artifacts else {}
            for node, job in jobs.items()
            if nodes[node] == "succeeded"
        }
        return Observed(STATES[ran.state], nodes, outputs, ran.log)


def typed_inputs(pipeline: Pipeline[..., Any], parameters: dict[str, Any]) -> dict[str, str]:
    """The values as a person types them: a text as it is, all else as JSON."""
    ids = input_ids(tuple(parameter.name for parameter in pipeline.spec.parameters))
    texts = {each.name for each in pipeline.spec.parameters if each.type.kind is TypeKind.STR}
    wires = pipeline.encode_parameters(parameters)
    return {ids[name]: wires[name] if name in texts else json.dumps(wires[name]) for name in parameters}


def unpacked(archive: Path, folder: Path) -> dict[str, Json]:
    """The outputs in an artifact of a job."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="fully_trusted")
    return read_outputs(folder)


ENGINES = (Act(),)
