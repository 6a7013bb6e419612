"""What Kubeflow's pages show of artifacts: their types, and the metadata in the words that the pages read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import yaml

from penstock import Classification, Dataset, Markdown, Metrics, Model, Report, pipeline, step
from penstock.harness import save_artifact
from penstock_backends.kubeflow import entry
from tests.backends.kubeflow_cluster import Cluster
from tests.engines.kfp import kfp

MATRIX = [[5, 1], [2, 8]]
CURVE = [(0.0, 0.0, math.inf), (0.2, 0.8, 0.5), (1.0, 1.0, 0.1)]


class Evaluation(NamedTuple):
    quality: Metrics[Classification]
    scores: Metrics[dict[str, float]]
    page: Report[str]
    notes: Markdown[str]
    file: Markdown[Path]
    rows: Dataset[dict[str, int]]
    model: Model[list[int]]


@step
def evaluate() -> Evaluation:
    Path("notes.md").write_text("# Of a file")
    quality = Classification(["no", "yés"], MATRIX, CURVE)
    scores = {"accuracy": 0.8, "format": 3.0, "loss": math.nan}
    return Evaluation(quality, scores, "<h1>Né</h1>", "# Of a text", Path("notes.md"), {"a": 1}, [1, 2])


@step
def read(quality: Classification, scores: dict[str, float], page: str, notes: str, file: Path) -> bool:
    return (
        quality == Classification(["no", "yés"], MATRIX, CURVE)
        and list(scores) == ["accuracy", "format", "loss"]
        and (page, notes, file.read_text()) == ("<h1>Né</h1>", "# Of a text", "# Of a file")
    )


@pipeline
def evaluated() -> bool:
    made = evaluate()
    return read(made.quality, made.scores, made.page, made.notes, made.file)


@pytest.mark.slow
@pytest.mark.engine
def test_every_artifact_is_of_the_type_and_says_what_its_page_shows(tmp_path: Path) -> None:
    (text,) = evaluated.compile("kubeflow").values()
    ran = kfp().run(text, {}, folder=tmp_path)
    made, taken = (each.outputs for each in ran.executions)
    assert (ran.state, taken) == ("success", {"output": "true"}), ran.log
    assert {name: each["artifact"] for name, each in made.items()} == {
        "quality": "system.ClassificationMetrics",
        "scores": "system.Metrics",
        "page": "system.HTML",
        "notes": "system.Markdown",
        "file": "system.Markdown",
        "rows": "system.Dataset",
        "model": "system.Model",
    }
    assert Path(made["page"]["uri"]).read_bytes() == "<h1>Né</h1>".encode()
    assert Path(made["notes"]["uri"]).name == "notes.md"
    assert made["scores"]["metadata"] == {"format": "json", "format_": 3.0, "accuracy": 0.8, "loss": "nan"}
    assert made["model"]["metadata"] == {"format": "json", "type": "Model[list[int]]", "bytes": 5}


def test_what_a_page_shows_changes_nothing_of_what_a_step_gets_on_the_cluster(tmp_path: Path) -> None:
    (text,) = evaluated.compile("kubeflow").values()
    ran = Cluster(yaml.safe_load(text), tmp_path).run({})
    assert (ran.state, ran.executions[-1].outputs) == ("success", {"output": "true"}), ran.log


IN_KFP = """
from kfp import dsl

@dsl.component(base_image="python:3.12-slim", packages_to_install=[], install_kfp_package=False)
def evaluate(quality: dsl.Output[dsl.ClassificationMetrics]):
    quality.log_confusion_matrix(["no", "yés"], [[5, 1], [2, 8]])
    quality.log_roc_curve([0.0, 0.2, 1.0], [0.0, 0.8, 1.0], [1.5, 0.5, 0.1])

@dsl.pipeline
def evaluated():
    evaluate()

