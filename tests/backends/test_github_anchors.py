"""A workflow that would be too large writes what its jobs repeat once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock import pipeline, step
from penstock_backends.github import backend
from penstock_backends.github.anchors import NOTE, nodes_of, written_once
from tests.engines.environments import PYTHON
from tests.engines.github import github, without_anchors

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted(ROOT.glob("examples/*/expected/github/.github/workflows/*.yml"))


@step
def number(value: int = 1) -> int:
    return value + 1


@step
def numbers(count: int) -> list[int]:
    return list(range(count))


@step
def total(values: list[int]) -> int:
    return sum(values)


@pipeline
def mixed(count: int = 3) -> int:
    first = number(number(count))
    found = [number(each) for each in numbers(count)]
    if count > 2:
        found.append(first)
    return total(found)


def chain(jobs: int) -> Any:
    @pipeline
    def chain(start: int = 0) -> int:
        for _ in range(jobs):
            start = number(start)
        return start

    return chain


def workflow_of(authored: Any) -> str:
    return next(text for path, text in authored.compile("github").items() if path.endswith(".yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_is_written_once_is_read_as_if_it_were_written_everywhere(path: Path) -> None:
    workflow = path.read_text()
    shorter = written_once(workflow)
    assert len(shorter) < len(workflow)
    assert yaml.safe_load(shorter) == yaml.safe_load(workflow)
    assert without_anchors(shorter) == workflow


def test_steps_of_one_name_that_differ_have_anchors_of_their_own() -> None:
    steps = "      - name: Go\n        run: {}\n"
    text = "".join(f"  {job}:\n    steps:\n{steps.format(run)}" for job, run in zip("abcd", "xyxy", strict=True))
    assert written_once(text).count("&go\n") == written_once(text).count("&go_2\n") == 1
    assert yaml.safe_load(written_once(text)) == yaml.safe_load(text)


def test_a_block_of_several_paragraphs_is_one_piece() -> None:
    job = "    steps:\n      - name: Go\n        run: |\n          one\n\n          {}\n"
    text = f"  a:\n{job.format('x')}\n  b:\n{job.format('y')}\n  c:\n{job.format('x')}"
    assert yaml.safe_load(written_once(text)) == yaml.safe_load(text)


def test_nodes_are_counted_as_github_does() -> None:
    assert nodes_of("a: 1\n") == 4 + len(["{", "a", "1", "}"])
    assert nodes_of("a: [1, 2]\n") == 4 + len(["{", "a", "[", "1", "2", "]", "}"])


@pytest.mark.slow
def test_a_workflow_has_anchors_only_where_it_would_be_too_large() -> None:
    small, large = workflow_of(chain(20)), workflow_of(chain(480))
    assert "&" not in small
    assert NOTE in large
    assert len(large.encode()) < backend.LARGEST_FILE < len(without_anchors(large).encode())
    jobs = yaml.safe_load(large)["jobs"]
    assert len(jobs) == 480
    kept = jobs["number_7"]["steps"][-1]["with"]
    assert (kept["name"], kept["path"]) == ("${{ github.job }}", "penstock/outputs/${{ github.job }}.tar")


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.xdist_group("github")
def test_a_workflow_with_anchors_runs_and_the_linters_find_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "LARGEST_FILE", 6_500)
    files = mixed.compile("github", python_version=PYTHON)
    path, workflow = next((path, text) for path, text in files.items() if path.endswith(".yml"))
    assert workflow.count("*check_out_the_program") > 3
    assert github().lint(workflow, folder=tmp_path / "lint") == []
    (tmp_path / "run").mkdir()
    ran = github().run(files, path, folder=tmp_path / "run")
    assert ran.state == "success", ran.log
    assert set(ran.jobs.values()) == {"success"}
