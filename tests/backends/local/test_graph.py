"""Who waits for whom, and when what is in a loop comes into being."""

from __future__ import annotations

import pytest

from penstock.spec import (
    DECIDE,
    ITEMS,
    CollectBinding,
    Entry,
    ItemBinding,
    LiteralBinding,
    Loop,
    Node,
    OutputBinding,
    PipelineSpec,
    Returns,
    StepSpec,
    Task,
    TypeKind,
    TypeSpec,
)
from penstock_backends.local.graph import Graph, graph_of
from penstock_backends.lowering import program_of

ANY = TypeSpec(kind=TypeKind.ANY)


def graph_for(*body: Node) -> Graph:
    steps = tuple(StepSpec(id=id_, returns=Returns(kind="value")) for id_ in ("m:f", DECIDE, ITEMS))
    return graph_of(program_of(PipelineSpec(name="p", steps=steps, body=body)))


def task(id_: str, *takes: str, after: tuple[str, ...] = (), loop: str = "", collects: str = "") -> Task:
    bindings = [OutputBinding(node=each, output="output") for each in takes]
    inputs = {f"x{number}": binding for number, binding in enumerate(bindings)}
    if loop:
        inputs["item"] = ItemBinding(loop=loop)
    if collects:
        entry = Entry(value=OutputBinding(node=collects, output="output"))
        inputs["all"] = CollectBinding(loop="for", entries=(entry,))
    return Task(id=id_, step="m:f", inputs=tuple(inputs.items()), after=after)


def loop(*body: Node, id_: str = "for", parallelism: int | None = None) -> Loop:
    return Loop(id=id_, items=LiteralBinding(value=[]), item=ANY, body=body, parallelism=parallelism)


def names(keys) -> list[str]:
    return [id_ + "".join(f"[{each}]" for each in index) for id_, index in keys]


def test_a_node_is_ready_when_the_last_that_it_waits_for_has_ended():
    graph = graph_for(task("a"), task("b"), task("c", "a", after=("b",)))
    assert names(graph.begin()) == ["a", "b"]
    assert graph.ended(("a", ()), is_good=True) == []
    assert names(graph.ended(("b", ()), is_good=True)) == ["c"]
    assert not graph.is_troubled(("c", ()))
    assert not graph.is_over
    assert graph.ended(("c", ()), is_good=True) == []
    assert graph.is_over


def test_a_node_is_troubled_by_what_did_not_succeed_and_can_name_it():
    graph = graph_for(task("a"), task("b"), task("c", "a", "b"), task("d", "b"))
    graph.begin()
    assert graph.ended(("a", ()), is_good=False) == []
    assert names(graph.ended(("b", ()), is_good=True)) == ["c", "d"]
    assert names(graph.unsuccessful(("c", ()))) == ["a"]
    assert not graph.is_troubled(("d", ()))


def test_a_body_comes_into_being_with_the_items_and_a_consumer_waits_for_all_of_them():
    graph = graph_for(loop(task("a", loop="for"), task("b", "a")), task("c", collects="b"))
    assert names(graph.begin()) == ["for"]
    assert names(graph.ended(("for", ()), True, size=2)) == ["a[0]", "a[1]"]
    assert names(graph.ended(("a", (1,)), True)) == ["b[1]"]
    assert names(graph.ended(("a", (0,)), False)) == ["b[0]"]
    assert graph.ended(("b", (0,)), False) == []
    assert names(graph.ended(("b", (1,)), True)) == ["c"]
    assert sorted(names(graph.unsuccessful(("c", ())))) == ["a[0]", "b[0]"]


@pytest.mark.parametrize("is_good", [True, False])
def test_a_loop_without_items_frees_its_consumer_at_once(is_good):
    inner = loop(task("a", loop="for_2"), id_="for_2")
    graph = graph_for(loop(inner), task("c", collects="a"))
    graph.begin()
    assert names(graph.ended(("for", ()), is_good, size=0)) == ["c"]
    assert graph.is_troubled(("c", ())) is not is_good


def test_an_inner_loop_has_as_many_instances_as_each_outer_item_has_items():
    inner = loop(task("a", loop="for_2"), id_="for_2")
    graph = graph_for(loop(inner), task("c", collects="a"))
    graph.begin()
    assert names(graph.ended(("for", ()), True, size=2)) == ["for_2[0]", "for_2[1]"]
    assert names(graph.ended(("for_2", (1,)), True, size=2)) == ["a[1][0]", "a[1][1]"]
    assert graph.ended(("for_2", (0,)), True, size=0) == []
    assert graph.ended(("a", (1, 1)), True) == []
    assert names(graph.ended(("a", (1, 0)), True)) == ["c"]


def test_what_follows_one_in_the_same_loop_follows_the_same_item():
    graph = graph_for(loop(task("a", loop="for"), task("b", after=("a",))), task("c", after=("a",)))
    graph.begin()
    graph.ended(("for", ()), True, size=2)
    assert names(graph.ended(("a", (1,)), True)) == ["b[1]"]
    assert names(graph.ended(("a", (0,)), True)) == ["b[0]", "c"]


def test_an_item_begins_when_another_has_ended_whole_where_few_may_be_under_way():
    graph = graph_for(loop(task("a", loop="for"), task("b", "a"), parallelism=2))
    graph.begin()
    assert names(graph.ended(("for", ()), True, size=4)) == ["a[0]", "a[1]"]
    assert names(graph.ended(("a", (0,)), True)) == ["b[0]"]
    assert names(graph.ended(("b", (0,)), True)) == ["a[2]"]
    assert names(graph.ended(("a", (1,)), False)) == ["b[1]"]
    assert names(graph.ended(("b", (1,)), False)) == ["a[3]"]
    assert not graph.is_over


def test_a_long_chain_needs_no_recursion():
    count = 10_000
    graph = graph_for(task("0"), *(task(str(n), str(n - 1)) for n in range(1, count)))
    graph.begin()
    for n in range(count - 1):
        assert names(graph.ended((str(n), ()), is_good=True)) == [str(n + 1)]
