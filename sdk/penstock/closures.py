"""Steps that are defined inside functions: what their free variables stand for, lifted to the top of the module."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from penstock.functions import class_definition, definition_of, source_file, statement_at
from penstock.harness import bound_names, running
from penstock.modules import Definition, Function, Module, Unit, written_unit
from penstock.reaching import Place, Search, clash
from penstock.references import Imported, Reference, local_names

_UNKNOWN = object()
_FIX = "pass it as a parameter, or make it inside the step"


class Closures:
    """Adds functions and classes to a search, with what the functions around them lend to their names."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self.cells: dict[Unit, dict[str, object]] = {}
        self.paths: dict[Unit, tuple[ast.AST, ...]] = {}
        search.read_local = self._read_local

    def enter(self, function: FunctionType, path: tuple[ast.AST, ...]) -> None:
        """Adds the step's own function."""
        module, node = self.search.entry, statement_at(path)
        if self._is_inner(path):
            unit = self._lift(module, path, _cells_of(function))
        else:
            self.search.use(module, (function.__name__,), Place(module, node))
            unit = next(each for each in module.units if each.node in path)
        for name, place in module.references(unit).writes:
            message = (
                f"`global {name}` is assigned by a step: each step is a process of its own, so that no other sees it"
            )
            self.search.problem(
                "P107", message, Place(module, place), "return the value, and pass it on to the next step"
            )

    def add(self, thing: Any) -> None:
        """Adds a further function or class; one of a library counts as an import of its module."""
        place = Place(self.search.entry, self.search.entry.tree)
        if source_file(thing) is None:
            name = str(getattr(thing, "__module__", ""))
            if name and name != "__main__":
                self.search.need(name, place)
            return
        found = class_definition(thing) if isinstance(thing, type) else definition_of(inspect.unwrap(thing))
        if found is None:
            message = f"the definition of `{thing.__qualname__}` was not found in its file"
            self.search.problem("P103", message, place, "define the class once, by a class statement")
            return
        module, path = self._same(found[0]), found[1]
        if self._is_inner(path):
            self._lift(module, path, _cells_of(thing))
        else:
            top = next(each for each in path[1:] if isinstance(each, Definition))
            self.search.use(module, (top.name,), place)

    def _same(self, module: Module) -> Module:
        return self.search.modules.get(module.name, module)

    @staticmethod
    def _is_inner(path: tuple[ast.AST, ...]) -> bool:
        return any(isinstance(each, Function) for each in path[:-1])

    # lifting

    def _lift(self, module: Module, path: tuple[ast.AST, ...], cells: dict[str, object]) -> Unit:
        unit = module.lifted(path)
        known = self._put(module, unit)
        if known is unit:
            self.cells[unit], self.paths[unit] = cells, path
            self.search.visit(module, unit)
        return known

    def _put(self, module: Module, unit: Unit) -> Unit:
        """Makes a unit stand at the top of its module, unless it does already."""
        self.search.include(module)
        table = self.search.lifted.setdefault(module.name, {})
        for name in unit.bound:
            known = table.setdefault(name, unit)
            if known is not unit:
                texts = (known.text(None)[1],), (unit.text(None)[1],)
                if texts[0] != texts[1] or known.position != unit.position:
                    self.search.problems.append(clash(module, name, *texts))
                return known
        return unit

    # local names

    def _read_local(self, module: Module, unit: Unit, reference: Reference) -> bool:
        name = reference.path[0]
        owner = next((each for each in reversed(unit.enclosing) if name in local_names(each)), None)
        if owner is None:
            return False
        place = Place(module, reference.node)
        if name in unit.bound:
            return True
        bindings = list(_bindings(owner, name))
        cells = self.cells.get(unit, {})
        single = bindings[0] if len(bindings) == 1 else None
        if single is not None and isinstance(single[-1], (ast.Import, ast.ImportFrom)):
            self._lift_import(module, single, reference)
        elif single is not None and _is_constant(single[-1], cells.get(name, _UNKNOWN)):
            self._lift(module, (*self._around(unit, owner), *single), {})
        elif name in cells:
            self._lift_value(module, name, cells[name], owner, place)
        elif single is not None and isinstance(single[-1], Definition):
            self._lift(module, (*self._around(unit, owner), *single), {})
        elif not reference.weak:
            message = f"`{name}` is a variable of the function around the step, and has no value yet"
            self.search.problem("P105", message, place, "define it above the step, at the top of the module")
        return True

    def _around(self, unit: Unit, owner: ast.AST) -> tuple[ast.AST, ...]:
        path = self.paths[unit]
        return path[: path.index(owner) + 1]

    def _lift_import(self, module: Module, path: tuple[ast.AST, ...], reference: Reference) -> None:
        node, name = path[-1], reference.path[0]
        assert isinstance(node, (ast.Import, ast.ImportFrom))
        place = Place(module, node)
        for imported in Imported.all_of(node):
            if imported.binds == name:
                self._put(module, written_unit(_import_text(node, imported), (node.lineno, node.col_offset)))
                self.search.load(module, imported, place, optional=False)
                self.search.follow(module, imported, reference.path[1:], place)

    def _lift_value(self, module: Module, name: str, value: Any, owner: ast.stmt, place: Place) -> None:
        position = (owner.lineno, owner.col_offset)
        if isinstance(value, ModuleType):
            text = f"import {value.__name__}" if value.__name__ == name else f"import {value.__name__} as {name}"
            self._lift_text(module, text, position, place)
        elif isinstance(value, (FunctionType, type, BuiltinFunctionType)) or hasattr(value, "__wrapped__"):
            self._lift_definition(module, name, value, position, place)
        else:
            constant = literal(value)
            if constant is None:
                kind = type(value).__qualname__
                message = f"`{name}` is a live object of type {kind}, held by the function around the step"
                self.search.problem("P105", message, place, _FIX)
            else:
                self._put(module, written_unit(f"{name} = {constant}", position))

    def _lift_definition(self, module: Module, name: str, value: Any, position: tuple[int, int], place: Place) -> None:
        plain: Any = inspect.unwrap(value)
        if source_file(plain) is None:
            self._lift_library(module, name, plain, position, place)
            return
        found = class_definition(plain) if isinstance(plain, type) else definition_of(plain)
        if found is None or self._is_replaced(value, found):
            message = (
                f"`{name}` can't be told from its source: a decorator replaced it, or it is defined more than once"
            )
            self.search.problem("P105", message, place, "use functools.wraps in the decorator, or define it at the top")
            return
        home, path = self._same(found[0]), found[1]
        inner = self._is_inner(path)
        if home is not module and inner:
            message = f"`{name}` was made by a function of {home.file}: it is held by the function around the step"
            self.search.problem("P105", message, place, _FIX)
            return
        real = statement_at(path)
        assert isinstance(real, Definition)
        if inner:
            self._lift(home, path, _cells_of(plain))
        else:
            self.search.use(home, (real.name,), place)
        if home is not module:
            self._lift_text(module, _from_import(home.name, real.name, name), position, place)
        elif real.name != name:
            self._put(module, written_unit(f"{name} = {real.name}", (real.end_lineno or real.lineno, 1)))

    @staticmethod
    def _is_replaced(value: Any, found: tuple[Module, tuple[ast.AST, ...]]) -> bool:
        """Whether a bare function is what a decorator that hides it was given: its source would decorate it again."""
        node = statement_at(found[1])
        decorators = getattr(node, "decorator_list", [])
        dropped = found[0].dropped(node)
        if not isinstance(value, FunctionType) or hasattr(value, "__wrapped__") or len(decorators) == len(dropped):
            return False
        return value.__globals__.get(value.__name__) is not value

    def _lift_library(self, module: Module, name: str, value: Any, position: tuple[int, int], place: Place) -> None:
        if value.__module__ == "builtins" and value.__name__ == name:
            return
        holder = sys.modules.get(value.__module__ or "")
        is_importable = getattr(holder, value.__name__, None) is value
        if is_importable:
            self._lift_text(module, _from_import(value.__module__, value.__name__, name), position, place)
            return
        message = f"`{name}` is a function that was made at run time, held by the function around the step"
        self.search.problem("P105", message, place, _FIX)

    def _lift_text(self, module: Module, text: str, position: tuple[int, int], place: Place) -> None:
        unit = self._put(module, written_unit(text, position))
        if unit.imports is not None:
            for imported in Imported.all_of(unit.imports):
                self.search.load(module, imported, place, optional=False)
                if not imported.attr:
                    self.search.follow(module, imported, (), place)


