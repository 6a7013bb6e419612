"""What only Airflow's own services show: a run goes on where the scheduler, and all that it had started, are killed."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock import Retry, pipeline, step
from tests.engines.airflow_rest import FINISHED
from tests.engines.airflow_services import Services
from tests.engines.environments import environment

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.xdist_group("airflow-3-scheduler")]

# How soon a scheduler takes another one, or a task that no longer beats, for dead. The defaults are half a minute and
# five minutes.
IMPATIENT = {
    "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "6",
    "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "2",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "1",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "6",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
}


@step
def upto(count: int) -> list[int]:
    return list(range(count))


@step(retry=Retry(1))
def squared(value: int, folder: str) -> int:
    """Notes that it began; from 2 on it waits until it may go on."""
    with Path(folder, "ledger").open("a") as ledger:
        ledger.write(f"began {value}\n")
    while value >= 2 and not Path(folder, "go").exists():
        time.sleep(0.05)
    with Path(folder, "ledger").open("a") as ledger:
        ledger.write(f"ended {value}\n")
    return value * value


@step
def large(values: list[int]) -> str:
    return f"large: {values}"


@step
def small(values: list[int]) -> str:
    return f"small: {values}"


@step
def first(values: list[int]) -> int:
    return values[-1]


@pipeline
def squares(folder: str) -> str:
    values = [squared(value, folder) for value in upto(4)]
    if first(values) > 5:
        return large(values)
    return small(values)


@pytest.fixture
def services() -> Iterator[Services]:
    found = Services(environment("airflow3"), 3, **IMPATIENT)
    yield found
    found.close()


def test_a_run_goes_on_after_the_scheduler_and_its_workers_were_killed(services: Services, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.touch()
    with services.used():
        (services.dags / "squares.py").write_text(squares.compile("airflow")["squares.py"])
        services.rest.wait_for("squares")
        run = services.rest.trigger("squares", {"folder": str(tmp_path)})

        def states() -> dict[tuple[str, int], str]:
            return {(each["task_id"], each["map_index"]): each["state"] for each in services.rest.tasks(run)}

        def is_in_the_middle() -> bool:
            seen = states()
            done = [seen.get(("squared", item)) == "success" for item in (0, 1)]
            return all(done) and {"began 2", "began 3"} <= set(ledger.read_text().splitlines())

        wait_until(is_in_the_middle)
        steps = services.kill("scheduler")
        assert steps
        wait_until(lambda: not any(map(is_alive, steps)))
        (tmp_path / "go").touch()

        services.start("scheduler")
        wait_until(lambda: services.rest.call("GET", run)["state"] in FINISHED)
        assert services.rest.call("GET", run)["state"] == "success"
        begun = Counter(ledger.read_text().splitlines())
        assert begun == {
            **{f"began {value}": 1 if value < 2 else 2 for value in range(4)},
            **{f"ended {value}": 1 for value in range(4)},
        }
        assert (states()["large", -1], states()["small", -1]) == ("success", "skipped")
        values = {(each["task_id"], each["key"]): each["value"] for each in services.rest.xcoms(run)}
        assert values["large", "return_value"] == '"large: [0, 1, 4, 9]"'


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has collected yet does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until(holds: Callable[[], bool], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.3)
