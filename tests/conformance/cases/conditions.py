"""Conditions: which branch runs, what a skip means to others, and what a name bound in branches stands for."""

import dataclasses
import datetime as dt
import decimal
import enum
import math
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from penstock import pipeline, step
from tests.conformance.case import Case


class Colour(enum.Enum):
    RED = "r"
    BLUE = ("b", 2)


class Facts(NamedTuple):
    big: int
    ratio: float
    zero: float
    price: decimal.Decimal
    colour: Colour
    moment: dt.datetime


@dataclasses.dataclass
class Scores:
    accuracy: float
    by_class: dict[str, float]


@step
def number(value: int) -> int:
    return value


@step
def plus_one(value: int) -> int:
    return value + 1


@step
def fails(value: int) -> int:
    raise ValueError(f"no good: {value}")


@step
def told(value: Any, word: str) -> str:
    return f"{word} {value}"


@step
def shown(values: list[Any]) -> list[str]:
    return [repr(value) for value in values]


@step
def total(values: list[int]) -> int:
    return sum(values)


@step
def absent(value: int | None = None) -> int | None:
    return value


@step
def words(text: str) -> list[str]:
    return text.split()


@pipeline
def condition_on_a_parameter(deep: bool = False) -> int:
    if deep:
        depth = number(8)
        depth = plus_one(depth)
    else:
        depth = number.with_options(name="shallow")(3)
    return plus_one.with_options(name="trained")(depth)


@pipeline
def condition_without_else(limit: int = 10) -> int:
    found = number(5)
    if found > limit:
        found = plus_one(found)
    return plus_one.with_options(name="last")(found)


@pipeline
def elif_chain(value: int = 50) -> str:
    size = number(value)
    if size < 10:
        word = told(size, "small")
    elif size < 100:
        word = told.with_options(name="middle")(size, "middle")
    else:
        word = told.with_options(name="large")(size, "large")
    return told.with_options(name="last")(word, "it is")


@pipeline
def early_return(limit: int = 3) -> str:
    found = number(5)
    if found > limit:
        return told(found, "too many:")
    more = plus_one(found)
    return told.with_options(name="enough")(more, "enough:")


@pipeline
def operators_over_outputs(low: int = 2) -> tuple[list[str], str]:
    three, seven, nothing, found = number(3), number(7), absent(), words("a b")
    seen = shown(
        [
            three and seven,
            nothing or "other",
            not three,
            low < three <= seven < 7,
            low < three <= seven < 8,
            "a" in found,
            "a" not in found,
            nothing is None,
            seven is not None,
            f"{three:>4} of {seven!r}",
            found if three == 3 else seven,
        ]
    )
    if nothing is None and (low > three or "b" in found) and not seven == 3:
        word = told(three, "as it should be:")
    else:
        word = told.with_options(name="wrong")(three, "the other way:")
    return seen, word


@pipeline
def operands_not_looked_at() -> tuple[str, str]:
    nothing, found = absent(), words("")
    one = told(nothing, "none") if nothing is None or nothing > 3 else told.with_options(name="more")(nothing, "more")
    other = (
        told.with_options(name="first")(found[0], "first")
        if found and found[0] == "a"
        else told.with_options(name="empty")(0, "empty")
    )
    return one, other


@step
def facts() -> Facts:
    moment = dt.datetime(2024, 6, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30)))
    return Facts(2**53 + 1, math.nan, -0.0, decimal.Decimal("1.10"), Colour.BLUE, moment)


@pipeline
def exact_values_as_conditions(big: int = 2**53 + 1, colour: Colour = Colour.BLUE) -> list[str]:
    known = facts()
    seen: list[Any] = ["start"]
    if known.big == 2**53 or known.big != big:
        seen.append("rounded")
    if known.ratio != known.ratio:
        seen.append(known.ratio)
    if known.price == decimal.Decimal("1.1") and known.zero == 0:
        seen.append(known.price)
    if known.colour == colour and colour in (Colour.BLUE, None):
        seen.append(known.colour)
    if known.moment < dt.datetime(2024, 6, 1, 7, tzinfo=dt.timezone.utc):
        seen.append(known.moment)
    return shown(seen)


