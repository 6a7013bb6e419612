"""What type checkers see of control flow in a pipeline: Python's own, on the values that will flow."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import assert_type

from penstock import Gate, RunStatus, flow, pipeline, step


@dataclass
class Score:
    value: float
    tags: list[str]


@step
def load(url: str) -> list[int]:
    return [len(url)]


@step
def rate(row: int) -> Score:
    return Score(row, [])


@step
def best(scores: list[Score]) -> Score | None:
    return scores[0] if scores else None


@step
def by_name(url: str) -> dict[str, Score]:
    return {url: Score(1, [])}


@step(gates=[Gate("output", ">=", 0.5)])
def deploy(score: Score) -> str:
    return str(score.value)


@step
def retract(score: Score) -> None: ...


@step
def page(status: RunStatus, url: str) -> None:
    assert_type(status.state, str)
    assert_type(dict(status.failures), dict[str, str])


@pipeline(on_failure=page, on_exit=[page], timeout=60)
def retrain(url: str, floor: float = 0.5) -> str:
    found: list[Score] = []
    for row in load(url):
        assert_type(row, int)
        if row == 3:
            continue
        found.append(rate(row))
    assert_type(found, list[Score])
    more = [rate(row) for row in load(url) if row > 1]
    assert_type(more, list[Score])
    named = {name: score.value for name, score in by_name(url).items()}
    assert_type(named, dict[str, float])
    for position, (row, score) in enumerate(zip(load(url), more, strict=False)):
        assert_type(position, int)
        assert_type(row, int)
        assert_type(score, Score)
    one = best(found)
    assert_type(one, Score | None)
    if one is None:
        return "none"
    assert_type(one, Score)
    assert one.value >= floor, f"{one.value} is below {floor}"
    chosen = one if one.value > 1 else rate(1)
    assert_type(chosen, Score)
    assert_type(deploy.with_options(rollback=retract, gates=[Gate("output", "<", floor)])(chosen), str)
    return deploy(chosen)


@pipeline
def explicit(url: str) -> list[Score]:
    with flow.If(len(url) > 3):
        long = rate(1)
    with flow.Elif(len(url) > 2):
        medium = rate(2)
    with flow.Else():
        short = rate(3)
    assert_type(flow.one_of(long, medium, short), Score)
    with flow.ForEach(load(url), parallelism=2) as row:
        assert_type(row, int)
        score = rate(row)
    flow.gate(len(url) > 1, "too short")
    for each in flow.parallel(load(url), 3):
        assert_type(each, int)
    assert_type(flow.collect(score), list[Score])
    return flow.collect(score)


assert_type(retrain("x"), str)
Gate("output", "=>", 0.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
assert best([rate(1)]).value > 0  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
