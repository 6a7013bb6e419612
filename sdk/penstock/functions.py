"""An author's function or class as an object, found again as syntax in its file."""

from __future__ import annotations

import ast
import functools
import inspect
from pathlib import Path
from types import FunctionType
from typing import Any

from penstock import cells
from penstock.diagnostics import DefinitionError, Diagnostic, Location
from penstock.modules import Module, absolute, canonical_module, first_line, is_author_file, read_module
from penstock.notebooks import line_in, read_notebook
from penstock.sources import location_of


def plain_function(function: Any) -> FunctionType:
    """The function as its author wrote it, below decorators that keep it in ``__wrapped__``.

    Raises:
        DefinitionError: it isn't a function with a name and a source file.
    """
    found = inspect.unwrap(function) if not inspect.ismethod(function) else function
    if not is_named_function(found):
        raise not_a_function(found)
    assert isinstance(found, FunctionType)
    return found


def is_named_function(thing: Any) -> bool:
    """Whether it is a function as ``def`` makes them."""
    return isinstance(thing, FunctionType) and thing.__name__ != "<lambda>"


def not_a_function(thing: Any) -> DefinitionError:
    """Why something that is no function with a name can't be a step."""
    fix = "write a function with `def`"
    if inspect.ismethod(thing):
        return _method(thing)
    if isinstance(thing, functools.partial):
        fix = "write `def` with those arguments filled in"
        return _refusal(thing.func, "P101", "a functools.partial can't be a step", fix)
    if isinstance(thing, FunctionType):
        return _refusal(thing, "P102", "a lambda can't be a step: it has no name", fix)
    what = "a class" if isinstance(thing, type) else f"an object of type {type(thing).__qualname__}"
    return _refusal(thing, "P101", f"{what} can't be a step", fix)


def method_problem(function: FunctionType) -> DefinitionError | None:
    """Why a function that is defined in the body of a class can't be a step; None for any other."""
    around = function.__qualname__.split(".")[-2:-1]
    return _method(function) if around not in ([], ["<locals>"]) else None


def _method(function: Any) -> DefinitionError:
    fix = "make it a function at the top of the module"
    return _refusal(function, "P101", f"`{function.__qualname__}` is a method: it can't be a step", fix)


def definition_of(function: FunctionType) -> tuple[Module, tuple[ast.AST, ...]]:
    """The module that a function was written in, and the syntax nodes that lead to its ``def``."""
    file = function.__code__.co_filename
    name = f"`{function.__qualname__}`"
    cell = cells.cell_of(file)
    if cell is not None:
        return _definition_in_cells(function, cell)
    fix = "save it in a file, a module or a script of yours, and define the pipeline from there"
    if not is_author_file(file) or not Path(file).is_file():
        raise _refusal(function, "P103", f"{name} has no source file: it was typed or built at run time", fix)
    try:
        canonical, _, root = canonical_module(function.__module__ or "__main__", file)
        module = read_module(canonical, absolute(file), root)
    except (SyntaxError, UnicodeError) as error:
        raise _refusal(
            function, "P103", f"the source of {name} can't be read: {error}", "save the file as it was run"
        ) from None
    named = [path for path in module.definitions if getattr(path[-1], "name", "") == function.__code__.co_name]
    here = [path for path in named if first_line(statement_at(path)) == function.__code__.co_firstlineno]
    if len(here) != 1 and len(named) != 1:
        raise _refusal(function, "P103", f"the source of {name} has changed since it was imported", "import it afresh")
    path = here[0] if here else named[0]
    if any(isinstance(each, ast.ClassDef) for each in path[:-1]):
        raise _method(function)
    return module, path


def _definition_in_cells(function: FunctionType, cell: cells.Cell) -> tuple[Module, tuple[ast.AST, ...]]:
    module, code = read_notebook(), function.__code__
    line = line_in(module, cell, code.co_firstlineno)
    named = (path for path in module.definitions if getattr(path[-1], "name", "") == code.co_name)
    path = next((path for path in named if first_line(statement_at(path)) == line), None)
    top = [unit.node for unit in module.by_name.get(code.co_name, ()) if unit.defines]
    if path is None or path[-1] in top[:-1]:
        message = f"`{function.__qualname__}` of {cell.name} is not what the name stands for now"
        fix = "run the cells that use it again, after the one that defines it"
        raise _refusal(function, "P103", message, fix)
    if any(isinstance(each, ast.ClassDef) for each in path[:-1]):
        raise _method(function)
    return module, path


def class_definition(cls: type) -> tuple[Module, tuple[ast.AST, ...]] | None:
    """The module that one of the author's classes was written in, and the syntax nodes that lead to it.

    None if its file holds no such class, or several; of a notebook's cells, the last to define it counts.
    """
    file = source_file(cls)
    if file is None:
        return None
    name, _, root = canonical_module(cls.__module__, file)
    module = read_notebook() if file == cells.FILE else read_module(name, absolute(file), root)
    wanted = cls.__qualname__.replace("<locals>.", "").split(".")
    found = [path for path in module.definitions if _qualified(path) == wanted and isinstance(path[-1], ast.ClassDef)]
    if module.cells and found:
        return module, max(found, key=lambda path: statement_at(path).lineno)
    return (module, found[0]) if len(found) == 1 else None


def source_file(thing: Any) -> str | None:
    """The author's file that a class or function was written in; None for those of libraries."""
    code = getattr(inspect.unwrap(thing), "__code__", None) if callable(thing) else None
    file = code.co_filename if code else cells.module_file(thing)
    return file if file and is_author_file(file) else None


def statement_at(path: tuple[ast.AST, ...]) -> ast.stmt:
    """The statement that a path of syntax nodes leads to."""
    assert isinstance(path[-1], ast.stmt)
    return path[-1]


def _qualified(path: tuple[ast.AST, ...]) -> list[str]:
    return [name for each in path if (name := getattr(each, "name", "")) and isinstance(each, ast.stmt)]


def _refusal(thing: object, code: str, message: str, fix: str) -> DefinitionError:
    return DefinitionError(Diagnostic(code, message, _location(thing), fix))


def _location(thing: object) -> Location | None:
    code = getattr(thing, "__code__", None)
    return location_of(code.co_filename, None, code.co_firstlineno) if code else None
