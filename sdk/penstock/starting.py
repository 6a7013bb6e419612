"""When pipelines run, and how many of their runs there may be, as authors write it."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from penstock.settings import text_of, texts_of, truth_of
from penstock.spec import (
    ConcurrencySpec,
    DataTrigger,
    PipelineTrigger,
    PullRequestTrigger,
    PushTrigger,
    ScheduleSpec,
    Trigger,
)

_CRON_FIELD = re.compile(r"[0-9A-Za-z*/,-]+")
_CRON_BOUNDS = (("minute", 0, 59), ("hour", 0, 23), ("day of a month", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_URI = re.compile(r"[a-z][a-z0-9+.-]*://[!-~]+")


@dataclass(frozen=True)
class Schedule:
    """When a pipeline runs by itself.

    Args:
        cron: a cron expression of five fields, such as ``"0 2 * * 1-5"``.
        timezone: the IANA time zone that it is read in.
        start: the first day, or local time, that it may run at; a date, a datetime without a zone, or either as ISO
            text. By default it is on from when it is deployed.
        catch_up: whether the runs that were missed since ``start`` are made up for, by engines that can.
    """

    cron: str
    timezone: str = "UTC"
    start: dt.date | dt.datetime | str | None = None
    catch_up: bool = False


@dataclass(frozen=True)
class Push:
    """Starts a run when commits reach the repository; for engines that belong to one.

    Args:
        branches: which branches count, as globs (``"release/**"``); all by default.
        paths: which files must have changed, one of them at least, as globs (``"models/**"``); any by default.
    """

    branches: Sequence[str] = ()
    paths: Sequence[str] = ()


@dataclass(frozen=True)
class PullRequest:
    """Starts a run when a pull request is opened or gets new commits; for engines that belong to a repository.

    Args:
        branches: which branches count that it is to be merged into, as globs; all by default.
        paths: which files must have changed, one of them at least, as globs; any by default.
    """

    branches: Sequence[str] = ()
    paths: Sequence[str] = ()


@dataclass(frozen=True)
class AfterPipeline:
    """Starts a run when a run of another pipeline, by its name, has succeeded on the same engine."""

    pipeline: str


@dataclass(frozen=True)
class DataChange:
    """Starts a run when data was updated, called by a URI (``"s3://lake/features"``); see ``updates`` of `pipeline`."""

    uri: str


@dataclass(frozen=True)
class Concurrency:
    """How many runs of a pipeline there may be at a time.

    Args:
        limit: as many.
        cancel_running: whether a further run ends the oldest of those under way, instead of waiting for it.
    """

    limit: int = 1
    cancel_running: bool = False


AnyTrigger: TypeAlias = Push | PullRequest | AfterPipeline | DataChange


def schedule_of(schedule: Any) -> ScheduleSpec | None:
    """The schedule as the spec has it; a plain text is a cron expression in UTC.

    Raises:
        ValueError: it is no schedule.
    """
    if schedule is None:
        return None
    written: Any = Schedule(schedule) if isinstance(schedule, str) else schedule
    if not isinstance(written, Schedule) or not isinstance(written.cron, str):
        message = f"a schedule is a cron expression or a `Schedule`, not {schedule!r:.60}"
        raise ValueError(message)  # noqa: TRY004  # as for every other setting that cannot be
    fields = written.cron.split()
    if len(fields) != 5 or not all(map(_CRON_FIELD.fullmatch, fields)):
        raise ValueError(f"schedule {written.cron!r} is not a cron expression of five fields, such as '0 2 * * 1-5'")
    _refuse_times_that_never_are(fields)
    zone = text_of("a schedule's `timezone`", written.timezone)
    if zone != "UTC" and not _is_zone(zone):
        raise ValueError(f"time zone {written.timezone!r} is not in the IANA database, such as 'Europe/Berlin'")
    start, catch_up = _start_of(written.start), truth_of("a schedule's `catch_up`", written.catch_up)
    if catch_up and not start:
        raise ValueError("a schedule that catches up needs a `start` to catch up from")
    return ScheduleSpec(cron=written.cron, timezone=zone, start=start, catch_up=catch_up)


def _refuse_times_that_never_are(fields: Sequence[str]) -> None:
    """Raises `ValueError` for an hour 25: engines see it only when they read the emitted file."""
    for field, (what, first, last) in zip(fields, _CRON_BOUNDS, strict=True):
        times = (time for part in field.split(",") for time in part.partition("/")[0].split("-") if time.isdecimal())
        wrong = next((time for time in times if not first <= int(time) <= last), None)
        if wrong is not None:
            raise ValueError(f"schedule {' '.join(fields)!r} says {what} {wrong}; there are {first} to {last}")


def _start_of(start: Any) -> str:
    """The start of a schedule as ISO text, a date or a local time to the second."""
    if start is None:
        return ""
    if isinstance(start, str):
        try:
            start = (
                dt.date.fromisoformat(start) if len(start) == len("2026-01-31") else dt.datetime.fromisoformat(start)
            )
        except ValueError:
            raise ValueError(f"the schedule's start {start!r} is not an ISO date, such as '2026-01-31'") from None
    if isinstance(start, dt.datetime):
        if start.tzinfo is not None:
            raise ValueError("the schedule's start is read in its `timezone`: give it without a zone of its own")
        return start.isoformat(timespec="seconds")
    if not isinstance(start, dt.date):
        message = f"the schedule's start is a date or a datetime, not {start!r}"
        raise ValueError(message)  # noqa: TRY004  # as for every other setting that cannot be
    return start.isoformat()


def triggers_of(triggers: Any) -> tuple[Trigger, ...]:
    """What starts a pipeline, as the spec has it; one may be given by itself. Raises `ValueError` for what is none."""
    several = triggers if isinstance(triggers, (list, tuple)) else (triggers,)
    return tuple(_trigger_of(each) for each in several)


def _trigger_of(trigger: Any) -> Trigger:
    if isinstance(trigger, Push):
        return PushTrigger(**_globs(trigger))
    if isinstance(trigger, PullRequest):
        return PullRequestTrigger(**_globs(trigger))
    if isinstance(trigger, AfterPipeline):
        name = getattr(trigger.pipeline, "name", trigger.pipeline)
        if not isinstance(name, str) or not name:
            raise ValueError(f"`AfterPipeline` takes the name of a pipeline, not {trigger.pipeline!r:.60}")
        return PipelineTrigger(pipeline=name)
    if isinstance(trigger, DataChange):
        return DataTrigger(uri=_uri(trigger.uri))
    raise ValueError(
        f"`triggers` takes `Push`, `PullRequest`, `AfterPipeline` and `DataChange`, not {trigger!r:.60}"
        + ("; a cron expression is a `schedule`" if isinstance(trigger, (str, Schedule)) else "")
    )


def _globs(trigger: Push | PullRequest) -> dict[str, tuple[str, ...]]:
    return {name: texts_of(name, getattr(trigger, name)) for name in ("branches", "paths")}


def updates_of(uris: Any) -> tuple[str, ...]:
    """The URIs of the data that a pipeline updates, one or several. Raises `ValueError` for what is none."""
    several = uris if isinstance(uris, (list, tuple)) else (uris,)
    return tuple(dict.fromkeys(map(_uri, several)))


def _uri(given: Any) -> str:
    if not isinstance(given, str) or not _URI.fullmatch(given):
        raise ValueError(f"data is called by a URI such as 's3://lake/features', not {given!r:.60}")
    return given


def refuse_endless_starts(name: str, triggers: Sequence[Trigger], updates: Sequence[str]) -> None:
    """Raises `ValueError` where each run of the pipeline of this name would start the next one."""
    for each in triggers:
        if isinstance(each, DataTrigger) and each.uri in updates:
            raise ValueError(f"a run updates `{each.uri}` and is started by that: each would start the next one")
        if isinstance(each, PipelineTrigger) and each.pipeline == name:
            raise ValueError(f"`{name}` is started after itself: each run would start the next one")


def concurrency_of(given: Any) -> ConcurrencySpec | None:
    """The bound on runs at a time, as the spec has it. Raises `ValueError` for what is none."""
    if given is None:
        return None
    limit = getattr(given, "limit", given)
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise ValueError(f"`concurrency` is a number of runs from 1 on, or a `Concurrency`, not {given!r:.60}")
    ends = truth_of("`cancel_running`", getattr(given, "cancel_running", False))
    return ConcurrencySpec(limit=limit, cancel_running=ends)


def _is_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return False
    return True
