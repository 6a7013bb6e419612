"""The public REST API of Airflow's services: v2 of Airflow 3, v1 of 2.x."""

from __future__ import annotations

import base64
import contextlib
import http
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.engines.environments import PASSWORD, PERSON

PREFIX = {3: "/api/v2", 2: "/api/v1"}
FINISHED = {"success", "failed"}
DELETING_SECONDS = 180
# Airflow 2 checks the password at each request, which takes it 0.1 s.
PAUSE = {3: 0.2, 2: 0.5}


class Rest:
    """The API of a server at a port of this machine. Paths are below the version's prefix."""

    def __init__(self, major: int, port: int) -> None:
        self.major, self.base = major, f"http://127.0.0.1:{port}"
        self.authorization = "Basic " + base64.b64encode(f"{PERSON}:{PASSWORD}".encode()).decode()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON. Raises `urllib.error.HTTPError` for a refusal."""
        return self._ask(method, PREFIX[self.major] + path, body)

    def log_in(self, end: float) -> None:
        """Wait for the server; Airflow 3 gives a token for the password."""
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                if self.major == 3:
                    answer = self._ask("POST", "/auth/token", {"username": PERSON, "password": PASSWORD})
                    self.authorization = f"Bearer {answer['access_token']}"
                self.call("GET", "/dags")
                return
            time.sleep(0.2)
        raise TimeoutError("the server did not answer in time")

    def run(self, conf: dict[str, Any], dag_id: str, end: float, files: set[str]) -> dict[str, Any]:
        """Wait until the files are parsed, start one DAG, wait for its end, and report as `dag_test` does."""
        dag_ids, import_errors = self._wait_for_parsing(dag_id, end, files)
        seen: dict[str, Any] = {"dag_ids": dag_ids, "import_errors": import_errors}
        if import_errors:
            return seen
        path = self.trigger(dag_id or dag_ids[0], conf)
        while True:
            seen["state"] = self.call("GET", path)["state"]
            if seen["state"] in FINISHED:
                break
            if time.monotonic() > end:
                seen["crash"] = "timed out"
                break
            time.sleep(PAUSE[self.major])
        return {**seen, "tasks": self.tasks(path), "xcoms": self.xcoms(path)}

    def wait_for(self, dag_id: str, seconds: float = 180) -> None:
        """Wait until a DAG was parsed."""
        self._wait_for_parsing(dag_id, time.monotonic() + seconds, {f"{dag_id}.py"})

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Start a run; its path is where it is to be asked for."""
        body = {"conf": conf, **({"logical_date": None} if self.major == 3 else {})}
        run_id = self.call("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"]
        return f"/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id, safe='')}"

    def tasks(self, run: str) -> list[dict[str, Any]]:
        """The task instances of a run."""
        return [
            {
                "task_id": each["task_id"],
                "map_index": each["map_index"],
                "state": str(each["state"]),
                "tries": each["try_number"],
            }
            for each in self.pages(run + "/taskInstances", "task_instances")
        ]

    def xcoms(self, run: str) -> list[dict[str, Any]]:
        """The XComs of a run."""
        found = self.pages(run + "/taskInstances/~/xcomEntries", "xcom_entries")
        keys = ("task_id", "map_index", "key")
        return [{**{key: each[key] for key in keys}, "value": self._xcom(run, each)} for each in found]

    def pages(self, path: str, key: str, **query: str) -> list[dict[str, Any]]:
        """All that a path lists."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.call("GET", f"{path}?{urllib.parse.urlencode({**query, 'limit': 100, 'offset': len(found)})}")
            found += page[key]
            if not page[key] or len(found) >= page["total_entries"]:
                return found

    def forget_all(self) -> None:
        """Delete what a test left in the database; the files of its DAGs are gone already."""
        all_of_them = {"exclude_stale": "false"} if self.major == 3 else {"only_active": "false"}
        for each in self.pages("/dags", "dags", **all_of_them):
            self._delete(f"/dags/{each['dag_id']}")
        for each in self.pages("/variables", "variables"):
            self._delete(f"/variables/{each['key']}")

    def _ask(self, method: str, path: str, body: Any) -> Any:
        request = urllib.request.Request(self.base + path, method=method)
        request.add_header("Authorization", self.authorization)
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"{}")

    def _wait_for_parsing(self, dag_id: str, end: float, files: set[str]) -> tuple[list[str], dict[str, str]]:
        while time.monotonic() < end:
            errors = self.call("GET", "/importErrors")["import_errors"]
            dags = self.call("GET", "/dags")["dags"]
            dag_ids = sorted(each["dag_id"] for each in dags if Path(each["fileloc"]).name in files)
            if errors or (dag_ids and (not dag_id or dag_id in dag_ids)):
                return dag_ids, {each["filename"]: each["stack_trace"] for each in errors}
            time.sleep(PAUSE[self.major])
        raise TimeoutError("the DAG was not parsed in time")

    def _xcom(self, run: str, entry: dict[str, Any]) -> Any:
        # Without `deserialize` (or `stringify`) this is what a task would be given: a text stays a text.
        shape = {"deserialize": "false"} if self.major == 3 else {"stringify": "false"}
        query = urllib.parse.urlencode({"map_index": entry["map_index"], **shape})
        key = urllib.parse.quote(entry["key"], safe="")
        return self.call("GET", f"{run}/taskInstances/{entry['task_id']}/xcomEntries/{key}?{query}")["value"]

    def _delete(self, path: str) -> None:
        """Deletes something; a DAG with a schedule may have a run of its own under way, whose end it then waits for."""
        end = time.monotonic() + DELETING_SECONDS
        while True:
            try:
                self.call("DELETE", path)
            except urllib.error.HTTPError as error:
                if error.code == http.HTTPStatus.NOT_FOUND:
                    return
                if error.code != http.HTTPStatus.CONFLICT or time.monotonic() > end:
                    raise
                time.sleep(0.5)
            else:
                return
