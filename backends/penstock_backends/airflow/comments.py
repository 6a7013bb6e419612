"""How a task's call is told to a reader of the DAG file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from penstock.spec import (
    Access,
    Arm,
    Binding,
    Branch,
    ChoiceBinding,
    CollectBinding,
    Gate,
    ItemBinding,
    LiteralBinding,
    Loop,
    MappingBinding,
    OperationBinding,
    OutputBinding,
    ParameterBinding,
    RecordBinding,
    SequenceBinding,
    Task,
)
from penstock_backends.airflow.references import is_whole, node_of
from penstock_backends.airflow.source import WIDTH, in_one_line, one_line
from penstock_backends.lowering import Program, Unit
from penstock_backends.rendering import left_out

INDENT = 10  # of the comment, its mark included
LINES = 4  # more of a condition than a person reads at a glance; a constant may be as long as a table


def said_unit(program: Program, unit: Unit) -> Iterator[str]:
    """What the DAG's own call does not tell of a unit: when it runs, and what it calls, as the author wrote it."""
    if unit.arms and unit.role == "main":
        yield from wrapped(f"runs if {' and '.join(said_arm(program, arm) for arm in unit.arms)}", INDENT)
    if unit.role == "rollback":
        yield from wrapped(f"undoes {unit.node.id}", INDENT)
    yield from wrapped(_said_node(unit), INDENT)
    yield from filter(None, (left_out(unit.task),))


def said_arm(program: Program, arm: Arm) -> str:
    """The condition under which an arm runs."""
    node = program.by_id[arm.branch].node
    text = node.text if isinstance(node, Branch) and node.text else arm.branch
    return one_line(text if arm.holds else f"not ({text})")


def said_loops(program: Program, loops: Sequence[str]) -> str:
    """What a mapped task group runs for."""
    nodes = (program.by_id[loop].node for loop in loops)
    texts = (node.text if isinstance(node, Loop) and node.text else node.id for node in nodes)
    return one_line(f"once for each item of {', for each of '.join(texts)}")


def _said_node(unit: Unit) -> str:
    node = unit.node
    if isinstance(node, Branch):
        return f"if {node.text}" if node.text else ""
    if isinstance(node, Loop):
        return f"for each of {node.text}" if node.text else ""
    if isinstance(node, Gate):
        return f"assert {node.text}" if node.text else ""
    return _said_call(unit.task)


def _said_call(task: Task) -> str:
    if all(_is_told(binding) for _, binding in task.inputs):
        return ""
    function = task.step.partition(":")[2]
    return f"{function}({', '.join(f'{name}={_said(binding)}' for name, binding in task.inputs)})"


def wrapped(text: str, indent: int) -> list[str]:
    """A comment's lines, whose text begins ``indent`` columns in; of a very long one the first lines."""
    width = WIDTH - indent
    return textwrap.wrap(
        one_line(text), width, subsequent_indent="  ", break_on_hyphens=False, max_lines=LINES, placeholder=" ..."
    )


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
    if isinstance(binding, ParameterBinding):
        return f"params.{binding.name}{_said_path(binding.path)}"
    if isinstance(binding, OutputBinding):
        start = binding.node if binding.output == "output" else f"{binding.node}.{binding.output}"
        return start + _said_path(binding.path)
    if isinstance(binding, SequenceBinding):
        inner = ", ".join(map(_said, binding.items))
        return f"[{inner}]" if binding.kind == "list" else f"({inner})"
    if isinstance(binding, MappingBinding):
        return "{" + ", ".join(f"{in_one_line(key)}: {_said(item)}" for key, item in binding.items) + "}"
    if isinstance(binding, RecordBinding):
        inner = ", ".join(f"{name}={_said(item)}" for name, item in binding.fields)
        return f"{binding.type.rpartition(':')[2]}({inner})"
    return _said_structure(binding)


def _said_structure(binding: Binding) -> str:
    if isinstance(binding, ItemBinding):
        return f"item of {binding.loop}{_said_path(binding.path)}"
    if isinstance(binding, OperationBinding):
        return _said_operation(binding) + _said_path(binding.path)
    if isinstance(binding, ChoiceBinding):
        then, otherwise = _said(binding.then), _said(binding.otherwise)
        return f"({then} if {binding.branch} else {otherwise}){_said_path(binding.path)}"
    if isinstance(binding, CollectBinding):
        inner = ", ".join(f"*{_said(each.value)}" if each.spread else _said(each.value) for each in binding.entries)
        each_of = f" for each of {binding.loop}" if binding.loop else ""
        return f"[{inner}{each_of}]{_said_path(binding.path)}"
    return "how the run went"


def _said_operation(binding: OperationBinding) -> str:
    operands, name = [_said(each) for each in binding.operands], binding.operator.value
    between = len(operands) == 2 and (not name.isidentifier() or name in ("and", "or", "in", "is"))
    return f"({f' {name} '.join(operands)})" if between else f"{name}({', '.join(operands)})"


def _said_path(path: Sequence[Access]) -> str:
    return "".join(
        f".{access.key}" if access.kind == "attribute" else f"[{in_one_line(access.key)}]" for access in path
    )
