"""Whether what runs when a module is imported changes something that a step reaches."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from penstock.effects import Effect, calls_of, imports_in, root_path
from penstock.modules import Function, Library, Module, Unit, is_from_penstock
from penstock.references import REPORTING, dotted, local_names, references_of

_Found = tuple[Module, tuple[str, ...]]
_FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

# Methods that change what they are called on, whether or not something takes their result.
_CHANGING = {
    *("__delitem__", "__iadd__", "__ior__", "__setitem__", "add", "append", "appendleft", "clear", "connect"),
    *("discard", "extend", "extendleft", "insert", "pop", "popitem", "popleft", "put", "remove", "reverse"),
    *("setdefault", "sort", "subscribe", "update"),
}
# Functions that change their first argument, whether or not something takes their result.
_CHANGING_FUNCTIONS = {
    *("delattr", "heapify", "heappop", "heappush", "heappushpop", "heapreplace", "insort", "insort_left"),
    *("insort_right", "next", "setattr", "shuffle"),
}
# What is called for what it tells others: its arguments stay as they are.
_TELLING = {
    *("basicConfig", "dictConfig", "dump", "len", "pp", "pprint", "print", "repr", "sorted", "str", "warn", "write"),
    *("writelines", *REPORTING),
}
_CONSTANT_CALLS = {
    *("Decimal", "Fraction", "NewType", "Path", "PurePath", "TypeVar", "abs", "bool", "bytes", "compile", "date"),
    *("datetime", "float", "frozenset", "getLogger", "getenv", "int", "len", "round", "str", "timedelta"),
}
# Functions that are given a class to look at.
_LOOKING = {*("dir", "getattr", "hasattr", "hash", "id", "isabstract", "isinstance", "issubclass", "vars"), *_TELLING}
_MAKERS = ("__init__", "__new__", "__post_init__")


class Changes:
    """Tells what changes an object that one of ``names``, by module, stands for.

    ``libraries`` are the modules of distributions that are reached. ``lists_subclasses`` is whether something reached
    asks for ``__subclasses__``: then it is changed by every class that derives from one reached.
    """

    def __init__(
        self,
        find: Callable[[str, Path], Module | Library | None],
        names: Mapping[str, set[str]],
        libraries: Collection[str],
    ) -> None:
        self.find = find
        self.names = names
        self.libraries = libraries
        self.lists_subclasses = False

    def made_by(self, module: Module, effect: Effect, seen: set[int] | None = None) -> bool:
        """Whether the effect changes what is reached: the object itself, an argument, or what the function does."""
        return (
            self._acts(module, effect, set() if seen is None else seen)
            or any(self._changes_argument(module, effect, where, path) for where, path in effect.given)
            or (effect.decorates and self._registers_in_library(module, effect.path))
        )

    def _acts(self, module: Module, effect: Effect, seen: set[int]) -> bool:
        for home, (name, *rest) in self.origins(module, effect.path):
            if any(self._does(home, each, seen) for each in self._functions(home, (name, *rest))):
                return True
            if rest == ["="] and not self._is_mutable(home, name):
                continue  # a number, counted up under another name
            direct = effect.alone or effect.chained or not _CHANGING.isdisjoint(rest[-1:])
            if rest and direct and name in self.names.get(home.name, ()):
                return True
        return False

    def _does(self, home: Module, function: _FunctionNode, seen: set[int]) -> bool:
        """Whether a function changes what is reached, or calls one that does."""
        if id(function) in seen:
            return False
        seen.add(id(function))
        if any(self._is_reached(home, each) for each in _changed_by(function)):
            return True
        return any(self.made_by(home, each, seen) for each in calls_of(function, local_names(function)))

    def _registers_in_library(self, module: Module, path: tuple[str, ...]) -> bool:
        """Whether a library that is reached is told of a definition: ``@pd.api.extensions.register_...``."""
        if not path[-1].startswith("register"):
            return False
        tops = {each.module.partition(".")[0] for each in module.aliases.get(path[0], ()) if not each.level}
        return not tops.isdisjoint(each.partition(".")[0] for each in self.libraries)

    def _changes_argument(self, module: Module, effect: Effect, where: int | str, path: tuple[str, ...]) -> bool:
        if not self._is_reached(module, path[0]):
            return False
        callee = effect.path[-1]
        if callee in _TELLING:
            return False
        if len(path) > 1 and path[-1] in _CHANGING:
            return True
        known = [(home, inner) for home, inner in self.origins(module, effect.path)]
        if not known and callee in _CHANGING_FUNCTIONS:
            return where == 0
        if not self._is_mutable(module, path[0]):
            return False
        if any(_is_pipeline(home, unit) for home, inner in known for unit in home.by_name[inner[0]]):
            return False  # running one is for the script, not for the steps
        functions = [(home, each) for home, inner in known for each in self._functions(home, inner)]
        if functions:
            return effect.chained or any(self._may_change(*each, where, set()) for each in functions)
        if any(isinstance(unit.node, ast.ClassDef) for home, inner in known for unit in home.by_name[inner[0]]):
            return False  # one without a constructor of its own: it keeps what it is given
        if effect.chained:
            return callee in ("vars", "getattr") and not known
        return effect.alone and len(path) == 1 and not (len(effect.path) > 1 and callee in _CHANGING)

    # the author's functions

    def _functions(self, home: Module, path: tuple[str, ...]) -> Iterator[_FunctionNode]:
        """The functions that calling a path runs: the function itself, or what makes a class's objects."""
        for unit in home.by_name.get(path[0], ()):
            if isinstance(unit.node, Function) and len(path) == 1:
                if not _is_pipeline(home, unit):
                    yield unit.node
            elif isinstance(unit.node, ast.ClassDef) and len(path) <= 2:
                for _, each in self.ancestry(home, unit.node):
                    yield from methods(each, *(path[1:] or _MAKERS))

    def _may_change(
        self, home: Module, function: _FunctionNode, where: int | str, seen: set[tuple[int, int | str]]
    ) -> bool:
        """Whether a function may change the argument that it is given at a position or by a keyword."""
        if (id(function), where) in seen:
            return False
        seen.add((id(function), where))
        names = _known_as(function, _parameter(function, where))
        parts = [part for each in function.body for part in ast.walk(each)]
        if any(_stores_into(part, names) for part in parts):
            return True
        return any(
            isinstance(part, ast.Call) and self._call_may_change(home, function, part, names, seen) for part in parts
        )

    def _call_may_change(
        self,
        home: Module,
        function: _FunctionNode,
        call: ast.Call,
        names: set[str],
        seen: set[tuple[int, int | str]],
    ) -> bool:
        if isinstance(call.func, ast.Attribute) and call.func.attr in _CHANGING and names & {*root_path(call)[:1]}:
            return True
        arguments: list[tuple[int | str, ast.expr]] = [*enumerate(call.args)]
        arguments += [(each.arg or -1, each.value) for each in call.keywords]
        given = [(where, path) for where, each in arguments if (path := dotted(each)) and path[0] in names]
        path = dotted(call.func)
        if not given or not path:
            return bool(given)
        if any(len(each) > 1 and each[-1] in _CHANGING for _, each in given):
            return True
        local = path[0] in local_names(function)
        known = [] if local else list(self.origins(home, path))
        functions = [(each, inner) for each, target in known for inner in self._functions(each, target)]
        if functions:
            return any(self._may_change(*each, where, seen) for each in functions for where, _ in given)
        return path[-1] in _CHANGING_FUNCTIONS or (local and len(path) == 1)

    # classes

    def made_by_class(self, module: Module, node: ast.ClassDef) -> bool:
        """Whether defining a class changes what is reached: by what its bases, metaclass and attributes do then."""
        family = list(self.ancestry(module, node))
        metaclasses = [found for home, each in family for found in self._metaclasses(home, each)]
        kin = [*family[1:], *metaclasses]
        reached = any(each.name in self.names.get(home.name, ()) for home, each in kin)
        if reached and self.lists_subclasses:
            return True
        hooks = [(home, each) for home, base in family[1:] for each in methods(base, "__init_subclass__")]
        hooks += [(home, each) for home, meta in metaclasses for each in methods(meta, "__new__", "__init__")]
        if reached and not all(_minds_itself(hook) for _, hook in hooks):
            return True
        parts = [found for call in _calls_in(node) for found in self._classes(module, root_path(call))]
        for place, part in parts:
            for home, each in self.ancestry(place, part):
                hooks += [(home, hook) for hook in methods(each, "__set_name__")]
        return any(self._does(home, hook, set()) for home, hook in hooks)

    def _metaclasses(self, home: Module, node: ast.ClassDef) -> Iterator[tuple[Module, ast.ClassDef]]:
        for keyword in node.keywords:
            if keyword.arg == "metaclass":
                for module, each in self._classes(home, root_path(keyword.value)):
                    yield from self.ancestry(module, each)

    def ancestry(self, home: Module, node: ast.ClassDef) -> Iterator[tuple[Module, ast.ClassDef]]:
        """A class and those of the author's that it derives from."""
        seen: set[int] = set()
        waiting = [(home, node)]
        while waiting:
            module, each = waiting.pop(0)
            if id(each) in seen:
                continue
            seen.add(id(each))
            yield module, each
            waiting += [found for base in each.bases for found in self._classes(module, root_path(base))]

    def _classes(self, module: Module, path: tuple[str, ...]) -> Iterator[tuple[Module, ast.ClassDef]]:
        for home, target in self.origins(module, path):
            for unit in home.by_name[target[0]] if len(target) == 1 else ():
                if isinstance(unit.node, ast.ClassDef):
                    yield home, unit.node

    # names

    def _is_reached(self, module: Module, name: str) -> bool:
        origins = self.origins(module, (name,))
        return any(path[0] in self.names.get(home.name, ()) for home, path in origins)

    def _is_mutable(self, module: Module, name: str) -> bool:
        """Whether a name holds something that can be changed in place, and that is not just a function."""
        return any(
            not self._is_constant(home, unit, path[0])
            for home, path in self.origins(module, (name,))
            for unit in home.by_name[path[0]]
            if path[0] in unit.bound
        )

    def _is_constant(self, home: Module, unit: Unit, name: str) -> bool:
        if isinstance(unit.node, (ast.Assign, ast.AnnAssign)):
            targets = unit.node.targets if isinstance(unit.node, ast.Assign) else [unit.node.target]
            whole = any(isinstance(each, ast.Name) and each.id == name for each in targets)
            return whole and unit.node.value is not None and _is_constant(unit.node.value)
        return isinstance(unit.node, Function)

    def origins(
        self, module: Module, path: tuple[str, ...], seen: frozenset[tuple[str, str]] = frozenset()
    ) -> Iterator[_Found]:
        """Where what a path leads to is bound other than by an import: the module, and the path from there."""
        if not path or (module.name, path[0]) in seen:
            return
        seen |= {(module.name, path[0])}
        units = [unit for unit in module.by_name.get(path[0], ()) if path[0] in unit.bound]
        imports = [each for unit in units for each in imports_in(unit) if each.binds == path[0]]
        if units and not imports:
            yield module, path
        for unit in units:
            for other in _other_names(unit):
                yield from self.origins(module, (*other, *path[1:]), seen)
        for each in imports:
            target = self.find(module.absolute(each.module, each.level), module.root)
            if isinstance(target, Module):
                yield from self.origins(target, (*each.path, *path[1:]), seen)
        for each in (each for star in module.stars for each in imports_in(star) if not units):
            target = self.find(module.absolute(each.module, each.level), module.root)
            if isinstance(target, Module) and (path[0] in target.public or target.stars):
                yield from self.origins(target, path, seen)
        inner = self.find(f"{module.name}.{path[0]}", module.root) if not units else None
        if isinstance(inner, Module):
            yield from self.origins(inner, path[1:], seen)


