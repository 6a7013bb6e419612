"""Airflow 3 as it runs in production, on the loopback: api-server, dag-processor, scheduler with LocalExecutor."""

from __future__ import annotations

import atexit
import contextlib
import http
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.engines.environments import Environment
from tests.engines.processes import bare_environment, stop_group

SERVICES = ("api-server", "dag-processor", "scheduler")
FINISHED = {"success", "failed"}
DELETING_SECONDS = 60


class Rest:
    """Airflow's public REST API at a port of this machine."""

    def __init__(self, port: int) -> None:
        self.port = port
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


class Services:
    """The services, started by the first run and kept for the next ones; between runs they are stopped by a signal.

    Each run has the DAG folder to itself, and Airflow forgets its DAG afterwards.
    """

    def __init__(self, home: Environment) -> None:
        self._home = home
        self._folder = Path(tempfile.mkdtemp(prefix="penstock-airflow-services-"))
        self._started: list[subprocess.Popen[bytes]] = []
        self._rest = Rest(0)
        atexit.register(self._close)

    def observe(
        self, dags: Path, conf: dict[str, Any], dag_id: str, variables: dict[str, str], seconds: float
    ) -> dict[str, Any]:
        """Run the DAG below ``dags`` once to its end, and report as `dag_test` does."""
        start = time.monotonic()
        end = start + seconds
        seen: dict[str, Any] = {}
        read = {path: path.stat().st_size for path in self._service_logs()}
        try:
            self._resume(end)
            for key, value in variables.items():
                self._rest.call("POST", "/api/v2/variables", {"key": key, "value": value})
            shutil.copytree(dags, self._folder / "dags", dirs_exist_ok=True)
            seen = _trigger_and_watch(self._rest, conf, dag_id, end, {path.name for path in dags.rglob("*.py")})
        except (TimeoutError, urllib.error.HTTPError) as error:
            detail = error.read().decode() if isinstance(error, urllib.error.HTTPError) else ""
            seen = {**seen, "crash": f"{error} {detail}".strip()}
        seen["log"] = self._logs(read)
        if seen.get("crash"):
            self._close()
        else:
            self._forget(seen["dag_ids"], variables)
        seen["took"] = time.monotonic() - start
        return seen

    def _resume(self, end: float) -> None:
        if any(process.poll() is not None for process in self._started):
            self._close()
        for process in self._started:
            os.killpg(process.pid, signal.SIGCONT)
        if not self._started:
            shutil.rmtree(self._folder, ignore_errors=True)
            (self._folder / "dags").mkdir(parents=True)
            self._start()
            self._rest.log_in(end)

    def _start(self) -> None:
        self._rest = Rest(_free_port())
        settings = _settings(self._home, self._folder, self._rest.port)
        shutil.copy(self._home.path / "home" / "airflow.db", self._folder / "airflow.db")
        for service in SERVICES:
            with (self._folder / f"{service}.log").open("wb") as log:
                command = [str(self._home.tool("airflow")), service]
                self._started.append(
                    subprocess.Popen(
                        command,
                        cwd=self._folder,
                        env=settings,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )

    def _forget(self, dag_ids: list[str], variables: dict[str, str]) -> None:
        shutil.rmtree(self._folder / "dags")
        (self._folder / "dags").mkdir()
        for path in (*(f"dags/{each}" for each in dag_ids), *(f"variables/{each}" for each in variables)):
            self._delete(path)
        shutil.rmtree(self._folder / "logs", ignore_errors=True)
        for process in self._started:
            os.killpg(process.pid, signal.SIGSTOP)

    def _delete(self, path: str) -> None:
        """Deletes something; a DAG with a schedule may have a run of its own under way, whose end it then waits for."""
        end = time.monotonic() + DELETING_SECONDS
        while True:
            try:
                self._rest.call("DELETE", f"/api/v2/{path}")
            except urllib.error.HTTPError as error:
                if error.code != http.HTTPStatus.CONFLICT or time.monotonic() > end:
                    raise
                time.sleep(0.5)
            else:
                return

    def _close(self) -> None:
        _stop(self._started)
        self._started = []
        shutil.rmtree(self._folder, ignore_errors=True)

    def _service_logs(self) -> list[Path]:
        return [path for path in (self._folder / f"{service}.log" for service in SERVICES) if path.exists()]

    def _logs(self, read: dict[Path, int]) -> str:
        """What the services and the tasks said, but for what they had said before."""
        paths = [*self._service_logs(), *sorted(self._folder.glob("logs/**/attempt=*.log"))]
        texts = {path: path.read_bytes()[read.get(path, 0) :].decode(errors="replace") for path in paths}
        return "\n".join(f"=== {path.relative_to(self._folder)}\n{text}" for path, text in texts.items())


def _trigger_and_watch(rest: Rest, conf: dict[str, Any], dag_id: str, end: float, files: set[str]) -> dict[str, Any]:
    dag_ids, import_errors = _wait_for_parsing(rest, dag_id, end, files)
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


def _wait_for_parsing(rest: Rest, dag_id: str, end: float, files: set[str]) -> tuple[list[str], dict[str, str]]:
    while time.monotonic() < end:
        errors = rest.call("GET", "/api/v2/importErrors")["import_errors"]
        dags = rest.call("GET", "/api/v2/dags")["dags"]
        dag_ids = sorted(each["dag_id"] for each in dags if Path(each["fileloc"]).name in files)
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


def _stop(started: list[subprocess.Popen[bytes]]) -> None:
    for process in started:
        for number in (signal.SIGTERM, signal.SIGCONT):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
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


def _settings(home: Environment, folder: Path, port: int) -> dict[str, str]:
    secret = secrets.token_urlsafe(64)
    sections = {
        "CORE__DAGS_FOLDER": str(folder / "dags"),
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
        # The defaults (300 s, 1 s and 5 s) are what a run of small tasks mostly waits for.
        "DAG_PROCESSOR__REFRESH_INTERVAL": "1",
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
        "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    path = f"{home.python.parent}{os.pathsep}{os.environ['PATH']}"
    return bare_environment(
        PATH=path,
        AIRFLOW_HOME=str(folder),
        # A DAG with a schedule is also started by it: what it writes to a home is to go with the test.
        HOME=str(folder),
        XDG_CACHE_HOME=os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        XDG_CONFIG_HOME=os.environ.get("XDG_CONFIG_HOME", str(Path.home() / ".config")),
        NO_PROXY="127.0.0.1,localhost",
        no_proxy="127.0.0.1,localhost",
        **{f"AIRFLOW__{name}": value for name, value in sections.items()},
    )
