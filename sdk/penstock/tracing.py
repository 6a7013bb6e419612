"""Runs a pipeline function with placeholders, and keeps what it does as a spec.

While a trace is under way, calling a step records a task and returns a placeholder. Problems with edges are collected,
so that one run reports them all.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from penstock import capture
from penstock.backend import Definition
from penstock.bindings import Bound, Unbindable, bound
from penstock.declarations import ANY, Declaration, Names, declaration_of, definition_location
from penstock.diagnostics import DefinitionError, Diagnostic, Location, did_you_mean, with_article
from penstock.modules import canonical_module
from penstock.pitfalls import pitfalls
from penstock.placeholders import Placeholder, Traced
from penstock.requirements import needs_distribution, requirements_for
from penstock.serializers import requirements_of
from penstock.sources import CallSite, call_site
from penstock.spec import (
    Binding,
    Group,
    LiteralBinding,
    Node,
    OutputBinding,
    ParameterBinding,
    ParameterSpec,
    PipelineSpec,
    RecordBinding,
    Returns,
    ScheduleSpec,
    SequenceBinding,
    Settings,
    Span,
    StepSpec,
    Task,
    TypeKind,
    TypeSpec,
    references,
)

NONE = TypeSpec(kind=TypeKind.NONE, text="None")
_CURRENT: ContextVar[Trace | None] = ContextVar("penstock_trace", default=None)


@dataclass(frozen=True)
class Authored:
    """A function that was made a step or a pipeline: its name, and the local names of where it was defined."""

    function: Callable[..., Any]
    name: str
    namespace: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Heading:
    """What a pipeline says of itself beside its body."""

    schedule: ScheduleSpec | None = None
    tags: tuple[str, ...] = ()
    owner: str = ""
    description: str = ""


def current_trace() -> Trace | None:
    """The trace that is under way in this context, if any."""
    return _CURRENT.get()


def define(pipeline: Authored, heading: Heading, is_step: Callable[[object], bool]) -> Definition:
    """Traces a pipeline function into a spec; ``is_step`` tells steps from other objects.

    Raises:
        DefinitionError: with everything that is wrong with it.
    """
    trace = Trace()
    declaration = declaration_of(pipeline.function, trace.names, pipeline.namespace)
    trace.problems.extend(declaration.problems)
    inputs = {each.name: _parameter(each) for each in declaration.parameters}
    trace.parameters = {each.name: each.type for each in declaration.parameters}
    trace.problems.extend(pitfalls(pipeline.function, pipeline.namespace, is_step))
    result = trace.result(pipeline, declaration, inputs)
    steps, modules = trace.programs()
    if trace.problems:
        raise DefinitionError(tuple(dict.fromkeys(trace.problems)))
    _, file, folder = canonical_module(
        pipeline.function.__module__, inspect.unwrap(pipeline.function).__code__.co_filename
    )
    spec = PipelineSpec(
        name=pipeline.name,
        description=heading.description or inspect.getdoc(pipeline.function) or "",
        parameters=declaration.parameters,
        steps=steps,
        body=tuple(trace.body),
        result=result,
        returns=declaration.returns,
        modules=modules,
        schedule=heading.schedule,
        tags=heading.tags,
        owner=heading.owner,
        span=_span(definition_location(pipeline.function), file),
    )
    functions = {id_: step.authored.function for id_, step in trace.steps.items()}
    return Definition(spec, functions, dict(trace.names.types), folder)


def _parameter(parameter: ParameterSpec) -> Placeholder:
    return Placeholder(ParameterBinding(name=parameter.name), parameter.type, f"parameter `{parameter.name}`")


def artifact_parameters(pipeline: Authored, spec: PipelineSpec) -> Iterator[Diagnostic]:
    """Why a pipeline can only be nested: parameters that no engine can be given from outside."""
    for parameter in spec.parameters:
        if _only_as_file(parameter.type):
            kind = f"a {parameter.type.text}, which no engine can be given"
            message = f"parameter `{parameter.name}` of pipeline `{pipeline.name}` is {kind}"
            fix = "take a `str` that says where it is, and read it in a step; or nest the pipeline in one that makes it"
            yield Diagnostic("P207", message, definition_location(pipeline.function), fix)


def _only_as_file(type_: TypeSpec) -> bool:
    if type_.kind in (TypeKind.PATH, TypeKind.OBJECT):
        return type_.name != "builtins:object"
    return any(_only_as_file(part) for part in (*type_.args, *(each.type for each in type_.fields)))


def _span(location: Location, file: str) -> Span:
    return Span(
        file=file,
        line=location.line,
        column=location.column,
        end_column=location.end_column,
        text=location.text.rstrip(),
    )


@dataclass
class _Step:
    """A step that the pipeline calls, its declaration, and the types of all that is given to it."""

    authored: Authored
    declaration: Declaration
    given: list[TypeSpec] = field(default_factory=list)
    bindings: list[Binding] = field(default_factory=list)
    needs_requirements: bool = False
    sources: set[str] = field(default_factory=set)
    """The ids of the steps whose results it is given and that may hold objects of any class."""


class Trace:
    """A pipeline as far as it has been traced."""

    def __init__(self) -> None:
        self.names = Names()
        self.problems: list[Diagnostic] = []
        self.body: list[Node] = []
        self.steps: dict[str, _Step] = {}
        self.parameters: dict[str, TypeSpec] = {}
        self._outputs: dict[tuple[str, str], TypeSpec] = {}
        self._prefix = ""
        self._ids: set[str] = set()
        self._callers: dict[str, str] = {}
        self._serializers: dict[str, Callable[..., object]] = {}

    def result(self, pipeline: Authored, declaration: Declaration, inputs: Mapping[str, object]) -> Binding | None:
        """Calls the pipeline function; what it returns, as a binding."""
        token = _CURRENT.set(self)
        try:
            returned = pipeline.function(**inputs)
        except DefinitionError as error:
            raise DefinitionError(tuple(dict.fromkeys((*self.problems, *error.diagnostics)))) from None
        finally:
            _CURRENT.reset(token)
        if declaration.returns.kind == "none" and (returned is None or _is_nothing(returned)):
            return None
        return self._returned(pipeline, declaration, returned)

    def _returned(self, pipeline: Authored, declaration: Declaration, returned: object) -> Binding | None:
        location = definition_location(pipeline.function)
        try:
            value, reason = bound(returned, declaration.type, self.names)
        except Unbindable as error:
            value, reason = Bound(LiteralBinding(value=None), ANY, "its result"), str(error)
        if reason:
            wanted = declaration.type.text
            message = f"pipeline `{pipeline.name}` is annotated `-> {wanted}`, but it returns {value.said}: {reason}"
            fix = f"annotate it `-> {value.type.text}`, or return {with_article(wanted)}"
            self.problems.append(Diagnostic("P208", message, location, fix))
        return value.binding

    def call(
        self,
        step: Authored,
        settings: Settings,
        name: str,
        after: Iterable[object],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Placeholder:
        """Records a call of a step; ``name`` is the author's for the node, empty to call it by the function's name."""
        site = call_site(step.function.__name__)
        called = self._step(step)
        id_ = self._node_id(name or step.name, site, chosen=bool(name))
        called.needs_requirements |= settings.packages is None
        waits = list(self._after(after, site))
        inputs: list[tuple[str, Binding]] = []
        for parameter, value in self._arguments(step, called.declaration, args, kwargs, site):
            made = self._bound(step, called.declaration, parameter, value, site)
            called.given.append(made.type)
            called.given.extend(self._wholes(made.binding))
            called.bindings.append(made.binding)
            if _may_hold_objects(made.type):
                called.sources.update(self._callers[node] for node in _nodes_of(made.binding))
            waits.extend(made.nodes)
            inputs.append((parameter.name, made.binding))
        self.body.append(
            Task(
                id=id_,
                step=self.names.of(step.function),
                inputs=tuple(inputs),
                after=tuple(dict.fromkeys(waits)),
                settings=settings,
                span=self._span(site),
            )
        )
        self._callers[id_] = self.names.of(step.function)
        self._outputs |= {(id_, each.name): each.type for each in called.declaration.outputs}
        return _output(id_, called.declaration)

    def nest(
        self,
        pipeline: Authored,
        heading: Heading,
        name: str,
        after: Iterable[object],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Records a nested pipeline as a group, called ``name`` or else as the pipeline is; returns what it returns."""
        site = call_site(pipeline.function.__name__)
        declaration = declaration_of(pipeline.function, self.names, pipeline.namespace)
        self.problems.extend(declaration.problems)
        id_ = self._node_id(name or pipeline.name, site, chosen=bool(name))
        given: dict[str, object] = {}
        waits = list(self._after(after, site))
        for parameter, value in self._arguments(pipeline, declaration, args, kwargs, site):
            made = self._bound(pipeline, declaration, parameter, value, site)
            waits.extend(made.nodes)
            given[parameter.name] = value
        with self._group(id_) as body:
            returned = pipeline.function(**given)
        self.body.append(
            Group(
                id=id_,
                pipeline=pipeline.name,
                description=heading.description or inspect.getdoc(pipeline.function) or "",
                body=tuple(body),
                after=tuple(dict.fromkeys(waits)),
                span=self._span(site),
            )
        )
        return self._after_group(id_, returned)

    @contextmanager
    def _group(self, id_: str) -> Iterator[list[Node]]:
        outer, prefix = self.body, self._prefix
        self.body, self._prefix = [], f"{id_}."
        try:
            yield self.body
        finally:
            self.body, self._prefix = outer, prefix

    @staticmethod
    def _after_group(id_: str, returned: object) -> object:
        """What a nested pipeline returned, such that ``after=`` it waits for all of the group."""
        if returned is None:
            return Placeholder(LiteralBinding(value=None), NONE, f"`{id_}`", id_)
        return _mapped(returned, lambda traced: Placeholder(traced.binding, traced.type, traced.said, id_))

    def _step(self, step: Authored) -> _Step:
        id_ = self.names.of(step.function)
        known = self.steps.get(id_)
        if known is not None and known.authored.function is step.function:
            return known
        declaration = declaration_of(step.function, self.names, step.namespace)
        self.problems.extend(declaration.problems)
        if known is not None:
            message = f"two different steps of this pipeline are called `{step.function.__name__}` in one module"
            fix = "rename one of the functions; where one function makes both, pass what differs as a parameter"
            self.problems.append(Diagnostic("P209", message, definition_location(step.function), fix))
        self._serializers.update((self.names.of(each), each) for each in declaration.serializers)
        self.steps[id_] = _Step(step, declaration)
        return self.steps[id_]

    def _node_id(self, name: str, site: CallSite, *, chosen: bool) -> str:
        id_ = f"{self._prefix}{name}"
        if id_ in self._ids and chosen:
            fix = "choose another name, or leave it out: calls are then numbered"
            self.problems.append(Diagnostic("P206", f"two nodes are called `{id_}`", site.location(), fix))
        number = 1
        while id_ in self._ids:
            number += 1
            id_ = f"{self._prefix}{name}_{number}"
        self._ids.add(id_)
        return id_

    def _after(self, after: Iterable[object], site: CallSite) -> Iterator[str]:
        for each in after:
            nodes = each.__penstock__.nodes if isinstance(each, Placeholder) else ()
            if not nodes:
                message = f"`after` holds {each!r:.60}, which is not the result of a step or of a pipeline"
                fix = "give what calling a step returned: `x = load(); train.with_options(after=[x])()`"
                self.problems.append(Diagnostic("P210", message, site.location(), fix))
            yield from nodes

    def _arguments(
        self, callee: Authored, declaration: Declaration, args: tuple[Any, ...], kwargs: dict[str, Any], site: CallSite
    ) -> list[tuple[ParameterSpec, object]]:
        """The arguments of a call by parameter; what does not fit the signature is reported and left out."""
        try:
            given = inspect.signature(callee.function).bind(*args, **kwargs).arguments
        except TypeError as error:
            shown = ", ".join(_shown(each) for each in declaration.parameters)
            unknown = [f"`{name}`" for name in kwargs if name not in {each.name for each in declaration.parameters}]
            said = f"it takes no {', '.join(unknown)}" if unknown else str(error)
            message = f"`{callee.name}({shown})` cannot be called like this: {said}"
            fix = _call_fix([each.name for each in declaration.parameters], kwargs)
            self.problems.append(Diagnostic("P205", message, site.location(), fix))
            given = {
                key: value for key, value in kwargs.items() if key in {each.name for each in declaration.parameters}
            }
        return [(each, given[each.name]) for each in declaration.parameters if each.name in given]

    def _bound(
        self, callee: Authored, declaration: Declaration, parameter: ParameterSpec, value: object, site: CallSite
    ) -> Bound:
        position = declaration.parameters.index(parameter)
        location = site.location(site.argument(parameter.name, position))
        what = f"`{parameter.name}` of `{callee.name}`"
        try:
            made, reason = bound(value, parameter.type, self.names)
        except Unbindable as error:
            message = f"{what} is given what cannot be written into a pipeline: {error}"
            self.problems.append(Diagnostic("P203", message, location, error.fix))
            return Bound(LiteralBinding(value=None), ANY, repr(value))
        if reason:
            message = f"{what} takes {parameter.type.text}, but {_contrast(made, value, reason)}"
            self.problems.append(Diagnostic("P204", message, location, _edge_fix(callee, parameter, made)))
        return made

    def _wholes(self, binding: Binding) -> Iterator[TypeSpec]:
        """The types of what a binding takes parts of: each is decoded whole where the step runs."""
        for ref in references(binding):
            if ref.path and isinstance(ref, ParameterBinding):
                yield self.parameters[ref.name]
            elif ref.path and isinstance(ref, OutputBinding):
                yield self._outputs[ref.node, ref.output]

    def _span(self, site: CallSite) -> Span:
        _, file, _ = canonical_module("", site.path)
        return _span(site.location(), file)

    def programs(self) -> tuple[tuple[StepSpec, ...], tuple[Any, ...]]:
        """The captured steps, and the author's modules that they reach."""
        captured: dict[str, capture.Captured] = {}
        for id_, step in self.steps.items():
            try:
                captured[id_] = self._captured(step)
            except DefinitionError as error:
                self.problems.extend(error.diagnostics)
        for id_, more in self._handed_on(captured).items():
            captured[id_] = self._captured(self.steps[id_], more)
        specs = tuple(self._step_spec(id_, self.steps[id_], each) for id_, each in captured.items())
        return specs, capture.merge(captured.values())

    def _handed_on(self, captured: Mapping[str, capture.Captured]) -> dict[str, tuple[Any, ...]]:
        """What each step must hold so that objects of the author's classes can be read where it runs.

        An object, pickled or encoded, can hold instances of any class, and refer to any function, that the program of
        the step that made it reaches; those, and no others.
        """
        own = {id_: _definitions(self.steps[id_].authored, each) for id_, each in captured.items()}
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

    def _captured(self, step: _Step, more: tuple[Any, ...] = ()) -> capture.Captured:
        named = [name for type_ in step.given for name in _class_names(type_)]
        made = [name for binding in step.bindings for name in _record_names(binding)]
        # A value that is declared as `Any` may hold an instance of any class that the pipeline's types mention.
        open_ = self.names.types if any(_is_open(type_) for type_ in step.given) else ()
        also = self.names.authored(iter((*named, *made, *open_)))
        return capture.capture(
            step.authored.function,
            (*step.declaration.serializers, *self._readers(step), *also, *more),
            find_requirements=step.needs_requirements,
        )

    def _readers(self, step: _Step) -> Iterator[Callable[..., object]]:
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

    def _step_spec(self, id_: str, step: _Step, captured: capture.Captured) -> StepSpec:
        declaration = step.declaration
        types = (
            *step.given,
            *(each.type for each in declaration.parameters),
            *(each.type for each in declaration.outputs),
        )
        libraries: set[str] = set()
        if step.needs_requirements:
            libraries.update(each for type_ in types for each in requirements_of(type_))
            libraries.update(each for type_ in types for each in self._libraries(type_))
        return StepSpec(
            id=id_,
            description=inspect.getdoc(step.authored.function) or "",
            inputs=declaration.parameters,
            outputs=declaration.outputs,
            returns=declaration.returns,
            reach=captured.reach,
            requirements=tuple(sorted({*captured.requirements, *libraries})),
            span=captured.span,
        )


