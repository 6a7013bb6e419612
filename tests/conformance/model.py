"""What must become of every instance of a pipeline, told by a small interpreter of its spec.

It goes through the nodes one after another in the author's order, calls the author's functions in this process with the
values themselves, and follows the rules of "What a Penstock pipeline means". It shares nothing with what the engines
use: no units, no wires, no processes. What it cannot call (a step that ends its process, or outlives its timeout) it
takes from the case: ``fails`` and ``gives``.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

from penstock import harness
from penstock.backend import Definition
from penstock.spec import (
    Access,
    Binding,
    Branch,
    CheckSpec,
    ChoiceBinding,
    CollectBinding,
    Entry,
    Gate,
    Group,
    ItemBinding,
    LiteralBinding,
    Loop,
    MappingBinding,
    Node,
    OperationBinding,
    Operator,
    OutputBinding,
    ParameterBinding,
    RecordBinding,
    SequenceBinding,
    StatusBinding,
    Task,
    bindings_of,
    bodies,
    parts,
    walk,
)

FAILURES = ("failed", "upstream_failed")
ORDER = ("", "skipped", "upstream_failed")


@dataclass(frozen=True)
class Ended:
    """How an instance ended: its state, what it gave, and what it said where it failed."""

    state: str
    values: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True)
class Prediction:
    """What must come of a run: every instance by name, in the order of the model's run, and the pipeline's result."""

    ended: Mapping[str, Ended]
    result: object = None

    @property
    def nodes(self) -> dict[str, str]:
        """The state of each instance."""
        return {name: each.state for name, each in self.ended.items()}

    @property
    def state(self) -> str:
        """The run's."""
        return "failed" if "failed" in self.nodes.values() else "succeeded"


@dataclass(frozen=True)
class _Place:
    """Where the model is: at which item of each loop around, what holds up this body, and what groups wait for."""

    turns: Mapping[str, int] = field(default_factory=dict)
    held_up: str = ""
    after: tuple[str, ...] = ()


def predict(
    definition: Definition,
    parameters: Mapping[str, Any],
    gives: Mapping[str, Any] | None = None,
    fails: Mapping[str, str] | None = None,
) -> Prediction:
    """What must come of a pipeline.

    Args:
        definition: the pipeline with its functions.
        parameters: the value of every parameter.
        gives: what instances return whose functions are not to be called here.
        fails: what instances say that are to fail, whatever their functions would do here.
    """
    return _Model(definition, parameters, gives or {}, fails or {}).run()


