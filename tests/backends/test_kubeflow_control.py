"""Branches, loops, gates and ends as a cluster would run them, and the file in which they stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock import Gate, Pipeline, RunStatus, flow, pipeline, step
from penstock_backends.kubeflow import arguments_for
from penstock_backends.kubeflow.softness import soft_units
from penstock_backends.lowering import program_of
from tests.backends.kubeflow_cluster import Cluster
from tests.conformance.case import Case
from tests.conformance.cases import conditions, endings, gates, loops
from tests.conformance.engine import Observed
from tests.conformance.engines.kubeflow import observed
from tests.conformance.meaning import assert_same_meaning
from tests.conformance.random_pipelines import assert_the_same_on, some_programs
from tests.engines.kfp import kfp

CASES = [case for module in (conditions, endings, gates, loops) for case in module.CASES]


class OnCluster:
    """Kubeflow as its Go code would run the file."""

    name = "cluster"
    target = "kubeflow"

    def run(self, pipeline: Pipeline[..., Any], parameters: dict[str, Any], folder: Path) -> Observed:
        (text,) = pipeline.compile("kubeflow").values()
        loaded = next(iter(yaml.safe_load_all(text)))
        given = arguments_for(pipeline.spec.parameters, pipeline.encode_parameters(parameters))
        ran = Cluster(loaded, folder).run({name: given[name] for name in parameters})
        return observed(program_of(pipeline.spec), ran, folder)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_cluster_gives_it_the_same_meaning(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain").mkdir()
    monkeypatch.chdir(tmp_path / "plain")
    assert_same_meaning(OnCluster(), case, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 103))
def test_a_cluster_gives_random_pipelines_the_same_meaning(seed: int, tmp_path: Path) -> None:
    assert_the_same_on(OnCluster(), some_programs(seed, 4), tmp_path)


# --- the file ---------------------------------------------------------------------------------------------------------


@step
def numbers(count: int) -> list[int]:
    return list(range(count))


@step
def half(value: int) -> float:
    return value / 2


@step
def undo(value: int) -> None:
    print(value)


@step
def best_of(values: list[float]) -> float:
    return max(values, default=0.0)


@step
def word(text: str) -> str:
    return text


@step
def both(left: str, right: float) -> str:
    return f"{left} {right}"


@step
def run_status(status: RunStatus) -> None:
    print(status)


@pipeline
def chosen(count: int = 3, floor: float = 0.5) -> str:
    best = best_of([half(value) for value in numbers(count)])
    assert best >= floor, "worse than {{floor}}"
    if best > 1.0:  # noqa: SIM108  # what a branch's text is: the condition alone
        said = word("good")
    else:
        said = word("poor")
    return said


def document(authored: Any, **options: Any) -> dict[str, Any]:
    (text,) = authored.compile("kubeflow", **options).values()
    loaded: dict[str, Any] = next(iter(yaml.safe_load_all(text)))
    return loaded


def jobs(loaded: dict[str, Any]) -> dict[str, Any]:
    executors = loaded["deploymentSpec"]["executors"]
    return {label: json.loads(each["container"]["args"][1]) for label, each in executors.items()}


def test_the_head_shows_what_runs_when_as_it_was_written() -> None:
    (text,) = chosen.compile("kubeflow").values()
    shown = text[text.index("# What runs") : text.index("pipelineInfo:")].splitlines()
    assert shown == [
        "# What runs, and when:",
        "#   numbers",
        "#   for: each of numbers(count)",
        "#     half",
        "#   best_of",
        "#   assert: best >= floor",
        "#   if: best > 1.0",
        "#     word",
        "#   if: otherwise",
        "#     word_2",
    ]


def test_the_graph_has_the_authors_order_and_words() -> None:
    tasks = document(chosen)["root"]["dag"]["tasks"]
    assert {name: each["taskInfo"]["name"] for name, each in tasks.items()} == {
        "numbers": "numbers",
        "for": "for: numbers(count)",
        "for--each": "for: each of numbers(count)",
        "best-of": "best_of",
        "assert": "assert: best >= floor",
        "assert--passed": "assert: are its gates passed?",
        "if": "if: best > 1.0",
        "word": "word",
        "word-2": "word_2",
    }


def test_a_pipeline_in_which_everything_runs_is_as_it_was() -> None:
    @pipeline
    def plain(count: int = 3) -> list[int]:
        return numbers(count)

    loaded = document(plain)
    (label,) = loaded["deploymentSpec"]["executors"]
    assert "does" not in jobs(loaded)[label]
    assert "def run_step" not in loaded["deploymentSpec"]["executors"][label]["container"]["command"][2]
    assert "outcome" not in json.dumps(loaded["components"])
    assert "What runs" not in plain.compile("kubeflow")["plain.yaml"]


def test_the_head_says_that_the_file_holds_no_schedule() -> None:
    @pipeline(schedule="0 2 * * *")
    def daily() -> list[int]:
        return numbers(1)

    head = daily.compile("kubeflow")["daily.yaml"].partition("pipelineInfo:")[0]
    assert "# Its schedule, 0 2 * * * (UTC), is no part of this file: `penstock deploy`\n" in head


def test_a_loop_is_a_parallel_for_bounded_as_asked() -> None:
    @pipeline
    def bounded(counts: list[int] = [1, 2]) -> None:
        with flow.ForEach(counts, parallelism=2) as count, flow.ForEach(numbers(count)) as value:
            half(value)

    loaded = document(bounded)
    outer = loaded["root"]["dag"]["tasks"]["for--each"]
    assert outer["iteratorPolicy"] == {"parallelismLimit": 2}
    assert outer["parameterIterator"]["items"] == {"inputParameter": "pipelinechannel--for-Output"}
    inner = loaded["components"]["comp-for--each"]["dag"]["tasks"]["for-2--each"]
    assert "iteratorPolicy" not in inner
    assert list(loaded["components"]["comp-for-2--each"]["dag"]["tasks"]) == ["half"]


def test_no_task_of_ours_takes_the_name_of_one_of_theirs() -> None:
    @pipeline(on_exit=run_status)
    def ends() -> None:
        half(1)

    tasks = document(ends)["root"]["dag"]["tasks"]
    assert list(tasks) == ["half", "run-status-2", "run-status", "run-result"]


@pipeline(on_exit=run_status, on_failure=run_status.with_options(name="told"), timeout=600)
def everything(counts: list[int] = [1, 2], floor: float = 0.0) -> list[str]:
    totals = []
    for count in counts:
        values = [half.with_options(rollback=undo)(value) for value in numbers(count)]
        if count > 1:
            totals.append(best_of.with_options(gates=[Gate("output", ">=", floor)])(values))
    return [both("x", total) for total in totals]


@pytest.mark.engine
@pytest.mark.parametrize("authored", [chosen, everything], ids=lambda each: each.name)
def test_the_server_takes_the_file(authored: Any, tmp_path: Path) -> None:
    (text,) = authored.compile("kubeflow").values()
    assert kfp().problems(text, folder=tmp_path) == []


# --- what Kubeflow may see fail ---------------------------------------------------------------------------------------


def soft(authored: Any) -> set[str]:
    return set(soft_units(program_of(authored.spec)))


def test_a_failure_is_a_failure_to_kubeflow_where_all_that_waits_for_it_must_not_run() -> None:
    assert soft(chosen) == set()
    assert all(each.get("cachingOptions") for name, each in document(chosen)["root"]["dag"]["tasks"].items()
               if name not in ("for--each", "assert--passed"))  # fmt: skip


def test_what_a_merge_must_outlive_is_no_failure_to_kubeflow() -> None:
    @pipeline
    def merged(count: int = 3) -> str:
        slow = half(count)
        return word(both("late", slow) if count > 5 else word("early"))

    # `slow` may fail where nobody takes it: then `both` cannot run, and the last `word` must.
    assert soft(merged) == {"half", "both", "word_2"}
    tasks = document(merged)["root"]["dag"]["tasks"]
    assert tasks["half"]["cachingOptions"] == {}
    assert tasks["word"]["cachingOptions"] == {"enableCache": True}
    assert list(tasks)[-1] == "run-status"
    assert jobs(document(merged))["exec-run-status"]["fails"] is True


def test_before_tasks_at_the_end_nothing_fails_to_kubeflow() -> None:
    assert soft(everything) == {unit.id for unit in program_of(everything.spec).units}


# --- limits and pages -------------------------------------------------------------------------------------------------


def test_a_loop_has_no_more_items_than_a_command_line_has_room_for(tmp_path: Path) -> None:
    most = jobs(document(chosen))["exec-for"]["most"]
    ran = Cluster(document(chosen, harness="packed"), tmp_path).run({"count": most + 1})
    states = {each.task: each.state for each in ran.executions}
    assert states == {"numbers": "success", "for": "failure"}
    assert f"{most + 1} items are too many" in ran.log


@pytest.mark.engine
def test_a_gate_shows_its_verdict_and_values_on_the_metrics_page_though_it_fails(tmp_path: Path) -> None:
    (text,) = chosen.compile("kubeflow").values()
    ran = kfp().run(text, {"count": 1}, folder=tmp_path)
    shown = {each.task: each for each in ran.executions}
    assert shown["assert"].outputs["metrics"]["artifact"] == "system.Metrics"
    metadata = shown["assert"].outputs["metrics"]["metadata"]
    assert {name: metadata[name] for name in ("best >= floor", "best_of", "floor")} == {
        "best >= floor": "failed",
        "best_of": 0.0,
        "floor": 0.5,
    }
    assert shown["assert--passed"].state == "failure"
    assert "worse than {{floor}}" in ran.log
    assert "if" not in shown