@functools.lru_cache(maxsize=4096)
def _calls_in(node: ast.ClassDef) -> tuple[ast.Call, ...]:
    """The calls in the body of a class."""
    return tuple(part for each in node.body for part in ast.walk(each) if isinstance(part, ast.Call))


@functools.lru_cache(maxsize=4096)
def _changed_by(function: _FunctionNode) -> frozenset[str]:
    """The module's names that a function assigns or whose objects it changes."""
    return frozenset(references_of(function, True, set()).changes)


def methods(node: ast.ClassDef, *names: str) -> Iterator[_FunctionNode]:
    """The methods of these names in the body of a class."""
    yield from (each for each in node.body if isinstance(each, Function) and each.name in names)


def _is_pipeline(home: Module, unit: Unit) -> bool:
    decorators = unit.node.decorator_list if isinstance(unit.node, Function) else ()
    return any(is_from_penstock(home, each, "pipeline") for each in decorators)


def _minds_itself(hook: _FunctionNode) -> bool:
    """Whether what runs for a new class does no more than to check it and to set attributes of its own."""
    own = {each.arg for each in (*hook.args.posonlyargs, *hook.args.args)[:1]}
    for part in (part for each in hook.body for part in ast.walk(each)):
        if isinstance(part, (ast.Attribute, ast.Subscript)) and not isinstance(part.ctx, ast.Load):
            if not (isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id in own):
                return False
        elif isinstance(part, ast.Call) and root_path(part)[:1] not in (("super",), ("type",)):
            path = root_path(part)
            given = {name for each in (*part.args, *(k.value for k in part.keywords)) for name in dotted(each)[:1]}
            if not path or path[-1] in _CHANGING or (given & own and path[-1] not in _LOOKING):
                return False
    return True


