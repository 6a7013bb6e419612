from __future__ import annotations

import pytest

from tests.engines.airflow import airflow

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("airflow")]

IMPORTS = {
    3: "from airflow.sdk import Param, dag, task",
    2: "from airflow.decorators import dag, task\nfrom airflow.models.param import Param",
}

BODY = """
import datetime

START = datetime.datetime(2024, 1, 1)

@dag(dag_id="sums", schedule=None, start_date=START, params={"n": Param(3, type="integer", minimum=1)})
def sums(n=3):
    @task(multiple_outputs=False)
    def numbers(n):
        return list(range(n))

    @task(retries=1, retry_delay=datetime.timedelta(seconds=0.1))
    def double(i):
        if i > 3:
            raise ValueError(f"{i} is too big")
        return 2 * i

    @task(trigger_rule="none_failed", multiple_outputs=False)
    def total(doubled):
        print("the doubles are", list(doubled))
        return {"sum": sum(doubled)}

    total(double.expand(i=numbers(n)))

sums()
"""


def sums(major: int) -> str:
    return IMPORTS[major] + BODY


@pytest.mark.parametrize("major", [3, 2])
def test_states_tries_and_values_are_seen(major):
    seen = airflow(major).dag_test(sums(major), {"n": 3})
    assert (seen.state, seen.import_errors, seen.warnings, seen.crash) == ("success", {}, (), "")
    assert seen.tasks == {
        ("numbers", -1): "success",
        ("total", -1): "success",
        **{("double", i): "success" for i in range(3)},
    }
    assert seen.xcoms["total", -1, "return_value"] == {"sum": 6}
    assert seen.xcoms["double", 2, "return_value"] == 4
    assert "the doubles are [0, 2, 4]" in seen.log


@pytest.mark.parametrize("major", [3, 2])
def test_a_failing_task_is_seen_with_its_tries_and_those_below_it(major):
    seen = airflow(major).dag_test(sums(major), {"n": 5})
    assert seen.state == "failed"
    assert seen.tasks["double", 4] == "failed"
    assert seen.tries["double", 4] == 2
    assert seen.tasks["double", 3] == "success"
    assert seen.tasks["total", -1] == "upstream_failed"
    assert "4 is too big" in seen.log


@pytest.mark.parametrize("major", [3, 2])
def test_a_file_that_does_not_import_is_seen(major):
    seen = airflow(major).parse({"broken.py": "from airflow.nowhere import dag\n"})
    assert [error for error in seen.import_errors.values() if "airflow.nowhere" in error]


@pytest.mark.parametrize("major", [3, 2])
def test_parsing_reports_ids_and_what_the_scheduler_stores(major):
    seen = airflow(major).parse(sums(major))
    assert seen.dag_ids == ("sums",)
    assert {task["__var"]["task_id"] for task in seen.serialized["sums"]["dag"]["tasks"]} == {
        "numbers",
        "double",
        "total",
    }
    assert seen.tasks == {}


def test_a_deprecated_import_is_seen_as_a_warning():
    seen = airflow(3).parse(IMPORTS[2] + "\n\n@dag(schedule=None)\ndef old():\n    task(lambda: 1)()\n\nold()\n")
    assert [line for line in seen.warnings if "airflow.decorators.dag" in line and "deprecated" in line]


def test_a_deprecated_import_is_seen_by_the_linter():
    assert airflow(3).lint("from airflow.decorators import dag\n\n@dag(schedule=None)\ndef old(): ...\n")
    assert airflow(3).lint(sums(3)) == []


@pytest.mark.parametrize("major", [3, 2])
def test_a_task_that_ends_its_process_ends_only_its_own_run(major):
    fatal = sums(major).replace("return list(range(n))", "__import__('os')._exit(7)")
    seen = airflow(major).dag_test(fatal, {"n": 1})
    assert seen.crash == "exited with 7"
    assert airflow(major).dag_test(sums(major), {"n": 1}).state == "success"


def test_a_run_that_takes_too_long_is_stopped():
    endless = sums(3).replace("return list(range(n))", "__import__('time').sleep(60)")
    seen = airflow(3).dag_test(endless, {"n": 1}, seconds=2)
    assert seen.crash.startswith("timed out")
    assert seen.seconds < 10


@pytest.mark.slow
@pytest.mark.xdist_group("airflow-3-scheduler")
def test_the_real_scheduler_gives_what_dag_test_gives():
    real, quick = airflow(3).scheduler_run(sums(3), {"n": 5}), airflow(3).dag_test(sums(3), {"n": 5})
    assert real.crash == ""
    assert real.state == quick.state == "failed"
    assert real.tasks == quick.tasks
    assert real.tries["double", 4] == 2
    assert real.xcoms == quick.xcoms
