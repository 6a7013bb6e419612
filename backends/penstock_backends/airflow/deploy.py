"""A DAG file put into a DAG folder, returned to an earlier version, and its runs, by Airflow's REST API."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from urllib.parse import quote, urlencode

from penstock.backend import Files
from penstock.deployment import Deployed, StartedRun, Version
from penstock.diagnostics import DeployError
from penstock.spec import PipelineSpec
from penstock.values import Json
from penstock_backends import deploy_errors, following
from penstock_backends.airflow.dag_file import dag_id, pools_of
from penstock_backends.airflow.deploy_api import Api
from penstock_backends.airflow.deploy_folder import DagFolder, Kept
from penstock_backends.airflow.deploy_options import AirflowDeployOptions
from penstock_backends.airflow.options import AirflowOptions
from penstock_backends.airflow.source import ascii_id
from penstock_backends.airflow.tables import task_id
from penstock_backends.json_schema import plain
from penstock_backends.lowering import program_of
from penstock_backends.rendering import origin_of, spec_told

_FINISHED = {"success": True, "failed": False}
_WORDS = {
    "running": "running",
    "success": "succeeded",
    "failed": "failed",
    "up_for_retry": "failed, and is tried again",
    "skipped": "skipped",
    "upstream_failed": "upstream_failed",
}


def deployment_of(
    pipeline: PipelineSpec, options: AirflowOptions, deploy_options: AirflowDeployOptions
) -> AirflowDeployment:
    """The deployment of a pipeline. Raises `ConfigurationError` where no DAG folder is named."""
    if not deploy_options.dags:
        raise deploy_errors.nowhere("airflow", "dags", 'dags = "/opt/airflow/dags"')
    return AirflowDeployment(pipeline, options, deploy_options)


class AirflowDeployment:
    """One pipeline in one DAG folder; see `penstock.deployment.Deployment`."""

    def __init__(self, pipeline: PipelineSpec, options: AirflowOptions, deploy_options: AirflowDeployOptions) -> None:
        self._pipeline, self._options = pipeline, deploy_options
        self._dag_id, self._origin = dag_id(pipeline), origin_of(pipeline)
        self._pools = pools_of(pipeline, options)
        self._file = f"{self._dag_id}.py"
        self._folder = DagFolder(Path(deploy_options.dags), self._file)
        self._api = Api(deploy_options.server, options.airflow) if deploy_options.server else None

    # --- the file

    def differences(self, files: Files) -> Sequence[str]:
        """In what the DAG folder is not as `put` would make it."""
        there = self._folder.text()
        if there is None:
            return [f"{self._folder.place} is not there", *self._without_pools()]
        if self._is_of_another():
            return [f"{self._folder.place} holds the pipeline {self._folder.origin()}"]
        if there == files[self._file]:
            return self._without_pools()
        known = self._folder.current()
        said = "is of another version" if known else "was changed by hand"
        return [f"{self._folder.place} {said}", *self._without_pools()]

    def _is_of_another(self) -> bool:
        """Whether what was deployed under this name last came from another file, and is not to be replaced."""
        return self._folder.origin() not in ("", self._origin) and self._pipeline.name not in self._options.replaces

    def _refuse_another(self, there: str | None) -> None:
        if there is not None and self._is_of_another():
            raise deploy_errors.of_another(str(self._folder.place), self._folder.origin(), self._pipeline.name)

    def put(self, files: Files, *, force: bool = False) -> Deployed:
        """Puts the DAG file there. Where Airflow cannot import it, what was there before is put back."""
        text = files[self._file]
        there, current = self._folder.text(), self._folder.current()
        self._refuse_another(there)
        if current is not None and there == text:
            return self._deployed(current, changed=False)
        if there not in (None, text) and current is None and not force:
            raise deploy_errors.changed_by_hand(str(self._folder.place))
        replaced = list(self._replaced())
        made = self._folder.add(text, spec_told(text), self._origin)
        try:
            notes = self._install(made, there, current)
        except DeployError:
            if self._folder.text() != text:
                self._folder.forget(made)
            raise
        for old in self._folder.kept()[self._options.keep :]:
            self._folder.forget(old)
        for each in replaced:
            each.remove()
        notes += tuple(f"{each.place} is gone: this pipeline replaces it" for each in replaced)
        return self._deployed(made, changed=True, notes=notes)

    def _replaced(self) -> Iterator[DagFolder]:
        """The files of the pipelines that this one replaces. Raises `DeployError` where a person changed one."""
        for name in self._options.replaces:
            other = DagFolder(Path(self._options.dags), f"{ascii_id(name)}.py")
            if name == self._pipeline.name or other.text() is None:
                continue
            if other.current() is None:
                raise deploy_errors.changed_by_hand(str(other.place))
            yield other

    def versions(self) -> Sequence[Version]:
        """What is and was there, the newest first."""
        current = self._folder.current()
        return [Version(str(each.number), each.spec, each.when, each == current) for each in self._folder.kept()]

    def roll_back(self, version: str = "") -> Deployed:
        """Puts the DAG file of an earlier version back."""
        there, current, kept = self._folder.text(), self._folder.current(), self._folder.kept()
        self._refuse_another(there)
        known = ", ".join(str(each.number) for each in kept)
        if there is not None and current is None:
            raise deploy_errors.changed_by_hand(str(self._folder.place))
        wanted = [each for each in kept if str(each.number) == version or (not version and _is_before(each, current))]
        if not wanted:
            raise deploy_errors.no_version(self._dag_id, version, known)
        if wanted[0] == current:
            return self._deployed(current, changed=False)
        return self._deployed(wanted[0], changed=True, notes=self._install(wanted[0], there, current))

    def _install(self, version: Kept, there: str | None, current: Kept | None) -> tuple[str, ...]:
        """Has a version in its place, and Airflow import it; returns what is worth knowing."""
        if self._api is not None:
            self._api.ask("GET", "/importErrors", limit=1)  # whether it answers this user, before anything is changed
        try:
            self._folder.install(version)
            is_read = self._api is not None and self._is_read(self._api, version.text)
        except DeployError:
            with contextlib.suppress(DeployError):
                self._folder.put_back(there, current)
            raise
        if self._api is None:
            return ("whether Airflow can import it was not asked: no `server` is given",)
        if not is_read:
            return (f"Airflow has not read it within {self._options.patience:g} s", *self._without_pools())
        return (*self._unpaused(self._api), *self._without_pools())

    def _deployed(self, version: Kept, *, changed: bool, notes: tuple[str, ...] = ()) -> Deployed:
        return Deployed(str(version.number), (str(self._folder.place),), changed, notes)

    # --- Airflow

    def _is_read(self, api: Api, text: str) -> bool:
        """Waits until Airflow has read the file that is there; False where that takes too long.

        Raises `DeployError` where it cannot import it.
        """
        written = self._folder.written()
        end = time.monotonic() + self._options.patience
        is_asked = False
        while True:
            for error in api.pages("/importErrors", "import_errors"):
                is_of_now = dt.datetime.fromisoformat(error["timestamp"].replace("Z", "+00:00")) >= written
                if PurePath(error["filename"]).name == self._file and is_of_now:
                    raise deploy_errors.refused(str(self._folder.place), error["stack_trace"].strip())
            dag = api.find(f"/dags/{self._dag_id}{'/details' if api.major == 3 else ''}")
            if dag is not None:
                token = dag["file_token"]
                source = api.find(f"/dagSources/{self._dag_id if api.major == 3 else token}")
                if source is not None and source["content"] == text:
                    return True
                if not is_asked:  # to be read before its turn; it is so in its turn where that is refused
                    with contextlib.suppress(DeployError):
                        api.ask("PUT", f"/parseDagFile/{token}")
                    is_asked = True
            if time.monotonic() > end:
                return False
            time.sleep(self._options.poll_seconds)

    def _without_pools(self) -> list[str]:
        """Which of the pools that tasks take slots of Airflow does not have."""
        known: set[str] | None = None
        if self._api is not None and self._pools:
            with contextlib.suppress(DeployError):  # who may deploy need not be one who may look at pools
                known = {each["name"] for each in self._api.pages("/pools", "pools")}
        if known is None:
            return []
        return [
            f"Airflow has no pool `{each}`, without which tasks wait for ever: make it"
            for each in self._pools
            if each not in known
        ]

    def _unpaused(self, api: Api) -> tuple[str, ...]:
        dag = api.ask("GET", f"/dags/{self._dag_id}")
        if not dag["is_paused"]:
            return ()
        if not self._options.unpause:
            return ("the DAG is paused: Airflow starts no runs of it (option `unpause`)",)
        api.ask("PATCH", f"/dags/{self._dag_id}", {"is_paused": False}, update_mask="is_paused")
        return ("the DAG was paused, and is no more",)

    def require_server(self) -> None:
        """Raises `ConfigurationError` without the option `server`."""
        self._server()

    def start(self, parameters: Mapping[str, Json]) -> StartedRun:
        """Starts a run of the DAG file that is there, once Airflow has read it."""
        api, text = self._server(), self._folder.text()
        if text is None:
            raise deploy_errors.refused(str(self._folder.place), "it is not there", "deploy it first")
        if not self._is_read(api, text):
            fix = f"see that its DAG folder is {self._options.dags}; or raise `patience`"
            raise deploy_errors.refused(api.server, f"it has not read {self._folder.place}", fix)
        self._unpaused(api)
        if api.ask("GET", f"/dags/{self._dag_id}")["is_paused"]:
            raise deploy_errors.refused(api.server, "the DAG is paused", "unpause it, or give `--option unpause=true`")
        types = {each.name: each.type for each in self._pipeline.parameters}
        conf = {name: plain(wire, types[name]) for name, wire in parameters.items()}
        body = {"conf": conf, **({"logical_date": None} if api.major == 3 else {})}
        run = api.ask("POST", f"/dags/{self._dag_id}/dagRuns", body)["dag_run_id"]
        return StartedRun(run, _page(api, self._dag_id, run))

    def follow(self, run: StartedRun, say: Callable[[str], None]) -> bool:
        """Waits until a run has ended, also where the server is away for a while."""
        api, told = self._server(), dict[tuple[str, int], str]()
        path = f"/dags/{self._dag_id}/dagRuns/{quote(run.id, safe='')}"

        def look() -> bool | None:
            state = api.ask("GET", path)["state"]
            self._tell(api, path, told, say)
            return _FINISHED.get(state)

        return following.follow(look, self._options.poll_seconds)

    def _tell(self, api: Api, run: str, told: dict[tuple[str, int], str], say: Callable[[str], None]) -> None:
        """Says which nodes are in another state than was told last."""
        nodes = {task_id(node): node for node in program_of(self._pipeline).by_id}
        for each in api.pages(f"{run}/taskInstances", "task_instances"):
            key, word = (each["task_id"], each["map_index"]), _WORDS.get(str(each["state"]), "")
            if each["task_id"] not in nodes or not word or told.get(key) == word:
                continue
            told[key] = word
            item = f"[{each['map_index']}]" if each["map_index"] >= 0 else ""
            say(f"{nodes[each['task_id']]}{item}: {_why(api, run, each) if word == 'failed' else word}")

    def _server(self) -> Api:
        if self._api is None:
            example = 'server = "https://airflow.example.org"'
            raise deploy_errors.nowhere("airflow", "server", example, "which server starts runs")
        return self._api


def _is_before(version: Kept, current: Kept | None) -> bool:
    return current is None or version.number < current.number


def _page(api: Api, dag: str, run: str, instance: Json = None) -> str:
    """Where Airflow shows a run, or one task instance of it."""
    index = instance["map_index"] if instance else -1
    if api.major == 3:
        path = f"/tasks/{instance['task_id']}" if instance else ""
        return f"{api.server}/dags/{dag}/runs/{quote(run)}{path}{f'/mapped/{index}' if index >= 0 else ''}"
    task = {"task_id": instance["task_id"], "tab": "logs"} if instance else {}
    item = {"map_index": index} if index >= 0 else {}
    return f"{api.server}/dags/{dag}/grid?{urlencode({'dag_run_id': run, **task, **item})}"


def _why(api: Api, path: str, instance: Json) -> str:
    """How an instance failed, as its task noted it, or where its log is."""

    def noted(key: str) -> str:
        query = {} if instance["map_index"] < 0 else {"map_index": instance["map_index"]}
        found = api.find(f"{path}/taskInstances/{instance['task_id']}/xcomEntries/{key}", **query)
        return str(found["value"]) if found else ""

    page = _page(api, instance["dag_id"], instance["dag_run_id"], instance)
    return noted("step_state") or f"failed: {noted('step_error') or f'its log: {page}'}"
