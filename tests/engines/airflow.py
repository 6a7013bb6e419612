"""Runs DAG files on real Airflow 3 and 2: quickly by `dag.test`, and once in a while on the real scheduler."""

from __future__ import annotations

import functools
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.engines.airflow_services import Services
from tests.engines.environments import HERE, Environment, environment
from tests.engines.jobs import carry_out
from tests.engines.processes import Helper, bare_environment, run

PROGRAM = HERE / "programs" / "airflow_runs.py"

# A task instance: the task's id, and its place in a mapped task (-1 where it is not mapped).
Instance = tuple[str, int]


@dataclass(frozen=True)
class AirflowRun:
    """What Airflow said after reading a folder of DAG files, and after running one of them.

    ``state`` is the run's ("success", "failed"), empty where nothing ran. ``xcoms`` holds values as JSON has them, by
    task, map index and key (``return_value`` for what a function returned). ``warnings`` are those raised while the
    files were parsed. ``crash`` is what ended the run when Airflow itself could not (a task that killed its process, a
    time-out).
    """

    state: str
    tasks: dict[Instance, str]
    tries: dict[Instance, int]
    xcoms: dict[tuple[str, int, str], Any]
    import_errors: dict[str, str]
    warnings: tuple[str, ...]
    dag_ids: tuple[str, ...]
    serialized: dict[str, Any]
    crash: str
    log: str
    seconds: float = field(compare=False)


@dataclass(frozen=True)
class Airflow:
    """One major version of Airflow. Get it by `airflow`, so that all tests of a process share its warm helper."""

    major: int
    home: Environment
    helper: Helper

    def dag_test(
        self,
        files: str | Mapping[str, str],
        conf: Mapping[str, Any] | None = None,
        *,
        dag_id: str = "",
        environ: Mapping[str, str] | None = None,
        seconds: float = 120,
    ) -> AirflowRun:
        """Parse the files in a DAG folder of their own, then run one DAG to its end, one task after another.

        ``files`` is the text of one DAG file, or texts by path below the folder; ``conf`` is what a person would type
        into the trigger form; ``dag_id`` is needed where the files hold several. Retry delays are honoured, pools and
        `dagrun_timeout` are not. 0.5 s for a DAG of three small tasks, once warm (8 s).
        """
        return self._carry_out(files, run=True, conf=conf, dag_id=dag_id, environ=environ, seconds=seconds)

    def parse(self, files: str | Mapping[str, str]) -> AirflowRun:
        """Parse and serialise the files, and run nothing: errors, warnings, ids, what the scheduler would store."""
        return self._carry_out(files, run=False, conf=None, dag_id="", environ=None, seconds=60)

    def lint(self, text: str) -> list[str]:
        """What ruff's Airflow rules say against a DAG file, preview rules included."""
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "dag.py").write_text(text)
            # Rules named AIR30x/31x are about what Airflow 3 removed or moved, and mean nothing in a file for 2.x.
            rules = "AIR" if self.major == 3 else "AIR0"
            ruff = Path(sys.executable).with_name("ruff")
            found = run(
                [ruff, "check", "--isolated", "--preview", "--select", rules,
                 "--output-format", "json", "dag.py"],
                Path(folder), bare_environment(), 60,
            )  # fmt: skip
        assert found.code in {0, 1}, found.stderr
        return [f"{each['location']['row']}: {each['code']} {each['message']}" for each in json.loads(found.stdout)]

    def scheduler_run(
        self,
        files: str | Mapping[str, str],
        conf: Mapping[str, Any] | None = None,
        *,
        dag_id: str = "",
        variables: Mapping[str, str] | None = None,
        seconds: float = 240,
    ) -> AirflowRun:
        """Run one DAG on the real services, with LocalExecutor and PostgreSQL, triggered over REST.

        Takes about 20 s before the first task of a process's first run starts, then 0.3 s a task. ``variables`` are
        Airflow's own.
        """
        with _job(files) as job:
            seen = services(self.major).observe(job / "dags", dict(conf or {}), dag_id, dict(variables or {}), seconds)
        return _observed(**seen)

    def _carry_out(
        self,
        files: str | Mapping[str, str],
        *,
        run: bool,
        conf: Mapping[str, Any] | None,
        dag_id: str,
        environ: Mapping[str, str] | None,
        seconds: float,
    ) -> AirflowRun:
        with _job(files) as job:
            question = {"dags": str(job / "dags"), "conf": dict(conf or {}), "dag_id": dag_id, "run": run}
            outcome = carry_out(self.helper, job, seconds, environ, **question)
        return _observed(**outcome.seen, crash=outcome.crash, log=outcome.log, took=outcome.seconds)


@functools.cache
def airflow(major: int = 3, more: str = "") -> Airflow:
    """The driver of this major version (3 or 2), warm from its first use on; skips where it is not installed.

    ``more`` is an environment whose packages Airflow finds, too, after its own: one with a provider.
    """
    home = environment(f"airflow{major}")
    packages = {"MORE_PACKAGES": str(environment(more).packages)} if more else {}
    folder = Path(tempfile.mkdtemp(prefix="penstock-airflow-"))
    shutil.copy(home.path / "home" / "airflow.db", folder)
    helper = Helper([home.python, PROGRAM], {**bare_environment(AIRFLOW_HOME=str(folder)), **SETTINGS, **packages})
    return Airflow(major, home, helper)


@functools.cache
def services(major: int) -> Services:
    """The services of this major version, which all tests of a process share."""
    return Services(environment(f"airflow{major}"), major)


SETTINGS = {
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "NO_PROXY": "127.0.0.1,localhost",
}


class _job(tempfile.TemporaryDirectory[str]):  # noqa: N801 - used as a function that opens a folder
    """A private folder with the files below ``dags/``."""

    def __init__(self, files: str | Mapping[str, str]) -> None:
        super().__init__(prefix="penstock-dags-", ignore_cleanup_errors=True)
        texts = {"dag.py": files} if isinstance(files, str) else files
        for path, text in texts.items():
            target = Path(self.name, "dags", path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)

    def __enter__(self) -> Path:  # type: ignore[override]
        return Path(self.name)


def _observed(
    *,
    state: str = "",
    tasks: list[dict[str, Any]] | None = None,
    xcoms: list[dict[str, Any]] | None = None,
    import_errors: dict[str, str] | None = None,
    warnings: list[str] | None = None,
    dag_ids: list[str] | None = None,
    serialized: dict[str, Any] | None = None,
    crash: str = "",
    log: str = "",
    took: float = 0.0,
) -> AirflowRun:
    instances = {(each["task_id"], each["map_index"]): each for each in tasks or []}
    return AirflowRun(
        state=state,
        tasks={key: each["state"] for key, each in instances.items()},
        tries={key: each["tries"] for key, each in instances.items()},
        xcoms={(each["task_id"], each["map_index"], each["key"]): each["value"] for each in xcoms or []},
        import_errors=import_errors or {},
        warnings=tuple(warnings or ()),
        dag_ids=tuple(dag_ids or ()),
        serialized=serialized or {},
        crash=crash,
        log=log,
        seconds=took,
    )
