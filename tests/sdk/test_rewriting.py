"""A rewritten pipeline function does for ordinary values what it says, and asks about those that are deferred."""

from __future__ import annotations

import ast
import contextlib
import itertools
import linecache
import sys
import traceback
from types import FunctionType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.diagnostics import DefinitionError
from penstock.rewriting import rewrite
from tests.sdk.rewriting_controls import Control, Deferred

_numbers = itertools.count()


def written(source: str, **names: Any) -> FunctionType:
    """The first function of a source text, which has lines as those of a file have."""
    file = f"<written {next(_numbers)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    namespace: dict[str, Any] = {"__name__": "written", **names}
    before = set(namespace)
    exec(compile(source, file, "exec", dont_inherit=True), namespace)
    return next(value for name, value in namespace.items() if name not in before and isinstance(value, FunctionType))


def under(function: FunctionType, control: Control | None = None) -> FunctionType:
    """The function rewritten, for a control object."""
    factory = rewrite(function)
    assert factory is not None
    made = factory(control or Control())
    assert made.__code__ != function.__code__
    return made


def outcome(function: FunctionType, log: list[Any], *arguments: Any) -> tuple[Any, list[Any], set[int]]:
    """What a call gives or raises (and where), what it logged, and the lines of the function's file that it ran."""
    log.clear()
    file = function.__code__.co_filename
    lines: set[int] = set()

    def trace(frame: Any, event: str, _: Any) -> Any:
        if event == "line" and frame.f_code.co_filename == file:
            lines.add(frame.f_lineno)
        return trace if frame.f_code.co_filename == file else None

    tracing = sys.gettrace()
    sys.settrace(trace)
    try:
        result: Any = ("gives", function(*arguments))
    except Exception as error:  # noqa: BLE001  # whatever it raises is to be compared
        places = [each.lineno for each in traceback.extract_tb(error.__traceback__) if each.filename == file]
        result = ("raises", type(error), str(error), places[-1:])
    finally:
        sys.settrace(tracing)
    return result, list(log), lines


def logged(log: list[Any]) -> Any:
    def note(value: Any) -> Any:
        log.append(value)
        return value

    return note


@st.composite
def expressions(draw: st.DrawFn, depth: int = 2) -> str:
    """An expression over `a`, `b`, `xs` that gives a number or a truth value, or raises."""
    leaves = ["a", "b", "0", "1", "2", "note(a)", "note(3)", "len(xs)"]
    kinds = ["leaf", "leaf", "sum", "and", "or", "not", "choose", "chain", "in", "is", "less", "part", "over"]
    kind = draw(st.sampled_from([*kinds, "list", "set", "dict", "generator", "text"])) if depth else "leaf"
    one, two, three = (draw(expressions(depth - 1)) if depth else "" for _ in range(3))
    return {
        "leaf": draw(st.sampled_from(leaves)),
        "sum": f"({one} + {two})",
        "and": f"({one} and {two} and {three})",
        "or": f"({one} or {two})",
        "not": f"(not {one})",
        "choose": f"({one} if {two} else {three})",
        "chain": f"({one} <= {two} < {three})",
        "in": f"({one} not in xs)",
        "is": f"((a, {one})[1] is None)",
        "less": f"({one} < {two})",
        "part": f"xs[{one}]",
        "over": f"(7 // {one})",
        "list": f"len([note(v + w) for v in xs if v != {one} for w in range(v) if w])",
        "set": f"len({{note(v) for v in xs if {one} and v}})",
        "dict": f"len({{note(v): {one} for v in xs}})",
        "generator": f"sum(note(v) for v in xs if [v for v in xs if v == {one}])",
        "text": 'len(f"{a!r:>{len(xs)}}{note(a)}{b=}x")',
    }[kind]


@st.composite
def blocks(draw: st.DrawFn, depth: int, in_loop: bool) -> list[str]:
    """The lines of a block."""
    return [line for _ in range(draw(st.integers(1, 3))) for line in draw(statements(depth, in_loop))]


def indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


