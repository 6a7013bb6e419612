"""What a top-level statement does besides binding names: what it imports within, what it calls or changes."""

from __future__ import annotations

import ast
import functools

from penstock.harness import running
from penstock.modules import Definition, Unit
from penstock.references import Imported, dotted

_BLOCKS = (ast.Try, ast.If, ast.With, ast.For, ast.While)


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
def effects(unit: Unit) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """For each call, change or decorator: the name to reach so that it runs, and the path that it acts on.

    ``COLORS.update(x=1)`` acts on ``COLORS.update``, ``COLORS["x"] = 1`` on ``COLORS.=``.
    """
    if isinstance(unit.node, Definition):
        paths = (_acted_on(each) for each in unit.node.decorator_list)
        return tuple((unit.node.name, path) for path in paths if path)
    if not unit.roots:
        return ()
    found: list[tuple[str, tuple[str, ...]]] = []
    for part in running(unit.node):
        path: tuple[str, ...] = ()
        if isinstance(part, ast.Expr) and isinstance(part.value, ast.Call):
            path = _acted_on(part.value)
        elif isinstance(part, (ast.Attribute, ast.Subscript)) and not isinstance(part.ctx, ast.Load):
            path = _acted_on(part)
            path = (*path, "=") if path else ()
        if path:
            found.append((path[0], path))
    return tuple(found)


def _acted_on(node: ast.expr) -> tuple[str, ...]:
    while isinstance(node, (ast.Call, ast.Subscript)) or (isinstance(node, ast.Attribute) and not dotted(node)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return dotted(node)
