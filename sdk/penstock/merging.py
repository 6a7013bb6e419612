"""One value out of two, of which a branch decides when the pipeline runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.assignability import without_none
from penstock.bindings import merged_type
from penstock.diagnostics import DefinitionError
from penstock.lists import BuiltList, Missing, Scope
from penstock.placeholders import Either, Placeholder
from penstock.snapshots import Snapshot, reached, same_all
from penstock.spec import ChoiceBinding

if TYPE_CHECKING:
    from penstock.tracing import Trace

Check = Callable[[Scope], bool]


def merged(trace: Trace, branch: str, then: object, otherwise: object, said: str) -> object:
    """Whichever of two values belongs to the arm that ran; a stand-in that says so where it can't be told."""
    if then is otherwise:
        return then
    try:
        operands = [trace.operand(value) for value in (then, otherwise)]
    except DefinitionError as error:
        (problem, *_) = error.diagnostics
        return Missing(f"{said} differs between the arms of a branch: {problem.message}", problem.fix)
    is_current = when_decided(then, otherwise)
    binding = ChoiceBinding(branch=branch, then=operands[0].binding, otherwise=operands[1].binding)
    type_ = merged_type(each.type for each in operands)
    return Placeholder(binding, type_, said, either=Either(branch, then, otherwise), is_current=is_current)


def when_decided(*values: object) -> Check | None:
    """What tells whether values between which a branch decides are as they are now: another name may change them.

    Lists that the trace follows may not grow any more, because a name may stand for either.
    """
    for each in (each for value in values for each in reached(value) if isinstance(each, BuiltList)):
        each.is_merged = True
    return while_current(*values)


def while_current(*values: object) -> Check | None:
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


def where_true(value: Placeholder) -> Placeholder:
    """A value where it is true, and so not None."""
    traced = value.__penstock__
    type_ = without_none(traced.type)
    return Placeholder(traced.binding, type_, traced.said, traced.node, traced.either, is_current=traced.is_current)
