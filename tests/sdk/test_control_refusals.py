"""What of Python's control flow cannot be carried over is refused where it stands, with what to write instead."""

from __future__ import annotations

import pytest

from penstock import DefinitionError, RunStatus, flow, pipeline, step
from tests.sdk.flows import Score, add, anything, maybe, note, number, score, text, total, upto


@step
def kinds(n: int) -> set[int]:
    return {n}


def helper(value: object) -> int:
    return 1 if value else 2  # here


# --- statements that have no counterpart ------------------------------------------------------------------------------


def a_while(n: int) -> int:
    y = number(n)
    while y > 1:  # here
        y = add(y, -1)
    return y


def a_while_with_a_break(n: int) -> int:
    while True:  # here
        y = number(n)
        if y > 1:
            break
    return y


def a_match(n: int) -> int:
    y = number(n)
    match y:  # here
        case 1:
            return number(2)
    return y


def a_generator(n: int) -> int:
    yield number(n)  # here


async def a_coroutine(n: int) -> int:  # here
    return number(n)


def a_return_in_finally(n: int) -> int:
    try:
        y = number(n)
    finally:
        return y  # here  # noqa: B012  # what is refused


def a_try(n: int) -> int:
    try:
        y = number(n)  # here
    except ValueError:
        y = number(1)
    return y


def a_deletion(n: int) -> int:
    y = upto(n)
    del y[0]  # here
    return total(y)


# --- what would need one item to know of another ----------------------------------------------------------------------


def carried(n: int) -> int:
    found = number(0)
    for x in upto(n):
        found = add(found, x)  # here
    return found


def carried_and_added(n: int) -> int:
    count = 0
    for _ in upto(n):
        count += 1  # here
    return number(count)


def read_after_the_loop(n: int) -> int:
    for x in upto(n):
        found = add(1, x)
    return found  # here


def the_target_after_the_loop(n: int) -> int:
    for x in upto(n):
        note(x)
    return number(x)  # here


def returned_in_a_loop(n: int) -> int:
    for x in upto(n):  # here
        if x > 2:
            return x
    return number(1)


def broken_off(n: int) -> int:
    found = []
    for x in upto(n):  # here
        if x > 2:
            break
        found.append(x)
    return total(found)


def grown_after_a_merge(n: int) -> int:
    ys: list[int] = []
    zs = [number(1)]
    if number(n) > 1:
        m = ys
    else:
        m = zs
    for x in upto(n):
        ys.append(number(x))  # here
    return total(m)


def read_while_it_grows(n: int) -> int:
    found = []
    for x in upto(n):
        found.append(add(total(found), x))  # here
    return total(found)


def counted_while_it_grows(n: int) -> int:
    found = []
    for x in upto(n):
        found.append(add(x, len(found)))  # here
    return total(found)


def gone_through_while_it_grows(n: int) -> int:
    found = [1]
    for x in upto(n):
        for one in found:
            note(one)
        found.append(x)  # here
    return total(found)


def of_another_item(n: int) -> int:
    with flow.ForEach(upto(n)) as x:
        y = number(x)
    return add(y, 1)  # here


# --- names and objects ------------------------------------------------------------------------------------------------


def bound_in_one_branch(n: int) -> int:
    y = number(n)
    if y > 1:
        z = add(y, 1)
    return z  # here


def passed_over_by_a_jump(n: int) -> int:
    y = number(n)
    for each in (1, 2):
        if y == each:
            z = number(1)
        elif y > each:
            z = number(2)
        else:
            continue
        y = add(y, z)
    return add(z, 1)  # here


def passed_over_by_another_jump(n: int) -> int:
    y = number(n)
    for each in (1, 2):
        if y == 9:
            break
        if y == each:
            z = number(1)
        elif y > each:
            z = number(2)
        else:
            continue
        y = add(y, z)
    else:
        y = add(z, 1)  # here
    return y


def asked_where_it_may_be_unbound(n: int) -> int:
    y = number(n)
    if y > 1:
        z = add(y, 1)
    if z > 2:  # here
        return y
    return number(1)


def functions_in_arms(n: int) -> int:
    made = number if number(n) > 1 else total
    return made(n)


def changed_dict(n: int) -> int:
    rows = {"a": 1}
    if number(n) > 1:
        rows["a"] = 2  # here
    return number(rows["a"])


def changed_record(n: int) -> int:
    given = Score(1)
    if number(n) > 1:
        given.value = 3  # here
    return number(given.value)


def item_of_a_list_that_grows(n: int) -> int:
    found = [number(n)]
    for x in upto(n):
        found.append(add(x, 1))
        note(found[0])  # here
    return total(found)


def item_past_the_end(n: int) -> int:
    found = []
    if number(n) > 2:
        found.append(number(n))
        note(found[1])  # here
    return total(found)


