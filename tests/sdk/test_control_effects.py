"""What a block would do to ordinary objects, or keep from failing, is refused where the trace alone would do it."""

from __future__ import annotations

import contextlib
import enum
import functools
import itertools
import random
import types
from collections import defaultdict
from typing import Any

import numpy
import pytest

from penstock import flow, pipeline
from tests.sdk.flows import add, note, number, text, total, upto
from tests.sdk.test_control_refusals import refused


class Board:
    """An ordinary class of the author's."""

    def __init__(self) -> None:
        self.value = 1
        self.rows: list[list[int]] = [[1]]

    @functools.cached_property
    def size(self) -> int:
        return self.value + len(self.rows)

    def raised(self) -> Board:
        self.value += 1
        return self


class Slotted:
    __slots__ = ("__value",)

    def __init__(self) -> None:
        self.__value = 1

    def set(self, value: int) -> int:
        self.__value = value
        return value


class Nested:
    def __init__(self) -> None:
        self.board = {"a": (Board(),)}


class Counted:
    """A class that keeps something itself."""

    count = 0

    def count_up(self) -> None:
        type(self).count += 1


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


def count_up_all() -> None:
    Counted.count += 1


def to_infinity():
    yield from itertools.count()


DICE = random.Random(1)
BOARD = Board()
COUNT = 1


def change(board: Any) -> int:
    board.value = 5
    return 5


def count_up() -> None:
    global COUNT  # noqa: PLW0603  # what is refused
    COUNT = COUNT + 1


@contextlib.contextmanager
def swallowing():
    with contextlib.suppress(KeyError):
        try:
            yield
        except ValueError:
            pass


@contextlib.contextmanager
def timed():
    try:
        yield 2
    except ValueError as error:
        raise TypeError from error
    finally:
        pass


class Closing:
    closed = False

    def __enter__(self) -> Closing:  # noqa: PYI034  # no `Self` in 3.10
        return self

    def __exit__(self, *error: object) -> None:
        self.closed = True


class Delegating(Closing):
    def __exit__(self, *error: object) -> None:
        result = super().__exit__(*error)
        return result


class Committing(Closing):
    def __exit__(self, kind: object, *_: object) -> bool:
        return kind is None


class Hiding(Closing):
    def __exit__(self, *error: object) -> bool:
        return error[0] is not None


# --- objects of classes of the author's, and what else can be changed in place ----------------------------------------


def by_a_helper(n: int) -> int:
    board = Board()
    if number(n) > 1:  # here
        change(board)
    return number(board.value)


def by_a_method(n: int) -> int:
    board = Board()
    for _ in upto(n):  # here
        board.raised()
    return number(board.value)


def by_setattr(n: int) -> int:
    board = Board()
    if number(n) > 1:  # here
        setattr(board, "value", 2)  # noqa: B010  # what is refused
    return number(board.value)


def in_slots(n: int) -> int:
    slotted = Slotted()
    if number(n) > 1:  # here
        slotted.set(3)
    return number(1)


def far_within(n: int) -> int:
    nested = Nested()
    if number(n) > 1:  # here
        nested.board["a"][0].rows[0].__iadd__([3])
    return number(len(nested.board["a"][0].rows[0]))


def by_another_name(n: int) -> int:
    board = Board()
    boards = [board]
    if number(n) > 1:  # here
        change(boards[0])
        board = Board()
    return number(board.value)


def in_a_namespace(n: int) -> int:
    space = types.SimpleNamespace(value=1)
    if number(n) > 1:  # here
        change(space)
    return number(space.value)


def in_a_defaultdict(n: int) -> int:
    rows: defaultdict[str, list[int]] = defaultdict(list)
    if number(n) > 1:  # here
        rows.__getitem__("a")
    return number(len(rows))


def of_the_module(n: int) -> int:
    if number(n) > 1:  # here
        change(BOARD)
    return number(BOARD.value)


def in_an_expression(n: int) -> int:
    board = Board()
    change(board) if number(n) > 1 else 0  # here
    return number(board.value)


def in_an_and(n: int) -> int:
    board = Board()
    if number(n) > 1 and change(board):  # here
        note(n)
    return number(board.value)


def in_a_comprehension(n: int) -> int:
    board = Board()
    found = [add(x, change(board)) for x in upto(n)]  # here
    return add(total(found), board.value)


