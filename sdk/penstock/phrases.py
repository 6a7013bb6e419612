"""What stands in a spec, as its author would say it: values that come from elsewhere, types, settings."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel

from penstock.harness import StepError, decode
from penstock.spec import (
    Access,
    Arm,
    Binding,
    CheckSpec,
    ChoiceBinding,
    CollectBinding,
    DataTrigger,
    Entry,
    ItemBinding,
    LiteralBinding,
    MappingBinding,
    OperationBinding,
    Operator,
    OutputBinding,
    ParameterBinding,
    PipelineTrigger,
    PullRequestTrigger,
    PushTrigger,
    RecordBinding,
    ScheduleSpec,
    SequenceBinding,
    StatusBinding,
    TypeSpec,
)
from penstock.values import Json

NOTHING = "none"
_BINDINGS = get_args(get_args(Binding)[0])
_INFIX = {"==", "!=", "<", "<=", ">", ">=", "and", "or", "in", "not in", "is", "is not"}


def phrase(value: Any) -> str:
    """Any value of a spec, in one line."""
    if value is None or value in ("", ()):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join("=".join(map(str, each)) if isinstance(each, tuple) else phrase(each) for each in value)
    if isinstance(value, TypeSpec):
        return value.text or value.kind.value
    if isinstance(value, ScheduleSpec):
        said = [value.cron, value.timezone, value.start and f"from {value.start}", value.catch_up and "catching up"]
        return " ".join(str(each) for each in said if each)
    if isinstance(value, (PushTrigger, PullRequestTrigger, PipelineTrigger, DataTrigger)):
        given = value.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})
        return " ".join([value.kind, *(f"{name}={each}" for name, each in given.items())])
    if isinstance(value, CheckSpec):
        bounds = " and ".join(binding_text(each) for each in value.bounds)
        return " ".join(filter(None, (value.value, value.operator, bounds, value.message and f"({value.message})")))
    if isinstance(value, _BINDINGS):
        return binding_text(value)
    if isinstance(value, BaseModel):
        given = value.model_dump(mode="json", exclude_defaults=True)
        return ", ".join(f"{name}={each}" for name, each in given.items()) or NOTHING
    return " ".join(str(value).split())


def binding_text(binding: Binding) -> str:
    """A value that comes from elsewhere, much as the pipeline's Python has it."""
    if isinstance(binding, (OperationBinding, ChoiceBinding, CollectBinding)):
        return _made(binding) + _path(binding.path)
    if isinstance(binding, LiteralBinding):
        return json.dumps(binding.value, ensure_ascii=False)
    if isinstance(binding, ParameterBinding):
        return binding.name + _path(binding.path)
    if isinstance(binding, OutputBinding):
        part = "" if binding.output == "output" else f".{binding.output}"
        return binding.node + part + _path(binding.path)
    if isinstance(binding, ItemBinding):
        return f"(item of {binding.loop}){_path(binding.path)}"
    if isinstance(binding, SequenceBinding):
        items = ", ".join(map(binding_text, binding.items))
        return f"[{items}]" if binding.kind == "list" else f"({items})"
    if isinstance(binding, MappingBinding):
        return f"{{{', '.join(f'{json.dumps(key)}: {binding_text(each)}' for key, each in binding.items)}}}"
    if isinstance(binding, RecordBinding):
        return f"{binding.type.rpartition(':')[2]}({', '.join(f'{k}={binding_text(v)}' for k, v in binding.fields)})"
    assert isinstance(binding, StatusBinding)
    return "the run's status"


def value_text(wire: Json) -> str:
    """An encoded value much as Python writes it. Classes are named: importing them would run their module."""
    if isinstance(wire, list):
        return f"[{_listed(wire)}]"
    if not isinstance(wire, dict):
        return repr(wire)
    tag = next(iter(wire), "")
    body: Json = wire.get(tag)
    if tag == "$artifact":
        return f"{body['format']} {body.get('digest') or body.get('file', '')}".rstrip()
    if tag == "$tuple":
        return f"({_listed(body)}{',' if len(body) == 1 else ''})"
    if tag in ("$set", "$frozenset"):
        items = f"{{{_listed(body)}}}" if body else ""
        return items if items and tag == "$set" else f"{tag[1:]}({items})"
    if tag == "$dict":
        return f"{{{', '.join(f'{value_text(key)}: {value_text(item)}' for key, item in body)}}}"
    if tag in _OF_A_CLASS:
        return _of_a_class(tag, body[0].rpartition(":")[2], body[1])
    if tag.startswith("$"):
        return _of_python(wire)
    return f"{{{', '.join(f'{key!r}: {value_text(item)}' for key, item in wire.items())}}}"


_OF_A_CLASS = ("$enum", "$flag", "$dataclass", "$namedtuple", "$pydantic")


def _of_python(wire: Json) -> str:
    try:
        return repr(decode(wire))
    except (StepError, LookupError, ValueError):  # of a later version, or in a time zone that is not known here
        return json.dumps(wire, ensure_ascii=False)


def _of_a_class(tag: str, name: str, body: Json) -> str:
    if tag == "$enum":
        return f"{name}.{body}"
    if tag == "$flag":
        return f"{name}({body})"
    if tag == "$namedtuple":
        return f"{name}({_listed(body)})"
    fields = body["fields"] if tag == "$pydantic" else body
    return f"{name}({', '.join(f'{key}={value_text(item)}' for key, item in fields.items())})"


def _listed(wires: Iterable[Json]) -> str:
    return ", ".join(map(value_text, wires))


def _made(binding: OperationBinding | ChoiceBinding | CollectBinding) -> str:
    if isinstance(binding, ChoiceBinding):
        return f"({binding_text(binding.then)} if {binding.branch} else {binding_text(binding.otherwise)})"
    if isinstance(binding, CollectBinding):
        each = f" for each of {binding.loop}" if binding.loop else ""
        return f"[{', '.join(map(_entry, binding.entries))}{each}]"
    operands = [binding_text(each) for each in binding.operands]
    sign = binding.operator.value
    if binding.operator is Operator.IF:
        test, then, otherwise = operands
        return f"({then} if {test} else {otherwise})"
    if sign in _INFIX:
        return f"({f' {sign} '.join(operands)})"
    return f"{sign}({', '.join(operands)})"


def _entry(entry: Entry) -> str:
    return f"{'*' if entry.spread else ''}{binding_text(entry.value)}{_arms(entry.when)}"


def _arms(arms: Iterable[Arm]) -> str:
    said = " and ".join(arm.branch if arm.holds else f"not {arm.branch}" for arm in arms)
    return f" if {said}" if said else ""


def _path(path: Iterable[Access]) -> str:
    return "".join(f".{each.key}" if each.kind == "attribute" else f"[{each.key!r}]" for each in path)
