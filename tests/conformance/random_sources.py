"""A Hypothesis strategy that writes the source of a module with a pipeline.

The source is correct by construction: names are bound where they are read and have the type that is asked for, nothing
is carried from one item of a loop to the next, and what Python evaluates in any case, a step does too.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from penstock import Step
from tests.conformance import random_steps

INDENT = "    "
MERGED = ("int", "str", "bool", "int | None")
"""What both arms of a branch may bind; no lists, for one of a name that is added to would be known by two."""
GIVEN = ("int", "list[int]", "str", "bool", "int | None", "dict[str, int]", "list[str]", "list[list[int]]")
RETURNED = ("int", "list[int]", "str", "tuple[int, list[int]]", "dict[str, int]", "Point")
CONSTANTS = {
    "int": ("0", "1", "2", "3", "5", "-1", "7"),
    "str": ("'a'", "''", "'a b'", "'b c a'"),
    "bool": ("True", "False"),
    "int | None": ("None", "3"),
    "list[int]": ("[1, 2]", "[]", "[3]", "[2, 0, 5]"),
    "list[str]": ("['a', 'b']", "[]", "['c']"),
    "dict[str, int]": ("{'a': 1}", "{}", "{'b': 2, 'a': 5}"),
    "list[list[int]]": ("[[1], [], [2, 3]]", "[]"),
    "Point": ("Point(1)", "Point(2, 3, 'b')"),
}
PARTS = {"Point": {"x": "int", "y": "int", "label": "str"}, "Bounds": {"low": "int", "high": "int"}}
ITEMS = {"list[int]": "int", "list[str]": "str", "list[list[int]]": "list[int]", "list[Point]": "Point"}
ENDINGS = ("", "", "", "on_exit=told", "on_failure=told, on_exit=tidied", "on_failure=[told, tidied]")


@dataclass(frozen=True)
class Program:
    """A module with the pipeline ``made``, and what that is given."""

    source: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Callee:
    """A step or a nested pipeline that may be called; ``is_made`` tells that its result comes from a step."""

    name: str
    takes: tuple[tuple[str, str, bool], ...]
    gives: str
    is_step: bool = True
    is_made: bool = True


@dataclass(frozen=True)
class Variable:
    """A name that may be read.

    ``turns`` is how many loops are around the place where it is bound. ``is_deferred`` says that it is known only when
    the pipeline runs, for certain; ``is_made`` that it is a step's result, which can be waited for; ``grows`` that it
    is a list of the function's own.
    """

    name: str
    type: str
    turns: int = 0
    is_deferred: bool = False
    is_made: bool = False
    grows: bool = False


@dataclass(frozen=True)
class Place:
    """Where a statement stands: in how many loops over items, how deep, in an ordinary loop, in a branch.

    ``written`` holds the lists that a loop around adds to, which nobody may read in it.
    """

    turns: int = 0
    depth: int = 0
    in_ordinary_loop: bool = False
    in_branch: bool = False
    written: frozenset[str] = frozenset()


Scope = dict[str, Variable]


def _callees() -> Iterator[Callee]:
    for name, value in vars(random_steps).items():
        if isinstance(value, Step) and name not in ("undo", "told", "tidied"):
            yield _callee(name, inspect.signature(value.function))


def _callee(name: str, signature: inspect.Signature) -> Callee:
    takes = ((each.name, each.annotation, each.default is each.empty) for each in signature.parameters.values())
    return Callee(name, tuple(takes), signature.return_annotation)


STEPS = tuple(_callees())


class _Writer:
    """Writes one pipeline function."""

    def __init__(self, draw: st.DrawFn, callees: Sequence[Callee], calls: int) -> None:
        self.draw, self.callees, self.calls = draw, callees, calls
        self.names = 0
        self.returns = ""
        self.is_whole = False  # what a nested pipeline returns may be taken by nobody, and Python computes it though
        self.all_made = True

    # --- choices

    def one_of(self, choices: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(choices))

    def chance(self, of: int) -> bool:
        """True once in so many times."""
        return self.draw(st.integers(0, of - 1)) == of - 1

    def new(self, letter: str = "v") -> str:
        self.names += 1
        return f"{letter}{self.names}"

    # --- the function

    def function(
        self, name: str, heading: str, parameters: Sequence[Variable], defaults: Mapping[str, str]
    ) -> list[str]:
        self.returns, self.is_whole = self.one_of(RETURNED), name == "made"
        given = ", ".join(
            f"{each.name}: {each.type}" + (f" = {defaults[each.name]}" if each.name in defaults else "")
            for each in parameters
        )
        bound = {each.name: each for each in parameters}
        lines, scope, ended = self.block(bound, Place(), self.statements())
        if not ended:
            lines.append(self.returning(scope, Place()))
        return [f"@pipeline{heading}", f"def {name}({given}) -> {self.returns}:", *_indented(lines)]

    def statements(self) -> int:
        return self.draw(st.integers(2, 2 + self.calls // 2))

    def returning(self, scope: Scope, place: Place) -> str:
        if self.returns.startswith("tuple"):
            self.all_made = False
            return f"return {self.returned('int', scope, place)}, {self.returned('list[int]', scope, place)}"
        value = self.returned(self.returns, scope, place)
        found = scope.get(value)
        self.all_made &= found is not None and found.is_made
        return f"return {value}"

    def returned(self, type_: str, scope: Scope, place: Place) -> str:
        """An expression; now and then one that may fail when it is evaluated."""
        items = self.items(type_, scope, place) if self.is_whole and self.chance(4) else []
        return self.one_of(items) if items else self.value(type_, scope, place)

    # --- statements

    def block(self, scope: Scope, place: Place, statements: int) -> tuple[list[str], Scope, bool]:
        """The lines of a block, what is bound after it, and whether it jumps away at its end."""
        scope, lines, ended = dict(scope), [], False
        for _ in range(statements):
            written, scope, ended = self.statement(scope, place)
            lines += written
            if ended:
                break
        return lines or ["pass"], scope, ended

    def statement(self, scope: Scope, place: Place) -> tuple[list[str], Scope, bool]:
        kinds = [self.assign, self.assign, self.assign, self.listed, self.appended, self.noted, self.checked]
        if place.depth < 3 and self.calls > 0:
            kinds += [self.condition, self.condition, self.loop, self.loop, self.collected, self.ordinary_loop]
        if place.in_branch:
            kinds += [self.jumped]
        return self.one_of(kinds)(scope, place)  # type: ignore[no-any-return]

    def assign(self, scope: Scope, place: Place) -> tuple[list[str], Scope, bool]:
        again = [each for each in scope.values() if self.may_be_bound_again(each, place)]
        if again and self.chance(3):
            old = self.one_of(again)
            made = replace(old, turns=place.turns)
            steps = [callee for callee in self.callees if callee.is_step and callee.gives == old.type]
            text, _ = self.called(self.one_of(steps), scope, place)
            return [f"{old.name} = {text}"], {**scope, old.name: made}, False
        callee = self.one_of([each for each in self.callees if each.gives != "None"])
        text, is_made = self.called(callee, scope, place)
        name = self.new()
        made = Variable(name, callee.gives, place.turns, is_deferred=is_made, is_made=is_made)
        return [f"{name} = {text}"], {**scope, name: made}, False

    def may_be_bound_again(self, each: Variable, place: Place) -> bool:
        known = any(callee.gives == each.type and callee.is_step for callee in self.callees)
        return known and not each.grows and each.turns == place.turns and each.name not in place.written

    def listed(self, scope: Scope, place: Place) -> tuple[list[str], Scope, bool]:
        type_ = self.one_of(("list[int]", "list[str]"))
        count = self.one_of((0, 1, 2))
        items = ", ".join(self.value(ITEMS[type_], scope, place) for _ in range(count))
        name = self.new("xs")
        made = Variable(name, type_, place.turns, grows=True)
        return [f"{name}: {type_} = [{items}]"], {**scope, name: made}, False

    def appended(self, scope: Scope, place: Place) -> tuple[list[str], Scope, bool]:
        lists = [each for each in scope.values() if each.grows and self.may_be_added_to(each, place)]
        if not lists:
            return self.listed(scope, place)
        found = self.one_of(lists)
        item = self.value(ITEMS[found.type], scope, place)
        if self.chance(4):
            return [f"{found.name} += [{item}, {self.value(ITEMS[found.type], scope, place)}]"], scope, False
        return [f"{found.name}.append({item})"], scope, False

    def may_be_added_to(self, each: Variable, place: Place) -> bool:
        return each.turns == place.turns or each.name in place.written

    def noted(self, scope: Scope, place: Place) -> tuple[list[str], Scope, bool]:
        callee = self.one_of([each for each in self.callees if each.gives in ("None", "int")])
        return [self.called(callee, scope, place)[0]], scope, False

    def checked(self, scope: Scope, place: Place) -> tuple[list[str], Scope, bool]:
        test = self.deferred_condition(scope, place)
        if not test:
            return self.assign(scope, place)
        message = f", {self.text(scope, place)}" if self.chance(2) else ""
        return [f"assert {test}{message}"], scope, False

    def jumped(self, scope: Scope, place: Place) -> tuple[list[str], Scope, bool]:
        kinds = ["return", "return"] if place.turns == 0 else []
        if place.in_ordinary_loop:
            kinds += ["break", "continue"]
        elif place.turns:
            kinds += ["continue"]
        kind = self.one_of(kinds)
        return [self.returning(scope, place) if kind == "return" else kind], scope, True

    def condition(self, scope: Scope, place: Place) -> tuple[list[str], Scope, bool]:
        deferred = self.deferred_condition(scope, place)
        if deferred and self.chance(6):
            return [f"if {deferred}:", f"{INDENT}raise ValueError({self.text(scope, place)})"], scope, False
        inner = replace(place, depth=place.depth + 1, in_branch=True)
        shared = Variable(self.new("m"), self.one_of(MERGED), place.turns) if self.chance(2) else None
        arms = [self.arm(f"if {deferred or self.truth(scope, place)}:", scope, inner, shared)]
        if self.chance(4):
            arms.append(self.arm(f"elif {self.truth(scope, place)}:", scope, inner, shared))
        if shared or self.chance(2):
            arms.append(self.arm("else:", scope, inner, shared))
            left = [after for _, after, ended in arms if not ended]
        else:
            left = [scope, *(after for _, after, ended in arms if not ended)]
        lines = [line for written, _, _ in arms for line in written]
        return lines, _merged(left) if left else scope, not left

    def arm(self, head: str, scope: Scope, place: Place, shared: Variable | None) -> tuple[list[str], Scope, bool]:
        lines, after, ended = self.block(scope, place, self.one_of((1, 1, 2, 3)))
        if shared and not ended:
            lines.append(f"{shared.name} = {self.value(shared.type, after, place)}")
            after[shared.name] = shared
        return [head, *_indented(lines)], after, ended

    def loop(self, scope: Scope, place: Place) -> tuple[list[str], Scope, bool]:
        added = [each.name for each in scope.values() if each.grows and self.may_be_added_to(each, place)]
        written = frozenset(each for each in added if self.chance(2)) | place.written
        seen = {name: each for name, each in scope.items() if name not in written}
        head, targets = self.header(seen, place)
        inner = Place(turns=place.turns + 1, depth=place.depth + 1, written=written)
        lines, after, ended = self.block({**scope, **targets}, inner, self.one_of((1, 2, 3)))
        if written - place.written and not ended:
            lines += self.appended(after, inner)[0]
        return [f"for {head}:", *_indented(lines)], scope, False

    def ordinary_loop(self, scope: Scope, place: Place) -> tuple[list[str], Scope, bool]:
        name = self.new("i")
        inner = replace(place, depth=place.depth + 1, in_ordinary_loop=True, in_branch=False)
        over = self.one_of(("range(2)", "(3, 1)", "range(1, 4, 2)"))
        lines, _, _ = self.block({**scope, name: Variable(name, "int", place.turns)}, inner, self.one_of((1, 2)))
        return [f"for {name} in {over}:", *_indented(lines)], scope, False

    def header(self, scope: Scope, place: Place) -> tuple[str, Scope]:
        """``TARGETS in ITEMS``, and the names that it binds."""
        turns = place.turns + 1

        def bound(type_: str, is_deferred: bool) -> Variable:
            return Variable(self.new("x"), type_, turns, is_deferred)

        kind = self.one_of(("list", "list", "list", "zip", "enumerate", "items", "range", "parallel"))
        if kind == "items":
            known, is_deferred = self.iterable("dict[str, int]", scope, place)
            key, value = bound("str", is_deferred), bound("int", is_deferred)
            return f"{key.name}, {value.name} in {known}.items()", {each.name: each for each in (key, value)}
        if kind == "range":
            numbers = [each for each in self.readable(scope, place) if each.type == "list[int]"]
            limit = f"len({self.one_of(numbers).name})" if numbers else "2"
            item = bound("int", False)
            return f"{item.name} in range({limit})", {item.name: item}
        type_ = self.one_of(tuple(ITEMS))
        items, is_deferred = self.iterable(type_, scope, place)
        item = bound(ITEMS[type_], is_deferred)
        if kind == "zip":
            other_type = self.one_of(("list[int]", "list[str]"))
            others, is_other_deferred = self.iterable(other_type, scope, place)
            other = bound(ITEMS[other_type], is_deferred and is_other_deferred)
            item = replace(item, is_deferred=other.is_deferred)
            return f"{item.name}, {other.name} in zip({items}, {others})", {each.name: each for each in (item, other)}
        if kind == "enumerate":
            start = self.one_of(("", ", 1"))
            count = bound("int", is_deferred)
            return f"{count.name}, {item.name} in enumerate({items}{start})", {
                each.name: each for each in (count, item)
            }
        if kind == "parallel":
            items = f"flow.parallel({items}, {self.one_of((1, 2))})"
        return f"{item.name} in {items}", {item.name: item}

    def iterable(self, type_: str, scope: Scope, place: Place) -> tuple[str, bool]:
        known = [each for each in self.readable(scope, place) if each.type == type_]
        if known and not self.chance(4):
            found = self.one_of(known)
            return found.name, found.is_deferred
        if type_ in CONSTANTS and self.chance(3):
            return self.one_of(CONSTANTS[type_]), False
        text, is_made = self.call(type_, scope, place)
        return text, is_made

    def collected(self, scope: Scope, place: Place) -> tuple[list[str], Scope, bool]:
        name, kind = self.new("c"), self.one_of(("list", "list", "list", "flat", "nested", "dict"))
        head, targets = self.header(scope, place)
        inner = Place(turns=place.turns + 1, depth=place.depth + 1, written=place.written)
        within = {**scope, **targets}
        test = f" if {self.truth(within, inner)}" if self.chance(3) else ""
        if kind == "dict":
            key, value = self.value("str", within, inner), self.call("int", within, inner)[0]
            text, type_ = f"{{{key}: {value} for {head}{test}}}", "dict[str, int]"
        elif kind in ("flat", "nested"):
            second, more = self.header(within, inner)
            deeper = replace(inner, turns=inner.turns + 1)
            item = self.call("int", {**within, **more}, deeper)[0]
            text = (
                f"[{item} for {head}{test} for {second}]"
                if kind == "flat"
                else f"[[{item} for {second}] for {head}{test}]"
            )
            type_ = "list[int]" if kind == "flat" else "list[list[int]]"
        else:
            type_ = self.one_of(("list[int]", "list[str]", "list[Point]"))
            text = f"[{self.call(ITEMS[type_], within, inner)[0]} for {head}{test}]"
        grows = kind == "list" and type_ != "list[Point]"
        return [f"{name} = {text}"], {**scope, name: Variable(name, type_, place.turns, grows=grows)}, False

    # --- expressions

    def readable(self, scope: Scope, place: Place) -> list[Variable]:
        return [each for each in scope.values() if each.name not in place.written]

    def value(self, type_: str, scope: Scope, place: Place) -> str:
        """An expression of a type that can be evaluated whatever it holds."""
        known = [each.name for each in self.readable(scope, place) if type_ in (each.type, "Any")]
        parts = [
            f"{each.name}.{part}"
            for each in self.readable(scope, place)
            for part, part_type in PARTS.get(each.type, {}).items()
            if part_type == type_
        ]
        plain = [*reversed(known), *parts, *CONSTANTS.get("int" if type_ == "Any" else type_, ())[:2]]
        kind = self.one_of(("plain",) * 7 + ("call", "choice", "and_or", "special"))
        if kind == "call" and self.calls > 0 and type_ != "Any":
            return self.call(type_, scope, place)[0]
        if kind == "choice" and len(plain) > 1:
            return f"({self.one_of(plain)} if {self.truth(scope, place)} else {self.one_of(plain)})"
        if kind == "and_or" and type_ in ("int", "str", "list[int]") and known:
            return f"({self.one_of(known)} {self.one_of(('or', 'and'))} {self.one_of(plain)})"
        if kind == "special":
            plain += self.special(type_, scope, place)
        return self.one_of(plain) if plain else self.call(type_, scope, place)[0]

    def items(self, type_: str, scope: Scope, place: Place) -> list[str]:
        """Items of lists and dicts that are known only when the pipeline runs, and may not be there."""
        known = [each for each in self.readable(scope, place) if each.is_deferred]
        lists = [f"{each.name}[{at}]" for each in known if ITEMS.get(each.type) == type_ for at in (0, -1)]
        return lists + [f"{each.name}['a']" for each in known if (type_, each.type) == ("int", "dict[str, int]")]

    def special(self, type_: str, scope: Scope, place: Place) -> list[str]:
        lists = [each.name for each in self.readable(scope, place) if each.type in (*ITEMS, "dict[str, int]", "str")]
        if type_ == "int":
            return [f"len({each})" for each in lists if scope[each].type != "str"]
        if type_ == "str":
            return [self.text(scope, place)]
        if type_ == "bool":
            return [self.truth(scope, place)]
        return []

    def text(self, scope: Scope, place: Place) -> str:
        plain = [each.name for each in self.readable(scope, place) if each.type in ("int", "str")]
        others = [f"{each.name}!r" for each in self.readable(scope, place) if each.type not in ("int", "str")]
        forms = [*(f"{{{each}}}" for each in [*plain, *others]), *(f"{{{each}:>3}}" for each in plain), "no"]
        return f'f"{self.one_of(forms)} of {self.one_of(forms)}"'

    def truth(self, scope: Scope, place: Place, depth: int = 1) -> str:
        """A condition."""
        known = self.readable(scope, place)
        if depth and self.chance(4):
            one, other = (self.truth(scope, place, 0) for _ in range(2))
            return f"({one} {self.one_of(('and', 'or'))} {other})"
        return self.test(self.one_of(known), known) if known else self.one_of(("True", "not 1"))

    def deferred_condition(self, scope: Scope, place: Place) -> str:
        """A condition that is decided when the pipeline runs, for certain; empty where nothing is known only then."""
        known = [each for each in self.readable(scope, place) if each.is_deferred]
        if not known:
            return ""
        first = self.test(self.one_of(list(reversed(known))), known)
        return f"{first} {self.one_of(('and', 'or'))} {self.truth(scope, place, 0)}" if self.chance(4) else first

    def test(self, subject: Variable, known: Sequence[Variable]) -> str:
        name, type_ = subject.name, subject.type
        numbers = [each.name for each in known if each.type == "int" and each.name != name]
        bound = self.one_of((*CONSTANTS["int"], *numbers))
        forms = [f"not {name}"]
        if type_ == "int":
            forms += [f"{name} {self.one_of(('>', '<=', '==', '!='))} {bound}", f"1 < {name} <= {bound}", name]
            forms += [f"{name} in (1, 2, 5)", f"{name} not in [0, {bound}]"]
        elif type_ == "int | None":
            forms = [f"{name} is None", f"{name} is not None", f"{name} is None or {name} > {bound}"]
            forms = [forms[0], forms[1], f"({forms[2]})"]
        elif type_ in ("str", "list[str]", "dict[str, int]"):
            forms += [f"'a' in {name}", f"'b' not in {name}", name]
        elif type_ in ITEMS:
            forms += [f"len({name}) > {self.one_of((0, 1, 2))}", name]
        elif type_ == "Point":
            forms = [f"{name}.x > {bound}", f"{name} == Point(1)", f"{name}.label != 'b'"]
        elif type_ == "Bounds":
            forms = [f"{name}.low < {name}.high", f"{name}.low <= {bound} < {name}.high"]
        else:
            forms += [name]
        return self.one_of(forms)  # type: ignore[no-any-return]

    # --- calls

    def call(self, type_: str, scope: Scope, place: Place) -> tuple[str, bool]:
        """A call that gives a type, and whether it is certainly a step's result."""
        found = [each for each in self.callees if each.gives == type_]
        steps = [each for each in found if each.is_step]
        return self.called(self.one_of(found if self.calls > 0 else steps), scope, place)

    def called(self, callee: Callee, scope: Scope, place: Place) -> tuple[str, bool]:
        self.calls -= 1
        if not callee.is_step:  # it may return what it is given, which nobody may add to later
            scope = {name: each for name, each in scope.items() if not each.grows}
        arguments = []
        for name, type_, is_required in callee.takes:
            if is_required:
                arguments.append(self.argument(type_, scope, place, callee))
            elif self.chance(3):
                arguments.append(f"{name}={self.argument(type_, scope, place, callee)}")
        options = self.options(callee, scope, place)
        return f"{callee.name}{options}({', '.join(arguments)})", callee.is_made

    def argument(self, type_: str, scope: Scope, place: Place, callee: Callee) -> str:
        """An expression; for a step also one that may fail when it is evaluated."""
        items = self.items(type_, scope, place) if callee.is_step and type_ == "int" and self.chance(12) else []
        if items:
            return self.one_of(items)  # type: ignore[no-any-return]
        if self.calls <= 0:
            known = [each.name for each in self.readable(scope, place) if type_ in (each.type, "Any")]
            plain = CONSTANTS["int" if type_ == "Any" else type_]
            return self.one_of((*known, *plain))  # type: ignore[no-any-return]
        return self.value(type_, scope, place)

    def options(self, callee: Callee, scope: Scope, place: Place) -> str:
        given = []
        made = [each.name for each in self.readable(scope, place) if each.is_made]
        if made and self.chance(6):
            given.append(f"after={self.one_of(made)}")
        if not callee.is_step:
            return f".with_options({', '.join(given)})" if given else ""
        if callee.gives == "int" and self.chance(12):
            numbers = [each.name for each in self.readable(scope, place) if each.type == "int"]
            bound = self.one_of((*reversed(CONSTANTS["int"]), *numbers))
            given.append(f'gates=[Gate("output", "{self.one_of((">=", "<", "!="))}", {bound})]')
        if callee.name not in ("flaky", "own") and self.chance(12):
            given.append("retry=Retry(1)")
        if not place.in_ordinary_loop and not place.turns and self.chance(8):
            given.append(f'name="{self.new("named_")}"')
        return f".with_options({', '.join(given)})" if given else ""


