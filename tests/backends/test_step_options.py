"""Options of single steps: of which pipeline, and which of several goes first."""

from __future__ import annotations

import pytest

from penstock import CompileError, ConfigurationError, pipeline, step
from penstock.loading import load_pipeline


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


PROJECT = """
[tool.penstock.airflow]
pool = "small"

[tool.penstock.airflow.steps."{}:load"]
queue = "x"
"""
SOURCE = """
from penstock import pipeline, step

@step
def load() -> int:
    return 1

@pipeline
def retrain() -> int:
    return load()
"""


@pytest.mark.parametrize(
    ("called", "beside", "is_refused"),
    [
        ("retrian", "", True),
        ("retrain", "", False),
        ("score", "", False),  # near to nothing: another pipeline's, in whatever file
        ("retrain2", "def retrain2(): ...", False),
        ("retrain_eu", "for region in ('eu', 'us'): pipeline(name=f'retrain_{region}')(each)", False),
        ("retrain_uk", "for region in ('eu', 'us'): pipeline(name=f'retrain_{region}')(each)", True),
    ],
)
def test_a_pipeline_that_is_misspelt_is_told_at_its_line(called, beside, is_refused, tmp_path):
    (tmp_path / "pyproject.toml").write_text(PROJECT.format(called))
    (tmp_path / "flow.py").write_text(SOURCE)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "others.py").write_text(beside)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "unmeant.py").write_text(f"{called} = 1\n")
    made = load_pipeline(str(tmp_path / "flow.py"))
    if not is_refused:
        assert ("queue" in made.compile("airflow")["retrain.py"]) == (called == "retrain")
        return
    with pytest.raises(ConfigurationError, match=f"P709: .* speaks of a pipeline `{called}`") as caught:
        made.compile("airflow")
    (problem,) = caught.value.diagnostics
    assert problem.location is not None
    assert problem.location.text == f'[tool.penstock.airflow.steps."{called}:load"]'
    assert problem.fix == "did you mean `retrain:load`?"


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
