"""Airflow: the emitted DAG file, run by `dag.test` of 3.x and 2.x, and by the production services of 3.x."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from penstock import Pipeline
from penstock.spec import PipelineSpec, tasks
from penstock.values import Json
from penstock_backends.airflow.dag_file import task_id
from penstock_backends.airflow.tables import has_names, xcom_key
from penstock_backends.json_schema import plain
from tests.conformance.engine import Observed
from tests.engines.airflow import AirflowRun, airflow

STATES = {"success": "succeeded", "failed": "failed", "skipped": "skipped", "upstream_failed": "upstream_failed"}


@dataclass(frozen=True)
class Airflow:
    """One way to run the DAG file. Artifacts stay below the test's folder."""

    name: str
    major: Literal[3, 2]
    scheduled: bool = False
    target: str = "airflow"

    def run(self, pipeline: Pipeline[..., Any], parameters: dict[str, Any], folder: Path) -> Observed:
        files = pipeline.compile("airflow", airflow=self.major)
        engine = airflow(self.major)
        start = engine.scheduler_run if self.scheduled else engine.dag_test
        ran = start(
            files, given(pipeline, parameters), environ={"AIRFLOW_VAR_ARTIFACT_ROOT": str(folder / "artifacts")}
        )
        assert not ran.import_errors, ran.import_errors
        assert not ran.warnings, ran.warnings
        assert not ran.crash, ran.crash + ran.log[-4000:]
        nodes = {task.id: STATES[ran.tasks[task_id(task.id), -1]] for task in tasks(pipeline.spec.body)}
        outputs = {node: outputs_of(pipeline.spec, ran, node) for node, state in nodes.items() if state == "succeeded"}
        return Observed(STATES[ran.state], nodes, outputs, ran.log)


def given(pipeline: Pipeline[..., Any], parameters: dict[str, Any]) -> dict[str, Json]:
    """The values as a person types them into the trigger form."""
    types = {each.name: each.type for each in pipeline.spec.parameters}
    wires = pipeline.encode_parameters(parameters)
    return {name: plain(wires[name], types[name]) for name in parameters}


def outputs_of(spec: PipelineSpec, ran: AirflowRun, node: str) -> dict[str, Json]:
    """A node's outputs, from its XComs."""
    step = next(spec.step(task) for task in tasks(spec.body) if task.id == node)
    keys = {each.name: xcom_key(each.name) if has_names(step) else "return_value" for each in step.outputs}
    return {name: json.loads(ran.xcoms[task_id(node), -1, key]) for name, key in keys.items()}


ENGINES = (Airflow("airflow-3", 3), Airflow("airflow-2", 2), Airflow("airflow-3-scheduler", 3, scheduled=True))