def grown_list_unpacked(n: int) -> int:
    found = [add(x, 1) for x in upto(n)]
    return total([*found, 1])  # here


def grown_list_as_text(n: int) -> str:
    found = [add(x, 1) for x in upto(n)]
    return text(",".join(found))  # here


def grown_list_as_str(n: int) -> str:
    found = [add(x, 1) for x in upto(n)]
    return text(str(found))  # here


def grown_list_popped(n: int) -> int:
    found = [add(x, 1) for x in upto(n)]
    found.pop()  # here
    return total(found)


# --- values -----------------------------------------------------------------------------------------------------------


def of_a_class(n: int) -> int:
    y = maybe(n)
    if isinstance(y, Score):  # here
        return number(1)
    return number(2)


def of_a_type(n: int) -> int:
    return number(1) if type(number(n)) == int else number(2)  # here  # noqa: E721  # what is refused


def summed(n: int) -> int:
    return number(sum(upto(n)))  # here


def any_of_a_loop(n: int) -> int:
    return number(1) if any(x > 1 for x in upto(n)) else number(2)  # here


def as_a_dict(n: int) -> str:
    return anything(dict(upto(n)))  # here


def named_where_it_may_not_be_reached(n: int) -> int:
    if number(n) > 1 and (y := number(n)) > 2:  # here
        return y
    return number(3)


def named_in_one_of_two(n: int) -> int:
    return (y := number(n)) if number(n) > 1 else number(3)  # here  # noqa: F841  # what is refused


def named_in_a_chain(n: int) -> int:
    return number(1) if number(n) < 3 < (y := number(5)) else number(3)  # here  # noqa: F841  # what is refused


def named_for_each(n: int) -> int:
    found = [y for x in upto(n) if (y := number(x)) > 1]  # here
    return add(total(found), y)


def in_order(n: int) -> int:
    return total([number(x) for x in sorted(upto(n))])  # here


def items_of_a_set(n: int) -> int:
    return total([number(x) for x in kinds(n)])  # here


def items_of_a_number(n: int) -> int:
    return total([number(x) for x in number(n)])  # here


def one_and_the_same(n: int) -> int:
    return number(1) if number(n) is number(2) else number(2)  # here


def without_an_order(n: int) -> int:
    return number(1) if score(n) > 0.5 else number(2)  # here


def calculated(n: int) -> int:
    return number(1) if number(n) + 1 > 3 else number(2)  # here


def in_a_helper(n: int) -> int:
    return number(helper(number(n)))


def in_a_lambda(n: int) -> int:
    choose = lambda value: 1 if value > 1 else 2  # here  # noqa: E731  # what is refused
    return number(choose(number(n)))


def perhaps_none(n: int) -> int:
    found = maybe(n)
    return anything_scored(found)  # here


@step
def anything_scored(found: Score) -> int:
    return found.value


def a_set_of_results(n: int) -> str:
    return anything({number(n)})  # here


def looked_up(n: int) -> int:
    return number({1: 2}[number(n)])  # here


def got(n: int) -> int:
    return number({1: 2}.get(number(n), 3))  # here


def updated_dict(n: int) -> int:
    rows = {"a": 1}
    if number(n) > 1:
        rows.update(a=2)  # here
    return number(rows["a"])


def merged_dict(n: int) -> int:
    rows = {"a": 1}
    if number(n) > 1:
        rows |= {"a": 2}  # here
    return number(rows["a"])


def added_to_a_set(n: int) -> int:
    seen = {1}
    for _ in upto(n):
        seen.add(2)  # here
    return number(len(seen))


def appended_to_a_field(n: int) -> int:
    given = Score(1)
    for _ in upto(n):
        given.tags.append("x")  # here
    return number(len(given.tags))


def appended_to_an_item(n: int) -> int:
    rows: dict[str, list[int]] = {"a": []}
    for x in upto(n):
        rows["a"].append(x)  # here
    return total(rows["a"])


# --- the explicit forms -----------------------------------------------------------------------------------------------


def else_without_if(n: int) -> int:
    with flow.Else():  # here
        note(1)
    return number(n)


def elif_without_if(n: int) -> int:
    note(2)
    with flow.Elif(number(n) > 1):  # here
        note(1)
    return number(n)


def elif_of_what_the_arm_gives(n: int) -> int:
    with flow.If(number(n) > 1):
        y = number(1)
    with flow.Elif(add(y, 1) > 1):  # here
        note(1)
    return number(n)


def one_of_too_few(n: int) -> int:
    with flow.If(number(n) > 1):
        a = number(1)
    with flow.Else():
        note(2)
    return flow.one_of(a, number(3))  # here


def one_of_constants(n: int) -> int:
    return flow.one_of(1, number(n))  # here


