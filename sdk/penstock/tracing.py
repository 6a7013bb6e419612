"""Runs a pipeline function with placeholders, and keeps what it does as a spec.

While a trace is under way, calling a step records a task and returns a placeholder. Problems with edges are collected,
so that one run reports them all.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any

from penstock import cells
from penstock.assignability import known_values, why_not, without_none
from penstock.backend import Definition
from penstock.bindings import Bound, Unbindable, bound
from penstock.control import Control, refuse_catchers
from penstock.declarations import ANY, Declaration, Names, declaration_of, definition_location, refused_defaults
from penstock.diagnostics import DefinitionError, Diagnostic, Location, did_you_mean, with_article
from penstock.functions import definition_of, plain_function
from penstock.giving import computed_parts, with_references
from penstock.keeping import without_collections
from penstock.lists import BuiltList, Missing, Scope, Turn
from penstock.metrics import other_names
from penstock.modules import canonical_module
from penstock.openings import OpenBranch, OpenLoop, OpenNode, frozen
from penstock.placeholders import BOOL, OPERANDS, Operand, Placeholder, Traced
from penstock.programs import NONE, Authored, CalledStep, Programs
from penstock.settings import Gate as StepGate
from penstock.sources import CallSite, call_site, location_of, operation_site
from penstock.spec import (
    CHECK,
    DECIDE,
    GIVE,
    ITEMS,
    Arm,
    Binding,
    CheckSpec,
    ChoiceBinding,
    CollectBinding,
    ConcurrencySpec,
    Gate,
    Group,
    ItemBinding,
    LiteralBinding,
    OperationBinding,
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
    StatusBinding,
    Task,
    Trigger,
    TypeKind,
    TypeSpec,
    parts,
)

_STATUS = "penstock.harness:RunStatus"
_CURRENT: ContextVar[Trace | None] = ContextVar("penstock_trace", default=None)


@dataclass(frozen=True)
class Call:
    """A step as it is to be called: its settings, the author's name for the node (empty: the step's), and the rest.

    ``after`` holds what to wait for, ``gates`` what its results must satisfy, ``undo`` the call that undoes it.
    """

    step: Authored
    settings: Settings
    name: str = ""
    after: tuple[object, ...] = ()
    gates: tuple[StepGate, ...] = ()
    undo: Call | None = None


@dataclass(frozen=True)
class Heading:
    """What a pipeline says of itself beside its body."""

    schedule: ScheduleSpec | None = None
    tags: tuple[str, ...] = ()
    owner: str = ""
    description: str = ""
    on_failure: tuple[Call, ...] = ()
    on_exit: tuple[Call, ...] = ()
    timeout: float | None = None
    triggers: tuple[Trigger, ...] = ()
    updates: tuple[str, ...] = ()
    concurrency: ConcurrencySpec | None = None


def current_trace() -> Trace | None:
    """The trace that is under way in this context, if any."""
    return _CURRENT.get()


def define(pipeline: Authored, heading: Heading) -> Definition:
    """Traces a pipeline function into a spec.

    Raises:
        DefinitionError: with everything that is wrong with it.
    """
    with without_collections():
        return _traced(pipeline, heading)


def _traced(pipeline: Authored, heading: Heading) -> Definition:
    trace = Trace()
    programs = trace.programs
    declaration = declaration_of(pipeline.function, trace.names, pipeline.namespace)
    trace.problems.extend(declaration.problems)
    _refuse_unnamed(pipeline, trace.problems)
    trace.problems.extend(refused_defaults(pipeline.function, declaration, trace.names))
    inputs = {each.name: _parameter(each) for each in declaration.parameters}
    programs.parameters = {each.name: each.type for each in declaration.parameters}
    trace.defaults = {each.name: each.default for each in declaration.parameters if not each.required}
    result = trace.result(pipeline, declaration, inputs)
    on_failure, on_exit = (
        tuple(trace.ending(call, declaration, definition_location(pipeline.function)) for call in calls)
        for calls in (heading.on_failure, heading.on_exit)
    )
    steps, modules = programs.captured()
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
        body=frozen(trace.body),
        result=result,
        returns=declaration.returns,
        modules=modules,
        on_failure=on_failure,
        on_exit=on_exit,
        timeout=heading.timeout,
        schedule=heading.schedule,
        triggers=heading.triggers,
        updates=heading.updates,
        concurrency=heading.concurrency,
        tags=heading.tags,
        owner=heading.owner,
        span=_span(definition_location(pipeline.function), file),
    )
    functions = {id_: step.function for id_, step in programs.steps.items()}
    return Definition(spec, functions, dict(trace.names.types), folder)


def _parameter(parameter: ParameterSpec) -> Placeholder:
    return Placeholder(ParameterBinding(name=parameter.name), parameter.type, f"parameter `{parameter.name}`")


def artifact_parameters(pipeline: Authored, spec: PipelineSpec) -> Iterator[Diagnostic]:
    """Why a pipeline can only be nested: parameters that no engine can be given from outside."""
    for parameter in spec.parameters:
        if _only_as_file(parameter.type):
            kind = f"a {parameter.type.text}, which no engine can be given"
            message = f"parameter `{parameter.name}` of pipeline `{pipeline.name}` is {kind}"
            fix = "take a `str` that says where it is, for `existing(...)`; or nest the pipeline in one that makes it"
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


class Trace:
    """A pipeline as far as it has been traced."""

    def __init__(self) -> None:
        self.names = Names()
        self.problems: list[Diagnostic] = []
        self.body: list[OpenNode] = []
        self.scope: Scope = ()
        self.programs = Programs(self.names, self.problems)
        self.defaults: dict[str, object] = {}
        self._prefix = ""
        self._inside: list[tuple[Callable[..., Any], int]] = []
        self._ids: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._files: dict[str, str] = {}
        self._scopes: dict[str, Scope] = {}
        self._gates: tuple[str, ...] = ()
        self._known: tuple[Binding, ...] = ()
        self._conditions: dict[str, Binding] = {}
        self._outer: list[tuple[list[OpenNode], Scope, tuple[str, ...], tuple[Binding, ...]]] = []

    def result(self, pipeline: Authored, declaration: Declaration, inputs: Mapping[str, object]) -> Binding | None:
        """Calls the pipeline function; what it returns, as a binding."""
        token, operands = _CURRENT.set(self), OPERANDS.set(self.operand)
        try:
            returned = self._called(pipeline.function, inputs)
        except DefinitionError as error:
            raise DefinitionError(tuple(dict.fromkeys((*self.problems, *error.diagnostics)))) from None
        finally:
            _CURRENT.reset(token)
            OPERANDS.reset(operands)
        if declaration.returns.kind == "none" and (returned is None or _is_nothing(returned)):
            return None
        return self._returned(pipeline, declaration, returned)

    def _called(self, function: Callable[..., Any], given: Mapping[str, object]) -> object:
        """What a pipeline function returns, with the control flow in it captured where its source can be read."""
        from penstock.rewriting import rewrite  # noqa: PLC0415  # of no use before there is a pipeline

        make = rewrite(function) if isinstance(function, FunctionType) else None
        if make is not None and isinstance(function, FunctionType):
            function = make(Control(self, function))
        return function(**given)

    def _returned(self, pipeline: Authored, declaration: Declaration, returned: object) -> Binding | None:
        location = definition_location(pipeline.function)
        if isinstance(returned, Missing):
            returned.refuse(_last_return(pipeline.function))
        try:
            value, reason = bound(returned, declaration.type, self.names)
        except Unbindable as error:
            value, reason = Bound(LiteralBinding(value=None), ANY, "its result"), str(error)
        if reason:
            wanted = declaration.type.text
            message = f"pipeline `{pipeline.name}` is annotated `-> {wanted}`, but it returns {value.said}: {reason}"
            fix = f"annotate it `-> {value.type.text}`, or return {with_article(wanted)}"
            self.problems.append(Diagnostic("P208", message, location, fix))
            return None
        last = _last_return(pipeline.function)
        self._refuse_escape(value.binding, "the result", lambda: last)
        return self._given(value, declaration, last)

    def _given(self, value: Bound, declaration: Declaration, location: Location) -> Binding:
        """A result, of which a node gives what has to be computed: where that fails, the run does."""
        parts = tuple(computed_parts(value.binding, declaration.type))
        if not parts:
            return value.binding
        called = self.programs.giving(tuple(type_ for _, type_ in parts), declaration.serializers)
        bindings = tuple(binding for binding, _ in parts)
        for binding, type_ in parts:
            self.programs.take(called, Bound(binding, type_, "the result"))
        id_ = self._node_id("return", None, chosen=False)
        self._place(id_, GIVE)
        taken = bindings[0] if len(bindings) == 1 else SequenceBinding(kind="tuple", items=bindings)
        inputs, span = (("result", taken),), self._span_at(location)
        self.body.append(Task(id=id_, step=GIVE, inputs=inputs, after=self._gates, span=span))
        outputs = (OutputBinding(node=id_, output=each.name) for each in called.declaration.outputs)
        return with_references(value.binding, declaration.type, outputs)

    def call(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Placeholder:
        """Records a call of a step."""
        step, settings = call.step, call.settings
        site = call_site(step.name if step.provided else step.function.__name__)
        refuse_catchers(self)
        called = self.programs.step(step)
        id_ = self._node_id(call.name or step.name, site, chosen=bool(call.name))
        called.needs_requirements |= settings.packages is None
        waits = [*self._gates, *self._after(call.after, site)]
        inputs: list[tuple[str, Binding]] = []
        for parameter, value in self._arguments(step, called.declaration, args, kwargs, site):
            made = self._bound(step, called.declaration, parameter, value, site)
            self.programs.take(called, made)
            waits.extend(made.nodes)
            inputs.append((parameter.name, made.binding))
        checks = tuple(self._check(called, gate, site) for gate in call.gates)
        task = Task(
            id=id_,
            step=self.programs.id_of(step),
            inputs=tuple(inputs),
            after=tuple(dict.fromkeys(waits)),
            settings=settings,
            checks=checks,
            span=self._span(site),
        )
        self._place(id_, task.step)
        self.programs.outputs |= {(id_, each.name): each.type for each in called.declaration.outputs}
        undo = self._undoing(call.undo, task, called.declaration, site) if call.undo else None
        self.body.append(task.model_copy(update={"rollback": undo}) if undo else task)
        return _output(id_, called.declaration)

    def _place(self, id_: str, step: str) -> None:
        self.programs.callers[id_] = step
        self._scopes[id_] = self.scope

    def _check(self, called: CalledStep, gate: StepGate, site: CallSite) -> CheckSpec:
        others = other_names(gate.value, called.declaration.outputs, self.names.types.get)
        if others is not None:
            message = f"a gate asks for `{gate.value}`, which `{called.function.__name__}` neither returns nor logs"
            fix = did_you_mean(gate.value, others, otherwise="it returns: {}")
            self.programs.doubtful.append((called, Diagnostic("P218", message, site.location(), fix)))
        bounds: list[Binding] = []
        for each in gate.bounds:
            try:
                made, _ = bound(each, ANY, self.names, self.scope, self._known)
            except Unbindable as error:
                message = f"a bound of the gate on `{gate.value}` cannot be written into a pipeline: {error}"
                self.problems.append(Diagnostic("P203", message, site.location(), error.fix))
                continue
            self.programs.take(called, made)
            bounds.append(made.binding)
        return CheckSpec(value=gate.value, operator=gate.operator, bounds=tuple(bounds), message=gate.message)

    def _undoing(self, undo: Call, task: Task, done: Declaration, site: CallSite) -> Task:
        """The task that undoes another: parameters take the other's inputs and outputs of the same names."""
        self.problems.extend(_lost_at_the_end(undo, f"undoes `{task.id}`", site.location()))
        called = self.programs.step(undo.step)
        called.needs_requirements |= undo.settings.packages is None
        types = {each.name: each.type for each in done.parameters}
        known: dict[str, Bound] = {}
        for name, binding in task.inputs:
            known[name] = Bound(binding, types[name], f"`{name}`")
        for each in done.outputs:
            known[each.name] = Bound(OutputBinding(node=task.id, output=each.name), each.type, f"output `{each.name}`")
        left = [each for each in called.declaration.parameters if each.name not in known]
        if len(left) == 1 and done.returns.kind == "value":
            known[left[0].name] = known["output"]
        inputs = self._matched(undo, called, known, f"`{task.id}` and its inputs", site.location())
        id_ = self._node_id(undo.name or undo.step.name, site, chosen=False)
        self._place(id_, self.names.of(undo.step.function))
        return Task(
            id=id_, step=self.programs.callers[id_], inputs=inputs, settings=undo.settings, span=self._span(site)
        )

    def ending(self, call: Call, pipeline: Declaration, location: Location) -> Task:
        """The task for a step that runs at the end of a run; its parameters take the pipeline's of the same names."""
        self.problems.extend(_lost_at_the_end(call, "runs at the end of a run", location))
        called = self.programs.step(call.step)
        called.needs_requirements |= call.settings.packages is None
        known = {
            each.name: Bound(ParameterBinding(name=each.name), each.type, f"parameter `{each.name}`")
            for each in pipeline.parameters
        }
        for each in called.declaration.parameters:
            if each.type.name == _STATUS:
                known[each.name] = Bound(StatusBinding(), each.type, "the run's status")
        inputs = self._matched(call, called, known, "the pipeline's parameters and the `RunStatus`", location)
        id_ = self._node_id(call.name or call.step.name, None, chosen=False)
        span = self._span_at(location)
        return Task(id=id_, step=self.names.of(call.step.function), inputs=inputs, settings=call.settings, span=span)

    def _matched(
        self, call: Call, called: CalledStep, known: Mapping[str, Bound], said: str, location: Location
    ) -> tuple[tuple[str, Binding], ...]:
        """What each parameter of a step takes, by its name; what none of the known values fits is reported."""
        inputs: list[tuple[str, Binding]] = []
        for each in called.declaration.parameters:
            made = known.get(each.name)
            if made is None:
                if each.required:
                    message = f"`{call.step.name}` takes `{each.name}`, which is not among {said}"
                    fix = did_you_mean(each.name, sorted(known), otherwise="it can take: {}")
                    self.problems.append(Diagnostic("P213", message, location, fix))
                continue
            reason = why_not(made.type, each.type)
            if reason:
                message = (
                    f"`{each.name}` of `{call.step.name}` takes {each.type.text}, but {made.said} is {made.type.text}"
                )
                self.problems.append(Diagnostic("P215", message, location, f"annotate `{each.name}: {made.type.text}`"))
            self.programs.take(called, made)
            inputs.append((each.name, made.binding))
        return tuple(inputs)

    # --- scopes -------------------------------------------------------------------------------------------------------

    def operand(self, value: object) -> Operand:
        """A value that stands in the author's code, as a binding where the pipeline function is now."""
        try:
            made, _ = bound(value, ANY, self.names, self.scope, self._known)
        except Unbindable as error:
            location = operation_site()[0]
            said = "a list" if isinstance(value, BuiltList) else f"{value!r:.60}"
            message = f"{said} cannot be written into a pipeline: {error}"
            raise DefinitionError(Diagnostic("P203", message, location, error.fix)) from None
        return Operand(made.binding, made.type, made.said)

    def deferred(self, value: object) -> Placeholder:
        """A value that holds placeholders, as one placeholder."""
        if isinstance(value, Placeholder):
            return value
        made = self.operand(value)
        return Placeholder(made.binding, made.type, made.said)

    def known_values(self, condition: Binding, *, holds: bool) -> Iterator[Binding]:
        """The values that are not None where a condition is true, or is not."""
        return known_values(condition, self._conditions, holds=holds)

    def narrowed(self, value: object) -> object:
        """A value, of a type without None where it is known here not to be None."""
        if not isinstance(value, Placeholder) or value.__penstock__.binding not in self._known:
            return value
        return _placeholder(replace(value.__penstock__, type=without_none(value.__penstock__.type)))

    def open_branch(self, condition: Placeholder, *, within: bool = False) -> OpenBranch:
        """Begins a branch; what is traced next belongs to neither arm until `enter`.

        It is ``within`` an expression where this asks for a part of it: ``x if CONDITION else y``, ``CONDITION and x``.
        """
        location, expression = operation_site("condition")
        if within and isinstance(expression, ast.IfExp):
            expression = expression.test
        elif within and isinstance(expression, ast.BoolOp):
            expression = expression.values[0]
        made = self._evaluated(DECIDE, condition)
        id_ = self._node_id("if", None, chosen=False)
        branch = OpenBranch(id_, made.binding, _written(expression, location), self._gates, self._span_at(location))
        self._place(id_, DECIDE)
        self._conditions[id_] = made.binding
        self.programs.outputs[id_, "holds"] = BOOL
        self.body.append(branch)
        return branch

    def discard(self, branch: OpenBranch) -> None:
        """Takes back a branch of which no arm holds anything."""
        self.body.remove(branch)
        self._ids.discard(branch.id)
        self._numbers.clear()  # its number is free again

    def open_loop(self, items: Placeholder, item: TypeSpec) -> OpenLoop:
        """Begins a loop; what is traced after `enter` is its body."""
        location, expression = operation_site("items")
        made = self._evaluated(ITEMS, items)
        id_ = self._node_id("for", None, chosen=False)
        parallelism = items.__penstock__.parallelism
        written = _written(expression, location)
        loop = OpenLoop(id_, made.binding, item, written, parallelism, self._gates, self._span_at(location))
        self._place(id_, ITEMS)
        self.programs.items[id_] = item
        self.body.append(loop)
        return loop

    def enter(self, body: list[OpenNode], place: Turn | Arm, known: Iterable[Binding] = ()) -> None:
        """Begins the body of a loop or an arm of a branch; ``known`` are values that are not None there."""
        self._outer.append((self.body, self.scope, self._gates, self._known))
        self.body, self.scope, self._gates = body, (*self.scope, place), ()
        self._known = (*self._known, *known)

    def leave(self) -> None:
        """Ends what was begun last. What follows waits for the gates in it, too."""
        inner = self._gates
        self.body, self.scope, gates, self._known = self._outer.pop()
        self._gates = tuple(dict.fromkeys((*gates, *inner)))

    def gate(self, condition: object, text: str, message: object) -> None:
        """Records a gate, for which everything that is traced after it waits."""
        location, expression = operation_site("condition")
        made = self._evaluated(CHECK, condition)
        shown = {_label(each): each for each in _compared(made.binding)}
        said = None if message is None else self._evaluated(CHECK, message).binding
        id_ = self._node_id("assert", None, chosen=False)
        self._place(id_, CHECK)
        self.body.append(
            Gate(
                id=id_,
                condition=made.binding,
                text=text or _written(expression, location),
                shown=tuple(shown.items()),
                message=said,
                after=self._gates,
                span=self._span_at(location),
            )
        )
        self._gates = (id_,)
        if isinstance(condition, Placeholder):
            self._known = (*self._known, *self.known_values(condition.__penstock__.binding, holds=True))

    @property
    def count(self) -> int:
        """How many nodes there are so far."""
        return len(self._ids)

    def scope_of(self, value: Placeholder) -> Scope:
        """The loops and arms around the place where a value is known, be it one of several arms' or all of a loop's."""
        traced = value.__penstock__
        found = [self._scopes[traced.node]] if traced.node else self._scopes_of(traced.binding)
        return max(found, key=len, default=())

    def _scopes_of(self, binding: Binding) -> Iterator[Scope]:
        if isinstance(binding, OutputBinding):
            yield self._scopes[binding.node]
        elif isinstance(binding, ItemBinding):
            yield (*self._scopes[binding.loop], Turn(binding.loop))
        elif isinstance(binding, ChoiceBinding):
            yield self._scopes[binding.branch]
        elif isinstance(binding, CollectBinding) and binding.loop:
            yield self._scopes[binding.loop]
        elif isinstance(binding, CollectBinding):
            for entry in binding.entries:
                yield from [self._scopes[entry.when[0].branch]] if entry.when else self._scopes_of(entry.value)
        else:
            for part in parts(binding):
                yield from self._scopes_of(part)

    def _evaluated(self, step: str, value: object) -> Bound:
        """A value that a step of the harness's own takes."""
        made = self.operand(value)
        self._refuse_escape(made.binding, made.said, lambda: operation_site()[0])
        taken = Bound(made.binding, made.type, made.said)
        self.programs.take(self.programs.own(step), taken)
        return taken

    def _refuse_escape(
        self, binding: Binding, said: str, location: Callable[[], Location], turns: frozenset[str] = frozenset()
    ) -> None:
        """Refuses a value of a loop's body outside of that body."""
        turns |= {each.loop for each in self.scope if isinstance(each, Turn)}
        loops: set[str] = set()
        if isinstance(binding, OutputBinding):
            loops = {each.loop for each in self._scopes.get(binding.node, ()) if isinstance(each, Turn)}
        elif isinstance(binding, ItemBinding):
            loops = {binding.loop}
        if loops - turns:
            message = f"{said} is of one item of a loop, and is taken outside of the loop's body"
            fix = "collect the values of all items: `xs.append(x)` on a list made before the loop, or a comprehension"
            raise DefinitionError(Diagnostic("P314", message, location(), fix))
        inner = turns | {binding.loop} if isinstance(binding, CollectBinding) else turns
        for part in parts(binding):
            self._refuse_escape(part, said, location, inner)

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
        refuse_catchers(self)
        declaration = declaration_of(pipeline.function, self.names, pipeline.namespace)
        self.problems.extend(declaration.problems)
        _refuse_unnamed(pipeline, self.problems)
        self.problems.extend(_lost_when_nested(pipeline, heading, site))
        id_ = self._node_id(name or pipeline.name, site, chosen=bool(name))
        given: dict[str, object] = {}
        waits = [*self._gates, *self._after(after, site)]
        for parameter, value in self._arguments(pipeline, declaration, args, kwargs, site):
            made = self._bound(pipeline, declaration, parameter, value, site)
            waits.extend(made.nodes)
            given[parameter.name] = value
        self._scopes[id_] = self.scope
        with self._group(id_) as body:
            returned = self._nested(pipeline, given, site)
        self.body.append(
            Group(
                id=id_,
                pipeline=pipeline.name,
                description=heading.description or inspect.getdoc(pipeline.function) or "",
                body=frozen(body),
                after=tuple(dict.fromkeys(waits)),
                span=self._span(site),
            )
        )
        return self._after_group(id_, returned)

    def _nested(self, pipeline: Authored, given: Mapping[str, object], site: CallSite) -> object:
        """What a nested pipeline's function returns. One that calls itself without an end is refused."""
        self._inside.append((pipeline.function, len(self.problems)))
        try:
            return self._called(pipeline.function, given)
        except RecursionError:
            marks = [mark for function, mark in self._inside if function is pipeline.function]
            if len(marks) == 1:
                raise
            del self.problems[marks[0] :]  # where there is hardly any room left on the stack, all seems to be wrong
            message = f"pipeline `{pipeline.name}` calls itself without an end: all branches are followed here"
            fix = "repeat inside a step, or loop over an ordinary iterable (`range(10)`) with an `if` in it"
            raise DefinitionError(Diagnostic("P320", message, site.location(), fix)) from None
        finally:
            self._inside.pop()

    @contextmanager
    def _group(self, id_: str) -> Iterator[list[OpenNode]]:
        outer, prefix, gates = self.body, self._prefix, self._gates
        self.body, self._prefix, self._gates = [], f"{id_}.", ()
        try:
            yield self.body
        finally:
            self.body, self._prefix = outer, prefix
            self._gates = tuple(dict.fromkeys((*gates, *self._gates)))

    @staticmethod
    def _after_group(id_: str, returned: object) -> object:
        """What a nested pipeline returned, such that ``after=`` it waits for all of the group."""
        if returned is None:
            return Placeholder(LiteralBinding(value=None), NONE, f"`{id_}`", id_)
        return _mapped(returned, lambda traced: _placeholder(replace(traced, node=id_)))

    def _node_id(self, name: str, site: CallSite | None, *, chosen: bool) -> str:
        id_ = f"{self._prefix}{name}"
        if id_ in self._ids and chosen and site is not None:
            fix = "choose another name, or leave it out: calls are then numbered"
            self.problems.append(Diagnostic("P206", f"two nodes are called `{id_}`", site.location(), fix))
        first, number = id_, self._numbers.get(id_, 1)
        while id_ in self._ids:
            number += 1
            id_ = f"{first}_{number}"
        self._numbers[first] = number
        self._ids.add(id_)
        return id_

    def _after(self, after: Iterable[object], site: CallSite) -> Iterator[str]:
        for each in after:
            is_list = isinstance(each, BuiltList)
            nodes = self.deferred(each).__penstock__.nodes if is_list or isinstance(each, Placeholder) else ()
            if not nodes and not is_list:
                message = f"`after` holds {each!r:.60}, which is not the result of a step or of a pipeline"
                fix = "give what calling a step returned: `x = load(); train.with_options(after=[x])()`"
                self.problems.append(Diagnostic("P210", message, site.location(), fix))
            yield from nodes

    def _arguments(
        self, callee: Authored, declaration: Declaration, args: tuple[Any, ...], kwargs: dict[str, Any], site: CallSite
    ) -> list[tuple[ParameterSpec, object]]:
        """The arguments of a call by parameter; what does not fit the signature is reported and left out."""
        try:
            given = callee.signature.bind(*args, **kwargs).arguments
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

        def location() -> Location:
            return site.location(site.argument(parameter.name, position))

        what = f"`{parameter.name}` of `{callee.name}`"
        try:
            made, reason = bound(value, parameter.type, self.names, self.scope, self._known)
        except Unbindable as error:
            message = f"{what} is given what cannot be written into a pipeline: {error}"
            self.problems.append(Diagnostic("P203", message, location(), error.fix))
            return Bound(LiteralBinding(value=None), ANY, repr(value))
        self._refuse_escape(made.binding, made.said, location)
        if reason:
            message = f"{what} takes {parameter.type.text}, but {_contrast(made, value, reason)}"
            self.problems.append(Diagnostic("P204", message, location(), _edge_fix(callee, parameter, made)))
        return made

    def _span(self, site: CallSite) -> Span:
        return self._span_at(site.location())

    def _span_at(self, location: Location) -> Span:
        file = self._files.get(location.path)
        if file is None:
            is_cell = cells.is_shown(location.path)
            file = self._files[location.path] = cells.FILE if is_cell else canonical_module("", location.path)[1]
        return _span(location, file)


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


