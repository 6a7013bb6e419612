"""What a step or a pipeline declares: its parameters, outputs and their types, read from the function's signature."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock import cells
from penstock.assignability import accepts
from penstock.diagnostics import Diagnostic, Location, with_article
from penstock.harness import StepError, find_type
from penstock.modules import canonical_module, is_author_file
from penstock.placeholders import Placeholder
from penstock.serializers import roots_of, serializer_problem
from penstock.signatures import Signature, UnsupportedAnnotation, signature_of
from penstock.spec import OutputSpec, ParameterSpec, Returns, TypeKind, TypeSpec
from penstock.types import description_of, returns_of, serializers_in, type_of
from penstock.values import Json, coerce, encode

ANY = TypeSpec(kind=TypeKind.ANY, text="Any")


def canonical_name(thing: Any) -> str:
    """The ``module:qualname`` of a class or function, the same however the author's module was loaded."""
    module, file = thing.__module__, _author_file(thing)
    name = canonical_module(module, file)[0] if file else module
    return f"{name}:{thing.__qualname__.rpartition('<locals>.')[2]}"


def _author_file(thing: Any) -> str:
    """The author's file that a class or function is defined in; empty for what a library defines."""
    file = cells.module_file(thing)
    return file if file and is_author_file(file) else ""


@dataclass
class Names:
    """The canonical names of the classes that a pipeline's types mention, and the way back from a name to the class."""

    types: dict[str, type] = field(default_factory=dict)
    _known: dict[int, tuple[object, str]] = field(default_factory=dict)

    def of(self, thing: Any) -> str:
        """The `canonical_name` of a class or function; a class is remembered."""
        if id(thing) in self._known:
            return self._known[id(thing)][1]
        name = canonical_name(thing)
        self._known[id(thing)] = (thing, name)
        if isinstance(thing, type):
            self.types[name] = thing
        return name

    def authored(self, names: Iterator[str]) -> tuple[type, ...]:
        """Those of the named classes that are the author's own and so must travel with a step."""
        found = (self.types.get(name) for name in sorted(set(names)))
        return tuple(cls for cls in found if cls is not None and _author_file(cls))


@dataclass(frozen=True)
class Declaration:
    """A function's signature as the spec has it.

    ``type`` is that of the whole result; ``serializers`` are the functions that its annotations name; ``problems`` is
    everything wrong with it.
    """

    parameters: tuple[ParameterSpec, ...]
    outputs: tuple[OutputSpec, ...]
    returns: Returns
    type: TypeSpec
    serializers: tuple[Callable[..., object], ...]
    problems: tuple[Diagnostic, ...]


def declaration_of(function: Callable[..., object], names: Names, namespace: Mapping[str, object]) -> Declaration:
    """Reads a function's signature; ``namespace`` holds the local names of where it was defined."""
    signature = signature_of(function, namespace)
    problems = [_diagnostic(function, problem) for problem in signature.problems]
    reader = _Reader(function, names, namespace, problems)
    parameters = tuple(reader.parameter(each.name, each.annotation, each.default) for each in signature.parameters)
    outputs, returns, type_ = reader.result(signature.returns)
    return Declaration(parameters, outputs, returns, type_, tuple(_serializers(signature)), tuple(reader.problems))


