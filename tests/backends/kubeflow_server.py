"""A Kubeflow Pipelines server on the loopback: the part of its v2beta1 API that deploying needs, kept in memory.

It refuses what the real one refuses (a name that is taken, more runs at a time than it allows, a cron expression of
other fields, things that are not there), and notes every exchange. `tests.engines.kfp` has kfp's own generated client
judge these, so that neither side of the loopback can have its own idea of the API.
"""

from __future__ import annotations

import datetime as dt
import email
import email.policy
import json
import re
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

Things = dict[str, dict[str, Any]]
MOST_ON_A_PAGE = 2  # so that whoever does not turn pages misses something


class RefusalError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Server:
    """What is kept, by id; ``exchanges`` are all that was asked and answered.

    ``token`` is what one must show. ``broken`` says, by method and path, what is answered instead. ``stages`` are the
    states in which a run is found, one after the other: its own, and those of its tasks.
    """

    token: str = ""
    pipelines: Things = field(default_factory=dict)
    versions: Things = field(default_factory=dict)
    experiments: Things = field(default_factory=dict)
    recurring: Things = field(default_factory=dict)
    runs: Things = field(default_factory=dict)
    broken: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    stages: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    exchanges: list[dict[str, Any]] = field(default_factory=list)
    knows_orphans: bool = True  # whether runs outlive what started them, if one asks for it: since 2.16
    clock: int = 0
    mended: Callable[[], bool] = lambda: False  # whether what is broken is sound again

    def now(self) -> str:
        """A second later than it was."""
        self.clock += 1
        return (dt.datetime(2026, 1, 31, tzinfo=dt.timezone.utc) + dt.timedelta(seconds=self.clock)).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        """What is answered; refuses by raising."""
        if (method, path) in self.broken and not self.mended():
            raise RefusalError(*self.broken[method, path])
        for pattern, (asked, handler) in ROUTES.items():
            if method == asked and (found := re.fullmatch(pattern.partition(" ")[2], path)):
                return handler(self, *found.groups(), query=query, body=body)
        raise RefusalError(404, f"Not Found: {method} {path}")

    def upload_by_hand(self, name: str) -> None:
        """A version that somebody makes on Kubeflow's page."""
        (id_,) = self.pipelines
        self._keep_version(id_, name, "", {"pipelineInfo": {"name": "other"}})

    def list_pipelines(self, *, query: dict[str, str], body: None) -> Any:
        found = [each for each in self.pipelines.values() if each.get("namespace", "") == query.get("namespace", "")]
        return _page("pipelines", found, query)

    def create_pipeline(self, *, query: dict[str, str], body: dict[str, Any]) -> Any:
        known = {(each["display_name"], each.get("namespace", "")) for each in self.pipelines.values()}
        if (body["display_name"], body.get("namespace", "")) in known:
            raise RefusalError(409, "Already exist error: a pipeline of this name")
        return _kept(self.pipelines, "pipeline_id", {**body, "created_at": self.now()})

    def delete_pipeline(self, id_: str, *, query: dict[str, str], body: None) -> Any:
        _found(self.pipelines, id_)
        if any(each["pipeline_id"] == id_ for each in self.versions.values()):
            raise RefusalError(400, "as a result, this pipeline can not be deleted: it has versions")
        del self.pipelines[id_]
        return {}

    def upload_version(self, *, query: dict[str, str], body: dict[str, str]) -> Any:
        _found(self.pipelines, query.get("pipelineid", ""))
        documents = list(yaml.safe_load_all(body["uploadfile"]))
        if "pipelineInfo" not in documents[0]:
            raise RefusalError(400, "unknown template format")
        specification = documents[0]
        if len(documents) == 2:
            specification = {"pipeline_spec": documents[0], "platform_spec": documents[1]}
        return self._keep_version(query["pipelineid"], query["name"], query.get("description", ""), specification)

    def _keep_version(self, id_: str, name: str, description: str, specification: dict[str, Any]) -> Any:
        if (id_, name) in {(each["pipeline_id"], each["display_name"]) for each in self.versions.values()}:
            raise RefusalError(409, "Already exist error: a version of this name")
        described = {"description": description} if description else {}
        made = {"pipeline_id": id_, "display_name": name, "name": name, "created_at": self.now(), **described}
        return _kept(self.versions, "pipeline_version_id", {**made, "pipeline_spec": specification})

    def list_versions(self, id_: str, *, query: dict[str, str], body: None) -> Any:
        found = [each for each in self.versions.values() if each["pipeline_id"] == id_]
        is_newest_first = query.get("sort_by") == "created_at desc"
        return _page("pipeline_versions", found[::-1] if is_newest_first else found, query)

    def get_version(self, _: str, id_: str, *, query: dict[str, str], body: None) -> Any:
        return _found(self.versions, id_)

    def delete_version(self, _: str, id_: str, *, query: dict[str, str], body: None) -> Any:
        _found(self.versions, id_)
        del self.versions[id_]
        return {}

    def list_experiments(self, *, query: dict[str, str], body: None) -> Any:
        return _page("experiments", list(self.experiments.values()), query)

    def create_experiment(self, *, query: dict[str, str], body: dict[str, Any]) -> Any:
        return _kept(self.experiments, "experiment_id", {**body, "created_at": self.now()})

    def list_recurring(self, *, query: dict[str, str], body: None) -> Any:
        return _page("recurringRuns", list(self.recurring.values()), query)

    def create_recurring(self, *, query: dict[str, str], body: dict[str, Any]) -> Any:
        self._check_source(body)
        if not 1 <= int(body.get("max_concurrency", 0)) <= 10:
            raise RefusalError(400, "Max concurrency of a recurring run must be at least 1 and at most 10")
        cron = body["trigger"]["cron_schedule"]["cron"]
        if len(cron.split()) not in (5, 6) or "7" in cron.split()[-1]:
            raise RefusalError(400, "Schedule cron is not a supported format")
        status = {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}[body["mode"]]
        return _kept(self.recurring, "recurring_run_id", {**body, "status": status, "created_at": self.now()})

    def switch_recurring(self, id_: str, to: str, *, query: dict[str, str], body: None) -> Any:
        _found(self.recurring, id_)["status"] = f"{to.upper()}D"
        return {}

    def delete_recurring(self, id_: str, *, query: dict[str, str], body: None) -> Any:
        _found(self.recurring, id_)
        if not self.knows_orphans or query.get("propagation_policy") != "ORPHAN":
            self.runs = {name: run for name, run in self.runs.items() if run.get("recurring_run_id") != id_}
        del self.recurring[id_]
        return {}

    def create_run(self, *, query: dict[str, str], body: dict[str, Any]) -> Any:
        self._check_source(body)
        return _kept(self.runs, "run_id", {**body, "state": "PENDING", "created_at": self.now()})

    def list_runs(self, *, query: dict[str, str], body: None) -> Any:
        return _page("runs", list(self.runs.values()), query)

    def get_run(self, id_: str, *, query: dict[str, str], body: None) -> Any:
        run = _found(self.runs, id_)
        if self.stages:
            run["state"], tasks = self.stages.pop(0)
            details = [{"task_id": name, "display_name": name, "state": state} for name, state in tasks.items()]
            for each in details:
                if each["state"] == "FAILED":
                    each["error"] = {"code": 13, "message": "its pod failed\nand more"}
            run["run_details"] = {"task_details": details}
        return run

    def health(self, *, query: dict[str, str], body: None) -> Any:
        return {"multi_user": False}

    def _check_source(self, body: dict[str, Any]) -> None:
        reference = body["pipeline_version_reference"]
        version = _found(self.versions, reference["pipeline_version_id"])
        assert version["pipeline_id"] == reference["pipeline_id"]
        _found(self.experiments, body["experiment_id"])


