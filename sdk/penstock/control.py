"""What a rewritten pipeline function calls while it is traced: see `penstock.rewriting`.

Each method decides by the value that it is given: an ordinary one means what Python means by it; a *deferred* one,
known only when the pipeline runs, becomes a branch, a loop, a gate or an operation of the pipeline.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections import deque
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import TYPE_CHECKING, Any

from penstock.assignability import without_none
from penstock.bindings import holds_placeholder, merged_type
from penstock.blocks import Branching, DeferredBranching, DeferredLooping, Looping, State, enter_arm, name_said
from penstock.catching import catchers
from penstock.deferred import is_deferred, refuse_here, said_of
from penstock.diagnostics import DefinitionError, Diagnostic, with_article
from penstock.harness import OPERATORS
from penstock.lists import BuiltList, Missing, Scope
from penstock.managers import Managed, may_swallow
from penstock.merging import merged, when_decided, where_true, while_current
from penstock.operations import BUILTINS, compared, dict_of, has_fixed_items, item_type, joined, made_set
from penstock.placeholders import BOOL, STR, Placeholder, operation
from penstock.sources import location_of, operation_site
from penstock.spec import (
    Operator,
    TypeKind,
)
from penstock.syntax import VALUE
from penstock.watches import INSTEAD_OF_CHANGES, Outside, Watch, outside_of, refuse_binding

if TYPE_CHECKING:
    from penstock.openings import OpenBranch
    from penstock.tracing import Trace

_CONTAINERS = (list, dict, set, bytearray, deque)
Thunk = Callable[[], object]
_INSTEAD_OF_TRY = "catch it inside the step; against failures that pass, give the step `retry=`"


class Control:
    """The control flow of one pipeline function in a trace."""

    def __init__(self, trace: Trace, function: FunctionType | None = None) -> None:
        self._trace = trace
        self._failed: set[Scope] = set()
        self._outside: Outside = outside_of(function) if function is not None else dict

    # --- statements ---------------------------------------------------------------------------------------------------

    def branch(self, test: object, names: tuple[str, ...], state: State) -> Branching:
        """An ``if``: ``names`` are those that either arm may bind, ``state`` the local variables before it."""
        if isinstance(test, Missing):
            test.refuse()
        if not is_deferred(test):
            return Branching(bool(test))
        watch = Watch(state, self._outside)
        return DeferredBranching(self._trace, self._trace.deferred(test), names, state, watch, self._failed)

    def loop(self, iterable: Any, names: tuple[str, ...], state: State) -> Looping:
        """A ``for``: ``names`` are those that its body may bind, the target's included."""
        if isinstance(iterable, Missing):
            iterable.refuse()
        if not is_deferred(iterable):
            return Looping(iterable.read() if isinstance(iterable, BuiltList) else iterable)
        items = self._trace.deferred(iterable)
        if has_fixed_items(items):
            return Looping(items)
        return DeferredLooping(self._trace, items, names, state, Watch(state, self._outside))

    def plain(self, value: object, construct: str) -> object:
        """The value, which must not be deferred, of a ``while`` or a ``match``."""
        if is_deferred(value):
            fix = {
                "while": "repeat inside a step, or loop over an ordinary iterable (`range(10)`) with an `if` in it",
                "match": "write `if` and `elif`",
            }[construct]
            message = f"`{construct}` depends on {said_of(value)}, which is known only when the pipeline runs"
            refuse_here("P310", message, fix)
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
            refuse_here("P309", message, fix)

    def changes(self, thing: Any, is_own: bool, how: str = "") -> Any:
        """An object of which an item or attribute is about to be set or deleted.

        ``how`` says how else it would be changed, if it is one of Python's containers or, for ``next``, an iterator.
        """
        is_changed = not how or isinstance(thing, Iterator if how == "next" else _CONTAINERS)
        if self._trace.scope and is_changed and not is_own and not isinstance(thing, (Placeholder, BuiltList)):
            message = (
                f"{with_article(type(thing).__qualname__)} is changed in a branch or loop that is decided when the"
            )
            refuse_here("P315", f"{message} pipeline runs: it would be changed in any case", INSTEAD_OF_CHANGES)
        return thing

    def binds_outside(self, name: str) -> None:
        """Stands before what binds a name that is not the function's own: ``global`` or ``nonlocal``."""
        if self._trace.scope:
            refuse_binding(name)

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
        return merged(self._trace, either.branch, then, otherwise, name_said(VALUE))

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
        found = compared(rest[0], first, right)
        return self.and_(found, lambda: self.compare(right, *rest[2:])) if len(rest) > 2 else found

    def compared(self, left: object, operator: str, right: object) -> object:
        """``left OPERATOR right``."""
        return compared(operator, left, right)

    def reached(self, value: object) -> object:
        """The value, which must not be deferred: what decides whether a ``:=`` is reached."""
        if is_deferred(value):
            message = f"whether, or how often, `:=` is reached depends on {said_of(value)}, known only when the"
            fix = "bind the name in a statement of its own: before this one, or in an `if` or `for` around it"
            refuse_here("P310", f"{message} pipeline runs", fix)
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
            return merged(self._trace, branch.id, values[0], values[1], "a conditional expression")
        self._trace.discard(branch)
        is_current = when_decided(*values)
        type_ = merged_type(self._trace.operand(value).type for value in values)
        made = operation(Operator.IF, type_, condition, *values).__penstock__
        return Placeholder(made.binding, made.type, "a conditional expression", is_current=is_current)

    def text(self, *parts: Any) -> object:
        """An f-string: texts, and ``(value, conversion, specification)``."""
        return joined([self._formatted(*part) if isinstance(part, tuple) else part for part in parts])

    def builtin(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """What stands in for a function that may be a builtin, and may be given deferred values."""
        replacement = BUILTINS.get(function) if getattr(function, "__module__", "") == "builtins" else None
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
        return made_set(self._trace, set, items if is_deferred(items) else values)

    def as_dict(self, pairs: BuiltList) -> object:
        """What a dict comprehension gives, from its keys and values."""
        values = list(list.__iter__(pairs))
        if not is_deferred(pairs) and not any(holds_placeholder(key) for key, _ in values):
            return dict(values)
        made = self._trace.deferred(pairs if is_deferred(pairs) else values)
        return dict_of(made, item_type(made).args)

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
            value = Placeholder(traced.binding, traced.type, traced.said, is_current=while_current(first))
        branch = self._trace.open_branch(value, within=True)
        goes_on = operator is Operator.AND
        other = self._in_arm(branch, value, goes_on, lambda: self._logical(operator, rest[0](), rest[1:]), *rest)
        if branch.arms[goes_on]:
            then, otherwise = (other, value) if goes_on else (where_true(value), other)
            return merged(self._trace, branch.id, then, otherwise, f"`{operator.value}`")
        self._trace.discard(branch)
        first_type = value.__penstock__.type if goes_on else without_none(value.__penstock__.type)
        type_ = merged_type([first_type, self._trace.operand(other).type])
        made = operation(operator, type_, value, other).__penstock__
        return Placeholder(made.binding, made.type, made.said, is_current=while_current(value, other))

    def _in_arm(self, branch: OpenBranch, condition: Placeholder, holds: bool, thunk: Thunk, *written: Thunk) -> object:
        """What an arm within an expression gives; ``written`` are the thunks in it that stand in the author's code."""
        asked = [self._outside, *(outside_of(each) for each in written if isinstance(each, FunctionType))]
        watch = Watch({}, lambda: {name: value for outside in asked for name, value in outside().items()})
        enter_arm(self._trace, branch, condition.__penstock__.binding, holds=holds)
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
