"""The ``if`` and the ``for`` of a pipeline function: run as Python runs them, or traced for when the pipeline runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard

from penstock.deferred import refuse_here
from penstock.lists import BuiltList, Missing, Scope, Skipped, Turn
from penstock.merging import merged
from penstock.operations import item_type
from penstock.placeholders import Placeholder
from penstock.spec import Arm, Binding, ChoiceBinding, ItemBinding, LiteralBinding, OperationBinding, Operator
from penstock.syntax import DONE, FLAG, VALUE
from penstock.watches import Watch

if TYPE_CHECKING:
    from penstock.openings import OpenBranch
    from penstock.tracing import Trace

State = Mapping[str, object]


class Branching:
    """An ``if`` whose condition is an ordinary value."""

    is_deferred = False

    def __init__(self, test: bool) -> None:
        self._test = test

    def then(self) -> bool:
        """Whether the first arm is run through."""
        return self._test

    def otherwise(self) -> bool:
        """Whether the second arm is run through."""
        return not self._test


class DeferredBranching(Branching):
    """An ``if`` that is decided when the pipeline runs: both arms are traced, one after the other.

    `between` them, the names have the values from before, and so have those ``read`` in a guard, to which `enter` gave
    those that they have if no jump was taken; `after` both, the names have the values that are merged.
    """

    is_deferred = True

    def __init__(
        self,
        trace: Trace,
        test: Placeholder,
        names: tuple[str, ...],
        state: State,
        watch: Watch,
        failed: Collection[Scope],
    ) -> None:
        self._trace, self._names, self._before, self._failed = trace, names, dict(state), failed
        self._watch = watch
        self._condition = test.__penstock__.binding
        resumed = _resumed(trace, self._condition)
        self._branch, self._sense = resumed or (trace.open_branch(test), True)
        self._then: State = {}
        self._merged: dict[str, object] = {}

    def then(self) -> bool:
        """Enters the first arm, which is run through."""
        self._enter(holds=True)
        return True

    def enter(self, state: State, read: Sequence[str], unset: Sequence[str]) -> list[object]:
        """The values of the names ``read`` where none of the flags ``unset`` is set."""
        flags = {each: self._before[each] for each in unset}
        values = [state.get(name, _unbound(name)) for name in read]
        return [each.value if _is_told_by(each, flags) else each for each in values]

    def between(self, state: State, read: Sequence[str] = ()) -> list[object]:
        """Leaves the first arm; the values that the names, and those ``read``, had before it."""
        self._watch.refuse_changes()
        self._then = self._narrowed(state)
        self._trace.leave()
        return [self._before.get(name, _unbound(name)) for name in (*self._names, *read)]

    def otherwise(self) -> bool:
        """Enters the second arm, which is run through too."""
        self._enter(holds=False)
        return True

    def after(self, state: State) -> list[object]:
        """Leaves the second arm; the names' values, merged."""
        self._watch.refuse_changes()
        state = self._narrowed(state)
        self._trace.leave()
        for name in sorted(self._names, key=lambda name: not name.startswith(FLAG)):
            self._merged[name] = self._merge(name, state)
        return [self._merged[name] for name in self._names]

    def _narrowed(self, state: State) -> State:
        """The names' values at the end of an arm, with what is known in it."""
        return {name: self._trace.narrowed(value) for name, value in state.items()}

    def _enter(self, *, holds: bool) -> None:
        known = self._condition if self._sense else None
        enter_arm(self._trace, self._branch, known, holds=holds is self._sense)

    def _merge(self, name: str, state: State) -> object:
        then, otherwise = (each.get(name, _unbound(name)) for each in (self._then, state))
        if self._fails(then=True):
            return otherwise
        if self._fails(then=False):
            return then
        if not name.startswith(FLAG):  # nobody reads it in an arm that has returned
            if self._then.get(DONE) is True:
                return otherwise
            if state.get(DONE) is True or self._asks_for(self._before.get(DONE)):
                return then
        if name == VALUE and self._then.get(DONE) is False:
            return otherwise  # the first arm has returned nothing yet: nobody will ask for it there
        if name == VALUE and state.get(DONE) is False:
            return then
        if name.startswith(FLAG) and self._asks_for(self._before.get(name)):
            otherwise = True
        if isinstance(then, Missing) or isinstance(otherwise, Missing):
            return self._merge_skipped(name, then, otherwise, state)
        return self._either(name, then, otherwise)

    def _either(self, name: str, then: object, otherwise: object) -> object:
        values = (then, otherwise) if self._sense else (otherwise, then)
        return merged(self._trace, self._branch.id, *values, name_said(name))

    def _merge_skipped(self, name: str, then: object, otherwise: object, state: State) -> object:
        """A name without a value in an arm: where that arm jumped away before it was bound, nobody reads it there."""
        missing = next(each for each in (then, otherwise) if isinstance(each, Missing))
        if name.startswith(FLAG):
            return missing
        flags: set[str] = set()
        values: list[object] = []
        for value, arm in ((then, self._then), (otherwise, state)):
            jumped = [each for each in self._merged if _is_jump(each) and arm.get(each) is True]
            if isinstance(value, Skipped) and _is_told_by(value, arm):
                flags.update(value.flags)
                values.append(value.value)
            elif not isinstance(value, Missing):
                values.append(value)
            elif jumped:
                flags.update(jumped[:1])
            else:
                return missing
        if not values:
            return missing
        value = self._either(name, *values) if len(values) > 1 else values[0]
        known = {each: self._merged.get(each, self._before.get(each)) for each in flags}
        return value if isinstance(value, Missing) else Skipped(missing, value, known)

    def _fails(self, *, then: bool) -> bool:
        """Whether the first or the second arm ends with a ``raise``: what follows has the other one's names only."""
        arm = Arm(branch=self._branch.id, holds=then is self._sense)
        return (*self._trace.scope, arm) in self._failed

    def _asks_for(self, flag: object) -> bool:
        """Whether the condition is that a flag is not set."""
        if not isinstance(flag, Placeholder) or not isinstance(self._condition, OperationBinding):
            return False
        condition = self._condition
        return condition.operator is Operator.NOT and condition.operands == (flag.__penstock__.binding,)


