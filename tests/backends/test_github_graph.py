"""The option `graph`: a last job shows what became of the others."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock import CompileError, Pipeline, Push, pipeline, step
from tests.engines.environments import PYTHON
from tests.engines.github import github


@step
def numbers() -> list[int]:
    return [1, 2]


@step
def doubled(number: int) -> int:
    return 2 * number


@step
def total(values: list[int]) -> int:
    return sum(values)


@step
def bye() -> None:
    pass


@pipeline(on_exit=bye, triggers=Push())
def drawn(floor: int = 10) -> None:
    found = total([doubled(number) for number in numbers()])
    assert found >= floor, "`too` little"
    if found > 3:
        doubled(found)


def workflow_of(of: Pipeline[..., Any], **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(of.compile("github", **options)[f".github/workflows/{of.name}.yml"])
    return found


def test_nothing_is_drawn_unless_that_is_asked_for() -> None:
    assert "show--graph" not in workflow_of(drawn)["jobs"]
    assert "mermaid" not in drawn.compile("github")[".github/penstock/drawn.py"]


def test_the_graph_is_drawn_after_all_others_whatever_became_of_them() -> None:
    jobs = workflow_of(drawn, graph=True)["jobs"]
    assert list(jobs)[-1] == "show--graph"
    assert jobs["show--graph"]["needs"] == list(jobs)[:-1]
    assert jobs["show--graph"]["if"] == "${{ always() }}"


def test_what_became_of_each_node_is_seen_in_the_graph(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(drawn.compile("github", graph=True)[".github/penstock/drawn.py"])
    results = {"numbers": "success", "for": "success", "doubled": "success", "total": "success", "assert": "failure"}
    results |= {"if": "skipped", "doubled_2": "skipped", "bye": "success"}
    environ = {
        "PENSTOCK_NEEDS": json.dumps({job: {"result": result, "outputs": {}} for job, result in results.items()}),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }
    subprocess.run([sys.executable, "-I", "program.py", "graph"], cwd=tmp_path, env=environ, check=True)
    shown = (tmp_path / "summary.md").read_text()
    assert shown.startswith(
        "## <code>drawn</code>: failed\n\nJobs: 5 success, 1 failure, 2 skipped\n\n```mermaid\nflowchart"
    )
    assert shown.count("```") == 2
    (gate,) = [line.split("{")[0].strip() for line in shown.splitlines() if "found &gt;= floor" in line]
    assert f"    class {gate} failure\n" in shown
    (skipped,) = [line for line in shown.splitlines() if re.fullmatch(" +class .* skipped", line)]
    assert len(skipped.split()[1].split(",")) == 2


@pytest.mark.engine
@pytest.mark.xdist_group("github")
def test_a_failed_run_on_act_shows_its_graph(tmp_path: Path) -> None:
    files = drawn.compile("github", python_version=PYTHON, graph=True)
    ran = github().run(files, ".github/workflows/drawn.yml", folder=tmp_path, event="push")
    assert (ran.state, ran.jobs["show--graph"]) == ("failure", "success"), ran.log
    assert "Jobs: 5 success, 1 failure, 2 skipped" in ran.summary


@pytest.mark.engine
@pytest.mark.xdist_group("github")
def test_reviewers_linters_have_nothing_to_say(tmp_path: Path) -> None:
    text = drawn.compile("github", graph=True)[".github/workflows/drawn.yml"]
    assert github().lint(text, folder=tmp_path) == []


def test_a_graph_that_github_would_not_draw_is_refused() -> None:
    @pipeline
    def wide() -> None:
        total([doubled.with_options(name=f"a_step_with_quite_a_long_name_{number}")(number) for number in range(501)])

    with pytest.raises(CompileError) as caught:
        wide.compile("github", graph=True)
    (found,) = [each for each in caught.value.diagnostics if each.code == "P551"]
    assert "501 arrows" in found.message
