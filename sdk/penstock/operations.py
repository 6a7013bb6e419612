"""Operators and builtin functions over values that are known only when the pipeline runs."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from penstock.assignability import without_none
from penstock.bindings import holds_placeholder, merged_type
from penstock.declarations import ANY
from penstock.deferred import is_deferred, refuse_here, said_of
from penstock.diagnostics import with_article
from penstock.harness import OPERATORS
from penstock.lists import Missing
from penstock.placeholders import BOOL, INT, OPERANDS, STR, Placeholder, list_of, operation
from penstock.spec import Operator, TypeKind, TypeSpec

if TYPE_CHECKING:
    from penstock.tracing import Trace


def compared(operator: str, left: Any, right: Any) -> object:
    """``left OPERATOR right``, where either may be deferred."""
    for each in (left, right):
        if isinstance(each, Missing):
            each.refuse()
    if not holds_placeholder(left) and not holds_placeholder(right):
        return OPERATORS[operator](left, right)
    if operator in ("is", "is not") and left is not None and right is not None:
        if _is_told_by_equality(left, right):
            return OPERATORS["==" if operator == "is" else "!="](left, right)  # a placeholder's own
        said = said_of(left if holds_placeholder(left) else right)
        message = f"`{operator}` asks whether {said} is one and the same object, which no engine can keep"
        fix = "compare with `==`; `is` can be asked of None, members of an enum and truth values"
        refuse_here("P309", message, fix)
    if operator in ("in", "not in", "is", "is not"):
        return operation(Operator(operator), BOOL, left, right)
    if isinstance(left, Placeholder) or isinstance(right, Placeholder):
        return OPERATORS[operator](left, right)  # a placeholder's own
    return operation(Operator(operator), BOOL, left, right)


def _is_told_by_equality(*values: object) -> bool:
    """Whether equal values are one and the same object: members of one enum, and truth values, are."""
    one, other = (without_none(OPERANDS.get()(each).type) for each in values)
    is_enum = one.kind is other.kind is TypeKind.ENUM and one.name == other.name
    return is_enum or one.kind is other.kind is TypeKind.BOOL


def joined(parts: list[Any]) -> object:
    """Texts as one."""
    return operation(Operator.TEXT, STR, *parts) if any(map(is_deferred, parts)) else "".join(parts)


def has_fixed_items(items: Placeholder) -> bool:
    """Whether every value of its type has as many items."""
    type_ = items.__penstock__.type
    return (type_.kind is TypeKind.TUPLE and not type_.variadic) or type_.kind is TypeKind.NAMEDTUPLE


def item_type(items: Placeholder) -> TypeSpec:
    """The type of what going through a value gives. Raises `DefinitionError` where it can't be gone through."""
    traced = items.__penstock__
    type_ = without_none(traced.type)
    kind = type_.kind
    if kind is TypeKind.UNION and all(each.kind is TypeKind.LIST for each in type_.args):
        return merged_type(each.args[0] if each.args else ANY for each in type_.args)
    if kind in (TypeKind.LIST, TypeKind.TUPLE, TypeKind.DICT):
        return type_.args[0] if type_.args else ANY
    if kind is TypeKind.ANY:
        return ANY
    if kind in (TypeKind.SET, TypeKind.FROZENSET):
        message = f"{traced.said} is a set, which has no order: its items would come in another one on each engine"
        refuse_here("P318", message, "return `sorted(...)` from the step")
    message = f"{traced.said} is {with_article(type_.text)}, which is no list"
    return refuse_here("P318", message, "return a list from it")


def _zip(trace: Trace, _: object, *lists: Any, strict: bool = False) -> Placeholder:
    types = tuple(item_type(trace.deferred(each)) for each in lists)
    item = TypeSpec(kind=TypeKind.TUPLE, args=types, text=f"tuple[{', '.join(each.text for each in types)}]")
    return operation(Operator.ZIP_STRICT if strict else Operator.ZIP, list_of(item), *lists)


def _enumerate(trace: Trace, _: object, items: Any, start: Any = 0) -> Placeholder:
    type_ = item_type(trace.deferred(items))
    item = TypeSpec(kind=TypeKind.TUPLE, args=(INT, type_), text=f"tuple[int, {type_.text}]")
    return operation(Operator.ENUMERATE, list_of(item), items, start)


def _range(_: Trace, __: object, *limits: Any) -> Placeholder:
    return operation(Operator.RANGE, list_of(INT), *limits)


def _len(trace: Trace, _: object, value: Any) -> Placeholder:
    return operation(Operator.LEN, INT, trace.deferred(value))


def _list(trace: Trace, _: object, value: Any) -> Placeholder:
    made = trace.deferred(value)
    return operation(Operator.CONCATENATE, list_of(item_type(made)), made)


def _repr(_: Trace, __: object, value: Any) -> Placeholder:
    return operation(Operator.FORMAT, STR, value, "r", "")


def made_set(trace: Trace, function: Any, items: Any) -> Placeholder:
    """``set(items)``, or ``frozenset``."""
    made = trace.deferred(items)
    item, name = item_type(made), function.__name__
    return operation(Operator(name), TypeSpec(kind=TypeKind(name), args=(item,), text=f"{name}[{item.text}]"), made)


def _dict(trace: Trace, function: Any, *args: Any, **kwargs: Any) -> Any:
    if not any(map(is_deferred, args)):
        return function(*args, **kwargs)  # values may be deferred in any dict
    made = trace.deferred(args[0])
    type_ = without_none(made.__penstock__.type)
    parts = type_.args if type_.kind is TypeKind.DICT else item_type(made).args
    if kwargs or len(parts) != 2:
        return _refused(trace, function, *args)
    return dict_of(made, parts)


def dict_of(made: Placeholder, parts: tuple[TypeSpec, ...]) -> Placeholder:
    """``dict(made)``; ``parts`` are the types of a key and a value."""
    text = f"dict[{', '.join(each.text for each in parts)}]"
    return operation(Operator.DICT, TypeSpec(kind=TypeKind.DICT, args=parts, text=text), made)


def _tuple(trace: Trace, function: Any, items: Any) -> Any:
    if isinstance(items, Placeholder) and has_fixed_items(items):
        return function(iter(items))
    made = trace.deferred(items)
    item = item_type(made)
    type_ = TypeSpec(kind=TypeKind.TUPLE, args=(item,), variadic=True, text=f"tuple[{item.text}, ...]")
    return operation(Operator.TUPLE, type_, made)


def _refused(_: Trace, function: Any, *args: Any, **__: Any) -> NoReturn:
    said = next((said_of(each) for each in args if is_deferred(each)), "a value")
    message = f"`{function.__name__}()` asks for {said}, which is known only when the pipeline runs"
    refuse_here("P309", message, f"call `{function.__name__}()` in a step that takes it")


BUILTINS: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((isinstance, type, sorted, reversed, sum, min, max, any, all, map, filter), _refused),
    builtins.zip: _zip,
    builtins.enumerate: _enumerate,
    builtins.range: _range,
    builtins.len: _len,
    builtins.list: _list,
    builtins.set: made_set,
    builtins.dict: _dict,
    builtins.tuple: _tuple,
    builtins.frozenset: made_set,
    builtins.repr: _repr,
}
