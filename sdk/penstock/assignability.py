"""Whether a value of one type may go where another is expected.

An edge copies its value, so containers are covariant: a ``list[int]`` may go to a ``list[float]``. Nothing here imports
a class; a class is its name and the names of its bases. Labels and serializers never matter.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import os
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from penstock.harness import type_name
from penstock.spec import (
    Binding,
    ChoiceBinding,
    Encoded,
    LiteralBinding,
    OperationBinding,
    Operator,
    TypeKind,
    TypeSpec,
)
from penstock.values import decode, encode

_CLASS_NAMES: Final = {
    TypeKind.NONE: "builtins:NoneType",
    TypeKind.BOOL: "builtins:bool",
    TypeKind.INT: "builtins:int",
    TypeKind.FLOAT: "builtins:float",
    TypeKind.STR: "builtins:str",
    TypeKind.BYTES: "builtins:bytes",
    TypeKind.DATETIME: "datetime:datetime",
    TypeKind.DATE: "datetime:date",
    TypeKind.TIME: "datetime:time",
    TypeKind.TIMEDELTA: "datetime:timedelta",
    TypeKind.DECIMAL: "decimal:Decimal",
    TypeKind.UUID: "uuid:UUID",
    TypeKind.LIST: "builtins:list",
    TypeKind.TUPLE: "builtins:tuple",
    TypeKind.SET: "builtins:set",
    TypeKind.FROZENSET: "builtins:frozenset",
    TypeKind.DICT: "builtins:dict",
}
# What may also stand where a class is expected, in the order in which it widens (PEP 484's numeric tower, `datetime`).
_WIDENING: Final = (
    ("builtins:bool", "builtins:int"),
    ("builtins:int", "builtins:float"),
    ("builtins:float", "builtins:complex"),
    ("datetime:datetime", "datetime:date"),
)
_ITEM_NAMES: Final = {
    TypeKind.LIST: ("items",),
    TypeKind.SET: ("items",),
    TypeKind.FROZENSET: ("items",),
    TypeKind.DICT: ("keys", "values"),
}
_RECORDS: Final = (TypeKind.DATACLASS, TypeKind.NAMEDTUPLE, TypeKind.PYDANTIC)
_LITERAL_KINDS: Final = {
    type(None): TypeKind.NONE,
    bool: TypeKind.BOOL,
    int: TypeKind.INT,
    str: TypeKind.STR,
    bytes: TypeKind.BYTES,
}


def is_assignable(source: TypeSpec, target: TypeSpec) -> bool:
    """Whether every value of ``source`` may be given where ``target`` is expected."""
    return _difference(source, target) is None


def why_not(source: TypeSpec, target: TypeSpec) -> str:
    """The innermost reason in words, such as ``list[str] is not list[int]: items are str, not int``; empty if none."""
    difference = _difference(source, target)
    if difference is None:
        return ""
    detail = difference.sentence()
    return f"{_contrast(source, target, ' is not ')}{': ' if detail else ''}{detail}"


def accepts(target: TypeSpec, value: object, name_of: Callable[[type], str] = type_name) -> str:
    """Why a value is not of a type, such as ``[1, 'x'] is not list[int]: item 1 is 'x', not int``; empty if it is.

    Looks at every item of a container and every field of a record. ``name_of`` gives a class's ``module:qualname``, as
    it did when ``target`` was read.
    """
    misfit = _Check(name_of).misfit(target, value)
    if misfit is None:
        return ""
    head = f"{_short(value)} is not {target.text}"
    return f"{head}: {' of '.join(reversed(misfit.path))} {misfit.reason}" if misfit.path else f"{head}{misfit.extra}"


# --- types against types ---


@dataclass(frozen=True)
class _Difference:
    """Where two types part (outermost first) and how: ``verb`` and ``rest``; both empty where the types say it all."""

    path: tuple[str, ...] = ()
    verb: str = "be"
    rest: str = ""

    def within(self, part: str) -> _Difference:
        return dataclasses.replace(self, path=(part, *self.path))

    def sentence(self) -> str:
        if not self.path:
            return f"it {_conjugated(self.verb, plural=False)} {self.rest}" if self.verb != "be" else ""
        plural = self.path[-1] in ("items", "keys", "values")
        return f"{' of '.join(reversed(self.path))} {_conjugated(self.verb, plural)} {self.rest}"


def _conjugated(verb: str, plural: bool) -> str:
    return {"be": ("is", "are"), "have": ("has", "have")}.get(verb, (verb, verb))[plural]


def _difference(  # noqa: C901, PLR0912  # one line for each rule, in the order in which they apply
    source: TypeSpec, target: TypeSpec
) -> _Difference | None:
    if TypeKind.ANY in (source.kind, target.kind) or target.name == "builtins:object":
        return None
    if source.kind is TypeKind.UNION:
        return _difference_of_any(source.args, target)
    if source.kind is TypeKind.LITERAL and len(source.values) > 1:
        return _difference_of_any(map(_literal, source.values), target)
    if target.kind is TypeKind.UNION:
        return _difference_from_union(source, target)
    if target.kind is TypeKind.LITERAL:
        return _difference_from_choices(source, target)
    if source.kind is TypeKind.LITERAL:
        return _difference(_type_of_literal(source), target)
    if target.kind is TypeKind.TYPEDDICT and source.kind is TypeKind.TYPEDDICT:
        return _difference_of_keys(source, target)
    if source.kind is TypeKind.TYPEDDICT and target.kind is TypeKind.DICT:
        return _difference_from_dict(source, target)
    if source.kind is TypeKind.NAMEDTUPLE and target.kind is TypeKind.TUPLE:
        return _difference_of_items(tuple(field.type for field in source.fields), target)
    if not _ancestors(source) & {_class_name(target)}:
        return _Difference(rest=_contrast(source, target, ", not "))
    if source.kind is not target.kind:
        return None
    if source.kind is TypeKind.TUPLE:
        return _difference_of_tuples(source, target)
    if source.kind in _RECORDS and source.name == target.name:
        return _difference_of_fields(source, target)
    parts = zip(_ITEM_NAMES.get(source.kind, ()), source.args, target.args, strict=False)
    return _first(_inside(name, _difference(mine, theirs)) for name, mine, theirs in parts)


def _first(differences: Iterable[_Difference | None]) -> _Difference | None:
    return next((each for each in differences if each is not None), None)


def _inside(part: str, difference: _Difference | None) -> _Difference | None:
    return None if difference is None else difference.within(part)


def _difference_of_any(members: Iterable[TypeSpec], target: TypeSpec) -> _Difference | None:
    for member in members:
        difference = _difference(member, target)
        if difference is not None and difference.path:
            return difference
        if difference is not None:
            return _Difference(verb="may", rest=f"be {member.text}")
    return None


def _difference_from_union(source: TypeSpec, target: TypeSpec) -> _Difference | None:
    differences = [(member, _difference(source, member)) for member in target.args]
    if any(difference is None for _, difference in differences):
        return None
    choices = _choices(source) or ()
    if len(choices) > 1 and _difference_of_any(map(_literal, choices), target) is None:
        return None  # `bool` where `Literal[True] | Literal[False]` is expected
    alike = [difference for member, difference in differences if member.kind is source.kind and difference]
    if len(alike) == 1 and (alike[0].path or alike[0].verb != "be"):
        return alike[0]
    return _Difference(rest=_contrast(source, target, ", not "))


def _difference_from_choices(source: TypeSpec, target: TypeSpec) -> _Difference | None:
    choices, allowed = _choices(source), {_key(value) for value in target.values}
    if choices is None:
        return _Difference(rest=_contrast(source, target, ", not "))
    outside = [value for value in choices if _key(value) not in allowed]
    if not outside:
        return None
    if len(choices) == 1:
        return _Difference(rest=_contrast(source, target, ", not "))
    return _Difference(verb="may", rest=f"be {_literal(outside[0]).text}")


def _choices(spec: TypeSpec) -> tuple[Encoded, ...] | None:
    """All the values that a type has, encoded; None where they cannot be listed."""
    if spec.kind is TypeKind.LITERAL:
        return spec.values
    if spec.kind is TypeKind.BOOL:
        return False, True
    if spec.kind is TypeKind.NONE:
        return (None,)
    if spec.kind is TypeKind.ENUM and spec.members:
        return tuple({"$enum": [spec.name, member]} for member in spec.members)
    return None


def _key(value: Encoded) -> str:
    """Tells ``1`` from ``True`` and ``1.0``, which are equal in Python."""
    return json.dumps(value, sort_keys=True)


def _literal(value: Encoded) -> TypeSpec:
    member = _enum_member(value)
    text = f"{_short_name(member[0])}.{member[1]}" if member else repr(decode(value))
    return TypeSpec(kind=TypeKind.LITERAL, values=(value,), text=text)


def _type_of_literal(literal: TypeSpec) -> TypeSpec:
    """The type of the one value that a literal has."""
    value = literal.values[0]
    member = _enum_member(value)
    if member:
        return TypeSpec(kind=TypeKind.ENUM, name=member[0], text=literal.text)
    return TypeSpec(kind=_LITERAL_KINDS[type(decode(value))], text=literal.text)


def _enum_member(value: Encoded) -> tuple[str, str] | None:
    """The class and the name of an encoded member of an enum."""
    body = (value.get("$enum") or value.get("$flag")) if isinstance(value, dict) else None
    return (body[0], str(body[1])) if body else None


def _difference_of_keys(source: TypeSpec, target: TypeSpec) -> _Difference | None:
    mine = {field.name: field for field in source.fields}
    for field in target.fields:
        if field.name not in mine:
            if field.required:
                return _Difference(verb="have", rest=f"no key `{field.name}`")
            continue
        if field.required and not mine[field.name].required:
            return _Difference(verb="may", rest=f"lack the key `{field.name}`")
        difference = _difference(mine[field.name].type, field.type)
        if difference is not None:
            return difference.within(f"key `{field.name}`")
    return None


def _difference_from_dict(source: TypeSpec, target: TypeSpec) -> _Difference | None:
    key, item = target.args
    difference = _difference(TypeSpec(kind=TypeKind.STR, text="str"), key)
    if difference is not None:
        return difference.within("keys")
    return _first(_inside(f"key `{field.name}`", _difference(field.type, item)) for field in source.fields)


def _difference_of_tuples(source: TypeSpec, target: TypeSpec) -> _Difference | None:
    if not source.variadic:
        return _difference_of_items(source.args, target)
    if not target.variadic:
        return _Difference(verb="may", rest=f"have any number of items, not {len(target.args)}")
    return _inside("items", _difference(source.args[0], target.args[0]))


def _difference_of_items(items: tuple[TypeSpec, ...], target: TypeSpec) -> _Difference | None:
    wanted = target.args * len(items) if target.variadic else target.args
    if len(items) != len(wanted):
        return _Difference(verb="have", rest=f"{len(items)} item{'s' * (len(items) != 1)}, not {len(wanted)}")
    pairs = enumerate(zip(items, wanted, strict=True))
    return _first(_inside(f"item {index}", _difference(mine, theirs)) for index, (mine, theirs) in pairs)


def _difference_of_fields(source: TypeSpec, target: TypeSpec) -> _Difference | None:
    """Two readings of one class differ where it is generic, or where a recursive one stops (it then has no fields)."""
    theirs = {field.name: field.type for field in target.fields}
    shared = [field for field in source.fields if field.name in theirs]
    return _first(_inside(f"field `{field.name}`", _difference(field.type, theirs[field.name])) for field in shared)


def _class_name(spec: TypeSpec) -> str:
    return _CLASS_NAMES.get(spec.kind) or spec.name or spec.kind.value


def _ancestors(spec: TypeSpec) -> set[str]:
    return _widened({_class_name(spec), *spec.bases})


def _widened(names: set[str]) -> set[str]:
    for narrow, wide in _WIDENING:
        if narrow in names:
            names.add(wide)
    return names


def _contrast(source: TypeSpec, target: TypeSpec, joint: str) -> str:
    """Both types as a person writes them, by their full names where they would read alike."""
    if source.text != target.text:
        return f"{source.text}{joint}{target.text}"
    return f"{source.name.replace(':', '.') or source.text}{joint}{target.name.replace(':', '.') or target.text}"


def _short_name(name: str) -> str:
    return name.rpartition(":")[2].rpartition(".")[2]


# --- values against types ---


@dataclass(frozen=True)
class _Misfit:
    """Where a value is not of its type (outermost first), and what is wrong there.

    ``reason`` completes "item 1 ..."; ``extra`` completes "VALUE is not TYPE" where it is the whole value.
    """

    reason: str
    extra: str = ""
    path: tuple[str, ...] = ()

    def within(self, part: str) -> _Misfit:
        return dataclasses.replace(self, path=(part, *self.path))


@dataclass(frozen=True)
class _Check:
    name_of: Callable[[type], str]

    def misfit(self, target: TypeSpec, value: Any) -> _Misfit | None:
        plain = _Misfit(f"is {_short(value)}, not {target.text}")
        if target.kind is TypeKind.ANY or target.name == "builtins:object":
            return None
        if target.kind is TypeKind.UNION:
            return self._of_union(target, value, plain)
        if target.kind is TypeKind.LITERAL:
            return None if self._chosen(target, value) else plain
        if target.kind is TypeKind.PATH:
            return None if isinstance(value, os.PathLike) else plain
        if target.kind is TypeKind.TYPEDDICT:
            return self._of_keys(target, value) if isinstance(value, dict) else plain
        if not self._names(value) & {_class_name(target)}:
            return plain
        if target.kind is TypeKind.TUPLE and not target.variadic and len(value) != len(target.args):
            lengths = f"{len(value)} item{'s' * (len(value) != 1)}, not {len(target.args)}"
            return _Misfit(f"has {lengths}", f": it has {lengths}")
        return self._first(self._parts(target, value))

    def _names(self, value: object) -> set[str]:
        return _widened({self.name_of(cls) for cls in type(value).__mro__})

    def _chosen(self, target: TypeSpec, value: object) -> bool:
        try:
            return _key(encode(value, self.name_of)) in {_key(each) for each in target.values}
        except TypeError:
            return False

    def _of_union(self, target: TypeSpec, value: object, plain: _Misfit) -> _Misfit | None:
        misfits = [self.misfit(member, value) for member in target.args]
        if any(misfit is None for misfit in misfits):
            return None
        nearer = [misfit for misfit in misfits if misfit and misfit.path]
        return nearer[0] if len(nearer) == 1 else plain

    def _of_keys(self, target: TypeSpec, value: dict[Any, Any]) -> _Misfit | None:
        known = {field.name for field in target.fields}
        lacking = next((field.name for field in target.fields if field.required and field.name not in value), None)
        if lacking is not None:
            return _Misfit(f"has no key `{lacking}`", f": it has no key `{lacking}`")
        for key in value:
            if key not in known:
                return _Misfit(f"has an unknown key {key!r}", f": it has an unknown key {key!r}")
        present = (field for field in target.fields if field.name in value)
        return self._first((f"key `{field.name}`", field.type, value[field.name]) for field in present)

    def _first(self, parts: Iterable[tuple[str, TypeSpec, object]]) -> _Misfit | None:
        for name, spec, value in parts:
            misfit = self.misfit(spec, value)
            if misfit is not None:
                return misfit.within(name)
        return None

    def _parts(self, target: TypeSpec, value: Any) -> Iterator[tuple[str, TypeSpec, object]]:
        if target.kind in (TypeKind.SET, TypeKind.FROZENSET):
            yield from (("an item", target.args[0], item) for item in value)
        elif target.kind is TypeKind.LIST or (target.kind is TypeKind.TUPLE and target.variadic):
            yield from ((f"item {index}", target.args[0], item) for index, item in enumerate(value))
        elif target.kind is TypeKind.TUPLE:
            pairs = enumerate(zip(target.args, value, strict=True))
            yield from ((f"item {index}", spec, item) for index, (spec, item) in pairs)
        elif target.kind is TypeKind.DICT:
            for key, item in value.items():
                yield f"the key {_short(key)}", target.args[0], key
                yield f"the value at {_short(key)}", target.args[1], item
        elif target.kind in _RECORDS:
            set_ = (field for field in target.fields if hasattr(value, field.name))
            yield from ((f"field `{field.name}`", field.type, getattr(value, field.name)) for field in set_)


def _short(value: object) -> str:
    text = f"{type(value).__name__}.{value.name}" if isinstance(value, enum.Enum) else _REPR.repr(value)
    return f"a {type(value).__qualname__}" if text.startswith("<") or "\n" in text else text


_REPR: Final = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60


def without_none(type_: TypeSpec) -> TypeSpec:
    """A type without None, for a value that is known not to be None."""
    members = tuple(each for each in type_.args if each.kind is not TypeKind.NONE)
    if type_.kind is not TypeKind.UNION or not members:
        return type_
    text = " | ".join(each.text for each in members)
    return members[0] if len(members) == 1 else TypeSpec(kind=TypeKind.UNION, args=members, text=text)


def known_values(condition: Binding, conditions: Mapping[str, Binding], *, holds: bool) -> Iterator[Binding]:
    """The values that are not None where a condition is true, or is not; ``conditions`` are those of branches."""
    if isinstance(condition, OperationBinding):
        operator, operands = condition.operator, condition.operands
        some = [each for each in operands if not (isinstance(each, LiteralBinding) and each.value is None)]
        if operator is (Operator.IS_NOT if holds else Operator.IS) and len(some) == 1:
            yield some[0]
        elif operator is Operator.NOT:
            yield from known_values(operands[0], conditions, holds=not holds)
        elif operator is (Operator.AND if holds else Operator.OR):
            for each in operands:
                yield from known_values(each, conditions, holds=holds)
        return
    if isinstance(condition, ChoiceBinding):
        asked = conditions.get(condition.branch)
        # `a and b()` and `a or b()` ask for `a` by a branch: the choice is `b` in one arm, and `a` itself in the other.
        if asked is not None and asked == (condition.otherwise if holds else condition.then):
            other = condition.then if holds else condition.otherwise
            yield from known_values(asked, conditions, holds=holds)
            yield from known_values(other, conditions, holds=holds)
    if holds:
        yield condition
