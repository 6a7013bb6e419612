"""Steps that Penstock itself provides: their programs, in the form in which an author's steps travel."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable
from types import ModuleType

from penstock import harness
from penstock.spec import ModuleSource, Reach, Statement


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
    statements = []
    for each in ast.parse(source).body[1:]:
        if harness.belongs(each, kept):
            small = harness.trimmed(each, kept)
            is_whole = ast.dump(small) == ast.dump(each)
            text = "\n".join(lines[each.lineno - 1 : each.end_lineno]) if is_whole else ast.unparse(small)
            statements.append(Statement(line=each.lineno, source=text))
    return ModuleSource(name=name, file=f"{name}.py", statements=tuple(statements))
