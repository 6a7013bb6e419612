"""A pipeline on a Kubeflow: its versions there, and runs of it.

The newest version is always the current one, for that is what Kubeflow runs where nobody says which. So to return to
an earlier version is to upload what it is once more. What a failure leaves half done is taken back.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from penstock.backend import Files
from penstock.deployment import Deployed, StartedRun, Version
from penstock.spec import PipelineSpec
from penstock.values import Json
from penstock_backends import deploy_errors, following
from penstock_backends.kubeflow.channels import arguments_for, task_name
from penstock_backends.kubeflow.deploy_api import Api
from penstock_backends.kubeflow.deploy_options import KubeflowDeployOptions
from penstock_backends.kubeflow.deploy_place import Place, or_else
from penstock_backends.kubeflow.deploy_record import Kept, kept, new_version
from penstock_backends.kubeflow.deploy_recurring import ENDED, RecurringRuns
from penstock_backends.kubeflow.deploy_schedule import kept_schedule
from penstock_backends.lowering import program_of
from penstock_backends.rendering import origin_of


@dataclass(frozen=True)
class KubeflowDeployment:
    """One pipeline on one Kubeflow."""

    pipeline: PipelineSpec
    place: Place

    def differences(self, files: Files) -> Sequence[str]:
        """In what the place is not as `put` would make it."""
        id_, found = self._there()
        if id_ is None or not found:
            return [f"{self.place} is not there"]
        if self._is_of_another(found):
            return [f"{self.place} holds the pipeline {_origin_of(found)}"]
        return self._of_version(found[0], files) or RecurringRuns(self.place, id_).differences(found[0])

    def put(self, files: Files, *, force: bool = False) -> Deployed:
        """Uploads the file as a new version, and has the recurring run be one of it."""
        (text,) = files.values()
        id_, found = self._there()
        self._refuse_another(found)
        if found and not found[0].is_ours and not force:
            raise deploy_errors.changed_by_hand(f"{self.place}, whose newest version is {found[0].name},")
        if id_ and found and not self._of_version(found[0], files):
            return self._stays(id_, found[0])
        fresh = new_version(_next_number(found), text, kept_schedule(self.pipeline), origin_of(self.pipeline))
        with self._made(id_) as made:
            return self._uploaded(made, fresh, _last_of_ours(found), text)

    def versions(self) -> Sequence[Version]:
        """All versions there, those of others too, the newest first."""
        _, found = self._there()
        return [each.shown(current=each is found[0]) for each in found]

    def roll_back(self, version: str = "") -> Deployed:
        """Uploads what an earlier version was once more."""
        id_, found = self._there()
        chosen = next((each for each in found if each.name == version), None) if version else _one_before(found)
        if chosen is None or id_ is None:
            raise deploy_errors.no_version(self.pipeline.name, version, ", ".join(each.name for each in found))
        self._refuse_another(found)
        if chosen is found[0]:
            return self._stays(id_, chosen)
        whole = self.place.api.get(f"/pipelines/{id_}/versions/{chosen.id}")["pipeline_spec"]
        number = _next_number(found)
        again = replace(chosen, number=number, name=f"{number}-{chosen.spec or chosen.file or chosen.name}")
        return self._uploaded(id_, again, _last_of_ours(found), _as_text(whole))

    def require_server(self) -> None:
        """There is one: without it there is no deployment."""

    def start(self, parameters: Mapping[str, Json]) -> StartedRun:
        """Starts a run of the current version."""
        id_, found = self._there()
        if id_ is None or not found:
            raise deploy_errors.no_version(self.pipeline.name, "", "")
        current = found[0]
        body: dict[str, Any] = {
            "display_name": f"{self.pipeline.name} {current.name}",
            "experiment_id": self.place.experiment_id(),
            "pipeline_version_reference": {"pipeline_id": id_, "pipeline_version_id": current.id},
            "runtime_config": {"parameters": arguments_for(self.pipeline.parameters, parameters)},
            **self.place.account,
        }
        run = self.place.api.post("/runs", body)["run_id"]
        return StartedRun(run, f"{self.place.api.server}/#/runs/details/{run}")

    def follow(self, run: StartedRun, say: Callable[[str], None]) -> bool:
        """Looks at the run until it has ended."""
        names = {task_name(id_): id_ for id_ in program_of(self.pipeline).by_id}
        said: dict[str, str] = {}

        def look() -> bool | None:
            found = self.place.api.get(f"/runs/{run.id}")
            for task in found.get("run_details", {}).get("task_details", ()):
                name, state = names.get(task.get("display_name", ""), ""), task.get("state", "").lower()
                if name and state and said.get(task["task_id"]) != state:
                    said[task["task_id"]] = state
                    say(f"{name}: {state}{_reason(task)}")
            if found.get("state") in ENDED:
                say(f"the run {found['state'].lower()}{_reason(found)}")
            return ENDED.get(found.get("state"))

        return following.follow(look, self.place.options.poll_seconds)

    # --- what is there ------------------------------------------------------------------------------------------------

    def _there(self) -> tuple[str | None, list[Kept]]:
        """The pipeline's id, if it is there, and its versions, the newest first."""
        id_ = self.place.pipeline_id()
        if id_ is None:
            return None, []
        found = self.place.api.all(f"/pipelines/{id_}/versions", "pipeline_versions", sort_by="created_at desc")
        # The server knows times to the second.
        return id_, sorted(map(kept, found), key=lambda each: (each.when, each.number), reverse=True)

    def _is_of_another(self, found: Sequence[Kept]) -> bool:
        """Whether what was deployed under this name last came from another file, and is not to be replaced."""
        is_replaced = self.pipeline.name in self.place.options.replaces
        return _origin_of(found) not in ("", origin_of(self.pipeline)) and not is_replaced

    def _refuse_another(self, found: Sequence[Kept]) -> None:
        if self._is_of_another(found):
            raise deploy_errors.of_another(str(self.place), _origin_of(found), self.pipeline.name)

    def _of_version(self, current: Kept, files: Files) -> list[str]:
        """In what the current version is not the file."""
        (text,) = files.values()
        wanted = new_version(0, text, kept_schedule(self.pipeline), "")
        if not current.is_ours:
            return [f"{self.place} has a newest version, {current.name}, that was not made by Penstock"]
        if current.spec != wanted.spec:
            return [f"{self.place} is of spec {current.spec}, and is to be of {wanted.spec}"]
        if current.file != wanted.file:
            return [f"{self.place} was compiled otherwise: with other options, or by another version of Penstock"]
        if current.schedule != wanted.schedule:
            return [f"{self.place} has another schedule"]
        return []

    # --- what is changed ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _made(self, id_: str | None) -> Iterator[str]:
        """The pipeline's id; one that had to be made does not outlive a failure."""
        if id_ is not None:
            yield id_
            return
        described_as = {"description": self.pipeline.description.strip()} if self.pipeline.description.strip() else {}
        body = {"display_name": self.pipeline.name, **described_as, **self.place.namespace}
        made = str(self.place.api.post("/pipelines", body)["pipeline_id"])
        with or_else(lambda: self.place.api.delete(f"/pipelines/{made}")):
            yield made

    def _uploaded(self, id_: str, fresh: Kept, before: Kept | None, text: str) -> Deployed:
        sent = {"pipelineid": id_, "name": fresh.name, "description": fresh.description}
        answer = self.place.api.upload("/pipelines/upload_version", text, **sent)
        made = replace(fresh, id=answer["pipeline_version_id"])
        with or_else(lambda: self.place.api.delete(f"/pipelines/{id_}/versions/{made.id}")):
            return self._scheduled(id_, made, before, changed=True)

    def _stays(self, id_: str, current: Kept) -> Deployed:
        """Leaves a version as it is, and puts its recurring run right."""
        is_off = bool(RecurringRuns(self.place, id_).differences(current))
        return self._scheduled(id_, current, current, changed=is_off)

    def _scheduled(self, id_: str, current: Kept, before: Kept | None, *, changed: bool) -> Deployed:
        """Has the recurring run be that of a version."""
        recurring = RecurringRuns(self.place, id_).become(current, before)
        server = self.place.api.server
        shown = (f"{server}/#/recurringrun/details/{each}" for each in recurring.ids)
        places = (f"{server}/#/pipelines/details/{id_}/version/{current.id}", *shown)
        return Deployed(current.name, places, changed, recurring.notes)


