"""What stands in for steps in a test: functions, values and errors, and the nodes that each of them stands in for."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from penstock.assignability import accepts
from penstock.authoring import Step
from penstock.backend import Definition
from penstock.declarations import Names
from penstock.diagnostics import ConfigurationError, Diagnostic, did_you_mean
from penstock.harness import StepError, divide, parts_of
from penstock.spec import GIVE, Loop, Node, PipelineSpec, Task, bodies

AnyStep: TypeAlias = Step[..., Any]
Fakes: TypeAlias = Mapping[Any, object]  # mypy takes a dictionary of steps and names for one of any objects
"""What stands in, by a node's name (``train``, ``outer.train``, ``train[2]``), or by a step, for all of its nodes."""


@dataclass(frozen=True)
class Call:
    """One attempt of a step: at which node, with what, and what came of it.

    ``arguments`` holds every parameter of the step by name, its defaults included. ``raised`` is None where it
    returned; then ``returned`` is what.
    """

    node: str
    attempt: int
    arguments: Mapping[str, Any]
    returned: Any = None
    raised: BaseException | None = None


@dataclass(frozen=True)
class Behaviour:
    """What an attempt does: it raises ``error``, or calls ``function``, or returns ``value``."""

    function: Callable[..., object] | None = None
    error: BaseException | type[BaseException] | None = None
    value: object = None

    @property
    def signature(self) -> inspect.Signature | None:
        """The function's, where it tells one: some built-in ones don't."""
        try:
            return inspect.signature(self.function) if self.function is not None else None
        except (TypeError, ValueError):
            return None

    @property
    def cancels(self) -> bool:
        """Whether it does what Ctrl-C does."""
        kind = self.error if isinstance(self.error, type) else type(self.error)
        return issubclass(kind, KeyboardInterrupt)

    def arguments(self, given: Mapping[str, object], everything: Mapping[str, object]) -> dict[str, object]:
        """What the function is called with: all that is given, and those of the step's defaults that it names.

        ``given`` is what the step is called with, ``everything`` the same and the step's defaults.
        """
        asked = self.signature.parameters if self.signature is not None else {}
        return {name: value for name, value in everything.items() if name in given or name in asked}

    def takes(self, given: Mapping[str, object], everything: Mapping[str, object]) -> bool:
        """Whether the function can be called with these."""
        if self.signature is None:
            return True
        try:
            self.signature.bind(**self.arguments(given, everything))
        except TypeError:
            return False
        return True

    def fail(self) -> None:
        """Raises the error, if there is one, as if for the first time."""
        if self.error is not None:
            raise self.error.with_traceback(None) if isinstance(self.error, BaseException) else self.error


class Fake:
    """Stands in for a step, and keeps its ``calls``. Made by `fake`, `returns`, `raises` and `attempts`."""

    def __init__(self, behaviours: tuple[Behaviour, ...]) -> None:
        self.behaviours = behaviours
        self.calls: list[Call] = []

    def behaviour(self, node: str, attempt: int) -> Behaviour:
        """What it does at an attempt, counted from 1. Raises `ConfigurationError` where that was not said."""
        if len(self.behaviours) == 1:
            return self.behaviours[0]
        if attempt > len(self.behaviours):
            message = f"the fake of `{node}` says what {len(self.behaviours)} attempts do; this is attempt {attempt}"
            fix = "say what this one does, too: `attempts(...)`; or give the step fewer retries"
            raise ConfigurationError(Diagnostic("P744", message, fix=fix))
        return self.behaviours[attempt - 1]


def fake(what: object) -> Fake:
    """A fake that calls ``what`` if that can be called, raises it if it is an error, and returns it otherwise."""
    if isinstance(what, Fake):
        return what
    if isinstance(what, BaseException) or (isinstance(what, type) and issubclass(what, BaseException)):
        return Fake((Behaviour(error=what),))
    return Fake((Behaviour(function=what) if callable(what) else Behaviour(value=what),))


