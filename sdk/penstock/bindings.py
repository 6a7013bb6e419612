"""What is written as an argument, or returned, in a pipeline: as a binding, with the type it has."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.assignability import accepts, why_not, without_none
from penstock.declarations import ANY, Names
from penstock.diagnostics import with_article
from penstock.lists import Added, BuiltList, Missing, Scope, Turn
from penstock.placeholders import Placeholder, list_of
from penstock.signatures import UnsupportedAnnotation
from penstock.spec import (
    Arm,
    Binding,
    CollectBinding,
    Entry,
    LiteralBinding,
    MappingBinding,
    RecordBinding,
    SequenceBinding,
    TypeKind,
    TypeSpec,
)
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


def bound(
    value: object, target: TypeSpec, names: Names, scope: Scope = (), known: Collection[Binding] = ()
) -> tuple[Bound, str]:
    """The value as a binding in a scope, and why it is not of the type ``target`` (empty if it is).

    ``known`` are values that are not None there.

    Raises:
        Unbindable: a part of it can be neither encoded nor referred to.
    """
    _note_reading(value, scope)
    if not holds_placeholder(value):
        value = _plain(value)
        made = _constant(value, names)
        return made, accepts(target, value, names.of)
    made = _Binder(names, scope, known).bind(value)
    return made, why_not(made.type, target)


def list_binding(entries: Sequence[tuple[Scope, Bound, bool]]) -> Binding:
    """The list to which each entry, in its scope relative to the list's own, adds a value or the items of one."""
    if not any(scope or spread for scope, _, spread in entries):
        return SequenceBinding(kind="list", items=tuple(made.binding for _, made, _ in entries))
    found = _entries(entries)
    if len(found) == 1 and found[0].spread and not found[0].when:
        return found[0].value
    return CollectBinding(entries=found)


def _entries(entries: Sequence[tuple[Scope, Bound, bool]]) -> tuple[Entry, ...]:
    """What is added in the same turns of a loop stands together, so that it keeps its order item by item."""
    found: list[Entry] = []
    for prefix, group in itertools.groupby(entries, key=lambda entry: _up_to_a_loop(entry[0])):
        arms = tuple(each for each in prefix if isinstance(each, Arm))
        if prefix and isinstance(prefix[-1], Turn):
            inner = _entries([(scope[len(prefix) :], made, spread) for scope, made, spread in group])
            found.append(Entry(value=CollectBinding(loop=prefix[-1].loop, entries=inner), spread=True, when=arms))
        else:
            found.extend(Entry(value=made.binding, spread=spread, when=arms) for _, made, spread in group)
    return tuple(found)


def _up_to_a_loop(scope: Scope) -> Scope:
    turn = next((number for number, each in enumerate(scope, 1) if isinstance(each, Turn)), len(scope))
    return scope[:turn]


def relative(scope: Scope, to: Scope) -> Scope | None:
    """What of a scope lies inside another one; None where one excludes the other: two arms of one branch."""
    excluded = {Arm(branch=each.branch, holds=not each.holds) for each in to if isinstance(each, Arm)}
    if excluded.intersection(each for each in scope if isinstance(each, Arm)):
        return None
    shared = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(scope, to, strict=False))
    return scope[len(list(shared)) :]


def merged_type(types: Iterable[TypeSpec]) -> TypeSpec:
    """The type of a value that is of any of several types."""
    return _union(tuple(types))


def _plain(value: object) -> Any:
    """A constant with ordinary lists in it."""
    if isinstance(value, BuiltList):
        return [_plain(each) for each in list.__iter__(value)]
    if type(value) is list:
        return [_plain(each) for each in value]
    if type(value) is tuple:
        return tuple(_plain(each) for each in value)
    return {key: _plain(each) for key, each in value.items()} if type(value) is dict else value


def _note_reading(value: object, scope: Scope) -> None:
    """Notes the loops in whose bodies lists from outside of them are read."""
    if isinstance(value, BuiltList):
        value.note_reading(scope)
    for part in _parts(value):
        _note_reading(part, scope)


