"""`penstock deploy --to airflow` on Airflow's own services."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from typer.testing import CliRunner

from penstock import DeployError
from penstock.cli import app
from penstock.loading import load_definition
from penstock_backends.airflow.backend import AirflowBackend
from penstock_backends.airflow.deploy_options import AirflowDeployOptions
from penstock_backends.airflow.options import AirflowOptions
from tests.engines.airflow import services
from tests.engines.airflow_services import Services
from tests.engines.environments import PASSWORD, PERSON

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.xdist_group("airflow-3-scheduler")]

PIPELINE = """
from datetime import date
from pathlib import Path

from penstock import pipeline, step

@step
def double(row: int, day: date) -> int:
    if row == 13:
        raise ValueError(f"no luck on {day:%d %B}")
    return 2 * row

@step
def note(number: int, file: str) -> None:
    Path(file).write_text(str(number))

@pipeline
def doubled(file: str, row: int = 1, day: date = date(2026, 1, 31)) -> None:
    note(double(row, day), file)
"""

Command = Callable[..., str]
WHO = {"AIRFLOW_USERNAME": PERSON, "AIRFLOW_PASSWORD": PASSWORD}


def command(server: Services, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, in a project that is configured for this server."""
    (folder / "flow.py").write_text(PIPELINE)
    (folder / "pyproject.toml").write_text(
        f"[tool.penstock.airflow]\nairflow = {server.major}\nartifact_root = '{folder}'\n"
        f"[tool.penstock.deploy.airflow]\ndags = '{server.dags}'\nserver = '{server.rest.base}'\n"
        "poll_seconds = 0.3\npatience = 240\n"
    )
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def call(*words: str, code: int = 0, **environ: str) -> str:
        done = CliRunner().invoke(app, ["deploy", "flow.py", "--to", "airflow", *words], env=environ or WHO)
        assert done.exit_code == code, done.output
        return done.output

    return call


@pytest.mark.parametrize("major", [3, 2])
def test_a_pipeline_is_deployed_and_run_and_returned_to_what_it_was(
    major: Literal[3, 2], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, noted = services(major), tmp_path / "noted"
    with server.used():
        deploy = command(server, tmp_path, monkeypatch)
        run = ("--run", "-p", f"file={noted}", "-p", "row=12")
        said = deploy(*run)
        assert "doubled deployed version 1\n" in said
        assert "double: succeeded\n" in said
        assert "note: succeeded\n" in said
        assert noted.read_text() == "24"

        said = deploy("--run", "-p", f"file={noted}", "-p", "row=13", "-p", "day=2026-11-13", code=1)
        assert "is up to date: version 1\n" in said
        assert "double: failed: its log: http://127.0.0.1:" in said
        assert "note: upstream_failed\n" in said
        assert "did not succeed" in said

        (tmp_path / "flow.py").write_text(PIPELINE.replace("2 * row", "3 * row"))
        assert "is of another version" in deploy("--check", code=1)
        deploy(*run)
        assert noted.read_text() == "36"
        deploy("--roll-back", *run)
        assert noted.read_text() == "24"


def test_a_file_that_airflow_cannot_import_gives_way_to_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = services(3)
    with server.used():
        deploy = command(server, tmp_path, monkeypatch)
        deploy()
        before = (server.dags / "doubled.py").read_text()
        for name, value in WHO.items():
            monkeypatch.setenv(name, value)
        options = {"dags": str(server.dags), "server": server.rest.base, "poll_seconds": 0.3, "patience": 240}
        given = AirflowDeployOptions.model_validate(options)
        deployment = AirflowBackend().deployment(load_definition("flow.py"), AirflowOptions(), given)
        with pytest.raises(DeployError, match="No module named 'nowhere'"):
            deployment.put({"doubled.py": "import nowhere\n\nfrom airflow.sdk import dag\n"})
        assert (server.dags / "doubled.py").read_text() == before
        assert [each.name for each in deployment.versions()] == ["1"]


def test_who_is_not_known_changes_nothing_and_a_token_is_as_good_as_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = services(3)
    with server.used():
        deploy = command(server, tmp_path, monkeypatch)
        for wrong in ({"AIRFLOW_TOKEN": "wrong"}, {**WHO, "AIRFLOW_PASSWORD": "wrong"}, {"AIRFLOW_USERNAME": ""}):
            assert "P812" in deploy(code=1, **wrong)
        assert "404" in deploy("--option", "airflow=2", code=1)
        assert [*server.dags.glob("*.py")] == []
        assert "version 1" in deploy(AIRFLOW_TOKEN=server.rest.authorization.removeprefix("Bearer "))
        server.rest.call("PATCH", "/dags/doubled", {"is_paused": True})
        assert "the DAG is paused" in deploy("--run", "-p", "file=x", code=1)
        assert "started run" in deploy(
            "--run", "--no-follow", "-p", f"file={tmp_path / 'noted'}", "--option", "unpause=true"
        )
