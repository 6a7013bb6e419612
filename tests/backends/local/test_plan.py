"""What fits into what a run may take."""

from __future__ import annotations

from penstock import Resources
from penstock.settings import settings_of
from penstock.spec import Settings
from penstock_backends.local import budget
from penstock_backends.local.budget import Budget, Request, request_of


def test_what_exceeds_the_whole_budget_is_named():
    have = Budget(2.0, 4 * 2**30, 0, {"licence": 1})
    assert have.lacks(Request()) == []
    assert have.lacks(Request(2.0, 2**30, quotas=(("licence", 1),))) == []
    assert have.lacks(Request(3.0, 8 * 2**30, 1, (("licence", 2), ("seat", 1)))) == [
        "3 cores of 2",
        "8 GiB of memory of 4 GiB",
        "1 GPUs of 0",
        "2 of the quota `licence` of 1",
        "1 of the quota `seat` of 0",
    ]


def test_a_budget_comes_back_whole_from_fractions():
    asked = Request(0.1)
    have = Budget(1.0, 0, 0)
    for _ in range(10):
        assert have.holds(asked)
        have = have.less(asked)
    assert not have.holds(asked)
    assert have.lacks(asked)


def test_a_request_is_what_the_settings_ask_for():
    assert request_of(Settings()) == Request()
    settings = settings_of(Settings(), resources=Resources(cpu=2, memory="1Gi", quotas={"seat": 2, "licence": 1}))
    assert request_of(settings) == Request(2.0, 2**30, 0, (("licence", 1), ("seat", 2)))
    assert settings_of(Settings(), resources=Resources(quotas={"seat": 1})).resources is None


def test_gpus_are_those_that_this_process_may_see(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a, 3")
    assert budget.machine().gpu == 2
    assert budget.devices(2) == ("GPU-a", "3")
    assert budget.devices(1) == ("GPU-a",)
    assert budget.devices(3) == ("0", "1", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert budget.machine().gpu == 0
