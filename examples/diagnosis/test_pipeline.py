"""Tests of the pipeline, as one writes them for one's own: `pytest examples/diagnosis`."""

import pandas as pd
from measures import TARGET
from pipeline import Candidate, diagnosis, forest, load, regression, report

from penstock.testing import Golden, PipelineRunner, attempts, raises

ROWS = pd.DataFrame({"radius": [float(each % 7) for each in range(40)], TARGET: [0, 1] * 20})
CAREFUL = Candidate("careful", model=None, accuracy=0.90, recall=0.99)
EXACT = Candidate("exact", model=None, accuracy=0.97, recall=0.95)


def test_the_candidate_that_misses_the_fewest_tumours_is_chosen(penstock_run: PipelineRunner) -> None:
    trained = {load: ROWS, regression: "a model", forest: "another"}
    run = penstock_run(diagnosis, fakes={**trained, "evaluate": EXACT, "evaluate_2": CAREFUL})
    assert run.ok
    assert run.outputs.chosen == "careful"
    assert "Chosen: **careful**" in run.outputs.report.read_text()


def test_both_models_learn_from_the_same_rows(penstock_run: PipelineRunner) -> None:
    run = penstock_run(diagnosis, held_back=0.5, fakes={load: ROWS}).assert_succeeded()
    (one,), (other,) = run.calls(regression), run.calls(forest)
    assert len(one.arguments["train"]) == 20
    assert one.arguments["train"].equals(other.arguments["train"])


def test_the_data_is_asked_for_again_when_it_cannot_be_read(penstock_run: PipelineRunner) -> None:
    run = penstock_run(diagnosis, fakes={load: attempts(OSError("no network"), ROWS)})
    assert run.ok
    assert run["load"].attempts == 2


def test_without_data_nothing_is_reported(penstock_run: PipelineRunner) -> None:
    run = penstock_run(diagnosis, fakes={load: raises(OSError("no network"))})
    assert run.assert_failed("load", match="no network").attempts == 3
    assert run.states["report"] == "upstream_failed"
    assert run.calls(report) == []


def test_what_the_engines_are_given_is_what_was_reviewed(penstock_golden: Golden) -> None:
    penstock_golden(diagnosis, "airflow", "github", "kubeflow", "local")
