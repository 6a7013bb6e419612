"""Airflow 3 as it runs in production, on the loopback: api-server, dag-processor, scheduler with LocalExecutor."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.engines.environments import Environment
from tests.engines.processes import bare_environment, stop_group

SERVICES = ("api-server", "dag-processor", "scheduler")
FINISHED = {"success", "failed"}


class Rest:
    """Airflow's public REST API at a port of this machine."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self.token = ""

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON. Raises `urllib.error.HTTPError` for a refusal."""
        request = urllib.request.Request(
            self.base + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"{}")

    def log_in(self, end: float) -> None:
        """Wait for the api-server and take a token."""
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                self.token = self.call("GET", "/auth/token")["access_token"]
                return
            time.sleep(0.2)
        raise TimeoutError("the api-server did not answer in time")


def observe(
    home: Environment, job: Path, conf: dict[str, Any], dag_id: str, environ: dict[str, str], seconds: float
) -> dict[str, Any]:
    """Start the services, run the DAG below ``job/dags`` once to its end, and report as `dag_test` does."""
    start = time.monotonic()
    end = start + seconds
    seen: dict[str, Any] = {}
    with _services(home, job, environ) as rest:
        try:
            rest.log_in(end)
            seen = _trigger_and_watch(rest, conf, dag_id, end)
        except (TimeoutError, urllib.error.HTTPError) as error:
            detail = error.read().decode() if isinstance(error, urllib.error.HTTPError) else ""
            seen = {**seen, "crash": f"{error} {detail}".strip()}
    seen["log"] = _logs(job)
    seen["took"] = time.monotonic() - start
    return seen


def _trigger_and_watch(rest: Rest, conf: dict[str, Any], dag_id: str, end: float) -> dict[str, Any]:
    dag_ids, import_errors = _wait_for_parsing(rest, dag_id, end)
    seen: dict[str, Any] = {"dag_ids": dag_ids, "import_errors": import_errors}
    if import_errors:
        return seen
    wanted = dag_id or dag_ids[0]
    run_id = rest.call("POST", f"/api/v2/dags/{wanted}/dagRuns", {"logical_date": None, "conf": conf})["dag_run_id"]
    path = f"/api/v2/dags/{wanted}/dagRuns/{urllib.parse.quote(run_id, safe='')}"
    while True:
        seen["state"] = rest.call("GET", path)["state"]
        if seen["state"] in FINISHED:
            break
        if time.monotonic() > end:
            seen["crash"] = "timed out"
            break
        time.sleep(0.2)
    instances = _pages(rest, path + "/taskInstances", "task_instances")
    seen["tasks"] = [
        {
            "task_id": each["task_id"],
            "map_index": each["map_index"],
            "state": str(each["state"]),
            "tries": each["try_number"],
        }
        for each in instances
    ]
    seen["xcoms"] = [
        {**{name: each[name] for name in ("task_id", "map_index", "key")}, "value": _xcom(rest, path, each)}
        for each in _pages(rest, path + "/taskInstances/~/xcomEntries", "xcom_entries")
    ]
    return seen


def _wait_for_parsing(rest: Rest, dag_id: str, end: float) -> tuple[list[str], dict[str, str]]:
    while time.monotonic() < end:
        errors = rest.call("GET", "/api/v2/importErrors")["import_errors"]
        dag_ids = sorted(each["dag_id"] for each in rest.call("GET", "/api/v2/dags")["dags"])
        if errors or (dag_ids and (not dag_id or dag_id in dag_ids)):
            return dag_ids, {each["filename"]: each["stack_trace"] for each in errors}
        time.sleep(0.2)
    raise TimeoutError("the DAG was not parsed in time")


def _pages(rest: Rest, path: str, key: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        page = rest.call("GET", f"{path}?limit=100&offset={len(found)}")
        found += page[key]
        if not page[key] or len(found) >= page["total_entries"]:
            return found


def _xcom(rest: Rest, run: str, entry: dict[str, Any]) -> Any:
    query = urllib.parse.urlencode({"map_index": entry["map_index"], "deserialize": "false"})
    key = urllib.parse.quote(entry["key"], safe="")
    # Without `deserialize` this is what the database holds, which is what a task would be given: a text stays a text.
    return rest.call("GET", f"{run}/taskInstances/{entry['task_id']}/xcomEntries/{key}?{query}")["value"]


@contextlib.contextmanager
def _services(home: Environment, job: Path, environ: dict[str, str]) -> Iterator[Rest]:
    port = _free_port()
    settings = _settings(home, job, port, environ)
    shutil.copy(home.path / "home" / "airflow.db", job / "airflow.db")
    started: list[subprocess.Popen[bytes]] = []
    try:
        for service in SERVICES:
            with (job / f"{service}.log").open("wb") as log:
                command = [str(home.tool("airflow")), service]
                started.append(
                    subprocess.Popen(
                        command,
                        cwd=job,
                        env=settings,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
        yield Rest(port)
    finally:
        _stop(started)


def _stop(started: list[subprocess.Popen[bytes]]) -> None:
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    end = time.monotonic() + 5
    for process in started:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, end - time.monotonic()))
        stop_group(process.pid)
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _settings(home: Environment, job: Path, port: int, environ: dict[str, str]) -> dict[str, str]:
    secret = secrets.token_urlsafe(64)
    sections = {
        "CORE__DAGS_FOLDER": str(job / "dags"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "4",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "API__HOST": "127.0.0.1",
        "API__PORT": str(port),
        "API__WORKERS": "1",
        "API__BASE_URL": f"http://127.0.0.1:{port}",
        "API__SECRET_KEY": secret,
        # One secret for all services: they sign for each other.
        "API_AUTH__JWT_SECRET": secret,
        "DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        # The defaults (1 s and 5 s) are what a run of small tasks mostly waits for.
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
        "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    path = f"{home.python.parent}{os.pathsep}{os.environ['PATH']}"
    return bare_environment(
        PATH=path,
        AIRFLOW_HOME=str(job),
        NO_PROXY="127.0.0.1,localhost",
        no_proxy="127.0.0.1,localhost",
        **{f"AIRFLOW__{name}": value for name, value in sections.items()},
        **environ,
    )


def _logs(job: Path) -> str:
    logs = [*(job / f"{service}.log" for service in SERVICES), *sorted(job.glob("logs/**/attempt=*.log"))]
    return "\n".join(
        f"=== {path.relative_to(job)}\n{path.read_text(errors='replace')}" for path in logs if path.exists()
    )
