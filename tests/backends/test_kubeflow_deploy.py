"""Deploying to a server that speaks Kubeflow's API, by the command's own way: `deployable`."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from penstock import CompileError, Concurrency, ConfigurationError, DeployError, Schedule, pipeline, step
from penstock.cli import app
from penstock.deploying import deployable
from penstock_backends import following
from penstock_backends.kubeflow.deploy_schedule import six_fields
from tests.backends.kubeflow_server import Server, serve
from tests.engines.kfp import kfp


@step
def double(row: int) -> int:
    return 2 * row


def authored(schedule: Schedule | str | None = None, *, factor: int = 1, concurrency: Concurrency | int | None = None):
    """A pipeline of always the same name, which is another one for another factor."""

    def doubled(row: int = 1, label: str = "x") -> int:
        """Doubles a row."""
        return double.with_options(cache_version=str(factor))(row)

    return pipeline(schedule=schedule, concurrency=concurrency)(doubled)


@pytest.fixture
def server(monkeypatch):
    for name in ("KUBEFLOW_TOKEN", "KUBEFLOW_COOKIE", "KF_PIPELINES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    found = Server()
    found.address, stop = serve(found)
    yield found
    stop()


@pytest.fixture
def deployed(server):
    """A pipeline's deployment, and what it is compiled to."""

    def of(authored_pipeline, **options):
        given = {"server": server.address, "poll_seconds": 0.01, **options}
        found = deployable(authored_pipeline.define(), "kubeflow", given)
        return found.deployment, found.files()

    return of


def put(deployed, authored_pipeline, *, force=False, **options):
    deployment, files = deployed(authored_pipeline, **options)
    return deployment.put(files, force=force)


def only(things):
    (found,) = things.values()
    return found


# --- versions ---------------------------------------------------------------------------------------------------------


def test_a_pipeline_is_uploaded_once_and_then_is_up_to_date(server, deployed):
    deployment, files = deployed(authored())
    assert "is not there" in deployment.differences(files)[0]
    first = deployment.put(files)
    assert first.changed
    assert first.version.startswith("1-")
    assert only(server.pipelines)["description"] == "Doubles a row."
    assert deployment.differences(files) == []
    before = len(server.exchanges)
    again = deployment.put(files)
    assert (again.version, again.changed) == (first.version, False)
    assert {each["method"] for each in server.exchanges[before:]} == {"GET"}


def test_what_is_uploaded_is_the_compiled_file(server, deployed):
    _, files = deployed(authored())
    put(deployed, authored())
    (sent,) = (each["body"]["uploadfile"] for each in server.exchanges if each["path"].endswith("upload_version"))
    assert sent.replace("\r\n", "\n").strip() == files["doubled.yaml"].strip()


def test_another_definition_or_option_is_another_version(server, deployed):
    put(deployed, authored())
    assert put(deployed, authored(factor=2)).version.startswith("2-")
    deployment, files = deployed(authored(factor=2), base_image="python:3.13-slim")
    assert "other options" in deployment.differences(files)[0]
    third = deployment.put(files)
    assert third.version.startswith("3-")
    deployment, _ = deployed(authored(factor=2))
    found = deployment.versions()
    assert [each.name.partition("-")[0] for each in found] == ["3", "2", "1"]
    assert [each.current for each in found] == [True, False, False]
    assert found[0].spec == found[1].spec != found[2].spec
    assert third.version == found[0].name


def test_a_version_made_by_hand_is_left_alone_until_forced(server, deployed):
    put(deployed, authored())
    server.upload_by_hand("mine")
    deployment, files = deployed(authored())
    assert "was not made by Penstock" in deployment.differences(files)[0]
    with pytest.raises(DeployError, match="P813"):
        deployment.put(files)
    assert deployment.put(files, force=True).version.startswith("2-")
    assert deployment.roll_back("mine").version == "3-mine"
    assert list(server.versions.values())[-1]["pipeline_spec"] == {"pipelineInfo": {"name": "other"}}


