"""Tests of the pipeline: `pytest`."""

from pipeline import Measurement, measure, nightly

from penstock.testing import PipelineRunner, raises


def test_two_items_take_one_comparison() -> None:
    assert measure(2, seed=1).comparisons == 0.5


def test_each_size_has_a_row(penstock_run: PipelineRunner) -> None:
    run = penstock_run(nightly, sizes=(10, 20)).assert_succeeded()
    assert [call.arguments["size"] for call in run.calls(measure)] == [10, 20]
    assert run.outputs.read_text().count("\n") == 4


def test_what_takes_too_much_fails_the_night_and_is_told(penstock_run: PipelineRunner) -> None:
    run = penstock_run(nightly, fakes={measure: Measurement(10, 99.0)})
    assert list(run.gates.values()) == [False]
    assert run.states["report"] == "succeeded"
    assert "sorting takes more than it should" in run.log("tell")


def test_what_cannot_be_measured_is_tried_again(penstock_run: PipelineRunner) -> None:
    run = penstock_run(nightly, sizes=(10,), fakes={measure: raises(OSError("no runner"))})
    assert run.assert_failed("measure[0]", match="no runner").attempts == 2
