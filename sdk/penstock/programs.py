"""The steps that a pipeline calls, and the programs that they need where they run.

A step's program holds what its function reaches, and besides what reading its inputs takes: the classes of the values
that it is given, and, where these may be objects of any class, the definitions that the steps before it reach.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import FunctionType, ModuleType
from typing import Any

from penstock import capture, harness, provided
from penstock.bindings import Bound
from penstock.declarations import ANY, Declaration, Names, declaration_of, definition_location
from penstock.diagnostics import DefinitionError, Diagnostic
from penstock.metadata import problems_with_metadata
from penstock.metrics import may_log_metrics
from penstock.placeholders import BOOL, list_of
from penstock.requirements import needs_distribution, pinned, requirements_for
from penstock.serializers import requirements_of
from penstock.spec import (
    CHECK,
    DECIDE,
    GIVE,
    ITEMS,
    Binding,
    ItemBinding,
    LiteralBinding,
    ModuleSource,
    OutputBinding,
    OutputSpec,
    ParameterBinding,
    ParameterSpec,
    RecordBinding,
    Returns,
    StepSpec,
    TypeKind,
    TypeSpec,
    within,
)

NONE = TypeSpec(kind=TypeKind.NONE, text="None")


@dataclass(frozen=True)
class Authored:
    """A function that was made a step or a pipeline: its name, and the local names of where it was defined.

    Of a step that Penstock itself provides, ``provided`` is the name of the module that its program is there, and
    ``requires`` the distributions that this call of it needs.
    """

    function: Callable[..., Any]
    name: str
    namespace: Mapping[str, object] = field(default_factory=dict)
    provided: str = ""
    requires: tuple[str, ...] = ()

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """How it can be called."""
        return inspect.signature(self.function)


@dataclass
class CalledStep:
    """A step that the pipeline calls, its declaration, and the types of all that is given to it.

    Those without an author are the harness's own.
    """

    function: Callable[..., Any]
    authored: Authored | None
    declaration: Declaration
    given: list[TypeSpec] = field(default_factory=list)
    bindings: list[Binding] = field(default_factory=list)
    needs_requirements: bool = False
    requires: set[str] = field(default_factory=set)
    """Distributions that it needs beside those that are found."""
    sources: set[str] = field(default_factory=set)
    """The ids of the steps whose results it is given and that may hold objects of any class."""


class Programs:
    """The steps that have been called so far, and what their nodes give."""

    def __init__(self, names: Names, problems: list[Diagnostic]) -> None:
        self.names, self.problems = names, problems
        self.steps: dict[str, CalledStep] = {}
        self.parameters: dict[str, TypeSpec] = {}
        self.outputs: dict[tuple[str, str], TypeSpec] = {}
        self.items: dict[str, TypeSpec] = {}
        self.callers: dict[str, str] = {}
        self.doubtful: list[tuple[CalledStep, Diagnostic]] = []
        """What is wrong with gates if their steps log no metrics."""
        self._serializers: dict[str, Callable[..., object]] = {}

    def step(self, step: Authored) -> CalledStep:
        """The step of an author's function, its declaration read at the first call."""
        id_ = self.id_of(step)
        known = self.steps.get(id_)
        if known is not None and known.function is step.function:
            known.requires.update(step.requires)
            return known
        declaration = declaration_of(step.function, self.names, step.namespace)
        self.problems.extend(declaration.problems)
        if not declaration.problems:
            outputs = [each.name for each in declaration.outputs]
            self.problems.extend(problems_with_metadata(step.function, outputs))
        if known is not None:
            message = f"two different steps of this pipeline are called `{step.function.__name__}` in one module"
            fix = "rename one of the functions; where one function makes both, pass what differs as a parameter"
            self.problems.append(Diagnostic("P209", message, definition_location(step.function), fix))
        self._serializers.update((self.names.of(each), each) for each in declaration.serializers)
        self.steps[id_] = CalledStep(step.function, step, declaration, requires=set(step.requires))
        return self.steps[id_]

    def id_of(self, step: Authored) -> str:
        """What the spec calls a step."""
        return f"{step.provided}:{step.function.__name__}" if step.provided else self.names.of(step.function)

    def own(self, step: str) -> CalledStep:
        """One of the harness's own steps."""
        if step not in self.steps:
            function = getattr(harness, step.partition(":")[2])
            self.steps[step] = CalledStep(function, None, _OWN[step], needs_requirements=True)
        return self.steps[step]

    def giving(self, types: tuple[TypeSpec, ...], serializers: tuple[Callable[..., object], ...]) -> CalledStep:
        """The harness's own step that computes parts of a pipeline's result, of these types."""
        names = ("output",) if len(types) == 1 else tuple(f"output_{number}" for number in range(len(types)))
        outputs = tuple(OutputSpec(name=name, type=type_) for name, type_ in zip(names, types, strict=True))
        returns = Returns(kind="value" if len(types) == 1 else "tuple")
        declaration = replace(_own(outputs, "result"), returns=returns, serializers=serializers)
        self.steps[GIVE] = CalledStep(harness.give, None, declaration, needs_requirements=True)
        return self.steps[GIVE]

    def take(self, called: CalledStep, made: Bound) -> None:
        """Notes what a step is given, so that its program holds what reading that needs."""
        called.given.append(made.type)
        called.given.extend(self._wholes(made.binding))
        called.bindings.append(made.binding)
        if any(map(_may_hold_objects, (made.type, *self._wholes(made.binding)))):
            called.sources.update(self.callers[node] for node in self._nodes_of(made.binding))

    def _wholes(self, binding: Binding) -> tuple[TypeSpec, ...]:
        """The types of all that a binding refers to: each is decoded whole where the step runs."""
        found: list[TypeSpec] = []
        for each in within(binding):
            if isinstance(each, ParameterBinding):
                found.append(self.parameters[each.name])
            elif isinstance(each, OutputBinding):
                found.append(self.outputs[each.node, each.output])
            elif isinstance(each, ItemBinding):
                found.append(self.items[each.loop])
        return tuple(found)

    def _nodes_of(self, binding: Binding) -> Iterator[str]:
        """The nodes whose objects a binding may hand on."""
        for each in within(binding):
            if isinstance(each, OutputBinding):
                yield each.node
            elif isinstance(each, ItemBinding):
                yield each.loop

    def captured(self) -> tuple[tuple[StepSpec, ...], tuple[ModuleSource, ...]]:
        """The captured steps, and the author's modules that they reach."""
        captured: dict[str, capture.Captured] = {}
        for id_, step in self.steps.items():
            try:
                captured[id_] = self._captured(step)
            except DefinitionError as error:
                self.problems.extend(error.diagnostics)
        for step, problem in self.doubtful:
            program = next((each for id_, each in captured.items() if self.steps[id_] is step), None)
            if program is not None and step.needs_requirements and not may_log_metrics(program):
                self.problems.append(problem)
        for id_, more in self._handed_on(captured).items():
            captured[id_] = self._captured(self.steps[id_], more)
        specs = tuple(self._step_spec(id_, self.steps[id_], each) for id_, each in captured.items())
        return specs, (*capture.merge(captured.values()), *self._provided(specs))

    def _provided(self, specs: tuple[StepSpec, ...]) -> Iterator[ModuleSource]:
        """The modules of the steps that Penstock itself provides."""
        names: dict[tuple[ModuleType, str], set[str]] = {}
        for each in specs:
            step = self.steps[each.id].authored
            if step is not None and step.provided:
                key = (sys.modules[step.function.__module__], step.provided)
                names.setdefault(key, set()).update(each.reach[0].names)
        for (module, name), reached in names.items():
            yield provided.module_source(module, name, reached)

    def _handed_on(self, captured: Mapping[str, capture.Captured]) -> dict[str, tuple[Any, ...]]:
        """What each step must hold so that objects of the author's classes can be read where it runs.

        An object, pickled or encoded, can hold instances of any class, and refer to any function, that the program of
        the step that made it reaches; those, and no others.
        """
        own = {id_: _definitions(self.steps[id_].function, each) for id_, each in captured.items()}
        held = {id_: dict(each) for id_, each in own.items()}
        grown = True
        while grown:
            grown = False
            for id_ in captured:
                for source in self.steps[id_].sources & captured.keys():
                    more = held[source].keys() - held[id_].keys()
                    held[id_].update((name, held[source][name]) for name in more)
                    grown |= bool(more)
        return {
            id_: tuple(held[id_][name] for name in sorted(held[id_].keys() - own[id_].keys()))
            for id_ in captured
            if held[id_].keys() != own[id_].keys()
        }

    def _captured(self, step: CalledStep, more: tuple[Any, ...] = ()) -> capture.Captured:
        named = [name for type_ in step.given for name in _class_names(type_)]
        made = [name for binding in step.bindings for name in _record_names(binding)]
        # A value that is declared as `Any` may hold an instance of any class that the pipeline's types mention.
        open_ = self.names.types if any(_is_open(type_) for type_ in step.given) else ()
        also = self.names.authored(iter((*named, *made, *open_)))
        needed = (*step.declaration.serializers, *self._readers(step), *also, *more)
        if step.authored is None:
            return capture.capture_definitions(needed)
        if step.authored.provided:
            module = sys.modules[step.function.__module__]
            reach = provided.reached(module, step.authored.provided, step.function.__name__)
            return capture.Captured("", (), (reach,), (), None, ())
        return capture.capture(step.authored.function, needed, find_requirements=step.needs_requirements)

    def _readers(self, step: CalledStep) -> Iterator[Callable[..., object]]:
        """What reads the artifacts given to a step that others wrote by serializers of their own."""
        for type_ in step.given:
            for name in sorted(self._serializers.keys() & set(_reader_names(type_))):
                yield self._serializers[name]

    def _libraries(self, type_: TypeSpec) -> Iterator[str]:
        """The distributions that hold the classes of a type, which reading a value of it imports."""
        for name in _class_names(type_):
            module = name.partition(":")[0]
            if not self.names.authored(iter((name,))) and needs_distribution(module):
                yield from requirements_for(module)

    def _step_spec(self, id_: str, step: CalledStep, captured: capture.Captured) -> StepSpec:
        declaration = step.declaration
        types = (
            *step.given,
            *(each.type for each in declaration.parameters),
            *(each.type for each in declaration.outputs),
        )
        libraries: set[str] = set()
        if step.needs_requirements:
            libraries.update(pinned(each) or each for each in step.requires)
            libraries.update(each for type_ in types for each in requirements_of(type_))
            libraries.update(each for type_ in types for each in self._libraries(type_))
        return StepSpec(
            id=id_,
            description=inspect.getdoc(step.function) or "",
            inputs=declaration.parameters,
            outputs=declaration.outputs,
            returns=declaration.returns,
            reach=captured.reach,
            requirements=tuple(sorted({*captured.requirements, *libraries})),
            span=captured.span,
        )