@pipeline
def truth_of_values(text: str = "") -> list[int]:
    taken = []
    if text:
        taken.append(1)
    if words(text):
        taken.append(2)
    if absent(0):
        taken.append(3)
    if told("", "x"):
        taken.append(4)
    if not absent.with_options(name="nothing")():
        taken.append(5)
    return [total(taken)]


@pipeline
def nested_conditions(a: bool = False, b: bool = True) -> str:
    if a:
        first = number(1)
        if b:
            word = told(first, "both")
        else:
            word = told.with_options(name="only_a")(first, "a")
    else:
        first = number.with_options(name="other")(2)
        if b:
            word = told.with_options(name="only_b")(first, "b")
        else:
            word = told.with_options(name="neither")(first, "none")
    return told.with_options(name="last")(word, "of two:")


@pipeline
def a_condition_on_a_merged_value(deep: bool = True) -> str:
    if deep:
        depth = number(8)
    else:
        depth = number.with_options(name="shallow")(3)
    if depth > 5:
        word = told(depth, "deep")
    else:
        word = told.with_options(name="flat")(depth, "flat")
    return word


@pipeline
def cleaning(wanted: bool, value: int) -> None:
    if wanted:
        plus_one(plus_one.with_options(name="cleaned")(value))


@pipeline
def skips_reach_who_takes_and_spare_who_waits(wanted: bool = False) -> int:
    found = number(1)
    done = cleaning(wanted, found)
    if wanted:
        more = plus_one(found)
        found = plus_one.with_options(name="most")(more)
    waits = plus_one.with_options(name="waits", after=done)(found)
    return plus_one.with_options(name="waits_longer", after=[done, waits])(waits)


@pipeline
def a_failure_in_the_arm_that_runs(bad: bool = True) -> int:
    if bad:
        found = fails(1)
        plus_one.with_options(name="beside")(1)
    else:
        found = number(2)
    plus_one.with_options(name="apart")(3)
    return plus_one.with_options(name="last")(found)


@pipeline
def a_failure_in_a_condition() -> int:
    bad = fails(1)
    if bad > 3:
        found = number(1)
    else:
        found = number.with_options(name="other")(2)
        if found > 1:
            number.with_options(name="deeper")(3)
    number.with_options(name="apart")(4)
    return plus_one.with_options(name="last")(found)


@pipeline
def a_failure_beside_a_skip(wanted: bool = False) -> int:
    bad = fails(1)
    if wanted:
        plus_one.with_options(name="takes_both")(bad)
        plus_one.with_options(name="waits", after=bad)(number(1))
    return number.with_options(name="apart")(2)


@step
def scores() -> Scores:
    return Scores(0.75, {"a": 0.5})


@pipeline
def a_condition_that_cannot_be_decided() -> str:
    known = scores()
    if known.by_class["b"] > 0.5:
        word = told(1, "b")
    else:
        word = told.with_options(name="not_b")(0, "not b")
    number(1)
    return word


@pipeline
def conditions_on_parts_of_records(floor: float = 0.7) -> str:
    known = scores()
    if known.accuracy >= floor and known.by_class["a"] == 0.5:
        word = told(known.accuracy, "good")
    else:
        word = told.with_options(name="poor")(known.accuracy, "poor")
    return word


class Fitted:
    def __init__(self, bias: float) -> None:
        self.bias = bias


@step
def fitted(bias: float) -> Fitted:
    return Fitted(bias)


@step
def frame(rows: int) -> pd.DataFrame:
    return pd.DataFrame({"n": range(rows)})


@step
def note(text: str) -> Path:
    Path("note.txt").write_text(text)
    return Path("note.txt")


