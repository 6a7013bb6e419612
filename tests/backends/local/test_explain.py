"""Why a node ran, or did not: what has changed is named, and nothing else."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from penstock import compiler
from penstock.loading import load_pipeline

FILES = {
    "explained.py": """
from penstock import Gate, pipeline, step
from near import offset

FACTOR = 2

@step
def load(value: int) -> int:
    return value + offset()

@step
def double(value: int, by: int = 0) -> int:
    return value * FACTOR + by

@step(cache=False)
def stamp(value: int) -> int:
    return value

@step
def total(values: list[int]) -> int:
    return sum(values)

@pipeline
def work(value: int = 1, sizes: list[int] = [1, 2]) -> int:
    loaded = load(value)
    stamp(loaded)
    return total([double(size, by=loaded) for size in sizes])
""",
    "near.py": """
from far import unit, other

def offset():
    return unit() * 10

def unused():
    return other()
""",
    "far.py": """
def unit():
    return 1

def other():
    return 2
""",
}
SAME = "the same code and inputs as in run "


class Author:
    """Writes the modules with changes, runs the pipeline, and says why its nodes ran."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *changes, **parameters):
        """Each change is a file, what stands there, and what shall stand there instead."""
        files = dict(FILES)
        for name, before, after in changes:
            assert before in files[name]
            files[name] = files[name].replace(before, after)
        for name, text in files.items():
            (self.folder / name).write_text(text)
            sys.modules.pop(name.removesuffix(".py"), None)
        return load_pipeline(str(self.folder / "explained.py")).run(inline=True, **parameters)

    def why(self, *changes, **parameters):
        """Why the nodes ran that did not find a result."""
        run = self.run(*changes, **parameters)
        history = compiler.history(None)
        said = history.explain(history.find(run.id))
        assert {name for name, reason in said.items() if reason.startswith(SAME)} == {
            node.id for node in run.nodes.values() if node.state.value == "cached"
        }
        return {name: reason for name, reason in said.items() if not reason.startswith(SAME) and name != "stamp"}


@pytest.fixture
def author(tmp_path, among_edits):
    yield Author(tmp_path)
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


def test_what_never_ran_ran_for_that(author):
    first = "no earlier run has it"
    assert author.why() == {"load": first, "double[0]": first, "double[1]": first, "total": first}


def test_what_hits_names_the_run_that_computed_it(author):
    first = author.run()
    author.run()
    run = author.run()
    history = compiler.history(None)
    said = history.explain(history.find(run.id))
    assert said == {
        "load": SAME + first.id,
        "stamp": "it is not cached (`cache=False`)",
        "double[0]": SAME + first.id,
        "double[1]": SAME + first.id,
        "total": SAME + first.id,
    }


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("far.py", "return 1", "return 2 - 1"), {"load": "`far.unit` changed"}),
        (("far.py", "return 2", "return 3"), {}),
        (("near.py", "return other()", "return 0"), {}),
        (("near.py", "unit() * 10", "10"), {"load": "`near.offset` changed"}),
        (("explained.py", "return value + offset()", "return offset() + value"), {"load": "step `load` changed"}),
        (
            ("explained.py", "FACTOR = 2", "FACTOR = 1 + 1"),
            {"double[0]": "`explained.FACTOR` changed", "double[1]": "`explained.FACTOR` changed"},
        ),
        (
            ("explained.py", "@step\ndef total", "@step(cache_version='2')\ndef total"),
            {"total": "`cache_version` changed"},
        ),
        (("explained.py", "@step\ndef total", "@step(env={'A': 'b'})\ndef total"), {"total": "`env` changed"}),
        (
            ("explained.py", "@step\ndef total", "@step(packages=['numpy==2.0'])\ndef total"),
            {"total": "its packages changed (+numpy==2.0)"},
        ),
        (
            ("explained.py", "@step\ndef total", "@step(gates=[Gate('output', '>', 0)])\ndef total"),
            {"total": "gate `output >` is new"},
        ),
        (("explained.py", "return sum(values)", "return sum(values)  # all"), {}),
    ],
)
def test_a_change_is_named_and_touches_what_reaches_it_alone(author, change, expected):
    author.run()
    assert author.why(change) == expected


def test_an_input_that_differs_is_traced_to_where_it_comes_from(author):
    author.run()
    assert author.why(sizes=[1, 3]) == {
        "double[1]": "input `value` differs (from `for[1]`)",
        "total": "input `values` differs (from `double[1]`)",
    }
    said = author.why(value=2)
    assert said["load"] == "input `value` differs (from parameter `value`)"
    assert said["double[0]"] == "input `by` differs (from `load`)"


def test_a_node_of_which_one_output_among_several_differs_is_told(author):
    several = (
        ("explained.py", "from near", "from dataclasses import dataclass\nfrom near"),
        ("explained.py", "FACTOR = 2", "FACTOR = 2\n\n@dataclass\nclass Both:\n    changing: int\n    constant: int"),
        ("explained.py", "-> int:\n    return value * FACTOR + by", "-> Both:\n    return Both(value, 0)"),
        ("explained.py", "values: list[int]", "values: list[Both]"),
        ("explained.py", "return sum(values)", "return len(values)"),
    )
    author.run(*several)
    assert author.why(*several, sizes=[1, 3])["total"] == "input `values` differs (from `double[1]`)"


def test_of_many_nodes_that_an_input_is_from_the_first_are_named(author):
    author.run(sizes=[1] * 9)
    many = "from `double[0]`, `double[1]`, `double[2]`, `double[3]` and 5 more"
    assert author.why(sizes=[2] * 9)["total"] == f"input `values` differs ({many})"


def test_the_bound_of_a_gate_that_differs_is_told(author):
    asked = ("explained.py", "@step\ndef total", "@step(gates=[Gate('output', '>', 0)])\ndef total")
    author.run(asked)
    assert author.why((*asked[:2], asked[2].replace("0)", "1)"))) == {
        "total": "gate `output >` differs (it is written otherwise)"
    }


def test_another_python_is_told(author, monkeypatch):
    monkeypatch.setattr("penstock_backends.local.cache.PYTHON", "cpython-3.0")
    monkeypatch.setattr("penstock_backends.local.execution.PYTHON", "cpython-3.0")
    author.run()
    monkeypatch.undo()
    monkeypatch.setenv("PENSTOCK_STORE", str(author.folder / "store"))
    assert author.why()["load"].startswith("it ran on cpython-3.0, and runs on cpython-3.")


def test_a_damaged_result_is_told(author):
    first = author.run()
    for result in (author.folder / "store" / "results").iterdir():
        result.chmod(0o644)
        result.write_bytes(b"?")
    said = author.why()
    assert said["load"].endswith("or is damaged there")
    assert said["double[0]"] == f"what it took in run {first.id} is no longer in the store"  # the loop's items


def test_a_result_that_is_gone_or_was_never_there_is_told(author):
    first = author.run()
    shutil.rmtree(author.folder / "store" / "results")
    gone = f"what it gave in run {first.id} was rolled back, or is no longer in the store, or is damaged there"
    assert author.why()["load"] == gone
    failing = ("explained.py", "return sum(values)", "raise ValueError")
    assert author.why(failing) == {"total": "step `total` changed"}
    failed = compiler.history(None).find("latest")
    assert author.why(failing) == {"total": f"in run {failed.id} it failed"}
