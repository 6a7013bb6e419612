"""The author's modules as files: where they are, what they are called, and their statements as text.

Nothing here runs the author's code. A module is read once per state of its file.
"""

from __future__ import annotations

import ast
import functools
import importlib.machinery
import importlib.util
import io
import keyword
import os
import re
import sys
import sysconfig
import tokenize
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from penstock import cells
from penstock.diagnostics import Diagnostic, Location, shown_path
from penstock.harness import bound_names, root_names
from penstock.references import Imported, References, dotted, references_of
from penstock.sources import marked

_INSTALLED = {"site-packages", "dist-packages"}
_OWN_FOLDER = Path(__file__).parent
_OWN_NAMES = {"penstock", "penstock_backends", "penstock_templates"}
_STANDARD = tuple({os.path.normpath(sysconfig.get_path(key)) + os.sep for key in ("stdlib", "platstdlib")})


Definition = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
Function = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, eq=False)
class Unit:
    """A top-level statement of a module, or one lifted from a function body to stand as one.

    ``position`` orders units in their module. ``enclosing`` are the functions around a lifted one, outermost first.
    ``text`` gives the source: as written when its argument is None, else an import with only the aliases that bind one
    of the names.
    """

    node: ast.stmt
    position: tuple[int, int]
    text: Callable[[frozenset[str] | None], tuple[int, str]]
    future_annotations: bool
    enclosing: tuple[ast.FunctionDef | ast.AsyncFunctionDef, ...] = ()

    @functools.cached_property
    def bound(self) -> frozenset[str]:
        """The names that it binds."""
        return frozenset(bound_names(self.node))

    @functools.cached_property
    def roots(self) -> frozenset[str]:
        """The names whose objects it changes."""
        return frozenset(root_names(self.node))

    @functools.cached_property
    def names(self) -> frozenset[str]:
        """The names that it belongs to."""
        return self.bound | self.roots

    def belongs(self, names: frozenset[str]) -> bool:
        """Whether it is part of a program that reaches ``names``: the harness's `belongs`, its parts remembered."""
        return self.is_future or not self.names.isdisjoint(names)

    @property
    def is_future(self) -> bool:
        """Whether it says how the rest of its file is to be compiled."""
        return isinstance(self.node, ast.ImportFrom) and self.node.module == "__future__"

    @property
    def imports(self) -> ast.Import | ast.ImportFrom | None:
        """The statement itself, if it is an import."""
        return self.node if isinstance(self.node, (ast.Import, ast.ImportFrom)) else None

    @property
    def defines(self) -> bool:
        """Whether it is a function or a class."""
        return isinstance(self.node, Definition)


