"""The jobs of a workflow, ready to be written: one for each unit of a pipeline."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from penstock.spec import (
    Arm,
    Branch,
    ChoiceBinding,
    CollectBinding,
    Loop,
    RetrySpec,
    Settings,
    StatusBinding,
    Task,
    within,
)
from penstock_backends.github.caching import takes_from_cache
from penstock_backends.github.conditions import Rule, Rules, parallelism
from penstock_backends.github.inputs import one_line
from penstock_backends.github.names import job_id
from penstock_backends.github.options import GithubOptions, GithubStepOptions, Runner
from penstock_backends.github.text import LINE
from penstock_backends.github.triggers import events_of, meant
from penstock_backends.lowering import Program, Unit, requirements_of

LONGEST_EXPRESSION = 21_000  # characters
SETUP_MINUTES = 15  # what checking out, installing, and moving files may add to the time of the step itself
START = "start--clock"  # the job that notes when the run began; no node's job is called so
SHOW = "show--graph"  # the job that shows what became of the others
TELL = "tell--updates"  # the job that tells of data that the run updated
INDEX = "${{ matrix.index }}"
_SHELLS_OWN = ("do", "done", "esac", "fi", "then")  # shellcheck thinks that a command before one lacks its end


@dataclass(frozen=True)
class Fetch:
    """The outputs that a job downloads: by ``name`` where it is one, else by ``pattern``."""

    key: Literal["name", "pattern"]
    value: str


@dataclass(frozen=True)
class Matrix:
    """A job for each item: the list of their numbers, and how many may be under way at a time."""

    indices: str
    most: int | None


@dataclass(frozen=True)
class Job:
    """A job of the workflow.

    ``notes`` are the author's words for when it runs. ``keeps`` is how its outputs are kept: by the ``name`` that the
    program says, also where it failed; always under the job's own; or not at all. ``secrets`` are expressions by the
    variable that holds each; ``permissions`` what the job's token may do, with reasons; ``container`` and ``registry``
    belong to the image. ``key`` is the command that tells what the result depends on, where an earlier one may do.
    """

    id: str
    name: str
    notes: tuple[str, ...]
    needs: tuple[str, ...]
    condition: str
    matrix: Matrix | None
    outputs: tuple[tuple[str, str], ...]
    labels: str | tuple[str, ...]
    environment: str
    image: str
    container: str
    registry: tuple[tuple[str, str], ...]
    minutes: int
    permissions: tuple[tuple[str, str, str], ...]
    requirements: tuple[str, ...]
    fetch: Fetch | None
    env: tuple[tuple[str, str], ...]
    secrets: tuple[tuple[str, str], ...]
    python: str
    key: str
    run: str
    keeps: Literal["", "own", "said"]


def jobs_of(program: Program, options: GithubOptions, file: str) -> Iterator[Job]:
    """The jobs, in the author's order, those at the end of a run last. ``file`` is the program that they run."""
    rules = Rules(program)
    only = meant(events_of(program.pipeline))
    for unit in every_unit(program):
        rule = rules.rule(unit)
        is_first = not rule.needs and not program.pipeline.timeout
        if only and (is_first or unit.role == "on_exit"):  # all else is skipped with what it waits for
            rule = replace(rule, terms=(*rule.terms, only))
        yield _job(program, unit, rule, options, file)


def every_unit(program: Program) -> tuple[Unit, ...]:
    """The units in the order of their jobs."""
    return (*program.units, *program.rollbacks, *program.on_failure, *program.on_exit)


