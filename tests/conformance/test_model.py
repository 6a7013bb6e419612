"""The model by itself: the rules of what a pipeline means, each in the smallest pipeline that shows it."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

import pytest

from penstock import Gate, Pipeline, Retry, RunStatus, current_attempt, log_metric, pipeline, step
from tests.conformance.model import Prediction, predict


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def predicted(made: Pipeline[..., Any], /, *, gives: Any = None, fails: Any = None, **given: Any) -> Prediction:
    bound = inspect.signature(made.function).bind(**given)
    bound.apply_defaults()
    return predict(made.define(), bound.arguments, gives, fails)


@step
def one() -> int:
    return 1


@step
def plus(value: int, more: int = 1) -> int:
    return value + more


@step
def total(values: list[int]) -> int:
    return sum(values)


@step
def upto(count: int) -> list[int]:
    return list(range(count))


@step
def bad() -> int:
    raise ValueError("no good")


@step
def odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"{value} is even")
    return value


def test_what_depends_on_a_failure_does_not_run_and_the_rest_does() -> None:
    @pipeline
    def made() -> int:
        failed = bad()
        plus.with_options(name="waits", after=failed)(1)
        one()
        return plus(failed)

    seen = predicted(made)
    assert seen.nodes == {"bad": "failed", "waits": "upstream_failed", "one": "succeeded", "plus": "upstream_failed"}
    assert seen.state == "failed"
    assert seen.ended["bad"].message == "ValueError: no good"


def test_a_skip_goes_on_to_who_takes_the_value_and_ends_at_a_merge() -> None:
    @pipeline
    def made(deep: bool) -> int:
        found = one()
        if deep:
            more = plus(found)
            found = plus(more)
        return plus.with_options(name="last")(found)

    assert predicted(made, deep=False).nodes == {
        "one": "succeeded",
        "if": "succeeded",
        "plus": "skipped",
        "plus_2": "skipped",
        "last": "succeeded",
    }
    assert predicted(made, deep=False).result == 2
    assert predicted(made, deep=True).result == 4


def test_what_waits_for_a_failure_and_is_skipped_counts_as_failed_upstream() -> None:
    @pipeline
    def made(deep: bool = False) -> None:
        failed = bad()
        if deep:
            plus(failed)
            one()

    seen = predicted(made)
    assert (seen.nodes["plus"], seen.nodes["one"]) == ("upstream_failed", "skipped")


def test_a_skip_satisfies_after_and_a_failure_does_not() -> None:
    @pipeline
    def inner(deep: bool) -> None:
        if deep:
            bad()

    @pipeline
    def made(deep: bool) -> None:
        done = inner(deep)
        plus.with_options(after=done)(1)

    assert predicted(made, deep=False).nodes["plus"] == "succeeded"
    assert predicted(made, deep=True).nodes["plus"] == "upstream_failed"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_loop_collects_in_the_order_of_its_items(count: int) -> None:
    @pipeline
    def made(count: int) -> list[int]:
        return [plus(value) for value in upto(count)]

    seen = predicted(made, count=count)
    assert seen.result == [1, 2, 3][:count]
    assert [name for name in seen.nodes if name.startswith("plus")] == [f"plus[{n}]" for n in range(count)]


def test_skipped_items_are_left_out() -> None:
    @pipeline
    def made() -> list[int]:
        return [plus(value, 10) for value in upto(4) if value != 1]

    assert predicted(made).result == [10, 12, 13]


def test_one_failure_in_a_loop_is_that_of_all_who_take_the_list_and_of_no_other_item() -> None:
    @pipeline
    def made() -> int:
        found = []
        for value in upto(2):
            odd(value)
            found.append(plus(value))
        return total(found)

    assert predicted(made).nodes == {
        "upto": "succeeded",
        "for": "succeeded",
        "odd[0]": "failed",
        "plus[0]": "succeeded",
        "odd[1]": "succeeded",
        "plus[1]": "succeeded",
        "total": "upstream_failed",
    }


def test_the_failure_of_an_inner_loop_is_that_of_its_outer_item() -> None:
    @pipeline
    def made() -> None:
        for outer in upto(3):
            total([odd(inner) for inner in upto.with_options(name="inner")(outer)])

    states = predicted(made).nodes
    assert [states[f"total[{n}]"] for n in range(3)] == ["succeeded", "upstream_failed", "upstream_failed"]


def test_what_waits_for_a_gate_in_a_loop_without_a_list_does_not_run() -> None:
    @pipeline
    def made() -> int:
        for value in upto(bad()):
            assert value < 3
        return plus(1)

    assert predicted(made).nodes["plus"] == "upstream_failed"


def test_a_loop_without_a_list_has_no_items() -> None:
    @pipeline
    def made() -> int:
        return total([plus(value) for value in upto(bad())])

    assert predicted(made).nodes == {
        "bad": "failed",
        "upto": "upstream_failed",
        "for": "upstream_failed",
        "total": "upstream_failed",
    }


def test_attempts_are_made_until_one_succeeds_or_none_is_left() -> None:
    @step(retry=Retry(2))
    def at_the(attempt: int) -> int:
        if current_attempt() < attempt:
            raise RuntimeError(f"attempt {current_attempt()}")
        return current_attempt()

    @pipeline
    def made(attempt: int) -> int:
        return at_the(attempt)

    assert predicted(made, attempt=3).result == 3
    assert predicted(made, attempt=4).ended["at_the"].message == "RuntimeError: attempt 3"


def test_a_gate_holds_up_what_comes_after_it_and_says_why() -> None:
    @pipeline
    def made(floor: int) -> int:
        found = one()
        assert found >= floor, f"{found} is less than {floor}"
        plus.with_options(name="apart")(1)
        return plus(found)

    seen = predicted(made, floor=2)
    assert seen.nodes == {"one": "succeeded", "assert": "failed", "apart": "upstream_failed", "plus": "upstream_failed"}
    assert "1 is less than 2" in seen.ended["assert"].message
    assert predicted(made, floor=1).result == 2


@pytest.mark.parametrize(
    ("gate", "state"),
    [
        (Gate("output", ">=", 5), "succeeded"),
        (Gate("output", ">", 5), "failed"),
        (Gate("loss", "<", 0.5), "succeeded"),
        (Gate("loss", "==", 0.5), "failed"),
        (Gate("loss", "!=", 0.5), "succeeded"),
        (Gate("output", "between", 5, 6), "succeeded"),
        (Gate("output", "between", 6, 7), "failed"),
        (Gate("output", "is not null"), "succeeded"),
        (Gate("nan", "is not null"), "failed"),
        (Gate("missing", "<", 1), "failed"),
    ],
)
def test_the_gates_of_a_step(gate: Gate, state: str) -> None:
    @step(gates=[gate], retry=Retry(1))
    def measured() -> int:
        log_metric("loss", 0.9)
        log_metric("loss", 0.25 if current_attempt() == 1 else 0.5)
        log_metric("nan", float("nan"))
        return 5

    @pipeline
    def made() -> int:
        return measured()

    seen = predicted(made)
    assert seen.nodes == {"measured": state}
    assert seen.ended["measured"].values == {"output": 5}


SAID: list[str] = []


def said() -> list[str]:
    found = SAID.copy()
    SAID.clear()
    return found


@step
def undo(name: str) -> None:
    SAID.append(f"undo {name}")
    if name == "b":
        raise RuntimeError("it cannot be undone")


@step(rollback=undo)
def do(name: str, wanted: bool) -> str:
    if not wanted:
        raise ValueError("unwanted")
    return name


@step
def told(status: RunStatus) -> None:
    SAID.append(f"{status.pipeline} {status.state} {status.failures}")


@step
def last() -> None:
    SAID.append("last")


def test_what_completed_is_undone_from_the_last_and_then_others_are_told() -> None:
    @pipeline(name="made", on_failure=told, on_exit=[last, told])
    def made(wanted: bool) -> None:
        do.with_options(name="a")("a", wanted=True)
        do.with_options(name="b")("b", wanted=True)
        do.with_options(name="c")("c", wanted=wanted)

    states = predicted(made, wanted=False).nodes
    status = "made failed {'c': 'ValueError: unwanted'}"
    assert said() == ["undo b", "undo a", status, "last", status]
    assert [state for name, state in states.items() if name.startswith("undo")] == ["skipped", "failed", "succeeded"]

    assert predicted(made, wanted=True).state == "succeeded"
    assert said() == ["last", "made succeeded {}"]


def test_in_loops_the_last_item_is_undone_first() -> None:
    @pipeline
    def made() -> None:
        for name, value in zip(["x", "y", "z"], upto(3), strict=True):
            do(name, wanted=value != 1)

    assert predicted(made).state == "failed"
    assert said() == ["undo z", "undo x"]


def test_what_cannot_be_called_here_is_taken_as_given() -> None:
    @step
    def dies() -> int:
        os._exit(1)

    @pipeline
    def made() -> int:
        return plus(dies())

    assert predicted(made, gives={"dies": 4}).result == 5
    seen = predicted(made, fails={"dies": "killed"})
    assert (seen.nodes["plus"], seen.ended["dies"].message) == ("upstream_failed", "killed")


def test_each_step_has_a_directory_of_its_own() -> None:
    @step
    def writes(text: str) -> Path:
        assert not os.listdir()
        Path("x").write_text(text)
        return Path("x")

    @step
    def reads(paths: list[Path]) -> list[str]:
        return [path.read_text() for path in paths]

    @pipeline
    def made() -> list[str]:
        return reads([writes("a"), writes("b")])

    assert predicted(made).result == ["a", "b"]