def literal(value: object) -> str | None:
    """The text of a plain constant that reads back equal; None for anything else. Sets are written in a fixed order."""
    if value is None or value is Ellipsis or type(value) in (bool, int, str, bytes):
        return repr(value)
    if type(value) in (float, complex):
        return repr(value) if "nan" not in repr(value) and "inf" not in repr(value) else None
    if isinstance(value, dict) and type(value) is dict:
        pairs = [(literal(key), literal(item)) for key, item in value.items()]
        return None if any(None in pair for pair in pairs) else "{" + ", ".join(f"{k}: {v}" for k, v in pairs) + "}"
    if type(value) not in (list, tuple, set):
        return None
    assert isinstance(value, (list, tuple, set))
    items = [literal(item) for item in value]
    if any(item is None for item in items):
        return None
    if isinstance(value, set):
        return "{" + ", ".join(sorted(map(str, items))) + "}" if items else "set()"
    inner = ", ".join(map(str, items))
    return f"[{inner}]" if isinstance(value, list) else f"({inner},)" if len(items) == 1 else f"({inner})"


def _cells_of(thing: Any) -> dict[str, object]:
    """The values of the variables that a function, or a class's methods, took from the functions around it."""
    if not isinstance(thing, type):
        return dict(_closure(inspect.unwrap(thing)))
    bases = {base.__name__: base for base in thing.__mro__[1:] if "<locals>" in base.__qualname__}
    methods = (getattr(each, "__func__", getattr(each, "fget", each)) for each in vars(thing).values())
    cells = {name: value for each in methods if isinstance(each, FunctionType) for name, value in _closure(each)}
    return {name: value for name, value in (bases | cells).items() if name != "__class__"}


