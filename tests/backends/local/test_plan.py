"""Who waits for whom, and what fits."""

from __future__ import annotations

import time

import pytest

from penstock.spec import ResourcesSpec
from penstock_backends.local.plan import Budget, Graph


def test_a_node_is_ready_when_the_last_that_it_waits_for_succeeded():
    graph = Graph({"a": [], "b": [], "c": ["a", "b"]})
    assert graph.roots() == ["a", "b"]
    assert graph.succeeded("a") == []
    assert graph.succeeded("b") == ["c"]


def test_a_failure_loses_all_that_is_below_each_once():
    graph = Graph({"a": [], "b": [], "c": ["a", "b"], "d": ["c", "a"], "e": ["b"]})
    assert graph.failed("a") == ["c", "d"]
    assert graph.failed("b") == ["e"]


@pytest.mark.parametrize("count", [10_000])
def test_a_long_chain_needs_no_recursion_and_linear_time(count):
    chain = {str(n): [str(n - 1)] if n else [] for n in range(count)}
    began = time.perf_counter()
    assert len(Graph(chain).failed("0")) == count - 1
    graph = Graph(chain)
    for n in range(count - 1):
        assert graph.succeeded(str(n)) == [str(n + 1)]
    assert time.perf_counter() - began < 1


def test_what_exceeds_the_whole_budget_is_named():
    budget = Budget(2.0, 4 * 2**30, 0)
    assert budget.lacks(None) == []
    assert budget.lacks(ResourcesSpec(cpu=2, memory=2**30)) == []
    assert budget.lacks(ResourcesSpec(cpu=3, memory=8 * 2**30, gpu=1)) == [
        "3 cores of 2",
        "8 GiB of memory of 4 GiB",
        "1 GPUs of 0",
    ]


def test_a_budget_comes_back_whole_from_fractions():
    asked = ResourcesSpec(cpu=0.1)
    budget = Budget(1.0, 0, 0)
    for _ in range(10):
        assert not budget.lacks(asked)
        budget = budget.less(asked)
    assert budget.lacks(asked)