@st.composite
def statements(draw: st.DrawFn, depth: int, in_loop: bool) -> list[str]:
    """The lines of a statement."""
    simple = ["assign", "add", "append", "note", "raise", "assert", "return", "part"]
    simple += ["break", "continue"] if in_loop else []
    compound = ["if", "if", "for", "for", "while", "try", "with", "match"] if depth else []
    kind = draw(st.sampled_from([*simple, *compound, *compound]))
    value = draw(expressions())

    def block(loop: bool = in_loop) -> list[str]:
        return indented(draw(blocks(depth - 1, loop)))

    def perhaps(word: str) -> list[str]:
        return [f"{word}:", *block()] if draw(st.booleans()) else []

    name = draw(st.sampled_from("ab"))
    if kind in ("break", "continue"):
        return [kind]
    if kind == "if":
        return [f"if {value}:", *block(), *perhaps(f"elif {draw(expressions())}"), *perhaps("else")]
    if kind == "for":
        source = draw(st.sampled_from(["xs", "range(3)", "zip(xs, xs)", "[v for v in xs if v]", "iter(xs)"]))
        target = "(c, d.x)" if source.startswith("zip") else "c"
        return [f"for {target} in {source}:", *block(loop=True), *perhaps("else"), "note(c)"]
    if kind == "while":
        count = f"n{draw(st.integers(0, 10**6))}"
        head = [f"{count} = 0", f"while {count} < 3 and [v for v in [1, {value}]]:"]
        return [*head, f"    {count} += 1", *block(loop=True), *perhaps("else")]
    if kind == "try":
        caught = [line for error in ("ValueError", "Exception") for line in perhaps(f"except {error}")]
        after = caught and perhaps("else")
        last = [] if caught and draw(st.booleans()) else ["finally:", *_without_leaving(block(loop=False))]
        return ["try:", *block(), *caught, *after, *last]
    if kind == "with":
        return ["with suppress(ValueError, AssertionError):", *block()]
    if kind == "match":
        return [f"match {value}:", "    case 0 | 1:", *indented(block()), "    case c if c in xs:", *indented(block())]
    return {
        "assign": [f"{name} = {value}"],
        "add": [f"{name} += {value}"],
        "append": [f"t.append({value})"],
        "note": [f"note({value})"],
        "part": [f"d.x = {value}"],
        "raise": [f"raise ValueError({value})"],
        "assert": [f"assert {value}, note({name})"],
        "return": [f"return {value}"],
    }[kind]


def _without_leaving(lines: list[str]) -> list[str]:
    """A `finally` block must not be left by a jump; those of its own loops are fine but hard to tell here."""
    return [line.replace("return ", "note(").rstrip() + ")" if "return " in line else line for line in lines]


@pytest.mark.slow
@given(body=blocks(depth=3, in_loop=False), xs=st.lists(st.integers(0, 3), max_size=3), a=st.integers(0, 2))
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_for_ordinary_values_a_function_does_what_it_says(body, xs, a):
    log: list[Any] = []
    lines = ["def made(a, b, xs, t):", "    c = None", *indented(body), "    return a, b, c, t"]
    names = {"note": logged(log), "suppress": contextlib.suppress, "d": logged}
    made = written("\n".join(lines) + "\n", **names)
    expected, said, ran = outcome(made, log, a, 1, xs, [])
    found, repeated, touched = outcome(under(made), log, a, 1, xs, [])
    assert (found, repeated) == (expected, said)
    assert touched <= ran


ODD_FORMS = """
from __future__ import annotations
def made(xs, d={}):
    "Doc."
    global G
    G = 1
    try:
        raise KeyError("a") from ValueError("b")
    except KeyError as e:
        text = f"{e!s:{'>'}8}"
        if xs:
            try:
                raise
            except KeyError as again:
                pass
    class C:
        y = [x for x in xs if not x]
        def m(self):
            return (self.y and 1) or 2
    if (n := len(xs)) > 1 and (m := n):
        text += str(m)
    del n
    while True:
        for i in xs:
            for j in xs:
                if j == 2:
                    break
                if j == 3:
                    return i, j, text, C().m(), [(p, q) for p in xs if p for q in range(p) if q < p < 9]
            else:
                continue
            break
        else:
            least = sorted((x for x in xs), key=lambda x: not x)
            return "else", {k: {v for v in xs} for k in xs}, next(x for x in xs), least
        break
    a, *b = xs
    return a, b, text, any(x is None for x in xs), (lambda *, z=xs is not None: z)()
"""


@pytest.mark.parametrize("xs", [[], [1], [2], [3], [1, 2], [2, 1, 3], [3, 0], [1, 1]], ids=str)
def test_odd_forms_mean_what_they_say(xs):
    made = written(ODD_FORMS)
    expected, _, ran = outcome(made, [], xs)
    found, _, touched = outcome(under(made), [], xs)
    assert found == expected
    assert touched <= ran


def test_a_comprehension_is_not_reached_before_it_is():
    made = written("""
def made(xs):
    match len(xs):
        case 0:
            return 1
        case 1 if [
            x for x in xs
            if not x
        ]:
            return 2
        case 2 if {x for x in xs if 1 // x}:
            return 3
    return 4
""")
    for xs in ([], [0], [1], [1, 0], [1, 2], [1, 2, 3]):
        expected, _, ran = outcome(made, [], xs)
        found, _, touched = outcome(under(made), [], xs)
        assert found == expected
        assert touched <= ran, xs