def test_what_another_file_defines_is_replaced_only_on_purpose(server, deployed):
    put(deployed, authored("0 2 * * *"))
    (version,) = server.versions.values()
    version["description"] = version["description"].replace("test_kubeflow_deploy.py", "other.py")
    deployment, files = deployed(authored(factor=2))
    assert deployment.differences(files)[0].endswith("holds the pipeline tests/backends/other.py:doubled")
    for attempt in (lambda: deployment.put(files, force=True), lambda: deployment.roll_back(version["display_name"])):
        with pytest.raises(DeployError, match=r"P814: .* of tests/backends/other.py:doubled has that name"):
            attempt()
    assert len(server.versions) == 1
    assert put(deployed, authored("0 2 * * *", factor=2), replaces="doubled").changed
    assert put(deployed, authored("0 2 * * *", factor=3)).changed
    assert len(server.recurring) == 1


def test_returning_means_that_the_newest_version_is_an_earlier_one_again(server, deployed):
    put(deployed, authored(factor=1))
    put(deployed, authored(factor=2))
    put(deployed, authored(factor=3))
    deployment, files = deployed(authored(factor=3))
    first = deployment.versions()[-1]
    back = deployment.roll_back()
    assert back.version.startswith("4-")
    contents = [each["pipeline_spec"] for each in server.versions.values()]
    assert contents[3] == contents[1]
    assert deployment.roll_back().version.startswith("5-")
    with pytest.raises(DeployError, match=r"P815[\s\S]*its versions are: 5-"):
        deployment.roll_back()
    assert deployment.roll_back(first.name).version.startswith("6-")
    assert deployment.put(files).version.startswith("7-")
    assert deployed(authored(factor=1))[0].put(deployed(authored(factor=3))[1]).changed is False


def test_settings_of_pods_survive_the_return(server, deployed):
    def limited(row: int = 1) -> int:
        return double.with_options(timeout=60)(row)

    put(deployed, pipeline(limited))
    (version,) = server.versions.values()
    deployment, _ = deployed(pipeline(limited))

    def changed(row: int = 1) -> int:
        return double(row)

    changed.__name__ = "limited"
    put(deployed, pipeline(name="limited")(changed))
    deployment.roll_back()
    again = list(server.versions.values())[-1]
    assert "platforms" in again["pipeline_spec"]["platform_spec"]
    assert again["pipeline_spec"] == version["pipeline_spec"]


def test_there_is_nothing_to_return_to_where_nothing_was_deployed(server, deployed):
    deployment, _ = deployed(authored())
    assert deployment.versions() == []
    for act in (deployment.roll_back, lambda: deployment.start({})):
        with pytest.raises(DeployError, match="P815"):
            act()


# --- schedules --------------------------------------------------------------------------------------------------------


def test_a_schedule_is_a_recurring_run_of_the_current_version(server, deployed):
    first = put(deployed, authored("30 2 * * 1-5"))
    recurring = only(server.recurring)
    assert recurring["trigger"] == {"cron_schedule": {"cron": "0 30 2 * * 1-5"}}
    assert (recurring["max_concurrency"], recurring["no_catchup"], recurring["status"]) == ("10", True, "ENABLED")
    assert any(recurring["recurring_run_id"] in place for place in first.places)
    put(deployed, authored("30 2 * * 1-5", factor=2))
    assert only(server.recurring)["pipeline_version_reference"]["pipeline_version_id"] == list(server.versions)[-1]


def test_the_new_recurring_run_is_there_before_the_old_one_goes(server, deployed):
    put(deployed, authored("0 2 * * *"))
    before = len(server.exchanges)
    put(deployed, authored("0 3 * * *"))
    changes = [each["method"] for each in server.exchanges[before:] if "recurringruns" in each["path"]]
    assert [method for method in changes if method != "GET"] == ["POST", "POST", "DELETE"]


