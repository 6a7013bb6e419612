"""What is written as an argument, or returned, in a pipeline: as a binding, with the type it has."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from penstock.assignability import accepts, why_not
from penstock.declarations import ANY, Names
from penstock.diagnostics import with_article
from penstock.placeholders import Placeholder
from penstock.signatures import UnsupportedAnnotation
from penstock.spec import Binding, LiteralBinding, MappingBinding, RecordBinding, SequenceBinding, TypeKind, TypeSpec
from penstock.types import type_of
from penstock.values import encode


class Unbindable(Exception):  # noqa: N818  # says what a constant is, not that something failed
    """A constant that cannot be written into a pipeline; the message says why, ``fix`` what to write instead."""

    def __init__(self, message: str, fix: str = "make it in a step, and pass what the step returns") -> None:
        super().__init__(message)
        self.fix = fix


@dataclass(frozen=True)
class Bound:
    """A value as a binding.

    ``said`` is how a message names it; ``nodes`` are those to wait for beside what the binding refers to.
    """

    binding: Binding
    type: TypeSpec
    said: str
    nodes: tuple[str, ...] = ()


def bound(value: object, target: TypeSpec, names: Names) -> tuple[Bound, str]:
    """The value as a binding, and why it is not of the type ``target`` (empty if it is).

    Raises:
        Unbindable: a part of it can be neither encoded nor referred to.
    """
    if not _holds_placeholder(value):
        made = _constant(value, names)
        return made, accepts(target, value, names.of)
    made = _Binder(names).bind(value)
    return made, why_not(made.type, target)


def _holds_placeholder(value: object) -> bool:
    if isinstance(value, Placeholder):
        return True
    return any(_holds_placeholder(part) for part in _parts(value))


def _parts(value: object) -> Iterator[object]:
    if isinstance(value, (list, tuple, set, frozenset)):
        yield from value
    elif isinstance(value, dict):
        yield from value
        yield from value.values()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from (getattr(value, each.name) for each in dataclasses.fields(value))


def _constant(value: object, names: Names) -> Bound:
    if type(value).__module__ == "penstock.authoring":
        kind, name = type(value).__name__.lower(), getattr(value, "__name__", "it")
        raise Unbindable(f"this is the {kind} `{name}` itself, not its result", f"call it: `{name}(...)`")
    try:
        binding = LiteralBinding(value=encode(value, names.of))
    except TypeError as error:
        raise Unbindable(str(error)) from None
    return Bound(binding, _type(type(value), names), f"{value!r:.60}")


def _type(annotation: object, names: Names) -> TypeSpec:
    try:
        return type_of(annotation, name_of=names.of)
    except UnsupportedAnnotation:
        return ANY


@dataclass(frozen=True)
class _Binder:
    names: Names

    def bind(self, value: object) -> Bound:
        if isinstance(value, Placeholder):
            traced = value.__penstock__
            waits = (traced.node,) if traced.type.kind is TypeKind.NONE and traced.node else ()
            return Bound(traced.binding, traced.type, traced.said, waits)
        if not _holds_placeholder(value):
            return _constant(value, self.names)
        if isinstance(value, list):
            return self._sequence("list", value, "a list")
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return self._record(value, dict(zip(value._fields, value, strict=True)))
        if isinstance(value, tuple):
            return self._sequence("tuple", value, "a tuple")
        if isinstance(value, dict):
            return self._mapping(value)
        if dataclasses.is_dataclass(value):
            return self._record(value, {each.name: getattr(value, each.name) for each in dataclasses.fields(value)})
        raise Unbindable(f"a {type(value).__qualname__} cannot hold values that are known only when the pipeline runs")

    def _sequence(self, kind: str, value: list[object] | tuple[object, ...], said: str) -> Bound:
        items = [self.bind(item) for item in value]
        types = tuple(item.type for item in items)
        if kind == "tuple":
            type_ = TypeSpec(kind=TypeKind.TUPLE, args=types, text=f"tuple[{', '.join(each.text for each in types)}]")
        else:
            item = _union(types)
            type_ = TypeSpec(kind=TypeKind.LIST, args=(item,), text=f"list[{item.text}]")
        binding = SequenceBinding(
            kind="list" if kind == "list" else "tuple", items=tuple(item.binding for item in items)
        )
        return Bound(binding, type_, said, _nodes(items))

    def _mapping(self, value: dict[object, object]) -> Bound:
        if not all(isinstance(key, str) for key in value):
            raise Unbindable("a dict that holds a step's output must have strings as keys")
        items = {str(key): self.bind(item) for key, item in value.items()}
        item = _union(tuple(each.type for each in items.values()))
        key = TypeSpec(kind=TypeKind.STR, text="str")
        type_ = TypeSpec(kind=TypeKind.DICT, args=(key, item), text=f"dict[str, {item.text}]")
        binding = MappingBinding(items=tuple((key, each.binding) for key, each in items.items()))
        return Bound(binding, type_, "a dict", _nodes(list(items.values())))

    def _record(self, value: object, fields: dict[str, object]) -> Bound:
        type_ = _type(type(value), self.names)
        declared = {field.name: field.type for field in type_.fields}
        items = {name: self.bind(item) for name, item in fields.items()}
        for name, item in items.items():
            reason = why_not(item.type, declared.get(name, ANY))
            if reason:
                raise Unbindable(f"field `{name}` of {type_.text} takes {declared[name].text}: {reason}")
        binding = RecordBinding(type=type_.name, fields=tuple((name, item.binding) for name, item in items.items()))
        return Bound(binding, type_, with_article(type_.text), _nodes(list(items.values())))


def _nodes(items: list[Bound]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(node for item in items for node in item.nodes))


def _union(types: tuple[TypeSpec, ...]) -> TypeSpec:
    distinct = tuple({each.text: each for each in types}.values())
    if len(distinct) == 1:
        return distinct[0]
    return TypeSpec(kind=TypeKind.UNION, args=distinct, text=" | ".join(each.text for each in distinct))
