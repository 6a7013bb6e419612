"""What a step's call returns while a pipeline is being traced: a value that is not there yet.

A placeholder stands for a value of a known type. It can be passed on, and its fields can be taken; what needs the value
itself is refused, with what to write instead.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from penstock.diagnostics import DefinitionError, Diagnostic, with_article
from penstock.sources import operation_site
from penstock.spec import (
    Access,
    Binding,
    OutputBinding,
    ParameterBinding,
    RecordBinding,
    SequenceBinding,
    TypeKind,
    TypeSpec,
    references,
)

_RECORDS = (TypeKind.DATACLASS, TypeKind.NAMEDTUPLE, TypeKind.PYDANTIC)
_ANY = TypeSpec(kind=TypeKind.ANY, text="Any")


@dataclass(frozen=True)
class Traced:
    """What a placeholder stands for: where its value comes from, its type, and how messages name it.

    ``node`` is the node to wait for where that is more than those the binding refers to: a nested pipeline, or a step
    that returns nothing.
    """

    binding: Binding
    type: TypeSpec
    said: str
    node: str = ""

    @property
    def nodes(self) -> tuple[str, ...]:
        """The ids of the nodes that this value comes from."""
        if self.node:
            return (self.node,)
        return tuple(dict.fromkeys(ref.node for ref in references(self.binding) if isinstance(ref, OutputBinding)))


class Placeholder:
    """A value of a pipeline that is known only when the pipeline runs."""

    __slots__ = ("__penstock__",)
    __penstock__: Traced

    def __init__(self, binding: Binding, type_: TypeSpec, said: str, node: str = "") -> None:
        object.__setattr__(self, "__penstock__", Traced(binding, type_, said, node))

    def __repr__(self) -> str:
        traced = self.__penstock__
        return f"<placeholder {traced.said}: {traced.type.text}>"

    def __getattr__(self, name: str) -> Placeholder:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        traced = self.__penstock__
        if traced.type.kind in _RECORDS:
            for field in traced.type.fields:
                if field.name == name:
                    return _part(traced, Access(kind="attribute", key=name), field.type)
            known = ", ".join(f"`{field.name}`" for field in traced.type.fields) or "none"
            raise _refused(
                "P302",
                f"{traced.said} is {with_article(traced.type.text)}, which has no field `{name}`",
                f"its fields: {known}",
            )
        if traced.type.kind is TypeKind.ANY:
            return _part(traced, Access(kind="attribute", key=name), _ANY)
        raise _refused(
            "P302",
            f"`.{name}` is taken of {traced.said}, {with_article(traced.type.text)} only when the pipeline runs",
            f"take `.{name}` in a step, and return it from there",
        )

    def __getitem__(self, key: object) -> Placeholder:
        traced = self.__penstock__
        if isinstance(key, Placeholder) or not isinstance(key, (str, int)) or isinstance(key, bool):
            raise _refused(
                "P303",
                f"{traced.said} is indexed with {key!r}",
                "index with a constant string or integer, or do it in a step",
            )
        return _part(traced, Access(kind="item", key=key), _item_type(traced, key))

    def __iter__(self) -> Iterator[Placeholder]:
        traced = self.__penstock__
        if traced.type.kind is TypeKind.TUPLE and not traced.type.variadic:
            return iter([self[index] for index in range(len(traced.type.args))])
        if traced.type.kind is TypeKind.NAMEDTUPLE:
            return iter([getattr(self, field.name) for field in traced.type.fields])
        raise _refused(
            "P304",
            f"{traced.said} is iterated over, but its items are known only when the pipeline runs",
            "pass it whole to a step that goes through it",
        )

    def __bool__(self) -> bool:
        raise _refused(
            "P301",
            f"{self.__penstock__.said} is used as a truth value, but it is known only when the pipeline runs",
            "decide inside a step that takes it as an input",
        )

    def __str__(self) -> str:
        raise _refused(
            "P305",
            f"{self.__penstock__.said} is turned into text, but it is known only when the pipeline runs",
            "format it inside a step (`repr()` shows the placeholder itself)",
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

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        """Refused: what a function returns is known only when the pipeline runs."""
        raise _refused("P307", f"{self.__penstock__.said} is called", "call it inside a step")

    __hash__ = object.__hash__


def _refusing(operator: str, fix: str) -> Any:
    def refuse(self: Placeholder, *_: object) -> NoReturn:
        location, expression = operation_site()
        written = _operator_in(expression) or operator
        message = f"`{written}` is applied to {self.__penstock__.said}, which is known only when the pipeline runs"
        raise DefinitionError(Diagnostic("P308", message, location, fix.format(written)))

    return refuse


def _operator_in(expression: ast.expr | None) -> str:
    """The operator as its author wrote it: `3 > x` asks `x` whether it is less, `max(x, y)` whether it is greater."""
    if isinstance(expression, ast.Compare) and len(expression.ops) == 1:
        return _COMPARISONS.get(type(expression.ops[0]), "")
    return f"{ast.unparse(expression.func)}()" if isinstance(expression, ast.Call) else ""


_COMPARISONS = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
    ast.NotIn: "not in",
}
_IN_A_STEP = "{} in a step that takes this value, and returns what `{{}}` gives"
# What to write instead of a group of operators, each by the name of its method and as it is written.
_OPERATORS: tuple[tuple[str, dict[str, str]], ...] = (
    (
        _IN_A_STEP.format("compare"),
        {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "contains": "in"},
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
    (_IN_A_STEP.format("measure it"), {"len": "len()"}),
    (
        "the number of nodes is fixed when the pipeline is defined: write a constant (`range(3)`), or loop in a step",
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
        return Placeholder(binding.items[int(access.key)], type_, said)
    assert isinstance(binding, (ParameterBinding, OutputBinding))
    return Placeholder(binding.model_copy(update={"path": (*binding.path, access)}), type_, said)


def _item_type(traced: Traced, key: str | int) -> TypeSpec:
    type_, kind = traced.type, traced.type.kind
    if kind is TypeKind.ANY:
        return _ANY
    if kind is TypeKind.DICT:
        return type_.args[1] if type_.args else _ANY
    if kind is TypeKind.TYPEDDICT:
        for field in type_.fields:
            if field.name == key:
                return field.type
        raise _refused(
            "P303", f"{traced.said} is {with_article(type_.text)}, which has no key {key!r}", "take a key that it has"
        )
    if isinstance(key, int) and (kind is TypeKind.LIST or (kind is TypeKind.TUPLE and type_.variadic)):
        return type_.args[0] if type_.args else _ANY
    items = type_.args if kind is TypeKind.TUPLE else tuple(field.type for field in type_.fields)
    if kind in (TypeKind.TUPLE, TypeKind.NAMEDTUPLE) and isinstance(key, int) and -len(items) <= key < len(items):
        return items[key]
    raise _refused(
        "P303",
        f"{traced.said} is {with_article(type_.text)}, of which no item {key!r} can be taken",
        "take it in a step",
    )


def _refused(code: str, message: str, fix: str) -> DefinitionError:
    return DefinitionError(Diagnostic(code, message, operation_site()[0], fix))
