"""A pipeline on a Kubeflow: its versions there, its recurring run, and runs of it.

The newest version is always the current one, for that is what Kubeflow runs where nobody says which. So to return to
an earlier version is to upload what it is once more. The recurring run names its version; Kubeflow changes none, so it
is made anew for each. Everything is done in an order that leaves no schedule without its run, and what a failure
leaves half done is taken back.

Servers before 2.16 end what a recurring run has started when it is removed (kubeflow/pipelines #12573). So one that has
a run under way is only disabled, and removed by a later deployment.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from penstock.backend import Files
from penstock.deployment import Deployed, StartedRun, Version
from penstock.diagnostics import DeployError
from penstock.spec import PipelineSpec
from penstock.values import Json
from penstock_backends import deploy_errors
from penstock_backends.kubeflow.channels import arguments_for, task_name
from penstock_backends.kubeflow.deploy_api import Api, is_passing, where
from penstock_backends.kubeflow.deploy_options import KubeflowDeployOptions
from penstock_backends.kubeflow.deploy_record import Kept, described, kept, new_version, told_by
from penstock_backends.kubeflow.deploy_schedule import kept_schedule, trigger
from penstock_backends.lowering import program_of

PATIENCE = 20  # looks at a run in which a network or a proxy may be away: a minute, as a rule
ENDED = {"SUCCEEDED": True, "SKIPPED": True, "FAILED": False, "CANCELED": False}


@dataclass(frozen=True)
class KubeflowDeployment:
    """One pipeline on one Kubeflow."""

    pipeline: PipelineSpec
    options: KubeflowDeployOptions
    api: Api

    def differences(self, files: Files) -> Sequence[str]:
        """In what the place is not as `put` would make it."""
        id_ = self._id()
        current = self._current(id_) if id_ else None
        if id_ is None or current is None:
            return [f"{self._place()} is not there"]
        return self._of_version(current, files) or self._of_schedule(id_, current)

    def put(self, files: Files, *, force: bool = False) -> Deployed:
        """Uploads the file as a new version, and has the recurring run be one of it."""
        (text,) = files.values()
        id_ = self._id()
        found = self._kept(id_) if id_ else []
        current = found[0] if found else None
        if current is not None and not current.is_ours and not force:
            raise deploy_errors.changed_by_hand(f"{self._place()}, whose newest version is {current.name},")
        if id_ and current is not None and not self._of_version(current, files):
            return self._scheduled(id_, current, current, changed=bool(self._of_schedule(id_, current)))
        fresh = new_version(1 + max((each.number for each in found), default=0), text, kept_schedule(self.pipeline))
        with self._made(id_) as made:
            return self._uploaded(made, fresh, _last_of_ours(found), text)

    def versions(self) -> Sequence[Version]:
        """All versions there, those of others too, the newest first."""
        id_ = self._id()
        found = self._kept(id_) if id_ else []
        return [each.shown(current=each is found[0]) for each in found]

    def roll_back(self, version: str = "") -> Deployed:
        """Uploads what an earlier version was once more."""
        id_ = self._id()
        found = self._kept(id_) if id_ else []
        earlier = [each for each in found if each.number == each.stands_for and each.is_ours]
        if version:
            chosen = next((each for each in found if each.name == version), None)
        else:
            last = found[0].stands_for if found and found[0].is_ours else 1 + max((e.number for e in found), default=0)
            chosen = next((each for each in earlier if each.number < last), None)
        if chosen is None or id_ is None:
            known = ", ".join(each.name for each in found)
            raise deploy_errors.no_version(self.pipeline.name, version, known)
        if chosen is found[0]:
            return self._scheduled(id_, chosen, chosen, changed=bool(self._of_schedule(id_, chosen)))
        whole = self.api.get(f"/pipelines/{id_}/versions/{chosen.id}")["pipeline_spec"]
        number = 1 + max(each.number for each in found)
        again = replace(chosen, number=number, name=f"{number}-{chosen.spec or chosen.file or chosen.name}")
        return self._uploaded(id_, again, _last_of_ours(found), _as_text(whole))

    def start(self, parameters: Mapping[str, Json]) -> StartedRun:
        """Starts a run of the current version."""
        id_ = self._id()
        current = self._current(id_) if id_ else None
        if id_ is None or current is None:
            raise deploy_errors.no_version(self.pipeline.name, "", "")
        body: dict[str, Any] = {
            "display_name": f"{self.pipeline.name} {current.name}",
            "experiment_id": self._experiment(),
            "pipeline_version_reference": {"pipeline_id": id_, "pipeline_version_id": current.id},
            "runtime_config": {"parameters": arguments_for(self.pipeline.parameters, parameters)},
            **self._account(),
        }
        run = self.api.post("/runs", body)["run_id"]
        return StartedRun(run, f"{self.api.host}/#/runs/details/{run}")

    def follow(self, run: StartedRun, say: Callable[[str], None]) -> bool:
        """Looks at the run until it has ended."""
        names = {task_name(id_): id_ for id_ in program_of(self.pipeline).by_id}
        said: dict[str, str] = {}
        while True:
            found = self._seen(run)
            for task in found.get("run_details", {}).get("task_details", ()):
                name, state = names.get(task.get("display_name", ""), ""), task.get("state", "").lower()
                if name and state and said.get(task["task_id"]) != state:
                    said[task["task_id"]] = state
                    say(f"{name}: {state}{_reason(task)}")
            if found.get("state") in ENDED:
                say(f"the run {found['state'].lower()}{_reason(found)}")
                return ENDED[found["state"]]
            time.sleep(self.options.seconds_between_looks)

    def _seen(self, run: StartedRun) -> Any:
        """A run as it is; that nobody answers for a while does not end the following."""
        for _ in range(PATIENCE):
            try:
                return self.api.get(f"/runs/{run.id}")
            except DeployError as error:
                if not is_passing(error):
                    raise
            time.sleep(self.options.seconds_between_looks)
        return self.api.get(f"/runs/{run.id}")

    # --- what is there ------------------------------------------------------------------------------------------------

    def _place(self) -> str:
        return f"pipeline `{self.pipeline.name}` at {self.api.host}"

    def _of_namespace(self) -> dict[str, str]:
        return {"namespace": self.options.namespace} if self.options.namespace else {}

    def _account(self) -> dict[str, str]:
        return {"service_account": self.options.service_account} if self.options.service_account else {}

    def _id(self, name: str = "") -> str | None:
        """The pipeline's id on the server, or that of another one, if it is there."""
        called = where(name or self.pipeline.name)
        found = self.api.all("/pipelines", "pipelines", **called, **self._of_namespace())
        return next((str(each["pipeline_id"]) for each in found), None)

    def _kept(self, id_: str) -> list[Kept]:
        """Its versions, the newest first."""
        found = self.api.all(f"/pipelines/{id_}/versions", "pipeline_versions", sort_by="created_at desc")
        # The server knows times to the second.
        return sorted(map(kept, found), key=lambda each: (each.when, each.number), reverse=True)

    def _current(self, id_: str) -> Kept | None:
        return next(iter(self._kept(id_)), None)

    def _recurring(self, id_: str, name: str = "") -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """The recurring runs that Penstock made of a pipeline, each with what its description says."""
        called = where(name or self.pipeline.name)
        found = self.api.all("/recurringruns", "recurringRuns", **called, **self._of_namespace())
        ours = ((each, told_by(each.get("description", ""))) for each in found)
        return [
            (each, told)
            for each, told in ours
            if told is not None and each.get("pipeline_version_reference", {}).get("pipeline_id") == id_
        ]

    def _told(self, current: Kept) -> dict[str, Any]:
        """What the description of a version's recurring run says."""
        where_it_runs = {"experiment": self.options.experiment, **self._account()}
        return {"version": current.name, "schedule": dict(current.schedule or {}), **where_it_runs}

    def _former(self) -> list[dict[str, Any]]:
        """The recurring runs that go on under names that the pipeline had before."""
        former = ((name, self._id(name)) for name in self.options.replaces)
        found = (self._recurring(id_, name) for name, id_ in former if id_)
        return [each for recurring in found for each, _ in recurring]

    def _experiment(self) -> str:
        """The id of the experiment, which is made where it is missing."""
        name = self.options.experiment
        found = next(self.api.all("/experiments", "experiments", **where(name), **self._of_namespace()), None)
        made = found or self.api.post("/experiments", {"display_name": name, **self._of_namespace()})
        return str(made["experiment_id"])

    def _of_version(self, current: Kept, files: Files) -> list[str]:
        """In what the current version is not the file."""
        (text,) = files.values()
        wanted = new_version(0, text, kept_schedule(self.pipeline))
        if not current.is_ours:
            return [f"{self._place()} has a newest version, {current.name}, that was not made by Penstock"]
        if current.file != wanted.file:
            return [f"{self._place()} is of spec {current.spec}, and is to be of {wanted.spec}"]
        if current.schedule != wanted.schedule:
            return [f"{self._place()} has another schedule"]
        return []

    def _of_schedule(self, id_: str, current: Kept) -> list[str]:
        """In what the recurring run is not that of a version."""
        found = self._recurring(id_)
        wanted = [] if current.schedule is None else [self._told(current)]
        if not all(map(_is_disabled, self._former())):
            return [f"{self._place()} has a recurring run under a name that it had before"]
        if [told for each, told in found if told in wanted or not _is_disabled(each)] == wanted:
            return []
        if not found:
            return [f"{self._place()} has no recurring run"]
        return [f"{self._place()} has a recurring run that is not that of version {current.name}"]

    # --- what is changed ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _made(self, id_: str | None) -> Iterator[str]:
        """The pipeline's id; one that had to be made does not outlive a failure."""
        if id_ is not None:
            yield id_
            return
        described_as = {"description": self.pipeline.description.strip()} if self.pipeline.description.strip() else {}
        body = {"display_name": self.pipeline.name, **described_as, **self._of_namespace()}
        made = str(self.api.post("/pipelines", body)["pipeline_id"])
        with self._or_else(lambda: self.api.delete(f"/pipelines/{made}")):
            yield made

    @contextlib.contextmanager
    def _or_else(self, undo: Callable[[], None]) -> Iterator[None]:
        """Takes back what was done where what follows fails; that this fails, too, hides nothing."""
        try:
            yield
        except DeployError:
            with contextlib.suppress(DeployError):
                undo()
            raise

    def _uploaded(self, id_: str, fresh: Kept, before: Kept | None, text: str) -> Deployed:
        sent = {"pipelineid": id_, "name": fresh.name, "description": fresh.description}
        answer = self.api.upload("/pipelines/upload_version", text, **sent)
        made = replace(fresh, id=answer["pipeline_version_id"])
        with self._or_else(lambda: self.api.delete(f"/pipelines/{id_}/versions/{made.id}")):
            return self._scheduled(id_, made, before, changed=True)

    def _scheduled(self, id_: str, current: Kept, before: Kept | None, *, changed: bool) -> Deployed:
        """Has the recurring run be that of a version: the new one is there before that of the one ``before`` goes."""
        found = self._recurring(id_)
        last = before.name if before else ""
        is_paused = any(_is_disabled(each) and told.get("version") == last for each, told in found)
        wanted = [] if current.schedule is None else [self._told(current)]
        keep = [str(each["recurring_run_id"]) for each, told in found if [told] == wanted][:1]
        made = [self._recur(id_, current, replaces=bool(found), is_paused=is_paused)] if wanted and not keep else []
        others = [each for each, _ in found if each["recurring_run_id"] not in keep] + self._former()
        with self._or_else(lambda: self._remove(made)):
            busy = self._end(others)
        places = [f"{self.api.host}/#/pipelines/details/{id_}/version/{current.id}"]
        places += [f"{self.api.host}/#/recurringrun/details/{each}" for each in (*keep, *made)]
        notes = ["its recurring run is paused, for somebody has disabled it"] if wanted and is_paused else []
        notes += [
            f"an earlier recurring run, {each}, has a run under way: it is disabled, and goes with the next deployment"
            for each in busy
        ]
        return Deployed(current.name, tuple(places), changed, tuple(notes))

    def _end(self, others: Sequence[Mapping[str, Any]]) -> list[str]:
        """Has recurring runs start nothing more, and removes those with nothing under way; returns the rest's ids."""
        enabled = [str(each["recurring_run_id"]) for each in others if not _is_disabled(each)]
        with self._or_else(lambda: self._switch(enabled, "enable")):
            self._switch(enabled, "disable")
            ids = [str(each["recurring_run_id"]) for each in others]
            busy = [each for each in ids if self._is_busy(each)]
            self._remove([each for each in ids if each not in busy])
        return busy

    def _switch(self, recurring: Sequence[str], to: str) -> None:
        for each in recurring:
            self.api.post(f"/recurringruns/{each}:{to}")

    def _is_busy(self, recurring: str) -> bool:
        """Whether a recurring run has started something that has not ended; no more than ten of its runs can be so."""
        asked = where(recurring, "recurring_run_id")
        runs = self.api.get("/runs", **asked, **self._of_namespace(), sort_by="created_at desc", page_size="100")
        return any(each.get("state") not in ENDED for each in runs.get("runs", ()))

    def _remove(self, recurring: Sequence[str]) -> None:
        for each in recurring:
            self.api.delete(f"/recurringruns/{each}", propagation_policy="ORPHAN")

    def _recur(self, id_: str, current: Kept, *, replaces: bool, is_paused: bool) -> str:
        schedule = dict(current.schedule or {})
        body: dict[str, Any] = {
            "display_name": self.pipeline.name,
            "description": described(self._told(current)),
            "experiment_id": self._experiment(),
            "pipeline_version_reference": {"pipeline_id": id_, "pipeline_version_id": current.id},
            "runtime_config": {"parameters": {}},
            "max_concurrency": str(schedule["at a time"]),
            "trigger": trigger(schedule, replaces=replaces, now=dt.datetime.now(dt.timezone.utc)),
            "mode": "DISABLE" if is_paused else "ENABLE",
            "no_catchup": not schedule.get("catching up", False),
            **self._of_namespace(),
            **self._account(),
        }
        return str(self.api.post("/recurringruns", body)["recurring_run_id"])


