"""What fits into what a run may take."""

from __future__ import annotations

from penstock.spec import ResourcesSpec
from penstock_backends.local.plan import Budget


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
