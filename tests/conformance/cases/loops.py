"""Loops: the items, their order, what is collected, and what one item's failure means to the others."""

import dataclasses
import datetime as dt
import decimal
import enum
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from penstock import Retry, current_attempt, flow, pipeline, step
from tests.conformance.case import Case


class Colour(enum.Enum):
    RED = "r"
    BLUE = ("b", 2)


@dataclasses.dataclass
class Job:
    name: str
    depth: int
    wanted: bool = True


class Span(NamedTuple):
    began: float
    ended: float


@step
def upto(count: int) -> list[int]:
    return list(range(count))


@step
def number(value: int) -> int:
    return value


@step
def doubled(value: int) -> int:
    return value * 2


@step
def plus(a: int, b: int) -> int:
    return a + b


@step
def total(values: list[int]) -> int:
    return sum(values)


@step
def listed(values: list[Any]) -> list[str]:
    return [repr(value) for value in values]


@step
def fails(value: int) -> int:
    raise ValueError(f"no good: {value}")


@step
def not_two(value: int) -> int:
    if value == 2:
        raise ValueError(f"no good: {value}")
    return value


@pipeline
def loop_over_an_output(count: int = 3) -> int:
    return total([doubled(value) for value in upto(count)])


@step
def later_first(value: int) -> int:
    time.sleep(0.2 / (value + 1))
    return value


@pipeline
def collected_in_the_order_of_items() -> list[str]:
    """More than ten: an engine that sorts names puts the eleventh item after the second."""
    return listed([later_first(value) for value in upto(12)])


@pipeline
def loops_over_parameters(names: list[str] = ["b", "", "a"], table: dict[str, int] = {"x": 1, "y": 2}) -> list[str]:
    seen = [listed.with_options(name="name")([name]) for name in names]
    values = [listed.with_options(name="pair")([key, value]) for key, value in table.items()]
    return listed([seen, values])


@step(retry=Retry(2, delay=0.1))
def flaky(value: int) -> int:
    if current_attempt() <= value:
        raise RuntimeError(f"attempt {current_attempt()} of {value}")
    return current_attempt()


@pipeline
def retries_of_each_item() -> int:
    attempts = [flaky(value) for value in upto(3)]
    return total(attempts)


@pipeline
def a_failed_item_among_good_ones() -> int:
    found = []
    for value in upto(4):
        checked = not_two(value)
        found.append(doubled(checked))
    number(7)
    return total(found)


@pipeline
def a_failed_item_that_nobody_takes() -> int:
    found = []
    for value in upto(3):
        not_two(value)
        found.append(doubled(value))
    return total(found)


@step
def jobs() -> list[Job]:
    return [Job("a", 1), Job("b", 2, wanted=False), Job("c", 3)]


@pipeline
def conditions_in_loops(floor: int = 2) -> list[str]:
    found = []
    for job in jobs():
        if job.wanted:
            deep = doubled(job.depth)
            if job.depth > floor:
                deep = plus(deep, 100)
            found.append(deep)
        else:
            found.append(number(job.depth))
    kept = [doubled.with_options(name="kept")(job.depth) for job in jobs() if job.wanted]
    return listed([found, kept])


@pipeline
def loops_in_conditions(wanted: bool = False) -> int:
    values = upto(2)
    if wanted:
        found = [doubled(value) for value in values]
    else:
        found = [plus(value, 10) for value in values]
    return total(found)


@step
def rows() -> list[list[int]]:
    return [[1, 2], [], [3]]


@pipeline
def loops_in_loops() -> list[str]:
    products = []
    for row in rows():
        first = total.with_options(name="row_sum")(row)
        products.append([plus(first, value) for value in row])
    flat = [doubled(value) for row in rows.with_options(name="again")() for value in row]
    return listed([products, flat])


@pipeline
def an_item_that_fails_in_an_inner_loop() -> list[str]:
    sums = []
    for row in rows():
        checked = [not_two(value) for value in row]
        sums.append(total.with_options(name="row_sum")(checked))
    return listed(sums)


@pipeline
def zip_and_enumerate(names: list[str] = ["a", "b", "c"]) -> list[str]:
    values = upto(3)
    pairs = [listed.with_options(name="pair")([name, value]) for name, value in zip(names, values)]
    places = [listed.with_options(name="place")([place, name]) for place, name in enumerate(names, 1)]
    return listed([pairs, places])


