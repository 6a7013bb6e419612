"""Gates: what must hold before a pipeline goes on, on what steps give and between them."""

import dataclasses
from typing import NamedTuple

from penstock import Gate, Retry, RunStatus, current_attempt, log_metric, pipeline, step
from tests.conformance.case import Case


@dataclasses.dataclass
class Trained:
    accuracy: float
    name: str


class Scores(NamedTuple):
    accuracy: float
    recall: float | None


@step
def number(value: int) -> int:
    return value


@step
def upto(count: int) -> list[int]:
    return list(range(count))


@step
def total(values: list[int]) -> int:
    return sum(values)


@step
def trained(accuracy: float) -> Trained:
    return Trained(accuracy, "net")


@step
def deploy(model: Trained) -> str:
    return f"{model.name} at {model.accuracy}"


@pipeline
def a_gate_that_passes(accuracy: float = 0.9, floor: float = 0.8) -> str:
    model = trained(accuracy)
    assert model.accuracy >= floor, "worse than the floor"
    return deploy(model)


@step
def remember(status: RunStatus) -> None:
    assert status.state == "failed"
    assert list(status.failures) == ["assert"], status
    said = status.failures["assert"]
    assert "net has 0.71, not 0.8" in said, said
    assert "model.accuracy >= floor" in said, said


@pipeline(on_failure=remember)
def a_gate_that_fails_before_a_deploy(accuracy: float = 0.71, floor: float = 0.8) -> str:
    model = trained(accuracy)
    number(1)
    assert model.accuracy >= floor, f"{model.name} has {model.accuracy}, not {floor}"
    number.with_options(name="later")(2)
    return deploy(model)


@pipeline
def a_gate_against_a_baseline(accuracy: float = 0.7) -> str:
    production = trained.with_options(name="production")(0.75)
    candidate = trained(accuracy)
    assert candidate.accuracy > production.accuracy
    return deploy(candidate)


@step
def maybe(value: int | None) -> int | None:
    return value


@pipeline
def gates_on_operators(low: int = 2) -> int:
    three, nothing, found = number(3), maybe(None), upto(3)
    assert low < three < 10
    assert nothing is None
    assert found
    assert 2 in found and not three == 4
    return number.with_options(name="last")(three)


@pipeline
def a_gate_in_an_arm(deep: bool = False) -> int:
    found = number(1)
    if deep:
        assert found > 1, "never so deep"
        found = number.with_options(name="deep")(2)
    return number.with_options(name="last")(found)


@pipeline
def a_gate_in_a_loop() -> int:
    found = []
    for value in upto(3):
        assert value != 1, f"no {value}"
        found.append(number(value))
    return total(found)


@pipeline
def guarded(value: int, most: int) -> int:
    checked = number(value)
    assert checked <= most, "too much"
    return number.with_options(name="passed")(checked)


@pipeline
def a_gate_in_a_nested_pipeline() -> int:
    good = guarded(1, 5)
    bad = guarded.with_options(name="bad")(9, 5)
    return total([good, bad])


@step(
    gates=[
        Gate("accuracy", ">=", 0.8),
        Gate("accuracy", "between", 0.5, 1.0),
        Gate("recall", "is not null"),
        Gate("loss", "<", 0.5),
        Gate("loss", "!=", 0.2, message="suspicious"),
    ]
)
def measured(accuracy: float) -> Scores:
    log_metric("loss", 0.9)
    log_metric("loss", 0.25)
    return Scores(accuracy, 0.5)


@pipeline
def gates_of_a_step() -> float:
    scores = measured(0.8)
    return scores.accuracy


@step(retry=Retry(2), gates=[Gate("attempt", ">=", 2, message="only later")])
def better_next_time() -> int:
    log_metric("attempt", current_attempt())
    return 1


@step(gates=[Gate("recall", "is not null", message="no recall")])
def half_measured() -> Scores:
    return Scores(0.9, None)


