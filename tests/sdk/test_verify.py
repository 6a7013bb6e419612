"""What must hold of a spec that comes from outside, and how what doesn't is told."""

from __future__ import annotations

import json

import pytest

from penstock import SpecError, pipeline, step
from penstock.compiler import compile_spec, load_spec


@step
def make(n: int) -> int:
    return n


@step
def text(value: int, more: list[int] = []) -> str:
    return str(value)


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