def _own(outputs: tuple[OutputSpec, ...], *names: str) -> Declaration:
    parameters = tuple(ParameterSpec(name=name, type=ANY) for name in names)
    returns, type_ = Returns(kind="value" if outputs else "none"), outputs[0].type if outputs else NONE
    return Declaration(parameters, outputs, returns, type_, (), ())


# The harness's own steps.
_OWN = {
    DECIDE: _own((OutputSpec(name="holds", type=BOOL),), "condition"),
    ITEMS: _own((OutputSpec(name="items", type=list_of(ANY)),), "items"),
    CHECK: _own((), "condition", "text", "shown", "message"),
}


def _may_hold_objects(type_: TypeSpec) -> bool:
    """Whether values of a type may hold objects of classes that the type does not tell."""
    if type_.kind in (TypeKind.OBJECT, TypeKind.DATACLASS, TypeKind.NAMEDTUPLE, TypeKind.PYDANTIC, TypeKind.ANY):
        return type_.serializer not in ("parquet", "npy")
    return any(_may_hold_objects(part) for part in type_.args)


def _definitions(function: Callable[..., Any], captured: capture.Captured) -> dict[str, Any]:
    """The author's classes and functions that a program holds, by their names in it, the step itself left out."""
    found: dict[str, Any] = {}
    for reach in captured.reach:
        own = reach.module == captured.entry.partition(":")[0]
        namespace = inspect.unwrap(function).__globals__ if own else vars(sys.modules.get(reach.module, function))
        for name in reach.names:
            thing = namespace.get(name)
            is_definition = isinstance(thing, (type, FunctionType)) and capture.is_authored(thing)
            if is_definition and capture.canonical_name(thing) == f"{reach.module}:{name}":
                found[f"{reach.module}:{name}"] = thing
    return found