def an_iterator(n: int) -> int:
    numbers = itertools.count()
    y = number(n)
    if y > 1:
        note(next(numbers))  # here
    return number(next(numbers))


# --- names that are not the function's own ----------------------------------------------------------------------------


def a_global(n: int) -> int:
    global COUNT  # noqa: PLW0603  # what is refused
    if number(n) > 1:
        COUNT = 2  # here
    return number(COUNT)


def a_global_added_to(n: int) -> int:
    global COUNT  # noqa: PLW0603  # what is refused
    for _ in upto(n):
        COUNT += 1  # here
    return number(COUNT)


def a_global_of_a_helper(n: int) -> int:
    if number(n) > 1:  # here
        count_up()
    return number(COUNT)


def around(inner: bool) -> Any:
    k = 1

    def a_nonlocal(n: int) -> int:
        nonlocal k
        if number(n) > 1:
            k = 2  # here
        return number(k)

    def set_k() -> int:
        nonlocal k
        k = 2
        return k

    def a_nonlocal_of_a_helper(n: int) -> int:
        found = set_k() if number(n) > 1 else 3  # here
        return add(found, k)

    return a_nonlocal_of_a_helper if inner else a_nonlocal


# --- one of two lists -------------------------------------------------------------------------------------------------


def or_and_then_changed(n: int) -> int:
    fallback = [1]
    found = upto(n) or fallback
    fallback.insert(0, 5)
    return total(found)  # here


def or_and_then_added_to(n: int) -> int:
    fallback = [1]
    found = upto(n) or fallback
    if number(n) > 1:
        fallback.append(5)
    return total(found)  # here


def and_and_then_added_to(n: int) -> int:
    more = [1]
    found = upto(n) and more
    more.append(5)
    return total(found)  # here


def or_of_a_list_that_grew(n: int) -> int:
    grown = [number(x) for x in upto(n)]
    found = grown or [7]
    grown.append(8)
    return total(found)  # here


def or_of_a_list_that_grew_and_a_step(n: int) -> int:
    grown = [number(x) for x in upto(n)]
    found = grown or upto(2)
    grown.append(8)
    return total(found)  # here


def or_of_or(n: int) -> int:
    fallback = [1]
    found = (upto(n) or fallback) or [3]
    fallback.append(5)
    return total([*range(2), total(found)])  # here


def or_read_by_the_loop_that_adds(n: int) -> int:
    fallback = [1]
    found = upto(0) or fallback
    sums = []
    for x in upto(n):
        sums.append(total(found))
        fallback.append(x)  # here
    return total(sums)


def inserted_into_after_a_merge(n: int) -> int:
    ys = [number(1)]
    m = ys if number(n) > 1 else [2]
    ys.insert(0, 4)  # here
    if number(n) > 2:
        ys.append(5)
    return total(m)


# --- the explicit forms, in functions that are not the pipeline's own -------------------------------------------------


def in_an_explicit_branch(n: int) -> int:
    board = Board()
    with flow.If(number(n) > 1):  # here
        change(board)
    return number(board.value)


def in_the_other_arm(n: int) -> int:
    with flow.If(number(n) > 1):
        note(1)
    with flow.Else():  # here
        count_up()
    return number(COUNT)


def gathered(n: int) -> list[int]:
    found: list[int] = []
    with flow.ForEach(upto(n)) as x:  # here
        found.append(number(x))
    return found


def in_a_helper(n: int) -> int:
    return total(gathered(n))


def safely(n: int) -> int:
    try:  # here
        return number(n)
    except ValueError:
        return 0


def caught_by_a_helper(n: int) -> int:
    return add(n, safely(n))


def quietly(n: int) -> list[int]:
    with contextlib.suppress(ValueError):  # here
        return [number(each) for each in range(2)]
    return []


def suppressed_by_a_helper(n: int) -> int:
    return total(quietly(n) if n else [])


# --- what seems to catch a step's failure -----------------------------------------------------------------------------


def suppressed(n: int) -> int:
    y = 0
    with contextlib.suppress(ValueError):  # here
        y = number(n)
    return number(y)


def suppressed_in_a_branch(n: int) -> int:
    if number(n) > 1:
        with Closing(), contextlib.suppress(Exception):  # here
            note(n)
    return number(n)


def swallowed_by_a_generator(n: int) -> int:
    with swallowing():  # here
        y = number(n)
    return y


def swallowed_by_a_class(n: int) -> int:
    with Hiding():  # here
        y = number(n)
    return y


