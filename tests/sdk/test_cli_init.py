"""`penstock init`: each starter is a whole project, which runs, passes its own tests and its own CI."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from penstock import compiler
from penstock.cli import app
from penstock.loading import load_pipeline
from penstock.starters import Starter
from penstock_backends.github.actions import ACTIONS
from tests.conformance.case import Case
from tests.conformance.engines import ENGINES
from tests.conformance.meaning import assert_same_meaning
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


ENGINE_OF = {"training": "kfp.local", "batch": "airflow-3", "evaluation": "standalone", "github": "act"}


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.parametrize(
    ("project", "engine"),
    [
        pytest.param(starter, engine, marks=pytest.mark.xdist_group(engine.name), id=f"{starter.value}-{engine.name}")
        for starter in Starter
        for engine in ENGINES
        if engine.name == ENGINE_OF[starter.value]
    ],
    indirect=["project"],
)
def test_a_starter_gives_on_an_engine_what_plain_python_gives(project, engine, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(project)
    monkeypatch.setitem(sys.modules, "pipeline", sys)  # so that whatever it becomes is undone
    del sys.modules["pipeline"]
    case = Case(load_pipeline(str(project / "pipeline.py")), "Starters are what people begin with.")
    (tmp_path / "plain").mkdir()
    monkeypatch.chdir(tmp_path / "plain")
    assert_same_meaning(engine, case, tmp_path)