@pytest.mark.parametrize("knows_orphans", [True, False])
def test_what_the_earlier_recurring_run_has_started_goes_on(knows_orphans, server, deployed):
    server.knows_orphans = knows_orphans
    put(deployed, authored("0 2 * * *"))
    (old,) = server.recurring
    server.runs["a"] = {"run_id": "a", "display_name": "nightly", "recurring_run_id": old, "state": "RUNNING"}
    found = put(deployed, authored("0 3 * * *"))
    assert "a" in server.runs
    assert [each["status"] for each in server.recurring.values()] == ["DISABLED", "ENABLED"]
    assert old in found.notes[0]
    deployment, files = deployed(authored("0 3 * * *"))
    assert deployment.differences(files) == []
    put(deployed, authored("0 4 * * *"))
    assert [each["status"] for each in server.recurring.values()] == ["DISABLED", "ENABLED"]
    server.runs["a"]["state"] = "SUCCEEDED"
    assert put(deployed, authored("0 4 * * *")).notes == ()
    assert only(server.recurring)["trigger"]["cron_schedule"]["cron"] == "0 0 4 * * *"


def test_without_a_schedule_the_recurring_run_goes(server, deployed):
    put(deployed, authored("0 2 * * *"))
    put(deployed, authored())
    assert server.recurring == {}


def test_what_others_scheduled_stays(server, deployed):
    put(deployed, authored("0 2 * * *"))
    theirs = {**only(server.recurring), "recurring_run_id": "theirs", "description": "by hand"}
    server.recurring["theirs"] = theirs
    put(deployed, authored())
    assert server.recurring == {"theirs": theirs}


def test_a_schedule_that_somebody_paused_stays_paused(server, deployed):
    put(deployed, authored("0 2 * * *"))
    only(server.recurring)["status"] = "DISABLED"
    found = put(deployed, authored("0 2 * * *", factor=2))
    assert only(server.recurring)["status"] == "DISABLED"
    assert "paused" in found.notes[0]


def test_a_recurring_run_that_somebody_removed_is_made_again(server, deployed):
    put(deployed, authored("0 2 * * *"))
    server.recurring.clear()
    deployment, files = deployed(authored("0 2 * * *"))
    assert "no recurring run" in deployment.differences(files)[0]
    assert deployment.put(files).changed
    assert len(server.recurring) == 1


def test_the_schedule_of_a_former_name_ends(server, deployed):
    put(deployed, authored("0 2 * * *"))

    @pipeline(schedule="0 2 * * *")
    def redoubled(row: int = 1) -> int:
        return double(row)

    put(deployed, redoubled)
    deployment, files = deployed(redoubled, replaces="doubled")
    assert "a name that it had before" in deployment.differences(files)[0]
    deployment.put(files)
    assert only(server.recurring)["display_name"] == "redoubled"
    assert len(server.pipelines) == 2


def test_returning_brings_the_schedule_of_that_version_back(server, deployed):
    put(deployed, authored("0 2 * * *"))
    put(deployed, authored("0 3 * * *"))
    deployed(authored("0 3 * * *"))[0].roll_back()
    assert only(server.recurring)["trigger"]["cron_schedule"]["cron"] == "0 0 2 * * *"


def test_a_start_is_in_the_schedules_own_zone_and_catching_up_happens_once(server, deployed):
    future = Schedule("0 2 * * *", timezone="Europe/Berlin", start="2999-07-01", catch_up=False)
    put(deployed, authored(future), schedule_timezone="Europe/Berlin")
    assert only(server.recurring)["trigger"]["cron_schedule"]["start_time"] == "2999-06-30T22:00:00Z"
    past = Schedule("0 2 * * *", start="2026-01-01", catch_up=True)
    put(deployed, authored(), schedule_timezone="UTC")
    put(deployed, authored(past))
    recurring = only(server.recurring)
    assert (recurring["trigger"]["cron_schedule"]["start_time"], recurring["no_catchup"]) == (
        "2026-01-01T00:00:00Z",
        False,
    )
    put(deployed, authored(past, factor=2))
    assert only(server.recurring)["trigger"]["cron_schedule"]["start_time"] > "2026-01-01T00:00:00Z"