class _Model:
    def __init__(
        self,
        definition: Definition,
        parameters: Mapping[str, Any],
        gives: Mapping[str, Any],
        fails: Mapping[str, str],
    ) -> None:
        self.definition, self.parameters, self.gives, self.fails = definition, parameters, gives, fails
        self.spec = definition.spec
        self.status: harness.RunStatus | None = None
        self.ended: dict[tuple[str, tuple[int, ...]], Ended] = {}
        self.around: dict[str, tuple[str, ...]] = {}
        self.inside: dict[str, tuple[str, ...]] = {}
        self.completed: dict[str, list[_Place]] = {}

    def run(self) -> Prediction:
        self._survey(self.spec.body, ())
        self._body(self.spec.body, _Place())
        failures = {_name(*key): each.message for key, each in self.ended.items() if each.state == "failed"}
        self.status = harness.RunStatus(self.spec.name, "failed" if failures else "succeeded", failures)
        for task in reversed([each for each in walk(self.spec.body) if isinstance(each, Task) and each.rollback]):
            self._undo(task, bool(failures))
        for task in self.spec.on_failure:
            self._end(task, _Place(held_up="" if failures else "skipped"))
        for task in self.spec.on_exit:
            self._end(task, _Place())
        succeeded = not any(each.state == "failed" for each in self.ended.values())
        bound = self.spec.result
        result = None if not succeeded or bound is None or self._lacks(bound, {}) else self._value(bound, {})
        return Prediction({_name(*key): each for key, each in self.ended.items()}, result)

    def _survey(self, body: Sequence[Node], around: tuple[str, ...]) -> None:
        for node in body:
            self.around[node.id] = around
            self.inside[node.id] = tuple(each.id for held in bodies(node) for each in walk(held))
            if isinstance(node, Task) and node.rollback:
                self.around[node.rollback.id] = around
            for held in bodies(node):
                self._survey(held, (*around, node.id) if isinstance(node, Loop) else around)

    # --- nodes

    def _body(self, body: Sequence[Node], place: _Place) -> None:
        for node in body:
            here = replace(place, after=(*place.after, *node.after))
            if isinstance(node, Group):
                self._body(node.body, here)
            elif isinstance(node, Branch):
                self._branch(node, here)
            elif isinstance(node, Loop):
                self._loop(node, here)
            else:
                self._end(node, here)

    def _branch(self, node: Branch, place: _Place) -> None:
        decided = self._end(node, place)
        for holds, body in ((True, node.then), (False, node.otherwise)):
            if decided.state == "succeeded":
                arm = "" if decided.values["holds"] is holds else "skipped"
            else:
                arm = _as_obstacle(decided.state)
            self._body(body, replace(place, held_up=_worst((place.held_up, arm))))

    def _loop(self, node: Loop, place: _Place) -> None:
        listed = self._end(node, place)
        for number in range(len(listed.values.get("items", ()))):
            self._body(node.body, replace(place, turns={**place.turns, node.id: number}))

    def _undo(self, task: Task, failed: bool) -> None:
        assert task.rollback is not None
        for place in reversed(self.completed.get(task.id, [])):
            index = self._index(task.id, place.turns)
            if failed and self.ended[task.id, index].state == "succeeded":
                self._end(task.rollback, _Place(place.turns))
            else:
                self.ended[task.rollback.id, index] = Ended("skipped")

    def _end(self, node: Task | Branch | Loop | Gate, place: _Place) -> Ended:
        """Brings an instance to its end, unless something holds it up."""
        key = (node.id, self._index(node.id, place.turns))
        lacking = (self._lacks(bound, place.turns) for _, bound in bindings_of(node))
        obstacle = _worst((place.held_up, *(self._order(node.id, each, place) for each in place.after), *lacking))
        self.ended[key] = Ended(obstacle) if obstacle else self._ran(node, place.turns, _name(*key))
        self.completed.setdefault(node.id, []).append(place)
        return self.ended[key]

    def _ran(self, node: Task | Branch | Loop | Gate, turns: Mapping[str, int], name: str) -> Ended:
        if name in self.fails:
            return Ended("failed", message=self.fails[name])
        attempts = 1
        if isinstance(node, Task) and node.settings.retry:
            attempts += node.settings.retry.max_retries
        ended = Ended("failed")
        for number in range(1, attempts + 1):
            try:
                return self._attempt(node, turns, name, number)
            except Exception as error:  # noqa: BLE001  # whatever the author's code raises fails the attempt
                ended = Ended("failed", message=": ".join(filter(None, (type(error).__name__, str(error)))))
        return ended

    def _attempt(self, node: Task | Branch | Loop | Gate, turns: Mapping[str, int], name: str, number: int) -> Ended:
        if isinstance(node, Branch):
            return Ended("succeeded", {"holds": bool(self._value(node.condition, turns))})
        if isinstance(node, Loop):
            return Ended("succeeded", {"items": list(self._value(node.items, turns))})
        if isinstance(node, Gate):
            passed = bool(self._value(node.condition, turns))
            message = "" if node.message is None else str(self._value(node.message, turns))
            return Ended("succeeded") if passed else Ended("failed", message=f"gate {node.text}: {message}")
        arguments = {input_: self._value(bound, turns) for input_, bound in node.inputs}
        values, metrics = self._called(node, arguments, name, number)
        failed = [each for each in node.checks if not self._passes(each, {**values, **metrics}, turns)]
        message = "; ".join(f"gate {each.value}: {each.message}" for each in failed)
        return Ended("failed" if failed else "succeeded", values, message)

    def _called(
        self, task: Task, arguments: Mapping[str, Any], name: str, number: int
    ) -> tuple[Mapping[str, Any], Mapping[str, float]]:
        """The outputs and metrics of the author's function, called in an empty directory of its own."""
        if name in self.gives:
            return self._divided(task, self.gives[name]), {}
        outputs = [output.name for output in self.spec.step(task).outputs]
        attempt = harness._Attempt(number, metadata={output: {} for output in outputs})
        before = Path.cwd()
        harness._ATTEMPTS.append(attempt)
        folder = Path(tempfile.mkdtemp(dir=before))
        os.chdir(folder)
        try:
            with mock.patch.dict(os.environ, dict(task.settings.env)):
                values = self._divided(task, self.definition.functions[task.step](**arguments))
            paths = {output: value.absolute() for output, value in values.items() if isinstance(value, Path)}
            return {**values, **paths}, attempt.metrics
        finally:
            os.chdir(before)
            with suppress(OSError):  # what it wrote may be what it returned
                folder.rmdir()
            harness._ATTEMPTS.pop()

    def _divided(self, task: Task, returned: Any) -> dict[str, Any]:
        step = self.spec.step(task)
        names = [output.name for output in step.outputs]
        if step.returns.kind == "tuple":
            return dict(zip(names, returned, strict=True))
        if step.returns.kind in ("namedtuple", "dataclass"):
            return {name: getattr(returned, name) for name in names}
        return dict.fromkeys(names, returned)

    def _passes(self, check: CheckSpec, known: Mapping[str, Any], turns: Mapping[str, int]) -> bool:
        bounds = [self._value(bound, turns) for bound in check.bounds]
        try:
            value = _named(check.value, known)
            if check.operator == "is not null":
                return value is not None and not (isinstance(value, float) and math.isnan(value))
            if check.operator == "between":
                return bool(bounds[0] <= value <= bounds[1])
            return bool(_compared(check.operator, value, bounds[0]))
        except Exception:  # noqa: BLE001  # what cannot be compared is not passed
            return False

    # --- what an instance waits for

    def _index(self, node: str, turns: Mapping[str, int]) -> tuple[int, ...]:
        return tuple(turns[loop] for loop in self.around.get(node, ()))

    def _order(self, node: str, other: str, place: _Place) -> str:
        """What waiting for a node, or all that it holds, comes to: a skip satisfies, a failure does not.

        A loop whose items could not be listed has no instances to wait for, and is a failure to all outside of it.
        """
        loops = [each for each in self.around[other] if each not in self.around[node]]
        for each in (*loops, other, *self.inside[other]):
            shared = [
                place.turns[one] for one, two in zip(self.around[node], self.around[each], strict=False) if one == two
            ]
            if self._has_failed((each,), tuple(shared)):
                return "upstream_failed"
        return ""

    def _has_failed(self, nodes: Iterable[str], around: tuple[int, ...]) -> bool:
        among = frozenset(nodes)
        return any(
            node in among and index[: len(around)] == around and each.state in FAILURES
            for (node, index), each in self.ended.items()
        )

    def _lack(self, node: str, turns: Mapping[str, int]) -> str:
        return _as_obstacle(self.ended[node, self._index(node, turns)].state)

    def _lacks(self, binding: Binding, turns: Mapping[str, int]) -> str:
        """What an instance comes to by depending on a binding: nothing, or the worse of what its parts come to."""
        if isinstance(binding, OutputBinding):
            return self._lack(binding.node, turns)
        if isinstance(binding, ItemBinding):
            return self._lack(binding.loop, turns)
        if isinstance(binding, ChoiceBinding):
            return self._lack(binding.branch, turns) or self._lacks(self._chosen(binding, turns), turns)
        if isinstance(binding, CollectBinding):
            return self._lacks_items(binding, turns)
        return _worst(self._lacks(part, turns) for part in parts(binding))

    def _lacks_items(self, binding: CollectBinding, turns: Mapping[str, int]) -> str:
        if binding.loop:
            listed = self._lack(binding.loop, turns)
            around = self._index(binding.loop, turns)
            if listed or self._has_failed(self.inside[binding.loop], around):
                return listed or "upstream_failed"
        found = [self._lacks_entry(entry, each) for each in self._turns(binding, turns) for entry in binding.entries]
        return "upstream_failed" if "upstream_failed" in found else ""

    def _lacks_entry(self, entry: Entry, turns: Mapping[str, int]) -> str:
        for arm in entry.when:
            lack = self._lack(arm.branch, turns)
            if lack or self._holds(arm.branch, turns) is not arm.holds:
                return lack or "skipped"
        return self._lacks(entry.value, turns)

    def _turns(self, binding: CollectBinding, turns: Mapping[str, int]) -> Iterator[Mapping[str, int]]:
        if not binding.loop:
            yield turns
            return
        items = self.ended[binding.loop, self._index(binding.loop, turns)].values["items"]
        for number in range(len(items)):
            yield {**turns, binding.loop: number}

    # --- values

    def _given(self, node: str, turns: Mapping[str, int]) -> Mapping[str, Any]:
        return self.ended[node, self._index(node, turns)].values

    def _holds(self, branch: str, turns: Mapping[str, int]) -> bool:
        return bool(self._given(branch, turns)["holds"])

    def _chosen(self, binding: ChoiceBinding, turns: Mapping[str, int]) -> Binding:
        return binding.then if self._holds(binding.branch, turns) else binding.otherwise

    def _value(self, binding: Binding, turns: Mapping[str, int]) -> Any:
        path: tuple[Access, ...] = getattr(binding, "path", ())
        return functools.reduce(_part, path, self._whole(binding, turns))

    def _whole(self, binding: Binding, turns: Mapping[str, int]) -> Any:
        if isinstance(binding, LiteralBinding):
            return harness.decode(binding.value, self.definition.find)
        if isinstance(binding, ParameterBinding):
            return self.parameters[binding.name]
        if isinstance(binding, OutputBinding):
            return self._given(binding.node, turns)[binding.output]
        if isinstance(binding, ItemBinding):
            return self._given(binding.loop, turns)["items"][turns[binding.loop]]
        if isinstance(binding, ChoiceBinding):
            return self._value(self._chosen(binding, turns), turns)
        if isinstance(binding, CollectBinding):
            return self._collected(binding, turns)
        if isinstance(binding, OperationBinding):
            operands = [functools.partial(self._value, operand, turns) for operand in binding.operands]
            return _operated(binding.operator, operands)
        if isinstance(binding, StatusBinding):
            return self.status
        if isinstance(binding, RecordBinding):
            fields = {name: self._value(part, turns) for name, part in binding.fields}
            return harness.assemble(self.definition.find(binding.type), fields)
        if isinstance(binding, MappingBinding):
            return {key: self._value(part, turns) for key, part in binding.items}
        assert isinstance(binding, SequenceBinding)
        values = [self._value(part, turns) for part in binding.items]
        return tuple(values) if binding.kind == "tuple" else values

    def _collected(self, binding: CollectBinding, turns: Mapping[str, int]) -> list[Any]:
        found: list[Any] = []
        for each in self._turns(binding, turns):
            for entry in binding.entries:
                if not self._lacks_entry(entry, each):
                    value = self._value(entry.value, each)
                    found += value if entry.spread else [value]
        return found