def _job(program: Program, unit: Unit, rule: Rule, options: GithubOptions, file: str) -> Job:
    settings = unit.task.settings
    seconds = longest(settings)
    runner, asked = options.runner(unit.task, seconds), options.step(unit.task)
    if runner is None:
        raise ValueError(f"no runner for {unit.id}")  # `limits` comes before
    id_ = job_id(unit.id)
    python = "python3" if settings.image else "python"
    matrix = _matrix(program, unit)
    bounded = bool(program.pipeline.timeout and unit.role == "main")
    return Job(
        id=id_,
        name=_name(unit, matrix),
        notes=tuple(_notes(program, unit)),
        needs=(START, *rule.needs) if bounded else rule.needs,
        condition=condition_text(rule),
        matrix=matrix,
        outputs=tuple((name, f"${{{{ steps.run.outputs.{name} }}}}") for name in _outputs(unit)),
        labels=runner.labels[0] if len(runner.labels) == 1 else runner.labels,
        environment=asked.environment,
        image=settings.image,
        container=asked.container,
        registry=_registry(options, asked),
        minutes=runner.minutes if unit.loops else _minutes(seconds, runner),
        permissions=_permissions(asked),
        requirements=requirements_of(unit.step, settings),
        fetch=_fetch(tuple(_fetched(program, unit, matrix))),
        env=tuple(_env(program, unit, rule, matrix, bounded)),
        secrets=tuple((variable, options.secret(reference)) for variable, reference in settings.secrets),
        python=python,
        key=f"{python} {file} key {_word(id_)}" if takes_from_cache(unit, options) else "",
        run=f"{python} -u {file} run {_word(id_)}",
        keeps=_keeps(program, unit),
    )


def _permissions(asked: GithubStepOptions) -> tuple[tuple[str, str, str], ...]:
    found = {"contents": ("read", "to check out the program")}
    found |= {scope: (each.access, each.reason) for scope, each in asked.permissions.items()}
    return tuple((scope, *each) for scope, each in sorted(found.items()))


def _registry(options: GithubOptions, asked: GithubStepOptions) -> tuple[tuple[str, str], ...]:
    if asked.registry is None:
        return ()
    return (("username", asked.registry.username), ("password", options.secret(asked.registry.password)))


def _word(id_: str) -> str:
    return f'"{id_}"' if id_ in _SHELLS_OWN else id_


# --- what a job is called, and when it runs ---------------------------------------------------------------------------


def _name(unit: Unit, matrix: Matrix | None) -> str:
    if matrix:
        return f"{unit.id}[{INDEX}]"
    text = getattr(unit.node, "text", "") if unit.role == "main" else ""
    return f"{unit.id}: {_short(text)}" if text else unit.id