@pipeline
def a_list_added_to_in_two_loops() -> list[str]:
    found = [number(100)]
    for value in upto(2):
        found.append(doubled(value))
        found.append(plus(value, 50))
    found.append(number(200))
    for value in upto.with_options(name="more")(1):
        found.append(plus.with_options(name="again")(value, 70))
    return listed(found)


@pipeline
def a_loop_over_what_a_loop_collected() -> int:
    once = [doubled(value) for value in upto(3)]
    twice = [plus(value, 1) for value in once]
    if len(twice) > 2:
        twice.append(number(100))
    return total(twice)


@step
def everything() -> list[Any]:
    moment = dt.datetime(2024, 6, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=-3, minutes=-30)))
    return [
        2**53 + 1,
        math.nan,
        -0.0,
        decimal.Decimal("1.10"),
        Colour.BLUE,
        moment,
        None,
        True,
        "",
        (1,),
        b"\xff",
        [],
    ]


@step
def same(value: Any) -> Any:
    return value


@pipeline
def exact_values_as_items() -> list[str]:
    return listed([same(value) for value in everything()])


class Net:
    def __init__(self, weight: float) -> None:
        self.weight = weight


@step
def nets() -> list[Net]:
    return [Net(1.5), Net(2.5)]


@step
def files() -> list[Path]:
    for name in ("b.txt", "a.txt"):
        Path(name).write_text(f"in {name}")
    return [Path("b.txt").absolute(), Path("a.txt").absolute()]


@step
def weighed(net: Net, factor: float) -> np.ndarray:
    return np.array([net.weight * factor])


@step
def written(value: np.ndarray) -> Path:
    Path(f"{value[0]}.txt").write_text(str(value[0]))
    return Path(f"{value[0]}.txt")


@step
def read(paths: list[Path]) -> list[str]:
    return [path.read_text() for path in paths]


@pipeline
def loops_over_artifacts(factor: float = 2.0) -> list[str]:
    arrays = [weighed(net, factor) for net in nets()]
    return read([written(array) for array in arrays])


@step(cache=False)
def timed(value: int) -> Span:
    began = time.time()
    time.sleep(0.3)
    return Span(began, time.time())


@step
def most_at_a_time(spans: list[Span]) -> int:
    return max(sum(one.began <= other.began < one.ended for one in spans) for other in spans)


@step
def within(value: int, bound: int) -> bool:
    return value <= bound


@pipeline
def parallelism_bound() -> bool:
    spans = []
    for value in flow.parallel(upto(4), 1):
        spans.append(timed(value))
    return within(most_at_a_time(spans), 1)


@pipeline
def scaled(value: int, more: int = 1) -> int:
    if value > 1:
        value = doubled(value)
    return plus(value, more)


@pipeline
def all_scaled(values: list[int]) -> int:
    return total([scaled(value, more=5) for value in values])


@pipeline
def nested_pipelines_and_loops() -> int:
    values = upto(3)
    once = [scaled(value) for value in values]
    return plus(all_scaled(values), total(once))


@step(cache=False)
def moment(value: int) -> float:
    time.sleep(0.05)
    return time.time()


@step
def ordered(before: list[float], after: list[float]) -> bool:
    return max(before) <= min(after)


@pipeline
def after_across_loops() -> tuple[bool, int]:
    first = []
    second = []
    for value in upto(2):
        one = moment(value)
        first.append(one)
    for value in upto(2):
        second.append(moment.with_options(name="later", after=first)(value))
    done = number.with_options(after=second)(3)
    return ordered(first, second), done


@pipeline
def after_within_an_item() -> int:
    found = []
    for value in upto(4):
        checked = not_two(value)
        found.append(plus.with_options(name="waits", after=checked)(value, 1))
    return number.with_options(name="last", after=found)(1)


@pipeline
def an_ordinary_loop_with_a_deferred_end(limit: int = 4) -> int:
    value = number(1)
    for _ in range(3):
        value = doubled(value)
        if value >= limit:
            break
    return plus(value, 100)


@pipeline
def a_loop_over_a_failure() -> int:
    bad = fails(1)
    lists = [doubled(value) for value in upto(bad)]
    inside = [plus(value, bad) for value in upto.with_options(name="good")(2)]
    number(1)
    return plus.with_options(name="last")(total(lists), total.with_options(name="sum")(inside))