def _placeholder(traced: Traced) -> Placeholder:
    made = Placeholder(traced.binding, traced.type, traced.said)
    object.__setattr__(made, "__penstock__", traced)
    return made


def _refuse_unnamed(pipeline: Authored, problems: list[Diagnostic]) -> None:
    """Ends the trace where a function has parameters that cannot be given by name, which is a problem found before."""
    kinds = {each.kind for each in inspect.signature(pipeline.function).parameters.values()}
    if not kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}:
        raise DefinitionError(tuple(dict.fromkeys(problems)))


def _lost_when_nested(pipeline: Authored, heading: Heading, site: CallSite) -> Iterator[Diagnostic]:
    """What a pipeline says of its own runs, of which there are none where it is nested in another one."""
    asked = {"timeout": heading.timeout, "on_failure": heading.on_failure, "on_exit": heading.on_exit}
    names = ", ".join(f"`{name}`" for name, given in asked.items() if given)
    if names:
        message = f"pipeline `{pipeline.name}` has {names}, which are of a whole run, and is nested in another pipeline"
        fix = "give them to the outermost pipeline, and nest one without: `@pipeline` on a function that both call"
        yield Diagnostic("P216", message, site.location(), fix)


def _lost_at_the_end(call: Call, does: str, location: Location) -> Iterator[Diagnostic]:
    """What is asked of a step that an engine calls once the pipeline's own nodes have ended."""
    asked = {"rollback": call.undo, "gates": call.gates, "after": call.after}
    names = ", ".join(f"`{name}=`" for name, given in asked.items() if given)
    if names:
        message = f"`{call.step.name}` has {names}, but {does}: nothing checks, undoes or orders that"
        yield Diagnostic("P217", message, location, "leave it out there, and check in the step itself")