def _short(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= LINE else f"{line[: LINE - 3]}..."


def _notes(program: Program, unit: Unit) -> Iterator[str]:
    """The conditions and loops around a unit, in the author's words."""
    if unit.role != "main":
        yield {"rollback": f"undoes {unit.node.id} where the run failed", "on_failure": "where the run failed"}.get(
            unit.role, "at the end of every run"
        )
        return
    for loop in unit.loops:
        yield f"for each of {_short(_text(program, loop))}"
    for arm in unit.arms:
        yield _arm(program, arm)


def _arm(program: Program, arm: Arm) -> str:
    return f"{'if' if arm.holds else 'unless'} {_short(_text(program, arm.branch))}"


def _text(program: Program, node: str) -> str:
    return getattr(program.by_id[node].node, "text", "") or node


def condition_text(rule: Rule) -> str:
    """The condition of a job as an expression, a term a line where it is long; empty where GitHub's own stands."""
    if not rule.terms:
        return ""
    line = " && ".join(rule.terms)
    return f"${{{{ {line if len(line) <= LINE else _lines(rule.terms)} }}}}"


def _lines(terms: Iterable[str]) -> str:
    return " &&\n".join(terms)


# --- loops ------------------------------------------------------------------------------------------------------------


def _matrix(program: Program, unit: Unit) -> Matrix | None:
    """A job for each item for what the author wrote; decisions about all items together take one job."""
    if not unit.loops or not isinstance(unit.node, Task) or unit.role != "main":
        return None
    bounds = [bound for bound in (parallelism(program, loop) for loop in unit.loops) if bound]
    told = f"needs.{job_id(unit.loops[-1])}.outputs"
    # act reads the list even for a job that is not started, and finds no list there.
    indices = f"${{{{ fromJSON({told}.count > 0 && {told}.indices || '[]') }}}}"
    return Matrix(indices, min(bounds, default=None))


def _outputs(unit: Unit) -> tuple[str, ...]:
    """What GitHub must know for the rules of later jobs."""
    if unit.role != "main":
        return ()
    if isinstance(unit.node, Branch):
        return () if unit.loops else ("holds",)
    return ("count", "indices") if isinstance(unit.node, Loop) else ()


# --- what goes in, and what comes out ---------------------------------------------------------------------------------


def _fetched(program: Program, unit: Unit, matrix: Matrix | None) -> Iterator[tuple[str, bool]]:
    """The names of the artifacts that a job takes, each with whether it is there for certain."""
    for node in sources(program, unit):
        other, name = program.by_id[node], job_id(node)
        if not other.loops:
            yield name, unit.role == "main" and not program.can_be_skipped(other)
        elif matrix and other.loops == unit.loops and isinstance(other.node, Task):
            yield from ((f"{name}.{INDEX}", False), (f"{name}.{INDEX}.*", False))
        else:
            yield f"{name}.*", False
            if not isinstance(other.node, Task):
                yield name, False
    if wants_status(unit):
        yield "*.failed", False


def _fetch(names: tuple[tuple[str, bool], ...]) -> Fetch | None:
    if not names:
        return None
    if len(names) == 1:
        name, certain = names[0]
        return Fetch("name" if certain else "pattern", name)
    return Fetch("pattern", f"{{{','.join(name for name, _ in names)}}}")


def sources(program: Program, unit: Unit) -> tuple[str, ...]:
    """The units whose outputs or states a unit's program reads; what GitHub decided needs no second look."""
    arms, awaited = by_the_program(program, unit)
    found = dict.fromkeys((*unit.loops, *(arm.branch for arm in arms), *(node for node, _ in awaited)))
    for binding in unit.bindings:
        found |= dict.fromkeys(program.of_binding(binding))
    if unit.loops and unit.role == "rollback":
        found[unit.node.id] = None
    return tuple(dict.fromkeys((*found, *(loop for node in found for loop in program.by_id[node].loops))))


def by_the_program(program: Program, unit: Unit) -> tuple[tuple[Arm, ...], tuple[tuple[str, int], ...]]:
    """The arms and the units waited for that may come out differently for each item of a loop."""
    arms = tuple(arm for arm in unit.arms if program.by_id[arm.branch].loops)
    return arms, tuple(each for each in unit.after if each[1])


def wants_status(unit: Unit) -> bool:
    """Whether a unit is told how the run went."""
    return any(isinstance(each, StatusBinding) for binding in unit.bindings for each in within(binding))


def _env(program: Program, unit: Unit, rule: Rule, matrix: Matrix | None, bounded: bool) -> Iterable[tuple[str, str]]:
    if matrix:
        yield "PENSTOCK_INDEX", INDEX
    if bounded:
        yield "PENSTOCK_STARTED", f"${{{{ needs.{START}.outputs.at }}}}"
    if unit.role != "main" or _may_lack(program, unit):
        yield "PENSTOCK_NEEDS", "${{ toJSON(needs) }}"
    if rule.lost:
        yield "PENSTOCK_LOST", " ".join(f"${{{{ {expression} && '{job}' || '' }}}}" for job, expression in rule.lost)


def _may_lack(program: Program, unit: Unit) -> bool:
    """Whether a unit's job starts though some that its program asks about may not have been started."""
    if any(program.by_id[node].loops for node in sources(program, unit) if node not in unit.loops):
        return True
    return any(
        isinstance(each, (ChoiceBinding, CollectBinding)) for binding in unit.bindings for each in within(binding)
    )


def _keeps(program: Program, unit: Unit) -> Literal["", "own", "said"]:
    told = any(wants_status(each) for each in (*program.on_failure, *program.on_exit, *program.rollbacks))
    if unit.loops or unit.task.checks or (told and unit.role == "main"):
        return "said"
    return "own" if unit.outputs else ""


# --- time -------------------------------------------------------------------------------------------------------------


def longest(settings: Settings) -> float:
    """Seconds that all attempts and the delays between them may take; 0 where no timeout bounds them."""
    if settings.timeout is None:
        return 0.0
    retry = settings.retry or RetrySpec(max_retries=0)
    most = math.inf if retry.max_delay is None else retry.max_delay
    delays = (min(retry.delay * retry.backoff**k, most) * (1 + retry.jitter) for k in range(retry.max_retries))
    return settings.timeout * (1 + retry.max_retries) + sum(delays)


def _minutes(seconds: float, runner: Runner) -> int:
    return min(math.ceil(seconds / 60) + SETUP_MINUTES, runner.minutes) if seconds else runner.minutes
