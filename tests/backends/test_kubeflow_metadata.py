"""What a step recorded of its outputs, on Kubeflow: the metadata of their artifacts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import yaml

from penstock import Dataset, Metrics, Model, log_metadata, log_metric, pipeline, step
from penstock_backends.kubeflow import entry
from tests.backends.kubeflow_cluster import Cluster
from tests.backends.test_kubeflow_pages import artifact
from tests.engines.kfp import kfp


class Trained(NamedTuple):
    rows: Dataset[pd.DataFrame]
    model: Model[dict[str, int]]
    note: str
    depth: int


@step
def train(depth: int) -> Trained:
    log_metadata(output="rows", rows="two", source="census", loss=math.nan, missing=None, large=2**60)
    log_metadata(output="model", features=["age", None], format="of my own", display_name="best", **{"{{a}}": "{{b}}"})
    log_metadata(output="note", language="en")
    log_metadata(output="depth", unit="levels")
    log_metric("accuracy", 0.5)
    return Trained(pd.DataFrame({"a": [1, 2]}), {"depth": depth}, "a note", depth)


@step
def count(rows: pd.DataFrame, model: dict[str, int], note: str, depth: int) -> int:
    log_metadata(unit="rows")
    return len(rows) + model["depth"] + len(note) + depth


@pipeline
def trained(depth: int = 3) -> int:
    made = train(depth)
    return count(made.rows, made.model, made.note, made.depth)


@step
def scores(n: int) -> Metrics[dict[str, float]]:
    log_metadata(of=n, much="x" * 300)
    return {"accuracy": n / 10}


@pipeline
def looped(numbers: list[int] = [1, 2]) -> list[dict[str, float]]:
    return [scores(n) for n in numbers]


def holds(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    return expected.items() <= found["metadata"].items()


@pytest.mark.slow
@pytest.mark.engine
def test_it_is_metadata_of_the_outputs_artifact(tmp_path: Path) -> None:
    (text,) = trained.compile("kubeflow").values()
    ran = kfp().run(text, folder=tmp_path)
    assert ran.state == "success", ran.log
    made, counted = (each.outputs for each in ran.executions)
    assert counted["output"] == "14"
    plain = {"rows": "two", "source": "census", "loss": "nan", "missing": "None", "large": str(2**60), "columns": "a"}
    assert holds(made["rows"], plain)
    own = {"features": ["age", "None"], "format": "json", "format_": "of my own", "display_name_": "best"}
    assert holds(made["model"], own)
    assert "{{" not in str(made["model"]["metadata"])
    assert holds(made["note"], {"language": "en"})
    assert made["metadata"]["metadata"] == {"format": "value", "depth.unit": "levels"}
    assert counted["metadata"]["metadata"] == {"format": "value", "unit": "rows"}
    assert holds(made["metrics"], {"accuracy": 0.5})


@pytest.mark.slow
def test_a_step_gets_the_same_inputs_with_it_on_the_cluster(tmp_path: Path) -> None:
    (text,) = trained.compile("kubeflow").values()
    ran = Cluster(yaml.safe_load(text), tmp_path).run({})
    assert (ran.state, ran.executions[-1].outputs["output"]) == ("success", "14"), ran.log


@pytest.mark.slow
@pytest.mark.engine
def test_in_a_loop_there_is_room_for_a_little_of_it(tmp_path: Path) -> None:
    (text,) = looped.compile("kubeflow").values()
    ran = kfp().run(text, folder=tmp_path)
    assert ran.state == "success", ran.log
    shown = [each.outputs["output"]["metadata"] for each in ran.executions if each.task.startswith("scores")]
    assert sorted(each["of"] for each in shown) == [1, 2]
    assert not any("much" in each for each in shown)
    assert "there is no room for `much` of `output` on Kubeflow's page" in ran.log


def test_what_the_step_says_goes_before_what_we_do() -> None:
    made = artifact("system.Dataset")
    made.show("rows", 5)
    made.show_known({"rows": 6, "deep": {"{{": [True, math.inf, {"a": None}]}})
    assert made.metadata["rows"] == 6
    (deep,) = made.metadata["deep"].values()
    assert deep == [True, "inf", {"a": "None"}]
    assert not any(entry.has_mark(name) for name in made.metadata["deep"])