@step
def summary(model: Fitted, table: pd.DataFrame, text: Path) -> str:
    return f"{model.bias} {len(table)} {text.read_text()}"


@pipeline
def artifacts_of_the_arm_that_ran(fresh: bool = False) -> str:
    text = note("before")
    if fresh:
        model, table = fitted(1.0), frame(1)
        text = note.with_options(name="fresh_note")("fresh")
    else:
        model, table = fitted.with_options(name="kept")(2.0), frame.with_options(name="kept_frame")(2)
    return summary(model, table, text)


@step
def coloured(value: int) -> Colour | None:
    return [None, Colour.RED, Colour.BLUE][value]


@pipeline
def members_told_by_identity(which: int = 1, wanted: bool = True) -> list[str]:
    found = coloured(which)
    seen = [found is Colour.RED, found is not Colour.BLUE, wanted is True, (which > 1) is not False]
    if found is Colour.BLUE or wanted is False:
        return shown.with_options(name="blue")([*seen, found])
    return shown(seen)


@pipeline
def names_bound_in_conditions(low: int = 2) -> list[int]:
    if (found := number(low)) > 1:
        found = plus_one(found)
    if 9 in (last := shown([low])):
        found = plus_one.with_options(name="never")(found)
    return [found, len(last)]


@pipeline
def names_of_structures(deep: bool = True) -> list[int]:
    first = number.with_options(name="if")(1)
    second = number.with_options(name="for")(2)
    found = []
    if deep:
        found.append(plus_one.with_options(name="on")(first))
        found.append(plus_one.with_options(name="else")(second))
    for name, value in (("assert", first), ("gate", second)):
        found.append(plus_one.with_options(name=name)(value))
    assert second > first
    return [total(found)]


@pipeline
def one_of_two(deep: bool, value: int) -> int:
    if deep:
        return plus_one(value)
    return number(value)


@pipeline
def conditions_around_nested_pipelines(deep: bool = False) -> int:
    if deep:
        found = one_of_two(number(1) > 0, 1)
    else:
        found = one_of_two.with_options(name="other")(deep, plus_one(5))
    return plus_one.with_options(name="last", after=found)(found)


