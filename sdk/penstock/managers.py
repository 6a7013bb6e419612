"""Context managers around steps: a step runs after the ``with`` block has ended, which then catches nothing of it."""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from penstock.jumps import is_try
from penstock.syntax import own_nodes

_ASKING = (contextlib.suppress, contextlib.ExitStack, contextlib.AsyncExitStack)


class Managed:
    """A context manager as it is, that tells what its block came to: ``ended`` is given the exception it swallowed."""

    def __init__(self, manager: Any, ended: Callable[[BaseException | None], None]) -> None:
        self._manager, self._ended = manager, ended

    def __enter__(self) -> Any:
        return type(self._manager).__enter__(self._manager)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> Any:
        is_swallowed = type(self._manager).__exit__(self._manager, kind, error, traceback)
        if error is None or is_swallowed:
            self._ended(error)
        return is_swallowed


def may_swallow(manager: object) -> bool:
    """Whether a context manager may end its block as if nothing had been raised in it, judged by its source."""
    if isinstance(manager, _ASKING):
        return True
    if isinstance(manager, contextlib._GeneratorContextManager):  # noqa: SLF001  # has no public name
        return _catches_at_yield(manager.func)  # what `contextmanager` decorates
    leaving = getattr(type(manager), "__exit__", None)
    return isinstance(leaving, FunctionType) and _returns_true(leaving)


def goes_on(statement: ast.Try) -> bool:
    """Whether an ``except`` ends otherwise than by raising again."""
    return any(not isinstance(each.body[-1], ast.Raise) for each in statement.handlers)


@functools.lru_cache(maxsize=256)
def _catches_at_yield(function: FunctionType) -> bool:
    tries = (node for node in _nodes_of(inspect.unwrap(function)) if is_try(node) and goes_on(node))
    return any(isinstance(each, (ast.Yield, ast.YieldFrom)) for node in tries for each in own_nodes(*node.body))


@functools.lru_cache(maxsize=256)
def _returns_true(leaving: FunctionType) -> bool:
    nodes = list(_nodes_of(leaving))
    values = [node.value for node in nodes if isinstance(node, ast.Return)]
    handed_on = {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign) and _is_exit(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return not all(value is None or _is_harmless(value, handed_on) for value in values)


def _is_harmless(value: ast.expr, handed_on: set[str]) -> bool:
    """Whether what an ``__exit__`` returns is false where something was raised: ``False``, ``error is None``."""
    if isinstance(value, ast.Compare):
        return isinstance(value.ops[0], ast.Is) and ast.unparse(value.comparators[0]) == "None"
    if isinstance(value, ast.Name):
        return value.id in handed_on
    return _is_exit(value) or (isinstance(value, ast.Constant) and not value.value)


def _is_exit(value: ast.expr) -> bool:
    """Whether an expression hands on what another context manager says."""
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == "__exit__"


def _nodes_of(function: FunctionType) -> Iterator[ast.AST]:
    """The syntax of a function's body; nothing where its source can't be read."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield from own_nodes(*node.body)