def test_a_start_that_is_over_makes_up_for_nothing_where_that_is_not_wanted(server, deployed):
    put(deployed, authored(Schedule("0 2 * * *", start="2026-01-01")))
    assert "start_time" not in only(server.recurring)["trigger"]["cron_schedule"]


def test_a_bound_on_runs_holds_for_those_by_the_schedule_where_it_may_degrade(server, deployed):
    with pytest.raises(CompileError, match="P501"):
        authored("0 2 * * *", concurrency=2).compile("kubeflow")
    put(deployed, authored("0 2 * * *", concurrency=2), allow_degraded=["concurrency"])
    assert only(server.recurring)["max_concurrency"] == "2"


def test_another_bound_is_another_version_though_the_file_is_the_same(server, deployed):
    for limit in (2, 3):
        put(deployed, authored("0 2 * * *", concurrency=limit), allow_degraded=["concurrency"])
        assert only(server.recurring)["max_concurrency"] == str(limit)
    assert len(server.versions) == 2


def test_another_account_is_another_recurring_run(server, deployed):
    put(deployed, authored("0 2 * * *"))
    deployment, files = deployed(authored("0 2 * * *"), service_account="runner")
    assert "recurring run" in deployment.differences(files)[0]
    assert deployment.put(files).changed
    assert only(server.recurring)["service_account"] == "runner"


def test_a_schedule_whose_runs_would_lack_a_value_is_refused_at_its_pipeline():
    @pipeline(schedule="0 2 * * *")
    def wanting(row: int) -> int:
        return double(row)

    with pytest.raises(CompileError, match=r"P507[\s\S]*no value for `row`"):
        wanting.compile("kubeflow")


def test_a_schedule_in_another_zone_than_the_clusters_is_refused_at_its_pipeline():
    berlin = authored(Schedule("0 2 * * *", timezone="Europe/Berlin"))
    with pytest.raises(CompileError, match=r"P524[\s\S]*test_kubeflow_deploy.py[\s\S]*schedule_timezone"):
        berlin.compile("kubeflow")
    assert berlin.compile("kubeflow", schedule_timezone="Europe/Berlin")


@pytest.mark.parametrize(
    ("weekdays", "read"),
    [
        ("*", "*"),
        ("1-5", "1-5"),
        ("7", "0"),
        ("5-7", "5,6,0"),
        ("1-7/2", "1,3,5,0"),
        ("mon,7", "mon,0"),
        ("*/7", "*/7"),
    ],
)
def test_sunday_is_zero_alone(weekdays, read):
    assert six_fields(f"5 4 * * {weekdays}") == f"0 5 4 * * {read}"


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_run_is_of_the_current_version_with_what_it_is_given(server, deployed):
    put(deployed, authored())
    deployment, _ = deployed(authored(), service_account="runner", experiment="nightly")
    started = deployment.start({"row": 3})
    run = server.runs[started.id]
    assert run["runtime_config"] == {"parameters": {"row": 3}}
    assert run["pipeline_version_reference"]["pipeline_version_id"] == list(server.versions)[-1]
    assert run["service_account"] == "runner"
    assert [each["display_name"] for each in server.experiments.values()] == ["nightly"]
    assert started.url == f"{server.address}/#/runs/details/{started.id}"


def test_a_run_is_followed_to_its_end(server, deployed):
    put(deployed, authored())
    deployment, _ = deployed(authored())
    server.stages = [
        ("RUNNING", {"root-driver": "SUCCEEDED", "double": "PENDING"}),
        ("RUNNING", {"double": "RUNNING"}),
        ("RUNNING", {"double": "RUNNING"}),
        ("FAILED", {"double": "FAILED"}),
    ]
    said: list[str] = []
    assert deployment.follow(deployment.start({}), said.append) is False
    assert said == ["double: pending", "double: running", "double: failed (its pod failed)", "the run failed"]
    server.stages = [("SUCCEEDED", {})]
    assert deployment.follow(deployment.start({}), said.append) is True