def _last_return(function: Callable[..., Any]) -> Location:
    """Where a function ends, as far as its source can be read."""
    try:
        module, path = definition_of(plain_function(function))
    except DefinitionError:
        return definition_location(function)
    found = [each for each in ast.walk(path[-1]) if isinstance(each, ast.Return)]
    last = max(found, key=lambda each: each.lineno, default=None)
    return location_of(str(module.path), last.value or last, last.lineno) if last else definition_location(function)


def _written(expression: ast.expr | None, location: Location) -> str:
    """The author's text of an expression, on one line."""
    return ast.unparse(expression) if expression is not None else location.text.strip()


def _compared(condition: Binding) -> Iterator[Binding]:
    """The values that a condition compares, constants left out."""
    waiting = [condition]
    while waiting:
        binding = waiting.pop(0)
        if isinstance(binding, OperationBinding):
            waiting[:0] = binding.operands
        elif not isinstance(binding, LiteralBinding):
            yield binding


def _label(binding: Binding) -> str:
    """A short name for a value: ``train.accuracy``, ``floor``."""
    path = "".join(
        f".{each.key}" if each.kind == "attribute" else f"[{each.key!r}]" for each in getattr(binding, "path", ())
    )
    if isinstance(binding, OutputBinding):
        return f"{binding.node}{path}" if binding.output == "output" else f"{binding.node}.{binding.output}{path}"
    if isinstance(binding, ParameterBinding):
        return f"{binding.name}{path}"
    return f"item{path}" if isinstance(binding, ItemBinding) else f"value{path}"


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
    if callee.provided:
        return source
    return f"{source}, or annotate `{parameter.name}: {made.type.text}` in `{callee.function.__name__}`"
