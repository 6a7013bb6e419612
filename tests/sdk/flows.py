"""Pipelines with control flow, each of one whole number. Plain Python says what each of them means."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

from penstock import flow, pipeline, step


@dataclass
class Score:
    value: int
    tags: list[str] = field(default_factory=list)


class Pair(NamedTuple):
    low: int
    high: int


class Parity(enum.Enum):
    EVEN = 0
    ODD = 1


@step
def parity(n: int) -> Parity | None:
    return Parity(n % 2) if n else None


@step
def number(n: int) -> int:
    return n


@step
def upto(n: int) -> list[int]:
    return list(range(n))


@step
def add(one: int, two: int) -> int:
    return one + two


@step
def total(values: list[int]) -> int:
    return sum(values)


@step
def totals(rows: list[list[int]]) -> list[int]:
    return [sum(row) for row in rows]


@step
def score(n: int) -> Score:
    return Score(n, ["even"] if n % 2 == 0 else [])


@step
def maybe(n: int) -> Score | None:
    return Score(n) if n > 1 else None


@step
def table(n: int) -> dict[str, int]:
    return {f"k{key}": key for key in range(n)}


@step
def pair(n: int) -> Pair:
    return Pair(n, n + 1)


@step
def both(n: int) -> tuple[int, str]:
    return n, f"<{n}>"


@step
def text(said: str) -> str:
    return said


@step
def joined(parts: list[str]) -> str:
    return ",".join(parts)


@step
def size(rows: dict[str, int]) -> int:
    return sum(rows.values()) + 100 * len(rows)


@step
def different(values: set[int]) -> int:
    return len(values)


@step
def anything(value: object) -> str:
    return repr(value)


@step
def note(n: int) -> None: ...


# --- branches ---------------------------------------------------------------------------------------------------------


@pipeline
def elif_chain(n: int) -> int:
    y = number(n)
    if y > 3:
        found = add(y, 10)
    elif y > 2:
        found = add(y, 20)
    elif y == 1:
        found = y
    else:
        found = number(0)
    return add(found, 1)


@pipeline
def bound_before(n: int) -> int:
    found = number(n)
    if found > 2:
        found = add(found, 10)
    return add(found, 1)


@pipeline
def nested_branches(n: int) -> int:
    y = number(n)
    if y > 1:
        if y > 2:
            found = add(y, 10)
        else:
            found = 5
        if y == 4:
            found = add(found, 100)
    else:
        found = number(-1)
    return add(found, 1)


@pipeline
def constants(n: int) -> str:
    name, bound = "small", 1
    if number(n) > 2:
        name, bound = "large", 2
    return text(f"{name} {bound}")


@pipeline
def conditional_expression(n: int) -> int:
    y = number(n)
    return add(y if y > 2 else 7, number(1) if y else add(y, 50))


@pipeline
def unused(n: int) -> int:
    if number(n) > 2:
        note(n)
    else:
        pass
    return number(n)


@pipeline
def on_a_parameter(n: int) -> int:
    return add(n, 1) if n > 2 else number(0)


@pipeline
def ordinary(n: int) -> int:
    found = number(n)
    if len("abc") == 3:
        found = add(found, 1)
    else:
        found = add(found, 1000)
    return found


# --- return -----------------------------------------------------------------------------------------------------------


@pipeline
def early_return(n: int) -> int:
    y = number(n)
    if y > 3:
        return add(y, 100)
    z = add(y, 1)
    if z == 3:
        return z
    return add(z, 1000)


@pipeline
def return_in_part(n: int) -> int:
    y = number(n)
    if y > 1:
        if y > 2:
            return add(y, 10)
        y = add(y, 5)
    else:
        y = add(y, 7)
    return add(y, 1)


@pipeline
def return_in_each_arm(n: int) -> int:
    y = number(n)
    if y > 2:
        return add(y, 1)
    elif y > 1:
        return add(y, 2)
    else:
        return y


@pipeline
def return_none(n: int) -> int | None:
    if number(n) > 2:
        return number(n)
    return None


@pipeline
def return_nothing(n: int) -> None:
    if number(n) > 2:
        return
    note(n)


@pipeline
def falls_off(n: int) -> int | None:
    if number(n) > 2:
        return number(n)


@pipeline
def return_in_an_ordinary_loop(n: int) -> int:
    for limit in (1, 2, 3):
        y = add(limit, n)
        if y > 5:
            return y
    return number(-1)


# --- conditions -------------------------------------------------------------------------------------------------------


@pipeline
def logic(n: int) -> str:
    y = number(n)
    ok = (y > 1 and add(y, 1) < 5) or not y
    z = number(5) if ok else add(y, 50)
    return text(f"{z} {1 < y < 4} {y in [1, 2]} {y not in (1, 2)} {ok}")


@pipeline
def values_of_and_or(n: int) -> str:
    y = number(n)
    return anything([y and 7, y or "none", y > 2 and y, not y, 0 or y, None and y, y or upto(2)])


@pipeline
def chain_with_steps(n: int) -> int:
    return number(1) if 0 < number(n) < add(n, -1) or 3 <= n <= 3 else number(2)


@pipeline
def membership(n: int) -> int:
    y = number(n)
    names = table(n)
    if "k1" in names and y in upto(4):
        return size(names)
    return y


@pipeline
def equality(n: int) -> int:
    if score(n) == Score(3, []) or score(n) != Score(2, ["even"]):
        return number(1)
    return number(2)


@pipeline
def lengths(n: int) -> int:
    rows = upto(n)
    if len(rows) > 2 and rows[0] == 0:
        return total(rows)
    return add(len(rows), 10)


@pipeline
def truth_of_a_record(n: int) -> int:
    return number(1) if score(n).tags else number(2)


@pipeline
def ordinary_logic(n: int) -> int:
    given = [] or [1, 2]
    return add(number(n), len(given) if given and not None else 0)


# --- narrowing --------------------------------------------------------------------------------------------------------


@pipeline
def is_not_none(n: int) -> int:
    found = maybe(n)
    if found is not None:
        return add(found.value, 1)
    return number(-1)


@pipeline
def returned_where_none(n: int) -> int:
    found = maybe(n)
    if found is None:
        return number(-1)
    return add(found.value, 1)


@pipeline
def by_truth(n: int) -> int:
    found = maybe(n)
    return add(found.value, 1) if found else number(-1)


@pipeline
def with_more(n: int) -> int:
    found = maybe(n)
    if found is not None and found.value > 2:
        return add(found.value, 1)
    return number(-1)


@pipeline
def none_of_several(n: int) -> int:
    one, two = maybe(n), maybe(add(n, -1))
    if one is None or two is None:
        return number(-1)
    return add(one.value, two.value)


@pipeline
def none_at_first(n: int) -> int:
    found = None
    for each in (1, 2):
        found = number(each) if found is None else found
    return add(found or 0, n)


@pipeline
def kept_in_a_list(n: int) -> int:
    found = [number(n), None]
    return total([each for each in found if each is not None])


# --- loops ------------------------------------------------------------------------------------------------------------


@pipeline
def filtered(n: int) -> int:
    found = []
    for x in upto(n):
        if x == 1:
            continue
        found.append(add(x, 1))
        if x > 2:
            found.append(number(x))
    return total(found)


@pipeline
def nested_loops(n: int) -> str:
    found = [number(7)]
    for x in upto(n):
        found.append(x)
        for y in upto(x):
            found.append(add(x, y))
    found.append(number(8))
    return anything(found)


@pipeline
def branches_in_loops(n: int) -> str:
    found = []
    for x in upto(n):
        if x > 1:
            if x == 3:
                said = text("three")
            else:
                said = text(f"more {x}")
        else:
            said = "few"
        found.append(text(said))
    return joined(found)


@pipeline
def loops_in_branches(n: int) -> int:
    found = []
    if number(n) > 2:
        for x in upto(n):
            found.append(add(x, 1))
    else:
        found.append(number(9))
    return total(found)


@pipeline
def over_a_parameter(n: list[int]) -> int:
    return total([add(x, 1) for x in n])


@pipeline
def zipped(n: int) -> int:
    return total([add(x, y) for i, (x, y) in enumerate(zip(upto(n), upto(add(n, 1)))) if i > 0])


@pipeline
def enumerated_from(n: int) -> int:
    return total([add(i, x) for i, x in enumerate(upto(n), 5)])


@pipeline
def zipped_with_ordinary(n: int) -> str:
    return joined([text(f"{name}{x}") for name, x in zip(["a", "b", "c"], upto(n))])


@pipeline
def ranged(n: int) -> int:
    last = number(n)
    return total([add(i, 1) for i in range(last)] + [add(i, 0) for i in range(1, last)] + [last])


@pipeline
def views(n: int) -> str:
    rows = table(n)
    keys = [text(key) for key in rows]
    more = [text(key) for key in rows.keys()]
    values = [add(value, 1) for value in rows.values()]
    items = [text(f"{key}={value}") for key, value in rows.items()]
    return anything([keys, more, values, items])


@pipeline
def listed(n: int) -> int:
    rows = list(upto(n))
    return total(rows)


@pipeline
def unpacked(n: int) -> str:
    one, said = both(n)
    low, high = pair(one)
    return text(f"{low} {high} {said}")


@pipeline
def fixed_items(n: int) -> int:
    found = 0
    for each in pair(n):
        found = add(found, each)
    return found


@pipeline
def fields_of_items(n: int) -> int:
    scores = [score(x) for x in upto(n)]
    return total([add(each.value, 1) for each in scores if each.value > 0])


@pipeline
def nothing_collected(n: int) -> int:
    for x in upto(n):
        if score(x).value > 1:
            note(x)
    return number(n)


@pipeline
def carried_in_an_ordinary_loop(n: int) -> int:
    found = number(n)
    for each in (1, 2, 3):
        found = add(found, each)
    return found


@pipeline
def deferred_break(n: int) -> int:
    best = number(0)
    for each in (1, 2, 3):
        best = add(each, n)
        if best > 4:
            break
    else:
        best = add(best, 100)
    return add(best, 0)


@pipeline
def deferred_continue(n: int) -> int:
    found = number(0)
    for each in (1, 2, 3):
        y = add(each, n)
        if y == 4:
            continue
        found = add(found, y)
    return found


@pipeline
def a_name_that_one_jump_passes_over(n: int) -> int:
    found = []
    for x in upto(n):
        if x:
            if x == 1:
                kept = number(3)
            elif x == 2:
                kept = None
            elif x == 3:
                continue
            else:
                kept = add(x, 1)
            if kept is not None:
                found.append(add(kept, x))
        found.append(x)
    return total(found)


@pipeline
def a_name_that_a_break_passes_over(n: int) -> int:
    y, last = number(n), 0
    for each in range(3):
        if y >= each:
            if y == 1:
                kept = number(3)
            elif y < 4:
                kept = number(each)
            else:
                break
            last = add(kept, each)
        y = add(y, last)
    return add(y, last)


@pipeline
def a_name_that_an_error_passes_over(n: int) -> int:
    y = number(n)
    if y < 100:
        if y == 1:
            kept = number(3)
        elif y < 50:
            kept = number(4)
        else:
            raise ValueError(y)
        y = add(kept, y)
    return add(y, 1)


# --- comprehensions ---------------------------------------------------------------------------------------------------


@pipeline
def filters(n: int) -> int:
    return total([add(x, 1) for x in upto(n) if x > 0 if x != 2])


@pipeline
def two_loops(n: int) -> int:
    return total([add(x, y) for x in upto(n) if x for y in upto(x) if y < 2])


@pipeline
def rows_of_rows(n: int) -> int:
    rows = [[add(x, y) for y in upto(2)] for x in upto(n)]
    return add(total([total(row) for row in rows]), total(totals(rows)))


@pipeline
def as_set(n: int) -> int:
    return different({add(x, 0) for x in upto(n)})


@pipeline
def as_dict(n: int) -> int:
    return size({key: add(value, 1) for key, value in table(n).items() if key != "k0"})


@pipeline
def as_generator(n: int) -> int:
    return total(list(add(x, 1) for x in upto(n)))


@pipeline
def choosing(n: int) -> int:
    return total([x if x > 1 else number(9) for x in upto(n)])


@pipeline
def without_steps(n: int) -> str:
    return anything([(x, f"{x:03}") for x in upto(n)])


@pipeline
def ordinary_comprehensions(n: int) -> int:
    return total([add(x, n) for x in range(3) if x != 1])


# --- lists that grow --------------------------------------------------------------------------------------------------


@pipeline
def in_a_branch(n: int) -> str:
    found = [number(0)]
    if number(n) > 2:
        found.append(number(1))
        found += [number(2), n]
    else:
        found.extend(upto(n))
    found.append(number(3))
    return anything(found)


@pipeline
def in_several_loops(n: int) -> str:
    found: list[int] = []
    for x in upto(n):
        found.append(x)
    for x in upto(n):
        if x > 1:
            found.extend(upto(x))
    return anything({"found": found, "first": [found, n]})


@pipeline
def made_in_the_loop(n: int) -> str:
    rows = []
    for x in upto(n):
        row = [x]
        for y in upto(x):
            row.append(add(x, y))
        rows.append(row)
    return anything(rows)


@pipeline
def several_at_once(n: int) -> str:
    small, large = [], []
    for x in upto(n):
        if x > 2:
            large.append(x)
        else:
            small += [x, number(0)]
    return anything((small, large))


@pipeline
def made_of_others(n: int) -> str:
    first = [number(1)]
    found = first + [number(2)]
    if number(n) > 2:
        found.append(number(3))
    return anything([first, found])


@pipeline
def changed_where_it_was_made(n: int) -> str:
    found = []
    for x in upto(n):
        row = {"x": x}
        row.update(y=add(x, 1))
        row["z"] = 3
        found.append(anything(row))
    return joined(found)


@pipeline
def compared_lists(n: int) -> int:
    found = [add(x, 1) for x in upto(n)]
    if found == [1, 2] or [number(n)] == [4] or 5 in (number(n), 7):
        return number(1)
    return number(2)


@pipeline
def by_a_function_inside(n: int) -> str:
    found: list[int] = []

    def keep(value: int) -> None:
        found.append(value)

    for x in upto(n):
        if x != 1:
            keep(x)
    return anything(found)


@pipeline
def gone_through_again(n: int) -> int:
    once = [add(x, 1) for x in upto(n)]
    twice = [add(x, 1) for x in once]
    if len(twice) > 2:
        twice.append(number(100))
    return total(twice)


@pipeline
def grown_then_asked(n: int) -> int:
    found = []
    for x in upto(n):
        if x > 1:
            found.append(x)
    if found:
        return total(found)
    return number(-1)


@pipeline
def items_and_slices(n: int) -> list[int]:
    found = [number(5)]
    for x in upto(n):
        if x != 1:
            found.append(add(x, 1))
    first, last = found[0], found[-1]
    found.append(last)
    rows = [score(x) for x in found[1:]]
    some = []
    some.extend(upto(n)[:-1])
    some += found[: number(2)]
    if number(n) > 2:
        some.append(rows[0].value)
        some.append(add(first, found[2]))
        some += [len(each.tags) for each in rows[-2:]]
    return [first, last, len(found), total(found[1:-1]), total(some[::2]), found[-2]]


# --- text -------------------------------------------------------------------------------------------------------------


@pipeline
def formatted(n: int) -> str:
    y = number(n)
    width = number(6)
    shown = [repr([add(x, 1) for x in upto(n)]), repr([y]), repr("plain")]
    return text(
        f"{shown[0]}{shown[1]}{y!r:>5}|{y:03d}|{both(n)[1]!s}|{score(n).value:>{width}}|{'plain'}|{n}|{joined(shown)}"
    )


# --- nested pipelines -------------------------------------------------------------------------------------------------


@pipeline
def inner(n: int) -> int:
    if n > 2:
        return number(n)
    return add(n, 100)


@pipeline
def several(n: int) -> list[int]:
    return [add(x, 1) for x in upto(n)]


@pipeline
def pipelines_in_loops(n: int) -> int:
    return total([inner(x) for x in upto(n)])


@pipeline
def pipelines_in_branches(n: int) -> int:
    found = several(n)
    if inner(n) > 50:
        found = several(2)
    return total([inner(x) for x in found])


@pipeline
def called_again(n: int) -> int:
    return add(inner(n), inner(1))


# --- gates ------------------------------------------------------------------------------------------------------------


@pipeline
def asserted(n: int) -> int:
    y = number(n)
    assert y >= 0, f"{y} is below nothing"
    found = maybe(add(y, 2))
    assert found is not None
    return add(found.value, 1)


@pipeline
def asserted_in_parts(n: int) -> int:
    found = []
    for x in upto(n):
        assert x < 100
        found.append(add(x, 1))
    if number(n) > 2:
        assert len(found) > 2, "too few"
    return total(found)


@pipeline
def raised_in_a_branch(n: int) -> int:
    y = number(n)
    if y > 100:
        raise ValueError(f"too large: {y}")
    return add(y, 1)


@pipeline
def told_by_identity(n: int) -> int:
    found = parity(n)
    if found is Parity.ODD:
        return number(1)
    return number(2) if found is not Parity.EVEN or (number(n) > 2) is True else number(3)


@pipeline
def copied_and_added_to(n: int) -> int:
    grown = [add(x, 1) for x in upto(n)]
    more = list(grown)
    more.append(7)
    several: list[int] = list(upto(n))
    if n > 2:
        several.extend(more)
    keys, last = list(table(n)), list(upto(n))
    keys += ["last"]
    return total([total(grown), total(more), total(several), len(joined(keys)), add(n, last[0]) if n else 0])


@pipeline
def sets_and_dicts_of_lists(n: int) -> str:
    pairs = [(f"k{x}", add(x, 1)) for x in upto(n)]
    low, high = tuple(pair(n))
    fixed = [tuple(number(x) for x in upto(n)), tuple(pairs), frozenset(upto(n))]
    return anything([set(upto(n)), set(pairs), dict(pairs), dict(table(n)), dict(a=number(n)), low, high, fixed])  # noqa: C408  # told apart


@pipeline
def named_in_conditions(n: int) -> int:
    if (y := number(n)) > 1:
        y = add(y, 1)
    if (z := number(n)) < 0:
        raise ValueError
    kept = [w for x in upto(n) if (w := add(x, y)) in upto(9)]
    if 2 in (xs := upto(n)) and 1 < len(xs) < 9:
        return total(xs)
    return total([y, z, total(kept)])


# --- the explicit forms -----------------------------------------------------------------------------------------------


@pipeline
def bounded(n: int) -> int:
    return total([add(x, 1) for x in flow.parallel(upto(n), 2)])


@pipeline
def returned_in_the_middle(n: int) -> tuple[int, list[int]]:
    y = number(n)
    if y > 3:
        found = add(y, 10)
    elif y > 2:
        return 1, []
    elif y > 1:
        return 2, [1]
    else:
        found = number(5)
    return add(found, 1), [found]


@pipeline
def a_list_of_values_read_in_a_branch(n: int) -> str:
    y = number(n)
    found = [y, 1]
    for _ in range(2):
        found.append(y)
    if y > 1 and len(found) > 3:
        found.append(number(len(found)))
    return text(f"{[y, {'y': y}]!r} of {found}")


@pipeline
def keys_that_are_values(n: int) -> int:
    rows = {name: add(n, number(len(name))) for name in (text("a"), text("bc"))}
    return size(rows)


@pipeline
def an_ordinary_list_gone_through_in_a_loop(n: int) -> int:
    steps = [1, 2]
    steps += [3]
    found = []
    for x in upto(n):
        for one in steps:
            found.append(add(x, one))
    if n > 2:
        steps.append(4)
    found.append(total(steps))
    return total(found)


@pipeline
def bound_after_an_elif_that_returns(n: int) -> int:
    value = number(n)
    if value > 4:
        found = number(5)
    else:
        if value == 0:
            number(6)
        elif value == 1:
            number(7)
        else:
            return 8
        found = 9
    return found


PLAIN = [each for name, each in list(globals().items()) if type(each).__name__ == "Pipeline" and name != "inner"]
"""Those that plain Python can run."""


@pipeline
def explicit_branches(n: int) -> int:
    y = number(n)
    with flow.If(y > 3):
        a = add(y, 1)
    with flow.Elif(y > 1):
        b = add(y, 2)
        with flow.If(y == 2):
            note(y)
    with flow.Else():
        c = number(9)
    return flow.one_of(a, b, c)


@pipeline
def explicit_conditions_of_steps(n: int) -> int:
    with flow.If(number(n) > 3):
        a = add(n, 1)
    with flow.Elif(add(number(n), 1) > 3):
        b = add(n, 2)
    with flow.Elif(number.with_options(after=number(n))(n) == 1):
        c = add(n, 3)
    with flow.Else():
        d = number(9)
    return flow.one_of(a, b, c, d)


@pipeline
def explicit_loops(n: int) -> int:
    with flow.ForEach(upto(n), parallelism=2) as x:
        with flow.ForEach(upto(x)) as y:
            z = add(x, y)
        w = add(x, 1)
    return add(total(flow.collect(z)), total(flow.collect(w)))


@pipeline
def explicit_filter(n: int) -> int:
    with flow.ForEach(upto(n)) as x:
        with flow.If(x > 1):
            z = add(x, 1)
    return total(flow.collect(z))


@pipeline
def explicit_gate(n: int) -> int:
    y = number(n)
    flow.gate(y >= 0, "below nothing")
    return add(y, 1)


def guarded(value: int) -> int:
    with flow.If(value > 3):
        large = add(value, 10)
    with flow.Elif(value > 1):
        medium = add(value, 20)
    with flow.Else():
        small = number(3)
    return flow.one_of(large, medium, small)


@pipeline
def explicit_choice_in_a_loop(n: int) -> str:
    with flow.ForEach(upto(n)) as x:
        found = guarded(x)
        with flow.ForEach(upto(x)) as y:
            more = add(x, y)
        inner = total(flow.collect(more))
    return anything([flow.collect(found), flow.collect(inner), flow.collect(more)])


def choices(n: int) -> str:
    found = [x + 10 if x > 3 else x + 20 if x > 1 else 3 for x in range(n)]
    return repr([found, [sum(x + y for y in range(x)) for x in range(n)], [x + y for x in range(n) for y in range(x)]])


EXPLICIT = {
    explicit_choice_in_a_loop: choices,
    explicit_branches: lambda n: n + 1 if n > 3 else n + 2 if n > 1 else 9,
    explicit_conditions_of_steps: lambda n: n + 1 if n > 3 else n + 2 if n + 1 > 3 else n + 3 if n == 1 else 9,
    explicit_loops: lambda n: sum(x + y for x in range(n) for y in range(x)) + sum(x + 1 for x in range(n)),
    explicit_filter: lambda n: sum(x + 1 for x in range(n) if x > 1),
    explicit_gate: lambda n: n + 1,
}
"""Those that have no meaning in plain Python, and what they are to give."""
