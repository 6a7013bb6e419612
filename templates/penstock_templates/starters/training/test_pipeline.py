"""Tests of the pipeline: `pytest`."""

import json

from pipeline import Row, fit, load, training

from penstock.testing import PipelineRunner

EXACT = [Row(float(size), 2.0 * size + 1.0) for size in range(10, 30)]


def test_a_line_is_found() -> None:
    model = fit(EXACT, penalty=0.0)
    assert abs(model.slope - 2) < 1e-9
    assert abs(model.intercept - 1) < 1e-9


def test_the_best_of_the_models_is_published(penstock_run: PipelineRunner) -> None:
    run = penstock_run(training, penalties=(1e6, 0.0), fakes={load: EXACT})
    assert run.ok
    assert json.loads(run.outputs.read_text())["model"]["penalty"] == 0.0


def test_what_is_not_good_enough_is_not_published(penstock_run: PipelineRunner) -> None:
    run = penstock_run(training, bound=0.5)
    assert list(run.gates.values()) == [False]
    assert run.states["publish"] == "upstream_failed"
