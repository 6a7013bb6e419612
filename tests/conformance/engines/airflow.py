"""Airflow: the emitted DAG file, run by `dag.test` of 3.x and 2.x, and by the production services of 3.x."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from penstock import Pipeline
from penstock.harness import instance
from penstock.spec import ITEMS
from penstock.values import Json
from penstock_backends.airflow.attempt import unfolded
from penstock_backends.airflow.layout import Layout
from penstock_backends.airflow.tables import task_id, xcom_key
from penstock_backends.json_schema import plain
from penstock_backends.lowering import Unit, program_of
from tests.conformance.engine import Observed
from tests.conformance.secret_values import asked_by
from tests.engines.airflow import AirflowRun, airflow

STATES = {"success": "succeeded", "failed": "failed", "skipped": "skipped", "upstream_failed": "upstream_failed"}

# `dag.test` starts a mapped task's items in no order; a scheduler starts them by number.
NOT_BY_DAG_TEST = ("rollback_in_a_loop",)
SCHEDULED = "airflow-3-scheduler"


@dataclass(frozen=True)
class Airflow:
    """One way to run the DAG file. Artifacts stay below the test's folder."""

    name: str
    major: Literal[3, 2]
    scheduled: bool = False
    target: str = "airflow"

    def group(self, case: str) -> str:
        """Which tests share a process with this case: where a scheduler is needed, those that have one already."""
        return SCHEDULED if case in NOT_BY_DAG_TEST else self.name

    def run(self, pipeline: Pipeline[..., Any], parameters: dict[str, Any], folder: Path) -> Observed:
        files = pipeline.compile("airflow", airflow=self.major)
        engine = airflow(self.major)
        conf, root = given(pipeline, parameters), str(folder / "artifacts")
        if self.scheduled or pipeline.name in NOT_BY_DAG_TEST:
            ran = engine.scheduler_run(files, conf, variables={"artifact_root": root})
        else:
            ran = engine.dag_test(files, conf, environ={"AIRFLOW_VAR_ARTIFACT_ROOT": root, **held(pipeline)})
        assert not ran.import_errors, ran.import_errors
        assert not ran.warnings, ran.warnings
        assert not ran.crash, ran.crash + ran.log[-4000:]
        layout = Layout(program_of(pipeline.spec))
        nodes: dict[str, str] = {}
        outputs: dict[str, dict[str, Json]] = {}
        for unit in layout.program.by_id.values():
            for index, number in instances_of(layout, ran, unit):
                name = instance(unit.id, index)
                nodes[name] = state_of(ran, unit, number)
                if nodes[name] == "succeeded":
                    outputs[name] = outputs_of(ran, unit, number)
        return Observed(STATES[ran.state], nodes, outputs, ran.log)


def held(pipeline: Pipeline[..., Any]) -> dict[str, str]:
    """The secrets of a pipeline, as Variables and passwords of connections that stand in the environment."""
    found: dict[str, str] = {}
    for reference, value in asked_by(pipeline).items():
        name, _, field = reference.partition("/")
        if field:
            found[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps({"conn_type": "generic", field: value})
        else:
            found[f"AIRFLOW_VAR_{name.upper()}"] = value
    return found


def instances_of(layout: Layout, ran: AirflowRun, unit: Unit) -> list[tuple[tuple[int, ...], int]]:
    """A unit's instances: the number of its item in each loop around it, and Airflow's map index."""
    if not unit.loops:
        return [((), -1)]
    places = ran.xcoms.get((task_id(layout.over(unit)), -1, "return_value")) or []
    return [(tuple(place) if isinstance(place, list) else (place,), number) for number, place in enumerate(places)]


def state_of(ran: AirflowRun, unit: Unit, number: int) -> str:
    """How an instance ended. One that Airflow never mapped, since it could not run, shares its task's state.

    What waits for a part of another mapped group can tell Airflow only that it failed, and notes what it means.
    """
    id_ = task_id(unit.id)
    state = STATES[ran.tasks[id_, number] if (id_, number) in ran.tasks else ran.tasks[id_, -1]]
    return str(ran.xcoms.get((id_, number, "step_state"), state)) if state == "failed" else state


def given(pipeline: Pipeline[..., Any], parameters: dict[str, Any]) -> dict[str, Json]:
    """The values as a person types them into the trigger form."""
    types = {each.name: each.type for each in pipeline.spec.parameters}
    wires = pipeline.encode_parameters(parameters)
    return {name: plain(wires[name], types[name]) for name in parameters}


def outputs_of(ran: AirflowRun, unit: Unit, number: int) -> dict[str, Json]:
    """An instance's outputs, from its XComs."""
    single = unit.step.returns.kind == "value" and unit.step.id != ITEMS
    keys = {each.name: "return_value" if single else xcom_key(each.name) for each in unit.outputs}
    texts = {name: ran.xcoms[task_id(unit.id), number, key] for name, key in keys.items()}
    return {name: unfolded(name, json.loads(text), {}) for name, text in texts.items()}


ENGINES = (Airflow("airflow-3", 3), Airflow("airflow-2", 2), Airflow(SCHEDULED, 3, scheduled=True))
