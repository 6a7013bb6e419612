"""`penstock init`: each starter is a whole project, which runs, passes its own tests and its own CI."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from penstock import compiler
from penstock.cli import app
from penstock.starters import Starter
from penstock_backends.github.actions import ACTIONS
from tests.engines.github import USES, github
from tests.warm_python import penstock, python

CHECK = ".github/workflows/check.yml"


def init(*words: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["init", *map(str, words)], env={"COLUMNS": "200"})
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(scope="module", params=list(Starter), ids=lambda starter: starter.value)
def project(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("projects") / request.param.value
    said = init(folder, "--template", request.param.value)
    written = {Path(line.removeprefix("wrote ")) for line in said.splitlines() if line.startswith("wrote ")}
    assert written == {each for each in folder.rglob("*") if each.is_file()}
    return folder


@pytest.mark.slow
def test_a_starter_runs(project):
    done = penstock(project, "run", "pipeline.py", "--quiet")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "succeeded in" in done.stdout


@pytest.mark.slow
def test_the_steps_of_its_ci_pass(project):
    steps = yaml.safe_load((project / CHECK).read_text())["jobs"]["check"]["steps"]
    tests, comparison = (shlex.split(step["run"]) for step in steps[-2:])
    for program, *words in (tests, comparison):
        done = python(project, "-m", program, *words)
        assert done.returncode == 0, done.stdout + done.stderr
    next(project.rglob("penstock/*.py")).write_text("changed by hand\n")
    assert python(project, "-m", *comparison).returncode == 1


@pytest.mark.slow
def test_it_compiles_for_every_target(project):
    done = penstock(project, "compile", "pipeline.py", "--to", "all", "-o", "everything")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {each.name for each in (project / "everything").iterdir()} == set(compiler.targets())


@pytest.mark.slow
def test_nothing_is_overwritten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "deploy" / "airflow" / "training.py"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    said = init(code=2)
    assert "P719" in said
    assert str(mine.relative_to(tmp_path)) in said
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [mine]
    assert mine.read_text() == "mine"
    mine.unlink()
    assert "wrote pipeline.py" in init()


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.xdist_group("github")
def test_reviewers_linters_have_nothing_to_say_of_its_ci(project, tmp_path):
    text = (project / CHECK).read_text()
    assert github().lint(text, folder=tmp_path) == []
    assert set(USES.findall(text)) <= {(each.name, each.commit) for each in ACTIONS}
