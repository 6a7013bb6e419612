"""The search from a name to everything that it needs, across the author's modules."""

from __future__ import annotations

import ast
import builtins
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock.changes import Changes
from penstock.diagnostics import Diagnostic, Location
from penstock.effects import classes_in, effects, imports_in, lists_subclasses, name_of
from penstock.harness import RUNTIME_NAMES
from penstock.liveness import built_live, is_live
from penstock.modules import Function, Library, Module, Unit, absolute, find_module, is_from_penstock
from penstock.references import Imported, Reference
from penstock.requirements import needs_distribution, requirements_for

# What a module is given by the file system; where steps run there is none behind it.
_FILE_BOUND = {"__file__", "__cached__", "__path__", "__doc__"}


@dataclass(frozen=True)
class Place:
    """Where in a module something is referred to."""

    module: Module
    node: ast.AST

    @property
    def location(self) -> Location:
        """The place as messages show it."""
        node = self.node
        if isinstance(node, (ast.expr, ast.stmt)):
            return self.module.location(node)
        return Location(str(self.module.path), 1)


class Search:
    """Collects the names that a step reaches in each module; every problem met goes to ``problems``.

    ``lifted`` holds, per module, what stands in for the variables of a closure. ``read_local`` is asked first about the
    names that a lifted unit reads, and says whether they are local to the functions around it.
    """

    def __init__(self, entry: Module, namespace: Mapping[str, object]) -> None:
        self.entry = entry
        self.namespace = namespace
        self.modules: dict[str, Module] = {}
        self.names: dict[str, set[str]] = {}
        self.lifted: dict[str, dict[str, Unit]] = {}
        self.problems: list[Diagnostic] = []
        self.read_local: Callable[[Module, Unit, Reference], bool] = lambda _module, _unit, _reference: False
        self._stars: dict[str, dict[Unit, set[str]]] = {}
        self._needed: dict[str, tuple[bool, Place]] = {}
        self._waiting: deque[Callable[[], None]] = deque()
        self._units: set[Unit] = set()
        self._found: dict[tuple[str, Path], Module | Library | None] = {}
        self._used: set[tuple[str, tuple[str, ...]]] = set()
        self._changes = Changes(self._find, self.names, self._needed)
        self.include(entry)

    # results

    def run(self) -> None:
        """Follows everything that was asked for to its end."""
        while True:
            while self._waiting:
                self._waiting.popleft()()
            changed = [self._reach_changes(module) for module in self.included()]
            if not any(changed) and not self._reach_distant_changes() and not self._reach_order():
                break
        for name, units in self.lifted.items():
            for each in sorted(units.keys() & self.names[name]):
                module = self.modules[name]
                outer = tuple(unit.text(None)[1] for unit in module.by_name.get(each, ()))
                self.problems.append(clash(module, each, (units[each].text(None)[1],), outer))

    def included(self) -> list[Module]:
        """The modules reached, by name."""
        return [self.modules[name] for name in sorted(self.modules)]

    def starred(self, module: Module) -> Iterator[tuple[Unit, set[str]]]:
        """The star imports of a module that are reached, each with the names it provides."""
        yield from self._stars.get(module.name, {}).items()

    def requirements(self) -> tuple[str, ...]:
        """The pinned distributions behind the imports reached; an import that has none is a problem."""
        found: set[str] = set()
        for module, (optional, place) in self._needed.items():
            pinned = requirements_for(module)
            found.update(pinned)
            if not pinned and not optional:
                top = module.partition(".")[0]
                message = f"`import {top}`: no installed distribution provides it"
                fix = f"install the distribution that provides {top}, or give the step `packages=[...]`"
                self.problems.append(Diagnostic("P111", message, place.location, fix))
        return tuple(sorted(found))

    # asking for names

    def include(self, module: Module) -> None:
        """Makes a module, and the packages around it, part of the program, without any of their names yet."""
        if module.name in self.modules:
            return
        self.modules[module.name] = module
        self.names[module.name] = set()
        package = module.name.rpartition(".")[0]
        outer = self._find(package, module.root) if package else None
        if isinstance(outer, Module):
            self.include(outer)

    def bind(self, module: Module, name: str) -> bool:
        """Reaches the statements behind a module's name; False if it has none."""
        if name in self.names.get(module.name, ()):
            return True
        if not module.binds(name):
            return self._bind_starred(module, name)
        self.include(module)
        self.names[module.name].add(name)
        self._waiting.append(lambda: self._follow_name(module, name))
        return True

    def use(self, module: Module, path: tuple[str, ...], place: Place) -> bool:
        """Reaches a name and what of it is used: the attributes tell what is needed of a module that it stands for."""
        if (module.name, path) in self._used:
            return True
        self._used.add((module.name, path))
        if not self.bind(module, path[0]):
            return False
        for unit in module.by_name.get(path[0], ()):
            if path[1:2] == ("with_options",) and self._is_made(module, unit, "step"):
                message = f"`{path[0]}.with_options` makes a step with options: a step can't call it"
                self.problem("P110", message, place, f"call `{path[0]}(...)`: within a step it is the function")
            for imported in imports_in(unit):
                if imported.binds == path[0]:
                    self._waiting.append(lambda i=imported: self.follow(module, i, path[1:], place))  # type: ignore[misc]
        return True

    def follow(self, module: Module, imported: Imported, rest: tuple[str, ...], place: Place) -> None:
        """Reaches what is used of an imported name."""
        target = module.absolute(imported.module, imported.level)
        self._attribute(target, (*imported.path, *rest), module, place, given=bool(imported.attr))

    def need(self, module: str, place: Place, *, optional: bool = False) -> None:
        """Notes that a library's module is imported."""
        if needs_distribution(module):
            known = self._needed.get(module)
            self._needed[module] = (optional and (known is None or known[0]), known[1] if known else place)

    def problem(self, code: str, message: str, place: Place, fix: str) -> None:
        """Notes something that can't be carried to where the step runs."""
        self.problems.append(Diagnostic(code, message, place.location, fix))

    # following

    def _follow_name(self, module: Module, name: str) -> None:
        for unit in module.by_name.get(name, ()):
            if unit.imports is not None:
                for imported in Imported.all_of(unit.imports):
                    if imported.binds == name:
                        self.load(module, imported, Place(module, unit.node), optional=False)
                continue
            if name in unit.bound and not unit.defines and self._refuse_live(module, name, unit):
                continue
            self.visit(module, unit)

    def visit(self, module: Module, unit: Unit) -> None:
        """Reaches all that a statement refers to."""
        if unit in self._units:
            return
        self._units.add(unit)
        self._changes.lists_subclasses |= lists_subclasses(unit)
        if self._is_made(module, unit, "pipeline"):
            name = getattr(unit.node, "name", "")
            self.problem("P110", f"`{name}` is a pipeline: a step can't call it", *_inner(module, unit))
            return
        references = module.references(unit)
        for reference in references.names:
            if not (unit.enclosing and self.read_local(module, unit, reference)):
                self.read(module, reference)
        for inner in references.imports:
            place = Place(module, inner.imported.node)
            if inner.chain is None:
                self.load(module, inner.imported, place, optional=inner.optional)
            else:
                self.follow(module, inner.imported, inner.chain, place)

    def read(self, module: Module, reference: Reference) -> None:
        """Reaches a name that is read at, or from within, a statement of the module."""
        name, place = reference.path[0], Place(module, reference.node)
        if self.use(module, reference.path, place) or (hasattr(builtins, name) and name not in _FILE_BOUND):
            return
        if name in _FILE_BOUND:
            message = f"`{name}` is read, but where the step runs there is no such file"
            self.problem(
                "P109", message, place, "give the path as a parameter, or read package data by importlib.resources"
            )
        elif not reference.weak and name not in module.written_by_functions and name in self._namespace_of(module):
            message = f"`{name}` has a value, but no statement of {module.file} binds it"
            self.problem("P113", message, place, "define it in the module, or import it by name")

    def load(self, module: Module, imported: Imported, place: Place, *, optional: bool) -> None:
        """Reaches what an import statement itself needs in order to succeed."""
        target = module.absolute(imported.loads, imported.level)
        if target.partition(".")[0] == "penstock":
            self._load_penstock(target, imported, place)
            return
        found = self._find(target, module.root)
        if isinstance(found, Library):
            self.need(f"{target}.{imported.attr}".rstrip(".*"), place, optional=optional)
            return
        if found is None and self._find(target.partition(".")[0], module.root) is None:
            self.need(target, place, optional=optional)  # may be among the packages that the author names
            return
        if found is None:
            if not optional:
                self._missing(target, place)
            return
        self.include(found)
        # A star takes what is there; what of it is reached, `_bind_starred` has reached by name.
        if imported.attr not in ("", "*") and not self._member(found, imported.attr) and not optional:
            self._missing(f"{target}.{imported.attr}", place)

    def _member(self, module: Module, name: str) -> bool:
        """Reaches what ``from module import name`` takes, a submodule included."""
        if self.bind(module, name):
            return True
        inner = self._find(f"{module.name}.{name}", module.root)
        if isinstance(inner, Module):
            self.include(inner)
        return isinstance(inner, Module) or self.bind(module, "__getattr__") or name.startswith("__")

    def _missing(self, target: str, place: Place) -> None:
        message = f"`{target}` is imported, but has no Python source and no installed distribution"
        self.problem("P111", message, place, "install it as a distribution, or mend the import")

    def _load_penstock(self, target: str, imported: Imported, place: Place) -> None:
        if target != "penstock" or (imported.attr and imported.attr not in (*RUNTIME_NAMES, "*")):
            self._refuse_penstock(f"{target}.{imported.attr}".rstrip("."), place)

    def _refuse_penstock(self, name: str, place: Place) -> None:
        message = f"`{name}` is used inside a step, where Penstock is not installed"
        names = ", ".join(RUNTIME_NAMES)
        self.problem("P114", message, place, f"inside steps, use of Penstock only: {names}")

    def _attribute(self, target: str, path: tuple[str, ...], near: Module, place: Place, *, given: bool) -> None:
        """``given``: the first attribute is imported by name, so that it is there even if it is a submodule."""
        if target.partition(".")[0] == "penstock":
            if path and not given and path[0] not in RUNTIME_NAMES:
                self._refuse_penstock(f"penstock.{path[0]}", place)
            return
        found = self._find(target, near.root)
        if not isinstance(found, Module):
            return
        self.include(found)
        if not path:
            for name in sorted({name for unit in found.units for name in unit.bound} - {"*"}):
                self.use(found, (name,), place)
        elif not self.use(found, path, place):
            self._submodule(found, path, near, place, given=given)

    def _submodule(self, module: Module, path: tuple[str, ...], near: Module, place: Place, *, given: bool) -> None:
        name = f"{module.name}.{path[0]}"
        inner = self._find(name, module.root)
        if isinstance(inner, Module):
            self.include(inner)
            if not given and not self._is_loaded(name, module, near):
                message = f"`{name}` is used, but only code that this step does not reach imports it"
                self.problem("P115", message, place, f"write `import {name}`")
            if len(path) > 1 or not given:
                self._attribute(name, path[1:], module, place, given=False)
            elif given:
                self._attribute(name, (), module, place, given=False)
        elif path[0] in _FILE_BOUND:
            self.problem(
                "P109", f"`{name}` is read, but where the step runs there is no such file", place, "pass the path in"
            )
        else:
            self.bind(module, "__getattr__")

    def _is_loaded(self, name: str, package: Module, near: Module) -> bool:
        """Whether a statement that can be reached imports the submodule, and so sets it as its package's attribute."""
        for module in (near, package):
            for unit in module.units:
                for imported in imports_in(unit):
                    target = module.absolute(imported.loads, imported.level)
                    if f"{target}.{imported.attr}.".startswith(f"{name}."):
                        return self.bind(module, imported.binds) or True
        return False

    def _bind_starred(self, module: Module, name: str) -> bool:
        if name in self._namespace_of(module) or not hasattr(builtins, name):
            for unit in reversed(module.stars):
                for imported in imports_in(unit):
                    if self._provides(module, imported, unit, name):
                        return True
        return False

    def _provides(self, module: Module, imported: Imported, unit: Unit, name: str) -> bool:
        target = module.absolute(imported.loads, imported.level)
        found = self._find(target, module.root)
        if isinstance(found, Module):
            if name not in found.public and not found.stars:
                return False
            if not self.bind(found, name):
                return False
            self._take_starred(module, unit, name)
            return True
        if target == "penstock" and name in RUNTIME_NAMES:
            self._take_starred(module, unit, name)
            return True
        if not hasattr(sys.modules.get(target), name) or name.startswith("_"):
            return False
        if target == "penstock":
            self._refuse_penstock(f"penstock.{name}", Place(module, unit.node))
            return True
        message = f"`{name}` comes from `from {target} import *`, which doesn't say so"
        self.problem("P108", message, Place(module, unit.node), f"write `from {target} import {name}`")
        return True

    def _take_starred(self, module: Module, unit: Unit, name: str) -> None:
        self.include(module)
        self.names[module.name].add(name)
        self._waiting.append(lambda: self._follow_name(module, name))
        if unit.imports is not None:
            self._stars.setdefault(module.name, {}).setdefault(unit, set()).add(name)
        else:
            self.visit(module, unit)

    # statements elsewhere that change what is reached

    def _reach_changes(self, module: Module) -> bool:
        """Reaches the module-level statements that change something reached: registrations."""
        found = [
            self._run(module, name_of(unit, effect))
            for unit in module.units
            if unit.names.isdisjoint(self.names.get(module.name, ()))
            for effect in effects(unit)
            if self._changes.made_by(module, effect)
        ]
        found += [
            self._run(module, min(unit.bound))
            for unit in module.units
            if unit.names.isdisjoint(self.names.get(module.name, ()))
            for node in classes_in(unit)
            if self._changes.made_by_class(module, node)
        ]
        return any(found)

    def _run(self, module: Module, name: str) -> bool:
        """Reaches a name for the statements that it belongs to: a module needn't bind it (``setattr(C, "x", 1)``)."""
        if name in self.names.get(module.name, ()) or name not in module.by_name:
            return False
        if self.bind(module, name):
            return True
        self.include(module)
        self.names[module.name].add(name)
        self._waiting.append(lambda: self._follow_name(module, name))
        return True

    def _reach_distant_changes(self) -> bool:
        """As `_reach_changes`, in modules that are imported but otherwise not reached: plug-ins that register."""
        importers: dict[str, tuple[Module, Imported]] = {}
        waiting = deque(self.included())
        while waiting:
            module = waiting.popleft()
            if module.name in importers and self._reach_changes(module):
                while module.name in importers:
                    module, imported = importers[module.name]
                    self.bind(module, imported.binds)
                return True
            for imported in (each for unit in module.units for each in imports_in(unit)):
                for found in self._loaded(module, imported):
                    if found.name not in importers and found.name not in self.modules:
                        importers[found.name] = (module, imported)
                        waiting.append(found)
        return False

    def _reach_order(self) -> bool:
        """Reaches the imports of modules that change what another one holds: they say which changes come first."""
        acting = {module.name for module in self.included() if self._acts_elsewhere(module)}
        for module in self.included() if acting else ():
            for unit in module.units:
                if unit.imports is None or not unit.names.isdisjoint(self.names[module.name]):
                    continue
                for imported in imports_in(unit):
                    loaded = {each.name for each in self._loaded(module, imported)} - {module.name}
                    if not acting.isdisjoint(loaded) and self.bind(module, imported.binds):
                        return True
        return False

    def _acts_elsewhere(self, module: Module) -> bool:
        return any(
            effect.alone and home is not module
            for unit in module.units
            if unit.imports is None and not unit.names.isdisjoint(self.names[module.name])
            for effect in effects(unit)
            for home, _ in self._changes.origins(module, effect.path)
        )

    def _loaded(self, module: Module, imported: Imported) -> Iterator[Module]:
        """The author's modules that an import statement loads."""
        target = module.absolute(imported.loads, imported.level)
        for name in (target, f"{target}.{imported.attr}") if target and imported.attr else (target,):
            parts = name.split(".")
            outer = (self._find(".".join(parts[:count]), module.root) for count in range(1, len(parts) + 1))
            yield from (each for each in outer if isinstance(each, Module))

    def _find(self, name: str, root: Path) -> Module | Library | None:
        if (name, root) not in self._found:
            self._found[name, root] = find_module(name, root)
        return self._found[name, root]

    # what can't be carried

    def _namespace_of(self, module: Module) -> Mapping[str, object]:
        if module is self.entry:
            return self.namespace
        loaded = sys.modules.get(module.name)
        same = absolute(getattr(loaded, "__file__", None) or "") == module.path
        return vars(loaded) if same else {}

    def _refuse_live(self, module: Module, name: str, unit: Unit) -> bool:
        """Refuses a name that holds what can't be carried; whether that is a pipeline, or a step with options."""
        namespace = self._namespace_of(module)
        what = is_live(namespace[name]) if name in namespace else built_live(unit.node, name, module)
        if what == "pipeline":
            self.problem(
                "P110", f"`{name}` is a pipeline or a step with options: a step can't call it", *_inner(module, unit)
            )
        elif what:
            message = f"`{name}` holds {what}: it can't be carried to where the step runs"
            self.problem("P106", message, Place(module, unit.node), "make it inside the step, and close it there")
        return what == "pipeline"

    @staticmethod
    def _is_made(module: Module, unit: Unit, what: str) -> bool:
        """Whether a statement defines a function that Penstock makes a step or a pipeline of."""
        decorators = unit.node.decorator_list if isinstance(unit.node, Function) else ()
        return any(is_from_penstock(module, each, what) for each in decorators)


def _inner(module: Module, unit: Unit) -> tuple[Place, str]:
    return Place(module, unit.node), "call it from a pipeline, or put what the step needs into a plain function"


def clash(module: Module, name: str, one: tuple[str, ...], other: tuple[str, ...]) -> Diagnostic:
    """That one name of a module stands for two things."""
    shown = " and ".join(f"`{text.splitlines()[0]}`" for texts in (one, other) for text in texts[:1])
    message = f"`{name}` stands for two things in the programs of {module.name}: {shown}"
    return Diagnostic("P112", message, Location(str(module.path), 1), "give one of them another name")