def deployment_of(pipeline: PipelineSpec, options: KubeflowDeployOptions) -> KubeflowDeployment:
    """The deployment of a pipeline. Raises `ConfigurationError` where nothing says to which Kubeflow."""
    server = options.server or os.environ.get("KF_PIPELINES_ENDPOINT", "")
    if not server.startswith(("http://", "https://")):
        raise deploy_errors.nowhere("kubeflow", "server", 'server = "https://kubeflow.example.org/pipeline"')
    return KubeflowDeployment(pipeline, Place(pipeline.name, options, Api(server.rstrip("/"))))


def _last_of_ours(found: Sequence[Kept]) -> Kept | None:
    return next((each for each in found if each.is_ours), None)


def _origin_of(found: Sequence[Kept]) -> str:
    """The pipeline that the last version of ours is of; empty where that is not known."""
    last = _last_of_ours(found)
    return last.origin if last else ""


def _one_before(found: Sequence[Kept]) -> Kept | None:
    """The version before that which the current one stands for; that of others stands after all of ours."""
    last = found[0].stands_for if found and found[0].is_ours else _next_number(found)
    return next((each for each in found if each.is_ours and each.number == each.stands_for < last), None)


def _next_number(found: Sequence[Kept]) -> int:
    return 1 + max((each.number for each in found), default=0)


def _as_text(whole: Mapping[str, Any]) -> str:
    """A version's documents, from what the server gives: JSON is YAML, too."""
    documents = [whole["pipeline_spec"], whole["platform_spec"]] if "pipeline_spec" in whole else [whole]
    return "---\n".join(json.dumps(each) + "\n" for each in documents)


def _reason(thing: Mapping[str, Any]) -> str:
    message = thing.get("error", {}).get("message", "")
    return f" ({message.strip().splitlines()[0]})" if message.strip() else ""
