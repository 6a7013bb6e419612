"""The rows of a DAG file's tables: what each task calls, the parameters' types, the steps."""

from __future__ import annotations

import re
from typing import Any, Literal

from penstock.spec import ParameterSpec, StepSpec, Task
from penstock_backends.airflow.settings import delays, first_delay, varies
from penstock_backends.airflow.source import ascii_id, number
from penstock_backends.json_schema import holds_record, plain_default
from penstock_backends.lowering import arguments_of, kind_of, step_part


def call_row(task: Task, airflow: Literal[3, 2]) -> dict[str, Any]:
    """A row of CALLS: the step that a task calls, with what, and how."""
    settings, retry = task.settings, task.settings.retry
    row: dict[str, Any] = {"step": task.step, "arguments": _pruned(arguments_of(task))}
    if settings.env:
        row["env"] = dict(settings.env)
    if settings.timeout is not None:
        row["timeout"] = number(settings.timeout)
    if settings.packages is not None:
        row["packages"] = list(settings.packages)
    if airflow == 2 and retry is not None and varies(retry):
        row["backoff"] = {"waited": number(first_delay(retry)), **delays(retry)}
    return row


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


def xcom_key(output: str) -> str:
    """The XCom key of a named output: its name, unless that is one that means something else."""
    return ascii_id(f"{output}_" if re.fullmatch(r"(return_value|step_metrics)_*", output) else output)


def _pruned(value: Any) -> Any:
    """A binding or a type without its empty parts, which mean nothing to the harness; values are left alone."""
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
