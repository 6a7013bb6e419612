"""How a task's call is told to a reader of the DAG file."""

from __future__ import annotations

from penstock.spec import (
    Binding,
    LiteralBinding,
    MappingBinding,
    OutputBinding,
    ParameterBinding,
    RecordBinding,
    SequenceBinding,
    Task,
)
from penstock_backends.airflow.references import is_whole, node_of
from penstock_backends.airflow.source import WIDTH, in_one_line

INDENT = 10  # of the comment, its mark included


def said_call(task: Task) -> str:
    """The call as the author wrote it, where the DAG's own call does not tell."""
    if all(_is_told(binding) for _, binding in task.inputs):
        return ""
    function = task.step.partition(":")[2]
    said = f"{function}({', '.join(f'{name}={_said(binding)}' for name, binding in task.inputs)})"
    return said if len(said) <= WIDTH - INDENT else f"{said[: WIDTH - INDENT - 3]}..."


def _is_told(binding: Binding) -> bool:
    if isinstance(binding, SequenceBinding):
        return binding.kind == "list" and all(
            _is_told(item) and not isinstance(item, SequenceBinding) for item in binding.items
        )
    return is_whole(binding) or (isinstance(binding, (ParameterBinding, OutputBinding)) and not binding.path)


def _said(binding: Binding) -> str:
    if isinstance(binding, LiteralBinding):
        return in_one_line(binding.value)
    if isinstance(binding, RecordBinding) and is_whole(binding):
        return node_of(binding)
    if isinstance(binding, (ParameterBinding, OutputBinding)):
        return _said_reference(binding)
    if isinstance(binding, SequenceBinding):
        inner = ", ".join(map(_said, binding.items))
        return f"[{inner}]" if binding.kind == "list" else f"({inner})"
    if isinstance(binding, MappingBinding):
        return "{" + ", ".join(f"{in_one_line(key)}: {_said(item)}" for key, item in binding.items) + "}"
    inner = ", ".join(f"{name}={_said(item)}" for name, item in binding.fields)
    return f"{binding.type.rpartition(':')[2]}({inner})"


def _said_reference(binding: ParameterBinding | OutputBinding) -> str:
    if isinstance(binding, ParameterBinding):
        start = f"params.{binding.name}"
    else:
        start = binding.node if binding.output == "output" else f"{binding.node}.{binding.output}"
    return start + "".join(
        f".{access.key}" if access.kind == "attribute" else f"[{in_one_line(access.key)}]" for access in binding.path
    )
