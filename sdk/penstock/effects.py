"""What a top-level statement does besides binding names: what it imports within, what it calls or changes."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass

from penstock.harness import bound_names, running
from penstock.modules import Definition, Unit
from penstock.references import Imported, dotted

_BLOCKS = (ast.Try, ast.If, ast.With, ast.For, ast.While)


@dataclass(frozen=True)
class Effect:
    """A call, change or decorator that runs with a statement.

    ``path`` is what it acts on: ``COLORS.update(x=1)`` acts on ``COLORS.update``, ``COLORS["x"] = 1`` on ``COLORS.=``.
    ``given`` holds the arguments that are names, by position or keyword (-1 for starred ones). It is ``alone`` if
    nothing takes its result, so that it stands there for what it does; ``chained`` if the result is acted on in turn.
    """

    path: tuple[str, ...]
    given: tuple[tuple[int | str, tuple[str, ...]], ...] = ()
    alone: bool = True
    chained: bool = False
    decorates: bool = False


@functools.lru_cache(maxsize=4096)
def imports_in(unit: Unit) -> tuple[Imported, ...]:
    """The imports that run with the statement."""
    if unit.imports is not None:
        return tuple(Imported.all_of(unit.imports))
    if not isinstance(unit.node, _BLOCKS):
        return ()
    imports = (part for part in running(unit.node) if isinstance(part, (ast.Import, ast.ImportFrom)))
    return tuple(each for part in imports for each in Imported.all_of(part))


@functools.lru_cache(maxsize=4096)
def effects(unit: Unit) -> tuple[Effect, ...]:
    """The calls, changes and decorators that run with a statement, those in the bodies of classes included."""
    return tuple(dict.fromkeys(_effects(unit.node, frozenset()))) if unit.imports is None else ()


def name_of(unit: Unit, effect: Effect) -> str:
    """The name to reach so that a statement with this effect runs; '' if there is none."""
    if isinstance(unit.node, Definition):
        return unit.node.name
    return effect.path[0] if effect.path[0] in unit.names else min(unit.names, default="")


def _effects(statement: ast.stmt, local: frozenset[str]) -> Iterator[Effect]:
    alone: set[int] = set()
    chained: set[int] = set()
    for part in running(statement):
        if isinstance(part, ast.Expr):
            alone.add(id(part.value))
            chained |= _inner_calls(part.value)
        elif isinstance(part, (ast.Attribute, ast.Subscript)) and not isinstance(part.ctx, ast.Load):
            chained |= _inner_calls(part)
            yield from _unless(local, Effect((*root_path(part), "=")))
        elif isinstance(part, ast.AugAssign) and isinstance(part.target, ast.Name):
            yield from _unless(local, Effect((part.target.id, "=")))
        elif isinstance(part, Definition):
            for each in part.decorator_list:
                alone.add(id(each))
                yield from _unless(local, Effect(root_path(each), decorates=True))
        if isinstance(part, ast.Call):
            yield from _unless(local, _of_call(part, alone=id(part) in alone, chained=id(part) in chained))
        elif isinstance(part, ast.ClassDef):
            inner = frozenset(name for each in part.body for name in bound_names(each))
            for inside in part.body:
                yield from _effects(inside, inner)


@functools.lru_cache(maxsize=4096)
def calls_of(function: ast.FunctionDef | ast.AsyncFunctionDef, local: frozenset[str]) -> tuple[Effect, ...]:
    """The calls in the body of a function, other than those of its ``local`` names."""
    calls = (part for each in function.body for part in ast.walk(each) if isinstance(part, ast.Call))
    return tuple(effect for call in calls for effect in _unless(local, _of_call(call, alone=False, chained=False)))


@functools.lru_cache(maxsize=4096)
def classes_in(unit: Unit) -> tuple[ast.ClassDef, ...]:
    """The classes that a statement defines, those within classes included."""
    waiting: list[ast.stmt] = [unit.node]
    found: list[ast.ClassDef] = []
    while waiting:
        for part in running(waiting.pop()):
            if isinstance(part, ast.ClassDef):
                found.append(part)
                waiting += part.body
    return tuple(found)


@functools.lru_cache(maxsize=4096)
def lists_subclasses(unit: Unit) -> bool:
    """Whether a statement asks for ``__subclasses__``."""
    return any(isinstance(part, ast.Attribute) and part.attr == "__subclasses__" for part in ast.walk(unit.node))


def _of_call(call: ast.Call, *, alone: bool, chained: bool) -> Effect:
    arguments: list[tuple[int | str, ast.expr]] = []
    for position, each in enumerate(call.args):
        starred = isinstance(each, ast.Starred)
        arguments.append((-1, each.value) if isinstance(each, ast.Starred) else (position, each))
        if starred:
            break
    arguments += [(each.arg or -1, each.value) for each in call.keywords]
    given = tuple((where, dotted(each)) for where, each in arguments if dotted(each)) if dotted(call.func) else ()
    return Effect(root_path(call), given, alone, chained)


def _unless(local: frozenset[str], effect: Effect) -> Iterator[Effect]:
    if effect.path and effect.path != ("=",) and effect.path[0] not in local:
        yield effect


def _inner_calls(node: ast.expr) -> set[int]:
    """The calls whose results an expression acts on: ``vars(x)`` in ``vars(x)["y"].append(1)``."""
    found = set()
    while isinstance(node, (ast.Call, ast.Subscript, ast.Attribute)):
        node = node.func if isinstance(node, ast.Call) else node.value
        if isinstance(node, ast.Call):
            found.add(id(node))
    return found


def root_path(node: ast.expr) -> tuple[str, ...]:
    """The names at the root of a chain of attributes, items and calls: ``a.b`` of ``a.b["x"].c()``."""
    while isinstance(node, (ast.Call, ast.Subscript)) or (isinstance(node, ast.Attribute) and not dotted(node)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return dotted(node)