def test_an_iterator_is_left_where_a_break_left_it():
    made = written("""
def made(xs):
    left = iter(xs)
    for x in left:
        if x == 2:
            break
    else:
        return "none"
    return x, list(left)
""")
    assert under(made)([1, 2, 3, 4]) == (2, [3, 4])
    assert under(made)([1]) == "none"


def test_an_exception_takes_the_place_of_a_return_under_way():
    made = written(
        """
def made(swallowed):
    with suppress(KeyError):
        try:
            return 1
        finally:
            if swallowed:
                raise KeyError
    try:
        try:
            return 2
        finally:
            raise ValueError
    except ValueError:
        pass
""",
        suppress=contextlib.suppress,
    )
    assert [under(made)(swallowed) for swallowed in (True, False)] == [None, 1]


def test_closures_defaults_and_all_kinds_of_parameters_stay():
    made = written("""
def outer(base):
    count = 0
    def made(a, /, b=[2], *rest, c: "anything" = 3, **more) -> "anything":
        "What it is for."
        nonlocal count
        count += 1
        def inner():
            return __name__, base
        return (a, b, rest, c, more, count) if base else None, inner
    return made
""")("base")
    assert isinstance(made, FunctionType)
    again = under(made)
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__defaults__", "__kwdefaults__", "__globals__"):
        assert getattr(again, name) == getattr(made, name), name
    assert "__penstock__" not in made.__globals__
    result, inner = again(1, 2, 4, d=5)
    assert result == (1, 2, (4,), 3, {"d": 5}, 1)
    assert inner() == ("written", "base")
    assert inner.__qualname__ == "outer.<locals>.made.<locals>.inner"
    assert made(1)[0] == (1, [2], (), 3, {}, 2), "the closure is shared"


def test_a_decorated_function_is_rewritten_without_its_decorators():
    seen = []

    def decorate(function):
        seen.append(function)
        return function

    made = written("@decorate\ndef made(x):\n    def inner(): pass\n    return inner, not x\n", decorate=decorate)
    inner, value = under(made)(0)
    assert (inner.__qualname__, value, seen) == ("made.<locals>.inner", True, [made])
    again = under(made).__code__
    assert again.co_firstlineno == made.__code__.co_firstlineno == 1
    assert {line for _, _, line in again.co_lines() if line} == {1, 3, 4}


def test_a_recursive_inner_function_finds_itself():
    made = written("def outer():\n    def made(n):\n        return n and made(n - 1)\n    return made\n")()
    assert isinstance(made, FunctionType)
    assert under(made)(3) == 0


def test_what_cannot_be_reached_still_makes_a_name_local():
    made = written("x = 1\ndef made(a):\n    if a:\n        return 1\n        x = 2\n    return x\n")
    with pytest.raises(UnboundLocalError):
        under(made)(0)


@pytest.mark.parametrize("source", ["made = lambda: 1", "made = lambda x: x\n\n"])
def test_a_lambda_has_no_source_to_rewrite(source):
    assert rewrite(written(source)) is None


