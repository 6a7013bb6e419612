"""Options of single steps: of which pipeline, and which of several goes first."""

from __future__ import annotations

import pytest

from penstock import CompileError, pipeline, step


@step
def load() -> int:
    return 1


@step
def train(rows: int) -> int:
    return rows


@pipeline
def first() -> int:
    return train(load())


@pipeline
def second() -> int:
    return load()


LABELS = {"first:train": {"labels": {"of": "one"}}, "load": {"labels": {"of": "both"}}}


def labels(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip().startswith("of:")]


def test_a_step_of_one_pipeline_is_named_with_it():
    (one,), (other,) = (each.compile("kubeflow", steps=LABELS).values() for each in (first, second))
    assert sorted(labels(one)) == ["of: both", "of: one"]
    assert labels(other) == ["of: both"]


def test_the_more_exact_name_goes_first():
    steps = {"*": {"labels": {"of": "all"}}, "train": {"labels": {"of": "train"}}}
    (text,) = first.compile("kubeflow", steps=steps).values()
    assert sorted(labels(text)) == ["of: all", "of: train"]


@pytest.mark.parametrize("target", ["airflow", "github", "kubeflow"])
def test_a_step_that_the_pipeline_lacks_is_refused_with_the_nearest(target):
    with pytest.raises(CompileError, match=r"P506: .* speaks of a step `trian`, which `first` does not have") as caught:
        first.compile(target, steps={"trian": {}, "second:trian": {}})
    (problem,) = caught.value.diagnostics
    assert problem.fix == "did you mean `train`? A step of another pipeline is named with it: `PIPELINE:trian`"
    with pytest.raises(CompileError, match="P506"):
        first.compile(target, steps={"first:trian": {}})