CASES = (
    Case(
        condition_on_a_parameter,
        "The arm that is not taken is skipped, the other one runs, and who takes the name gets that one's value.",
        nodes={"if": "succeeded", "number": "skipped", "plus_one": "skipped", "shallow": "succeeded"},
    ),
    Case(
        condition_on_a_parameter,
        "A condition that is inverted would look right half of the time.",
        {"deep": True},
        nodes={"number": "succeeded", "plus_one": "succeeded", "shallow": "skipped"},
    ),
    Case(
        condition_without_else,
        "A name bound before and again in a branch keeps its value where the branch is skipped.",
        nodes={"plus_one": "skipped", "last": "succeeded"},
    ),
    Case(
        elif_chain,
        "An `elif` is decided only where what stands above it is false.",
        nodes={"if": "succeeded", "if_2": "succeeded", "told": "skipped", "middle": "succeeded", "large": "skipped"},
    ),
    Case(
        elif_chain,
        "Where the first condition holds, the decisions below it are skipped, too.",
        {"value": 5},
        nodes={"if": "succeeded", "if_2": "skipped", "told": "succeeded", "middle": "skipped", "large": "skipped"},
    ),
    Case(
        early_return,
        "A return in a branch makes the rest of the function the other branch.",
        nodes={"told": "succeeded", "plus_one": "skipped", "enough": "skipped"},
    ),
    Case(
        operators_over_outputs,
        "Python's operators give operands, not truths, and chains compare neighbours: engines' languages differ.",
        nodes={"told": "succeeded", "wrong": "skipped"},
    ),
    Case(
        operands_not_looked_at,
        "What stands behind `and` and `or` is looked at only where Python would: else None is compared with a number.",
    ),
    Case(
        exact_values_as_conditions,
        "A condition computed from numbers as doubles, or from texts, takes the wrong arm without a word.",
    ),
    Case(truth_of_values, "An engine's idea of what is true (a text, an empty list, 0) is not Python's."),
    Case(
        nested_conditions,
        "A condition in an arm that is skipped is not decided, and nothing below it runs.",
        nodes={"if": "succeeded", "if_2": "skipped", "told": "skipped", "only_b": "succeeded", "neither": "skipped"},
    ),
    Case(a_condition_on_a_merged_value, "A merged value decides what comes next, so the merge must be seen in time."),
    Case(
        skips_reach_who_takes_and_spare_who_waits,
        "A skip goes on to who takes the value; a merge and `after` end it.",
        nodes={
            "cleaning.cleaned": "skipped",
            "cleaning.plus_one": "skipped",
            "plus_one": "skipped",
            "most": "skipped",
            "waits": "succeeded",
            "waits_longer": "succeeded",
        },
    ),
    Case(
        a_failure_in_the_arm_that_runs,
        "A merge of a failure and a skip is a failure: engines that look for any success go on.",
        nodes={
            "fails": "failed",
            "beside": "succeeded",
            "number": "skipped",
            "apart": "succeeded",
            "last": "upstream_failed",
        },
    ),
    Case(
        a_failure_in_the_arm_that_runs,
        "A failure that is not reached is none.",
        {"bad": False},
        nodes={"beside": "skipped", "number": "succeeded", "last": "succeeded"},
        returns=3,
    ),
    Case(
        a_failure_in_a_condition,
        "Where a condition cannot be known, neither arm runs; that is no skip.",
        nodes={
            "fails": "failed",
            "if": "upstream_failed",
            "number": "upstream_failed",
            "other": "upstream_failed",
            "if_2": "upstream_failed",
            "deeper": "upstream_failed",
            "apart": "succeeded",
            "last": "upstream_failed",
        },
    ),
    Case(
        a_failure_beside_a_skip,
        "What waits for a failure says so, though it would have been skipped anyway.",
        nodes={
            "fails": "failed",
            "takes_both": "upstream_failed",
            "number": "skipped",
            "waits": "upstream_failed",
            "apart": "succeeded",
        },
    ),
    Case(
        a_condition_that_cannot_be_decided,
        "An error in computing a condition fails the decision, and is not taken for false.",
        nodes={"if": "failed", "told": "upstream_failed", "not_b": "upstream_failed", "number": "succeeded"},
    ),
    Case(conditions_on_parts_of_records, "A field of a record, and an item of a dict in it, decide as values do."),
    Case(
        artifacts_of_the_arm_that_ran,
        "Merged artifacts (objects, tables, files) come from the arm that ran; some engines merge only parameters.",
        nodes={"fitted": "skipped", "frame": "skipped", "fresh_note": "skipped", "kept": "succeeded"},
    ),
    Case(
        names_of_structures,
        "A step may be called what branches, loops and gates are called, or an engine's own words.",
    ),
    Case(
        members_told_by_identity,
        "`is` asks a member of an enum, or a truth value: in another process it would be another object.",
        nodes={"shown": "succeeded", "blue": "skipped"},
    ),
    Case(
        members_told_by_identity,
        "The other member, and None, are not that one.",
        {"which": 2},
        nodes={"shown": "skipped", "blue": "succeeded"},
    ),
    Case(members_told_by_identity, "None is no member, and False no None.", {"which": 0, "wanted": False}),
    Case(names_bound_in_conditions, "`:=` binds what a condition asks, for what follows it."),
    Case(
        conditions_around_nested_pipelines,
        "A nested pipeline that is skipped is skipped whole, with the conditions inside it.",
        nodes={"one_of_two.if": "skipped", "one_of_two.plus_one": "skipped", "other.number": "succeeded"},
    ),
)