@step
def record(value: int) -> None:
    assert value < 5


@pipeline
def loops_for_their_effect_alone() -> int:
    for value in upto(2):
        record(value)
    nothing: list[int] = []
    for value in upto.with_options(name="none")(0):
        nothing.append(value)
    if not nothing:
        return number(1)
    return number.with_options(name="wrong")(2)


@pipeline
def items_and_outer_values(base: int = 10) -> list[str]:
    outer = number(5)
    found = []
    for job in jobs():
        found.append(listed.with_options(name="seen")([job.name, plus(job.depth, outer), base, job]))
    return listed([found, [job.depth for job in jobs.with_options(name="again")() if job.depth != 2]])


@pipeline
def comprehensions_of_dicts_and_sets() -> list[str]:
    table = {job.name: doubled(job.depth) for job in jobs()}
    firsts = {plus(value, 1) for value in upto(1)}
    return listed([table, firsts])


@pipeline
def ranges_over_parameters(count: int = 2, table: list[dict[str, int]] = [{"a": 1}, {"a": 0, "b": 2}]) -> list[str]:
    places = [doubled.with_options(name="place")(place) for place in range(count, 0, -1)]
    found = [doubled(row["a"]) for row in table]
    wide = [plus(row["a"], row["b"]) for row in table if "b" in row]
    return listed([places, found, wide, len(table)])


@step
def texts(sizes: list[int]) -> list[str]:
    return [chr(ord("a") + place) * size for place, size in enumerate(sizes)]


@step
def longer(text: str) -> str:
    return f"{text}!"


@step
def ends(values: list[str]) -> list[str]:
    return [f"{value[:1]}{len(value)}{value[-1:]}" for value in values]


@pipeline
def large_items(sizes: list[int] = [400_000, 0, 1_200_000]) -> list[str]:
    found = []
    for text in texts(sizes):
        if len(text) < 1_000_000:
            text = longer(text)
        found.append(text)
    return ends(found)


@step
def kinds() -> tuple[dict[str, int], tuple[int, ...], str]:
    return {"x": 1, "y": 2}, (5, 6), "ab"


@pipeline
def loops_over_other_kinds() -> list[str]:
    table, several, text = kinds()
    keys = [listed.with_options(name="key")([key, several]) for key in table]
    values = [doubled(value) for value in table.values()]
    both = [plus(one, other) for one, other in zip(several, table.values(), strict=True)]
    return listed([keys, values, both, [doubled.with_options(name="again")(value) for value in several], text])


@pipeline
def results_made_of_structures(deep: bool = True) -> tuple[int, list[int], bool, list[list[int]], dict[str, int]]:
    if deep:
        found = number(1)
    else:
        found = number.with_options(name="flat")(2)
    kept = [doubled(value) for value in upto(4) if value != 1]
    table = [[plus(one, other) for other in upto.with_options(name="inner")(one)] for one in upto(3)]
    return found, kept, found > 1, table, {"found": found}


@pipeline
def structures_in_structures(wanted: bool = True) -> list[str]:
    found = [number(100)]
    if wanted:
        for row in rows():
            if len(row) != 2:
                for value in row:
                    if value > 2:
                        found.append(doubled(value))
                    found.append(plus(value, 10))
            else:
                assert 7 not in row, "no sevens"
                found.append(total.with_options(name="row_sum")(row))
    return listed(found)


@pipeline
def no_sevens(row: list[int]) -> int:
    assert 2 not in row, f"two in {row}"
    return total([doubled(value) for value in row])


@pipeline
def a_nested_gate_in_a_loop() -> list[str]:
    return listed([no_sevens(row) for row in rows()])


@pipeline
def copies_that_grow(count: int = 3) -> list[str]:
    grown = [plus(value, 1) for value in upto(count) if (one := doubled(value)) > 0 and one is not None]
    more = list(grown)
    more.append(7)
    parts = list(upto(count))
    for value in upto(count):
        if value > 1:
            parts.append(value)
    fixed = (tuple(plus(value, 1) for value in parts), frozenset(more))
    return listed([total(grown), total(more), total(parts), set(parts), len(dict(zip(parts, more))), fixed])