def _other_names(unit: Unit) -> Iterator[tuple[str, ...]]:
    """What a statement binds another name to: ``REG`` by ``ALIAS = REG``."""
    if isinstance(unit.node, (ast.Assign, ast.AnnAssign)) and unit.node.value is not None:
        value = unit.node.value
        if isinstance(value, (ast.Name, ast.Attribute, ast.Subscript)) and not _is_constant(value):
            path = root_path(value)
            if path:
                yield path


def _is_constant(value: ast.expr) -> bool:
    if isinstance(value, (ast.Constant, ast.JoinedStr, ast.Compare, ast.Lambda)):
        return True
    if isinstance(value, ast.UnaryOp):
        return _is_constant(value.operand)
    if isinstance(value, ast.BinOp):
        return _is_constant(value.left)
    if isinstance(value, ast.Tuple):
        return all(map(_is_constant, value.elts))
    while isinstance(value, ast.Attribute):
        value = value.value
    return isinstance(value, ast.Call) and dotted(value.func)[-1:] != () and dotted(value.func)[-1] in _CONSTANT_CALLS


def _parameter(function: _FunctionNode, where: int | str) -> set[str]:
    """The names of the parameters that may hold what is given at a position, or by a keyword."""
    arguments = function.args
    named = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
    keywords = [each.arg for each in arguments.kwonlyargs]
    if isinstance(where, str) and where in (*named, *keywords):
        return {where}
    rest = {each.arg for each in (arguments.vararg, arguments.kwarg) if each}
    if where == -1:
        return {*named, *keywords, *rest}
    if isinstance(where, int):
        # Whether a method is given its object is not looked into: both parameters count.
        places = {where, where + 1} if named[:1] in (["self"], ["cls"]) else {where}
        return {named[each] for each in places if each < len(named)} - {"self", "cls"} or rest
    return rest


