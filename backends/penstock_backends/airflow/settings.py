"""A task's settings as Airflow's own arguments."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.spec import Loop, RetrySpec
from penstock_backends.airflow.layout import Layout
from penstock_backends.airflow.options import AirflowOptions
from penstock_backends.airflow.source import literal, number, timedelta
from penstock_backends.caching import may_be_reused
from penstock_backends.lowering import Program, Unit

SETUP_SECONDS = 600.0
"""What installing an environment, starting a pod, or copying files may take beyond an attempt's timeout."""


def varies(retry: RetrySpec | None) -> bool:
    """Whether its delays differ, which Airflow's own settings can't say exactly."""
    return retry is not None and retry.max_retries > 0 and longest_delay(retry) != first_delay(retry)


def first_delay(retry: RetrySpec) -> float:
    """The shortest of the delays, in seconds."""
    return retry.delay if retry.max_delay is None else min(retry.delay, retry.max_delay)


def longest_delay(retry: RetrySpec) -> float:
    """The longest that any of the delays can be, in seconds."""
    last = retry.delay * retry.backoff ** max(0, retry.max_retries - 1)
    return (last if retry.max_delay is None else min(last, retry.max_delay)) * (1 + retry.jitter)


def delays(retry: RetrySpec) -> dict[str, float]:
    """What the emitted code computes the delays from; what is not said has no effect."""
    given: dict[str, float] = {"delay": number(retry.delay)}
    given |= {"factor": number(retry.backoff)} if retry.backoff != 1 else {}
    given |= {"longest": number(retry.max_delay)} if retry.max_delay is not None else {}
    return given | ({"jitter": number(retry.jitter)} if retry.jitter else {})


def task_options(layout: Layout, unit: Unit, options: AirflowOptions) -> Iterator[str]:
    """The arguments of ``@task`` that say when, how often, before whom and how long it runs."""
    settings, retry = unit.task.settings, unit.task.settings.retry
    rule, queue, airflow = layout.rule(unit), options.step(unit).queue, options.airflow
    if rule:
        yield f"trigger_rule={literal(rule)}"
    at_once = _at_once(layout.program, unit)
    if at_once is not None:
        yield f"max_active_tis_per_dagrun={at_once}"
    if retry is not None and retry.max_retries:
        yield f"retries={retry.max_retries}"
        yield f"retry_delay={timedelta(first_delay(retry))}"
        if airflow == 3 and varies(retry):
            given = {"retries": retry.max_retries, **delays(retry)}
            yield f"retry_policy=Backoff({', '.join(f'{name}={value!r}' for name, value in given.items())})"
    if queue:
        yield f"queue={literal(queue)}"
    for pool, slots in settings.quotas:
        yield f"pool={literal(pool)}"
        if slots > 1:
            yield f"pool_slots={slots}"
    if settings.priority:
        yield f"priority_weight={settings.priority}"
    if settings.timeout is not None:
        yield f"execution_timeout={timedelta(settings.timeout + overhead(unit, options))}"


def _at_once(program: Program, unit: Unit) -> int | None:
    """How many instances of a unit may run at a time, where that is bounded; what is rolled back is so in order."""
    if unit.loops and unit.role != "main":
        return 1
    nodes = (program.by_id[loop].node for loop in unit.loops)
    bounds = [node.parallelism for node in nodes if isinstance(node, Loop) and node.parallelism is not None]
    return min(bounds, default=None)


def takes_over(unit: Unit, options: AirflowOptions) -> bool:
    """Whether a unit takes over an earlier result where there is one."""
    return options.cache and may_be_reused(unit)


def installed(unit: Unit, options: AirflowOptions) -> tuple[str, ...] | None:
    """What is installed for a unit alone; None where it makes do with what is there."""
    given = unit.task.settings.packages
    return unit.step.requirements if given is None and options.step(unit).isolation == "virtualenv" else given


def overhead(unit: Unit, options: AirflowOptions) -> float:
    """Seconds that a task may take around its attempt, whose own timeout the attempt's process keeps."""
    is_started_late = installed(unit, options) is not None or options.step(unit).is_pod
    copies = takes_over(unit, options) or options.is_in_store
    seconds = SETUP_SECONDS if is_started_late or copies else 0.0
    retry = unit.task.settings.retry
    if options.airflow == 2 and retry is not None and varies(retry):
        seconds += longest_delay(retry) - first_delay(retry)
    return seconds
