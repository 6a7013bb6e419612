"""What a step's call returns while a pipeline is being traced: a value that is not there yet.

A placeholder stands for a value of a known type. It can be passed on, its fields can be taken, and it can be compared,
which gives a placeholder again; what needs the value itself is refused, with what to write instead.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NoReturn

from penstock.assignability import without_none
from penstock.diagnostics import DefinitionError, Diagnostic, with_article
from penstock.sources import operation_site
from penstock.spec import (
    Access,
    Binding,
    ChoiceBinding,
    CollectBinding,
    OperationBinding,
    Operator,
    OutputBinding,
    RecordBinding,
    SequenceBinding,
    TypeKind,
    TypeSpec,
    within,
)

_RECORDS = (TypeKind.DATACLASS, TypeKind.NAMEDTUPLE, TypeKind.PYDANTIC)
_ANY = TypeSpec(kind=TypeKind.ANY, text="Any")
BOOL = TypeSpec(kind=TypeKind.BOOL, text="bool")
INT = TypeSpec(kind=TypeKind.INT, text="int")
STR = TypeSpec(kind=TypeKind.STR, text="str")


@dataclass(frozen=True)
class Either:
    """The two values between which a branch decides, as the author's code had them."""

    branch: str
    then: object
    otherwise: object


@dataclass(frozen=True)
class Traced:
    """What a placeholder stands for: where its value comes from, its type, and how messages name it.

    ``node`` is the node to wait for where that is more than those the binding refers to: a nested pipeline, or a step
    that returns nothing. ``either`` is what it was merged from, ``parallelism`` how many of its items may be under way
    at a time where it is gone through. ``is_current`` says, for the loops and arms around a place, whether the objects
    that it may stand for are still as they were when it was decided which.
    """

    binding: Binding
    type: TypeSpec
    said: str
    node: str = ""
    either: Either | None = None
    parallelism: int | None = None
    is_current: Callable[[Any], bool] | None = field(default=None, compare=False)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The ids of the nodes that this value comes from; a branch or a loop stands for all that is in it."""
        if self.node:
            return (self.node,)
        found: dict[str, None] = {}
        for each in within(self.binding):
            if isinstance(each, OutputBinding):
                found[each.node] = None
            elif isinstance(each, ChoiceBinding):
                found[each.branch] = None
            elif isinstance(each, CollectBinding):
                found |= dict.fromkeys(
                    (each.loop,) if each.loop else (arm.branch for e in each.entries for arm in e.when)
                )
        return tuple(found)


@dataclass(frozen=True)
class Operand:
    """A value that an operator is applied to, as a binding; ``said`` is how messages name it."""

    binding: Binding
    type: TypeSpec
    said: str = field(compare=False)


# Turns what stands in the author's code into an operand; set while a pipeline is traced.
OPERANDS: ContextVar[Callable[[object], Operand]] = ContextVar("penstock_operands")


def operation(operator: Operator, type_: TypeSpec, *values: object) -> Placeholder:
    """What an operator gives for values of which some are placeholders."""
    operands = [OPERANDS.get()(value) for value in values]
    binding = OperationBinding(operator=operator, operands=tuple(each.binding for each in operands))
    said = f" {operator.value} ".join(each.said for each in operands) if len(operands) == 2 else operator.value
    return Placeholder(binding, type_, said)


class Placeholder:
    """A value of a pipeline that is known only when the pipeline runs."""

    __slots__ = ("__penstock__",)
    __penstock__: Traced

    def __init__(
        self,
        binding: Binding,
        type_: TypeSpec,
        said: str,
        node: str = "",
        either: Either | None = None,
        parallelism: int | None = None,
        is_current: Callable[[Any], bool] | None = None,
    ) -> None:
        traced = Traced(binding, type_, said, node, either, parallelism, is_current)
        object.__setattr__(self, "__penstock__", traced)

    def __repr__(self) -> str:
        traced = self.__penstock__
        return f"<placeholder {traced.said}: {traced.type.text}>"

    def __getattr__(self, name: str) -> Placeholder:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        traced = self.__penstock__
        type_ = without_none(traced.type)
        if type_.kind in _RECORDS:
            for each in type_.fields:
                if each.name == name:
                    return _part(traced, Access(kind="attribute", key=name), each.type)
            known = ", ".join(f"`{each.name}`" for each in type_.fields) or "none"
            raise _refused(
                "P302",
                f"{traced.said} is {with_article(traced.type.text)}, which has no field `{name}`",
                f"its fields: {known}",
            )
        if type_.kind is TypeKind.ANY:
            return _part(traced, Access(kind="attribute", key=name), _ANY)
        if type_.kind is TypeKind.DICT and name in _VIEWS:
            return _View(self, name)  # type: ignore[return-value]  # called at once: `rows.items()`
        raise _refused(
            "P302",
            f"`.{name}` is taken of {traced.said}, {with_article(traced.type.text)} only when the pipeline runs",
            f"take `.{name}` in a step, and return it from there",
        )

    def __getitem__(self, key: object) -> Placeholder:
        traced = self.__penstock__
        type_ = without_none(traced.type)
        if isinstance(key, slice) and type_.kind is TypeKind.LIST:
            made = operation(Operator.SLICE, type_, self, key.start, key.stop, key.step).__penstock__
            return Placeholder(made.binding, made.type, f"a slice of {traced.said}")
        if isinstance(key, Placeholder) or not isinstance(key, (str, int)) or isinstance(key, bool):
            raise _refused(
                "P303",
                f"{traced.said} is indexed with {key!r}",
                "index with a constant string or integer, or do it in a step",
            )
        return _part(traced, Access(kind="item", key=key), _item_type(traced, key))

    def __iter__(self) -> Iterator[Placeholder]:
        traced = self.__penstock__
        if _length(traced.type) is not None:
            names = [each.name for each in traced.type.fields]
            return iter([getattr(self, each) for each in names] or [self[each] for each in range(len(self))])
        raise _refused(
            "P304",
            f"{traced.said} is iterated over, but its items are known only when the pipeline runs",
            "write the `for` in the pipeline's own function, or `with penstock.flow.ForEach(...) as item:`",
        )

    def __len__(self) -> int:
        length = _length(self.__penstock__.type)
        return length if length is not None else _refused_length(self)

    def __bool__(self) -> bool:
        raise _refused(
            "P301",
            f"{self.__penstock__.said} is used as a truth value, but it is known only when the pipeline runs",
            "write the `if` in the pipeline's own function, or `with penstock.flow.If(...):`",
        )

    def __str__(self) -> str:
        raise _refused(
            "P305",
            f"{self.__penstock__.said} is turned into text, but it is known only when the pipeline runs",
            "write an f-string in the pipeline's own function, or format it inside a step",
        )

    def __format__(self, specification: str) -> str:
        return str(self)

    def __setattr__(self, name: str, value: object) -> None:
        raise _refused(
            "P306",
            f"`.{name}` of {self.__penstock__.said} is set",
            "a value cannot be changed between steps; make a new one in a step",
        )

    def __setitem__(self, key: object, value: object) -> None:
        raise _refused(
            "P306",
            f"an item of {self.__penstock__.said} is set",
            "a value cannot be changed between steps; make a new one in a step",
        )

    def __delitem__(self, key: object) -> None:
        raise _refused(
            "P306",
            f"an item of {self.__penstock__.said} is deleted",
            "a value cannot be changed between steps; make a new one in a step",
        )

    def __delattr__(self, name: str) -> None:
        raise _refused(
            "P306",
            f"`.{name}` of {self.__penstock__.said} is deleted",
            "a value cannot be changed between steps; make a new one in a step",
        )

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        """Refused: what a function returns is known only when the pipeline runs."""
        raise _refused("P307", f"{self.__penstock__.said} is called", "call it inside a step")

    def __hash__(self) -> int:
        raise _refused(
            "P319",
            f"{self.__penstock__.said} is used as a key or put into a set, but it is known only when the pipeline runs",
            "look it up in a step; make a set or a dict by a comprehension, or in a step",
        )


def _refusing(operator: str, fix: str) -> Any:
    def refuse(self: Placeholder, *_: object) -> NoReturn:
        location, expression = operation_site()
        written = _operator_in(expression) or operator
        message = f"`{written}` is applied to {self.__penstock__.said}, which is known only when the pipeline runs"
        raise DefinitionError(Diagnostic("P308", message, location, fix.format(written)))

    return refuse


def _length(type_: TypeSpec) -> int | None:
    """How many items any value of a type has, where they all have as many."""
    if type_.kind is TypeKind.TUPLE and not type_.variadic:
        return len(type_.args)
    return len(type_.fields) if type_.kind is TypeKind.NAMEDTUPLE else None


def _operator_in(expression: ast.expr | None) -> str:
    """A call that asks for the operator, as its author wrote it: `max(x, y)` asks `x` whether it is greater."""
    return f"{ast.unparse(expression.func)}()" if isinstance(expression, ast.Call) else ""


def _comparing(operator: Operator) -> Any:
    def compare(self: Placeholder, other: object) -> Placeholder:
        if operator not in (Operator.EQ, Operator.NE):
            _refuse_unordered(self, other, operator)
        return operation(operator, BOOL, self, other)

    return compare


_NUMBERS = (TypeKind.BOOL, TypeKind.INT, TypeKind.FLOAT, TypeKind.DECIMAL)
_UNORDERED = (TypeKind.NONE, TypeKind.DICT, TypeKind.DATACLASS, TypeKind.PYDANTIC, TypeKind.TYPEDDICT, TypeKind.PATH)


def _refuse_unordered(one: Placeholder, other: object, operator: Operator) -> None:
    """Refuses an order between a number and what never is one: most often a field that was left out."""
    operands = [OPERANDS.get()(each) for each in (one, other)]
    for this, that in (operands, operands[::-1]):
        if this.type.kind in _NUMBERS and that.type.kind in (*_UNORDERED, TypeKind.STR, TypeKind.BYTES, TypeKind.LIST):
            raise _refused(
                "P311",
                f"`{operator.value}` compares {this.said}, {with_article(this.type.text)}, with {that.said}, "
                f"{with_article(that.type.text)}",
                "compare values that have an order: a field of it, or what a step makes of it",
            )


for _name, _comparison in {
    "eq": Operator.EQ,
    "ne": Operator.NE,
    "lt": Operator.LT,
    "le": Operator.LE,
    "gt": Operator.GT,
    "ge": Operator.GE,
}.items():
    setattr(Placeholder, f"__{_name}__", _comparing(_comparison))

_VIEWS = {"keys": Operator.KEYS, "values": Operator.VALUES, "items": Operator.ITEMS}


@dataclass(frozen=True)
class _View:
    """The method `keys`, `values` or `items` of a dict that is not there yet."""

    mapping: Placeholder
    name: str

    def __call__(self) -> Placeholder:
        key, value = self.mapping.__penstock__.type.args or (_ANY, _ANY)
        pair = TypeSpec(kind=TypeKind.TUPLE, args=(key, value), text=f"tuple[{key.text}, {value.text}]")
        item = {"keys": key, "values": value, "items": pair}[self.name]
        return operation(_VIEWS[self.name], list_of(item), self.mapping)


def list_of(item: TypeSpec) -> TypeSpec:
    """The type of a list of such items."""
    return TypeSpec(kind=TypeKind.LIST, args=(item,), text=f"list[{item.text}]")


_IN_A_STEP = "{} in a step that takes this value, and returns what `{{}}` gives"
_refused_length = _refusing("len()", _IN_A_STEP.format("measure it"))
# What to write instead of a group of operators, each by the name of its method and as it is written.
_OPERATORS: tuple[tuple[str, dict[str, str]], ...] = (
    (
        "write `in` in the pipeline's own function, or compare in a step that takes this value",
        {"contains": "in"},
    ),
    (
        _IN_A_STEP.format("calculate"),
        {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**", "matmul": "@"}
        | {"and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>", "neg": "-", "pos": "+", "invert": "~"}
        | {"abs": "abs()", "round": "round()", "divmod": "divmod()"},
    ),
    (
        _IN_A_STEP.format("convert it"),
        {"int": "int()", "float": "float()", "complex": "complex()", "bytes": "bytes()"},
    ),
    (
        "write a constant, or do it in a step that takes this value",
        {"index": "[]"},
    ),
    (
        "pass on its path, and open that in the step that works with it",
        {"enter": "with", "exit": "with", "aenter": "async with", "aexit": "async with"},
    ),
    ("leave `await` out: calling a step returns its result", {"await": "await"}),
)
_UNARY = {"neg", "pos", "invert", "abs", "round"}
for _fix, _methods in _OPERATORS:
    for _method, _operator in _methods.items():
        setattr(Placeholder, f"__{_method}__", _refusing(_operator, _fix))
        if "+" in _methods.values() and _method not in _UNARY:
            setattr(Placeholder, f"__r{_method}__", _refusing(_operator, _fix))


def _part(traced: Traced, access: Access, type_: TypeSpec) -> Placeholder:
    said = f"{traced.said}.{access.key}" if access.kind == "attribute" else f"{traced.said}[{access.key!r}]"
    binding = traced.binding
    if isinstance(binding, RecordBinding):
        parts = [part for name, part in binding.fields if access.key == name or isinstance(access.key, int)]
        return Placeholder(parts[access.key if isinstance(access.key, int) else 0], type_, said)
    if isinstance(binding, SequenceBinding):
        place, count = int(access.key), len(binding.items)
        if not -count <= place < count:
            raise _refused("P303", f"{traced.said} has no item {place}: it holds {count} there", "take one that it has")
        return Placeholder(binding.items[place], type_, said)
    return Placeholder(binding.model_copy(update={"path": (*getattr(binding, "path", ()), access)}), type_, said)


def _item_type(traced: Traced, key: str | int) -> TypeSpec:
    type_ = without_none(traced.type)
    kind = type_.kind
    if kind is TypeKind.ANY:
        return _ANY
    if kind is TypeKind.DICT:
        return type_.args[1] if type_.args else _ANY
    if kind is TypeKind.TYPEDDICT:
        for each in type_.fields:
            if each.name == key:
                return each.type
        raise _refused(
            "P303", f"{traced.said} is {with_article(type_.text)}, which has no key {key!r}", "take a key that it has"
        )
    if isinstance(key, int) and (kind is TypeKind.LIST or (kind is TypeKind.TUPLE and type_.variadic)):
        return type_.args[0] if type_.args else _ANY
    items = type_.args if kind is TypeKind.TUPLE else tuple(each.type for each in type_.fields)
    if kind in (TypeKind.TUPLE, TypeKind.NAMEDTUPLE) and isinstance(key, int) and -len(items) <= key < len(items):
        return items[key]
    raise _refused(
        "P303",
        f"{traced.said} is {with_article(type_.text)}, of which no item {key!r} can be taken",
        "take it in a step",
    )


def _refused(code: str, message: str, fix: str) -> DefinitionError:
    return DefinitionError(Diagnostic(code, message, operation_site()[0], fix))