def returns(value: object) -> Fake:
    """A fake that returns a value, even one that could be called."""
    return Fake((Behaviour(value=value),))


def raises(error: BaseException | type[BaseException]) -> Fake:
    """A fake that raises an error at each attempt."""
    return Fake((Behaviour(error=error),))


def attempts(*each: object) -> Fake:
    """A fake that does one thing at the first attempt of a node, another at the second, and so on.

    Each is a function, an error or a value, as `fake` takes them: ``attempts(TimeoutError("slow"), [1, 2])``.
    """
    if not each:
        raise ConfigurationError(Diagnostic("P744", "`attempts()` says what no attempt does", fix="give one or more"))
    return Fake(tuple(behaviour for one in each for behaviour in fake(one).behaviours))


def placed(definition: Definition, fakes: Fakes) -> dict[str, Fake]:
    """The fake of each node, or instance, that has one; an instance's goes before its node's, a node's before a step's.

    Raises:
        ConfigurationError: a name is no step's, or a fake cannot be called as the step is.
    """
    places = _Places(definition)
    made = {target: fake(what) for target, what in fakes.items()}
    by_step: dict[str, Fake] = {}
    by_name: dict[str, Fake] = {}
    problems: list[Diagnostic] = []
    for target, each in made.items():
        names, problem = places.of_name(target) if isinstance(target, str) else places.of_step(target)
        problems.extend([problem] if problem else [])
        (by_name if isinstance(target, str) else by_step).update(dict.fromkeys(names, each))
    found = {**by_step, **by_name}
    problems.extend(places.misfits(found))
    if problems:
        raise ConfigurationError(problems)
    return found


def refuse_missing_items(pipeline: PipelineSpec, fakes: Mapping[str, Fake], ran: Iterable[str]) -> None:
    """Raises `ConfigurationError` where a fake stands in for an item that a loop did not have, though it had others."""
    found = set(ran)
    looped = Counter(node for node, index in map(parts_of, found) if index)
    problems = [
        Diagnostic(
            "P741",
            f"`{name}` of pipeline `{pipeline.name}` has a fake, but `{node}` ran for {looped[node]} items alone",
            fix="items are counted from 0",
        )
        for name, (node, index) in ((each, parts_of(each)) for each in fakes)
        if index and looped[node] and name not in found
    ]
    if problems:
        raise ConfigurationError(problems)


def why_not_returned(definition: Definition, step: str, node: str, returned: object) -> Diagnostic | None:
    """What is wrong with what a fake returned: it must be what its step declares, artifacts apart, which may be any."""
    spec = next(each for each in definition.spec.steps if each.id == step)
    job = {"returns": spec.returns.model_dump(), "outputs": [{"name": each.name} for each in spec.outputs]}
    fix = f"return what `{definition.functions[step].__name__}` does"
    try:
        values = divide(returned, job, definition.find)
    except StepError as error:
        return Diagnostic("P745", f"the fake of `{node}`: {error}", fix=fix)
    names = Names()
    for output in spec.outputs:
        value = values[output.name]
        plain = value.item() if hasattr(value, "item") else value  # a number of NumPy's counts as Python's
        reason = "" if output.type.is_artifact else accepts(output.type, plain, names.of)
        if reason:
            where = "" if output.name == "output" else f" as `{output.name}`"
            return Diagnostic("P745", f"the fake of `{node}` gave another thing{where}: {reason}", fix=fix)
    return None