@pytest.mark.parametrize(
    "later", ["", "def made(:", "\ndef made(x):\n    return 1\n", "def made(y):\n    return 1\n", "def other(x): pass"]
)
def test_a_source_that_no_longer_matches_is_no_source(later):
    made = written("def made(x):\n    return 1\n")
    file = made.__code__.co_filename
    linecache.cache[file] = (len(later), None, later.splitlines(keepends=True), file)
    assert rewrite(made) is None


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ("async def made():\n    pass\n", 1, "an `async def` cannot be a pipeline"),
        ("def made():\n    x = 1\n    yield x\n", 3, "a pipeline cannot be a generator"),
        ("def made(xs):\n    if xs:\n        yield from xs\n", 3, "a pipeline cannot be a generator"),
        ("def made():\n    try:\n        pass\n    finally:\n        return 1\n", 5, "`return` in a `finally` block"),
    ],
)
def test_what_no_trace_could_follow_is_refused_at_its_line(source, line, message):
    with pytest.raises(DefinitionError) as caught:
        rewrite(written(source))
    (found,) = caught.value.diagnostics
    assert (found.code, found.location and found.location.line) == ("P310", line)
    assert message in found.message
    assert found.fix


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python tells the place of a call from 3.11 on")
def test_each_call_keeps_the_exact_place_that_the_author_gave_it():
    source = """
def made(step, xs, c):
    out = []
    for x in step(xs):
        if step(x) and not step(
            c,
        ):
            out.append(step(x, c=step(c)))
            continue
        out += [step(y) if step(c) else None for y in step(x)]
    assert step(out), f"{step(c)!r}"
    return step(
        out,
    )
"""
    made = written(source)
    calls = {
        (each.lineno, each.end_lineno, each.col_offset, each.end_col_offset)
        for each in ast.walk(ast.parse(source))
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Name)
    }
    seen: set[Any] = set()

    def step(*_: Any, **__: Any) -> Any:
        frame = sys._getframe(1)
        seen.add(next(itertools.islice(frame.f_code.co_positions(), frame.f_lasti // 2, None)))
        return Deferred("it")

    under(made)(step, [1], Deferred("c"))
    assert seen == calls


def asked(source: str, **names: Any) -> tuple[Any, list[Any]]:
    """What a function gives for two deferred values, and what it asked the control object."""
    control = Control()
    result = under(written(source, **names), control)(Deferred("p"), Deferred("q"))
    return result, [each for each in control.said if isinstance(each, tuple)]


def test_both_arms_of_a_deferred_condition_run_and_hand_over_their_names():
    result, _ = asked("""
def made(p, q):
    x = y = 0
    if p:
        x = 1
    elif q and not p:
        x, y = 2, 3
    else:
        y = 4
    return x, y
""")
    assert repr(result) == "((1 | (2 | 0)), (0 | (3 | 4)))"


def test_a_return_in_an_arm_makes_the_rest_the_other_arm():
    result, said = asked(
        """
def made(p, q):
    kept = {}
    if p:
        return note("then")
    kept["a"] = note("rest")
    if 1 < q < 3:
        return "middle"
    return "end"
""",
        note=lambda value: value,
    )
    assert repr(result) == "('then' | ('middle' | 'end'))"
    assert said == [("changes", "dict", True)]


def test_a_loop_over_a_deferred_value_runs_once():
    result, said = asked("""
def made(p, q):
    total, out = 0, []
    for each in p.rows:
        value = each.x
        out.append(value)
    doubled = {one: two for one, two in [(q, q)]}
    return out, value, total, [y for y in q if y]
""")
    assert repr(result) == "([item of p.rows.x], last value, 0, [item of q])"
    assert ("loop", "p.rows", ("each", "value")) in said
    assert ("loop", "q", ("y",)) in said


def test_an_ordinary_loop_that_a_deferred_condition_breaks_off_unrolls():
    result, _ = asked("""
def made(p, q):
    seen = []
    for n in range(3):
        if p.limit in [n]:
            break
        seen.append(n)
    else:
        n = "all"
    return n
""")
    assert "0" in repr(result)
    assert "1" in repr(result)
    assert "'all'" in repr(result)


def test_a_loop_hands_over_the_flags_that_say_how_it_was_left_and_no_others():
    _, said = asked("""
def made(p, q):
    for each in p:
        if each.x:
            continue
        for n in range(3):
            if n == 1:
                break
        q.use(n) if False else 0
    for each in p:
        for n in q:
            if n == each:
                break
        if q is None:
            return n
""")
    assert [each[2] for each in said if each[0] == "loop"] == [
        ("each", "n"),
        ("__penstock_done", "__penstock_value", "each", "n"),
        ("__penstock_brk_4", "n"),
    ]


def test_a_loop_while_a_deferred_condition_may_break_it_off_is_refused():
    with pytest.raises(TypeError, match="`while` on"):
        asked("def made(p, q):\n    while True:\n        if p:\n            break\n")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("assert p in q, f'{p!r} and {q:>3}'", [("check", "p in q", "{p} and {q}", "p in q")]),
        ("if p:\n        raise ValueError(1) from None", [("fail", "ValueError(1)")]),
        ("if p:\n        q.a.b = 1", [("changes", "q.a", False)]),
        ("if p:\n        x = {'a': 1}\n        x['a'] += 1", [("changes", "dict", True)]),
        ("for x in p:\n        x.part.y = 1", [("loop", "p", ("x",)), ("changes", "item of p.part", False)]),
        ("q.a = 1", []),
        ("try:\n        pass\n    except ValueError:\n        pass", [("attempt",), ("attempted", 1)]),
        ("try:\n        pass\n    finally:\n        pass", [("attempt",), ("attempt",), ("finished", 1, 2)]),
        ("x = []\n    if p:\n        x.append(q)", [("new_list",), ("changes", "list", False)]),
        (
            "x: list = list()\n    if p:\n        x += [q]",
            [("builtin", list), ("new_list",), ("changes", "list", False)],
        ),
        ("x = []\n    x.append(q)", []),
        ("len = lambda x: 1\n    len(q)", []),
    ],
)
def test_what_a_statement_asks(body, expected):
    _, said = asked(f"def made(p, q):\n    {body}\n")
    assert said == expected
