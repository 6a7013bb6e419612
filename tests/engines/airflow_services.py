"""Airflow as it runs in production, on the loopback: web server, scheduler with LocalExecutor, and PostgreSQL."""

from __future__ import annotations

import atexit
import contextlib
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penstock.harness import descendants
from tests.engines.airflow_rest import Rest
from tests.engines.environments import PASSWORD, PERSON, Environment, environment
from tests.engines.postgres import Postgres
from tests.engines.processes import Guard, bare_environment

# Airflow 2's scheduler has the dag-processor below it.
SERVICES = {3: ("api-server", "dag-processor", "scheduler"), 2: ("webserver", "scheduler")}


class Services:
    """The services, started by the first run and kept for the next ones; between runs they are stopped by a signal.

    Each run has the DAG folder to itself, and Airflow forgets its DAGs afterwards. ``settings`` are Airflow's, by
    section and name, beside those that the tests give.
    """

    def __init__(self, home: Environment, major: int, **settings: str) -> None:
        self.major = major
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-airflow-services-"))
        self.rest = Rest(major, 0)
        self._home, self._given = home, settings
        self._environ: dict[str, str] = {}
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._postgres: Postgres | None = None
        self._guard: Guard | None = None
        atexit.register(self.close)

    @property
    def dags(self) -> Path:
        """The DAG folder."""
        return self.folder / "dags"

    def observe(
        self, dags: Path, conf: dict[str, Any], dag_id: str, variables: dict[str, str], seconds: float
    ) -> dict[str, Any]:
        """Run the DAG below ``dags`` once to its end, and report as `dag_test` does."""
        start = time.monotonic()
        seen: dict[str, Any] = {}
        read = {path: path.stat().st_size for path in self._service_logs()}
        try:
            with self.used(seconds):
                shutil.copytree(dags, self.dags, dirs_exist_ok=True)
                seen = self._seen(conf, dag_id, variables, start + seconds)
                seen["log"] = self._logs(read)
                if seen.get("crash"):
                    self.close()
        except (TimeoutError, urllib.error.HTTPError) as error:
            seen = {"log": self._logs(read), **seen, "crash": _told(error)}
            self.close()
        return {**seen, "took": time.monotonic() - start}

    def _seen(self, conf: dict[str, Any], dag_id: str, variables: dict[str, str], end: float) -> dict[str, Any]:
        try:
            for key, value in variables.items():
                self.rest.call("POST", "/variables", {"key": key, "value": value})
            return self.rest.run(conf, dag_id, end, {path.name for path in self.dags.rglob("*.py")})
        except (TimeoutError, urllib.error.HTTPError) as error:
            return {"crash": _told(error)}

    @contextlib.contextmanager
    def used(self, seconds: float = 300) -> Iterator[None]:
        """Have the services run, with nothing in the DAG folder; what was put there is forgotten in the end."""
        self._resume(time.monotonic() + seconds)
        try:
            yield
        except BaseException:
            self.close()
            raise
        if self._started:
            self._forget()

    def start(self, service: str) -> None:
        """Start one of the services."""
        options = {"webserver": ("--port", self.rest.base.rpartition(":")[2]), "scheduler": ("--skip-serve-logs",)}
        command = [str(self._home.tool("airflow")), service, *options.get(service, ())]
        with (self.folder / f"{service}.log").open("ab") as log:
            self._started[service] = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, service: str) -> set[int]:
        """End a service and all of Airflow's processes below it at once.

        Returns those of steps, each in a session of its own, which are to end by themselves.
        """
        process = self._started.pop(service)
        below = descendants((process.pid,))
        steps = {pid for pid in below if os.getsid(pid) != process.pid}
        for pid in (process.pid, *(below - steps)):
            os.kill(pid, signal.SIGKILL)
        process.wait()
        return steps

    def close(self) -> None:
        """Stop everything, and remove what it left."""
        for process in self._started.values():
            _signal(process, signal.SIGTERM, signal.SIGCONT)
        end = time.monotonic() + 5
        for process in self._started.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))
        for process in self._started.values():
            _signal(process, signal.SIGKILL)
            process.wait()
        self._started = {}
        if self._postgres is not None:
            self._postgres.close()
        if self._guard is not None:
            self._guard.close()
        self._postgres, self._guard = None, None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _resume(self, end: float) -> None:
        if any(process.poll() is not None for process in self._started.values()):
            self.close()
        for process in self._started.values():
            _signal(process, signal.SIGCONT)
        if not self._started:
            self.dags.mkdir(parents=True)
            self._start_all()
            self.rest.log_in(end)

    def _start_all(self) -> None:
        self._postgres = Postgres(environment("postgres").packages, self._home.path / "home" / "cluster")
        self._postgres.start()
        self._guard = Guard(self.folder)
        port = _free_port()
        self.rest = Rest(self.major, port)
        (self.folder / "passwords.json").write_text(json.dumps({PERSON: PASSWORD}))
        settings = {**_settings(self.folder, port), **VERSIONS[self.major], **self._given}
        settings["DATABASE__SQL_ALCHEMY_CONN"] = self._postgres.url("psycopg2")
        self._environ = _environ(self._home, self.folder, settings)
        for service in SERVICES[self.major]:
            self.start(service)

    def _forget(self) -> None:
        shutil.rmtree(self.dags)
        self.dags.mkdir()
        self.rest.forget_all()
        shutil.rmtree(self.folder / "logs", ignore_errors=True)
        for process in self._started.values():
            _signal(process, signal.SIGSTOP)

    def _service_logs(self) -> list[Path]:
        return [path for path in (self.folder / f"{service}.log" for service in SERVICES[self.major]) if path.exists()]

    def _logs(self, read: dict[Path, int]) -> str:
        """What the services and the tasks said, but for what they had said before."""
        paths = [*self._service_logs(), *sorted(self.folder.glob("logs/**/attempt=*.log"))]
        texts = {path: path.read_bytes()[read.get(path, 0) :].decode(errors="replace") for path in paths}
        return "\n".join(f"=== {path.relative_to(self.folder)}\n{text}" for path, text in texts.items())


