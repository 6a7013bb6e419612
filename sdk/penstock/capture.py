"""From a step's function to the part of the author's source that it reaches, and only that.

Found by reading the files, never by running them: a name leads to the statements that bind it or change what it holds,
and these to further names, across the author's modules. Which statements belong to a name is the harness's rule, so
that what is captured here is what runs there.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from penstock import cells
from penstock.closures import Closures
from penstock.diagnostics import DefinitionError, Diagnostic
from penstock.functions import class_definition, definition_of, plain_function, source_file
from penstock.modules import Function, Module, Unit, canonical_module
from penstock.reaching import Search, clash
from penstock.spec import ModuleSource, Reach, Span, Statement


@dataclass(frozen=True)
class Part:
    """What is reached of one module: names of its own, those lifted from function bodies, those of star imports."""

    module: Module
    names: frozenset[str]
    lifted: tuple[Unit, ...] = ()
    starred: tuple[tuple[Unit, frozenset[str]], ...] = ()

    @property
    def all_names(self) -> frozenset[str]:
        """The names that the step reaches."""
        return self.names.union(*(unit.bound for unit in self.lifted))


@dataclass(frozen=True)
class Captured:
    """A step's program.

    ``entry`` is the function as ``module:name``. ``modules`` holds the statements it reaches, ``reach`` their names,
    ``requirements`` the pinned distributions that it imports (``numpy==2.4.6``), ``span`` its ``def`` line. ``parts``
    is what `merge` needs. Definitions alone have neither an entry nor a span.
    """

    entry: str
    modules: tuple[ModuleSource, ...]
    reach: tuple[Reach, ...]
    requirements: tuple[str, ...]
    span: Span | None
    parts: tuple[Part, ...] = field(repr=False, compare=False)


def capture(
    function: Callable[..., object], also: Iterable[object] = (), *, find_requirements: bool = True
) -> Captured:
    """The program of a step.

    Args:
        function: a plain function of the author's, as defined by ``def``.
        also: further classes and functions that the program must hold (types of parameters, serializers). Those of
            libraries count as imports.
        find_requirements: whether to look for the distributions behind the imports; where ``packages=`` is given, they
            aren't needed.

    Raises:
        DefinitionError: something it reaches can't be carried to where the step runs; holds every problem found.
    """
    plain = plain_function(function)
    module, path = definition_of(plain)
    node = path[-1]
    assert isinstance(node, Function)
    search = Search(module, plain.__globals__)
    search.problems.extend(_unsuitable(plain, module, node))
    closures = Closures(search)
    closures.enter(plain, path)
    for each in also:
        closures.add(each)
    return _captured(search, f"{module.name}:{node.name}", span_of(plain), find_requirements=find_requirements)


def capture_definitions(things: Iterable[Any]) -> Captured:
    """The program that holds classes and functions of the author's, so that values which refer to them can be read."""
    found = [(each, path) for each in things if is_authored(each) and (path := _definition(each)) is not None]
    if not found:
        return Captured("", (), (), (), None, ())
    first, module = found[0]
    search = Search(module, getattr(first, "__globals__", None) or vars(sys.modules[first.__module__]))
    closures = Closures(search)
    for each, _ in found:
        closures.add(each)
    return _captured(search, "", None, find_requirements=True)


def _definition(thing: Any) -> Module | None:
    found = class_definition(thing) if isinstance(thing, type) else definition_of(plain_function(thing))
    return found[0] if found else None


def _captured(search: Search, entry: str, span: Span | None, *, find_requirements: bool) -> Captured:
    search.run()
    requirements = search.requirements() if find_requirements else ()
    if search.problems:
        raise DefinitionError(dict.fromkeys(search.problems))
    parts = tuple(_part(search, each) for each in search.included())
    modules, reach = _sources(parts)
    return Captured(entry, modules, reach, requirements, span, parts)


def merge(captured: Iterable[Captured]) -> tuple[ModuleSource, ...]:
    """The modules of several steps as one program: each statement once, each import with what some step reaches.

    Raises:
        DefinitionError: two steps mean different things by one name of one module.
    """
    parts: dict[str, Part] = {}
    problems: list[Diagnostic] = []
    for part in (part for each in captured for part in each.parts):
        known = parts.get(part.module.name)
        if known is not None:
            problems.extend(_clashes(known, part))
        parts[part.module.name] = part if known is None else _joined(known, part)
    if problems:
        raise DefinitionError(dict.fromkeys(problems))
    return _sources(tuple(parts[name] for name in sorted(parts)))[0]


