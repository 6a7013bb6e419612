"""Pipelines without a step."""

import pytest

from penstock import CompileError, pipeline, step


@step
def told() -> None:
    return None


@pipeline
def empty(n: int = 1) -> int:
    return n


@pipeline
def constant() -> list[str]:
    return ["a"]


@pipeline
def computed(n: int = 1) -> str:
    return f"{n}"


@pipeline(on_exit=told)
def ending() -> None:
    return None


@pytest.mark.parametrize("made", [empty, constant, ending], ids=lambda made: made.name)
@pytest.mark.parametrize(("target", "engine"), [("kubeflow", "Kubeflow"), ("github", "GitHub"), ("airflow", "Airflow")])
def test_a_target_whose_engine_takes_none_refuses_it(made, target, engine):
    with pytest.raises(CompileError) as caught:
        made.compile(target)
    (problem,) = caught.value.diagnostics
    assert (problem.code, f"def {made.name}(" in problem.location.text) == ("P503", True)
    assert problem.message == f"`{made.name}` calls no step, and {engine} takes no pipeline without a task"


@pytest.mark.parametrize("target", ["kubeflow", "github", "airflow"])
def test_a_computed_result_is_something_to_run(target):
    assert computed.compile(target)


def test_this_machine_takes_it_and_gives_what_it_returns(tmp_path):
    assert empty.compile("local")
    assert empty.run({"n": 3}, inline=True, store=tmp_path).outputs == 3
