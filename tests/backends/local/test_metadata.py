"""Where what steps record of their outputs is seen on this machine."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import NamedTuple

import pytest

from penstock import Dataset, Gate, Retry, compiler, current_attempt, log_metadata, pedigree, pipeline, step
from penstock.chronicle import Side, comparison, node_as_json
from penstock.chronicle import run as shown
from penstock_backends.local.report import report_of
from tests.backends.local.test_journal import check
from tests.backends.local.test_report import Page


class Table(NamedTuple):
    rows: Dataset[list[int]]
    count: int


@step(retry=Retry(1))
def load(count: int) -> Table:
    log_metadata(output="rows", source="<i>census</i>", rows=count, shape=(count, 1), loss=math.nan)
    log_metadata(output="count", **({"lost": True} if current_attempt() == 1 else {"unit": "row"}))
    if current_attempt() == 1:
        raise OSError("the disk was busy")
    return Table(list(range(count)), count)


@step(gates=Gate("output", ">", 100))
def total(rows: list[int]) -> int:
    log_metadata(rows=len(rows))
    return sum(rows)


@step
def mean(rows: list[int]) -> float:
    log_metadata(kind="arithmetic")
    return sum(rows) / len(rows)


@pipeline
def summed(count: int = 3) -> float:
    rows = load(count).rows
    total(rows)
    return mean(rows)


EXPECTED = {
    "rows": {"source": "<i>census</i>", "rows": 3, "shape": [3, 1], "loss": pytest.approx(math.nan, nan_ok=True)},
    "count": {"unit": "row"},
}


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.mark.parametrize("inline", [True, False])
def test_the_attempt_that_succeeds_says_what_its_outputs_are(inline, store):
    run = summed.run(store=store, inline=inline)
    assert run["load"].metadata == EXPECTED
    assert run["total"].state.value == "failed"
    assert run["total"].metadata == {"output": {"rows": 3}}
    assert run["mean"].metadata == {"output": {"kind": "arithmetic"}}
    check(run)
    history = compiler.history(None, store)
    past = history.nodes(history.find(run.id))
    assert past["load"].metadata == EXPECTED
    assert node_as_json(past["load"])["metadata"]["rows"]["loss"] == {"$float": "nan"}


def test_what_is_taken_from_an_earlier_run_is_what_it_was(store):
    first = summed.run(store=store, inline=True)
    for run in (summed.run(store=store, inline=True), summed.resume(first, store=store, inline=True)):
        assert (run["load"].state.value, run["load"].metadata) == ("cached", EXPECTED)
        check(run)


def test_it_stands_where_runs_are_looked_at(store):
    first, second = (summed.run(store=store, inline=True, count=count) for count in (3, 4))
    history = compiler.history(None, store)
    old, new = (Side(found, {}, history.nodes(found)) for found in map(history.find, (first.id, second.id)))
    told = "metadata of rows: source = '<i>census</i>', rows = 3, shape = [3, 1], loss = nan"
    assert f"      {told}" in "\n".join(shown(old.run, {}, old.nodes)).replace("\\[", "[").splitlines()
    compared = [line.strip() for line in comparison(old, new, (), ())]
    assert "rows: rows = 3 [dim]→[/] 4" in compared
    assert not any("source" in line for line in compared)
    lineage = history.lineage(f"{first.id}:load")
    assert f"        {told}" in "\n".join(pedigree.lines(lineage)).replace("\\[", "[").splitlines()
    assert pedigree.as_json(lineage)["made"][0]["metadata"]["count"] == {"unit": "row"}
    page = Page(report_of(history, old.run))
    assert "rows source '<i>census</i>'" in page.text
    assert "kind 'arithmetic'" in page.text
    assert "i" not in page.elements


@pytest.mark.slow
def test_the_stand_alone_file_tells_it(tmp_path):
    (tmp_path / "summed.py").write_text(summed.compile("local")["summed.py"])
    command = [sys.executable, "-I", "summed.py", "--count", "2"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    assert "    metadata of rows: source = '<i>census</i>', rows = 2, shape = [2, 1], loss = nan\n" in said
    assert "    metadata of count: unit = 'row'\n" in said
    assert "lost" not in said
