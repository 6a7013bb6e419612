"""Finds what would catch a step's failure around a call of it, in functions that are not the pipeline's own."""

from __future__ import annotations

import ast
import functools
import linecache
import sys
from collections.abc import Iterator
from types import FrameType
from typing import TypeGuard

from penstock.jumps import is_try
from penstock.managers import goes_on
from penstock.modules import first_line
from penstock.syntax import CONTROL, Function, own_nodes


def catchers() -> Iterator[tuple[str, ast.stmt]]:
    """The statements, with their files, that would go on after an exception here, up to the pipeline's function."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and CONTROL not in frame.f_code.co_freevars:
        is_own = frame.f_globals.get("__name__", "").partition(".")[0] == "penstock"
        if is_own and frame.f_code.co_name == "_called":
            return  # a pipeline's function whose source could not be read
        if not is_own:
            file = frame.f_code.co_filename
            found = _catching("".join(linecache.getlines(file)), frame.f_code.co_firstlineno, frame.f_code.co_name)
            yield from ((file, each) for each in found if _is_in(each, frame.f_lineno))
        frame = frame.f_back


@functools.lru_cache(maxsize=256)
def _catching(text: str, line: int, name: str) -> tuple[ast.Try | ast.With, ...]:
    """The statements of a function after which it goes on though something in them was raised."""
    functions = (each for each in _functions(text) if each.name == name and first_line(each) == line)
    nodes = (node for each in functions for node in own_nodes(*each.body))
    return tuple(node for node in nodes if _catches(node))


@functools.lru_cache(maxsize=4)
def _functions(text: str) -> tuple[ast.FunctionDef | ast.AsyncFunctionDef, ...]:
    """All functions of a file, which is read once for all that are looked at."""
    try:
        return tuple(each for each in ast.walk(ast.parse(text)) if isinstance(each, Function))
    except (SyntaxError, ValueError):
        return ()


def _catches(node: ast.AST) -> TypeGuard[ast.Try | ast.With]:
    if isinstance(node, ast.With):
        managers = (item.context_expr for item in node.items)
        return any(isinstance(each, ast.Call) and ast.unparse(each.func).endswith("suppress") for each in managers)
    return is_try(node) and goes_on(node)


def _is_in(statement: ast.Try | ast.With, line: int) -> bool:
    last = statement.body[-1]
    return statement.body[0].lineno <= line <= (last.end_lineno or last.lineno)