def span_of(function: Callable[..., object]) -> Span:
    """The line of a function's ``def``, its file relative to the source root.

    Raises:
        DefinitionError: it isn't a plain function with a source file.
    """
    module, path = definition_of(plain_function(function))
    node = path[-1]
    assert isinstance(node, Function)
    place = module.location(node)
    return Span(file=module.file, line=place.line, column=place.column, end_column=place.end_column, text=place.text)


def canonical_name(thing: Any) -> str:
    """The ``module:qualname`` by which a program refers to a class or function, the same however its module was loaded.

    One that was defined inside a function stands at the top of its module in the program, and is called accordingly.
    """
    qualname = thing.__qualname__.rpartition("<locals>.")[2]
    file = source_file(thing) or cells.module_file(thing)
    if not file or (source_file(thing) is None and thing.__module__ != "__main__"):
        return f"{thing.__module__}:{qualname}"
    return f"{canonical_module(thing.__module__, file)[0]}:{qualname}"


def is_authored(thing: Any) -> bool:
    """Whether a class or function is the author's own, so that its source travels with a step."""
    return source_file(thing) is not None


# --- the program ------------------------------------------------------------------------------------------------------


def _part(search: Search, module: Module) -> Part:
    starred = tuple((unit, frozenset(names)) for unit, names in search.starred(module))
    lifted = tuple(dict.fromkeys(search.lifted.get(module.name, {}).values()))
    return Part(module, frozenset(search.names[module.name]), lifted, starred)


def _joined(one: Part, other: Part) -> Part:
    stars: dict[Unit, frozenset[str]] = dict(one.starred)
    for unit, names in other.starred:
        stars[unit] = stars.get(unit, frozenset()) | names
    lifted = {(unit.position, unit.text(None)[1]): unit for unit in (*one.lifted, *other.lifted)}
    return Part(one.module, one.names | other.names, tuple(lifted.values()), tuple(stars.items()))


def _sources(parts: tuple[Part, ...]) -> tuple[tuple[ModuleSource, ...], tuple[Reach, ...]]:
    packages = {part.module.name.rpartition(".")[0] for part in parts}
    sources, reach = [], []
    for part in parts:
        statements = tuple(_statements(part))
        if not part.all_names and part.module.name in packages:
            continue  # the harness makes the packages around a module by itself
        sources.append(ModuleSource(name=part.module.name, file=part.module.file, statements=statements))
        reach.append(Reach(module=part.module.name, names=tuple(sorted(part.all_names))))
    return tuple(sources), tuple(reach)


def _statements(part: Part) -> Iterator[Statement]:
    starred = dict(part.starred)
    units = [unit for unit in part.module.units if unit in starred or unit.belongs(part.names)]
    for unit in sorted((*units, *part.lifted), key=lambda each: each.position):
        names = starred.get(unit, part.all_names)
        line, source = unit.text(names if unit.imports and not unit.is_future else None)
        yield Statement(line=part.module.origin(line)[1], source=source)


def _clashes(one: Part, other: Part) -> Iterator[Diagnostic]:
    """Names that stand for one thing in one step and for another in another: at most one can stand in the module."""
    lifted = {name for unit in (*one.lifted, *other.lifted) for name in unit.bound}
    for name in sorted(lifted & one.all_names & other.all_names):
        first, second = (_meaning(part, name) for part in (one, other))
        if first != second:
            yield clash(one.module, name, first, second)


def _meaning(part: Part, name: str) -> tuple[str, ...]:
    lifted = tuple(unit.text(None)[1] for unit in part.lifted if name in unit.bound)
    return lifted or tuple(unit.text(None)[1] for unit in part.module.by_name.get(name, ()))


def _unsuitable(function: FunctionType, module: Module, node: ast.stmt) -> Iterator[Diagnostic]:
    place = module.location(node)
    name = f"`{function.__qualname__}`"
    if inspect.iscoroutinefunction(function):
        yield Diagnostic(
            "P104", f"{name} is async: a step is a plain function", place, "write `def`, with asyncio.run inside"
        )
    elif inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        yield Diagnostic(
            "P104", f"{name} is a generator: a step returns its results", place, "return a list, not `yield`"
        )