def test_a_network_that_fails_for_a_while_ends_no_following(server, deployed, monkeypatch):
    put(deployed, authored())
    deployment, _ = deployed(authored())
    started = deployment.start({})
    server.stages = [("SUCCEEDED", {})]
    server.broken = {("GET", f"/runs/{started.id}"): (503, "nobody home")}
    looks = iter(range(3))
    server.mended = lambda: next(looks, None) is None
    assert deployment.follow(started, lambda _: None) is True
    server.mended = lambda: False
    monkeypatch.setattr(following, "AWAY_SECONDS", 0)
    server.broken = {("GET", f"/runs/{started.id}"): (503, "nobody home")}
    with pytest.raises(DeployError, match="503 nobody home"):
        deployment.follow(started, lambda _: None)


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", [("POST", "/pipelines/upload_version"), ("POST", "/recurringruns")])
def test_what_fails_half_way_leaves_nothing_behind(broken, server, deployed):
    server.broken = {broken: (500, "the database is away")}
    with pytest.raises(DeployError, match=r"P814[\s\S]*500 the database is away"):
        put(deployed, authored("0 2 * * *"))
    assert (server.pipelines, server.versions, server.recurring) == ({}, {}, {})


def test_a_failed_change_leaves_what_was_there(server, deployed):
    put(deployed, authored("0 2 * * *"))
    was = copy.deepcopy((server.versions, server.recurring))
    server.broken = {("POST", "/recurringruns"): (400, "no")}
    with pytest.raises(DeployError, match="P814"):
        put(deployed, authored("0 3 * * *"))
    assert (server.versions, server.recurring) == was


def test_a_schedule_that_cannot_be_replaced_stays_the_only_one(server, deployed):
    put(deployed, authored("0 2 * * *"))
    was = copy.deepcopy((server.versions, server.recurring))
    (old,) = server.recurring
    server.broken = {("DELETE", f"/recurringruns/{old}"): (500, "no")}
    with pytest.raises(DeployError, match="P814"):
        put(deployed, authored("0 3 * * *"))
    assert (server.versions, server.recurring) == was


def test_a_pipeline_without_a_version_is_not_there_yet(server, deployed):
    put(deployed, authored())
    server.versions.clear()
    deployment, files = deployed(authored())
    assert "is not there" in deployment.differences(files)[0]
    assert deployment.put(files).version.startswith("1-")


def test_credentials_come_from_the_environment(server, deployed, monkeypatch, tmp_path):
    server.token = "sesame"
    with pytest.raises(DeployError, match=r"P812[\s\S]*KUBEFLOW_TOKEN"):
        put(deployed, authored())
    monkeypatch.setenv("KUBEFLOW_TOKEN", "sesame")
    assert put(deployed, authored()).changed
    monkeypatch.delenv("KUBEFLOW_TOKEN")
    (tmp_path / "token").write_text("sesame\n")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    assert not put(deployed, authored()).changed


