"""What steps get of a machine: GPUs, quotas, their turn, and what several runs leave each other."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock import ConfigurationError, Resources, RunError, pipeline, step
from penstock.results import AttemptStarted, NodeEnded
from penstock_backends.local.budget import Request
from penstock_backends.local.claims import Claims

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _places(tmp_path, monkeypatch):
    monkeypatch.setenv("PENSTOCK_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PENSTOCK_CLAIMS", str(tmp_path / "claims"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@step(cache=False)
def devices(number: int, seconds: float = 0.2) -> str:
    time.sleep(seconds)
    return os.environ.get("CUDA_VISIBLE_DEVICES", "all")


@pipeline
def training() -> list[str]:
    one = devices.with_options(resources=Resources(gpu=1))
    return [
        one(1),
        one(2),
        devices.with_options(resources=Resources(gpu=2))(3),
        devices(4),
        one.with_options(env={"CUDA_VISIBLE_DEVICES": "mine"})(5),
    ]


@pipeline
def undemanding() -> str:
    return devices(1, 0.0)


@pytest.mark.slow
def test_a_step_sees_the_gpus_that_it_was_given_and_no_others():
    assert training.run(gpu=2, max_workers=4).outputs == ["0", "1", "0,1", "", "mine"]


def test_where_no_step_asks_for_gpus_all_see_what_there_is(monkeypatch):
    assert undemanding.run().outputs == "all"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert undemanding.run().outputs == "7"


@step(cache=False, resources=Resources(quotas={"licence": 1}))
def licensed(number: int) -> float:
    time.sleep(0.1)
    return time.time()


@pipeline
def licences(numbers: list[int] = [1, 2, 3, 4]) -> list[float]:  # never changed
    return [licensed(number) for number in numbers]


def most_at_once(events) -> int:
    most = now = 0
    for event in events:
        now += isinstance(event, AttemptStarted) - (isinstance(event, NodeEnded) and event.node.attempts > 0)
        most = max(most, now)
    return most


def test_no_more_run_at_once_than_a_quota_has_room_for():
    events = []
    assert licences.run(quotas={"licence": 2}, max_workers=4, on_event=events.append).state.value == "succeeded"
    starts = [event for event in events if isinstance(event, AttemptStarted) and event.node.startswith("licensed")]
    assert len(starts) == 4
    assert most_at_once(events) == 2


def test_a_quota_that_the_run_does_not_have_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(RunError, match=r"(?s)1 of the quota `licence` of 0.*fix: .*`quotas = \{\.\.\.\}` in"):
        licences.run()
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
def test_the_emitted_file_counts_of_a_quota_what_one_step_needs(tmp_path):
    (text,) = licences.compile("local").values()
    (tmp_path / "licences.py").write_text(text)
    command = [sys.executable, "licences.py", "--jobs", "4"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    ends = json.loads(done.stdout.partition("result: ")[2].splitlines()[0])
    assert all(later - earlier >= 0.1 for earlier, later in itertools.pairwise(sorted(ends)))


@step(cache=False)
def named(name: str) -> str:
    return name


@pipeline
def queue() -> list[str]:
    urgent = named.with_options(name="urgent", priority=5)
    late = named.with_options(name="late", priority=-1)
    return [late("late"), named("first"), named("second"), urgent("urgent")]


@pytest.mark.parametrize("inline", [False, True], ids=["workers", "inline"])
def test_the_highest_priority_goes_first_and_the_authors_order_decides_among_equals(inline):
    events = []
    assert queue.run(max_workers=1, inline=inline, on_event=events.append).outputs == [
        "late",
        "first",
        "second",
        "urgent",
    ]
    started = [event.node for event in events if isinstance(event, AttemptStarted)]
    assert started == ["urgent", "named", "named_2", "late"]


@step(cache=False, resources=Resources(cpu=2, gpu=1))
def both_cores(number: int) -> tuple[float, float]:
    began = time.time()
    time.sleep(0.2)
    return began, time.time()


@pipeline
def greedy(numbers: list[int] = [1, 2]) -> list[tuple[float, float]]:  # never changed
    return [both_cores(number) for number in numbers]


@pytest.mark.slow
def test_runs_that_share_a_budget_keep_within_it_together():
    with ThreadPoolExecutor(2) as threads:
        runs = list(threads.map(lambda _: greedy.run(cpu=3, gpu=1, max_workers=4, share_budget=True), range(2)))
    spans = sorted(span for run in runs for span in run.outputs)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_a_run_that_dies_gives_back_what_it_had_taken(tmp_path):
    taken = Request(2.0, 100, 1, (("licence", 1),))
    program = (
        "import os, pathlib, sys\n"
        "from penstock_backends.local.budget import Request\n"
        "from penstock_backends.local.claims import Claims\n"
        "claims = Claims(pathlib.Path(sys.argv[1]))\n"
        "claims.write(Request(2.0, 100, 1, (('licence', 1),)), ['0'], Request(4.0), is_next=False)\n"
        "print('there', flush=True)\n"
        "input()\n"
    )
    folder = tmp_path / "claims"
    claims = Claims(folder)
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    with other:
        assert other.stdout.readline() == b"there\n"
        with claims.agreed() as (request, names):
            # What it waits for is left to it, too: it has waited for longer than this run, which waits for nothing.
            assert request == Request(taken.cpu + 4.0, taken.memory, taken.gpu, taken.quotas)
            assert names == ("0",)
        other.kill()
    with claims.agreed() as (request, names):
        assert (request, names) == (Request(), ())
    claims.close()
    assert [file.name for file in folder.iterdir()] == ["lock"]


def test_a_folder_that_others_may_write_to_is_no_place_for_claims(tmp_path):
    folder = tmp_path / "claims"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ConfigurationError, match="P739"):
        undemanding.run(share_budget=True)