PIPELINES = {"evaluated": evaluated}
"""


@pytest.mark.slow
@pytest.mark.engine
def test_a_classifier_is_drawn_as_kfp_itself_has_it_drawn(tmp_path: Path) -> None:
    """Pages take finite numbers: the infinite threshold that scikit-learn begins with is one above the rest."""
    (module := tmp_path / "in_kfp.py").write_text(IN_KFP)
    theirs = kfp().compiled(module, folder=tmp_path / "compiled")["evaluated"]
    drawn = []
    for text in (*evaluated.compile("kubeflow").values(), theirs):
        (folder := tmp_path / f"run-{len(drawn)}").mkdir()
        metadata = kfp().run(text, {}, folder=folder).executions[0].outputs["quality"]["metadata"]
        drawn.append({name: metadata[name] for name in ("confusionMatrix", "confidenceMetrics")})
    assert drawn[0] == drawn[1]


def test_a_table_says_how_large_it_is_and_an_array_of_what_shape(tmp_path: Path) -> None:
    frame = save_artifact(pd.DataFrame({"{{n}}": [1, 2, 3], "x": 0.5}, index=[5, 6, 7]), "parquet", tmp_path, "rows")
    array = save_artifact(np.zeros((2, 3), "int8"), "npy", tmp_path, "array")
    shown = []
    for wire in (frame, array):
        shown.append(artifact("system.Dataset"))
        shown[-1].show_extent(tmp_path / wire["$artifact"]["file"], wire["$artifact"]["format"])
    table, numbers = (each.metadata for each in shown)
    assert (table["rows"], table["columns"].endswith(", x")) == (3, True)
    assert not entry.has_mark(json.dumps(table))
    assert numbers == {"shape": "2 x 3", "dtype": "int8"}


def artifact(title: str) -> entry.Artifact:
    return entry.Artifact("quality", {"uri": "/nowhere/quality", "type": {"schemaTitle": title}})


def test_a_page_draws_no_more_than_fits_on_the_command_lines_of_those_who_take_the_artifact(
    capfd: pytest.CaptureFixture[str],
) -> None:
    long, wide = artifact("system.ClassificationMetrics"), artifact("system.ClassificationMetrics")
    steps = range(5_000)
    long.add_curves(Classification([], [], [(n / 5_000, n / 5_000, 1 - n / 5_000) for n in steps]))
    curve = long.metadata["confidenceMetrics"]
    assert (len(curve), curve[0]["recall"], curve[-1]["recall"]) == (61, 0, 4_999 / 5_000)
    wide.add_curves(Classification([str(n) for n in range(100)], [[0] * 100] * 100))
    assert wide.metadata == {}
    assert "no room for `confusionMatrix` of `quality`" in capfd.readouterr().err
    many = artifact("system.Metrics")
    many.add_numbers({f"metric {n}": n for n in steps})
    assert 300 < len(many.metadata) < 700
    assert len(json.dumps(many.metadata)) < 15_000


def test_what_is_no_number_is_not_drawn() -> None:
    odd = artifact("system.ClassificationMetrics")
    odd.add_curves(Classification(["a"], [[math.nan]], [(math.nan, 0.0, 1.0)]))
    assert odd.metadata == {}


def test_what_the_engines_would_change_in_a_label_is_kept_from_them() -> None:
    marked = artifact("system.ClassificationMetrics")
    marked.add_curves(Classification(["{{x}}"], [[1]]))
    assert not entry.has_mark(json.dumps(marked.metadata))


def test_metrics_in_a_loop_leave_room_for_those_of_all_its_items() -> None:
    @step
    def scores(n: int) -> Metrics[dict[str, float]]:
        return {"accuracy": n / 10}

    @step
    def best(found: list[dict[str, float]]) -> float:
        return max(each["accuracy"] for each in found)

    @pipeline
    def searched(count: list[int] = [1, 2]) -> float:
        return best([scores(n) for n in count])

    (text,) = searched.compile("kubeflow").values()
    executors = next(yaml.safe_load_all(text))["deploymentSpec"]["executors"]
    jobs: dict[str, Any] = {name: json.loads(each["container"]["args"][1]) for name, each in executors.items()}
    assert jobs["exec-for"]["most"] == 120_000 // 720