class _Places:
    """Where in a pipeline a fake may stand."""

    def __init__(self, definition: Definition) -> None:
        self.pipeline = definition.spec
        self.functions = definition.functions
        found = list(_surveyed(definition.spec))
        self.tasks = {node.id: node for node, _ in found if isinstance(node, Task) and node.step != GIVE}
        self.loops = {node.id: loops for node, loops in found}
        self.others = {node.id: node for node, _ in found if node.id not in self.tasks}

    def of_step(self, step: object) -> tuple[list[str], Diagnostic | None]:
        """The nodes that call a step, or what is wrong with it."""
        if not isinstance(step, Step):
            return [], Diagnostic("P741", f"{step!r:.60} is no step", fix="fake a step, or a node by its name")
        found = [id_ for id_, task in self.tasks.items() if self.functions.get(task.step) is step.function]
        if found:
            return found, None
        known = dict.fromkeys(f"`{self.functions[task.step].__name__}`" for task in self.tasks.values())
        fix = f"it calls {', '.join(known)}"
        return [], Diagnostic(
            "P741", f"pipeline `{self.pipeline.name}` never calls the step `{step.function.__name__}`", fix=fix
        )

    def of_name(self, name: str) -> tuple[list[str], Diagnostic | None]:
        """The node or instance that a name stands for, or what is wrong with it."""
        node, index = _split(name)
        if node not in self.tasks:
            return [], self._unknown(node)
        if index and len(index) != self.loops[node]:
            loops = self.loops[node]
            example = node + "[0]" * loops
            message = f"`{name}` is no instance: `{node}` is in {loops or 'no'} {'loop' if loops == 1 else 'loops'}"
            more = f", or `{node}` for all of them" if loops else ""
            return [], Diagnostic("P741", message, fix=f"give `{example}`{more}")
        return [name], None

    def _unknown(self, name: str) -> Diagnostic:
        other = self.others.get(name)
        if other is not None:
            message = f"`{name}` of pipeline `{self.pipeline.name}` is a {_said(other)}, not a step"
            inside = [id_ for id_ in self.tasks if id_.startswith(f"{name}.")]
            known = f"fake its steps: {', '.join(f'`{each}`' for each in inside)}"
            return Diagnostic("P741", message, fix=known if inside else "fake the steps whose results it looks at")
        nested = next((id_ for id_ in self.tasks if id_.endswith(f".{name}")), None)
        known = f"did you mean `{nested}`?" if nested else did_you_mean(name, self.tasks, otherwise="its steps: {}")
        return Diagnostic("P741", f"pipeline `{self.pipeline.name}` has no step `{name}`", fix=known)

    def misfits(self, fakes: Mapping[str, Fake]) -> Iterator[Diagnostic]:
        """The fakes that cannot be called as their steps are."""
        for name, each in fakes.items():
            task = self.tasks[_split(name)[0]]
            given = dict.fromkeys(parameter for parameter, _ in task.inputs)
            everything = dict.fromkeys(inspect.signature(self.functions[task.step]).parameters)
            for behaviour in each.behaviours:
                if not behaviour.takes(given, everything):
                    yield _misfit(name, behaviour, list(given))


def _misfit(name: str, behaviour: Behaviour, given: list[str]) -> Diagnostic:
    said = " and ".join(f"`{each}`" for each in given) or "nothing"
    message = f"the fake of `{name}` takes `{behaviour.signature}`, but `{name}` is given {said}"
    written = ", ".join(given)
    fix = f"write it `lambda {written}: ...`" if given else "write it `lambda: ...`"
    return Diagnostic("P742", message, fix=f"{fix}; what does not look at them can be a value: `returns(...)`")


def _said(node: Node) -> str:
    return {"group": "nested pipeline", "task": "computed result"}.get(node.kind, node.kind)


def _split(name: str) -> tuple[str, tuple[int, ...]]:
    """The node and the index in a name that a test gives; what is no instance's name counts as a node's."""
    try:
        return parts_of(name)
    except ValueError:
        return name, ()


def _surveyed(pipeline: PipelineSpec) -> Iterator[tuple[Node, int]]:
    """Every node, what undoes and what ends included, each with the number of loops around it."""
    yield from (found for node in pipeline.body for found in _within(node, 0))
    yield from ((task, 0) for task in (*pipeline.on_failure, *pipeline.on_exit))


def _within(node: Node, loops: int) -> Iterator[tuple[Node, int]]:
    yield node, loops
    if isinstance(node, Task) and node.rollback is not None:
        yield node.rollback, loops
    inner = loops + isinstance(node, Loop)
    for body in bodies(node):
        for each in body:
            yield from _within(each, inner)
