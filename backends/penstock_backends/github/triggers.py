"""What starts a workflow apart from a person, which of those runs are meant, and how many there may be at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from penstock.diagnostics import Diagnostic
from penstock.spec import (
    DataTrigger,
    PipelineSpec,
    PipelineTrigger,
    PullRequestTrigger,
    PushTrigger,
    location_of,
)
from penstock_backends.github.cron import cron_problem
from penstock_backends.github.inputs import one_line
from penstock_backends.unattended import lacking_values

LONGEST_EVENT = 100  # characters of the name of an event that is sent to a repository

# The end of another workflow's run starts one whatever it came to; and a pull request is no more than a proposal.
MEANT = (
    "(github.event_name != 'workflow_run' || github.event.workflow_run.conclusion == 'success' "
    "&& github.event.workflow_run.event != 'pull_request')"
)


@dataclass(frozen=True)
class Filter:
    """Which branches and which changed files start a run, as globs; any, where there are none."""

    branches: tuple[str, ...]
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Events:
    """The events that start a workflow: ``pipelines`` are names of workflows, ``data`` those of events sent to it."""

    push: Filter | None
    pull_request: Filter | None
    pipelines: tuple[str, ...]
    data: tuple[str, ...]


def events_of(pipeline: PipelineSpec) -> Events:
    """The events for a pipeline's triggers."""
    pushes = _filters(pipeline, PushTrigger)
    pull_requests = _filters(pipeline, PullRequestTrigger)
    push = _together(pushes) if pushes else None
    if push is not None and not push.branches:
        push = Filter(("**",), push.paths)  # without a filter of branches, tags would start it, too
    return Events(
        push,
        _together(pull_requests) if pull_requests else None,
        _distinct(one_line(each.pipeline) for each in pipeline.triggers if isinstance(each, PipelineTrigger)),
        _data(pipeline),
    )


def meant(events: Events) -> str:
    """What must hold for a run to do anything; empty where each run is meant."""
    return MEANT if events.pipelines else ""


def group(pipeline: PipelineSpec, events: Events) -> str:
    """The concurrency group of a run; those that are not meant have one each, and so disturb no other."""
    if pipeline.concurrency is None:
        return "${{ github.workflow }}-${{ github.run_id }}"
    apart = f"${{{{ !{meant(events)} && format('-{{0}}', github.run_id) || '' }}}}" if meant(events) else ""
    return f"${{{{ github.workflow }}}}{apart}"


def limits_of_triggers(pipeline: PipelineSpec) -> Iterator[Diagnostic]:
    """What of a pipeline's starts GitHub would not take, or would leave out in silence."""
    where = location_of(pipeline.span)
    if pipeline.schedule is not None and (problem := cron_problem(pipeline.schedule.cron)):
        message = f"the schedule `{pipeline.schedule.cron}` of `{pipeline.name}`: {problem}"
        yield Diagnostic("P545", message, where, "write it as GitHub takes it, or start the workflow by other means")
    yield from lacking_values(pipeline)
    for kind, said in ((PushTrigger, "pushes"), (PullRequestTrigger, "pull requests")):
        for problem, fix in _problems_of(_filters(pipeline, kind), said):
            yield Diagnostic("P547", f"`{pipeline.name}`: {problem}", where, fix)
    for uri in dict.fromkeys((*_data(pipeline), *pipeline.updates)):
        if len(uri) > LONGEST_EVENT or "${{" in uri:
            message = f"`{uri}` cannot be the name of an event: GitHub takes {LONGEST_EVENT} characters, and no `${{{{`"
            yield Diagnostic("P547", f"`{pipeline.name}`: {message}", where, "call the data by a shorter URI")


def _problems_of(filters: Sequence[Filter], said: str) -> Iterator[tuple[str, str]]:
    for patterns in {each for one in filters for each in (one.branches, one.paths)}:
        if patterns and all(each.startswith("!") for each in patterns):
            yield f"{_listed(patterns)} lets no {said} through", "begin with what counts, such as '**'"
        for pattern in patterns:
            if not pattern.isprintable() or not pattern.strip("! ") or "${{" in pattern:
                yield f"{pattern!r} is no glob", "leave it out"
    if filters and _merged(filters) is None:
        problem = f"its triggers by {said} differ in branches and in paths, and GitHub takes one of each"
        yield problem, "give all of them the same branches, or the same paths, none of them with a `!`"


def _filters(pipeline: PipelineSpec, kind: type[PushTrigger | PullRequestTrigger]) -> tuple[Filter, ...]:
    return tuple(
        dict.fromkeys(Filter(each.branches, each.paths) for each in pipeline.triggers if isinstance(each, kind))
    )


def _data(pipeline: PipelineSpec) -> tuple[str, ...]:
    return _distinct(each.uri for each in pipeline.triggers if isinstance(each, DataTrigger))


def _together(filters: Sequence[Filter]) -> Filter:
    merged = _merged(filters)
    if merged is None:
        raise ValueError("several triggers that are not one")  # `limits_of_triggers` comes before
    return merged


def _merged(filters: Sequence[Filter]) -> Filter | None:
    """What lets through what any of several does; None where GitHub has none such."""
    if len(filters) == 1:
        return filters[0]
    branches, paths = [each.branches for each in filters], [each.paths for each in filters]
    if Filter((), ()) in filters:
        return Filter((), ())
    if any(pattern.startswith("!") for patterns in (*branches, *paths) for pattern in patterns):
        return None
    if len(set(branches)) == 1:
        return Filter(branches[0], _union(paths))
    return Filter(_union(branches), paths[0]) if len(set(paths)) == 1 else None


def _union(several: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return () if () in several else _distinct(pattern for patterns in several for pattern in patterns)


def _distinct(texts: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _listed(patterns: Sequence[str]) -> str:
    return ", ".join(f"`{each}`" for each in patterns)