def collected_constant(n: int) -> int:
    return total(flow.collect(3))  # here


REFUSED = {
    a_while: ("P310", "`while` depends on `number`'s result > 1, which is known only", "repeat inside a step"),
    a_while_with_a_break: ("P310", "`while` depends on whether `break` was reached", "repeat inside a step"),
    a_match: ("P310", "`match` depends on `number`'s result", "write `if` and `elif`"),
    a_return_in_finally: ("P310", "`return` in a `finally` block", "after the `try`"),
    a_try: ("P309", "`try` catches nothing of the steps in it", "`retry=`"),
    a_deletion: ("P306", "an item of `upto`'s result is deleted", "make a new one in a step"),
    carried: ("P312", "`found` would be carried from one item to the next", "in a list"),
    carried_and_added: ("P312", "`count` would be carried from one item to the next", "in a list"),
    read_after_the_loop: ("P312", "`found` is bound in the body of a loop", "`xs.append(found)`"),
    the_target_after_the_loop: ("P312", "`x` is bound in the body of a loop", "`xs.append(x)`"),
    returned_in_a_loop: ("P316", "`return` in a loop over `upto`'s result", "after the loop"),
    broken_off: ("P316", "`break` in a loop over `upto`'s result", "after the loop"),
    grown_after_a_merge: ("P313", "after a branch has decided between it and another", "keep the two apart"),
    read_while_it_grows: ("P313", "the list is read in the loop that adds to it", "after the loop"),
    counted_while_it_grows: ("P313", "", ""),
    gone_through_while_it_grows: ("P313", "the list is read in the loop that adds to it", "after the loop"),
    of_another_item: ("P314", "`number`'s result is of one item of a loop", "`xs.append(x)`"),
    bound_in_one_branch: ("P312", "`z` is read, but bound in one branch only", "in both branches"),
    passed_over_by_a_jump: ("P312", "`z` is read, but bound in one branch only", "in both branches"),
    passed_over_by_another_jump: ("P312", "`z` is read, but bound in one branch only", "in both branches"),
    asked_where_it_may_be_unbound: ("P312", "`z` is read, but bound in one branch only", "in both branches"),
    changed_dict: ("P315", "a dict is changed in a branch", "bind a name instead"),
    changed_record: ("P315", "a Score is changed in a branch", "bind a name instead"),
    item_of_a_list_that_grows: ("P203", "the list is read in the loop that adds to it", "after the loop"),
    item_past_the_end: ("P303", "a list has no item 1: it holds 1 there", "one that it has"),
    grown_list_unpacked: ("P313", "the items are gone through", "with `for`"),
    grown_list_as_text: ("P313", "the items are gone through", "with `for`"),
    grown_list_as_str: ("P313", "the text is made of a list that a loop or branch fills", "pass the list whole"),
    grown_list_popped: ("P313", "an item is popped of a list that a loop", "`append` and `extend` only"),
    of_a_class: ("P309", "`isinstance()` asks for `maybe`'s result", "in a step"),
    of_a_type: ("P309", "`type()` asks for `number`'s result", "in a step"),
    summed: ("P309", "`sum()` asks for `upto`'s result", "in a step"),
    any_of_a_loop: ("P309", "`any()` asks for a list that a loop or branch fills", "in a step"),
    as_a_dict: ("P309", "`dict()` asks for `upto`'s result", "in a step"),
    named_where_it_may_not_be_reached: ("P310", "`:=` is reached depends on `number`'s result > 1", "of its own"),
    named_in_one_of_two: ("P310", "`:=` is reached depends on `number`'s result > 1", "of its own"),
    named_in_a_chain: ("P310", "`:=` is reached depends on `number`'s result", "of its own"),
    named_for_each: ("P310", "`:=` is reached depends on `upto`'s result", "of its own"),
    in_order: ("P309", "`sorted()` asks for `upto`'s result", "in a step"),
    items_of_a_set: ("P318", "`kinds`'s result is a set, which has no order", "`sorted(...)`"),
    items_of_a_number: ("P318", "`number`'s result is an int, which is no list", "return a list"),
    one_and_the_same: ("P309", "`is` asks whether `number`'s result is one and the same", "compare with `==`"),
    without_an_order: ("P311", "`>` compares", "a field of it"),
    calculated: ("P308", "`+` is applied to `number`'s result", "calculate in a step"),
    in_a_helper: ("P301", "`number`'s result is used as a truth value", "in the pipeline's own function"),
    in_a_lambda: ("P301", "`number`'s result > 1 is used as a truth value", "in the pipeline's own function"),
    perhaps_none: ("P204", "takes Score, but `maybe`'s result is Score | None", "annotate"),
    a_set_of_results: ("P319", "`number`'s result is used as a key or put into a set", "in a step"),
    looked_up: ("P319", "`number`'s result is used as a key", "in a step"),
    got: ("P319", "`number`'s result is used as a key", "in a step"),
    updated_dict: ("P315", "a dict is changed in a branch", "bind a name instead"),
    merged_dict: ("P315", "a dict is changed in a branch", "bind a name instead"),
    added_to_a_set: ("P315", "a set is changed in a branch", "bind a name instead"),
    appended_to_a_field: ("P315", "a list is changed in a branch", "`append` on a list that has a name of its own"),
    appended_to_an_item: ("P315", "a list is changed in a branch", "`append` on a list that has a name of its own"),
    else_without_if: ("P317", "`Else` does not follow an `If`", "directly after"),
    elif_without_if: ("P317", "`Elif` does not follow an `If`", "directly after"),
    elif_of_what_the_arm_gives: ("P317", "`Elif` does not follow an `If`", "directly after"),
    one_of_too_few: ("P317", "the values of `one_of` are not of different arms", "one value of each arm"),
    one_of_constants: ("P317", "1 is no result of a step", "what calling a step returned"),
    collected_constant: ("P317", "3 is no result of a step", "what calling a step returned"),
}


