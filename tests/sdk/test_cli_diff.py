"""`penstock diff`: files, specs and commits side by side, as a person and a program read it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from penstock.cli import app

PIPELINE = """
from penstock import pipeline, step
from scoring.rules import bonus

print("imported")

@step
def score(row: int) -> float:
    return row + bonus(row)

@pipeline
def scores(row: int = 1) -> float:
    return score(row)
"""
RULES = "def bonus(row: int) -> float:\n    return 0.5 * row\n"


def git(folder: Path, *words: str) -> str:
    own = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *own, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def diff(tmp_path, monkeypatch):
    """The command, in a subfolder of a repository with one commit."""
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "src" / "scoring").mkdir(parents=True)
    (tmp_path / "src" / "scoring" / "__init__.py").touch()
    (tmp_path / "src" / "scoring" / "rules.py").write_text(RULES)
    monkeypatch.syspath_prepend(tmp_path / "src")  # as Python does
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "src"))
    (project / "flow.py").write_text(PIPELINE)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    monkeypatch.chdir(project)

    def call(*words: str, code: int) -> str:
        done = CliRunner().invoke(app, ["diff", *words], env={"COLUMNS": "200"})
        assert done.exit_code == code, done.output
        return done.output

    return call


@pytest.mark.slow
def test_a_commit_is_compared_with_its_own_modules_and_nothing_of_the_repository_changes(diff, tmp_path):
    Path("../src/scoring/rules.py").write_text(RULES.replace("0.5", "0.75"))
    before = git(tmp_path, "status", "--porcelain=v2", "--branch")
    said = diff("HEAD:flow.py", "flow.py:scores", code=1)
    assert "~ scoring.rules.bonus, which score reaches" in said
    assert "-    return 0.5 * row\n      +    return 0.75 * row" in said
    assert "imported" not in said
    assert git(tmp_path, "status", "--porcelain=v2", "--branch") == before
    assert not git(tmp_path, "worktree", "list").count("\n") > 1


@pytest.mark.slow
def test_the_same_pipeline_is_the_same_also_as_a_spec(diff, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from penstock.cli import main; main()", "spec", "flow.py"],
        capture_output=True,
        text=True,
        check=True,
    )
    Path("flow.json").write_text(done.stdout.removeprefix("imported\n"))
    assert diff("HEAD:flow.py", "flow.json", code=0) == "the pipelines mean the same\n"


@pytest.mark.slow
def test_programs_are_told_both_values_as_the_spec_has_them(diff):
    Path("other.py").write_text(PIPELINE.replace("row: int = 1", 'row: int = 2, label: str = "[x]"'))
    found = json.loads(diff("flow.py", "other.py", "--json", code=1))

    def literal(value):
        return {"kind": "literal", "value": value}

    assert found["differs"] is True
    changed, new = found["parameters"]
    assert changed == {
        "name": "row",
        "how": "changed",
        "changes": [{"what": "default", "before": literal(1), "after": literal(2)}],
    }
    assert (new["name"], new["how"]) == ("label", "added")
    assert found["nodes"] == found["steps"] == found["code"] == found["pipeline"] == []
    assert '+ label: str = "[x]"' in diff("flow.py", "other.py", code=1)


@pytest.mark.slow
def test_what_is_wrong_at_a_commit_is_told_by_its_paths_there(diff, tmp_path):
    Path("flow.py").write_text(PIPELINE.replace("score(row)\n", "score('x')\n"))
    git(tmp_path, "commit", "--quiet", "--all", "--message", "second")
    Path("flow.py").write_text(PIPELINE)
    said = diff("HEAD:flow.py", "flow.py", code=2)
    assert "P204" in said
    assert "--> HEAD:project/flow.py:13" in said
    assert "penstock-" not in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nowhere:flow.py", "P718: `nowhere:flow.py`: no such commit"),
        ("--output=x:flow.py", "P718: `--output=x:flow.py`: no such commit"),
        ("HEAD:../../flow.py", "is not in the repository"),
    ],
)
@pytest.mark.slow
def test_a_commit_that_is_not_there_is_told(diff, given, said):
    assert said in diff("--", given, "flow.py", code=2)


@pytest.mark.slow
def test_a_process_that_ends_on_its_own_is_told(diff):
    Path("flow.py").write_text("import os, sys\nsys.stderr.write('out of luck')\nsys.stderr.flush()\nos._exit(7)\n")
    said = diff("flow.py", "HEAD:flow.py", code=2)
    assert "P717: flow.py cannot be loaded:\nout of luck" in said
