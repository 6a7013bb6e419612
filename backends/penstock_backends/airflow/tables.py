"""The rows of a DAG file's tables: what each task calls, the parameters' types, the steps."""

from __future__ import annotations

import re
from typing import Any

from penstock.spec import ITEMS, ParameterSpec, StepSpec
from penstock_backends.airflow.layout import Layout
from penstock_backends.airflow.options import AirflowOptions, AirflowStepOptions
from penstock_backends.airflow.settings import delays, first_delay, installed, takes_over, varies
from penstock_backends.airflow.source import ascii_id, number
from penstock_backends.caching import code_key, shared_loops
from penstock_backends.json_schema import holds_record, plain_default
from penstock_backends.lowering import Unit, arguments_of, kind_of, outputs_of, standing_of, step_part


def task_id(node: str) -> str:
    """A node's id, or where Airflow does not take that, one like it."""
    return ".".join(map(ascii_id, node.split(".")))


def call_row(layout: Layout, unit: Unit, options: AirflowOptions) -> dict[str, Any]:
    """A row of CALLS: the step that a task calls, with what, and how; then where it stands among the others."""
    settings, retry, chosen = unit.task.settings, unit.task.settings.retry, options.step(unit)
    row: dict[str, Any] = {"step": unit.task.step, "arguments": arguments_of(unit.task)}
    if settings.env:
        row["env"] = dict(settings.env)
    if settings.secrets:
        row["secrets"] = dict(settings.secrets)
    if settings.timeout is not None:
        row["timeout"] = number(settings.timeout)
    packages = installed(unit, options)
    if packages is not None:
        row["packages"] = list(packages)
    if chosen.isolation == "external_python":
        row["python"] = chosen.python
    if chosen.is_pod:
        row["pod"] = True
    if options.airflow == 2 and retry is not None and varies(retry):
        row["backoff"] = {"waited": number(first_delay(retry)), **delays(retry)}
    if takes_over(unit, options):
        row["code"] = code_key(layout.program.pipeline, unit, _place(chosen, options))
        row |= {name: value for name, value in {"shared": shared_loops(layout.program, unit)}.items() if value}
    return {**row, **_standing_row(layout, unit)}


def _place(chosen: AirflowStepOptions, options: AirflowOptions) -> str:
    """Where a step's process runs, as far as its result may depend on that; its Python's version is seen there."""
    return options.base_image if chosen.is_pod else f"{chosen.isolation} {chosen.python}".strip()


def _standing_row(layout: Layout, unit: Unit) -> dict[str, Any]:
    found: dict[str, Any] = {
        "outputs": outputs_of(unit) if unit.step.id == ITEMS else [],
        **standing_of(layout.program, unit),
        "loops": list(unit.loops),
        "over": task_id(layout.over(unit)),
        "pulls": list(layout.pulled(unit)),
        "waits": list(layout.program.waits_for(unit)) if layout.rule(unit) == "all_done" else [],
        "role": unit.role if unit.role != "main" else "",
        "undoes": unit.node.id if unit.role == "rollback" else "",
        "task": task_id(unit.id) if task_id(unit.id) != unit.id else "",
    }
    return {name: value for name, value in found.items() if value}


def parameter_row(parameter: ParameterSpec) -> dict[str, Any]:
    """A row of PARAMETERS: the type, and of a default that plain JSON makes by calling a class, the value as it was."""
    row: dict[str, Any] = {"type": _without_texts(_pruned(kind_of(parameter.type)))}
    if not parameter.required and holds_record(parameter.type):
        row |= {"default": plain_default(parameter), "exact": parameter.default}
    return row


def step_row(step: StepSpec) -> dict[str, Any]:
    """A row of STEPS: what is the same for every call of a step."""
    row = {key: value for key, value in step_part(step).items() if key != "function"}
    row["returns"] = _pruned(row["returns"])
    if step.requirements:
        row["requirements"] = list(step.requirements)
    return row


def renamed_row(step: StepSpec) -> dict[str, str]:
    """A row of XCOM_KEYS: the step's outputs whose XCom is not called as they are."""
    keys = {output.name: xcom_key(output.name) for output in step.outputs if has_names(step)}
    return {name: key for name, key in keys.items() if name != key}


def has_names(step: StepSpec) -> bool:
    """Whether each output of a step is an XCom of its own."""
    return step.returns.kind in ("tuple", "namedtuple", "dataclass")


# XComs that Airflow, or the emitted code, has a meaning for.
_OWN_KEYS = re.compile(r"(return_value|gates|step_metrics|step_metadata|step_error|step_state)_*")


def xcom_key(output: str) -> str:
    """The XCom key of a named output: its name, unless that is one that means something else."""
    return ascii_id(f"{output}_" if _OWN_KEYS.fullmatch(output) else output)


def _pruned(value: Any) -> Any:
    """A type without its empty parts, which mean nothing to the harness; values are left alone."""
    if isinstance(value, list):
        return [_pruned(item) for item in value]
    if not isinstance(value, dict) or value.get("kind") == "literal":
        return value
    empty: tuple[object, ...] = ("", [], {})
    return {key: _pruned(item) for key, item in value.items() if item not in empty or key == "items"}


def _without_texts(kind: Any) -> Any:
    """A type without its name for people where that says no more than its kind."""
    if isinstance(kind, list):
        return [_without_texts(each) for each in kind]
    if not isinstance(kind, dict):
        return kind
    named = {key: each for key, each in kind.items() if key != "text" or each != kind.get("kind")}
    return {key: each if key == "values" else _without_texts(each) for key, each in named.items()}
