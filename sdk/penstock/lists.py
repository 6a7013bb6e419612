"""Lists that grow where it is not known yet whether, or how often, and names that have no value.

While a pipeline is traced, both arms of a branch and one turn of a loop are gone through. A list of the author's keeps
with each item in which of them it was added.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, Protocol, SupportsIndex

from penstock.diagnostics import DefinitionError, Diagnostic, Location
from penstock.placeholders import Placeholder
from penstock.sources import operation_site
from penstock.spec import Arm


class Turn(NamedTuple):
    """Being in the body of a loop (its full id), at one item."""

    loop: str


Scope = tuple[Turn | Arm, ...]
"""The loops and the arms of branches around a place in a pipeline, outermost first."""


class Missing:
    """Stands for a name that has no value where it is read: bound in one branch only, or in the body of a loop."""

    def __init__(self, message: str, fix: str) -> None:
        self.diagnostic = (message, fix)

    def refuse(self, at: object = None, *_: object, **__: object) -> NoReturn:
        """Raises `DefinitionError` at a location; by default at the place in the author's code that reads it."""
        message, fix = self.diagnostic
        location = at if isinstance(at, Location) else operation_site()[0]
        raise DefinitionError(Diagnostic("P312", message, location, fix))

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        self.refuse()

    __bool__ = __iter__ = __call__ = __getitem__ = __eq__ = __lt__ = __le__ = __gt__ = __ge__ = refuse
    __add__ = __radd__ = __iadd__ = __sub__ = __mul__ = __contains__ = __len__ = __format__ = __str__ = refuse
    __hash__ = object.__hash__


class Skipped(Missing):
    """Stands for a name that has a ``value`` where none of some flags is set: jumps that passed over its binding.

    ``flags`` are what each of the flags stood for when this was found.
    """

    def __init__(self, missing: Missing, value: object, flags: Mapping[str, object]) -> None:
        super().__init__(*missing.diagnostic)
        self.value = value
        self.flags = flags


@dataclass(frozen=True)
class Added:
    """An item of a `BuiltList` that is added in some scope; with ``spread``, each item of it is."""

    value: object
    scope: Scope
    spread: bool = False


class Place(Protocol):
    """Where the pipeline function is while it is traced."""

    @property
    def scope(self) -> Scope:
        """The loops and arms around it."""

    def narrowed(self, value: object) -> object:
        """A value, of a type without None where it is known there not to be None."""

    def deferred(self, value: object) -> Placeholder:
        """A value that holds placeholders, as one placeholder."""


