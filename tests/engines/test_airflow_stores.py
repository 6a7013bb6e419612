"""Artifacts of DAGs in an object store: on real Airflow 3 and 2, with a server that stores objects as S3 does."""

from __future__ import annotations

import json
import re
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from penstock import Retry, checkpoint_dir, current_attempt, pipeline, step
from tests.engines.airflow import AirflowRun, airflow
from tests.engines.objects import object_server

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.xdist_group("airflow")]

ROOT = "s3://store@team/all of it"

# Who asks, as a server that checks no signatures knows it.
SCOPE = "test/20260101/us-east-1/s3/aws4_request"
SIGNED = {"Authorization": f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders=, Signature="}


def request(address: str, path: str, method: str = "GET", body: bytes | None = None) -> str:
    asked = urllib.request.Request(f"{address}/team/{path}", body, SIGNED, method=method)
    with urllib.request.urlopen(asked) as answer:
        return str(answer.read().decode())


def keys(address: str) -> list[str]:
    return re.findall("<Key>(.*?)</Key>", request(address, "?list-type=2"))


class Written(NamedTuple):
    table: Path
    folder: Path
    long: str
    parts: list[str]


@step
def written(text: str) -> Written:
    print("did: write")
    Path("a table #1?.csv").write_text(text)
    Path("folder", "empty").mkdir(parents=True)
    Path("folder", "run.sh").write_text("#!/bin/sh")
    Path("folder", "run.sh").chmod(0o755)
    return Written(Path("a table #1?.csv"), Path("folder"), text * 20_000, [text * 20_000, text, text])


@step(cache=False)
def harmed(address: str, harm: str) -> bool:
    """Does something to an object that another step has written."""
    for key in keys(address):
        if harm in ("DELETE", "PUT") and "table" in key:
            request(address, urllib.parse.quote(key), harm, b"1,3" if harm == "PUT" else None)
    return harm == "never"


@step(retry=Retry(max_retries=1, delay=0))
def measured(table: Path, folder: Path, long: str) -> list[str]:
    print("did: measure")
    (checkpoint_dir() / f"{current_attempt()}.txt").write_text("was here")
    if current_attempt() == 1:
        raise RuntimeError("once more")
    found = sorted(f"{path.name} {path.stat().st_mode & 0o100:o}" for path in folder.rglob("*"))
    left = sorted(path.name for path in checkpoint_dir().iterdir())
    return [table.name, table.read_text(), *found, str(len(long)), *left]


@step
def sized(part: str) -> int:
    print("did: size")
    return len(part)


@step
def summed(sizes: list[int], measures: list[str]) -> list[str]:
    return [*measures, str(sum(sizes))]


@step
def unused(table: Path) -> None:
    raise AssertionError(table)


@pipeline
def stored(text: str = "1,2", address: str = "", harm: str = "") -> list[str]:
    made = written(text)
    harm_done = harmed.with_options(after=made)(address, harm)
    if harm_done:
        unused(made.table)
    measures = measured.with_options(after=harm_done)(made.table, made.folder, made.long)
    return summed([sized(part) for part in made.parts], measures)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with object_server() as (_, found):
        yield found


def ran(address: str, folder: Path, major: Any = 3, more: str = "amazon", root: str = ROOT, **conf: str) -> AirflowRun:
    """Runs the pipeline; the root is that of an Airflow Variable where it is not all of what is said."""
    in_file = root == ROOT
    (text,) = stored.compile(
        "airflow",
        airflow=major,
        artifact_root=root if in_file else "",
        scratch=str(folder),
        cache=True,
        steps={"summed": {"isolation": "external_python", "python": sys.executable}},
    ).values()
    assert airflow(major).lint(text) == []
    extra = {"endpoint_url": address, "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": "test", "password": "test", "extra": extra}
    environ = {"AIRFLOW_CONN_STORE": json.dumps(connection)}
    if not in_file:
        environ["AIRFLOW_VAR_ARTIFACT_ROOT"] = root
    found = airflow(major, more).dag_test(text, {"address": address, **conf}, environ=environ)
    assert (found.import_errors, found.warnings, found.crash) == ({}, (), ""), found.log
    assert list(folder.iterdir()) == []  # copies go when their attempt goes
    return found


@pytest.mark.parametrize("major", [3, 2])
def test_what_is_an_artifact_or_large_is_an_object_and_not_in_xcom(major: int, address: str, tmp_path: Path) -> None:
    first = ran(address, tmp_path, major, text=f"1,{major}")
    assert first.state == "success", first.log
    expected = ["a table #1?.csv", f"1,{major}", "empty 100", "run.sh 100", "60000", "1.txt", "2.txt", "60006"]
    assert json.loads(first.xcoms["summed", -1, "return_value"]) == expected
    assert max(len(json.dumps(value)) for value in first.xcoms.values()) < 2_000
    assert not [key for key in keys(address) if "checkpoints" in key]
    assert len([key for key in keys(address) if key.endswith("a%20table%20%231%3F.csv")]) >= 2  # one of them kept
    second = ran(address, tmp_path, major, text=f"1,{major}")
    assert json.loads(second.xcoms["summed", -1, "return_value"]) == expected
    done = [re.findall(r"did: \w+", each.log) for each in (first, second)]
    assert sorted(done[0]) == ["did: measure"] * 2 + ["did: size"] * 3 + ["did: write"]
    assert done[1] == []


@pytest.mark.parametrize(
    ("harm", "words"),
    [("DELETE", "is not there any more"), ("PUT", "is damaged: it is not what was written there")],
)
def test_an_object_that_is_gone_or_damaged_is_named_with_the_step_that_wrote_it(
    harm: str, words: str, address: str, tmp_path: Path
) -> None:
    failed = ran(address, tmp_path, text=harm, harm=harm)
    assert failed.tasks["measured", -1] == "failed"
    assert re.search(rf"StepFailed: {ROOT}/stored/\S+csv, which `written` wrote, {words}", failed.log)
    if harm == "PUT":  # what was kept of `written` is harmed as well, and made anew
        again = ran(address, tmp_path, text=harm)
        assert (again.state, re.findall("did: write", again.log)) == ("success", ["did: write"]), again.log


@pytest.mark.parametrize(
    ("root", "more", "words"),
    [
        ("s3://store@nobodys/x", "amazon", "cannot be written: FileNotFoundError: The specified bucket does not exist"),
        ("s3://missing@team/x", "amazon", "Airflow holds no connection `missing`, which s3"),
        ("s3://team/x", "", r"is reached by apache-airflow-providers-amazon\[s3fs\], on each worker: "),
        ("s9://team/x", "", "is reached by a package that knows `s9://`, on each worker: "),
        ("s3://key:hidden@team/x", "", "name a connection that does instead"),
    ],
)
def test_a_root_that_cannot_be_used_is_told_by_the_first_task_that_needs_it(
    root: str, more: str, words: str, address: str, tmp_path: Path
) -> None:
    failed = ran(address, tmp_path, more=more, root=root)
    assert (failed.state, failed.tasks["written", -1]) == ("failed", "failed")
    assert re.search(words, failed.log), failed.log
    assert "hidden" not in failed.log
