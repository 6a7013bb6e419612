"""A store in a bucket, on a server that stores objects as S3 does: what machines that share it see of each other."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from tests.engines.environments import HERE, environment
from tests.engines.objects import CREDENTIALS, object_server
from tests.engines.processes import bare_environment

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.xdist_group("objects")]

PROGRAM = HERE / "programs" / "shared_pipeline.py"


@pytest.fixture
def server():
    """A server of objects: its process, and its address."""
    with object_server() as found:
        yield found


@pytest.fixture
def start(server, tmp_path):
    """Starts the pipeline on a machine, one with a folder of copies of its own."""

    def run(machine, store="s3://team/store", marker=""):
        options = {
            "client_kwargs": {"endpoint_url": server[1]},
            "config_kwargs": {"retries": {"max_attempts": 1}, "connect_timeout": 2, "read_timeout": 5},
        }
        home = tmp_path / machine
        environ = bare_environment(
            **CREDENTIALS,
            XDG_CACHE_HOME=str(home / "cache"),
            XDG_CONFIG_HOME=str(home / "config"),
            PENSTOCK_STORE_KEY="one key for all of the team",
        )
        home.mkdir(exist_ok=True)
        command = [environment("objects").python, PROGRAM, store, json.dumps(options), marker]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=home, env=environ)

    return run


def ended(process):
    stdout, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return json.loads(stdout.splitlines()[-1])


def states(seen):
    return {state for state, _ in seen["nodes"].values()}


def test_a_second_machine_takes_every_result_from_the_bucket_and_sees_the_first_ones_run(start):
    first = ended(start("first"))
    assert (states(first), first["outputs"]) == ({"succeeded"}, 18_000)
    assert first["logs"] == ["wrote part 0", "wrote part 1", "wrote part 2"]
    second = ended(start("second"))
    assert second["outputs"] == 18_000
    anew = {id_ for id_, (state, _) in second["nodes"].items() if state != "cached"}
    assert not {id_ for id_ in anew if id_.startswith(("names", "write", "measure"))}  # only how often the loop runs
    assert (second["runs"], second["logs"]) == (["succeeded", "succeeded"], first["logs"])
    assert (second["damages"], second["freed"]) == ([], 0)
    assert second["counts"]["runs"] == 2
    assert second["cleared"] == [2, 1, second["counts"]["objects"], 0]


def test_a_bucket_that_is_not_there_is_told_before_anything_runs(start):
    (problem,) = ended(start("first", store="s3://nobodys/store"))["problems"]
    assert problem.startswith("the store cannot be used: s3://nobodys/store: ")


def test_a_server_that_goes_away_in_mid_run_fails_what_could_not_be_stored(server, start, tmp_path):
    marker = tmp_path / "marker"
    process = start("first", marker=str(marker))
    deadline = time.monotonic() + 60
    while not marker.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    server[0].kill()
    marker.unlink()
    seen = ended(process)
    assert "cannot be stored: s3://team/store: " in seen["nodes"]["write[1]"][1]
    assert seen["nodes"]["measure"][0] == "upstream_failed"
    assert seen["problems"][0].startswith("the store cannot be used: s3://team/store: ")