@dataclass(frozen=True, eq=False)
class Module:
    """One of the author's modules, read from its file.

    ``name`` is what the program imports it by, ``file`` is relative to ``root`` (see `canonical_module`). A notebook
    has ``cells``: how many lines are above each, and what messages call it.
    """

    name: str
    file: str
    root: Path
    path: Path
    text: str
    tree: ast.Module
    units: list[Unit] = field(default_factory=list)
    cells: tuple[tuple[int, str], ...] = ()

    def origin(self, line: int) -> tuple[str, int]:
        """The file or the cell that a line was written in, and where there."""
        above, name = max((each for each in self.cells if each[0] < line), default=(0, str(self.path)))
        return name, line - above

    def location(self, node: ast.expr | ast.stmt) -> Location:
        """The place of a piece of its syntax, as messages show it."""
        return marked(*self.origin(node.lineno), self.lines[node.lineno - 1], node)

    @functools.cached_property
    def lines(self) -> list[str]:
        """The lines as the parser counts them."""
        return self.text.split("\n")

    @property
    def package(self) -> str:
        """The package that relative imports start from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    @functools.cached_property
    def by_name(self) -> dict[str, list[Unit]]:
        """The units that belong to each name."""
        table: dict[str, list[Unit]] = {}
        for unit in self.units:
            for name in unit.names:
                table.setdefault(name, []).append(unit)
        return table

    @functools.cached_property
    def definitions(self) -> list[tuple[ast.AST, ...]]:
        """Every function and class, at any depth, as the path of syntax nodes that leads to it."""
        found: list[tuple[ast.AST, ...]] = []
        pending: list[tuple[ast.AST, ...]] = [(self.tree,)]
        while pending:
            path = pending.pop()
            if isinstance(path[-1], Definition):
                found.append(path)
            if not isinstance(path[-1], ast.expr):
                pending.extend((*path, child) for child in ast.iter_child_nodes(path[-1]))
        return found

    @functools.cached_property
    def future_annotations(self) -> bool:
        """Whether annotations are left unevaluated here."""
        futures = (node for node in self.tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__")
        return any(alias.name == "annotations" for node in futures for alias in node.names)

    @functools.cached_property
    def stars(self) -> list[Unit]:
        """Its ``from x import *`` statements."""
        return [unit for unit in self.units if "*" in unit.bound]

    @functools.cached_property
    def written_by_functions(self) -> set[str]:
        """The names that some function declares ``global``."""
        return {name for node in ast.walk(self.tree) if isinstance(node, ast.Global) for name in node.names}

    @functools.cached_property
    def aliases(self) -> dict[str, list[Imported]]:
        """What each imported name stands for, wherever in the file it is imported."""
        table: dict[str, list[Imported]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for imported in Imported.all_of(node):
                    table.setdefault(imported.binds, []).append(imported)
        return table

    @functools.cached_property
    def public(self) -> set[str]:
        """The names that ``from module import *`` takes: those that ``__all__`` lists, else all without underscore."""
        listed: set[str] = set()
        for unit in self.by_name.get("__all__", ()):
            listed |= {n.value for n in ast.walk(unit.node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        return listed or {name for unit in self.units for name in unit.bound if not name.startswith("_")}

    def binds(self, name: str) -> bool:
        """Whether a statement of its own binds the name."""
        return any(name in unit.bound for unit in self.by_name.get(name, ()))

    def absolute(self, name: str, level: int) -> str:
        """The full name of the module that an import statement in this one names; '' where it leads out of the root."""
        if not level:
            return name
        parts = self.package.split(".")
        if level > len(parts):
            return ""
        return ".".join([*parts[: len(parts) - level + 1], *([name] if name else [])])

    def references(self, unit: Unit) -> References:
        """What one of its units refers to, Penstock's decorators left out."""
        cache: dict[Unit, References] = self.__dict__.setdefault("_references", {})
        if unit not in cache:
            dropped = {id(each) for each in self.dropped(unit.node)}
            cache[unit] = references_of(unit.node, unit.future_annotations, dropped)
        return cache[unit]

    def dropped(self, node: ast.stmt) -> list[ast.expr]:
        """The decorators in a statement that make a function a step: the program holds the plain function."""
        if not isinstance(node, (*Definition, ast.If, ast.Try, ast.With)):
            return []
        functions = [each for each in ast.walk(node) if isinstance(each, Function)]
        return [each for it in functions for each in it.decorator_list if is_from_penstock(self, each, "step")]

    def lifted(self, path: tuple[ast.AST, ...]) -> Unit:
        """The statement at the end of a path of syntax nodes, dedented to stand at the top of a module."""
        node = path[-1]
        assert isinstance(node, ast.stmt)
        enclosing = tuple(each for each in path[:-1] if isinstance(each, Function))
        return _unit(self, node, _lines_between_strings(self), enclosing)


# --- where modules are ------------------------------------------------------------------------------------------------


class Library:
    """A module that the step's environment provides: the standard library, a distribution, or Penstock itself."""


LIBRARY = Library()


def canonical_module(module_name: str, file: str) -> tuple[str, str, Path]:
    """How a program names a module: its import name, its file relative to the source root (with ``/``), and that root.

    The source root is the folder that holds the top-level package or, for a plain module, the module. ``__main__`` and
    modules that were loaded by path are called as if they had been imported from there. A notebook's cells are one
    module, in the folder that its imports start from.
    """
    if cells.is_cell(file):
        return cells.MODULE, cells.FILE, Path.cwd()
    path = absolute(file)
    imported = module_name.split(".")
    is_package = path.name == "__init__.py"
    if module_name not in ("", "__main__") and _holds(path, imported):
        return (
            module_name,
            "/".join(path.parts[-len(imported) - is_package :]),
            path.parents[len(imported) - (not is_package)],
        )
    parts = [] if is_package else [path.stem]
    root = path.parent
    while (root / "__init__.py").is_file() and root.parent != root:
        parts.insert(0, root.name)
        root = root.parent
    name = ".".join(parts)
    return ("main" if name == "__main__" else name), path.relative_to(root).as_posix(), root


def module_name_problem(file: str) -> Diagnostic | None:
    """What is wrong where no program could import a file, because its name, or its package's, is no name in Python."""
    name, relative, root = canonical_module("", file)
    path = root / relative
    if path.suffix != ".py":
        message = f"{shown_path(str(path))} is not a Python file: its name does not end with .py"
        return Diagnostic("P715", message, fix=f"rename the file to {path.name}.py")
    wrong = next((part for part in name.split(".") if not part.isidentifier() or keyword.iskeyword(part)), None)
    if wrong is None:
        return None
    better = re.sub(r"\W", "_", wrong)
    better = better + "_" if keyword.iskeyword(better) else better if better.isidentifier() else f"_{better}"
    thing, ending = ("file", ".py") if wrong == path.stem else ("folder", "")
    message = f"{shown_path(str(path))} cannot be imported by other programs: `{wrong}` is not a name in Python"
    return Diagnostic("P715", message, fix=f"rename the {thing} to {better}{ending}")


