"""What came of a run on kfp.local, in one form for both: what each step gave, and what the pipeline did."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock import Pipeline
from penstock.harness import find_type
from penstock_backends.kubeflow.channels import task_name
from penstock_backends.kubeflow.entry import read_input
from penstock_backends.lowering import program_of
from tests.engines.kfp import KfpRun

_METRICS = ("system.Metrics", "system.ClassificationMetrics")
OURS_ALONE = ("outcome", "Output")


@dataclass(frozen=True)
class Result:
    """``steps`` maps a step's name to what its calls gave, in any order; ``outputs`` are the pipeline's."""

    state: str
    outputs: dict[str, Any]
    steps: dict[str, list[Any]]


def result_of_kfp(ran: KfpRun) -> Result:
    """What a pipeline that kfp compiled did."""
    steps: dict[str, list[Any]] = {}
    for each in ran.executions:
        if each.state == "success":
            gave = {_as_ours(name): _plain(value) for name, value in each.outputs.items()}
            steps.setdefault(re.sub(r"-\d+$", "", each.task).replace("-", "_"), []).append(gave)
    return _sorted(ran, {_as_ours(name): _plain(value) for name, value in ran.outputs.items()}, steps)


def result_of_ours(pipeline: Pipeline[..., Any], ran: KfpRun, folder: Path) -> Result:
    """What a pipeline that Penstock compiled did; tasks of its own, and those that were skipped, are left out."""
    units = {task_name(unit.id): unit for unit in program_of(pipeline.spec).by_id.values()}
    steps: dict[str, list[Any]] = {}
    for each in ran.executions:
        name = units[each.task].step.id.rpartition(":")[2] if each.task in units else ""
        if each.state == "success" and name in pipeline_steps(pipeline) and _ran(each.outputs.get("outcome")):
            gave = {key: _exact(value, folder) for key, value in each.outputs.items() if key not in OURS_ALONE}
            steps.setdefault(name, []).append(gave)
    return _sorted(ran, {name: _exact(value, folder) for name, value in ran.outputs.items()}, steps)


def pipeline_steps(pipeline: Pipeline[..., Any]) -> set[str]:
    """The names of the author's steps."""
    found = {step.id for step in pipeline.spec.steps}
    return {id_.rpartition(":")[2] for id_ in found if not id_.startswith("penstock:")}


def _sorted(ran: KfpRun, outputs: dict[str, Any], steps: dict[str, list[Any]]) -> Result:
    assert not ran.crash, f"{ran.crash}\n{ran.log}"
    return Result(ran.state, outputs, {name: sorted(gave, key=repr) for name, gave in steps.items()})


def _as_ours(name: str) -> str:
    return "output" if name == "Output" else name


def _ran(outcome: Any) -> bool:
    """Whether a task ran its step, as it says itself where that is not certain."""
    if outcome is None:
        return True
    told = json.loads(outcome if isinstance(outcome, str) else Path(outcome["uri"]).read_text())
    return {state for state, *_ in told.values()} == {"succeeded"}


def _exact(value: Any, folder: Path) -> Any:
    if isinstance(value, str):
        return _plain(json.loads(value))
    return _plain(value if value["artifact"] in _METRICS else read_input(value, folder))


def _shown(metadata: dict[str, Any]) -> dict[str, Any]:
    """What a page shows of metrics: of Penstock's metadata, some is for the next step."""
    return {name: each for name, each in metadata.items() if name not in ("format", "type", "bytes")}


def _plain(value: Any) -> Any:
    """A value without what only one of both says of it: a whole number may be a float, a record a dict."""
    if isinstance(value, dict) and "artifact" in value:
        is_shown = value["artifact"] in _METRICS
        return _plain(_shown(value["metadata"])) if is_shown else Path(value["path"]).read_text()
    if isinstance(value, dict) and list(value) == ["$artifact"]:
        return Path(value["$artifact"]["file"]).read_text()
    if isinstance(value, dict) and list(value) == ["$instance"]:
        return _plain(value["$instance"][2])
    if isinstance(value, dict) and list(value) == ["$namedtuple"]:
        record, values = value["$namedtuple"]
        return _plain(dict(zip(find_type(record)._fields, values, strict=True)))
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    is_whole = isinstance(value, float) and value.is_integer()
    return int(value) if is_whole else value