def _operated(operator: Operator, operands: Sequence[Callable[[], Any]]) -> Any:
    """What Python makes of operands, looking at no more of them than Python does."""
    if operator is Operator.IF:
        return operands[1]() if operands[0]() else operands[2]()
    if operator is Operator.AND:
        return functools.reduce(lambda made, each: made and each(), operands[1:], operands[0]())
    if operator is Operator.OR:
        return functools.reduce(lambda made, each: made or each(), operands[1:], operands[0]())
    values = [each() for each in operands]
    return _FUNCTIONS[operator](*values) if operator in _FUNCTIONS else _compared(operator.value, *values)


def _compared(sign: str, one: Any, other: Any) -> Any:
    return eval(f"one {sign} other", {"one": one, "other": other})  # Python's own meaning of a sign


def _formatted(value: Any, conversion: str, specification: str) -> str:
    return f"{{0{'!' if conversion else ''}{conversion}:{{1}}}}".format(value, specification)


_FUNCTIONS: Mapping[Operator, Callable[..., Any]] = {
    Operator.NOT: lambda value: not value,
    Operator.LEN: len,
    Operator.RANGE: lambda *limits: [*range(*limits)],
    Operator.ZIP: lambda *lists: [*zip(*lists, strict=False)],
    Operator.ZIP_STRICT: lambda *lists: [*zip(*lists, strict=True)],
    Operator.ENUMERATE: lambda items, start: [*enumerate(items, start)],
    Operator.KEYS: lambda mapping: [*mapping],
    Operator.VALUES: lambda mapping: [*mapping.values()],
    Operator.ITEMS: lambda mapping: [*mapping.items()],
    Operator.TUPLE: tuple,
    Operator.SET: set,
    Operator.FROZENSET: frozenset,
    Operator.DICT: dict,
    Operator.SLICE: lambda items, start, stop, step: items[start:stop:step],
    Operator.CONCATENATE: lambda *lists: [*itertools.chain(*lists)],
    Operator.TEXT: lambda *texts: "".join(texts),
    Operator.FORMAT: _formatted,
}


def _part(value: Any, access: Access) -> Any:
    return getattr(value, str(access.key)) if access.kind == "attribute" else value[access.key]


def _named(name: str, known: Mapping[str, Any]) -> Any:
    """A metric, an output or a part of one, by its dotted name."""
    if name in known:
        return known[name]
    first, *rest = name.split(".")
    path = rest if first in known else [first, *rest]
    value = known[first if first in known else "output"]
    for each in path:
        value = value[each] if isinstance(value, dict) else getattr(value, each)
    return value


def _name(node: str, index: tuple[int, ...]) -> str:
    return node + "".join(f"[{number}]" for number in index)


def _as_obstacle(state: str) -> str:
    return "upstream_failed" if state in FAILURES else "" if state == "succeeded" else state


def _worst(states: Iterable[str]) -> str:
    return max(states, key=ORDER.index, default="")
