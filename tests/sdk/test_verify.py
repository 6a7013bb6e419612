"""What must hold of a spec that comes from outside, and how what doesn't is told."""

from __future__ import annotations

import json

import pytest

from penstock import RunStatus, SpecError, pipeline, step
from penstock.compiler import compile_spec, load_spec


@step
def make(n: int) -> int:
    return n


@step
def text(value: int, more: list[int] = []) -> str:
    return str(value)


@step
def numbers(n: int) -> list[int]:
    return list(range(n))


@step
def total(values: list[int]) -> int:
    return sum(values)


@pipeline
def inner(n: int) -> int:
    return make(n)


@pipeline
def sample(n: int = 3) -> str:
    first = make(n)
    return text.with_options(after=inner(first))(first, [first, 1])


def document() -> dict:
    return json.loads(sample.spec.model_dump_json())


def test_a_spec_survives_json_and_verification():
    assert load_spec(sample.spec.model_dump_json()) == sample.spec


def refused(data: dict) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_spec(json.dumps(data))
    return [each.code for each in caught.value.diagnostics]


def test_a_cycle_is_shown_as_one():
    data = document()
    data["body"][0]["after"] = ["text"]
    with pytest.raises(SpecError, match=r"these nodes wait for each other: (make|text).* -> ") as caught:
        load_spec(json.dumps(data))
    assert {each.code for each in caught.value.diagnostics} == {"P401"}


def test_a_cycle_through_a_group_is_found():
    data = document()
    data["body"][1]["after"] = ["text"]
    assert "P401" in refused(data)


def test_a_long_chain_is_no_recursion():
    data = document()
    task = data["body"][0]
    task["inputs"] = [["n", {"kind": "literal", "value": 1}]]
    chain = [{**task, "id": f"t{n}", "after": [f"t{n - 1}"] if n else []} for n in range(5000)]
    data |= {"body": chain, "result": None, "returns": {"kind": "none"}}
    assert len(load_spec(json.dumps(data)).body) == 5000


CHANGES = {
    "duplicate node": ("P403", lambda d: d["body"].append(d["body"][0])),
    "duplicate step": ("P403", lambda d: d["steps"].append(d["steps"][0])),
    "dangling node": ("P404", lambda d: d["body"][2]["inputs"][0][1].update(node="gone")),
    "dangling output": ("P404", lambda d: d["body"][2]["inputs"][0][1].update(output="gone")),
    "dangling parameter": ("P404", lambda d: d["body"][0]["inputs"][0][1].update(name="gone")),
    "dangling after": ("P404", lambda d: d["body"][2].update(after=["gone"])),
    "computed result": ("P410", lambda d: d["result"].update(path=[{"kind": "item", "key": 0}])),
    "dangling result": ("P404", lambda d: d["result"].update(node="gone")),
    "unknown step": ("P405", lambda d: d["body"][0].update(step="m:gone")),
    "missing input": ("P406", lambda d: d["body"][0].update(inputs=[])),
    "extra input": ("P406", lambda d: d["body"][0]["inputs"].append(["x", {"kind": "literal", "value": 1}])),
    "bad type": ("P407", lambda d: d["steps"][1]["inputs"][0]["type"].update(kind="bytes", text="bytes")),
    "newline in a name": ("P402", lambda d: d.update(name="x\nimport os")),
    "newline in a file": ("P402", lambda d: d["span"].update(file="x\nimport os")),
    "path as a node": ("P402", lambda d: d["body"][0].update(id="../x")),
    "code as a step": ("P402", lambda d: d["steps"][0].update(id="m:f(); import os")),
    "newline in a requirement": ("P402", lambda d: d["steps"][0].update(requirements=["x\n--index-url=y"])),
    "unknown field": ("P400", lambda d: d.update(code="print()")),
    "unknown version": ("P400", lambda d: d.update(version=2)),
    "unknown kind": ("P400", lambda d: d["body"][0].update(kind="eval")),
    "negative retries": ("P400", lambda d: d["body"][0]["settings"].update(retry={"max_retries": -1})),
}


@pytest.mark.parametrize(("code", "change"), CHANGES.values(), ids=CHANGES.keys())
def test_a_broken_spec_is_refused_with_its_place(code, change):
    data = document()
    change(data)
    assert code in refused(data)


def test_what_is_no_json_is_refused():
    with pytest.raises(SpecError, match="the document"):
        load_spec("{")


@pytest.mark.parametrize("target", ["local", "kubeflow", "airflow", "github"])
def test_compiling_from_json_gives_the_same_bytes_as_from_python(target):
    assert compile_spec(load_spec(sample.spec.model_dump_json()), target) == sample.compile(target)


# --- branches, loops, gates and endings -------------------------------------------------------------------------------


@step
def undo(output: int) -> None: ...


@step
def told(status: RunStatus) -> None: ...


