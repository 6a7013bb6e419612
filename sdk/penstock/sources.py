"""Finds the author's line and expression that led to a call, for messages and spans."""

from __future__ import annotations

import ast
import functools
import itertools
import linecache
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Literal, TypeAlias

from penstock import cells
from penstock.diagnostics import Location
from penstock.keeping import last_kept

_OWN_FOLDER = str(Path(os.path.abspath(__file__)).parent) + os.sep


@dataclass(frozen=True)
class CallSite:
    """A call in the author's source: the file, the line, and the call's own syntax where it was found."""

    path: str
    line: int
    call: ast.Call | None = None

    def location(self, node: ast.expr | None = None) -> Location:
        """The place of a part of the call (by default all of it), with carets under it."""
        return location_of(self.path, node or self.call, self.line)

    def argument(self, name: str, position: int) -> ast.expr | None:
        """The expression given for a parameter by keyword, or else at its position; None where it can't be told."""
        if self.call is None:
            return None
        for keyword in self.call.keywords:
            if keyword.arg == name:
                return keyword.value
        plain = list(itertools.takewhile(lambda arg: not isinstance(arg, ast.Starred), self.call.args))
        return plain[position] if position < len(plain) else None


def call_site(callee: str = "") -> CallSite:
    """The innermost call in the author's code that is under way; ``callee`` is the name called, where known."""
    frame = author_frame()
    path = frame.f_code.co_filename
    syntax = _syntax(path)
    exact = _position(frame.f_code, frame.f_lasti)
    found = syntax.calls.get(exact) if exact is not None else _nearest(syntax.calls.values(), frame.f_lineno, callee)
    return CallSite(path, found.lineno if found else frame.f_lineno, found)


Role: TypeAlias = Literal["condition", "items"]
"""What an expression decides: whether something runs, or how often."""


def operation_site(role: Role | None = None) -> tuple[Location, ast.expr | None]:
    """The place in the author's code that is being run, and its innermost expression where that can be told.

    Python tells it from 3.11 on. Before that, it is the one expression of the line that has the ``role``.
    """
    frame = author_frame()
    path, exact = frame.f_code.co_filename, _position(frame.f_code, frame.f_lasti)
    found = _syntax(path).expressions.get(exact) if exact is not None else _only_one(path, frame.f_lineno, role)
    return location_of(path, found, frame.f_lineno), found


def _only_one(path: str, line: int, role: Role | None) -> ast.expr | None:
    tree = _syntax(path).tree
    found = [each for node in ast.walk(tree) for each in _with_role(node, role)] if tree is not None else []
    around = [each for each in found if each.lineno <= line <= (each.end_lineno or each.lineno)]
    return around[0] if len(around) == 1 else None


def _with_role(node: ast.AST, role: Role | None) -> list[ast.expr]:
    if role == "condition" and isinstance(node, (ast.If, ast.IfExp, ast.While, ast.Assert)):
        return [node.test]
    if isinstance(node, ast.comprehension):
        return {"condition": node.ifs, "items": [node.iter], None: []}[role]
    return [node.iter] if role == "items" and isinstance(node, ast.For) else []


def location_of(path: str, node: ast.expr | ast.stmt | None, line: int) -> Location:
    """Where a piece of syntax stands. Without one, the line alone; carets mark what of it is on its first line."""
    number = node.lineno if node is not None else line
    return marked(cells.shown(path), number, linecache.getline(path, number).rstrip("\n"), node)


def marked(path: str, line: int, text: str, node: ast.expr | ast.stmt | None) -> Location:
    """A line as the place of a piece of syntax that begins on it."""
    if node is None:
        return Location(path, line, text)
    start = _characters(text, node.col_offset)
    same_line = node.end_lineno == node.lineno and node.end_col_offset is not None
    end = _characters(text, node.end_col_offset or 0) if same_line else len(text)
    return Location(path, line, text, start, end)


def author_frame() -> FrameType:
    """The innermost frame of code that is not Penstock's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_back is not None and _is_own(frame.f_code.co_filename):
        frame = frame.f_back
    assert frame is not None
    return frame


@functools.lru_cache(maxsize=256)
def _is_own(path: str) -> bool:
    return os.path.abspath(path).startswith(_OWN_FOLDER) or path.startswith("<frozen")


Extent: TypeAlias = "tuple[int | None, int | None, int | None, int | None]"
"""The lines and columns at which a piece of syntax begins and ends."""


@dataclass(frozen=True)
class _Syntax:
    """A file's syntax; its expressions, of several with one extent the outermost; and the calls among them."""

    lines: list[str]
    tree: ast.Module | None
    expressions: Mapping[Extent, ast.expr]
    calls: Mapping[Extent, ast.Call]


_SYNTAX: dict[str, _Syntax] = {}


def _syntax(path: str) -> _Syntax:
    lines = linecache.getlines(path)
    known = _SYNTAX.get(path)
    if known is None or known.lines is not lines:
        known = _SYNTAX[path] = _parsed(lines)
    return known


def _parsed(lines: list[str]) -> _Syntax:
    try:
        tree = ast.parse("".join(lines))
    except SyntaxError:  # a notebook's magic, or a file that changed since it was imported
        return _Syntax(lines, None, {}, {})
    expressions: dict[Extent, ast.expr] = {}
    calls: dict[Extent, ast.Call] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.expr):
            extent = (node.lineno, node.end_lineno, node.col_offset, node.end_col_offset)
            expressions.setdefault(extent, node)
            if isinstance(node, ast.Call):
                calls.setdefault(extent, node)
    return _Syntax(lines, tree, expressions, calls)


def _position(code: CodeType, instruction: int) -> Extent | None:
    """The extent of the expression being run, which Python knows from 3.11 on."""
    positions = _positions(code)
    return positions[instruction // 2] if positions else None


@last_kept
def _positions(code: CodeType) -> list[Extent]:
    found: Callable[[], Iterator[Extent]] = getattr(code, "co_positions", lambda: iter(()))  # from 3.11 on
    return list(found())


def _nearest(calls: Iterable[ast.Call], line: int, callee: str) -> ast.Call | None:
    around = [call for call in calls if call.lineno <= line <= (call.end_lineno or call.lineno)]
    named = [call for call in around if _called_name(call.func) == callee] or around
    return min(named, key=lambda call: ((call.end_lineno or 0) - call.lineno, -call.lineno), default=None)


def _called_name(function: ast.expr) -> str:
    while isinstance(function, ast.Call):  # `train.with_options(...)(rows)`
        function = function.func
    if isinstance(function, ast.Attribute):
        return _called_name(function.value) if function.attr == "with_options" else function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _characters(text: str, offset: int) -> int:
    """Characters in the first ``offset`` bytes: syntax trees count columns in UTF-8 bytes."""
    return len(text.encode()[:offset].decode(errors="ignore"))
