"""What a gate on a step may name: refused where the pipeline is defined if nothing can be called so, else told."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import pytest

from penstock import DefinitionError, Gate, Step, log_metric, pipeline, step
from penstock.harness import StepError, _reached


@dataclasses.dataclass
class Scores:
    accuracy: float
    recall: float

    @property
    def f1(self) -> float:
        return 2 * self.accuracy * self.recall / (self.accuracy + self.recall)


class Trained(NamedTuple):
    name: str
    scores: Scores


class Table(TypedDict):
    rows: int


@step
def trained() -> Trained:
    return Trained("net", Scores(0.9, 0.8))


@step
def scored() -> list[Scores] | Scores:
    return Scores(0.9, 0.8)


@step
def share() -> float:
    return 0.5


@step
def table() -> Table:
    return {"rows": 3}


@step
def loose() -> dict[str, float]:
    return {"accuracy": 0.9}


@step
def nothing() -> None:
    return None


@step
def logging() -> float:
    log_metric("loss", 0.1)
    return 0.5


def gated(target: Step[..., Any], name: str) -> Any:
    @pipeline
    def made() -> None:
        target.with_options(gates=[Gate(name, "is not null")])()

    return made.define()


@pytest.mark.parametrize(
    ("target", "name", "fix"),
    [
        (trained, "nmae", "did you mean `name`?"),
        (trained, "accuracy", "it returns: `name`, `scores`"),
        (trained, "scores.acuracy", "did you mean `scores.accuracy`?"),
        (trained, "name.accuracy", "it returns: `name`, `scores`"),
        (share, "loss", "it returns: `output`"),
        (table, "row", "did you mean `rows`?"),
        (table, "output.row", "did you mean `output.rows`?"),
        (nothing, "loss", "it returns: none"),
    ],
)
def test_a_name_of_nothing_is_refused_where_the_gate_stands(target: Step[..., Any], name: str, fix: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        gated(target, name)
    (problem,) = caught.value.diagnostics
    assert (problem.code, problem.fix) == ("P218", fix)
    assert f"`{name}`" in problem.message
    assert problem.location is not None
    assert "with_options" in problem.location.text


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (trained, "scores.accuracy"),
        (trained, "scores.f1"),
        (share, "output"),
        (share, "real"),
        (table, "rows"),
        (scored, "accuracy"),
        (loose, "anything"),
        (logging, "loss"),
        (logging, "anything"),
    ],
)
def test_a_name_that_may_be_there_is_taken(target: Step[..., Any], name: str) -> None:
    assert gated(target, name).spec.body[0].checks[0].value == name


def test_a_mistyped_metric_fails_the_step_and_says_what_there_is(tmp_path: Path) -> None:
    @pipeline
    def mistyped() -> None:
        logging.with_options(gates=[Gate("los", "<", 1, message="too much")])()

    failed = mistyped.run(inline=True, store=tmp_path)["logging"]
    said = "there is no metric and no output `los`, but `output`, `loss`; did you mean `loss`?"
    assert failed.error == f"gate los < 1: failed: too much ({said})"


@pytest.mark.parametrize(
    ("name", "outputs", "metrics", "said"),
    [
        ("acuracy", {"accuracy": 1}, {"loss": 0.1}, "but `accuracy`, `loss`; did you mean `accuracy`?"),
        ("scores.recal", {"scores": Scores(1, 2)}, {}, "`scores.recall`, `scores`; did you mean `scores.recall`?"),
        ("rows", {"output": {"row": 1}}, {}, "but `row`, `output`; did you mean `row`?"),
        ("x", {"output": 1.0}, {}, "but `output`"),
        ("x", {}, {}, "but nothing"),
        ("x", {"output": {f"y{n}": n for n in range(99)}}, {}, "`y19` and others"),
    ],
)
def test_a_name_that_is_not_there_is_told_with_those_that_are(
    name: str, outputs: dict[str, Any], metrics: dict[str, float], said: str
) -> None:
    with pytest.raises(StepError) as caught:
        _reached(name, outputs, metrics)
    assert str(caught.value).startswith(f"there is no metric and no output `{name}`, but ")
    assert str(caught.value).endswith(said)