class BuiltList(list[Any]):
    """A list of the pipeline function's that grows in branches and loops which are decided when the pipeline runs.

    As long as it does not, it is a list like any other.
    """

    def __init__(self, items: Iterable[Any], place: Place) -> None:
        super().__init__(items)
        self._place = place
        self.made_in = place.scope
        self.read_in: set[Turn] = set()
        self.is_merged = False
        """Whether a branch decides between this list and another: one name may then stand for either."""

    @property
    def is_deferred(self) -> bool:
        """Whether its items are known only when the pipeline runs."""
        return any(isinstance(each, Added) for each in list.__iter__(self))

    def append(self, item: Any, /) -> None:
        """Adds an item where the pipeline function is now."""
        self._add(item, spread=False)

    def extend(self, items: Iterable[Any], /) -> None:
        """Adds the items of a list where the pipeline function is now."""
        if isinstance(items, BuiltList) and items.is_deferred:
            self._add(items.as_it_is(), spread=True)
        elif isinstance(items, Placeholder):
            self._add(items, spread=True)
        else:
            for each in items:
                self._add(each, spread=False)

    def __iadd__(self, items: Iterable[Any]) -> BuiltList:  # noqa: PYI034  # no `Self` in 3.10
        self.extend(items)
        return self

    def __add__(self, items: list[Any]) -> BuiltList:
        return self._joined(self, items)

    def __radd__(self, items: list[Any]) -> BuiltList:
        return self._joined(items, self)

    def copy(self) -> BuiltList:
        """A list of its own with the same items, of which those that are added later are not part."""
        return self._joined(self)

    def as_it_is(self) -> BuiltList:
        """The list with the items that it has by now, whatever is added to it later."""
        made = BuiltList(list.__iter__(self), self._place)
        made.made_in = self.made_in
        return made

    def _joined(self, *lists: list[Any]) -> BuiltList:
        made = BuiltList([], self._place)
        for each in lists:
            made.extend(each)
        return made

    def _add(self, item: Any, *, spread: bool) -> None:
        scope = self._place.scope
        if self.read_in.intersection(scope):
            message = "the list is read in the loop that adds to it, whose items run independently of each other"
            raise DefinitionError(Diagnostic("P313", message, operation_site()[0], "read it after the loop"))
        self._refuse_second_name()
        value = self._place.narrowed(item)
        super().append(Added(value, scope, spread) if spread or scope != self.made_in else value)

    def read(self) -> Iterator[Any]:
        """Its items, as a loop over it finds them; what is added where it is not known whether it is, is refused."""
        self.note_reading(self._place.scope)
        for each in list.__iter__(self):
            if isinstance(each, Added):
                message = "a list is gone through while it grows by what is decided when the pipeline runs"
                raise DefinitionError(Diagnostic("P313", message, operation_site()[0], "add to another list"))
            yield each

    def note_reading(self, scope: Scope) -> None:
        """Notes the loops in whose bodies the list is read, though it was made outside of them."""
        self.read_in.update(each for each in scope if isinstance(each, Turn) and each not in self.made_in)

    def _refuse_reading(self, what: str) -> None:
        if self.is_deferred:
            self._refuse(what)
        self.note_reading(self._place.scope)

    def _refuse_second_name(self) -> None:
        if self.is_merged:
            message = "a list grows after a branch has decided between it and another one, by a name of both"
            fix = "keep the two apart: begin a new list for what is added here"
            raise DefinitionError(Diagnostic("P313", message, operation_site()[0], fix))

    def _refuse_change(self, what: str) -> None:
        self._refuse_second_name()
        if self.is_deferred or self._place.scope != self.made_in:
            self._refuse(what)

    def _refuse(self, what: str) -> NoReturn:
        message = f"{what} of a list that a loop or branch fills, which is decided when the pipeline runs"
        fix = "use `append` and `extend` only, pass the list whole to a step, or go through it with `for`"
        raise DefinitionError(Diagnostic("P313", message, operation_site()[0], fix))

    def __getitem__(self, index: Any) -> Any:
        if self.is_deferred:
            return self._place.deferred(self)[index]
        self.note_reading(self._place.scope)
        return super().__getitem__(index)

    def __iter__(self) -> Iterator[Any]:
        self._refuse_reading("the items are gone through in code that is not the pipeline's own function,")
        return super().__iter__()

    def __len__(self) -> int:
        self._refuse_reading("the length is asked")
        return super().__len__()

    def __bool__(self) -> bool:
        self._refuse_reading("the truth value is asked")
        return super().__len__() > 0

    def __str__(self) -> str:
        self._refuse_reading("the text is made")
        return super().__str__()

    def __setitem__(self, index: Any, value: Any) -> None:
        self._refuse_change("an item is set")
        super().__setitem__(index, value)

    def __delitem__(self, index: Any) -> None:
        self._refuse_change("an item is deleted")
        super().__delitem__(index)

    def __contains__(self, item: object) -> bool:
        self._refuse_reading("an item is looked for,")
        return super().__contains__(item)

    def __mul__(self, count: SupportsIndex) -> list[Any]:
        self._refuse_reading("the items are repeated,")
        return super().__mul__(count)

    __rmul__ = __mul__

    def insert(self, index: SupportsIndex, item: Any, /) -> None:
        """Refused where the list is not an ordinary one any more, as is all that follows."""
        self._refuse_change("an item is inserted,")
        super().insert(index, item)

    def pop(self, index: SupportsIndex = -1, /) -> Any:
        """As `insert`."""
        self._refuse_change("an item is popped")
        return super().pop(index)

    def remove(self, item: Any, /) -> None:
        """As `insert`."""
        self._refuse_change("an item is removed,")
        super().remove(item)

    def sort(self, *, key: Any = None, reverse: bool = False) -> None:
        """As `insert`."""
        self._refuse_change("the order is changed")
        super().sort(key=key, reverse=reverse)

    def reverse(self) -> None:
        """As `insert`."""
        self._refuse_change("the order is changed")
        super().reverse()

    def clear(self) -> None:
        """As `insert`."""
        self._refuse_change("the items are removed,")
        super().clear()