class Looping:
    """A ``for`` over an ordinary iterable."""

    is_deferred = False

    def __init__(self, iterable: Iterable[Any]) -> None:
        self._iterable = iterable

    def __iter__(self) -> Iterator[Any]:
        return iter(self._iterable)


class DeferredLooping(Looping):
    """A ``for`` over items that are known only when the pipeline runs: its body is traced once, for any item.

    To `enter` it gives the names their values for its beginning, those of the target left out; `after` it, those they
    have then.
    """

    is_deferred = True

    def __init__(self, trace: Trace, items: Placeholder, names: tuple[str, ...], state: State, watch: Watch) -> None:
        self._trace, self._names, self._before, self._watch = trace, names, dict(state), watch
        self._said = items.__penstock__.said
        self._type = item_type(items)
        self._loop = trace.open_loop(items, self._type)

    def __iter__(self) -> Iterator[Placeholder]:
        self._trace.enter(self._loop.body, Turn(self._loop.id))
        yield Placeholder(ItemBinding(loop=self._loop.id), self._type, f"an item of {self._said}")
        self._trace.leave()

    def enter(self, state: State) -> list[object]:
        """The values of the names that the target does not bind, at the beginning of the body."""
        free = [name for name in self._names if name not in self._targets(state)]
        return [self._carried(name) for name in free]

    def after(self, state: State) -> list[object]:
        """The names' values after the loop."""
        self._watch.refuse_changes()
        for name in self._names:
            if name.startswith(FLAG) and state.get(name) is not self._before.get(name):
                self._refuse_jump(name)
        return [self._left(name, state.get(name)) for name in self._names]

    def _targets(self, state: State) -> set[str]:
        """The names that the loop's target binds: those that hold the item, or a part of it, as the body begins."""
        return {name for name in self._names if state.get(name) is not self._before.get(name)}

    def _carried(self, name: str) -> object:
        value = self._before.get(name)
        if name.startswith(FLAG) or isinstance(value, BuiltList):
            return value
        message = f"`{name}` would be carried from one item to the next, but the items run independently of each other"
        return Missing(message, "collect what each item gives in a list, and put it together in a step after the loop")

    def _left(self, name: str, value: object) -> object:
        if name.startswith(FLAG) or (isinstance(value, BuiltList) and value is self._before.get(name)):
            return value
        message = f"`{name}` is bound in the body of a loop over {self._said}, once for each of its items"
        return Missing(message, f"collect the values: `xs.append({name})` on a list made before the loop")

    def _refuse_jump(self, name: str) -> NoReturn:
        message = f"`{_word(name)}` in a loop over {self._said}, whose items run independently of each other"
        refuse_here("P316", message, "collect what each item gives, and decide in a step or an `if` after the loop")


def _unbound(name: str) -> Missing:
    fix = f"bind `{name}` in both branches, or before them"
    return Missing(f"{name_said(name)} is read, but bound in one branch only", fix)


def _is_told_by(value: object, state: State) -> TypeGuard[Skipped]:
    """Whether a name has a value where none of its flags is set, which still stand for what they did."""
    return isinstance(value, Skipped) and all(state.get(flag) is each for flag, each in value.flags.items())


def _is_jump(name: str) -> bool:
    return name.startswith(FLAG) and name != VALUE


def name_said(name: str) -> str:
    """How messages call a name, also one that stands for a jump."""
    if not name.startswith(FLAG):
        return f"`{name}`"
    return "the result" if name == VALUE else f"whether `{_word(name)}` was reached"


def _word(flag: str) -> str:
    return "return" if flag in (DONE, VALUE) else "break" if "brk" in flag else "continue"


def enter_arm(trace: Trace, branch: OpenBranch, condition: Binding | None, *, holds: bool) -> None:
    """Has what is traced from now on belong to an arm, with what its condition tells of other values."""
    known = trace.known_values(condition, holds=holds) if condition is not None else ()
    trace.enter(branch.arms[holds], Arm(branch=branch.id, holds=holds), known)


def _resumed(trace: Trace, condition: Binding) -> tuple[OpenBranch, bool] | None:
    """The branch that a condition only asks for again, as the rest of a function does after an early ``return``.

    With it, in which of its arms the condition is true.
    """
    sense = True
    while isinstance(condition, OperationBinding) and condition.operator is Operator.NOT:
        condition, sense = condition.operands[0], not sense
    last = trace.body[-1] if trace.body else None
    if not isinstance(condition, ChoiceBinding) or condition.path or getattr(last, "id", "") != condition.branch:
        return None
    sides = (condition.then, condition.otherwise)
    if (
        not all(isinstance(side, LiteralBinding) and isinstance(side.value, bool) for side in sides)
        or sides[0] == sides[1]
    ):
        return None
    return last, sides[0].value is sense  # type: ignore[return-value,union-attr]  # as just checked