@pipeline
def items_and_slices(count: int = 3) -> tuple[int, list[int], str]:
    grown = [plus(value, 1) for value in upto(count) if value != 1]
    if count > 2:
        grown.append(plus(grown[0], grown[-1]))
    return grown[-2], grown[1:], repr(upto(count)[: number(2)])


@pipeline
def explicit_conditions_of_steps(count: int = 2) -> list[str]:
    with flow.ForEach(upto(count)) as value:
        with flow.If(number.with_options(name="first")(value) > 1):
            big = doubled(value)
        with flow.Elif(plus.with_options(name="second")(value, 1) > 1):
            same_size = number(value)
        with flow.Else():
            small = plus(value, 10)
        taken = flow.one_of(big, same_size, small)
    return listed([flow.collect(taken)])


@pipeline
def explicit_forms(count: int = 3, floor: int = 1) -> list[str]:
    with flow.ForEach(upto(count)) as value:
        with flow.If(value > floor):
            big = doubled(value)
        with flow.Elif(value == floor):
            same_size = number(value)
        with flow.Else():
            small = plus(value, 10)
        taken = flow.one_of(big, same_size, small)
        last = plus.with_options(name="last")(taken, 100)
    flow.gate(count > 1, "too few")
    return listed([flow.collect(last), flow.collect(big)])


