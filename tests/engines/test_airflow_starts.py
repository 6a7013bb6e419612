"""What only Airflow's scheduler shows: it starts runs by time and by data, and no more at once than it may."""

from __future__ import annotations

import datetime as dt
import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest

from penstock import DataChange, Pipeline, Schedule, pipeline, step
from tests.engines.airflow import services

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.xdist_group("airflow-3-scheduler")]

TODAY = dt.datetime.now(dt.timezone.utc).date()
DAYS = [TODAY - dt.timedelta(days=each) for each in (2, 1, 0)]


@step
def one() -> int:
    return 1


@pipeline(updates="s3://lake/rows")
def loading() -> int:
    return one()


@pipeline(triggers=[DataChange("s3://lake/rows"), DataChange("s3://lake/labels")])
def training() -> int:
    return one()


@pipeline(schedule=Schedule("0 0 * * *", start=DAYS[0], catch_up=True), concurrency=1)
def nightly() -> int:
    return one()


def waited(found: Callable[[], list[dict[str, Any]]], count: int) -> list[dict[str, Any]]:
    """As many runs, once they have succeeded."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        runs = found()
        if len(runs) >= count and all(each["state"] == "success" for each in runs):
            return runs
        time.sleep(0.5)
    raise AssertionError(f"waited for {count} runs that succeed, and saw {found()}")


def test_runs_begin_by_data_and_by_time_and_no_more_at_once_than_may_be() -> None:
    server = services(3)
    pipelines: list[Pipeline[..., Any]] = [loading, training, nightly]
    with server.used():
        for each in pipelines:
            ((name, text),) = each.compile("airflow").items()
            (server.dags / name).write_text(text)
        for each in pipelines:
            server.rest.wait_for(each.name)

        def runs(name: str) -> list[dict[str, Any]]:
            return server.rest.pages(f"/dags/{name}/dagRuns", "dag_runs", order_by="run_after")

        assert runs("training") == []
        server.rest.trigger("loading", {})
        (by_data,) = waited(lambda: runs("training"), 1)
        assert by_data["run_type"] == "asset_triggered"
        missed = waited(lambda: runs("nightly"), len(DAYS))
    assert [each["logical_date"][:10] for each in missed[: len(DAYS)]] == [str(day) for day in DAYS]
    times = [(each["start_date"], each["end_date"]) for each in missed]
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(times))