def _merged(scopes: Sequence[Scope]) -> Scope:
    """What is bound after any of several arms."""
    first, *others = scopes
    return {
        name: replace(
            each,
            is_made=all(other[name].is_made for other in scopes),
            is_deferred=all(other[name].is_deferred for other in scopes),
        )
        for name, each in first.items()
        if all(name in other for other in others)
    }


def _indented(lines: Sequence[str]) -> list[str]:
    return [INDENT + line for line in lines]


@st.composite
def programs(draw: st.DrawFn, calls: int = 10) -> Program:
    """A module with a pipeline of at most about so many calls, and values for some of its parameters."""
    own, callees = draw(_own_steps())
    lines = list(own)
    callees = (*STEPS, *callees)
    if draw(st.integers(0, 2)) == 2:
        nested = _Writer(draw, callees, draw(st.integers(1, max(1, calls // 3))))
        parameters = [Variable(name, type_) for name, type_ in draw(_parameters("a", 2))]
        defaults = {each.name: _constant(draw, each.type) for each in parameters[1:]}
        lines += ["", "", *nested.function("part", "", parameters, defaults)]
        takes = tuple((each.name, each.type, each.name not in defaults) for each in parameters)
        callees = (*callees, Callee("part", takes, nested.returns, is_step=False, is_made=nested.all_made))
    writer = _Writer(draw, callees, draw(st.integers(2, calls)))
    parameters = [Variable(name, type_, is_deferred=True) for name, type_ in draw(_parameters("p", 3))]
    defaults = {each.name: _constant(draw, each.type) for each in parameters}
    ending = draw(st.sampled_from(ENDINGS))
    lines += ["", "", *writer.function("made", f"({ending})" if ending else "", parameters, defaults)]
    chosen = {name: _constant(draw, type_) for name, type_ in _types(parameters) if draw(st.integers(0, 2)) == 2}
    return Program(_module(lines), {name: ast.literal_eval(text) for name, text in chosen.items()})


@st.composite
def _own_steps(draw: st.DrawFn) -> tuple[list[str], tuple[Callee, ...]]:
    """Now and then a step with settings, attempts and failures of its own."""
    if draw(st.integers(0, 2)) < 2:
        return [], ()
    failures, bad = draw(st.integers(0, 3)), draw(st.sampled_from(("2", "0", "5", "-1")))
    options = ["retry=Retry(2)"]
    options += ["rollback=undo"] if draw(st.booleans()) else []
    options += (
        [f'gates=[Gate("output", "<", {draw(st.integers(4, 12))}, message="large")]'] if draw(st.booleans()) else []
    )
    lines = [
        f"@step({', '.join(options)})",
        "def own(value: int) -> int:",
        f"    if current_attempt() <= {failures}:",
        '        raise RuntimeError(f"attempt {current_attempt()}")',
        f"    if value == {bad}:",
        '        raise ValueError(f"no good: {value}")',
        "    return value + 3",
    ]
    return lines, (Callee("own", (("value", "int", True),), "int"),)


def _parameters(letter: str, most: int) -> st.SearchStrategy[list[tuple[str, str]]]:
    types = st.lists(st.sampled_from(GIVEN), min_size=1, max_size=most)
    return types.map(lambda found: [(f"{letter}{number}", type_) for number, type_ in enumerate(found)])


def _types(parameters: Sequence[Variable]) -> Iterator[tuple[str, str]]:
    return ((each.name, each.type) for each in parameters)


def _constant(draw: st.DrawFn, type_: str) -> str:
    return draw(st.sampled_from(CONSTANTS[type_]))


def _module(lines: Sequence[str]) -> str:
    text = "\n".join(lines)
    used = set(re.findall(r"\w+", text))
    own = [name for name in ("Gate", "Retry", "current_attempt", "flow", "pipeline", "step") if name in used]
    steps = sorted(
        used & {name for name in vars(random_steps) if name[0] != "_"} - {"step", "current_attempt", "Retry"}
    )
    head = [f"from penstock import {', '.join(own)}"]
    head += [f"from tests.conformance.random_steps import {', '.join(steps)}"] if steps else []
    return "\n".join([*head, "", "", text.lstrip("\n"), ""])
