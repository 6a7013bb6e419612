"""Which metrics and outputs a gate on a step may name, as far as that is known when the pipeline is defined."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penstock.capture import Captured
from penstock.requirements import needs
from penstock.spec import OutputSpec, TypeKind, TypeSpec

_PLAIN: dict[TypeKind, type] = {
    TypeKind.NONE: type(None),
    TypeKind.BOOL: bool,
    TypeKind.INT: int,
    TypeKind.FLOAT: float,
    TypeKind.STR: str,
    TypeKind.BYTES: bytes,
    TypeKind.LIST: list,
    TypeKind.TUPLE: tuple,
    TypeKind.SET: set,
    TypeKind.FROZENSET: frozenset,
}
_RECORDS = (TypeKind.DATACLASS, TypeKind.NAMEDTUPLE)
Classes = Callable[[str], "type | None"]
"""Gives a class by its name in types."""


def other_names(name: str, outputs: Sequence[OutputSpec], class_of: Classes) -> tuple[str, ...] | None:
    """The names that there are, where one is no output and no part of one; None where it may be."""
    known = {each.name: each.type for each in outputs}
    first, *rest = name.split(".")
    if first in known:
        found = _parts_instead(known[first], rest, class_of, f"{first}.")
    elif list(known) == ["output"]:
        found = _parts_instead(known["output"], [first, *rest], class_of, "")
    else:
        found = ()
    return None if found is None else (*found, *known)


def _parts_instead(type_: TypeSpec, path: Sequence[str], class_of: Classes, prefix: str) -> tuple[str, ...] | None:
    """The parts that there are of values of a type, where ``path`` leads to none; None where it may."""
    if not path:
        return None
    fields = {field.name: field.type for field in type_.fields}
    if path[0] in fields:
        return _parts_instead(fields[path[0]], path[1:], class_of, f"{prefix}{path[0]}.")
    return None if _may_have(type_, path[0], class_of) else tuple(f"{prefix}{field}" for field in fields)


def _may_have(type_: TypeSpec, part: str, class_of: Classes) -> bool:
    """Whether values of a type may have a part that is no field: as a property of its class, or an item."""
    if type_.kind is TypeKind.TYPEDDICT:
        return False
    cls = class_of(type_.name) if type_.kind in _RECORDS else _PLAIN.get(type_.kind)
    return cls is None or hasattr(cls, part)


def may_log_metrics(captured: Captured) -> bool:
    """Whether a step's program, or a library that it imports, may call `log_metric`."""
    sources = (statement.source for module in captured.modules for statement in module.statements)
    if any("log_metric" in source for source in sources):
        return True
    return any(needs(each.partition("==")[0], "penstock") for each in captured.requirements)
