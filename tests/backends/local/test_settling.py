"""What of a binding is left for a worker to resolve, and what the runner decides by itself."""

from __future__ import annotations

import pytest

from penstock.harness import Inputs, Place
from penstock.spec import Branch
from penstock_backends.local.deciding import quick_answer
from penstock_backends.local.plan import node_of, plan_of
from penstock_backends.local.settling import Settling, used_by
from penstock_backends.lowering import program_of
from tests.backends.local import control

OUTPUTS = {
    "for": {"items": [10, 11, 12]},
    **{f"for[{number}]": {"item": 10 + number} for number in range(3)},
    "if[0]": {"holds": True},
    "if[1]": {"holds": False},
    "if[2]": {"holds": True},
    "train[0]": {"output": [1, 2]},
    "train[2]": {"output": [5]},
    "other[1]": {"output": "b"},
}
JOB = {"depths": {"if": 1, "train": 1, "other": 1}, "members": {"for": ["if", "train", "other"]}}
ITEM = {"kind": "item", "loop": "for"}
TRAINED = {"kind": "output", "node": "train", "output": "output"}
CHOSEN = {"kind": "choice", "branch": "if", "then": TRAINED, "otherwise": {**TRAINED, "node": "other"}}


def settled(binding, *index):
    return Settling(OUTPUTS, JOB, Place(index)).settled(binding)


def test_of_a_list_an_instance_takes_its_item_alone():
    found = settled({**ITEM, "path": [{"kind": "attribute", "key": "x"}]}, 2)
    assert list(used_by([found])) == [("for[2]", "item")]
    assert found["path"] == [{"kind": "attribute", "key": "x"}]


def test_of_two_arms_it_takes_what_the_one_that_ran_gave():
    assert list(used_by([settled(CHOSEN, 0)])) == [("train[0]", "output")]
    assert list(used_by([settled(CHOSEN, 1)])) == [("other[1]", "output")]


@pytest.mark.parametrize("spread", [False, True])
@pytest.mark.parametrize("path", [(), ({"kind": "item", "key": -1},)])
def test_a_collected_list_is_the_one_that_the_harness_makes(spread, path):
    entries = [
        {"value": TRAINED, "when": [{"branch": "if", "holds": True}], "spread": spread},
        {"value": ITEM},
        {"value": {"kind": "operation", "operator": "len", "operands": [TRAINED]}},
    ]
    binding = {"kind": "collect", "loop": "for", "entries": entries, "path": list(path)}
    whole = Inputs({}, {}, OUTPUTS, job=JOB).resolve(binding)
    assert Inputs({}, {}, OUTPUTS).resolve(settled(binding)) == whole
    expected = [1, 2, 10, 2, 11, 5, 12, 1] if spread else [[1, 2], 10, 2, 11, [5], 12, 1]
    assert whole == (expected[-1] if path else expected)


def test_what_is_in_what_is_settled_stands_for_one_instance():
    inside = {"kind": "list", "items": [ITEM, {"kind": "dict", "items": [["a", CHOSEN]]}]}
    assert Inputs({}, {}, OUTPUTS).resolve(settled(inside, 2)) == [12, {"a": [5]}]


def decided(wire, operator=">", other=2):
    """What the runner itself decides of an output compared with a constant; None where it leaves that to a worker."""
    program = program_of(control.graded.spec)
    unit = next(unit for unit in program.units if isinstance(unit.node, Branch))
    operands = [{"kind": "output", "node": "grade", "output": "output"}, {"kind": "literal", "value": other}]
    condition = {"kind": "operation", "operator": operator, "operands": operands}
    node = node_of(plan_of(program)[unit.id], ())
    answer = quick_answer(node, {"arguments": {"condition": condition}}, {}, {"grade": {"output": wire}})
    return answer and answer["outputs"]["holds"]


def test_the_runner_decides_over_plain_data():
    assert decided(3) is True
    assert decided(2) is False
    assert decided({"$decimal": "2.5"}) is True
    assert decided({"$tuple": [1, 2]}, "==", {"$tuple": [1, 2]}) is True


@pytest.mark.parametrize(
    ("wire", "operator"),
    [
        ({"$dataclass": ["tests.backends.local.control:Grade", {"value": 3}]}, ">"),
        ({"$artifact": {"format": "pickle", "file": "x.pkl", "digest": "0"}}, ">"),
        (10**9, "range"),
        (None, ">"),
    ],
    ids=["the author's class", "an artifact", "any amount of work", "an error"],
)
def test_the_runner_leaves_the_rest_to_a_worker(wire, operator):
    assert decided(wire, operator) is None
