"""How large a workflow becomes on a cluster, and by which form of the harness it fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock import Pipeline, pipeline, step
from penstock_backends.kubeflow import KubeflowBackend, KubeflowOptions
from penstock_backends.kubeflow.plan import plan_of
from penstock_backends.kubeflow.program import START_SHARED, harness_text, packed_harness
from penstock_backends.kubeflow.workflow import LARGEST_WORKFLOW, LIKELY_ITEMS
from tests.backends.argo import Workflow
from tests.backends.kubeflow_cluster import Cluster

Authored = Pipeline[..., Any]


@step
def load(url: str, rows: int = 10) -> list[dict[str, float]]:
    return [{"a": number / 7, "b": float(len(url))} for number in range(rows)]


@step
def clean(rows: list[dict[str, float]], dropped: list[str], limit: float = 0.5) -> list[dict[str, float]]:
    kept = [row for row in rows if row["a"] < limit]
    return [{key: value for key, value in row.items() if key not in dropped} for row in kept]


@step
def fit(rows: list[dict[str, float]], depth: int) -> float:
    return sum(row.get("b", 0.0) for row in rows) + depth


@step
def total(values: list[float]) -> float:
    return sum(values)


@step
def numbers(count: int) -> list[int]:
    return list(range(count))


@step
def half(number: int) -> float:
    return number / 2


@step
def failing() -> float:
    raise ValueError("on purpose")


@step
def end() -> None:
    print("the end")


def different(tasks: int) -> Authored:
    """As many tasks that all differ, three of which follow each other."""

    @pipeline
    def different(url: str = "s3://bucket/data.csv") -> list[float]:
        found = []
        for number in range(tasks // 3):
            rows = load.with_options(env={"LOADED": f"number-{number * 7919 % 1000}"})(url, rows=number % 9)
            rows = clean.with_options(env={"CLEANED": str(number * 31)})(rows, [f"column_{number}"], limit=number / 7)
            found.append(fit.with_options(env={"FITTED": str(number)})(rows, number))
        return found

    return different


def chain(tasks: int) -> Authored:
    """One step, again and again."""

    @pipeline
    def chain(rows: list[dict[str, float]]) -> list[dict[str, float]]:
        for _ in range(tasks):
            rows = clean(rows, ["a"])
        return rows

    return chain


def steered(tasks: int) -> Authored:
    """Branches, loops and gates of as many tasks or so, each of which knows its own place."""

    @pipeline(on_exit=[end])
    def steered(count: int = 2) -> list[float]:
        found = []
        for _ in range(tasks // 6):
            halves = [half(number) for number in numbers(count)]
            if count > 1:
                found.append(total(halves))
            assert count < 100
        return found

    return steered


def documents(authored: Authored, harness: str) -> list[dict[str, Any]]:
    (text,) = authored.compile("kubeflow", harness=harness, largest_workflow=10**9).values()
    return list(yaml.safe_load_all(text))


@pytest.mark.slow
@pytest.mark.parametrize("harness", ["text", "packed", "shared"])
@pytest.mark.parametrize("made", [different, chain, steered], ids=lambda made: made.__name__)
@pytest.mark.parametrize("tasks", [6, 60])
def test_the_size_is_at_least_about_that_of_the_workflow_and_its_state(made: Any, tasks: int, harness: str) -> None:
    authored = made(tasks)
    loaded, *rest = documents(authored, harness)
    platform = rest[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if rest else {}
    workflow = Workflow(loaded, platform)
    real = workflow.spec_size() + workflow.state_size()
    estimated = plan_of(authored.spec, KubeflowOptions(harness=harness)).size
    assert 0.95 * real < estimated < 1.5 * real


def started_by(authored: Authored) -> set[str]:
    """How the tasks are started of a pipeline that is not refused."""
    (text,) = authored.compile("kubeflow").values()
    executors = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))["deploymentSpec"]["executors"]
    return {each["container"]["command"][2] for each in executors.values()}


def test_a_harness_is_text_then_packed_then_shared_as_the_pipeline_grows() -> None:
    assert started_by(different(3)) == {harness_text()}
    assert started_by(different(24)) == {packed_harness()}
    assert START_SHARED in started_by(different(120))
    sizes = {tasks: plan_of(different(tasks).spec, KubeflowOptions()).size for tasks in (3, 24, 120)}
    assert max(sizes.values()) <= LARGEST_WORKFLOW


def test_the_form_leaves_room_for_a_hundred_items_of_a_loop() -> None:
    @pipeline
    def looped(count: int = 1) -> list[float]:
        return [half(number) for number in numbers(count)]

    authored = documents(looped, "text")[0]
    assert Workflow(authored, {}).state_size() * LIKELY_ITEMS > LARGEST_WORKFLOW
    assert harness_text(is_steered=True) not in started_by(looped)


def test_where_the_cluster_keeps_more_the_option_says_so() -> None:
    spec = chain(400).spec
    assert [each.code for each in KubeflowBackend().limits(spec, KubeflowOptions())] == ["P522"]
    assert not list(KubeflowBackend().limits(spec, KubeflowOptions(largest_workflow=3_000_000)))


def test_a_shared_harness_is_in_the_file_once_as_text() -> None:
    (text,) = different(6).compile("kubeflow", harness="shared").values()
    assert text.count("def supervise(") == 1
    assert "bz2" not in text


def test_a_task_of_the_name_leaves_the_name_to_the_author() -> None:
    @pipeline
    def taken() -> float:
        return half.with_options(name="harness")(3)

    (loaded,) = documents(taken, "shared")
    tasks = loaded["root"]["dag"]["tasks"]
    assert set(tasks) == {"harness", "harness-2"}
    assert tasks["harness"]["dependentTasks"] == ["harness-2"]


@pytest.mark.parametrize("cached", [True, False])
def test_a_shared_harness_comes_from_the_cache_if_anything_does(cached: bool) -> None:
    @pipeline
    def one() -> float:
        return half.with_options(cache=cached)(3)

    (loaded,) = documents(one, "shared")
    assert loaded["root"]["dag"]["tasks"]["harness"]["cachingOptions"] == ({"enableCache": True} if cached else {})


@pytest.mark.slow
def test_tasks_in_loops_and_branches_and_at_the_end_run_by_a_shared_harness(tmp_path: Path) -> None:
    (loaded,) = documents(steered(6), "shared")
    ran = Cluster(loaded, tmp_path).run({})
    assert ran.state == "success", ran.log
    assert {"harness", "half", "total", "end"} <= set(ran.tasks)
    assert "the end" in ran.log


@pytest.mark.slow
def test_a_failure_is_one_by_a_shared_harness_too(tmp_path: Path) -> None:
    @pipeline(on_exit=[end])
    def fails() -> float:
        return total([failing()])

    (loaded,) = documents(fails, "shared")
    ran = Cluster(loaded, tmp_path).run({})
    assert ran.state == "failed"
    assert "ValueError: on purpose" in ran.log
    assert "the end" in ran.log