@step(gates=[Gate("acuracy", ">", 0.1)])
def misspelt() -> Trained:
    log_metric("loss", 0.2)
    return Trained(0.9, "x")


@step
def three_said_why(status: RunStatus) -> None:
    assert sorted(status.failures) == ["better_next_time", "half_measured", "misspelt"], status
    assert "only later" in status.failures["better_next_time"]
    assert "no recall" in status.failures["half_measured"]
    assert "acuracy" in status.failures["misspelt"]


@pipeline(on_exit=three_said_why)
def gates_of_steps_that_fail() -> int:
    one, scores, two = better_next_time(), half_measured(), misspelt()
    number.with_options(name="two_takes")(1)
    deploy(two)
    number.with_options(name="waits", after=scores)(2)
    return number.with_options(name="last")(one)


@pipeline
def gates_of_a_step_against_others(floor: float = 0.5) -> str:
    production = trained.with_options(name="production")(0.75)
    better = trained.with_options(
        name="better", gates=[Gate("accuracy", ">", production.accuracy), Gate("accuracy", ">", floor)]
    )(0.9)
    worse = trained.with_options(name="worse", gates=[Gate("accuracy", ">", better.accuracy)])(0.8)
    return deploy(worse)


CASES = (
    Case(a_gate_that_passes, "A gate that holds is no obstacle.", nodes={"assert": "succeeded"}),
    Case(
        a_gate_that_fails_before_a_deploy,
        "A gate that does not hold keeps everything below it from running, and says the value and why.",
        nodes={
            "trained": "succeeded",
            "number": "succeeded",
            "assert": "failed",
            "later": "upstream_failed",
            "deploy": "upstream_failed",
            "remember": "succeeded",
        },
    ),
    Case(
        a_gate_against_a_baseline,
        "The bound may be what another step gave.",
        nodes={"assert": "failed", "deploy": "upstream_failed"},
    ),
    Case(
        gates_on_operators,
        "A gate means what Python's `assert` means, whatever the condition is made of.",
        nodes={"assert": "succeeded", "assert_4": "succeeded"},
    ),
    Case(
        a_gate_in_an_arm,
        "A gate in an arm that is skipped stops nothing.",
        nodes={"assert": "skipped", "deep": "skipped", "last": "succeeded"},
    ),
    Case(
        a_gate_in_an_arm,
        "A gate in the arm that runs stops what comes after, in the arm and below it.",
        {"deep": True},
        nodes={"assert": "failed", "deep": "upstream_failed", "last": "upstream_failed"},
    ),
    Case(
        a_gate_in_a_loop,
        "A gate in a body stops its own item; the other ones go on, and the loop has failed.",
        nodes={
            "assert[0]": "succeeded",
            "assert[1]": "failed",
            "number[1]": "upstream_failed",
            "number[2]": "succeeded",
            "total": "upstream_failed",
        },
    ),
    Case(
        a_gate_in_a_nested_pipeline,
        "A nested pipeline's gate holds up what takes its result.",
        nodes={
            "guarded.passed": "succeeded",
            "bad.assert": "failed",
            "bad.passed": "upstream_failed",
            "total": "upstream_failed",
        },
    ),
    Case(gates_of_a_step, "A step's own gates look at outputs by name, and at the last value of a metric."),
    Case(
        gates_of_steps_that_fail,
        "A gate is not retried; None is null; a gate on what is not there does not hold.",
        nodes={
            "better_next_time": "failed",
            "half_measured": "failed",
            "misspelt": "failed",
            "two_takes": "succeeded",
            "deploy": "upstream_failed",
            "waits": "upstream_failed",
            "last": "upstream_failed",
            "three_said_why": "succeeded",
        },
    ),
    Case(
        gates_of_a_step_against_others,
        "A step's gate may compare with a parameter or another step's output, for which it then waits.",
        nodes={"better": "succeeded", "worse": "failed", "deploy": "upstream_failed"},
    ),
)
