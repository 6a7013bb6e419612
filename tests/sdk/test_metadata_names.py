"""Metadata of an output that is not there is told when the pipeline is defined, as far as that is known."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import penstock
from penstock import DefinitionError, log_metadata, pipeline, step
from penstock import log_metadata as note


class Two(NamedTuple):
    model: int
    rows: int


@step
def mistyped() -> Two:
    log_metadata(output="modle", rows=1)  # here
    return Two(1, 2)


@step
def of_several() -> Two:
    penstock.log_metadata(rows=1)  # here
    return Two(1, 2)


@step
def of_none() -> None:
    note(rows=1)  # here


@step
def named_though_it_has_no_name() -> int:
    def inner() -> None:
        log_metadata(output="model", rows=1)  # here

    inner()
    return 1


@pytest.mark.parametrize(
    ("wrong", "message", "fix"),
    [
        (mistyped, "`mistyped` records metadata of `modle`, which it does not return", "did you mean `model`?"),
        (
            of_several,
            "`of_several` has several outputs, and does not say which this is about",
            'write one of: `output="model"`, `output="rows"`',
        ),
        (of_none, "`of_none` records metadata, but has no outputs", "return what it is about, or leave it out"),
        (
            named_though_it_has_no_name,
            "`named_though_it_has_no_name` records metadata of `model`, which it does not return",
            "it returns: `output`",
        ),
    ],
    ids=lambda each: getattr(each, "name", None),
)
def test_it_is_told_at_its_line(wrong: Any, message: str, fix: str) -> None:
    with pytest.raises(DefinitionError) as caught:

        @pipeline
        def flow() -> None:
            wrong()

    (problem,) = caught.value.diagnostics
    assert (problem.code, problem.message, problem.fix) == ("P219", message, fix)
    assert problem.location is not None
    assert problem.location.text.endswith("# here")


def kept(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def around(*args: Any) -> Any:
        return function(*args)

    return around


@step
@kept
def right(name: str, more: dict[str, Any]) -> Two:
    log_metadata(output="model", rows=1)
    log_metadata(output=name, rows=1)
    log_metadata(**more)
    return Two(1, 2)


@step
def of_the_only_one() -> int:
    log_metadata(rows=1)
    note(output="output", rows=1)
    return 1


def test_what_only_a_run_knows_is_left_to_it() -> None:
    @pipeline
    def flow() -> None:
        right("model", {"output": "rows", "a": 1})
        of_the_only_one()

    assert len(flow.spec.steps) == 2