def suppressed_before_it_raises(n: int) -> int:
    with contextlib.suppress(ValueError):  # here
        note(n)
        raise ValueError
    return number(n)


def caught_after_a_step(n: int) -> int:
    y = 3
    try:
        y = number(n)
        raise ValueError  # noqa: TRY301  # here it is what an ordinary function would raise
    except ValueError:
        y = 4  # here
    return number(y)


def a_definition_error_caught(n: int) -> int:
    y = number(n)
    try:
        y = y + 1  # here
    except Exception:  # noqa: BLE001  # what hides it
        y = 4
    return number(y)


def a_definition_error_suppressed(n: int) -> int:
    y = upto(n)
    with contextlib.suppress(Exception):
        y = y["first"]  # here
    return total(y)


def a_class_by_its_object(n: int) -> int:
    counted = Counted()
    if number(n) > 1:  # here
        counted.count_up()
    return number(n)


def a_class_by_a_helper(n: int) -> int:
    if number(n) > 1:  # here
        count_up_all()
    return number(Counted.count)


def an_iterator_gone_through(n: int) -> int:
    found, places = [number(n)], enumerate(iter([n]))
    if found[0] > 1:  # here
        found.extend(number(each) for _, each in places)
    return total(found)


def a_generator_gone_through(n: int) -> int:
    found, numbers = [number(n)], to_infinity()
    if found[0] > 1:  # here
        for _, each in zip(range(2), numbers, strict=False):
            found.append(each)
    return total(found)


def random_numbers(n: int) -> int:
    y = number(n)
    if y > 1:  # here
        y = add(y, DICE.randint(1, 6))
    return y


def random_numbers_of_numpy(n: int) -> int:
    y, dice = number(n), numpy.random.default_rng(1)
    return add(y, int(dice.integers(6))) if y > 1 else y  # here


REFUSED = {
    a_class_by_its_object: ("P315", "what `counted` stands for is changed in a branch"),
    a_class_by_a_helper: ("P315", "what `Counted` stands for is changed in a branch"),
    an_iterator_gone_through: ("P315", "what `places` stands for is changed in a branch"),
    a_generator_gone_through: ("P315", "what `numbers` stands for is changed in a branch"),
    random_numbers: ("P315", "what `DICE` stands for is changed in a branch"),
    random_numbers_of_numpy: ("P315", "what `dice` stands for is changed in a branch"),
    by_a_helper: ("P315", "what `board` stands for is changed in a branch"),
    by_a_method: ("P315", "what `board` stands for is changed in a branch"),
    by_setattr: ("P315", "what `board` stands for is changed in a branch"),
    in_slots: ("P315", "what `slotted` stands for is changed in a branch"),
    far_within: ("P315", "what `nested` stands for is changed in a branch"),
    by_another_name: ("P315", "what `board` stands for is changed in a branch"),
    in_a_namespace: ("P315", "what `space` stands for is changed in a branch"),
    in_a_defaultdict: ("P315", "what `rows` stands for is changed in a branch"),
    of_the_module: ("P315", "what `BOARD` stands for is changed in a branch"),
    in_an_expression: ("P315", "what `board` stands for is changed in a branch"),
    in_an_and: ("P315", "what `board` stands for is changed in a branch"),
    in_a_comprehension: ("P315", "what `board` stands for is changed in a branch"),
    an_iterator: ("P315", "a count is changed in a branch"),
    a_global: ("P315", "`COUNT`, from outside of the function, is bound in a branch"),
    a_global_added_to: ("P315", "`COUNT`, from outside of the function, is bound in a branch"),
    a_global_of_a_helper: ("P315", "`COUNT`, from outside of the function, is bound in a branch"),
    around(inner=False): ("P315", "`k`, from outside of the function, is bound in a branch"),
    around(inner=True): ("P315", "`k`, from outside of the function, is bound in a branch"),
    or_and_then_changed: ("P203", "may stand for what was changed"),
    or_and_then_added_to: ("P203", "may stand for what was changed"),
    and_and_then_added_to: ("P203", "may stand for what was changed"),
    or_of_a_list_that_grew: ("P203", "may stand for what was changed"),
    or_of_a_list_that_grew_and_a_step: ("P203", "may stand for what was changed"),
    or_of_or: ("P203", "may stand for what was changed"),
    or_read_by_the_loop_that_adds: ("P313", "read in the loop that adds to it"),
    inserted_into_after_a_merge: ("P313", "after a branch has decided between it and another one"),
    in_an_explicit_branch: ("P315", "what `board` stands for is changed in a branch"),
    in_the_other_arm: ("P315", "`COUNT`, from outside of the function, is bound in a branch"),
    in_a_helper: ("P315", "what `found` stands for is changed in a branch or loop"),
    caught_by_a_helper: ("P309", "`try` catches nothing of the step that is called in it"),
    suppressed_by_a_helper: ("P309", "`contextlib.suppress(ValueError)` catches nothing of the step"),
    suppressed: ("P309", "`with suppress` catches nothing of the steps in it"),
    suppressed_in_a_branch: ("P309", "`with suppress` catches nothing of the steps in it"),
    swallowed_by_a_generator: ("P309", "catches nothing of the steps in it"),
    swallowed_by_a_class: ("P309", "`with Hiding` catches nothing of the steps in it"),
    suppressed_before_it_raises: ("P309", "`with suppress` catches nothing of the steps in it"),
    caught_after_a_step: ("P309", "`try` catches nothing of the steps in it"),
    a_definition_error_caught: ("P308", "`+` is applied to `number`'s result"),
    a_definition_error_suppressed: ("P303", "no item 'first' can be taken"),
}