ID = "([0-9a-f-]{36})"
ROUTES: dict[str, tuple[str, Any]] = {
    f"{method} {pattern}": (method, handler)
    for method, pattern, handler in (
        ("GET", "/pipelines", Server.list_pipelines),
        ("POST", "/pipelines", Server.create_pipeline),
        ("DELETE", f"/pipelines/{ID}", Server.delete_pipeline),
        ("POST", "/pipelines/upload_version", Server.upload_version),
        ("GET", f"/pipelines/{ID}/versions", Server.list_versions),
        ("GET", f"/pipelines/{ID}/versions/{ID}", Server.get_version),
        ("DELETE", f"/pipelines/{ID}/versions/{ID}", Server.delete_version),
        ("GET", "/experiments", Server.list_experiments),
        ("POST", "/experiments", Server.create_experiment),
        ("GET", "/recurringruns", Server.list_recurring),
        ("POST", "/recurringruns", Server.create_recurring),
        ("POST", f"/recurringruns/{ID}:(enable|disable)", Server.switch_recurring),
        ("DELETE", f"/recurringruns/{ID}", Server.delete_recurring),
        ("POST", "/runs", Server.create_run),
        ("GET", "/runs", Server.list_runs),
        ("GET", f"/runs/{ID}", Server.get_run),
        ("GET", "/healthz", Server.health),
    )
}


