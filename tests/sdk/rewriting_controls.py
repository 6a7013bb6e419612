"""A stand-in for the control object of a trace: acts plainly, and writes down what it is asked of deferred values."""

from __future__ import annotations

import operator
from typing import Any

_COMPARISONS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "is": operator.is_,
    "is not": operator.is_not,
    "in": lambda item, items: item in items,
    "not in": lambda item, items: item not in items,
}


class Deferred:
    """A value that is not known yet: it refuses to be looked at."""

    def __init__(self, said: str) -> None:
        self.said = said

    def __repr__(self) -> str:
        return self.said

    def __bool__(self) -> bool:
        raise TypeError(f"{self.said} is used as a truth value")

    def __iter__(self) -> Any:
        raise TypeError(f"{self.said} is iterated over")

    def __getattr__(self, name: str) -> Deferred:
        if name.startswith("__"):
            raise AttributeError(name)
        return Deferred(f"{self.said}.{name}")


def _union(state: Any, other: Any, names: Any) -> list[Any]:
    """For each name, the one value, or both as a merge."""
    pairs = [(state.get(name), other.get(name)) for name in names]
    return [one if one is two else Deferred(f"({one!r} | {two!r})") for one, two in pairs]


class Control:
    """Acts plainly for ordinary values. For deferred ones it runs both arms, and writes down what it was asked."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def note(self, *what: Any) -> None:
        self.said.append(what)

    def branch(self, test: Any, names: Any, state: Any) -> Any:
        return _Branch(self, test, names, state)

    def loop(self, iterable: Any, names: Any, state: Any) -> Any:
        return _Loop(self, iterable, names, state)

    def plain(self, value: Any, construct: str) -> Any:
        if isinstance(value, Deferred):
            raise TypeError(f"`{construct}` on {value!r}")
        return value

    def check(self, test: Any, message: Any, text: str) -> None:
        if isinstance(test, Deferred):
            self.note("check", test.said, message and message(), text)
        elif not test:
            raise AssertionError(message()) if message else AssertionError

    def may_raise(self) -> bool:
        return not any(isinstance(what, _Branch) and what.running for what in self.said)

    def fail(self, exception: Any) -> None:
        self.note("fail", repr(exception))

    def attempt(self) -> int:
        self.note("attempt")
        return len(self.said)

    def reached(self, value: Any) -> Any:
        if isinstance(value, Deferred):
            raise TypeError(f"`:=` on {value!r}")
        return value

    def compared(self, left: Any, word: str, right: Any) -> Any:
        return self.compare(left, word, lambda: right)

    def managed(self, manager: Any) -> Any:
        return manager

    def attempted(self, mark: int) -> None:
        self.note("attempted", mark)

    def changes(self, thing: Any, is_own: bool, how: str = "") -> Any:
        if not how or isinstance(thing, (list, dict, set)):
            self.note("changes", thing.said if isinstance(thing, Deferred) else type(thing).__name__, is_own)
        return thing

    def new_list(self, items: list[Any]) -> list[Any]:
        self.note("new_list")
        return items

    def and_(self, first: Any, *thunks: Any) -> Any:
        return self._joined("and", first, thunks, stop=lambda value: not value)

    def or_(self, first: Any, *thunks: Any) -> Any:
        return self._joined("or", first, thunks, stop=bool)

    def _joined(self, word: str, value: Any, thunks: Any, stop: Any) -> Any:
        if isinstance(value, Deferred):
            return Deferred(f" {word} ".join(map(repr, [value, *(thunk() for thunk in thunks)])))
        return value if not thunks or stop(value) else self._joined(word, thunks[0](), thunks[1:], stop)

    def not_(self, value: Any) -> Any:
        return Deferred(f"not {value!r}") if isinstance(value, Deferred) else not value

    def compare(self, value: Any, *rest: Any) -> Any:
        result: Any = True
        for word, thunk in zip(rest[::2], rest[1::2], strict=True):
            other = thunk()
            if isinstance(value, Deferred) or isinstance(other, Deferred):
                return Deferred(f"{value!r} {word} {other!r}")
            result = _COMPARISONS[word](value, other)
            if not result:
                return result
            value = other
        return result

    def choose(self, test: Any, then: Any, otherwise: Any) -> Any:
        if isinstance(test, Deferred):
            return Deferred(f"({then()!r} if {test!r} else {otherwise()!r})")
        return then() if test else otherwise()

    def text(self, *parts: Any) -> Any:
        written = ""
        for part in parts:
            if isinstance(part, str):
                written += part
            elif isinstance(part[0], Deferred):
                written += f"{{{part[0]!r}}}"
            else:
                value, conversion, specification = part
                converted = {"": lambda it: it, "r": repr, "s": str, "a": ascii}[conversion](value)
                written += format(converted, specification)
        return written

    def builtin(self, function: Any) -> Any:
        self.note("builtin", function)
        return function

    def finished(self, before: int, after: int) -> None:
        self.note("finished", before, after)

    def returned(self, done: Any, value: Any) -> Any:
        return value if isinstance(done, Deferred) or done else None

    def stops(self, *flags: Any) -> bool:
        return any(flag is True for flag in flags)

    def as_set(self, items: Any) -> Any:
        return set(items)

    def as_dict(self, items: Any) -> Any:
        return dict(items)


class _Branch:
    def __init__(self, control: Control, test: Any, names: Any, state: Any) -> None:
        self.is_deferred = isinstance(test, Deferred)
        self.test, self.names, self.state, self.control = test, names, state, control
        self.running = False
        if self.is_deferred:
            control.said.append(self)
        else:
            self.holds = bool(test)

    def then(self) -> bool:
        self.running = self.is_deferred
        return self.is_deferred or self.holds

    def enter(self, state: Any, read: Any, unset: Any) -> list[Any]:
        return [state.get(name) for name in read]

    def between(self, state: Any, read: Any = ()) -> list[Any]:
        self.first = state
        return [self.state.get(name) for name in (*self.names, *read)]

    def otherwise(self) -> bool:
        return self.is_deferred or not self.holds

    def after(self, state: Any) -> list[Any]:
        self.running = False
        return _union(self.first, state, self.names)


class _Loop:
    def __init__(self, control: Control, iterable: Any, names: Any, state: Any) -> None:
        self.is_deferred = isinstance(iterable, Deferred)
        self.iterable, self.names, self.control = iterable, names, control
        if self.is_deferred:
            control.note("loop", iterable.said, names)

    def __iter__(self) -> Any:
        return iter([Deferred(f"item of {self.iterable!r}")] if self.is_deferred else self.iterable)

    def enter(self, state: Any) -> list[Any]:
        return [self._kept(name, state, "carried") for name in self.names]

    def after(self, state: Any) -> list[Any]:
        return [self._kept(name, state, "last") for name in self.names]

    def _kept(self, name: str, state: Any, otherwise: str) -> Any:
        value = state.get(name)
        return value if isinstance(value, list) or name.startswith("__penstock_") else Deferred(f"{otherwise} {name}")
