"""Deploying to a DAG folder: what is in it afterwards, whatever was in it before. Airflow itself: tests/engines."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from penstock import ConfigurationError, DeployError, pipeline, step
from penstock.backend import Definition
from penstock.deployment import StartedRun
from penstock_backends.airflow import deploy_folder
from penstock_backends.airflow.backend import AirflowBackend
from penstock_backends.airflow.deploy import AirflowDeployment
from penstock_backends.airflow.deploy_options import AirflowDeployOptions
from penstock_backends.airflow.options import AirflowOptions


@step
def double(row: int) -> int:
    return 2 * row


@pipeline
def doubled(row: int = 1) -> int:
    return double(row)


Deploying = Callable[..., AirflowDeployment]


@pytest.fixture
def dags(tmp_path: Path) -> Path:
    (tmp_path / "dags").mkdir()
    return tmp_path / "dags"


@pytest.fixture
def deploying(dags: Path) -> Deploying:
    def make(**options: object) -> AirflowDeployment:
        given = AirflowDeployOptions.model_validate({"dags": str(dags), **options})
        made = AirflowBackend().deployment(Definition(doubled.spec), AirflowOptions(), given)
        assert isinstance(made, AirflowDeployment)
        return made

    return make


def test_each_new_text_is_a_version_and_the_same_text_is_none(deploying: Deploying, dags: Path) -> None:
    deployment = deploying()
    first = deployment.put({"doubled.py": "# 1\n"})
    assert (first.version, first.places, first.changed) == ("1", (str(dags / "doubled.py"),), True)
    assert not deployment.put({"doubled.py": "# 1\n"}).changed
    assert deployment.put({"doubled.py": "# 2\n"}).version == "2"
    assert (dags / "doubled.py").read_text() == "# 2\n"
    assert [(each.name, each.current) for each in deployment.versions()] == [("2", True), ("1", False)]
    assert list(dags.rglob("*.py")) == [dags / "doubled.py"]


def test_a_version_is_told_by_the_hash_in_its_header(deploying: Deploying) -> None:
    files = doubled.compile("airflow", alert="alerts/webhook")  # which makes another spec of it
    deployment = deploying()
    deployment.put(files)
    (version,) = deployment.versions()
    assert f", spec {version.spec}.\n" in files["doubled.py"]


def test_the_way_back_and_forth(deploying: Deploying, dags: Path) -> None:
    deployment = deploying()
    for number in (1, 2, 3):
        deployment.put({"doubled.py": f"# {number}\n"})
    assert deployment.roll_back().version == "2"
    assert deployment.roll_back().version == "1"
    assert (dags / "doubled.py").read_text() == "# 1\n"
    with pytest.raises(DeployError, match="P815"):
        deployment.roll_back()
    with pytest.raises(DeployError, match="no version 9"):
        deployment.roll_back("9")
    assert deployment.roll_back("3").changed
    assert not deployment.roll_back("3").changed
    assert deployment.put({"doubled.py": "# 1\n"}).version == "4"
    assert deployment.roll_back().version == "3"


def test_what_a_person_changed_is_kept_unless_it_is_forced(deploying: Deploying, dags: Path) -> None:
    deployment = deploying()
    deployment.put({"doubled.py": "# 1\n"})
    (dags / "doubled.py").write_text("# 1, and a person's\n")
    assert deployment.differences({"doubled.py": "# 2\n"}) == [f"{dags / 'doubled.py'} was changed by hand"]
    for act in (lambda: deployment.put({"doubled.py": "# 2\n"}), lambda: deployment.roll_back("1")):
        with pytest.raises(DeployError, match="P813"):
            act()
    assert (dags / "doubled.py").read_text() == "# 1, and a person's\n"
    assert deployment.put({"doubled.py": "# 2\n"}, force=True).version == "2"
    assert (dags / "doubled.py").read_text() == "# 2\n"


def test_a_file_that_was_copied_there_becomes_the_first_version(deploying: Deploying, dags: Path) -> None:
    (dags / "doubled.py").write_text("# 1\n")
    assert deploying().differences({"doubled.py": "# 1\n"}) == []
    assert deploying().put({"doubled.py": "# 1\n"}).version == "1"
    with pytest.raises(DeployError, match="P815"):
        deploying().roll_back()


def test_check_says_how_the_folder_differs(deploying: Deploying, dags: Path) -> None:
    deployment = deploying()
    assert deployment.differences({"doubled.py": "# 1\n"}) == [f"{dags / 'doubled.py'} is not there"]
    deployment.put({"doubled.py": "# 1\n"})
    assert deployment.differences({"doubled.py": "# 1\n"}) == []
    assert deployment.differences({"doubled.py": "# 2\n"}) == [f"{dags / 'doubled.py'} is of another version"]


@pytest.mark.parametrize("survives", [1, 2])
def test_a_deployment_that_was_interrupted_is_done_by_the_next_one(
    deploying: Deploying, dags: Path, monkeypatch: pytest.MonkeyPatch, survives: int
) -> None:
    deployment, write = deploying(), deploy_folder._write
    deployment.put({"doubled.py": "# 1\n"})
    left = [survives]

    def dying(path: Path, text: str) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        write(path, text)

    monkeypatch.setattr(deploy_folder, "_write", dying)
    with pytest.raises(KeyboardInterrupt):
        deployment.put({"doubled.py": "# 2\n"})
    monkeypatch.setattr(deploy_folder, "_write", write)
    assert (dags / "doubled.py").read_text() == f"# {survives}\n"
    deployment.put({"doubled.py": "# 2\n"})
    assert (dags / "doubled.py").read_text() == "# 2\n"
    assert deployment.versions()[0].current
    assert deployment.roll_back("1").changed


def test_old_versions_go(deploying: Deploying) -> None:
    deployment = deploying(keep=2)
    for number in range(5):
        deployment.put({"doubled.py": f"# {number}\n"})
    assert [each.name for each in deployment.versions()] == ["5", "4"]


def test_versions_that_cannot_be_read_are_told(deploying: Deploying, dags: Path) -> None:
    deploying().put({"doubled.py": "# 1\n"})
    (dags / ".penstock" / "doubled" / "1.json").write_text("{")
    with pytest.raises(DeployError, match=r"mend or remove .*doubled"):
        deploying().put({"doubled.py": "# 2\n"})
    assert (dags / "doubled.py").read_text() == "# 1\n"


def test_others_may_read_the_file_as_any_new_one(deploying: Deploying, dags: Path) -> None:
    (dags / "usual").touch()
    deploying().put({"doubled.py": "# 1\n"})
    assert (dags / "doubled.py").stat().st_mode == (dags / "usual").stat().st_mode


def test_a_folder_that_is_not_there_or_not_named_is_told(deploying: Deploying, dags: Path) -> None:
    with pytest.raises(DeployError, match="P814"):
        deploying(dags=str(dags / "none")).put({"doubled.py": "# 1\n"})
    with pytest.raises(ConfigurationError, match="P803"):
        deploying(dags="")
    for act in (lambda: deploying().start({}), deploying().require_server):
        with pytest.raises(ConfigurationError, match="P803"):
            act()


def test_a_server_that_is_not_there_changes_nothing(deploying: Deploying, dags: Path) -> None:
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        deployment = deploying(server=f"http://127.0.0.1:{nobody_listens.getsockname()[1]}")
        with pytest.raises(DeployError, match="P811"):
            deployment.put({"doubled.py": "# 1\n"})
    assert deployment.versions() == []
    assert not (dags / "doubled.py").exists()


class Restarting(http.server.BaseHTTPRequestHandler):
    """An Airflow that hangs up the first time that it is asked for a run."""

    asked: ClassVar[Counter[str]] = Counter()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked[path] += 1
        if path.endswith("/dagRuns/r") and self.asked[path] == 1:
            self.close_connection = True
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(ANSWERS.get(path, {})).encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


INSTANCE = {"dag_id": "doubled", "dag_run_id": "r", "task_id": "double", "map_index": -1, "state": "success"}
ANSWERS = {
    "/auth/token": {"access_token": "t"},
    "/api/v2/dags/doubled/dagRuns/r": {"state": "success"},
    "/api/v2/dags/doubled/dagRuns/r/taskInstances": {"task_instances": [INSTANCE], "total_entries": 1},
}


def test_a_run_is_followed_through_a_restart_of_the_server(
    deploying: Deploying, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    said: list[str] = []
    with http.server.HTTPServer(("127.0.0.1", 0), Restarting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        deployment = deploying(server=f"http://127.0.0.1:{server.server_port}", poll_seconds=0.01)
        assert deployment.follow(StartedRun("r"), said.append)
        server.shutdown()
    assert said == ["double: succeeded"]
    assert Restarting.asked["/api/v2/dags/doubled/dagRuns/r"] == 2