def _mapped(value: Any, change: Callable[[Traced], Placeholder]) -> Any:
    """A value with each placeholder in it, in lists, tuples and dicts as well, changed."""
    if isinstance(value, Placeholder):
        return change(value.__penstock__)
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_mapped(item, change) for item in value)
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(_mapped(item, change) for item in value)
    return value


def _is_nothing(value: object) -> bool:
    return isinstance(value, Placeholder) and value.__penstock__.type.kind is TypeKind.NONE


def _output(id_: str, declaration: Declaration) -> Placeholder:
    """The placeholder for a whole result: one output, or the named ones put together."""
    said, returns = f"`{id_}`'s result", declaration.returns
    if returns.kind == "none":
        return Placeholder(LiteralBinding(value=None), NONE, said, id_)
    outputs = tuple((each.name, OutputBinding(node=id_, output=each.name)) for each in declaration.outputs)
    return Placeholder(_whole(returns, outputs), declaration.type, said)


def _whole(returns: Returns, outputs: tuple[tuple[str, OutputBinding], ...]) -> Binding:
    if returns.kind == "value":
        return outputs[0][1]
    if returns.kind == "tuple":
        return SequenceBinding(kind="tuple", items=tuple(binding for _, binding in outputs))
    return RecordBinding(type=returns.type, fields=outputs)