def _told(error: Exception) -> str:
    return f"{error} {error.read().decode() if isinstance(error, urllib.error.HTTPError) else ''}".strip()


def _signal(process: subprocess.Popen[bytes], *numbers: int) -> None:
    """Sends signals to a process and all below it, some of which are in process groups of their own."""
    for pid in (process.pid, *descendants((process.pid,))):
        for number in numbers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _free_port() -> int:
    """One that nothing uses, of those that no connection is given while the server starts."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _settings(folder: Path, port: int) -> dict[str, str]:
    """What both versions understand, or at least do not mind."""
    secret = secrets.token_urlsafe(64)
    return {
        "CORE__DAGS_FOLDER": str(folder / "dags"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "4",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{PERSON}:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(folder / "passwords.json"),
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "API__HOST": "127.0.0.1",
        "API__PORT": str(port),
        "API__WORKERS": "1",
        "API__BASE_URL": f"http://127.0.0.1:{port}",
        "API__SECRET_KEY": secret,
        # One secret for all services: they sign for each other.
        "API_AUTH__JWT_SECRET": secret,
        "WEBSERVER__SECRET_KEY": secret,
        # The default is what a run of small tasks mostly waits for.
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }


# The defaults of how often to look (300 s, 5 s) are what a run of small tasks mostly waits for, too.
VERSIONS = {
    3: {"DAG_PROCESSOR__REFRESH_INTERVAL": "1", "WORKERS__MIN_HEARTBEAT_INTERVAL": "1"},
    2: {
        "API__AUTH_BACKENDS": "airflow.api.auth.backend.basic_auth",
        "SCHEDULER__DAG_DIR_LIST_INTERVAL": "1",
        "WEBSERVER__WEB_SERVER_HOST": "127.0.0.1",
        "WEBSERVER__WORKERS": "1",
        # Between runs it is stopped for any length of time, and is not to think that its worker hangs.
        "WEBSERVER__WEB_SERVER_WORKER_TIMEOUT": "86400",
        "WEBSERVER__WEB_SERVER_MASTER_TIMEOUT": "86400",
        "WEBSERVER__WORKER_REFRESH_INTERVAL": "0",
    },
}


def _environ(home: Environment, folder: Path, settings: dict[str, str]) -> dict[str, str]:
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
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
    )