def refused(function, **options):
    with pytest.raises(DefinitionError) as caught:
        pipeline(**options)(function)
    return caught.value.diagnostics


@pytest.mark.parametrize("function", REFUSED, ids=lambda function: function.__name__)
def test_it_is_refused_where_it_stands_with_what_to_write_instead(function):
    code, said, fix = REFUSED[function]
    (problem,) = refused(function)
    assert problem.code == code
    assert said in problem.message
    assert fix in problem.fix
    assert problem.location.path == __file__
    assert "# here" in problem.location.text


@pytest.mark.parametrize("function", [a_generator, a_coroutine], ids=lambda function: function.__name__)
def test_what_is_no_plain_function_is_refused(function):
    assert "P310" in [problem.code for problem in refused(function)]


def test_a_function_cannot_be_chosen_when_the_pipeline_runs():
    (problem,) = refused(functions_in_arms)
    assert problem.code == "P203"
    assert "this is the step `number` itself" in problem.message


def test_a_result_that_may_be_missing_says_so():
    def falls_off(n: int) -> int:
        if number(n) > 1:
            return number(3)

    (problem,) = refused(falls_off)
    assert problem.code == "P208"
    assert "it may be None" in problem.message


def test_it_is_told_beside_what_else_is_wrong():
    def bad(n: int) -> int:
        y = total(number(n))
        while y:
            y = number(n)
        return y

    assert [problem.code for problem in refused(bad)] == ["P204", "P310"]


def test_the_explicit_forms_have_no_meaning_outside_of_a_pipeline():
    for use in (lambda: flow.If(1).__enter__(), lambda: flow.ForEach([1]).__enter__(), lambda: flow.collect(1)):
        with pytest.raises(DefinitionError, match=r"`penstock\.flow` is used outside of a pipeline"):
            use()


# --- the end of a run, and what undoes a step -------------------------------------------------------------------------


@step
def page(who: str, status: RunStatus) -> None: ...


@step
def lost(n: str) -> None: ...


@step
def undo(one: str, other: int) -> None: ...


def plain(n: int) -> int:
    return number(n)


def undone(n: int) -> int:
    return number.with_options(rollback=undo)(n)


@pytest.mark.parametrize("option", ["on_failure", "on_exit"])
def test_what_an_ending_takes_must_be_there(option):
    (problem,) = refused(plain, **{option: page})
    assert problem.code == "P213"
    assert problem.message.startswith("`page` takes `who`, which is not among the pipeline's parameters and")
    assert problem.fix == "it can take: `n`, `status`"


def test_what_an_ending_takes_must_be_of_its_type():
    (problem,) = refused(plain, on_exit=[lost])
    assert problem.code == "P215"
    assert problem.message == "`n` of `lost` takes str, but parameter `n` is int"


def test_what_undoes_a_step_takes_its_inputs_and_outputs_only():
    problems = refused(undone)
    assert [problem.code for problem in problems] == ["P213", "P213"]
    assert "`undo` takes `one`, which is not among `number` and its inputs" in problems[0].message
    assert problems[0].fix == "it can take: `n`, `output`"
    assert "rollback=undo" in problems[0].location.text


def test_an_ending_must_be_a_step():
    (problem,) = refused(plain, on_exit=helper)
    assert problem.code == "P214"


@pytest.mark.parametrize("timeout", [0, -1, "soon"])
def test_a_pipelines_timeout_must_be_a_time(timeout):
    (problem,) = refused(plain, timeout=timeout)
    assert problem.code == "P212"
    assert "timeout" in problem.message
