"""A pipeline's schedule as Kubeflow keeps it: as a recurring run, apart from the pipeline.

Kubeflow reads cron expressions of six fields, the first of them seconds (it takes five as well, and reads the minutes
as seconds), in one time zone for the whole installation. Sunday is 0 alone.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Iterator
from typing import Any

from penstock.diagnostics import Diagnostic
from penstock.spec import PipelineSpec, ScheduleSpec, location_of
from penstock_backends.kubeflow.options import KubeflowOptions
from penstock_backends.unattended import lacking_values

MOST_AT_A_TIME = 10  # what a recurring run takes at most


def impossible_schedule(pipeline: PipelineSpec, options: KubeflowOptions) -> Iterator[Diagnostic]:
    """That the cluster would read the schedule in another zone than its author, or that its runs would lack a value."""
    schedule, where = pipeline.schedule, location_of(pipeline.span)
    if schedule is None:
        return
    if schedule.timezone != options.schedule_timezone:
        read = f"this Kubeflow reads all schedules in {options.schedule_timezone}"
        yield Diagnostic(
            "P524",
            f"the schedule `{schedule.cron}` is in {schedule.timezone}, and {read}",
            where,
            "write it in that zone; or, if CRON_SCHEDULE_TIMEZONE of the cluster says another one, give that as the "
            "option `schedule_timezone`",
        )
    yield from lacking_values(pipeline)


def kept_schedule(pipeline: PipelineSpec) -> dict[str, Any] | None:
    """What a recurring run is made from, as it is kept with each version; None for a pipeline without a schedule."""
    if pipeline.schedule is None:
        return None
    bound = pipeline.concurrency.limit if pipeline.concurrency else MOST_AT_A_TIME
    kept = {
        "cron": six_fields(pipeline.schedule.cron),
        "at a time": min(bound, MOST_AT_A_TIME),
        "from": _start(pipeline.schedule),
        "catching up": pipeline.schedule.catch_up,
    }
    return {name: value for name, value in kept.items() if value}


def trigger(kept: dict[str, Any], *, replaces: bool, now: dt.datetime) -> dict[str, Any]:
    """The part of a recurring run that says when.

    Where it ``replaces`` another one it begins now, for that one has done what was to be done before; without catching
    up, a start that is over is none, because Kubeflow would make up for the last run before it.
    """
    start = dt.datetime.fromisoformat(kept["from"]) if "from" in kept else None
    if start is not None and start <= now and (replaces or not kept.get("catching up")):
        start = now if kept.get("catching up") else None
    given = {"start_time": start.astimezone(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")} if start else {}
    return {"cron_schedule": {"cron": kept["cron"], **given}}


def six_fields(cron: str) -> str:
    """A cron expression of five fields as Kubeflow reads it."""
    *fields, weekday = cron.split()
    return " ".join(("0", *fields, ",".join(map(_without_seven, weekday.split(",")))))


def _without_seven(part: str) -> str:
    """A part of the days of the week in which Sunday is 0."""
    days, _, step = part.partition("/")
    first, _, last = days.partition("-")
    if "7" not in (first, last):
        return part
    if not last:
        return "0"
    if not first.isdigit():
        return f"{first}-6,0"
    return ",".join(str(day % 7) for day in range(int(first), 8, int(step or 1)))


def _start(schedule: ScheduleSpec) -> str:
    """When it begins, with its zone; empty for none."""
    if not schedule.start:
        return ""
    local = dt.datetime.fromisoformat(schedule.start)
    return local.replace(tzinfo=zoneinfo.ZoneInfo(schedule.timezone)).isoformat()
