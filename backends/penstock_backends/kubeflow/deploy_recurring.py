"""The recurring run that keeps a pipeline's schedule on a Kubeflow.

It names its version, and Kubeflow changes none: so it is made anew for each, and the new one is there before the old
one goes. Servers before 2.16 end what a recurring run has started when it is removed (kubeflow/pipelines #12573): so
one that has a run under way is only disabled, and removed by a later deployment.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock_backends.kubeflow.deploy_api import where
from penstock_backends.kubeflow.deploy_place import Place, or_else
from penstock_backends.kubeflow.deploy_record import Kept, described, told_by
from penstock_backends.kubeflow.deploy_schedule import trigger

ENDED = {"SUCCEEDED": True, "SKIPPED": True, "FAILED": False, "CANCELED": False}


@dataclass(frozen=True)
class Outcome:
    """What became of the recurring runs: those that are there now by id, and what is worth knowing."""

    ids: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class RecurringRuns:
    """Those that Penstock has made of the pipeline with this id; what others made is left alone."""

    place: Place
    pipeline: str

    def differences(self, current: Kept) -> list[str]:
        """In what there is not exactly the one of a version."""
        found = self._found(self.pipeline)
        wanted = self._wanted(current)
        if not all(map(_is_disabled, self._former())):
            return [f"{self.place} has a recurring run under a name that it had before"]
        if [told for each, told in found if told in wanted or not _is_disabled(each)] == wanted:
            return []
        if not found:
            return [f"{self.place} has no recurring run"]
        return [f"{self.place} has a recurring run that is not that of version {current.name}"]

    def become(self, current: Kept, before: Kept | None) -> Outcome:
        """Has there be the one of a version, in the place of that of the version ``before``."""
        found = self._found(self.pipeline)
        wanted = self._wanted(current)
        last = before.name if before else ""
        is_paused = any(_is_disabled(each) and told.get("version") == last for each, told in found)
        keep = [_id(each) for each, told in found if [told] == wanted][:1]
        made = [self._make(current, replaces=bool(found), is_paused=is_paused)] if wanted and not keep else []
        others = [each for each, _ in found if _id(each) not in keep] + self._former()
        with or_else(lambda: self._remove(made)):
            busy = self._end(others)
        notes = ["its recurring run is paused, for somebody has disabled it"] if wanted and is_paused else []
        notes += [
            f"an earlier recurring run, {each}, has a run under way: it is disabled, and goes with the next deployment"
            for each in busy
        ]
        return Outcome((*keep, *made), tuple(notes))

    def _found(self, pipeline: str, name: str = "") -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Those of a pipeline, each with what its description says."""
        called = where(name or self.place.name)
        found = self.place.api.all("/recurringruns", "recurringRuns", **called, **self.place.namespace)
        ours = ((each, told_by(each.get("description", ""))) for each in found)
        return [
            (each, told)
            for each, told in ours
            if told is not None and each.get("pipeline_version_reference", {}).get("pipeline_id") == pipeline
        ]

    def _former(self) -> list[dict[str, Any]]:
        """Those that go on under names that the pipeline had before."""
        names = (name for name in self.place.options.replaces if name != self.place.name)
        former = ((name, self.place.pipeline_id(name)) for name in names)
        found = (self._found(id_, name) for name, id_ in former if id_)
        return [each for recurring in found for each, _ in recurring]

    def _wanted(self, current: Kept) -> list[dict[str, Any]]:
        """What the description of a version's says, if it has a schedule."""
        if current.schedule is None:
            return []
        where_it_runs = {"experiment": self.place.options.experiment, **self.place.account}
        return [{"version": current.name, "schedule": dict(current.schedule), **where_it_runs}]

    def _make(self, current: Kept, *, replaces: bool, is_paused: bool) -> str:
        (told,) = self._wanted(current)
        schedule = told["schedule"]
        body: dict[str, Any] = {
            "display_name": self.place.name,
            "description": described(told),
            "experiment_id": self.place.experiment_id(),
            "pipeline_version_reference": {"pipeline_id": self.pipeline, "pipeline_version_id": current.id},
            "runtime_config": {"parameters": {}},
            "max_concurrency": str(schedule["at a time"]),
            "trigger": trigger(schedule, replaces=replaces, now=dt.datetime.now(dt.timezone.utc)),
            "mode": "DISABLE" if is_paused else "ENABLE",
            "no_catchup": not schedule.get("catching up", False),
            **self.place.namespace,
            **self.place.account,
        }
        return _id(self.place.api.post("/recurringruns", body))

    def _end(self, others: Sequence[Mapping[str, Any]]) -> list[str]:
        """Has them start nothing more, and removes those with nothing under way; returns the ids of the rest."""
        enabled = [_id(each) for each in others if not _is_disabled(each)]
        with or_else(lambda: self._switch(enabled, "enable")):
            self._switch(enabled, "disable")
            ids = list(map(_id, others))
            busy = list(filter(self._is_busy, ids))
            self._remove([each for each in ids if each not in busy])
        return busy

    def _is_busy(self, id_: str) -> bool:
        """Whether one has started something that has not ended; of its runs no more than ten are so at a time."""
        asked = where(id_, "recurring_run_id")
        newest = {"sort_by": "created_at desc", "page_size": "100"}
        runs = self.place.api.get("/runs", **asked, **self.place.namespace, **newest)
        return any(each.get("state") not in ENDED for each in runs.get("runs", ()))

    def _switch(self, ids: Sequence[str], to: str) -> None:
        for each in ids:
            self.place.api.post(f"/recurringruns/{each}:{to}")

    def _remove(self, ids: Sequence[str]) -> None:
        for each in ids:
            self.place.api.delete(f"/recurringruns/{each}", propagation_policy="ORPHAN")


def _id(recurring: Mapping[str, Any]) -> str:
    return str(recurring["recurring_run_id"])


def _is_disabled(recurring: Mapping[str, Any]) -> bool:
    return recurring.get("status") == "DISABLED"