@pipeline(on_failure=told, on_exit=told)
def controlled(n: int = 3) -> int:
    first = make.with_options(rollback=undo)(n)
    if first > 1:
        make(1)
    found = []
    for x in numbers(n):
        found.append(make(x))
        if x > 1:
            found.append(make(5))
    assert first < 100
    return total(found)


def controlled_document() -> dict:
    return json.loads(controlled.spec.model_dump_json())


def node(data: dict, id_: str, body: list | None = None) -> dict:
    """A node of a document by its id, however deep."""
    for each in data["body"] if body is None else body:
        inner = [*each.get("then", ()), *each.get("otherwise", ()), *each.get("body", ())]
        if each["id"] == id_:
            return each
        found = node(data, id_, inner) if inner else {}
        if found:
            return found
    return {}


def without_step(data: dict, id_: str) -> None:
    data["steps"] = [each for each in data["steps"] if each["id"] != id_]


ITEM = {"kind": "item", "loop": "for"}
STATUS = {"kind": "status"}
ONE = {"kind": "literal", "value": 1}
WITHIN = {"kind": "output", "node": "make_3", "output": "output"}
CONTROL_CHANGES = {
    "choice of no branch": (
        "P404",
        lambda d: d.update(result={"kind": "choice", "branch": "gone", "then": WITHIN, "otherwise": WITHIN}),
    ),
    "choice of a loop": (
        "P404",
        lambda d: d.update(result={"kind": "choice", "branch": "for", "then": ONE, "otherwise": ONE}),
    ),
    "collection of no loop": ("P404", lambda d: node(d, "total")["inputs"][0][1].update(loop="gone")),
    "collection of a branch": ("P404", lambda d: node(d, "total")["inputs"][0][1].update(loop="if")),
    "choice of one item": (
        "P409",
        lambda d: d.update(result={"kind": "choice", "branch": "if_2", "then": ONE, "otherwise": ONE}),
    ),
    "entry under no branch": (
        "P404",
        lambda d: node(d, "total")["inputs"][0][1]["entries"][0].update(when=[{"branch": "gone", "holds": True}]),
    ),
    "branch after nothing": ("P404", lambda d: node(d, "if").update(after=["gone"])),
    "gate of nothing": ("P404", lambda d: node(d, "assert").update(condition={**WITHIN, "node": "gone"})),
    "rollback of nothing": ("P404", lambda d: node(d, "make")["rollback"]["inputs"][0][1].update(node="gone")),
    "no step that decides": ("P405", lambda d: without_step(d, "penstock:decide")),
    "no step that lists items": ("P405", lambda d: without_step(d, "penstock:items")),
    "no step that checks": ("P405", lambda d: without_step(d, "penstock:check")),
    "no step that undoes": ("P405", lambda d: node(d, "make")["rollback"].update(step="m:gone")),
    "no step at the end": ("P405", lambda d: d["on_exit"][0].update(step="m:gone")),
    "missing input at the end": ("P406", lambda d: d["on_failure"][0].update(inputs=[])),
    "status before the end": ("P408", lambda d: node(d, "total")["inputs"][0].__setitem__(1, STATUS)),
    "status in a condition": ("P408", lambda d: node(d, "if").update(condition=STATUS)),
    "item outside its loop": ("P409", lambda d: node(d, "make_2")["inputs"][0].__setitem__(1, ITEM)),
    "item as the result": ("P409", lambda d: d.update(result=ITEM)),
    "one item's value outside": ("P409", lambda d: node(d, "make_2")["inputs"][0].__setitem__(1, WITHIN)),
    "one item's value at the end": (
        "P409",
        lambda d: d["on_exit"][0]["inputs"][0].__setitem__(1, WITHIN),
    ),
    "loop over its own items": ("P409", lambda d: node(d, "for").update(items=ITEM)),
    "duplicate rollback": ("P403", lambda d: node(d, "make")["rollback"].update(id="total")),
    "duplicate ending": ("P403", lambda d: d["on_exit"][0].update(id="total")),
    "ending called as a node in a branch": ("P403", lambda d: d["on_failure"][0].update(id="make_2")),
    "path as an ending": ("P402", lambda d: d["on_exit"][0].update(id="../x")),
    "circle through a branch": ("P401", lambda d: node(d, "make").update(after=["make_2"])),
    "circle through a loop": ("P401", lambda d: node(d, "numbers").update(after=["make_3"])),
    "circle through a gate": ("P401", lambda d: node(d, "numbers").update(after=["total"])),
    "no items at a time": ("P400", lambda d: node(d, "for").update(parallelism=0)),
    "an operator that there is not": (
        "P400",
        lambda d: node(d, "if").update(condition={"kind": "operation", "operator": "eval", "operands": []}),
    ),
}


@pytest.mark.parametrize(("code", "change"), CONTROL_CHANGES.values(), ids=CONTROL_CHANGES.keys())
def test_broken_control_flow_is_refused_with_its_place(code, change):
    data = controlled_document()
    change(data)
    assert code in refused(data)


def test_control_flow_survives_json_and_verification():
    assert load_spec(controlled.spec.model_dump_json()) == controlled.spec