@pytest.mark.parametrize("function", REFUSED, ids=lambda function: function.__name__)
def test_what_only_the_trace_would_do_is_refused_where_it_stands(function):
    code, said = REFUSED[function]
    problem, *others = refused(function)
    assert not others
    assert problem.code == code
    assert said in problem.message
    assert problem.fix
    assert "# here" in problem.location.text


# --- what stays as it is ----------------------------------------------------------------------------------------------


@pipeline
def made_in_the_block(n: int) -> int:
    found = number(n)
    if found > 1:
        board = Board()
        change(board)
        found = number(board.value)
    return found


@pipeline
def bound_anew(n: int) -> int:
    board = Board()
    size = board.value
    if number(n) > 1:
        board = Board().raised()
        size = board.value
    return number(size)


@pipeline
def only_looked_at(n: int) -> int:
    board = Board()
    if number(n) > board.size + BOARD.size + COUNT:
        return number(board.size)
    return number(board.value)


@pipeline
def gone_through_around_a_branch(n: int) -> int:
    found, board, numbers = [number(n)], Board(), iter([1, 2, 3])
    for each in numbers:
        if found[0] > each + board.value:
            found.extend(add(one, board.value) for one in iter([each, n]))
            found.append(random.Random(each).randint(1, 6))
            note((Rights.READ | Rights.WRITE).value)
    return total(found)


@pipeline
def with_what_hides_nothing(n: int) -> int:
    with timed() as two, Closing() as one, Delegating(), Committing():
        y = add(n, two)
    assert one.closed
    return y


def told(n: int) -> int:
    try:
        label = {"a": 1}["b"]
    except KeyError:
        label = number(n)
    try:
        return add(label, 1)
    except ValueError as error:
        raise TypeError from error
    finally:
        pass


@pipeline
def with_a_helper_that_hides_nothing(n: int) -> int:
    return told(n)


@pipeline
def suppressing_ordinary_code(n: int) -> int:
    label = "many"
    with contextlib.suppress(KeyError):
        label = {"a": "b"}["c"]
    return add(len(text(label)), n)


@pipeline
def asked_for_its_truth_and_added_to(n: int) -> int:
    grown = [number(x) for x in upto(n)]
    if grown or number(n) > 3:
        note(n)
    grown.append(8)
    return total(grown)


@pipeline
def or_of_lists_that_stay(n: int) -> int:
    fallback = [1]
    found = upto(n) or fallback
    sums = [add(total(found), x) for x in upto(n)]
    return total([total(found), total(sums), *fallback])


@pytest.mark.parametrize(
    "made",
    [
        made_in_the_block,
        bound_anew,
        only_looked_at,
        gone_through_around_a_branch,
        with_what_hides_nothing,
        with_a_helper_that_hides_nothing,
        suppressing_ordinary_code,
        asked_for_its_truth_and_added_to,
        or_of_lists_that_stay,
    ],
    ids=lambda made: made.name,
)
def test_what_is_the_same_in_plain_python_is_carried_over(made, tmp_path):
    for n in (0, 3):
        assert made.run(n=n, inline=True, store=tmp_path).outputs == made(n)