CASES = (
    Case(loop_over_an_output, "The body runs once for each item, and what is collected goes on."),
    Case(
        loop_over_an_output,
        "With no items the collected list is empty, and who takes it runs: engines skip it, or run the body once.",
        {"count": 0},
        nodes={"for": "succeeded", "total": "succeeded"},
        returns=0,
    ),
    Case(
        loop_over_an_output,
        "With one item it is a list of one.",
        {"count": 1},
        nodes={"doubled[0]": "succeeded"},
    ),
    Case(collected_in_the_order_of_items, "What is collected has the order of the items, whichever ended first."),
    Case(loops_over_parameters, "A loop over a parameter cannot be unrolled: its value is known only in the run."),
    Case(
        retries_of_each_item,
        "Each item has its own attempts: Kubeflow ignores a retry in a loop.",
        returns=6,
    ),
    Case(
        a_failed_item_among_good_ones,
        "One item's failure ends no other item, but nobody gets a list with a hole.",
        nodes={
            "not_two[1]": "succeeded",
            "not_two[2]": "failed",
            "not_two[3]": "succeeded",
            "doubled[2]": "upstream_failed",
            "doubled[3]": "succeeded",
            "number": "succeeded",
            "total": "upstream_failed",
        },
    ),
    Case(
        a_failed_item_that_nobody_takes,
        "A failure anywhere in a body fails the loop, and what is collected from it.",
        nodes={"not_two[2]": "failed", "doubled[2]": "succeeded", "total": "upstream_failed"},
    ),
    Case(
        conditions_in_loops,
        "Each item takes its own arm; what is skipped leaves no hole in the list.",
        nodes={"doubled[0]": "succeeded", "doubled[1]": "skipped", "number[1]": "succeeded", "kept[1]": "skipped"},
    ),
    Case(
        loops_in_conditions,
        "A loop in the arm that is not taken has no items, and its list is not taken for an empty one.",
        nodes={"for": "skipped", "for_2": "succeeded"},
    ),
    Case(loops_in_loops, "Loops nest, with lists of lists, and an inner list that is empty."),
    Case(
        an_item_that_fails_in_an_inner_loop,
        "A failure in an inner loop is that of its outer item alone, until all of it is collected.",
        nodes={
            "not_two[0][1]": "failed",
            "row_sum[0]": "upstream_failed",
            "row_sum[1]": "succeeded",
            "row_sum[2]": "succeeded",
            "listed": "upstream_failed",
        },
    ),
    Case(zip_and_enumerate, "Items may be made of several lists, and carry their place."),
    Case(a_list_added_to_in_two_loops, "A list holds what was added to it, in the order in which Python would."),
    Case(a_loop_over_what_a_loop_collected, "A collected list is a list: it is looped over, measured and added to."),
    Case(
        exact_values_as_items, "Items are exact: on its way through an engine's loop, a list becomes texts or doubles."
    ),
    Case(loops_over_artifacts, "Items may be models, arrays and files, which no engine's own loop can hold."),
    Case(
        parallelism_bound,
        "No more items are under way than the author allows.",
        varies=("timed",),
    ),
    Case(
        nested_pipelines_and_loops,
        "A nested pipeline in a loop, with conditions and loops of its own, has instances like any step.",
        nodes={"scaled.doubled[0]": "skipped", "scaled.doubled[2]": "succeeded"},
    ),
    Case(after_across_loops, "`after` a loop waits for all of its items.", varies=("moment", "later")),
    Case(
        after_within_an_item,
        "`after` in a body waits for the same item only; `after` a loop that failed does not run.",
        nodes={
            "not_two[2]": "failed",
            "waits[1]": "succeeded",
            "waits[2]": "upstream_failed",
            "waits[3]": "succeeded",
            "last": "upstream_failed",
        },
    ),
    Case(
        an_ordinary_loop_with_a_deferred_end,
        "A loop over an ordinary range unrolls, and a `break` on an output skips what is left of it.",
        nodes={"doubled": "succeeded", "doubled_2": "succeeded", "doubled_3": "skipped"},
    ),
    Case(
        a_loop_over_a_failure,
        "A loop whose list failed has no items; one whose body needs a failure has, and none of them runs.",
        nodes={
            "upto": "upstream_failed",
            "for": "upstream_failed",
            "total": "upstream_failed",
            "for_2": "succeeded",
            "plus[1]": "upstream_failed",
            "sum": "upstream_failed",
            "number": "succeeded",
            "last": "upstream_failed",
        },
    ),
    Case(loops_for_their_effect_alone, "A body may give nothing, and a list that nothing was added to is empty."),
    Case(ranges_over_parameters, "A range, and items that are dicts, follow the value given for the run."),
    Case(
        ranges_over_parameters,
        "A range that is empty, and a list that is, are no items.",
        {"count": 0, "table": []},
    ),
    Case(
        large_items,
        "Items, conditions and collections outgrow an engine's channel like any value, and travel all the same.",
        nodes={"longer[0]": "succeeded", "longer[2]": "skipped"},
    ),
    Case(loops_over_other_kinds, "A dict is looped over by its keys; its values, and tuples, are items as well."),
    Case(
        results_made_of_structures,
        "A pipeline may return a merge, a collection, a comparison, and lists of lists.",
    ),
    Case(
        structures_in_structures,
        "Loops, conditions and gates hold each other at any depth, and the list grows in Python's order.",
        nodes={"for": "succeeded", "for_2[0]": "skipped", "for_2[1]": "succeeded", "doubled[2][0]": "succeeded"},
    ),
    Case(
        structures_in_structures,
        "All of it is skipped with the outermost.",
        {"wanted": False},
        nodes={"rows": "skipped", "for": "skipped", "number": "succeeded"},
    ),
    Case(
        a_nested_gate_in_a_loop,
        "A gate in a nested pipeline stops the item that it is called for.",
        nodes={
            "no_sevens.assert[0]": "failed",
            "no_sevens.for[0]": "upstream_failed",
            "no_sevens.total[1]": "succeeded",
            "listed": "upstream_failed",
        },
    ),
    Case(
        explicit_forms,
        "Pipelines that programs build say the same by `penstock.flow`.",
        nodes={"doubled[0]": "skipped", "number[1]": "succeeded", "plus[0]": "succeeded", "last[2]": "succeeded"},
        returns=["[110, 101, 104]", "[4]"],
    ),
    Case(
        explicit_conditions_of_steps,
        "A step that the condition of an `Elif` calls is no part of the branch before it.",
        {"count": 3},
        nodes={"second[2]": "succeeded", "doubled[2]": "succeeded", "number[1]": "succeeded", "plus[0]": "succeeded"},
        returns=["[10, 1, 4]"],
    ),
    Case(copies_that_grow, "`list()` of what is known later is a list of its own, which may grow."),
    Case(copies_that_grow, "It may be a copy of nothing.", {"count": 0}),
    Case(items_and_slices, "Items and slices of a list that grew are taken when it is there."),
    Case(
        items_and_slices,
        "An item that the list does not have fails what takes it.",
        {"count": 0},
        nodes={"for": "succeeded", "number": "succeeded", "return": "failed"},
    ),
    Case(items_and_outer_values, "A body takes its item, its parts, and what stands outside of the loop."),
    Case(comprehensions_of_dicts_and_sets, "A dict or a set comprehension over outputs is one."),
)