def _is_open(type_: TypeSpec) -> bool:
    """Whether values of a type may hold what the type does not tell."""
    if type_.kind is TypeKind.ANY:
        return True
    return any(_is_open(part) for part in (*type_.args, *(each.type for each in type_.fields)))


def _reader_names(type_: TypeSpec) -> Iterator[str]:
    if "," in type_.serializer:
        yield type_.serializer.split(",")[1]
    for part in (*type_.args, *(each.type for each in type_.fields)):
        yield from _reader_names(part)


def _class_names(type_: TypeSpec) -> Iterator[str]:
    if type_.name:
        yield type_.name
    for part in (*type_.args, *(each.type for each in type_.fields)):
        yield from _class_names(part)


def _record_names(binding: Binding) -> Iterator[str]:
    """The classes that a binding needs in order to be put together."""
    for each in within(binding):
        if isinstance(each, RecordBinding):
            yield each.type
        elif isinstance(each, LiteralBinding):
            yield from _tagged_names(each.value)


def _tagged_names(wire: Any) -> Iterator[str]:
    if isinstance(wire, dict):
        for tag, body in wire.items():
            if tag in ("$enum", "$flag", "$dataclass", "$namedtuple", "$pydantic"):
                yield body[0]
        wire = list(wire.values())
    if isinstance(wire, list):
        for part in wire:
            yield from _tagged_names(part)
