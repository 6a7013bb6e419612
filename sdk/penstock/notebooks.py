"""A notebook's cells as one module: the statements that still count, in the order in which they were run.

What steps import must be what the notebook's names stand for now. So it is all that ran, one cell after another, short
of what was undone since: a function that was defined again, a constant that was assigned anew.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from penstock import cells
from penstock.cells import Cell
from penstock.changes import Changes
from penstock.effects import effects
from penstock.harness import bound_names, root_names, running
from penstock.modules import Definition, Function, Module, Unit, find_module, first_line, parsed_module

_FRESH = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.With, ast.For, *Definition)


def read_notebook() -> Module:
    """The module that the cells run so far amount to; its imports find modules of the author in the current folder."""
    tried = frozenset(name for name, value in tuple(cells.namespace().items()) if _is_step_or_pipeline(value))
    return _read(cells.all_cells(), Path.cwd(), tried)


def line_in(module: Module, cell: Cell, line: int) -> int:
    """Where in the module a line of a cell's code stands."""
    return next(above for above, name in module.cells if name == cell.name) + cell.above + line


@functools.lru_cache(maxsize=4)
def _read(run: tuple[Cell, ...], root: Path, tried: frozenset[str]) -> Module:
    """``tried`` are the names of steps and pipelines: calling one by itself is for the notebook's reader."""
    lines, starts = [""], []
    ran, futures = {1}, set()
    for cell in run:
        starts.append((len(lines) - cell.above, cell.name))
        for node in _nodes(cell):
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                futures |= {alias.name for alias in node.names}
            elif not _is_for_the_reader(node, tried):
                ran |= {len(lines) + number for number in _lines(node)}
        lines += cell.text.split("\n")
    if futures:
        lines[0] = f"from __future__ import {', '.join(sorted(futures))}"

    def module(kept: set[int]) -> Module:
        text = "\n".join(line if i in kept or line.startswith("#") else "" for i, line in enumerate(lines, 1))
        return parsed_module(cells.MODULE, root / cells.FILE, root, text, tuple(starts))

    return module({1, *(number for unit in _lasting(module(ran)) for number in _lines(unit.node))})


def _nodes(cell: Cell) -> Iterator[ast.stmt]:
    """The statements of a cell that ran to their end."""
    try:
        body = ast.parse(cell.text).body
    except SyntaxError:
        return
    for node in body:
        if cell.stopped_at is not None and (node.end_lineno or node.lineno) >= cell.stopped_at:
            return
        yield node


def _lines(node: ast.stmt) -> range:
    return range(first_line(node), (node.end_lineno or node.lineno) + 1)


def _is_for_the_reader(node: ast.stmt, tried: frozenset[str]) -> bool:
    """Whether a statement is the notebook's alone: a magic, one that awaits, a step or pipeline that is tried."""
    if any(isinstance(part, (ast.Await, ast.AsyncFor, ast.AsyncWith)) for part in running(node)):
        return True
    return isinstance(node, ast.Expr) and not root_names(node).isdisjoint({"get_ipython", *tried})


def _is_step_or_pipeline(value: object) -> bool:
    return type(value).__module__ == "penstock.authoring"


# --- which statements count -------------------------------------------------------------------------------------------


def _lasting(module: Module) -> list[Unit]:
    """The statements that functions or classes may need, without what was undone before it was used.

    Undone is a statement if everything that it binds or changes was bound anew since.
    """
    effect_of = _Effects(module)
    needed = effect_of.closure(unit.node.name for unit in module.units if isinstance(unit.node, Definition))
    kept: list[Unit] = []
    undone: set[str] = set()
    for unit in reversed(module.units):
        changed = effect_of.changes(unit)
        if changed.isdisjoint(needed) or changed <= undone:
            continue
        kept.append(unit)
        undone |= _bound_afresh(unit.node)
        undone -= effect_of.reads(unit)
    return kept


class _Effects:
    """What the statements of a notebook's module read and change when they run."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.judge = Changes(find_module, {module.name: set(module.by_name)}, ())

    def changes(self, unit: Unit) -> set[str]:
        """The names that a statement binds or whose objects it changes; none for a call that changes nothing."""
        names = set(unit.bound)
        for effect in effects(unit) if not unit.defines else ():
            if self.judge.made_by(self.module, effect):
                called = self._called(effect.path[0])
                names |= {path[0] for _, path in effect.given}
                names |= {name for each in called for name in self.module.references(each).changes}
        call = unit.node.value if isinstance(unit.node, ast.Expr) else None
        is_plain = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and bool(self._called(call.func.id))
        return names if is_plain else names | unit.roots

    def reads(self, unit: Unit) -> set[str]:
        """The names that are read while a statement runs, as far as that can be told."""
        direct = set(_names(_at_once(unit.node)))
        if not isinstance(unit.node, Definition):
            return self.closure(direct)
        calls = (part for part in _at_once(unit.node) if isinstance(part, ast.Call))
        started = (*unit.node.decorator_list, *getattr(unit.node, "bases", ()), *calls)
        return direct | self.closure(_names(part for each in started for part in ast.walk(each)))

    def closure(self, names: Iterable[str]) -> set[str]:
        """The names, and all that the statements behind them mention, at any remove."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting.extend(self._mentioned.get(name, ()))
        return found

    def _called(self, name: str) -> list[Unit]:
        """The functions that calling one may run."""
        if not any(isinstance(each.node, Function) for each in self.module.by_name.get(name, ())):
            return []
        return [unit for each in self.closure([name]) for unit in self.module.by_name.get(each, ()) if unit.defines]

    @functools.cached_property
    def _mentioned(self) -> Mapping[str, set[str]]:
        table: dict[str, set[str]] = {}
        for unit in self.module.units:
            mentioned = {each.path[0] for each in self.module.references(unit).names}
            for name in unit.names:
                table.setdefault(name, set()).update(mentioned)
        return table


def _bound_afresh(node: ast.stmt) -> set[str]:
    """The names that stand for something new after a statement, whatever they stood for before."""
    if isinstance(node, ast.If):
        branches = [node.body, node.orelse]
    elif isinstance(node, ast.Try):
        branches = [node.body, *(each.body for each in node.handlers)]
    elif isinstance(node, ast.AnnAssign) and node.value is None:
        return set()
    else:
        return bound_names(node) if isinstance(node, _FRESH) else set()
    return set.intersection(*({name for each in body for name in _bound_afresh(each)} for body in branches))


def _at_once(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a statement that run with it: those of a class's body, but not those of functions."""
    yield node
    for name, value in ast.iter_fields(node):
        if name != "body" or not isinstance(node, (*Function, ast.Lambda)):
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, ast.AST):
                    yield from _at_once(part)


def _names(parts: Iterable[ast.AST]) -> Iterator[str]:
    return (part.id for part in parts if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Store))
