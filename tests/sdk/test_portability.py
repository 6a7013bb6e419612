"""What a target cannot keep is refused at its line, or left out by permission and marked; `check` tells it for all."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from penstock import (
    AfterPipeline,
    CompileError,
    Concurrency,
    ConfigurationError,
    DataChange,
    PullRequest,
    Push,
    Resources,
    Schedule,
    flow,
    pipeline,
    step,
)
from penstock.backend import Level
from penstock.compiler import backend, targets
from penstock.degrading import DEGRADABLE, permission, without
from penstock.features import features_of
from penstock.spec import Feature, Loop, Task, walk
from penstock.support import portability, support_rows
from tests.warm_python import penstock


@step
def number(value: int) -> int:
    return value


@step
def undo(value: int) -> None: ...


@step(
    resources=Resources(cpu=2, quotas={"licence": 1}),
    priority=1,
    timeout=60,
    retry=2,
    env={"A": "1"},
    image="python:3.12",
    rollback=undo,
)
def heavy(value: int) -> int:
    return value


@step
def page() -> None: ...


@pipeline(
    schedule=Schedule("0 2 * * *", start="2026-01-31", catch_up=True),
    triggers=[Push(branches=["main"]), PullRequest(paths=["models/**"]), AfterPipeline("load"), DataChange("s3://a/b")],
    updates="s3://a/c",
    concurrency=Concurrency(2, cancel_running=True),
    on_failure=page,
    on_exit=page,
    timeout=600,
)
def asking(values: list[int] = [1, 2]) -> list[int]:  # never changed
    return [heavy(number(value)) for value in flow.parallel(values, 2)]


def test_what_is_left_out_is_gone_and_marked_where_it_was():
    left = without(asking.spec, DEGRADABLE)
    nodes = {node.id: node for node in walk(left.body)}
    loop, task = nodes["for"], nodes["heavy"]
    assert isinstance(loop, Loop)
    assert isinstance(task, Task)
    assert (loop.parallelism, loop.left_out) == (None, (Feature.LOOP_PARALLELISM,))
    assert (task.settings.retry, task.settings.resources, task.settings.image, task.rollback) == (None, None, "", None)
    assert set(task.left_out) == {
        Feature.RETRY,
        Feature.TIMEOUT,
        Feature.RESOURCES,
        Feature.QUOTAS,
        Feature.PRIORITY,
        Feature.ENV,
        Feature.IMAGE,
        Feature.ROLLBACK,
    }
    assert nodes["number"].left_out == ()  # type: ignore[union-attr]
    assert set(left.left_out) == {
        Feature.SCHEDULE,
        Feature.SCHEDULE_START,
        Feature.CATCH_UP,
        Feature.PUSH,
        Feature.PULL_REQUEST,
        Feature.AFTER_PIPELINE,
        Feature.DATA_CHANGE,
        Feature.UPDATES,
        Feature.CONCURRENCY,
        Feature.SEVERAL_RUNS,
        Feature.CANCEL_RUNNING,
        Feature.PIPELINE_TIMEOUT,
        Feature.ON_FAILURE,
        Feature.ON_EXIT,
    }
    assert not {use.feature for use in features_of(left)} & DEGRADABLE


@pytest.mark.parametrize("feature", sorted(DEGRADABLE))
def test_leaving_out_one_feature_leaves_the_others(feature: Feature):
    before = {use.feature for use in features_of(asking.spec)}
    after = {use.feature for use in features_of(without(asking.spec, [feature]))}
    # With what runs at the end of a run, or undoes a step, goes what that step asks for; with the whole, its parts.
    parts = {
        Feature.SCHEDULE: {Feature.SCHEDULE_START, Feature.CATCH_UP},
        Feature.SCHEDULE_START: {Feature.CATCH_UP},
        Feature.CONCURRENCY: {Feature.SEVERAL_RUNS, Feature.CANCEL_RUNNING},
    }
    assert before - after <= {feature, Feature.PACKAGES, Feature.CACHE, *parts.get(feature, ())}


# What a target keeps for the steps that it is told a place for, and may leave out of others.
IN_SOME_PLACES = {"airflow": ["resources", "image"]}


@pytest.mark.parametrize(
    ("target", "feature"),
    [
        (target, feature)
        for target in targets()
        for feature in sorted(DEGRADABLE)
        if backend(target).supports[feature].level is Level.UNSUPPORTED
    ],
)
def test_an_unsupported_feature_is_refused_and_with_permission_left_out_and_said(target: str, feature: Feature):
    every = [each for each in Feature if backend(target).supports[each].level is Level.UNSUPPORTED]
    asked = {use.feature for use in features_of(asking.spec)}
    if feature not in asked:
        pytest.fail(f"the pipeline of this test does not ask for {feature.value}")
    others = [*(each.value for each in every if each is not feature), *IN_SOME_PLACES.get(target, ())]
    with pytest.raises(CompileError) as caught:
        asking.compile(target, allow_degraded=others)
    assert {each.code for each in caught.value.diagnostics} == {"P501"}
    assert all(each.location and permission(feature, target) in each.fix for each in caught.value.diagnostics)
    text = "\n".join(asking.compile(target, allow_degraded=[*others, feature.value]).values())
    said = feature.value.replace("_", " ")
    assert re.search(rf"left out by permission: (.*, )?{said}\b", text)


def test_what_a_target_keeps_is_not_left_out():
    unkept = [each for each in Feature if backend("github").supports[each].level is Level.UNSUPPORTED]
    allowed = asking.compile("github", allow_degraded=["retry", *unkept])
    said = {line for text in allowed.values() for line in text.splitlines() if "left out by permission" in line}
    assert said
    assert not any("retry" in line for line in said)


def test_an_unknown_feature_is_refused():
    with pytest.raises(ConfigurationError, match="allow_degraded"):
        asking.compile("airflow", allow_degraded=["resource"])


def test_every_feature_has_a_row_and_every_target_an_answer():
    rows = support_rows(targets())
    assert [row.feature for row in rows] == list(Feature)
    assert all(set(row.answers) == set(targets()) for row in rows)


def test_the_table_of_a_pipeline_names_what_it_asks_for_and_where():
    found = portability(asking.define(), targets())
    rows = {row.feature: row for row in found.rows}
    assert Feature.LOOPS in rows
    assert Feature.CONDITIONS not in rows
    place = rows[Feature.LOOPS].uses[0].location
    assert place is not None
    assert "flow.parallel(values, 2)" in place.text


PROJECT = """
from penstock import pipeline, step

