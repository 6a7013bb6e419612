"""The explicit forms of control flow, for pipelines that programs build, and where there is no source to read.

In a pipeline function that was written in a file or a notebook, plain Python says the same: ``if``, ``for``,
``assert``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Generic, NoReturn, TypeVar, cast

from penstock.bindings import merged_type, relative
from penstock.control import Control
from penstock.declarations import ANY
from penstock.deferred import is_deferred
from penstock.diagnostics import DefinitionError, Diagnostic
from penstock.lists import Added, BuiltList, Scope, Turn
from penstock.openings import OpenBranch, OpenLoop, frozen
from penstock.operations import item_type
from penstock.placeholders import Either, Placeholder, Traced
from penstock.sources import operation_site
from penstock.spec import Arm, ChoiceBinding, ItemBinding, Task, bindings_of, walk
from penstock.tracing import Trace, current_trace
from penstock.watches import watched_here

__all__ = ["Elif", "Else", "ForEach", "If", "collect", "gate", "one_of", "parallel"]

T = TypeVar("T")


class If:
    """``with If(condition):`` holds the steps that run where the condition is true.

    `Elif` and `Else` may follow it, and `one_of` gives whichever value belongs to the arm that ran. Python runs the
    body of a ``with`` statement in any case, so that these forms have no meaning outside of a trace: they raise
    `DefinitionError` there.
    """

    def __init__(self, condition: object) -> None:
        self._condition = condition
        self._entered = 0

    def __enter__(self) -> None:
        self._open(_trace())
        self._watch = watched_here()

    def __exit__(self, *error: object) -> None:
        for _ in range(self._entered):
            _trace().leave()
        if error[0] is None:
            self._watch.refuse_changes()

    def _open(self, trace: Trace) -> None:
        condition = trace.deferred(self._condition)
        branch = trace.open_branch(condition)
        known = trace.known_values(condition.__penstock__.binding, holds=True)
        trace.enter(branch.arms[True], Arm(branch=branch.id, holds=True), known)
        self._entered += 1

    def _open_others(self, trace: Trace) -> None:
        """Enters the arm of the branches before this one in which none of their conditions was true."""
        branch = trace.body[-1] if trace.body else None
        if not isinstance(branch, OpenBranch) or (
            branch.arms[False] and not isinstance(branch.arms[False][0], OpenBranch)
        ):
            _refuse(f"`{type(self).__name__}` does not follow an `If`", "put it directly after `with If(...):`")
        while isinstance(branch, OpenBranch):
            body = branch.arms[False]
            trace.enter(body, Arm(branch=branch.id, holds=False))
            self._entered += 1
            branch = body[0] if body else None


def _put_before_branch(trace: Trace, condition: object) -> None:
    """Moves the tasks that a condition is made of before the branch that it goes on with, if nothing else is there."""
    branches = [index for index, each in enumerate(trace.body) if isinstance(each, OpenBranch)]
    last = branches[-1] if branches else len(trace.body)
    branch, after = trace.body[last : last + 1], trace.body[last + 1 :]
    made = {each.id: each for each in after if isinstance(each, Task)}
    waiting, needed = list(trace.deferred(condition).__penstock__.nodes), set[str]()
    while waiting:
        node = waiting.pop()
        waiting += _taken_by(made[node]) if node in made and node not in needed else ()
        needed.add(node)
    inside = {each.id for each in walk(frozen(branch))}
    if len(made) == len(after) and needed >= made.keys() and needed.isdisjoint(inside):
        trace.body[last:] = [*after, *branch]


def _taken_by(task: Task) -> Iterator[str]:
    """The nodes that a task waits for."""
    yield from task.after
    for _, binding in bindings_of(task):
        yield from Traced(binding, ANY, "").nodes


class Elif(If):
    """``with Elif(condition):`` after an `If`: what runs where that was false and this is true.

    Steps that are called in the condition run in any case, as Python evaluates it before it enters the block.
    """

    def __enter__(self) -> None:
        trace = _trace()
        _put_before_branch(trace, self._condition)
        self._open_others(trace)
        self._open(trace)
        self._watch = watched_here()


class Else(If):
    """``with Else():`` after an `If` or `Elif`: what runs where none of them was true."""

    def __init__(self) -> None:
        super().__init__(None)

    def __enter__(self) -> None:
        self._open_others(_trace())
        self._watch = watched_here()


class ForEach(Generic[T]):
    """``with ForEach(items, parallelism=4) as item:`` holds the steps that run once for each item, independently.

    Args:
        items: a list; a parameter, or what a step gives.
        parallelism: how many items may be under way at a time; as many as there is room for by default.
    """

    def __init__(self, items: Iterable[T], *, parallelism: int | None = None) -> None:
        self._items = parallel(items, parallelism) if parallelism is not None else items

    def __enter__(self) -> T:
        trace = _trace()
        items = trace.deferred(self._items)
        type_ = item_type(items)
        loop: OpenLoop = trace.open_loop(items, type_)
        trace.enter(loop.body, Turn(loop.id))
        self._watch = watched_here()
        return cast("T", Placeholder(ItemBinding(loop=loop.id), type_, f"an item of {items.__penstock__.said}"))

    def __exit__(self, *error: object) -> None:
        _trace().leave()
        if error[0] is None:
            self._watch.refuse_changes()


def collect(value: T) -> list[T]:
    """The values that a step in the body of a `ForEach` gave for its items, in their order; skipped ones left out.

    In nested loops, the values for all combinations of their items, one after the other.
    """
    trace = _trace()
    _require(value)
    found = BuiltList([], trace)
    list.append(found, Added(value, trace.scope_of(cast("Any", value))))
    return cast("list[T]", trace.deferred(found))


def one_of(*values: T) -> T:
    """Whichever of several values belongs to the arm of a branch that ran; there must be one for each arm."""
    trace = _trace()
    for value in values:
        _require(value)
    placed = [(relative(trace.scope_of(cast("Any", value)), trace.scope) or (), value) for value in values]
    return cast("T", _one_of(trace, placed))


def _one_of(trace: Trace, placed: list[tuple[Scope, Any]]) -> Any:
    if len(placed) == 1 and not any(isinstance(each, Arm) for each in placed[0][0]):
        return placed[0][1]
    arms = [scope[0] if scope else None for scope, _ in placed]
    first = next((arm for arm in arms if isinstance(arm, Arm)), None)
    if first is None or any(not isinstance(arm, Arm) or arm.branch != first.branch for arm in arms):
        _refuse("the values of `one_of` are not of different arms of one branch", "give one value of each arm")
    sides = []
    for holds in (True, False):
        inner = [(scope[1:], value) for scope, value in placed if cast("Arm", scope[0]).holds is holds]
        if not inner:
            _refuse("`one_of` has no value for one of the arms", "give one value of each arm, that of `Else` too")
        sides.append(_one_of(trace, inner))
    operands = [trace.operand(side) for side in sides]
    binding = ChoiceBinding(branch=first.branch, then=operands[0].binding, otherwise=operands[1].binding)
    type_ = merged_type(each.type for each in operands)
    return Placeholder(binding, type_, "one of the arms' values", either=Either(first.branch, *sides))


def gate(condition: object, message: object = None) -> None:
    """What is called after it runs only if the condition is true, or else the run fails with the message.

    The same as ``assert condition, message``.
    """
    trace = current_trace()
    if trace is not None:
        Control(trace).check(condition, (lambda: message) if message is not None else None, "")
    elif not condition:
        raise AssertionError(*([message] if message is not None else []))


def parallel(items: Iterable[T], limit: int) -> Iterable[T]:
    """Bounds a loop to ``limit`` items under way at a time.

    ``for x in parallel(xs, 4):``; in plain Python the items as they are.
    """
    if type(limit) is not int or limit < 1:  # `True` is no number of items
        message = f"a loop cannot have {limit!r:.60} items under way at a time"
        _refuse(message, "give a whole number from 1 on: `flow.parallel(xs, 4)`")
    trace = current_trace()
    if trace is None:
        return items
    made = trace.deferred(items).__penstock__
    return cast("Iterable[T]", Placeholder(made.binding, made.type, made.said, made.node, parallelism=limit))


def _trace() -> Trace:
    trace = current_trace()
    if trace is None:
        _refuse("`penstock.flow` is used outside of a pipeline", "write `if` and `for`, or call it in a `@pipeline`")
    return trace


def _require(value: object) -> None:
    if not is_deferred(value):
        _refuse(f"{value!r:.60} is no result of a step", "give what calling a step returned")


def _refuse(message: str, fix: str) -> NoReturn:
    raise DefinitionError(Diagnostic("P317", message, operation_site()[0], fix))