def absolute(file: str) -> Path:
    """The file's absolute path, links left as they are: modules are found, and named, through them."""
    return Path(os.path.abspath(file))  # Path.resolve would follow the links


def _holds(path: Path, parts: list[str]) -> bool:
    where = path.parent if path.name == "__init__.py" else path.with_suffix("")
    return list(where.parts[-len(parts) :]) == parts


def is_author_file(file: str) -> bool:
    """Whether a source file is the author's own: not the standard library's, not installed, not Penstock's."""
    return _is_author_file(file) or cells.is_cell(file)


@functools.lru_cache(maxsize=4096)
def _is_author_file(file: str) -> bool:
    path = absolute(file)
    if path.suffix != ".py" or _INSTALLED & set(path.parts) or _OWN_FOLDER in path.parents:
        return False
    return not str(path).startswith(_STANDARD)


def find_module(name: str, root: Path) -> Module | Library | None:
    """The module that ``import name`` means to a module under ``root``; None if there is none."""
    top, *rest = name.split(".")
    place = _find_top(top, root)
    for part in rest:
        if isinstance(place, list):
            place = next((found for folder in place for found in [_in_folder(folder, part)] if found), None)
    if isinstance(place, Library):
        return place
    if not place:
        return None
    if place[0].suffix != ".py":
        return _namespace(name, place[0])
    if not is_author_file(str(place[0])):
        return LIBRARY
    depth = name.count(".") + (place[0].name == "__init__.py")
    return read_module(name, place[0], place[0].parents[depth])


_Place = list[Path] | Library | None
"""A module's file, then the folders of its submodules; for a namespace package the folders alone."""


def _find_top(name: str, root: Path) -> _Place:
    if name in _OWN_NAMES or name in sys.builtin_module_names:
        return LIBRARY
    near = _in_folder(root, name)
    loaded = sys.modules.get(name)
    if loaded is not None and name != "__main__":
        file = getattr(loaded, "__file__", None)
        if file and not is_author_file(file):
            return LIBRARY
        # Another project's module of the same name may linger in `sys.modules`.
        if file and (not near or near[0].suffix != ".py" or root in absolute(file).parents):
            return _file_place(absolute(file))
        if not file and not hasattr(loaded, "__path__"):
            return LIBRARY
    if near and near[0].suffix == ".py":
        return near
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return near
    return near if spec is None else _place_of(spec)


def _place_of(spec: importlib.machinery.ModuleSpec) -> _Place:
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if spec.origin in (None, "namespace") and folders:
        return folders
    if not spec.has_location or not is_author_file(str(spec.origin)):
        return LIBRARY
    return [absolute(str(spec.origin)), *folders]


def _file_place(path: Path) -> list[Path]:
    return [path, path.parent] if path.name == "__init__.py" else [path]


def _in_folder(folder: Path, name: str) -> list[Path]:
    if folder.suffix == ".py":  # a module's own file, in front of the folders of its submodules
        return []
    for file in (folder / name / "__init__.py", folder / f"{name}.py"):
        if file.is_file():
            return _file_place(file)
    if any((folder / f"{name}{suffix}").is_file() for suffix in importlib.machinery.EXTENSION_SUFFIXES):
        return []
    return [folder / name] if (folder / name).is_dir() else []


def _namespace(name: str, folder: Path) -> Module | Library:
    if _INSTALLED & set(folder.parts):
        return LIBRARY
    depth = name.count(".")
    return Module(name, "", folder.parents[depth], folder / "__init__.py", "", ast.Module([], []))


def read_module(name: str, path: Path, root: Path) -> Module:
    """The author's module in a file.

    Raises:
        OSError, SyntaxError, UnicodeError: the file can't be read, or isn't Python.
    """
    state = path.stat()
    return _read(name, path, root, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=512)
def _read(name: str, path: Path, root: Path, _mtime: int, _size: int) -> Module:
    with tokenize.open(path) as stream:
        return parsed_module(name, path, root, stream.read())


