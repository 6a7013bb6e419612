"""What a rewritten pipeline function calls while it is traced: see `penstock.rewriting`.

Each method decides by the value that it is given: an ordinary one means what Python means by it; a *deferred* one,
known only when the pipeline runs, becomes a branch, a loop, a gate or an operation of the pipeline.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import CellType, CodeType, FunctionType
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard

from penstock.assignability import without_none
from penstock.bindings import holds_placeholder, merged_type
from penstock.catching import catchers
from penstock.declarations import ANY
from penstock.diagnostics import DefinitionError, Diagnostic, with_article
from penstock.harness import OPERATORS
from penstock.lists import BuiltList, Missing, Scope, Skipped, Turn
from penstock.managers import Managed, may_swallow
from penstock.placeholders import BOOL, INT, OPERANDS, STR, Either, Placeholder, list_of, operation
from penstock.snapshots import Snapshot, is_same, reached, same_all
from penstock.sources import author_frame, location_of, operation_site
from penstock.spec import (
    Arm,
    Binding,
    ChoiceBinding,
    ItemBinding,
    LiteralBinding,
    OperationBinding,
    Operator,
    TypeKind,
    TypeSpec,
)
from penstock.syntax import DONE, FLAG, VALUE

if TYPE_CHECKING:
    from penstock.openings import OpenBranch
    from penstock.tracing import Trace

_CONTAINERS = (list, dict, set, bytearray, deque)
Thunk = Callable[[], object]
State = Mapping[str, object]
Outside = Callable[[], Mapping[str, object]]
Check = Callable[[Scope], bool]
_INSTEAD_OF_TRY = "catch it inside the step; against failures that pass, give the step `retry=`"
_INSTEAD_OF_CHANGES = "bind a name instead, or use `append` on a list that has a name of its own (`xs = []`)"


def is_deferred(value: object) -> bool:
    """Whether a value is known only when the pipeline runs."""
    return isinstance(value, Placeholder) or (isinstance(value, BuiltList) and value.is_deferred)


class Control:
    """The control flow of one pipeline function in a trace."""

    def __init__(self, trace: Trace, function: FunctionType | None = None) -> None:
        self._trace = trace
        self._failed: set[Scope] = set()
        self._outside: Outside = _outside(function) if function is not None else dict

    # --- statements ---------------------------------------------------------------------------------------------------

    def branch(self, test: object, names: tuple[str, ...], state: State) -> Branching:
        """An ``if``: ``names`` are those that either arm may bind, ``state`` the local variables before it."""
        if isinstance(test, Missing):
            test.refuse()
        if not is_deferred(test):
            return Branching(bool(test))
        watch = Watch(state, self._outside)
        return _DeferredBranching(self._trace, self._trace.deferred(test), names, state, watch, self._failed)

    def loop(self, iterable: Any, names: tuple[str, ...], state: State) -> Looping:
        """A ``for``: ``names`` are those that its body may bind, the target's included."""
        if isinstance(iterable, Missing):
            iterable.refuse()
        if not is_deferred(iterable):
            return Looping(iterable.read() if isinstance(iterable, BuiltList) else iterable)
        items = self._trace.deferred(iterable)
        if _has_fixed_items(items):
            return Looping(items)
        return _DeferredLooping(self._trace, items, names, state, Watch(state, self._outside))

    def plain(self, value: object, construct: str) -> object:
        """The value, which must not be deferred, of a ``while`` or a ``match``."""
        if is_deferred(value):
            fix = {
                "while": "repeat inside a step, or loop over an ordinary iterable (`range(10)`) with an `if` in it",
                "match": "write `if` and `elif`",
            }[construct]
            _refuse("P310", f"`{construct}` depends on {_said(value)}, which is known only when the pipeline runs", fix)
        return value

    def check(self, test: object, message: Thunk | None, text: str) -> None:
        """An ``assert``: a gate, where the condition is deferred."""
        if is_deferred(test):
            self._trace.gate(test, text, message() if message else None)
        elif not test:
            raise AssertionError(*([message()] if message else []))

    def may_raise(self) -> bool:
        """Whether a ``raise`` is carried out: whether the place where it stands is reached for certain."""
        return not self._trace.scope

    def fail(self, error: object) -> None:
        """A ``raise`` in a branch: a gate that does not hold."""
        name = error.__name__ if isinstance(error, type) else type(error).__name__
        arguments = () if isinstance(error, type) else getattr(error, "args", ())
        self._trace.gate(self._trace.deferred(False), f"raise {name}", arguments[0] if arguments else None)
        self._failed.add(self._trace.scope)

    def attempt(self) -> int:
        """Stands before what a ``try`` protects."""
        return self._trace.count

    def attempted(self, mark: int) -> None:
        """Stands after what a ``try`` protects, which must not be steps: they run later. Also where it caught."""
        self._note_swallowed(sys.exc_info()[1])
        if self._trace.count > mark:
            message = "`try` catches nothing of the steps in it, which run later"
            self._note("P309", message, _INSTEAD_OF_TRY)

    def managed(self, manager: Any) -> Any:
        """The context manager of a ``with``; what may swallow exceptions must not stand around steps."""
        if not hasattr(type(manager), "__enter__") or not hasattr(type(manager), "__exit__"):
            return manager
        mark, is_swallowing = self._trace.count, may_swallow(manager)

        def ended(error: BaseException | None) -> None:
            self._note_swallowed(error)
            if self._trace.count > mark and is_swallowing:
                message = f"`with {type(manager).__qualname__}` catches nothing of the steps in it, which run later"
                self._note("P309", message, _INSTEAD_OF_TRY)

        return Managed(manager, ended)

    def _note_swallowed(self, error: BaseException | None) -> None:
        """Keeps what was wrong with the definition, though the author's code goes on as if it had not been raised."""
        self._trace.problems.extend(getattr(error, "diagnostics", ()) if isinstance(error, DefinitionError) else ())
        for each in getattr(error, "exceptions", ()):
            self._note_swallowed(each)

    def _note(self, code: str, message: str, fix: str) -> None:
        """Refuses what is written, and goes on: an exception might be caught here."""
        self._trace.problems.append(Diagnostic(code, message, operation_site()[0], fix))

    def finished(self, before: int, after: int) -> None:
        """Stands at the end of a ``finally``: steps in it would not wait for those that it comes after."""
        if before < after < self._trace.count:
            message = "`finally` has steps, and so has what it comes after: on an engine they would run side by side"
            fix = "give the pipeline what must run in any case as `on_exit=`, or a step what undoes it as `rollback=`"
            _refuse("P309", message, fix)

    def changes(self, thing: Any, is_own: bool, how: str = "") -> Any:
        """An object of which an item or attribute is about to be set or deleted.

        ``how`` says how else it would be changed, if it is one of Python's containers or, for ``next``, an iterator.
        """
        is_changed = not how or isinstance(thing, Iterator if how == "next" else _CONTAINERS)
        if self._trace.scope and is_changed and not is_own and not isinstance(thing, (Placeholder, BuiltList)):
            message = (
                f"{with_article(type(thing).__qualname__)} is changed in a branch or loop that is decided when the"
            )
            _refuse("P315", f"{message} pipeline runs: it would be changed in any case", _INSTEAD_OF_CHANGES)
        return thing

    def binds_outside(self, name: str) -> None:
        """Stands before what binds a name that is not the function's own: ``global`` or ``nonlocal``."""
        if self._trace.scope:
            _refuse_binding(name)

    def new_list(self, items: Any) -> Any:
        """A list that may grow in branches and loops; what is no list stays as it is."""
        if isinstance(items, Placeholder) and items.__penstock__.type.kind is TypeKind.LIST:  # what `list()` made
            made = BuiltList([], self._trace)
            made.extend(items)
            return made
        return BuiltList(items, self._trace) if type(items) is list else items

    def returned(self, done: object, value: object) -> object:
        """What the function returns in the end: None where it has not said, by ``return``, that it is done."""
        if not isinstance(done, Placeholder):
            return value if done else None
        either = done.__penstock__.either
        assert either is not None  # a flag is only ever merged
        then, otherwise = (self.returned(side, value) for side in (either.then, either.otherwise))
        return _merged(self._trace, either.branch, then, otherwise, _name_said(VALUE))

    def stops(self, *flags: object) -> bool:
        """Whether a loop is over for certain."""
        return any(not is_deferred(flag) and bool(flag) for flag in flags)

    # --- expressions --------------------------------------------------------------------------------------------------

    def and_(self, first: object, *rest: Thunk) -> object:
        """``first and rest[0]() and ...``."""
        return self._logical(Operator.AND, first, rest)

    def or_(self, first: object, *rest: Thunk) -> object:
        """``first or rest[0]() or ...``."""
        return self._logical(Operator.OR, first, rest)

    def not_(self, value: object) -> object:
        """``not value``."""
        if isinstance(value, Missing):
            value.refuse()
        return operation(Operator.NOT, BOOL, self._trace.deferred(value)) if is_deferred(value) else not value

    def compare(self, first: object, *rest: Any) -> object:
        """``first OPERATOR value OPERATOR value ...``: operators as Python writes them, values as thunks."""
        right = rest[1]()
        found = _compared(rest[0], first, right)
        return self.and_(found, lambda: self.compare(right, *rest[2:])) if len(rest) > 2 else found

    def compared(self, left: object, operator: str, right: object) -> object:
        """``left OPERATOR right``."""
        return _compared(operator, left, right)

    def reached(self, value: object) -> object:
        """The value, which must not be deferred: what decides whether a ``:=`` is reached."""
        if is_deferred(value):
            message = f"whether, or how often, `:=` is reached depends on {_said(value)}, which is known only when the"
            fix = "bind the name in a statement of its own: before this one, or in an `if` or `for` around it"
            _refuse("P310", f"{message} pipeline runs", fix)
        return value

    def choose(self, test: object, then: Thunk, otherwise: Thunk) -> object:
        """``then() if test else otherwise()``."""
        if isinstance(test, Missing):
            test.refuse()
        if not is_deferred(test):
            return then() if test else otherwise()
        condition = self._trace.deferred(test)
        branch = self._trace.open_branch(condition, within=True)
        values = [
            self._in_arm(branch, condition, holds, each, each) for holds, each in ((True, then), (False, otherwise))
        ]
        if any(branch.arms.values()):
            return _merged(self._trace, branch.id, values[0], values[1], "a conditional expression")
        self._trace.discard(branch)
        is_current = _decided(*values)
        type_ = merged_type(self._trace.operand(value).type for value in values)
        made = operation(Operator.IF, type_, condition, *values).__penstock__
        return Placeholder(made.binding, made.type, "a conditional expression", is_current=is_current)

    def text(self, *parts: Any) -> object:
        """An f-string: texts, and ``(value, conversion, specification)``."""
        return _joined([self._formatted(*part) if isinstance(part, tuple) else part for part in parts])

    def builtin(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """What stands in for a function that may be a builtin, and may be given deferred values."""
        replacement = _BUILTINS.get(function) if getattr(function, "__module__", "") == "builtins" else None
        if replacement is None:
            return function
        is_asked = holds_placeholder if function is builtins.repr else is_deferred

        def call(*args: Any, **kwargs: Any) -> Any:
            if any(map(is_asked, (*args, *kwargs.values()))):
                return replacement(self._trace, function, *args, **kwargs)
            return function(*args, **kwargs)

        return call

    def as_set(self, items: BuiltList) -> object:
        """What a set comprehension gives, from its items."""
        values = list(list.__iter__(items))
        if not is_deferred(items) and not holds_placeholder(values):
            return set(values)
        return _set(self._trace, set, items if is_deferred(items) else values)

    def as_dict(self, pairs: BuiltList) -> object:
        """What a dict comprehension gives, from its keys and values."""
        values = list(list.__iter__(pairs))
        if not is_deferred(pairs) and not any(holds_placeholder(key) for key, _ in values):
            return dict(values)
        made = self._trace.deferred(pairs if is_deferred(pairs) else values)
        return _dict_of(made, item_type(made).args)

    def _logical(self, operator: Operator, first: object, rest: tuple[Thunk, ...]) -> object:
        if isinstance(first, Missing):
            first.refuse()
        if not rest:
            return first
        if not is_deferred(first):
            return first if bool(first) is (operator is Operator.OR) else self._logical(operator, rest[0](), rest[1:])
        value = self._trace.deferred(first)
        if isinstance(first, BuiltList):
            traced = value.__penstock__
            value = Placeholder(traced.binding, traced.type, traced.said, is_current=_current(first))
        branch = self._trace.open_branch(value, within=True)
        goes_on = operator is Operator.AND
        other = self._in_arm(branch, value, goes_on, lambda: self._logical(operator, rest[0](), rest[1:]), *rest)
        if branch.arms[goes_on]:
            then, otherwise = (other, value) if goes_on else (_where_true(value), other)
            return _merged(self._trace, branch.id, then, otherwise, f"`{operator.value}`")
        self._trace.discard(branch)
        first_type = value.__penstock__.type if goes_on else without_none(value.__penstock__.type)
        type_ = merged_type([first_type, self._trace.operand(other).type])
        made = operation(operator, type_, value, other).__penstock__
        return Placeholder(made.binding, made.type, made.said, is_current=_current(value, other))

    def _in_arm(self, branch: OpenBranch, condition: Placeholder, holds: bool, thunk: Thunk, *written: Thunk) -> object:
        """What an arm within an expression gives; ``written`` are the thunks in it that stand in the author's code."""
        asked = [self._outside, *(_outside(each) for each in written if isinstance(each, FunctionType))]
        watch = Watch({}, lambda: {name: value for outside in asked for name, value in outside().items()})
        _enter_arm(self._trace, branch, condition.__penstock__.binding, holds=holds)
        try:
            value = thunk()
            watch.refuse_changes()
            return self._trace.narrowed(value)
        finally:
            self._trace.leave()

    def _formatted(self, value: Any, conversion: str, specification: Any) -> object:
        if not holds_placeholder(value) and not is_deferred(specification):
            return OPERATORS["format"](value, conversion, specification)
        return operation(Operator.FORMAT, STR, value, conversion, specification)


def refuse_catchers(trace: Trace) -> None:
    """Refuses that a step is called where a helper function would catch what it raises, which it does later."""
    for file, statement in catchers():
        written = "try" if not isinstance(statement, ast.With) else ast.unparse(statement.items[0])
        message = f"`{written}` catches nothing of the step that is called in it, which runs later"
        trace.problems.append(Diagnostic("P309", message, location_of(file, None, statement.lineno), _INSTEAD_OF_TRY))


def watched_here() -> Watch:
    """Watches a block that code of the author's, which is not rewritten, is about to enter."""
    frame = author_frame()
    return Watch(dict(frame.f_locals), _outside_of(frame.f_code, frame.f_globals))


class Watch:
    """Ordinary objects, and names from outside of a function, before a block that is traced whether or not it runs."""

    def __init__(self, named: State, outside: Outside) -> None:
        self._outside, self._before = outside, outside()
        own = {name: value for name, value in named.items() if not name.startswith(FLAG)}
        self._snapshot = Snapshot({**own, **self._before})

    def refuse_changes(self) -> None:
        """Refuses the block if it changed an object from before it, or bound a name that is not the function's own."""
        name = self._snapshot.changed
        if name is not None:
            message = f"what `{name}` stands for is changed in a branch or loop that is decided when the pipeline runs"
            _refuse("P315", f"{message}: it would be changed in any case", _INSTEAD_OF_CHANGES)
        now = self._outside()
        bound = [name for name in now if not is_same(now[name], self._before.get(name, self))]
        if bound:
            _refuse_binding(bound[0])


def _refuse_binding(name: str) -> NoReturn:
    message = f"`{name}`, from outside of the function, is bound in a branch or loop that is decided when the pipeline"
    fix = f"bind a name of the function's own, which `global {name}` and `nonlocal {name}` are not"
    _refuse("P315", f"{message} runs: it would be bound in any case", fix)


def _outside(function: FunctionType) -> Outside:
    """What is `_outside_of` a function."""
    return _outside_of(function.__code__, function.__globals__, function.__closure__ or ())


def _outside_of(code: CodeType, module: Mapping[str, object], cells: Sequence[CellType] = ()) -> Outside:
    """The names of its module, and of the functions around it, that code mentions, as they are when asked."""
    names = [name for name in _mentioned(code) if not name.startswith("__")]

    def found() -> dict[str, object]:
        known = {name: module[name] for name in names if name in module}
        for name, cell in zip(code.co_freevars, cells, strict=False):
            with contextlib.suppress(ValueError):  # not bound yet
                known[name] = cell.cell_contents
        return {name: value for name, value in known.items() if not name.startswith(FLAG)}

    return found


@functools.lru_cache(maxsize=256)
def _mentioned(code: CodeType) -> tuple[str, ...]:
    inner = (name for each in code.co_consts if isinstance(each, CodeType) for name in _mentioned(each))
    return tuple(dict.fromkeys((*code.co_names, *inner)))


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


class _DeferredBranching(Branching):
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
        self._enter(holds=True)
        return True

    def enter(self, state: State, read: Sequence[str], unset: Sequence[str]) -> list[object]:
        flags = {each: self._before[each] for each in unset}
        values = [state.get(name, _unbound(name)) for name in read]
        return [each.value if _is_told_by(each, flags) else each for each in values]

    def between(self, state: State, read: Sequence[str] = ()) -> list[object]:
        self._watch.refuse_changes()
        self._then = self._narrowed(state)
        self._trace.leave()
        return [self._before.get(name, _unbound(name)) for name in (*self._names, *read)]

    def otherwise(self) -> bool:
        self._enter(holds=False)
        return True

    def after(self, state: State) -> list[object]:
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
        _enter_arm(self._trace, self._branch, known, holds=holds is self._sense)

    def _merge(self, name: str, state: State) -> object:
        then, otherwise = (each.get(name, _unbound(name)) for each in (self._then, state))
        if self._fails(then=True):
            return otherwise
        if self._fails(then=False):
            return then
        if not name.startswith(FLAG):  # nobody reads it in an arm that has returned
            if self._then.get(DONE) is True:
                return otherwise
            if state.get(DONE) is True:
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
        return _merged(self._trace, self._branch.id, *values, _name_said(name))

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


class _DeferredLooping(Looping):
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
        free = [name for name in self._names if name not in self._targets(state)]
        return [self._carried(name) for name in free]

    def after(self, state: State) -> list[object]:
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
        _refuse("P316", message, "collect what each item gives, and decide in a step or an `if` after the loop")


# --- merging ----------------------------------------------------------------------------------------------------------


def _merged(trace: Trace, branch: str, then: object, otherwise: object, said: str) -> object:
    """Whichever of two values belongs to the arm that ran; a stand-in that says so where it can't be told."""
    if then is otherwise:
        return then
    try:
        operands = [trace.operand(value) for value in (then, otherwise)]
    except DefinitionError as error:
        (problem, *_) = error.diagnostics
        return Missing(f"{said} differs between the arms of a branch: {problem.message}", problem.fix)
    is_current = _decided(then, otherwise)
    binding = ChoiceBinding(branch=branch, then=operands[0].binding, otherwise=operands[1].binding)
    type_ = merged_type(each.type for each in operands)
    return Placeholder(binding, type_, said, either=Either(branch, then, otherwise), is_current=is_current)


def _decided(*values: object) -> Check | None:
    """What tells whether values between which a branch decides are as they are now: another name may change them.

    Lists that the trace follows may not grow any more, because a name may stand for either.
    """
    for each in (each for value in values for each in reached(value) if isinstance(each, BuiltList)):
        each.is_merged = True
    return _current(*values)


def _current(*values: object) -> Check | None:
    """What tells, for the loops and arms around a place, whether values read there are as they are now."""
    parts = [each for value in values for each in reached(value)]
    lists = [(each, tuple(list.__iter__(each))) for each in parts if isinstance(each, BuiltList)]
    inner = [each.__penstock__.is_current for each in parts if isinstance(each, Placeholder)]
    checks = [check for check in inner if check is not None]
    snapshot = Snapshot(dict(enumerate(values)))
    if snapshot.is_empty and not lists and not checks:
        return None

    def is_current(scope: Scope) -> bool:
        for each, _ in lists:
            each.note_reading(scope)
        are_same = all(same_all(tuple(list.__iter__(each)), before) for each, before in lists)
        return are_same and snapshot.changed is None and all(check(scope) for check in checks)

    return is_current


def _where_true(value: Placeholder) -> Placeholder:
    """A value where it is true, and so not None."""
    traced = value.__penstock__
    type_ = without_none(traced.type)
    return Placeholder(traced.binding, type_, traced.said, traced.node, traced.either, is_current=traced.is_current)


def _unbound(name: str) -> Missing:
    fix = f"bind `{name}` in both branches, or before them"
    return Missing(f"{_name_said(name)} is read, but bound in one branch only", fix)


def _is_told_by(value: object, state: State) -> TypeGuard[Skipped]:
    """Whether a name has a value where none of its flags is set, which still stand for what they did."""
    return isinstance(value, Skipped) and all(state.get(flag) is each for flag, each in value.flags.items())


def _is_jump(name: str) -> bool:
    return name.startswith(FLAG) and name != VALUE


def _name_said(name: str) -> str:
    if not name.startswith(FLAG):
        return f"`{name}`"
    return "the result" if name == VALUE else f"whether `{_word(name)}` was reached"


def _word(flag: str) -> str:
    return "return" if flag in (DONE, VALUE) else "break" if "brk" in flag else "continue"


def _enter_arm(trace: Trace, branch: OpenBranch, condition: Binding | None, *, holds: bool) -> None:
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


# --- operations -------------------------------------------------------------------------------------------------------


def _compared(operator: str, left: Any, right: Any) -> object:
    for each in (left, right):
        if isinstance(each, Missing):
            each.refuse()
    if not holds_placeholder(left) and not holds_placeholder(right):
        return OPERATORS[operator](left, right)
    if operator in ("is", "is not") and left is not None and right is not None:
        if _is_told_by_equality(left, right):
            return OPERATORS["==" if operator == "is" else "!="](left, right)  # a placeholder's own
        said = _said(left if holds_placeholder(left) else right)
        message = f"`{operator}` asks whether {said} is one and the same object, which no engine can keep"
        _refuse("P309", message, "compare with `==`; `is` can be asked of None, members of an enum and truth values")
    if operator in ("in", "not in", "is", "is not"):
        return operation(Operator(operator), BOOL, left, right)
    if isinstance(left, Placeholder) or isinstance(right, Placeholder):
        return OPERATORS[operator](left, right)  # a placeholder's own
    return operation(Operator(operator), BOOL, left, right)


def _is_told_by_equality(*values: object) -> bool:
    """Whether equal values are one and the same object: members of one enum, and truth values, are."""
    one, other = (without_none(OPERANDS.get()(each).type) for each in values)
    is_enum = one.kind is other.kind is TypeKind.ENUM and one.name == other.name
    return is_enum or one.kind is other.kind is TypeKind.BOOL


def _joined(parts: list[Any]) -> object:
    return operation(Operator.TEXT, STR, *parts) if any(map(is_deferred, parts)) else "".join(parts)


def _has_fixed_items(items: Placeholder) -> bool:
    type_ = items.__penstock__.type
    return (type_.kind is TypeKind.TUPLE and not type_.variadic) or type_.kind is TypeKind.NAMEDTUPLE


def item_type(items: Placeholder) -> TypeSpec:
    """The type of what going through a value gives. Raises `DefinitionError` where it can't be gone through."""
    traced = items.__penstock__
    type_ = without_none(traced.type)
    kind = type_.kind
    if kind is TypeKind.UNION and all(each.kind is TypeKind.LIST for each in type_.args):
        return merged_type(each.args[0] if each.args else ANY for each in type_.args)
    if kind in (TypeKind.LIST, TypeKind.TUPLE, TypeKind.DICT):
        return type_.args[0] if type_.args else ANY
    if kind is TypeKind.ANY:
        return ANY
    if kind in (TypeKind.SET, TypeKind.FROZENSET):
        message = f"{traced.said} is a set, which has no order: its items would come in another one on each engine"
        _refuse("P318", message, "return `sorted(...)` from the step")
    return _refuse("P318", f"{traced.said} is {with_article(type_.text)}, which is no list", "return a list from it")


def _zip(trace: Trace, _: object, *lists: Any, strict: bool = False) -> Placeholder:
    types = tuple(item_type(trace.deferred(each)) for each in lists)
    item = TypeSpec(kind=TypeKind.TUPLE, args=types, text=f"tuple[{', '.join(each.text for each in types)}]")
    return operation(Operator.ZIP_STRICT if strict else Operator.ZIP, list_of(item), *lists)


def _enumerate(trace: Trace, _: object, items: Any, start: Any = 0) -> Placeholder:
    type_ = item_type(trace.deferred(items))
    item = TypeSpec(kind=TypeKind.TUPLE, args=(INT, type_), text=f"tuple[int, {type_.text}]")
    return operation(Operator.ENUMERATE, list_of(item), items, start)


def _range(_: Trace, __: object, *limits: Any) -> Placeholder:
    return operation(Operator.RANGE, list_of(INT), *limits)


def _len(trace: Trace, _: object, value: Any) -> Placeholder:
    return operation(Operator.LEN, INT, trace.deferred(value))


def _list(trace: Trace, _: object, value: Any) -> Placeholder:
    made = trace.deferred(value)
    return operation(Operator.CONCATENATE, list_of(item_type(made)), made)


def _repr(_: Trace, __: object, value: Any) -> Placeholder:
    return operation(Operator.FORMAT, STR, value, "r", "")


def _set(trace: Trace, function: Any, items: Any) -> Placeholder:
    made = trace.deferred(items)
    item, name = item_type(made), function.__name__
    return operation(Operator(name), TypeSpec(kind=TypeKind(name), args=(item,), text=f"{name}[{item.text}]"), made)


def _dict(trace: Trace, function: Any, *args: Any, **kwargs: Any) -> Any:
    if not any(map(is_deferred, args)):
        return function(*args, **kwargs)  # values may be deferred in any dict
    made = trace.deferred(args[0])
    type_ = without_none(made.__penstock__.type)
    parts = type_.args if type_.kind is TypeKind.DICT else item_type(made).args
    if kwargs or len(parts) != 2:
        return _refused(trace, function, *args)
    return _dict_of(made, parts)


def _dict_of(made: Placeholder, parts: tuple[TypeSpec, ...]) -> Placeholder:
    text = f"dict[{', '.join(each.text for each in parts)}]"
    return operation(Operator.DICT, TypeSpec(kind=TypeKind.DICT, args=parts, text=text), made)


def _tuple(trace: Trace, function: Any, items: Any) -> Any:
    if isinstance(items, Placeholder) and _has_fixed_items(items):
        return function(iter(items))
    made = trace.deferred(items)
    item = item_type(made)
    type_ = TypeSpec(kind=TypeKind.TUPLE, args=(item,), variadic=True, text=f"tuple[{item.text}, ...]")
    return operation(Operator.TUPLE, type_, made)


def _refused(_: Trace, function: Any, *args: Any, **__: Any) -> NoReturn:
    said = next((_said(each) for each in args if is_deferred(each)), "a value")
    message = f"`{function.__name__}()` asks for {said}, which is known only when the pipeline runs"
    _refuse("P309", message, f"call `{function.__name__}()` in a step that takes it")


_BUILTINS: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((isinstance, type, sorted, reversed, sum, min, max, any, all, map, filter), _refused),
    builtins.zip: _zip,
    builtins.enumerate: _enumerate,
    builtins.range: _range,
    builtins.len: _len,
    builtins.list: _list,
    builtins.set: _set,
    builtins.dict: _dict,
    builtins.tuple: _tuple,
    builtins.frozenset: _set,
    builtins.repr: _repr,
}


def _said(value: object) -> str:
    return value.__penstock__.said if isinstance(value, Placeholder) else "a list that grows in a branch or loop"


def _refuse(code: str, message: str, fix: str) -> NoReturn:
    raise DefinitionError(Diagnostic(code, message, operation_site()[0], fix))
