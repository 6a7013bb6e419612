"""`penstock deploy`: one command over what each target does in its own way; here a target that is a dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from penstock import ConfigurationError, DeployError, Diagnostic, compiler
from penstock.backend import Backend, Options, native
from penstock.cli import app
from penstock.deployment import Deployed, DeployOptions, StartedRun, Version
from penstock.loading import load_pipeline
from penstock.spec import Feature

PIPELINE = """
from penstock import pipeline, step

@step
def double(row: int) -> int:
    return 2 * row

@pipeline
def doubled(row: int = 1) -> int:
    return double(row)
"""


class ShelfOptions(Options):
    """How the files are made."""

    loud: bool = False


class ShelfDeployOptions(DeployOptions):
    """Which shelf it is put on."""

    shelf: str = ""


class Shelf:
    """What was put there, and what was asked for, newest last."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.started: list[Mapping[str, Any]] = []
        self.options: list[tuple[Any, Any]] = []
        self.broken = False
        self.is_deaf = False


SHELF = Shelf()


class ShelfDeployment:
    def differences(self, files):
        return [] if SHELF.kept[-1:] == list(files.values()) else ["the shelf holds something else"]

    def put(self, files, *, force=False):
        if SHELF.broken:
            raise DeployError(Diagnostic("P811", "the shelf cannot be reached", fix="build one"))
        changed = bool(self.differences(files)) or force
        SHELF.kept += list(files.values()) if changed else []
        return Deployed(str(len(SHELF.kept)), ("shelf/doubled",), changed, ("dust it",))

    def versions(self):
        ids = range(len(SHELF.kept), 0, -1)
        return [Version(str(each), "abc", "2026-01-31T00:00:00+00:00", each == len(SHELF.kept)) for each in ids]

    def roll_back(self, version=""):
        SHELF.kept.append(f"back to {version or 'the one before'}")
        return Deployed(str(len(SHELF.kept)), ("shelf/doubled",), changed=True)

    def require_server(self):
        if SHELF.is_deaf:
            raise ConfigurationError(Diagnostic("P803", "nothing says which server starts runs"))

    def start(self, parameters):
        SHELF.started.append(parameters)
        return StartedRun("run-1", "https://example.org/run-1")

    def follow(self, run, say):
        say(f"{run.id}: double succeeded")
        return SHELF.started[-1]["row"] != 13


class ShelfBackend(Backend):
    name: ClassVar[str] = "shelf"
    supports = dict.fromkeys(Feature, native())
    options = ShelfOptions
    deploy_options = ShelfDeployOptions

    def emit(self, pipeline, options):
        return {"doubled": f"{pipeline.name}{'!' if options.loud else ''}"}

    def deployment(self, definition, options, deploy_options):
        SHELF.options.append((options, deploy_options))
        return ShelfDeployment()


@pytest.fixture
def deploy(tmp_path, monkeypatch):
    """The command, with the pipeline and its target before the words given."""
    known = compiler.backend
    monkeypatch.setattr(compiler, "backend", lambda name: ShelfBackend() if name == "shelf" else known(name))
    SHELF.__init__()  # type: ignore[misc]
    (tmp_path / "flow.py").write_text(PIPELINE)
    (tmp_path / "pyproject.toml").write_text('[tool.penstock.deploy.shelf]\nshelf = "upper"\n')
    monkeypatch.chdir(tmp_path)

    def call(*words: str, code: int = 0, to: str = "shelf") -> str:
        done = CliRunner().invoke(app, ["deploy", "flow.py", "--to", to, *words], env={"COLUMNS": "200"})
        assert done.exit_code == code, done.output
        return done.output

    return call


def test_a_pipeline_is_put_once_and_then_is_up_to_date(deploy):
    assert deploy() == "doubled deployed version 1\n  shelf/doubled\n  dust it\n"
    assert deploy() == "doubled is up to date: version 1\n  shelf/doubled\n  dust it\n"
    assert SHELF.kept == ["doubled"]
    assert "deployed version 2" in deploy("--force")


def test_check_changes_nothing(deploy):
    said = deploy("--check", code=1)
    assert "the shelf holds something else" in said
    assert "with --force over what a person changed" in said
    assert SHELF.kept == []
    deploy()
    assert deploy("--check") == "doubled is up to date\n"


def test_versions_and_the_way_back(deploy):
    assert deploy("--versions") == "not deployed\n"
    deploy()
    assert "doubled rolled back to version 2" in deploy("--roll-back")
    assert "version 3" in deploy("--roll-back", "--version", "1")
    assert SHELF.kept == ["doubled", "back to the one before", "back to 1"]
    assert deploy("--versions").splitlines()[0] == "* 3  2026-01-31T00:00:00+00:00  spec abc"


def test_a_run_has_parameters_and_its_end_is_the_exit_code(deploy):
    said = deploy("--run", "-p", "row=12")
    assert "started run run-1 https://example.org/run-1\nrun-1: double succeeded\n" in said
    assert SHELF.started == [{"row": 12}]
    assert "run run-1 did not succeed" in deploy("--run", "-p", "row=13", code=1)
    assert "succeeded" not in deploy("--run", "--no-follow", "-p", "row=13")
    assert "P601" in deploy("--run", "-p", "rwo=1", code=2)


def test_nothing_is_deployed_for_a_run_that_no_server_would_start(deploy):
    SHELF.is_deaf = True
    assert "P803" in deploy("--run", code=2)
    assert SHELF.kept == []
    deploy()


def test_options_are_of_deploying_or_of_the_target(deploy):
    deploy("--option", "loud=true", "--option", "shelf=lower")
    deploy()
    (options, given), (_, configured) = SHELF.options
    assert (options.loud, given.shelf, configured.shelf) == (True, "lower", "upper")
    assert SHELF.kept == ["doubled!", "doubled"]
    assert "did you mean `shelf`?" in deploy("--option", "shlf=lower", code=2)


def test_a_place_that_refuses_ends_with_1(deploy):
    SHELF.broken = True
    said = deploy(code=1)
    assert "P811: the shelf cannot be reached" in said
    assert "fix: build one" in said


@pytest.mark.parametrize(
    "words", [("--check", "--versions"), ("-p", "row=1"), ("--version", "1"), ("--roll-back", "--check")]
)
def test_what_does_not_go_together_is_refused(deploy, words):
    assert "P802" in deploy(*words, code=2)
    assert SHELF.kept == []


def test_a_target_that_is_not_deployed_says_so(deploy):
    assert "P801: target `local` is not deployed" in deploy(to="local", code=2)


def test_python_deploys_as_the_command_does(deploy, tmp_path):
    made = load_pipeline("flow.py")
    assert made.deploy("shelf") == Deployed("1", ("shelf/doubled",), changed=True, notes=("dust it",))
    assert not made.deploy("shelf").changed
    assert made.deploy("shelf", force=True, loud=True).version == "2"
    with pytest.raises(ConfigurationError, match="no option `shlf`"):
        made.deploy("shelf", shlf="lower")