def _closure(function: Any) -> Iterator[tuple[str, object]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not bound yet
            continue


@functools.lru_cache(maxsize=1024)
def _bindings(owner: ast.stmt, name: str) -> tuple[tuple[ast.AST, ...], ...]:
    """The statements of a function's body that bind a local name, each as the path from the body to it."""
    found: list[tuple[ast.AST, ...]] = []
    pending: list[tuple[ast.AST, ...]] = [(each,) for each in getattr(owner, "body", [])]
    while pending:
        path = pending.pop()
        node = path[-1]
        if not isinstance(node, ast.stmt) or name not in bound_names(node):
            continue
        inner = [each for each in running(node) if isinstance(each, ast.stmt) and each is not node]
        if inner and not isinstance(node, Definition):
            pending.extend((*path, child) for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt))
        else:
            found.append(path)
    arguments = (
        {each.arg for each in ast.walk(owner.args) if isinstance(each, ast.arg)} if isinstance(owner, Function) else ()
    )
    return (*found, (owner,)) if name in arguments else tuple(found)


def _is_constant(node: ast.AST, value: object) -> bool:
    """Whether a statement assigns a constant that is its variable's value now or, where that isn't known, for good."""
    if not isinstance(node, ast.Assign) or not all(isinstance(target, ast.Name) for target in node.targets):
        return False
    try:
        written = ast.literal_eval(node.value)
    except ValueError:
        return False
    if value is _UNKNOWN:
        return not any(isinstance(part, (ast.List, ast.Dict, ast.Set)) for part in ast.walk(node.value))
    return literal(written) is not None and literal(written) == literal(value)


def _import_text(node: ast.Import | ast.ImportFrom, imported: Imported) -> str:
    if isinstance(node, ast.Import):
        plain = imported.loads == imported.binds or imported.module != imported.loads
        return f"import {imported.loads}" if plain else f"import {imported.loads} as {imported.binds}"
    return _from_import("." * node.level + imported.module, imported.attr, imported.binds)


def _from_import(module: str, attr: str, name: str) -> str:
    return f"from {module} import {attr}" + (f" as {name}" if name != attr else "")
