"""Tests of the pipeline: `pytest`."""

import pytest
from pipeline import Case, answer, evaluation, grade

from penstock.testing import PipelineRunner

CASE = Case("What is 1 plus 1?", "2")


@pytest.mark.parametrize(("said", "score"), [("it is 2", 1.0), ("it is 12", 0.0), ("", 0.0)])
def test_an_answer_counts_where_it_holds_what_is_expected(said: str, score: float) -> None:
    assert grade(CASE, said).score == score


def test_every_case_is_put_to_the_model_and_reported(penstock_run: PipelineRunner) -> None:
    run = penstock_run(evaluation).assert_succeeded()
    assert len(run.calls(answer)) == 4
    assert run.outputs.read_text().startswith("# calculator: 0.75")


def test_a_model_that_is_worse_than_the_baseline_does_not_pass(penstock_run: PipelineRunner) -> None:
    run = penstock_run(evaluation, fakes={answer: "no idea"})
    assert list(run.gates.values()) == [False]
    assert run.states["report"] == "succeeded"
