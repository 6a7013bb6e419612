"""What starts the runs of a DAG, and how many there may be, as arguments of ``DAG``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

from penstock.spec import DataTrigger, PipelineSpec
from penstock_backends.airflow.options import AirflowOptions
from penstock_backends.airflow.source import arguments, literal

# Airflow 2 starts no task without a date, though the day means nothing where there is no schedule.
ANY_DAY = dt.date(2025, 1, 1)


def start_arguments(pipeline: PipelineSpec, options: AirflowOptions) -> Iterator[str]:
    """The arguments of ``DAG`` that say when it runs.

    A schedule is a timetable, not a text: what Airflow makes of a text is a matter of its version and configuration,
    and in 2.x a run that comes one period late.
    """
    schedule = pipeline.schedule
    yield f"schedule={_schedule(pipeline, options)}"
    start = start_of(pipeline, options)
    if start is not None:
        moment = start if isinstance(start, dt.datetime) else dt.datetime.combine(start, dt.time())
        parts = [moment.year, moment.month, moment.day]
        parts += [moment.hour, moment.minute, moment.second] if isinstance(start, dt.datetime) else []
        zone = literal(schedule.timezone if schedule else "UTC")
        yield f"start_date=pendulum.datetime({', '.join(map(str, parts))}, tz={zone})"
    yield f"catchup={schedule is not None and schedule.catch_up}"
    if pipeline.concurrency is not None:
        yield f"max_active_runs={pipeline.concurrency.limit}"


def start_of(pipeline: PipelineSpec, options: AirflowOptions) -> dt.date | None:
    """The first day or moment that a schedule may run at.

    Where none was given, Airflow 3 begins with the next; with one in the past, it would make up for the last one.
    """
    schedule = pipeline.schedule
    if schedule is not None and schedule.start:
        moment = dt.datetime.fromisoformat(schedule.start)
        return moment if "T" in schedule.start else moment.date()
    return options.start_date or (ANY_DAY if options.airflow == 2 else None)


def _schedule(pipeline: PipelineSpec, options: AirflowOptions) -> str:
    schedule, data = pipeline.schedule, awaited(pipeline)
    if schedule is None:
        return _any_of(data, options) if data else "None"
    cron = f"CronTriggerTimetable({literal(schedule.cron)}, timezone={literal(schedule.timezone)})"
    if not data:
        return cron
    name = data_name(options).lower()
    given = [f"timetable={cron}", f"{name}s={_any_of(data, options)}"]
    return f"{_either(options)}{arguments(given, 4, 30)}"


def _any_of(uris: Sequence[str], options: AirflowOptions) -> str:
    """The data of which any has to change; a list would stand for all of it."""
    return " | ".join(f"{data_name(options)}({literal(uri)})" for uri in uris)


def awaited(pipeline: PipelineSpec) -> tuple[str, ...]:
    """The URIs of the data that a change of starts a run."""
    return tuple(dict.fromkeys(each.uri for each in pipeline.triggers if isinstance(each, DataTrigger)))


def outlets(pipeline: PipelineSpec, options: AirflowOptions) -> str:
    """The data that a run updates, as a list."""
    return arguments([f"{data_name(options)}({literal(uri)})" for uri in pipeline.updates], 8, 16, "[]")


def data_name(options: AirflowOptions) -> str:
    """What Airflow calls data that one DAG updates and another waits for."""
    return "Asset" if options.airflow == 3 else "Dataset"


def _either(options: AirflowOptions) -> str:
    return f"{data_name(options)}OrTimeSchedule"


def start_names(pipeline: PipelineSpec, options: AirflowOptions) -> dict[str, str]:
    """What the arguments and outlets use: names, and the modules that Airflow 2 keeps them in."""
    data, timed = awaited(pipeline), pipeline.schedule is not None
    found = {"CronTriggerTimetable": "airflow.timetables.trigger"} if timed else {}
    found |= {data_name(options): "airflow.datasets"} if data or pipeline.updates else {}
    found |= {_either(options): "airflow.timetables.datasets"} if data and timed else {}
    return found
