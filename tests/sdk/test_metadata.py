"""What a step records of its outputs: `log_metadata`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from penstock import harness, log_metadata


def performed(function: Any, outputs: tuple[str, ...] = ("output",), folder: Any = None, number: int = 1) -> Any:
    job = {
        "arguments": {},
        "outputs": [{"name": name, "text": "int", "kind": "int"} for name in outputs],
        "returns": {"kind": "tuple" if len(outputs) > 1 else "value" if outputs else "none"},
    }
    return harness.perform(job, function, harness.Inputs({}, {}, {}), folder, number)


def test_the_last_value_of_a_name_stands():
    def train() -> int:
        log_metadata(rows=1, source="census")
        log_metadata(rows=2, loss=math.inf, shape=(2, np.int64(3)), deep={"a": [None, True]}, **{"$odd": 1})
        return 1

    result = performed(train)
    assert harness.decode(result["metadata"]["output"]) == {
        "rows": 2,
        "source": "census",
        "loss": math.inf,
        "shape": [2, 3],
        "deep": {"a": [None, True]},
        "$odd": 1,
    }
    assert harness.dumps(result)


def test_where_nothing_is_recorded_the_result_says_nothing():
    assert performed(lambda: 1) == {"outputs": {"output": 1}, "metrics": {}}


def test_of_several_outputs_each_has_its_own():
    def split() -> tuple[int, int]:
        log_metadata(output="left", rows=1)
        log_metadata(output="right", rows=2)
        return 1, 2

    assert performed(split, ("left", "right"))["metadata"] == {"left": {"rows": 1}, "right": {"rows": 2}}


@pytest.mark.parametrize(
    ("outputs", "given", "said"),
    [
        (("left", "right"), {}, "the step has several outputs: say which, as output=..., of `left`, `right`"),
        (("left", "right"), {"output": "lef"}, "the step has no output `lef`, but `left`, `right`"),
        (("output",), {"output": "model"}, "the step has no output `model`, but `output`"),
        ((), {}, "the step has no outputs"),
    ],
)
def test_an_output_that_is_not_there_is_told_with_those_that_are(outputs, given, said):
    with pytest.raises(ValueError, match="the step has") as caught:
        performed(lambda: log_metadata(rows=1, **given), outputs)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({1, 2}, "metadata `rows` must be .*, not set; str"),
        ([{"a": object()}], "metadata `rows` must be .*, not object; str"),
        ({1: "a"}, "metadata `rows` must be .*, not a dictionary whose keys are not all texts"),
        (np.zeros(3), "not ndarray"),
    ],
)
def test_what_is_not_plain_is_refused_outside_of_a_run_too(value, said):
    with pytest.raises(TypeError, match=said):
        log_metadata(rows=value)


def test_outside_of_a_run_nothing_is_recorded():
    log_metadata(rows=1, output="anything")


def test_there_is_a_bound():
    def much() -> int:
        log_metadata(a="x" * 15_000)
        log_metadata(b="x" * 15_000)
        return 1

    with pytest.raises(ValueError, match=r"with `b` the metadata of the step takes 300\d\d bytes, more than 20000; "):
        performed(much)


def test_a_secret_in_it_is_masked(monkeypatch):
    monkeypatch.setenv("KEY", "s3cret")
    recorded = {"output": {"of s3cret": ["at s3cret", {"s3cret": 1}], "loss": {"$float": "nan"}}}
    result = harness.supervise(lambda _: {"outputs": {}, "metrics": {}, "metadata": recorded}, secrets=["KEY"])
    assert result["metadata"] == {"output": {"of ***": ["at ***", {"***": 1}], "loss": {"$float": "nan"}}}


def test_it_is_told_on_one_line():
    said = harness.metadata_text("model", {"rows": 1, "note": "a\nb", "long": "x" * 100})
    assert said == f"metadata of model: rows = 1, note = 'a\\nb', long = '{'x' * 76}..."
    assert harness.metadata_text("output", {"rows": None}) == "metadata: rows = None"