def holds_placeholder(value: object) -> bool:
    """Whether some part of a value is known only when the pipeline runs."""
    if isinstance(value, (Placeholder, Added, Missing)):
        return True
    return any(holds_placeholder(part) for part in _parts(value))


def _parts(value: object) -> Iterator[object]:
    if isinstance(value, list):
        yield from list.__iter__(value)
    elif isinstance(value, (tuple, set, frozenset)):
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
    return Bound(binding, _constant_type(value, names), f"{value!r:.60}")


def _constant_type(value: object, names: Names) -> TypeSpec:
    if type(value) is list and value:
        return list_of(_union(tuple(_constant_type(each, names) for each in value)))
    if type(value) is not tuple:
        return _type(type(value), names)
    items = tuple(_constant_type(each, names) for each in value)
    return TypeSpec(kind=TypeKind.TUPLE, args=items, text=f"tuple[{', '.join(each.text for each in items) or '()'}]")


def _type(annotation: object, names: Names) -> TypeSpec:
    try:
        return type_of(annotation, name_of=names.of)
    except UnsupportedAnnotation:
        return ANY


@dataclass(frozen=True)
class _Binder:
    names: Names
    scope: Scope
    known: Collection[Binding]

    def bind(self, value: object) -> Bound:
        if isinstance(value, Placeholder):
            traced = value.__penstock__
            arms = {each.branch: each.holds for each in self.scope if isinstance(each, Arm)}
            if traced.either is not None and traced.either.branch in arms:
                return self.bind(traced.either.then if arms[traced.either.branch] else traced.either.otherwise)
            if traced.is_current is not None and not traced.is_current(self.scope):
                raise Unbindable(
                    f"{traced.said} may stand for what was changed since the branch that decides on it",
                    "make the change before the branch, or on a copy: `list(xs)`, `dict(d)`",
                )
            waits = (traced.node,) if traced.type.kind is TypeKind.NONE and traced.node else ()
            type_ = without_none(traced.type) if traced.binding in self.known else traced.type
            return Bound(traced.binding, type_, traced.said, waits)
        if isinstance(value, Missing):
            value.refuse()
        if not holds_placeholder(value):
            return _constant(_plain(value), self.names)
        if isinstance(value, BuiltList):
            return self._built(value)
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

    def _built(self, value: BuiltList) -> Bound:
        entries: list[tuple[Scope, Bound, bool]] = []
        for each in list.__iter__(value):
            added = each if isinstance(each, Added) else Added(each, value.made_in)
            scope = relative(added.scope, self.scope)
            if scope is not None:
                self._refuse_unfinished(value, added)
                inner = _Binder(self.names, (*self.scope, *scope), self.known)
                entries.append((scope, inner.bind(added.value), added.spread))
        items = [_item_of(made.type) if spread else made.type for _, made, spread in entries]
        item = _union(tuple(items)) if items else TypeSpec(kind=TypeKind.ANY, text="Any")
        return Bound(list_binding(entries), list_of(item), "a list", _nodes([made for _, made, _ in entries]))

    def _refuse_unfinished(self, value: BuiltList, added: Added) -> None:
        """Refuses a list that the loop around this place still adds to, as its other items do."""
        outside = {each for each in added.scope if isinstance(each, Turn)} - set(value.made_in)
        if outside.intersection(self.scope):
            raise Unbindable(
                "the list is read in the loop that adds to it, whose items run independently of each other",
                "read it after the loop",
            )

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


def _item_of(type_: TypeSpec) -> TypeSpec:
    return type_.args[0] if type_.kind is TypeKind.LIST and type_.args else ANY


def _nodes(items: list[Bound]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(node for item in items for node in item.nodes))


def _union(types: tuple[TypeSpec, ...]) -> TypeSpec:
    members = (each for type_ in types for each in (type_.args if type_.kind is TypeKind.UNION else (type_,)))
    distinct = tuple({each.text: each for each in members}.values())
    if len(distinct) == 1:
        return distinct[0]
    return TypeSpec(kind=TypeKind.UNION, args=distinct, text=" | ".join(each.text for each in distinct))