def _kept(things: Things, key: str, thing: dict[str, Any]) -> dict[str, Any]:
    id_ = str(uuid.uuid4())
    things[id_] = {key: id_, **thing}
    return things[id_]


def _found(things: Things, id_: str) -> dict[str, Any]:
    if id_ not in things:
        raise RefusalError(404, f"ResourceNotFoundError: {id_} not found")
    return things[id_]


def _page(key: str, found: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    if "filter" in query:
        for predicate in json.loads(query["filter"])["predicates"]:
            assert predicate["operation"] in ("EQUALS", 1)
            wanted = predicate.get("string_value") or predicate.get("stringValue")
            found = [each for each in found if each.get(predicate["key"]) == wanted]
    start = int(query.get("page_token") or 0)
    end = start + min(MOST_ON_A_PAGE, int(query.get("page_size") or 20))
    more = {"next_page_token": str(end)} if end < len(found) else {}
    return {key: found[start:end], "total_size": len(found), **more}


class _Handler(BaseHTTPRequestHandler):
    kubeflow: Server

    def do_GET(self) -> None:
        self._do()

    do_POST = do_DELETE = do_GET  # noqa: N815  # as the standard library calls them

    def log_message(self, *_: Any) -> None:
        pass

    def _do(self) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        body = self._body()
        told = {"method": self.command, "path": parts.path, "query": query, "body": body}
        status, answer = self._answer(parts.path, query, body)
        self.kubeflow.exchanges.append({**told, "status": status, "answer": answer})
        data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/dex/auth")
        self.send_header("Content-Type", "text/html" if isinstance(answer, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _answer(self, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if self.kubeflow.token and self.headers.get("Authorization") != f"Bearer {self.kubeflow.token}":
            return 302, "<a href='/dex/auth'>Found</a>"
        try:
            return 200, self.kubeflow.answer(self.command, path.removeprefix("/apis/v2beta1"), query, body)
        except RefusalError as refusal:
            return refusal.status, {"code": 13, "message": str(refusal), "details": []}

    def _body(self) -> Any:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/form-data"):
            whole = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + data, policy=email.policy.HTTP)
            return {
                str(part.get_param("name", header="Content-Disposition")): part.get_content()
                if part.get_content_maintype() == "text"
                else part.get_payload(decode=True).decode()
                for part in whole.iter_parts()
            }
        return json.loads(data) if data else None


def serve(server: Server) -> tuple[str, Any]:
    """The address at which a server answers from now on, and what stops it."""
    handler = type("Handler", (_Handler,), {"kubeflow": server})
    listening = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop() -> None:
        listening.shutdown()
        listening.server_close()

    return f"http://127.0.0.1:{listening.server_port}", stop