def _shown(parameter: ParameterSpec) -> str:
    return f"{parameter.name}: {parameter.type.text}" + ("" if parameter.required else " = ...")


def _call_fix(known: list[str], given: Iterable[str]) -> str:
    unknown = [name for name in given if name not in known]
    if unknown:
        return did_you_mean(unknown[0], known, otherwise="its parameters: {}")
    return "give each required parameter once, by its name"


def _contrast(made: Bound, value: object, reason: str) -> str:
    if isinstance(value, Placeholder):
        return f"{made.said} is {made.type.text}" + (f" ({reason})" if ": " in reason else "")
    return reason


def _edge_fix(callee: Authored, parameter: ParameterSpec, made: Bound) -> str:
    source = f"pass {with_article(parameter.type.text)}"
    return f"{source}, or annotate `{parameter.name}: {made.type.text}` in `{callee.function.__name__}`"


def _may_hold_objects(type_: TypeSpec) -> bool:
    """Whether values of a type may hold objects of classes that the type does not tell."""
    if type_.kind in (TypeKind.OBJECT, TypeKind.DATACLASS, TypeKind.NAMEDTUPLE, TypeKind.PYDANTIC, TypeKind.ANY):
        return type_.serializer not in ("parquet", "npy")
    return any(_may_hold_objects(part) for part in type_.args)


def _nodes_of(binding: Binding) -> Iterator[str]:
    return (ref.node for ref in references(binding) if isinstance(ref, OutputBinding))


def _definitions(step: Authored, captured: capture.Captured) -> dict[str, Any]:
    """The author's classes and functions that a program holds, by their names in it, the step itself left out."""
    found: dict[str, Any] = {}
    for reach in captured.reach:
        own = reach.module == captured.entry.partition(":")[0]
        namespace = step.function.__globals__ if own else vars(sys.modules.get(reach.module, step))
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
    if isinstance(binding, RecordBinding):
        yield binding.type
        for _, part in binding.fields:
            yield from _record_names(part)
    elif isinstance(binding, SequenceBinding):
        for part in binding.items:
            yield from _record_names(part)
    elif isinstance(binding, LiteralBinding):
        yield from _tagged_names(binding.value)


def _tagged_names(wire: Any) -> Iterator[str]:
    if isinstance(wire, dict):
        for tag, body in wire.items():
            if tag in ("$enum", "$flag", "$dataclass", "$namedtuple", "$pydantic"):
                yield body[0]
        wire = list(wire.values())
    if isinstance(wire, list):
        for part in wire:
            yield from _tagged_names(part)
