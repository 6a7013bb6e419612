"""Secrets of steps, and what the configuration says of the jobs of single steps."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from penstock import CompileError, ConfigurationError, Pipeline, Resources, pipeline, step
from penstock.settings import _REFERENCE
from penstock_backends.github.names import secret_id
from tests.engines.environments import PYTHON
from tests.engines.github import github

VALUE = "v3ry-secret"


@step(secrets={"PGPASSWORD": "warehouse/password"})
def counted() -> int:
    print(f"the password is {os.environ['PGPASSWORD']}")
    return len(os.environ["PGPASSWORD"])


@step(secrets={"PGPASSWORD": "warehouse/password"})
def tells(count: int) -> None:
    raise ValueError(f"wrong password {os.environ['PGPASSWORD']!r}")


@step
def seen() -> bool:
    return "PGPASSWORD" in os.environ


@pipeline
def guarded() -> None:
    tells(counted())
    seen()


@step(resources=Resources(gpu=1), image="registry.example/train:1", secrets={"TOKEN": "github/token"})
def train() -> int:
    return 1


@step(secrets={"KEY": "aws/SECRET_KEY"})
def deploy(model: int) -> None:
    pass


@pipeline
def delivered() -> None:
    deploy(train())


STEPS: dict[str, Any] = {
    "train": {
        "runs_on": ["self-hosted", "gpu"],
        "container": "--gpus all",
        "registry": {"username": "robot", "password": "registry/password"},
    },
    "deploy": {
        "environment": "production",
        "permissions": {
            "id-token": {"access": "write", "reason": "to take the role that may deploy"},
            "contents": {"access": "write", "reason": "to tag the release"},
        },
    },
}


def jobs_of(of: Pipeline[..., Any], **options: Any) -> dict[str, Any]:
    jobs: dict[str, Any] = yaml.safe_load(text_of(of, **options))["jobs"]
    return jobs


def text_of(of: Pipeline[..., Any], **options: Any) -> str:
    return of.compile("github", **options)[f".github/workflows/{of.name}.yml"]


# --- secrets ----------------------------------------------------------------------------------------------------------

REFERENCES = st.from_regex(_REFERENCE, fullmatch=True)


@given(REFERENCES, REFERENCES)
@example("ware-house", "ware/house")
@example("a-b/c", "a/b_c")
@example("aws/KEY", "aws/key")
@example("a/_b", "a-b")
def test_no_two_references_are_one_secret(one: str, other: str) -> None:
    ids = {secret_id(one), secret_id(other)}
    assert all(re.fullmatch(r"(?!GITHUB_(?!TOKEN$))[A-Z_][A-Z0-9_]*", each) for each in ids)
    assert len(ids) == len({one, other})


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("warehouse", "WAREHOUSE"),
        ("warehouse/db_password", "WAREHOUSE_DB_PASSWORD"),
        ("my-warehouse/password", "MY__WAREHOUSE_PASSWORD"),
        ("aws/KEY", "SECRET_AWS_KEY___3917F663"),
    ],
)
def test_an_ordinary_reference_gives_an_ordinary_name(reference: str, name: str) -> None:
    assert secret_id(reference) == name


def test_a_secret_is_handed_to_the_one_step_that_runs_the_authors() -> None:
    steps = jobs_of(guarded)["counted"]["steps"]
    assert [each["name"] for each in steps if "secrets." in str(each)] == ["Run the step"]
    assert steps[2]["env"] == {"PGPASSWORD": "${{ secrets.WAREHOUSE_PASSWORD }}"}
    assert "secrets." not in str(jobs_of(guarded)["seen"])


def test_a_secret_may_be_called_otherwise_in_the_repository() -> None:
    steps = jobs_of(guarded, secrets={"warehouse/password": "PG_PW"})["counted"]["steps"]
    assert steps[2]["env"] == {"PGPASSWORD": "${{ secrets.PG_PW }}"}


def test_the_token_of_the_job_is_a_secret_that_is_always_there() -> None:
    assert jobs_of(delivered, steps=STEPS)["train"]["steps"][-2]["env"] == {"TOKEN": "${{ github.token }}"}


@pytest.mark.engine
@pytest.mark.xdist_group("github")
def test_a_secret_reaches_its_step_and_is_shown_nowhere(tmp_path: Path) -> None:
    files = guarded.compile("github", python_version=PYTHON)
    given_ = {"WAREHOUSE_PASSWORD": VALUE}
    ran = github().run(files, ".github/workflows/guarded.yml", folder=tmp_path, secrets=given_)
    assert ran.jobs == {"counted": "success", "tells": "failure", "seen": "success"}, ran.log
    assert "the password is ***" in ran.log
    assert "wrong password" in ran.summary
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [each for each in (ran.log.encode(), ran.summary.encode(), *kept) if VALUE.encode() in each]
    assert b'{"output":false}' in (ran.artifacts["seen"] / "seen.tar").read_bytes().replace(b" ", b"")


@pytest.mark.engine
@pytest.mark.xdist_group("github")
def test_a_step_without_its_secret_fails_and_says_so(tmp_path: Path) -> None:
    files = guarded.compile("github", python_version=PYTHON)
    ran = github().run(files, ".github/workflows/guarded.yml", folder=tmp_path)
    assert ran.jobs == {"counted": "failure", "tells": "skipped", "seen": "success"}, ran.log
    assert "no secret WAREHOUSE_PASSWORD: it is not set, or this is for a fork" in ran.summary


# --- single steps -----------------------------------------------------------------------------------------------------


def test_a_step_has_the_environment_and_the_permissions_that_are_asked_for_it_and_no_other_has() -> None:
    jobs = jobs_of(delivered, steps=STEPS)
    assert jobs["deploy"]["environment"] == "production"
    assert jobs["deploy"]["permissions"] == {"contents": "write", "id-token": "write"}
    assert "id-token: write # to take the role that may deploy\n" in text_of(delivered, steps=STEPS)
    assert "environment" not in jobs["train"]
    assert jobs["train"]["permissions"] == {"contents": "read"}


def test_a_step_has_the_runner_and_the_container_that_are_asked_for_it() -> None:
    jobs = jobs_of(delivered, steps=STEPS)
    assert jobs["train"]["runs-on"] == ["self-hosted", "gpu"]
    assert jobs["train"]["container"] == {
        "image": "registry.example/train:1",
        "credentials": {"username": "robot", "password": "${{ secrets.REGISTRY_PASSWORD }}"},
        "options": "--gpus all",
    }
    assert jobs["deploy"]["runs-on"] == "ubuntu-24.04"


def test_a_runner_that_is_said_to_be_too_small_is_refused_though_it_is_named() -> None:
    with pytest.raises(CompileError) as caught:
        delivered.compile("github", steps=STEPS, runners=[{"labels": ["self-hosted", "gpu"]}])
    assert [each.code for each in caught.value.diagnostics] == ["P543"]


@pytest.mark.parametrize(
    ("steps", "code"),
    [({"trian": {"environment": "x"}}, "P506"), ({"*": {"container": "--gpus all"}}, "P549")],
)
def test_what_is_said_of_no_step_or_of_no_container_is_refused(steps: dict[str, Any], code: str) -> None:
    with pytest.raises(CompileError) as caught:
        delivered.compile("github", steps={"train": STEPS["train"], **steps})
    assert [each.code for each in caught.value.diagnostics] == [code]


@pytest.mark.parametrize(
    "steps",
    [
        {"deploy": {"permissions": {"id-token": "write"}}},
        {"deploy": {"permissions": {"id-token": {"access": "write"}}}},
        {"deploy": {"permissions": {"everything": {"access": "write", "reason": "x"}}}},
        {"deploy": {"permissions": {"packages": {"access": "write", "reason": "x\njobs: {}"}}}},
    ],
)
def test_a_permission_has_a_name_that_github_knows_and_a_reason_of_one_line(steps: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        delivered.compile("github", steps=steps)


@pytest.mark.engine
@pytest.mark.xdist_group("github")
@pytest.mark.parametrize(("of", "steps"), [(guarded, {}), (delivered, STEPS)], ids=["guarded", "delivered"])
def test_reviewers_linters_have_nothing_to_say(of: Pipeline[..., Any], steps: dict[str, Any], tmp_path: Path) -> None:
    found = github().lint(text_of(of, steps=steps), folder=tmp_path)
    chosen = ('label "gpu" is unknown', "self-hosted-runner: ", "unpinned-images: ")  # by the author
    assert [each for each in found if not each.message.startswith(chosen)] == []
