"""Takes the jumps out of a function: ``return``, ``break`` and ``continue`` in a block become flags.

While a pipeline is traced, both arms of a deferred condition run, one after the other, so that neither may leave. What
follows a jump is put where it does not run after it::

    for x in rows:                  __penstock_brk_1 = False
        if bad(x):                  for x in rows:
            break                       if not __penstock_brk_1:
        use(x)                              if bad(x):
                                                __penstock_brk_1 = True
                                            else:
                                                use(x)
                                        if __penstock__.stops(__penstock_brk_1):
                                            break

Flags are ordinary names, which branches and loops merge as they do the author's. For ordinary values, all of it means
what the author's jumps mean.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from penstock.diagnostics import DefinitionError, Diagnostic
from penstock.sources import location_of
from penstock.syntax import CONTROL, DONE, FLAG, VALUE, Function, ask, assign, bound, load, own_nodes, place_of, placed

LOST = "__penstock_lost_"
"""Begins the names that say whether a `with` swallowed an exception; ordinary values, whatever is deferred."""
_Jump = (ast.Return, ast.Break, ast.Continue)
_Loop = (ast.For, ast.While)


class Rest(ast.If):
    """A condition one arm of which returns from the function: the other one is all that is left of it."""


class Guard(ast.If):
    """A condition that none of some flags is set: its one arm is all that follows where they may have been."""


class Stop(ast.If):
    """A condition over ordinary values alone, such as the one that leaves an ordinary loop: plain Python, no branch."""


@dataclass(frozen=True)
class _Flags:
    """The flags of one loop."""

    broken: str
    skipped: str


def without_jumps(body: list[ast.stmt], file: str) -> list[ast.stmt]:
    """The body of a function with its nested jumps as flags. The statements given are used up.

    Raises:
        DefinitionError: a ``finally`` block is left by a jump, which would swallow an exception.
    """
    names = bound(*body)
    first = 1 if len(body) > 1 and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant) else 0
    where = place_of(next(filter(_runs, body), body[0]))
    nested = _jumps(each for each in body if not isinstance(each, _Jump))
    returns = any(isinstance(jump, ast.Return) for jump in nested)
    written, _ = _Structure(file, returns).block(body, None)
    if returns:
        begin = [assign(DONE, ast.Constant(False), where), assign(VALUE, ast.Constant(None), where)]
        written[first:first] = begin
        written.append(placed(ast.Return(ask("returned", [load(DONE), load(VALUE)], where)), where))
    written = _without_unread(written)
    lost = [assign(name, ast.Constant(None), where) for name in sorted(names - bound(*written))]
    if lost:  # what can't be reached still says which names are the function's own
        written.append(placed(Stop(ast.Constant(False), lost, []), where))
    return written


class _Structure:
    """Writes blocks without jumps, each with the flags that it may set."""

    def __init__(self, file: str, returns: bool) -> None:
        self.file = file
        self.returns = returns
        self.numbers = itertools.count(1)

    def block(self, statements: list[ast.stmt], loop: _Flags | None) -> tuple[list[ast.stmt], frozenset[str]]:
        written: list[ast.stmt] = []
        for index, each in enumerate(statements):
            statement, rest = each, statements[index + 1 :]
            if isinstance(statement, ast.Raise) or (isinstance(statement, ast.Return) and not self.returns):
                return [*written, statement], frozenset()
            if isinstance(statement, _Jump):
                lines, flag = self.jump(statement, loop)
                return [*written, *lines], frozenset([flag])
            if isinstance(statement, ast.If):
                statement, rest = _with_rest(statement, rest)
            where = place_of(statement)
            lines, flags = self.statement(statement, loop)
            written += lines
            if flags and rest:
                afresh = _afresh(rest, where)
                lines, later = self.block(rest, loop)
                return [*written, _guard(flags, [*afresh, *lines], where)], flags | later
            if flags or len(rest) < len(statements) - index - 1:
                return written, flags
        return written, frozenset()

    def jump(self, statement: ast.stmt, loop: _Flags | None) -> tuple[list[ast.stmt], str]:
        if isinstance(statement, ast.Return):
            value = assign(VALUE, statement.value or ast.Constant(None), statement)
            return [value, assign(DONE, ast.Constant(True), statement)], DONE
        assert loop is not None
        flag = loop.broken if isinstance(statement, ast.Break) else loop.skipped
        return [assign(flag, ast.Constant(True), statement)], flag

    def statement(self, statement: ast.stmt, loop: _Flags | None) -> tuple[list[ast.stmt], frozenset[str]]:
        flags: frozenset[str] = frozenset()
        if isinstance(statement, _Loop):
            return self.loop(statement, loop)
        if isinstance(statement, ast.If):
            statement.body, flags = self.block(statement.body, loop)
            statement.orelse, others = self.block(statement.orelse, loop)
            flags |= others
        elif isinstance(statement, ast.With):
            return self.context(statement, loop)
        elif isinstance(statement, ast.Match):
            for case in statement.cases:
                case.body, others = self.block(case.body, loop)
                flags |= others
        elif is_try(statement):
            flags = self.attempt(statement, loop)
        return [statement], flags

    def context(self, statement: ast.With, loop: _Flags | None) -> tuple[list[ast.stmt], frozenset[str]]:
        where = place_of(statement)
        undone = any(_may_fail_at_end(node) for node in own_nodes(*statement.body))
        statement.body, flags = self.block(statement.body, loop)
        if not undone or not flags:
            return [statement], flags
        lost = f"{LOST}{next(self.numbers)}"
        statement.body.append(assign(lost, ast.Constant(False), where))
        back = placed(Stop(load(lost), _unset(flags, where), []), where)
        return [assign(lost, ast.Constant(True), where), statement, back], flags

    def attempt(self, statement: ast.Try, loop: _Flags | None) -> frozenset[str]:
        for jump in _jumps(statement.finalbody):
            written = type(jump).__name__.lower()
            message = f"`{written}` in a `finally` block would swallow an exception"
            fix = f"put the `{written}` after the `try` statement"
            raise DefinitionError(Diagnostic("P310", message, location_of(self.file, jump, jump.lineno), fix))
        undone = any(_may_fail_at_end(node) for node in own_nodes(*statement.body))
        afresh = _afresh(statement.orelse, statement)
        statement.body, flags = self.block(statement.body, loop)
        leaving = flags
        for handler in statement.handlers:
            handler.body, others = self.block(handler.body, loop)
            if undone:  # a jump in the body was under way when this exception took its place
                handler.body[:0] = _unset(flags, handler)
            leaving |= others
        orelse, others = self.block(statement.orelse, loop)
        statement.orelse = [_guard(flags, [*afresh, *orelse], statement)] if flags and orelse else orelse
        statement.finalbody, _ = self.block(statement.finalbody, None)
        return leaving | others

    def loop(self, statement: ast.For | ast.While, outer: _Flags | None) -> tuple[list[ast.stmt], frozenset[str]]:
        where = place_of(statement)
        number = next(self.numbers)
        own = _Flags(f"{FLAG}brk_{number}", f"{FLAG}cont_{number}")
        afresh = _afresh(statement.body, where)
        body, flags = self.block(statement.body, own)
        if own.skipped in flags:
            body.insert(0, assign(own.skipped, ast.Constant(False), where))
        stopping = flags & {DONE, own.broken}
        if stopping and isinstance(statement, ast.For):
            stop = ask("stops", [load(flag) for flag in sorted(stopping)], statement.target)
            body = [_guard(stopping, [*afresh, *body], statement.target), _stop(stop, statement.target)]
        elif stopping:
            known = [ask("plain", [load(flag), ast.Constant("while")], where) for flag in sorted(stopping)]
            body = [*body, _stop(_either(known, where), where)]
        begin = [assign(own.broken, ast.Constant(False), where)] if own.broken in flags else []
        afresh = _afresh(statement.orelse, where)
        orelse, later = self.block(statement.orelse, outer)
        statement.body, statement.orelse = body, []
        end = [_guard(stopping, [*afresh, *orelse], where)] if stopping and orelse else orelse
        return [*begin, statement, *end], (flags & {DONE}) | later


def flags_of(loop: ast.For) -> set[str]:
    """The flags that say how a loop was left; those of loops inside it, or of one iteration, mean nothing after it."""
    last = loop.body[-1]
    flags = {each.id for each in ast.walk(last.test) if isinstance(each, ast.Name)} if isinstance(last, Stop) else set()
    return flags - {CONTROL} | ({VALUE} if DONE in flags else set())


def is_try(statement: ast.AST) -> TypeGuard[ast.Try]:
    """Whether it is a ``try``, with ``except`` or ``except*``."""
    return type(statement).__name__ in ("Try", "TryStar")  # `TryStar` is new in Python 3.11


def _with_rest(statement: ast.If, rest: list[ast.stmt]) -> tuple[ast.If, list[ast.stmt]]:
    """The condition with what follows it in the arm that gets there, if the other one always jumps away."""
    body, orelse = statement.body, statement.orelse
    if _ends(body) and _ends(orelse):
        return statement, []
    for jumping, body, orelse in (
        (statement.body, statement.body, [*statement.orelse, *rest]),
        (statement.orelse, [*statement.body, *rest], statement.orelse),
    ):
        jumps = list(_jumps(jumping))
        if rest and jumps and _ends(jumping):
            kind = Rest if all(isinstance(jump, ast.Return) for jump in jumps) else ast.If
            return ast.copy_location(kind(statement.test, body, orelse), statement), []
    return statement, rest


def _runs(statement: ast.stmt) -> bool:
    """Whether anything is carried out on its line."""
    value = getattr(statement, "value", None)
    is_declaration = isinstance(statement, ast.AnnAssign) and value is None
    is_text = isinstance(statement, ast.Expr) and isinstance(value, ast.Constant)
    return not is_declaration and not is_text and not isinstance(statement, (ast.Global, ast.Nonlocal))


def _ends(statements: list[ast.stmt]) -> bool:
    """Whether nothing that follows these statements can be reached."""
    return any(
        isinstance(each, (*_Jump, ast.Raise)) or (isinstance(each, ast.If) and _ends(each.body) and _ends(each.orelse))
        for each in statements
    )


def _jumps(statements: Iterable[ast.AST]) -> Iterator[ast.Return | ast.Break | ast.Continue]:
    """The jumps that lead out of these statements."""
    for each in statements:
        if isinstance(each, _Jump):
            yield each
        elif isinstance(each, _Loop):
            yield from (jump for jump in _jumps(each.body) if isinstance(jump, ast.Return))
            yield from _jumps(each.orelse)
        elif not isinstance(each, (*Function, ast.ClassDef, ast.expr)):
            yield from _jumps(ast.iter_child_nodes(each))


def _may_fail_at_end(node: ast.AST) -> bool:
    """Whether an exception may take the place of a jump that leaves it."""
    return (isinstance(node, ast.With) or bool(getattr(node, "finalbody", ()))) and any(_jumps([node]))


def _afresh(statements: list[ast.stmt], where: ast.AST) -> list[ast.stmt]:
    """Says that the function has not returned, where a loop in a guarded block would ask again."""
    loops = (node for node in own_nodes(*statements) if isinstance(node, _Loop))
    returning = any(isinstance(jump, ast.Return) for node in loops for jump in _jumps(node.body))
    return [assign(DONE, ast.Constant(False), where)] if returning else []


def _unset(flags: frozenset[str], where: ast.AST) -> list[ast.stmt]:
    """Takes back the jumps in a block, for an exception took their place when they were under way."""
    value = [assign(VALUE, ast.Constant(None), where)] if DONE in flags else []
    return [*value, *(assign(flag, ast.Constant(False), where) for flag in sorted(flags))]


def _either(tests: Sequence[ast.expr], where: ast.AST) -> ast.expr:
    return placed(ast.BoolOp(ast.Or(), list(tests)) if len(tests) > 1 else tests[0], where)


def _guard(flags: frozenset[str], body: list[ast.stmt], where: ast.AST) -> ast.If:
    kind = Rest if flags == {DONE} else Guard
    # Says what holds there anyway, so that a trace need not carry on what the flags were made of.
    body = [*(assign(flag, ast.Constant(False), where) for flag in sorted(flags)), *body]
    jumped = _either([load(flag) for flag in sorted(flags)], where)
    return placed(kind(ast.UnaryOp(ast.Not(), jumped), body, []), where)


def _stop(test: ast.expr, where: ast.AST) -> ast.stmt:
    return placed(Stop(test, [ast.Break()], []), where)


def _without_unread(statements: list[ast.stmt]) -> list[ast.stmt]:
    """The statements without flags that nothing asks for, which would only be merged in vain."""
    names = (node for node in own_nodes(*statements) if isinstance(node, ast.Name))
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    module = _Unread(read).visit(ast.Module(statements, []))
    assert isinstance(module, ast.Module)
    return module.body


class _Unread(ast.NodeTransformer):
    def __init__(self, read: set[str]) -> None:
        self.read = read

    def visit(self, node: ast.AST) -> ast.AST:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id.startswith(FLAG) and target.id not in self.read:
            return ast.copy_location(ast.Pass(), node)
        return node if isinstance(node, ast.expr) else self.generic_visit(node)