def parsed_module(name: str, path: Path, root: Path, text: str, cells: tuple[tuple[int, str], ...] = ()) -> Module:
    """A module of this text. Raises `SyntaxError` where it isn't Python."""
    tree = ast.parse(text, str(path))
    module = Module(name, path.relative_to(root).as_posix(), root, path, text, tree, cells=cells)
    module.units.extend(_unit(module, node) for node in module.tree.body)
    return module


# --- the text of statements -------------------------------------------------------------------------------------------


def _unit(
    module: Module,
    node: ast.stmt,
    movable: frozenset[int] | None = None,
    enclosing: tuple[ast.FunctionDef | ast.AsyncFunctionDef, ...] = (),
) -> Unit:
    def text(names: frozenset[str] | None) -> tuple[int, str]:
        lines = _own_lines(module, node)
        if movable is not None:
            lines = _dedented(lines, _indentation(module, node), movable)
        if names is not None and isinstance(node, (ast.Import, ast.ImportFrom)):
            lines = _without_aliases(lines, node, names)
        lines = _without_decorators(lines, node, module.dropped(node))
        anchor = next(index for index, (number, _) in enumerate(lines) if number >= node.lineno)
        return node.lineno - anchor, "\n".join(line for _, line in lines)

    cached = functools.lru_cache(maxsize=32)(text)
    return Unit(node, (node.lineno, node.col_offset), cached, module.future_annotations, enclosing)


def written_unit(text: str, position: tuple[int, int]) -> Unit:
    """A unit that the author didn't write: an import or a constant that stands for a closure's variable."""
    return Unit(ast.parse(text).body[0], position, lambda _: (max(position[0], 1), text), False)


def first_line(node: ast.stmt) -> int:
    """The line on which a statement begins, its decorators included."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(each.lineno for each in decorators)])


def _own_lines(module: Module, node: ast.stmt) -> list[tuple[int, str]]:
    """The numbered lines of a statement: with the comments right above it, without what else shares its lines."""
    first, last = _decorator_line(module.lines, first_line(node), node), node.end_lineno or node.lineno
    before, after = _neighbours(module, node)
    lines = [(number, module.lines[number - 1]) for number in range(first, last + 1)]
    if after and first_line(after) == last:
        lines[-1] = (last, _bytes(lines[-1][1], 0, node.end_col_offset))
    if before and before.end_lineno == first:
        lines[0] = (first, _bytes(lines[0][1], node.col_offset, None))
        return lines
    indentation = _indentation(module, node)
    number = first - 1
    while number > (before.end_lineno or 0 if before else 0) and _is_comment(module.lines[number - 1], indentation):
        if number <= 2 and _is_file_header(module.lines[number - 1]):
            break
        lines.insert(0, (number, module.lines[number - 1]))
        number -= 1
    return lines


def _neighbours(module: Module, node: ast.stmt) -> tuple[ast.stmt | None, ast.stmt | None]:
    table: dict[int, tuple[ast.stmt | None, ast.stmt | None]] | None = module.__dict__.get("_neighbour_table")
    if table is None:
        table = {}
        for parent in ast.walk(module.tree):
            for block in ("body", "orelse", "finalbody"):
                statements = getattr(parent, block, None)
                if isinstance(statements, list):
                    around = [None, *statements, None]
                    table |= {id(each): (around[i], around[i + 2]) for i, each in enumerate(statements)}
        module.__dict__["_neighbour_table"] = table
    return table.get(id(node), (None, None))


def _bytes(line: str, start: int, end: int | None) -> str:
    return line.encode()[start:end].decode()


def _is_comment(line: str, indentation: str) -> bool:
    return line.startswith(indentation + "#")


def _is_file_header(line: str) -> bool:
    return line.startswith("#!") or "coding:" in line or "coding=" in line


def _indentation(module: Module, node: ast.stmt) -> str:
    line = module.lines[first_line(node) - 1]
    return line[: len(line) - len(line.lstrip(" \t\f"))] if node.col_offset else ""


def _lines_between_strings(module: Module) -> frozenset[int]:
    """The lines that don't begin inside a string, which can be moved without changing a value."""
    inside: set[int] = set()
    open_at: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        kind = tokenize.tok_name[token.type]
        if kind.endswith("STRING_START"):
            open_at.append(token.start[0])
        elif kind == "STRING" or kind.endswith("STRING_END"):
            start = open_at.pop() if kind != "STRING" else token.start[0]
            inside.update(range(start + 1, token.end[0] + 1))
    return frozenset(range(1, len(module.lines) + 1)) - inside


def _dedented(lines: list[tuple[int, str]], prefix: str, movable: frozenset[int]) -> list[tuple[int, str]]:
    def moved(line: str) -> str:
        if line.startswith(prefix):
            return line[len(prefix) :]
        return line.lstrip(" \t")  # a comment, or a line within brackets

    return [(number, moved(line) if number in movable else line) for number, line in lines]


