"""Deploying to a DAG folder: what is in it afterwards, whatever was in it before. Airflow itself: tests/engines."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from penstock import ConfigurationError, DeployError, pipeline, step
from penstock.backend import Definition
from penstock.deployment import StartedRun
from penstock.spec import PipelineSpec
from penstock_backends.airflow import deploy_folder
from penstock_backends.airflow.backend import AirflowBackend
from penstock_backends.airflow.deploy import AirflowDeployment, deployment_of
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


def moved(name: str, file: str) -> PipelineSpec:
    """The pipeline as another one that is defined in another file."""
    span = doubled.spec.span
    assert span is not None
    return doubled.spec.model_copy(update={"name": name, "span": span.model_copy(update={"file": file})})


def test_what_another_file_defines_is_replaced_only_on_purpose(deploying: Deploying, dags: Path) -> None:
    deploying().put({"doubled.py": "# 1\n"})
    theirs = {"dags": str(dags)}

    def other(**options: object) -> AirflowDeployment:
        given = AirflowDeployOptions.model_validate({**theirs, **options})
        made = AirflowBackend().deployment(Definition(moved("doubled", "teams/b.py")), AirflowOptions(), given)
        assert isinstance(made, AirflowDeployment)
        return made

    for attempt in (lambda: other().put({"doubled.py": "# 2\n"}, force=True), other().roll_back):
        with pytest.raises(DeployError, match=r"P814.* the pipeline of tests/backends/test_airflow_deploy.py:doubled"):
            attempt()
    (difference,) = other().differences({"doubled.py": "# 2\n"})
    assert difference.endswith("holds the pipeline tests/backends/test_airflow_deploy.py:doubled")
    assert (dags / "doubled.py").read_text() == "# 1\n"
    assert other(replaces="doubled").put({"doubled.py": "# 2\n"}).version == "2"
    assert other().put({"doubled.py": "# 3\n"}).version == "3"
    with pytest.raises(DeployError, match=r"the pipeline of teams/b.py:doubled has that name"):
        deploying().put({"doubled.py": "# 1\n"})


def test_the_file_of_a_former_name_goes_unless_a_person_changed_it(deploying: Deploying, dags: Path) -> None:
    deploying().put({"doubled.py": "# 1\n"})
    options = AirflowDeployOptions(dags=str(dags), replaces=("doubled", "never"))
    renamed = deployment_of(moved("twofold", "flow.py"), AirflowOptions(), options)
    (dags / "doubled.py").write_text("# by hand\n")
    with pytest.raises(DeployError, match=r"P813: .*doubled\.py was changed"):
        renamed.put({"twofold.py": "# 2\n"})
    assert not (dags / "twofold.py").exists()
    (dags / "doubled.py").write_text("# 1\n")
    assert any("doubled.py is gone" in note for note in renamed.put({"twofold.py": "# 2\n"}).notes)
    assert [path.name for path in dags.glob("*.py")] == ["twofold.py"]


def test_a_version_from_before_origins_were_kept_is_anyones(deploying: Deploying, dags: Path) -> None:
    deploying().put({"doubled.py": "# 1\n"})
    (record,) = (dags / ".penstock" / "doubled").glob("*.json")
    kept = json.loads(record.read_text())
    del kept["origin"]
    record.write_text(json.dumps(kept))
    assert deploying().put({"doubled.py": "# 2\n"}).version == "2"


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
    "/api/v2/importErrors": {"import_errors": [], "total_entries": 0},
    "/api/v2/dags/doubled": {"is_paused": False},
    "/api/v2/dags/doubled/details": {"file_token": "t"},
    "/api/v2/dagSources/doubled": {"content": "# 1\n"},
    "/api/v2/pools": {"pools": [{"name": "default_pool"}, {"name": "gpu"}], "total_entries": 2},
}


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.HTTPServer(("127.0.0.1", 0), Restarting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_pool_that_airflow_lacks_is_told_when_it_is_deployed_and_compared(
    deploying: Deploying, dags: Path, address: str
) -> None:
    told = "Airflow has no pool `licences`, without which tasks wait for ever: make it"
    options = AirflowDeployOptions.model_validate({"dags": str(dags), "server": address, "patience": 0.01})
    files = {"doubled.py": "# 1\n"}
    for pool, notes in (("gpu", ()), ("licences", (told,))):
        (dags / "doubled.py").unlink(missing_ok=True)
        deployment = deployment_of(doubled.spec, AirflowOptions(pool=pool), options)
        assert deployment.put(files).notes == notes
        assert list(deployment.differences(files)) == [*notes]


def test_a_run_is_followed_through_a_restart_of_the_server(deploying: Deploying, address: str) -> None:
    said: list[str] = []
    assert deploying(server=address, poll_seconds=0.01).follow(StartedRun("r"), said.append)
    assert said == ["double: succeeded"]
    assert Restarting.asked["/api/v2/dags/doubled/dagRuns/r"] == 2