def _known_as(function: _FunctionNode, names: set[str]) -> set[str]:
    """The names by which a function calls the same objects, or parts of them."""
    names, count = set(names), -1
    while count != len(names):
        count = len(names)
        for part in (part for each in function.body for part in ast.walk(each)):
            if isinstance(part, (ast.Assign, ast.AnnAssign, ast.NamedExpr)) and part.value is not None:
                targets, value = part.targets if isinstance(part, ast.Assign) else [part.target], part.value
            elif isinstance(part, (ast.For, ast.comprehension)):
                targets, value = [part.target], part.iter
            else:
                continue
            if root_path(value)[:1] and root_path(value)[0] in names:
                for target in targets:
                    names |= {each.id for each in ast.walk(target) if isinstance(each, ast.Name)} - {"self", "cls"}
    return names


def _stores_into(part: ast.AST, names: set[str]) -> bool:
    """Whether a part of a function changes in place what one of the names stands for."""
    if isinstance(part, (ast.Attribute, ast.Subscript)) and not isinstance(part.ctx, ast.Load):
        return not names.isdisjoint(root_path(part)[:1])
    if isinstance(part, ast.AugAssign):
        return isinstance(part.target, ast.Name) and part.target.id in names
    if isinstance(part, ast.Expr) and isinstance(part.value, ast.Call):
        path = root_path(part.value)
        return len(path) > 1 and path[0] in names and path[-1] not in _TELLING
    return False
