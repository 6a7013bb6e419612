"""Pieces of syntax that the rewriting of a pipeline reads and makes."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import TypeVar

CONTROL = "__penstock__"
"""The name by which rewritten code reaches the control object of its trace."""

DONE = "__penstock_done"
VALUE = "__penstock_value"
FLAG = "__penstock_"
"""Begins the names of all that says how far a function has come: whether it has returned, and what."""

Comprehension = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Function = (ast.FunctionDef, ast.AsyncFunctionDef)
_Node = TypeVar("_Node", bound=ast.AST)


def own_nodes(*roots: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run in the same scope as ``roots``, comprehensions included.

    Bodies of lambdas, functions and classes are left out; their defaults, decorators and bases are not.
    """
    pending = list(roots)
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, (ast.Lambda, *Function)):
            pending.extend(each for each in (*node.args.defaults, *node.args.kw_defaults) if each is not None)
            pending.extend(getattr(node, "decorator_list", ()))
        elif isinstance(node, ast.ClassDef):
            pending.extend((*node.decorator_list, *node.bases, *node.keywords))
        else:
            pending.extend(ast.iter_child_nodes(node))


def bound(*roots: ast.AST) -> set[str]:
    """The names that running ``roots`` may bind or delete in their scope."""
    nodes = list(own_nodes(*roots))
    inner = {id(part) for node in nodes if isinstance(node, ast.comprehension) for part in ast.walk(node.target)}
    return {name for node in nodes if id(node) not in inner for name in _bound_by(node)}


def _bound_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, (*Function, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
        yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest


def placed(node: _Node, where: ast.AST) -> _Node:
    """The node, with the place of ``where`` wherever it has none of its own yet."""
    for each in ast.walk(node):
        if not hasattr(each, "lineno"):
            ast.copy_location(each, where)
    return node


def load(name: str) -> ast.Name:
    """The name, read."""
    return ast.Name(name, ast.Load())


def assign(name: str, value: ast.expr, where: ast.AST) -> ast.stmt:
    """``name = value``."""
    return placed(ast.Assign([ast.Name(name, ast.Store())], value), where)


def attribute(receiver: str, name: str, where: ast.AST) -> ast.Attribute:
    """``receiver.name``, which takes up no room: one that spans lines Python would place at its last."""
    start = ast.copy_location(ast.Constant(None), where)
    start.end_lineno, start.end_col_offset = start.lineno, start.col_offset
    return placed(ast.Attribute(load(receiver), name, ast.Load()), start)


def call(receiver: str, method: str, arguments: Iterable[ast.expr], where: ast.AST) -> ast.Call:
    """``receiver.method(*arguments)``."""
    return placed(ast.Call(attribute(receiver, method, where), list(arguments), []), where)


def ask(method: str, arguments: Iterable[ast.expr], where: ast.AST) -> ast.Call:
    """A call of the control object."""
    return call(CONTROL, method, arguments, where)


def place_of(statement: ast.stmt) -> ast.AST:
    """The part of a compound statement that always runs; the statement itself if it is a simple one."""
    if isinstance(statement, (ast.If, ast.While)):
        return statement.test
    if isinstance(statement, (ast.For, ast.AsyncFor)):
        return statement.iter
    if isinstance(statement, (ast.With, ast.AsyncWith)):
        return statement.items[0].context_expr
    return statement.subject if isinstance(statement, ast.Match) else statement
