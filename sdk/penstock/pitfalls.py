"""What Python would carry out on a placeholder without asking it, so that no error would ever show.

``x is None``, ``isinstance(x, T)``, ``type(x)`` and ``match x`` look at the placeholder and not at the value; a ``try``
around a step's call is over before the step runs. These are found by reading the pipeline function, and only where a
name can stand for nothing but a placeholder: a parameter, or what a step's call was assigned to.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

from penstock.diagnostics import DefinitionError, Diagnostic
from penstock.functions import definition_of
from penstock.modules import Function
from penstock.references import dotted
from penstock.sources import location_of

_LOOKING = ("isinstance", "type")


def pitfalls(
    function: Callable[..., object], namespace: Mapping[str, object], is_step: Callable[[object], bool]
) -> Iterator[Diagnostic]:
    """Each place of a pipeline function that would do something else on an engine than it says.

    Args:
        function: the pipeline's; one without a source file, or inside another decorator, is not looked at.
        namespace: the local names of where it was defined.
        is_step: whether an object is a step, whose call gives a placeholder.
    """
    if not isinstance(function, FunctionType) or inspect.unwrap(function) is not function:
        return
    try:
        module, path = definition_of(function)
    except DefinitionError:
        return
    node = path[-1]
    assert isinstance(node, Function)
    reader = _Reader(node, {**function.__globals__, **namespace}, is_step)
    for place, message, fix in reader.found():
        yield Diagnostic("P309", message, location_of(str(module.path), place, place.lineno), fix)


@dataclass
class _Reader:
    node: ast.FunctionDef | ast.AsyncFunctionDef
    names: Mapping[str, object]
    is_step: Callable[[object], bool]

    def __post_init__(self) -> None:
        self.inner = [part for each in self.node.body for part in ast.walk(each)]
        parameters = {each.arg for each in ast.walk(self.node.args) if isinstance(each, ast.arg)}
        self.local = parameters.union(*map(_bound, self.inner))
        assigned = {id(target): target.id for part in self.inner for target in self._targets(part)}
        elsewhere = {name for part in self.inner if id(part) not in assigned for name in _bound(part)}
        self.placeholders = (parameters | set(assigned.values())) - elsewhere

    def found(self) -> Iterator[tuple[ast.expr | ast.stmt, str, str]]:
        for part in self.inner:
            looking, looked_at = self._looking(part)
            for each in looked_at:
                if self._is_placeholder(each):
                    said = f"`{looking}` looks at the placeholder `{ast.unparse(each)}`, not at its value"
                    assert isinstance(part, (ast.expr, ast.stmt))
                    yield part, f"{said}, which is known only when the pipeline runs", "decide in a step that takes it"
                    break
            if type(part).__name__ in ("Try", "TryStar") and part.handlers:  # type: ignore[attr-defined]  # new in 3.11
                yield from self._unprotected(part)

    def _looking(self, part: ast.AST) -> tuple[str, list[ast.expr]]:
        """What of an expression looks at objects themselves, and at which."""
        if isinstance(part, ast.Compare):
            sides = [part.left, *part.comparators]
            for index, operator in enumerate(part.ops):
                if isinstance(operator, (ast.Is, ast.IsNot)):
                    return "is" if isinstance(operator, ast.Is) else "is not", sides[index : index + 2]
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.args:
            name = part.func.id
            if name in _LOOKING and name not in self.local and name not in self.names:
                return f"{name}()", part.args[:1]
        return ("match", [part.subject]) if isinstance(part, ast.Match) else ("", [])

    def _unprotected(self, part: Any) -> Iterator[tuple[ast.expr, str, str]]:
        calls = (inner for each in part.body for inner in ast.walk(each) if isinstance(inner, ast.Call))
        called = next((call for call in calls if self._is_step(call.func)), None)
        if called is not None:
            said = f"`try` catches nothing of `{ast.unparse(called.func)}`, which runs later"
            yield called, said, "catch it inside the step; against failures that pass, give the step `retry=`"

    def _is_placeholder(self, expression: ast.expr) -> bool:
        while isinstance(expression, (ast.Attribute, ast.Subscript)):
            expression = expression.value
        return isinstance(expression, ast.Name) and expression.id in self.placeholders

    def _targets(self, part: ast.AST) -> Iterator[ast.Name]:
        """The names that a statement assigns a step's result to, whole or unpacked."""
        if isinstance(part, ast.Assign) and isinstance(part.value, ast.Call) and self._is_step(part.value.func):
            for target in part.targets:
                parts = target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
                yield from (each for each in parts if isinstance(each, ast.Name))

    def _is_step(self, expression: ast.expr) -> bool:
        if isinstance(expression, ast.Call) and isinstance(expression.func, ast.Attribute):
            return expression.func.attr == "with_options" and self._is_step(expression.func.value)
        path = dotted(expression)
        if not path or path[0] in self.local:
            return False
        found = self.names.get(path[0])
        for attr in path[1:]:
            found = vars(found).get(attr) if isinstance(found, ModuleType) else None
        return self.is_step(found)


def _bound(part: ast.AST) -> Iterator[str]:
    """The names that a piece of syntax binds, in whatever scope."""
    if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load):
        yield part.id
    elif isinstance(part, ast.arg):
        yield part.arg
    elif isinstance(part, ast.alias):
        yield (part.asname or part.name).partition(".")[0]
    elif isinstance(part, (ast.Global, ast.Nonlocal)):
        yield from part.names
    elif isinstance(part, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.MatchMapping, *Function, ast.ClassDef)):
        yield from filter(None, (getattr(part, "name", None), getattr(part, "rest", None)))