def deployment_of(pipeline: PipelineSpec, options: KubeflowDeployOptions) -> KubeflowDeployment:
    """The deployment of a pipeline. Raises `ConfigurationError` where nothing says to which Kubeflow."""
    host = options.host or os.environ.get("KF_PIPELINES_ENDPOINT", "")
    if not host.startswith(("http://", "https://")):
        raise deploy_errors.nowhere("kubeflow", "host", 'host = "https://kubeflow.example.org/pipeline"')
    return KubeflowDeployment(pipeline, options, Api(host.rstrip("/")))


def _last_of_ours(found: Sequence[Kept]) -> Kept | None:
    return next((each for each in found if each.is_ours), None)


def _is_disabled(recurring: Mapping[str, Any]) -> bool:
    return recurring.get("status") == "DISABLED"


def _as_text(whole: Mapping[str, Any]) -> str:
    """A version's documents, from what the server gives: JSON is YAML, too."""
    documents = [whole["pipeline_spec"], whole["platform_spec"]] if "pipeline_spec" in whole else [whole]
    return "---\n".join(json.dumps(each) + "\n" for each in documents)


def _reason(thing: Mapping[str, Any]) -> str:
    message = thing.get("error", {}).get("message", "")
    return f" ({message.strip().splitlines()[0]})" if message.strip() else ""