@dataclass
class _Reader:
    function: Callable[..., object]
    names: Names
    namespace: Mapping[str, object]
    problems: list[Diagnostic]

    def parameter(self, name: str, annotation: object, default: object) -> ParameterSpec:
        type_ = self._type(annotation, name)
        description = description_of(annotation)
        if default is inspect.Parameter.empty:
            return ParameterSpec(name=name, type=type_, description=description)
        return ParameterSpec(
            name=name, type=type_, required=False, default=self._default(name, type_, default), description=description
        )

    def result(self, annotation: object) -> tuple[tuple[OutputSpec, ...], Returns, TypeSpec]:
        try:
            returns, outputs = returns_of(annotation, name_of=self.names.of, namespace=self.namespace)
        except UnsupportedAnnotation as problem:
            self.problems.append(_diagnostic(self.function, problem, "return"))
            returns, outputs = Returns(kind="value"), (OutputSpec(name="output", type=ANY),)
        if returns.kind == "none":
            return outputs, returns, TypeSpec(kind=TypeKind.NONE, text="None")
        return outputs, returns, outputs[0].type if returns.kind == "value" else self._type(annotation, "return")

    def _type(self, annotation: object, parameter: str) -> TypeSpec:
        try:
            return type_of(annotation, name_of=self.names.of, namespace=self.namespace)
        except UnsupportedAnnotation as problem:
            self.problems.append(_diagnostic(self.function, problem, parameter))
            return ANY

    def _default(self, name: str, type_: TypeSpec, default: object) -> object:
        """The encoded default; None for one that has no JSON form, which the step's own source holds."""
        if isinstance(default, Placeholder):
            return None
        reason = accepts(type_, default, self.names.of)
        if reason:
            fix = f"give a default of type {type_.text}, or change the annotation"
            message = f"the default of `{name}` of `{self.function.__qualname__}`: {reason}"
            self.problems.append(Diagnostic("P202", message, definition_location(self.function), fix))
        try:
            return encode(default, self.names.of)
        except TypeError:
            return None


def refused_defaults(function: Callable[..., object], declaration: Declaration, names: Names) -> Iterator[Diagnostic]:
    """The defaults of a pipeline that are of their type to Python, and that engines refuse: ``True`` for an int."""

    def find(name: str) -> Any:
        return names.types.get(name) or find_type(name)

    for each in declaration.parameters:
        if each.default is not None and not is_taken(each.type, each.default, find):
            message = f"the default of `{each.name}` of `{function.__qualname__}` is not {with_article(each.type.text)}"
            fix = f"give a default of type {each.type.text}, or change the annotation"
            yield Diagnostic("P202", message, definition_location(function), fix)


def is_taken(kind: TypeSpec, wire: Json, find: Callable[[str], Any]) -> bool:
    """Whether engines take a value, encoded, for a parameter: stricter than Python, where ``True`` is an int."""
    try:
        coerce(wire, kind.model_dump(mode="json", exclude_defaults=True), find)
    except StepError:
        return False
    except (ImportError, AttributeError):  # a class that is not here to ask
        return True
    return True


def _serializers(signature: Signature) -> Iterator[Callable[..., object]]:
    for annotation in (signature.returns, *(each.annotation for each in signature.parameters)):
        for serializer in serializers_in(annotation):
            if not serializer_problem(serializer):
                yield from roots_of(serializer)


def definition_location(function: Callable[..., object]) -> Location:
    """The line on which a function is defined."""
    code = inspect.unwrap(function).__code__
    try:
        lines, start = inspect.getsourcelines(code)
    except (OSError, TypeError):
        return Location(cells.shown(code.co_filename), code.co_firstlineno)
    offset = next((n for n, line in enumerate(lines) if line.lstrip().startswith(("def ", "async def "))), 0)
    return Location(cells.shown(code.co_filename), start + offset, lines[offset].rstrip())


def _diagnostic(function: Callable[..., object], problem: UnsupportedAnnotation, parameter: str = "") -> Diagnostic:
    message, name = problem.message, problem.parameter or parameter
    if f"`{function.__qualname__}`" not in message:
        place = "the return annotation" if name == "return" else f"parameter `{name}`"
        message = f"{place} of `{function.__qualname__}`: {message}"
    return Diagnostic("P201", message, definition_location(function), problem.fix)


def local_names(function: Callable[..., object], depth: int) -> dict[str, object]:
    """The local names around a function defined inside another, ``depth`` calls above; empty at module level."""
    if "<locals>" not in function.__qualname__:
        return {}
    return dict(sys._getframe(depth + 1).f_locals)
