"""What type checkers see of tests that use the fixtures."""

from typing_extensions import assert_type

from penstock import NodeRun, pipeline, step
from penstock.testing import Fake, Golden, PipelineRunner, Trial, attempts, fake, raises, returns


@step
def load(url: str) -> list[int]:
    return [len(url)]


@step
def total(values: list[int]) -> int:
    return sum(values)


@pipeline
def sums(url: str) -> int:
    return total(load(url))


def test_runs(penstock_run: PipelineRunner) -> None:
    by_name, by_step = {"load": [1]}, {load: [1], total: returns(2)}
    assert_type(penstock_run(sums, url="x", fakes=by_name), Trial)
    assert_type(penstock_run(sums, {"url": "x"}, fakes=by_step, inline=True), Trial)
    run = penstock_run(sums, url="x", fakes={load: attempts(OSError("x"), [1]), "total": raises(ValueError)})
    assert_type(run["load"], NodeRun)
    assert_type(run.states, dict[str, str])
    assert_type(run.gates, dict[str, bool])
    assert_type(run.order, list[str])
    assert_type(run.assert_failed("total", match="x"), NodeRun)
    assert_type(run.assert_succeeded(), Trial)
    assert_type(run.log("load"), str)
    adding = fake(total)
    assert_type(adding, Fake)
    assert_type(adding.calls[0].node, str)
    assert run.calls(load)[0].arguments == run.calls("load[0]")[0].arguments


def test_golden(penstock_golden: Golden) -> None:
    penstock_golden(sums, "airflow", name="airflow-2", airflow=2)
