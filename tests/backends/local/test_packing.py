"""Who is next: within the budget, by priority and the author's order, and with a turn for everyone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_backends.local.budget import Budget, Request
from penstock_backends.local.packing import MOST_OVERTAKINGS, Packing

WHOLE = Budget(4.0, 100, 2, {"licence": 1})
requests = st.builds(
    Request,
    st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0]),
    st.integers(0, 100),
    st.integers(0, 2),
    st.sampled_from([(), (("licence", 1),)]),
)


def test_the_highest_priority_goes_first_then_the_authors_order():
    packing = Packing(WHOLE, ("0", "1"), 4)
    for name, rank in (("late", (0, 2)), ("early", (0, 1)), ("urgent", (-5, 3))):
        packing.add(name, Request(1.0), rank)
    assert [packing.start().item for _ in range(3)] == ["urgent", "early", "late"]
    assert packing.chosen() is None


def test_gpus_are_given_by_name_and_come_back():
    packing = Packing(WHOLE, ("0", "1"), 4)
    for rank in range(4):
        packing.add(rank, Request(gpu=1 if rank < 3 else 0), rank)
    first, second, third = packing.start(), packing.start(), packing.start()
    assert (first.devices, second.devices, third.item, third.devices) == (("0",), ("1",), 3, ())
    assert packing.chosen() is None
    packing.give_back(first)
    assert packing.start().devices == ("0",)


def test_what_others_have_taken_is_left_to_them():
    packing = Packing(WHOLE, ("0", "1"), 4)
    packing.add("needs both", Request(gpu=2), 0)
    packing.add("needs one", Request(gpu=1), 1)
    packing.leave(Request(gpu=1), ["0"])
    assert packing.start().devices == ("1",)
    packing.leave(Request(gpu=2), ["0", "1"])
    assert packing.chosen() is None


def test_one_that_is_passed_again_and_again_gets_its_turn():
    packing = Packing(WHOLE, (), 4)
    packing.add(0, Request(1.0), 0)
    running = [packing.start()]
    packing.add(-1, Request(4.0), 1)
    for number in range(100):
        packing.add(number, Request(1.0), 2 + number)
        if packing.chosen() is None or len(running) > 1:
            packing.give_back(running.pop(0))
        if packing.chosen() is not None:
            running.append(packing.start())
        if running[-1:] and running[-1].item == -1:
            break
    assert number <= MOST_OVERTAKINGS + 3
    assert packing.wanted is None


@pytest.mark.slow
@given(
    waiting=st.lists(st.tuples(requests, st.integers(-2, 2), st.integers(1, 9), st.integers(0, 12)), max_size=40),
    at_once=st.integers(1, 5),
)
def test_everyone_runs_within_the_budget_and_no_one_waits_for_ever(waiting, at_once):
    packing: Packing[int] = Packing(WHOLE, ("0", "1"), at_once)
    arriving = sorted(range(len(waiting)), key=lambda each: waiting[each][3])
    running = {}
    started: list[int] = []
    reservations: dict[Request, set[int]] = {}
    for now in range(1000):
        for item in [each for each, (_, end) in running.items() if end == now]:
            packing.give_back(running.pop(item)[0])
        while arriving and waiting[arriving[0]][3] <= now:
            item = arriving.pop(0)
            request, priority, _, _ = waiting[item]
            packing.add(item, request, (-priority, item))
        while packing.chosen() is not None:
            grant = packing.start()
            started.append(grant.item)
            running[grant.item] = grant, now + waiting[grant.item][2]
            if packing.wanted is not None:
                reservations.setdefault(packing.wanted, set(running))
            reservations = {wanted: old for wanted, old in reservations.items() if wanted == packing.wanted}
            assert grant.request == waiting[grant.item][0]
        # Within the budget, each GPU given once.
        left = WHOLE
        for grant, _ in running.values():
            assert left.holds(grant.request)
            left = left.less(grant.request)
        granted = [device for grant, _ in running.values() for device in grant.devices]
        assert len(granted) == len(set(granted)) == sum(grant.request.gpu for grant, _ in running.values())
        assert len(running) <= at_once
        # Where nothing runs, nothing waits; and what is reserved waits for nothing that was started after it was.
        assert running or not packing.is_waiting
        for old in reservations.values():
            assert old & running.keys()
        if not arriving and not running:
            break
    assert sorted(started) == list(range(len(waiting)))