def _decorator_line(lines: list[str], number: int, node: ast.stmt) -> int:
    if not getattr(node, "decorator_list", None):
        return number
    while not lines[number - 1].lstrip().startswith("@") and number > 1:
        number -= 1
    return number


def _without_decorators(lines: list[tuple[int, str]], node: ast.stmt, dropped: list[ast.expr]) -> list[tuple[int, str]]:
    if not dropped:
        return lines
    gone: set[int] = set()
    numbered = dict(lines)
    ids = {id(each) for each in dropped}
    for function in ast.walk(node):
        if not isinstance(function, Function):
            continue
        starts = [_at_line(numbered, each.lineno) for each in function.decorator_list] + [function.lineno]
        for index, decorator in enumerate(function.decorator_list):
            if id(decorator) in ids:
                gone.update(range(starts[index], (decorator.end_lineno or 0) + 1))
                rest = range((decorator.end_lineno or 0) + 1, starts[index + 1])
                gone.update(number for number in rest if not numbered[number].lstrip().startswith("#"))
    return [(number, line) for number, line in lines if number not in gone]


def _at_line(numbered: dict[int, str], number: int) -> int:
    while not numbered[number].lstrip().startswith("@"):
        number -= 1
    return number


def _without_aliases(
    lines: list[tuple[int, str]], node: ast.Import | ast.ImportFrom, names: frozenset[str]
) -> list[tuple[int, str]]:
    """An import without what isn't needed: line by line where each alias has its own, else written anew on one line."""
    kept = [alias for alias in node.names if Imported.bound_by(alias) in names]
    if len(kept) == len(node.names):
        return lines
    tidy = isinstance(node, ast.ImportFrom) and node.names[0].lineno > node.lineno
    tidy = tidy and len({alias.lineno for alias in node.names}) == len(node.names)
    if tidy and (node.end_lineno or 0) > node.names[-1].lineno:
        gone = {alias.lineno for alias in node.names if alias not in kept}
        gone |= {
            number for number, line in lines if number + 1 in gone and number > node.lineno and _is_only_comment(line)
        }
        return [(number, line) for number, line in lines if number not in gone]
    listed = sorted(names) if node.names[0].name == "*" else [_alias_text(alias) for alias in kept]
    above = [(number, line) for number, line in lines if number < node.lineno]
    if isinstance(node, ast.Import):
        return [*above, (node.lineno, f"import {', '.join(listed)}")]
    return [*above, (node.lineno, f"from {'.' * node.level}{node.module or ''} import {', '.join(listed)}")]


def _is_only_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _alias_text(alias: ast.alias) -> str:
    return f"{alias.name} as {alias.asname}" if alias.asname else alias.name


# --- what is Penstock's -----------------------------------------------------------------------------------------------


def is_from_penstock(module: Module, expression: ast.expr, name: str, seen: frozenset[str] = frozenset()) -> bool:
    """Whether an expression is Penstock's ``name``, called or not, under whatever alias the author gives it."""
    while isinstance(expression, ast.Call):
        inner = (
            expression.args[0] if expression.args and dotted(expression.func)[-1:] == ("partial",) else expression.func
        )
        expression = inner
    path = dotted(expression)
    if not path or f"{module.name}:{path[0]}" in seen:
        return False
    seen |= {f"{module.name}:{path[0]}"}
    imported = list(module.aliases.get(path[0], ()))
    if not imported and path[0] not in module.by_name:
        stars = (replace(each, attr="") for each in module.aliases.get("*", ()))
        return any(_leads_to(module, each, path, name, seen) for each in stars)
    if any(_leads_to(module, each, path[1:], name, seen) for each in imported):
        return True
    assigned = (unit.node for unit in module.by_name.get(path[0], ()) if len(path) == 1)
    values = (node.value for node in assigned if isinstance(node, ast.Assign))
    return any(is_from_penstock(module, value, name, seen) for value in values)


def _leads_to(module: Module, imported: Imported, rest: tuple[str, ...], name: str, seen: frozenset[str]) -> bool:
    target, path = module.absolute(imported.module, imported.level), (*imported.path, *rest)
    if target.partition(".")[0] == "penstock":
        return path[-1:] == (name,)
    if not path or not target:
        return False
    found = find_module(target, module.root)
    if not isinstance(found, Module):
        return False
    chain: ast.expr = ast.Name(path[0])
    for attr in path[1:]:
        chain = ast.Attribute(chain, attr)
    return is_from_penstock(found, chain, name, seen)
