"""Steps that Penstock itself provides: their programs, in the form in which an author's steps travel."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable
from types import ModuleType

from penstock import harness
from penstock.spec import ModuleSource, Reach, Statement
from penstock.statements import reached_part


def reached(module: ModuleType, name: str, function: str) -> Reach:
    """What a function of one of Penstock's modules needs of that module, which its program calls ``name``."""
    statements = ast.parse(inspect.getsource(module)).body
    bound = {each for statement in statements for each in harness.bound_names(statement)} - {"annotations"}
    needed, waiting = set[str](), {function}
    while waiting:
        needed |= waiting
        used = (part for each in statements if harness.belongs(each, waiting) for part in ast.walk(each))
        waiting = ({part.id for part in used if isinstance(part, ast.Name)} & bound) - needed
    return Reach(module=name, names=tuple(sorted(needed)))


def module_source(module: ModuleType, name: str, names: Iterable[str]) -> ModuleSource:
    """A module of Penstock's as far as it binds any of ``names``, statement by statement, called ``name``."""
    source, kept = inspect.getsource(module), set(names)
    lines = source.splitlines()
    written = (
        Statement(line=each.lineno, source="\n".join(lines[each.lineno - 1 : each.end_lineno]))
        for each in ast.parse(source).body[1:]
    )
    parts = (reached_part(each, kept) for each in written)
    return ModuleSource(name=name, file=f"{name}.py", statements=tuple(filter(None, parts)))