@step(priority=2)
def number(value: int) -> int:
    return value

@pipeline
def small(value: int = 1) -> int:
    return number(value)
"""


@pytest.mark.slow
def test_the_command_prints_the_table_and_its_json(tmp_path: Path):
    (tmp_path / "small.py").write_text(PROJECT)
    shown = penstock(tmp_path, "check", "small.py")
    assert shown.returncode == 1  # GitHub knows no priority
    (line,) = [each for each in shown.stdout.splitlines() if each.strip().startswith("priority")]
    assert "refused" in line
    assert line.endswith("small.py:10")
    data = json.loads(penstock(tmp_path, "check", "small.py", "--json").stdout)
    (row,) = [each for each in data["features"] if each["feature"] == "priority"]
    assert row["targets"]["github"]["support"] == "refused"
    assert row["uses"][0]["line"] == 10
    assert data["targets"]["github"]["problems"][0]["code"] == "P501"
    assert data["targets"]["local"] == {"compiles": True, "problems": []}


def test_a_task_says_at_its_spot_what_was_left_out():
    unkept = [each for each in Feature if backend("airflow").supports[each].level is Level.UNSUPPORTED]
    (text,) = asking.compile("airflow", allow_degraded=[*unkept, "resources", "image"]).values()
    body = text[text.index("def heavy(") :]
    assert "# left out by permission: resources, image" in body[: body.index("return run_step")]


def test_what_a_target_lacks_and_what_it_has_too_little_of_is_told_at_once():
    @step(resources=Resources(gpu=1), priority=3)
    def large(value: int) -> int:
        return value

    @pipeline
    def told(value: int = 1) -> int:
        return large(value)

    with pytest.raises(CompileError) as caught:
        told.compile("github")
    assert [each.code for each in caught.value.diagnostics] == ["P501", "P543"]