def test_nobody_there_and_nowhere_to_go(server, deployed, monkeypatch):
    with pytest.raises(DeployError, match="P811"):
        put(deployed, authored(), server="http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match="P803"):
        put(deployed, authored(), server="")
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", server.address)
    assert put(deployed, authored(), server="").changed


# --- the command ------------------------------------------------------------------------------------------------------

PIPELINE = """
from penstock import pipeline, step

@step
def double(row: int) -> int:
    return 2 * row

@pipeline(schedule="0 2 * * *")
def doubled(row: int = 1) -> int:
    return double(row)
"""


def test_the_command_deploys_runs_compares_and_returns(server, tmp_path, monkeypatch):
    (tmp_path / "flow.py").write_text(PIPELINE)
    configured = f'[tool.penstock.deploy.kubeflow]\nserver = "{server.address}/"\npoll_seconds = 0.01\n'
    (tmp_path / "pyproject.toml").write_text(configured)
    monkeypatch.chdir(tmp_path)

    def call(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["deploy", "flow.py", "--to", "kubeflow", *words], env={"COLUMNS": "200"})
        assert done.exit_code == code, done.output
        return done.output

    assert "is not there" in call("--check", code=1)
    server.stages = [("RUNNING", {"double": "RUNNING"}), ("SUCCEEDED", {"double": "SUCCEEDED"})]
    said = call("--run", "-p", "row=3")
    assert "doubled deployed version 1-" in said
    assert said.endswith("double: running\ndouble: succeeded\nthe run succeeded\n")
    assert only(server.runs)["runtime_config"] == {"parameters": {"row": 3}}
    assert "up to date" in call("--check")
    (tmp_path / "flow.py").write_text(PIPELINE.replace("0 2", "0 3"))
    assert "is to be of" in call("--check", code=1)
    assert "deployed version 2-" in call()
    assert call("--versions").startswith("* 2-")
    assert "rolled back to version 3-" in call("--roll-back")
    assert "P815" in call("--roll-back", code=1)


# --- the published API ------------------------------------------------------------------------------------------------


def doing_everything(server, deployed):
    put(deployed, authored(Schedule("0 2 * * 7", start="2026-01-01", catch_up=True)), namespace="team")
    put(deployed, authored("0 2 * * *", factor=2), namespace="team", service_account="runner")
    deployment, files = deployed(authored("0 2 * * *", factor=2), namespace="team")
    deployment.roll_back()
    deployment.put(files)
    server.stages = [("RUNNING", {"double": "RUNNING"}), ("FAILED", {"double": "FAILED"})]
    deployment.follow(deployment.start({"row": 3, "label": "y"}), lambda _: None)
    server.broken = {("POST", "/recurringruns"): (500, "away")}
    with pytest.raises(DeployError):
        put(deployed, authored("0 4 * * *", factor=4), namespace="team")


@pytest.mark.engine
@pytest.mark.xdist_group("kfp")
def test_all_that_is_asked_and_answered_is_the_published_api(server, deployed, tmp_path):
    doing_everything(server, deployed)
    asked = {(each["method"], each["path"].split("/")[3]) for each in server.exchanges}
    assert asked >= {("POST", "pipelines"), ("DELETE", "recurringruns"), ("POST", "runs"), ("DELETE", "pipelines")}
    assert kfp().problems_of_exchanges(server.exchanges, folder=tmp_path / "kfp") == []


@pytest.mark.engine
@pytest.mark.xdist_group("kfp")
def test_what_is_not_the_published_api_is_seen(server, deployed, tmp_path):
    put(deployed, authored("0 2 * * *"))
    put(deployed, authored("0 2 * * *"))
    good = json.dumps(server.exchanges)
    for true, false, named in (
        ('"max_concurrency": "10"', '"max_concurrency": 10', "max_concurrency"),
        ('"mode": "ENABLE"', '"mode": "ON"', "none of"),
        ('"runtime_config"', '"runtime_configuration"', "has no runtime_configuration"),
        ("/apis/v2beta1/recurringruns", "/apis/v2beta1/jobs", "no such operation"),
        ('"sort_by"', '"order_by"', "order_by"),
    ):
        assert true in good
        problems = kfp().problems_of_exchanges(json.loads(good.replace(true, false)), folder=tmp_path / named)
        assert [each for each in problems if named in each]


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.xdist_group("kfp")
def test_kfps_own_client_finds_what_was_deployed(server, deployed, tmp_path):
    first = put(deployed, authored("0 2 * * *"))
    second = put(deployed, authored("30 2 * * 7", factor=2))
    deployment, _ = deployed(authored("30 2 * * 7", factor=2))
    deployment.start({"row": 3})
    folder: Path = tmp_path / "kfp"
    assert kfp().seen_by_client(server.address, "doubled", folder=folder) == {
        "versions": [second.version, first.version],
        "recurring": [["0 30 2 * * 0", "10", "ENABLED"]],
        "runs": [[f"doubled {second.version}", {"row": 3}]],
    }
