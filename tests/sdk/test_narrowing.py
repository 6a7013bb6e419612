"""What is known of a value where a condition holds: its type there has no None, in the trace and in the spec."""

from __future__ import annotations

import pytest

from penstock import DefinitionError, flow, pipeline, step
from penstock.compiler import load_spec
from tests.conformance.model import predict


@step
def one(x: int) -> int:
    return x


@step
def inc(x: int) -> int:
    return x + 1


@step
def opt(x: int) -> int | None:
    return x if x > 1 else None


@step
def ints(n: int) -> list[int]:
    return list(range(n))


@step
def opts(n: int) -> list[int | None]:
    return [None if i % 2 else i for i in range(n)]


@step
def oplist(n: int) -> list[int] | None:
    return None if n < 2 else [n]


@step
def total(xs: list[int]) -> int:
    return sum(xs)


@pipeline
def returned_early_where_none(n: int) -> int:
    y = opt(n)
    if y is None:
        return 0
    return one(y)


@pipeline
def asserted(n: int) -> int:
    y = opt(3)
    assert y is not None
    return one(y)


@pipeline
def chosen(n: int) -> int:
    y = opt(n)
    return one(y) if y is not None else 0


@pipeline
def asked_twice(n: int) -> int:
    y = opt(n)
    if y and one(y) > 1:
        return inc(y)
    return 0


@pipeline
def asked_by_or(n: int) -> int:
    y = opt(n)
    if y is None or one(y) > 2:
        return 7
    return inc(y)


@pipeline
def replaced_in_a_branch(n: int) -> int:
    y = opt(n)
    if y is None:
        y = 10
    return one(y)


@pipeline
def replaced_in_an_expression(n: int) -> int:
    y = opt(n)
    y = 10 if y is None else y
    return one(y)


@pipeline
def replaced_by_or(n: int) -> int:
    return one(opt(n) or 0)


@pipeline
def filtered(n: int) -> int:
    return total([y for y in opts(n) if y is not None])


@pipeline
def list_or_default(n: int) -> int:
    ys = oplist(n) or [1, 2]
    return total([one(v) for v in ys])


@pipeline
def list_replaced(n: int) -> int:
    ys = oplist(n)
    if ys is None:
        ys = []
    return total(ys)


@pipeline
def within_a_list(n: int) -> int:
    y = opt(n)
    if y is None:
        return 1
    return total([y, 4])


@pipeline
def added_to_a_snapshot(n: int) -> list[list[int]]:
    a = [one(x) for x in ints(n)]
    b = a + [100]
    a.append(3)
    return [a, b]


@pipeline
def returned_from_an_ordinary_loop(n: int) -> int:
    for i in range(6):
        y = one(i)
        if y == n:
            return inc(i)
    return one(0)


@pipeline
def broken_off(n: int) -> int:
    last = one(0)
    for i in range(6):
        y = one(i)
        last = y
        if y == n:
            break
    return inc(last)


@pipeline
def broken_off_or_returned(n: int) -> int:
    for i in range(4):
        for j in range(3):
            y = one(i)
            if y == n:
                return inc(j)
            if y > 2:
                break
        else:
            one(3)
    return one(0)


@pipeline
def changed_after_its_use(n: int) -> int:
    a = [1]
    found = total(a if one(n) > 2 else [2])
    a.append(found)
    return total(a)


PIPELINES = (
    changed_after_its_use,
    returned_early_where_none,
    asserted,
    chosen,
    asked_twice,
    asked_by_or,
    replaced_in_a_branch,
    replaced_in_an_expression,
    replaced_by_or,
    filtered,
    list_or_default,
    list_replaced,
    within_a_list,
    added_to_a_snapshot,
    returned_from_an_ordinary_loop,
    broken_off,
    broken_off_or_returned,
)


@pytest.mark.parametrize("made", PIPELINES, ids=lambda made: made.name)
def test_it_means_what_python_means(made):
    spec = made.spec
    assert load_spec(spec.model_dump_json()) == spec
    for n in range(6):
        assert predict(made.define(), {"n": n}).result == made(n), n


def turning(turns: int):
    @pipeline
    def turned(n: int) -> int:
        for i in range(turns):
            y = one(i)
            if y == n:
                return inc(i)
        return one(0)

    return turned


def test_a_return_in_an_ordinary_loop_grows_with_its_turns_only():
    assert len(turning(20).spec.model_dump_json()) < 3 * len(turning(10).spec.model_dump_json())


# --- what is refused --------------------------------------------------------------------------------------------------


def item_returned(n: int) -> int:
    with flow.ForEach(ints(n)) as x:
        a = one(x)
    return a


def gone_through_while_it_grows(n: int) -> int:
    out = [one(0)]
    for y in out:
        if y < 3:
            out.append(inc(y))
    return total(out)


def cleaned_up(n: int) -> int:
    try:
        y = one(n)
    finally:
        inc(n)
    return y


@pipeline(timeout=60, on_exit=one.with_options(name="last"))
def with_an_end(x: int) -> int:
    return one(x)


def nested(n: int) -> int:
    return with_an_end(n)


def changed_after_a_decision(n: int) -> int:
    a = [1]
    b = [2]
    use = a if one(n) > 2 else b
    a.append(one(7))
    return total(use)


def put(into: dict[str, int]) -> None:
    into["x"] = 1


def changed_by_a_helper(n: int) -> int:
    d: dict[str, int] = {}
    if one(n) > 2:
        put(d)
    return one(len(d))


def changed_by_a_helper_in_a_loop(n: int) -> int:
    d: dict[str, int] = {}
    for _ in ints(n):
        put(d)
    return one(len(d))


@pytest.mark.parametrize(
    ("function", "code"),
    [
        (item_returned, "P314"),
        (gone_through_while_it_grows, "P313"),
        (cleaned_up, "P309"),
        (nested, "P216"),
        (changed_after_a_decision, "P203"),
        (changed_by_a_helper, "P315"),
        (changed_by_a_helper_in_a_loop, "P315"),
    ],
)
def test_it_is_refused(function, code):
    with pytest.raises(DefinitionError) as caught:
        pipeline(function)
    assert [each.code for each in caught.value.diagnostics] == [code]
    assert all(each.location and each.fix for each in caught.value.diagnostics)
