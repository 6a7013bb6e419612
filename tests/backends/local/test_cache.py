"""When an earlier result stands in, and when it does not."""

from __future__ import annotations

import importlib
import itertools
import sys
from pathlib import Path

import pytest

SOURCE = """
from pathlib import Path
from penstock import log_metric, pipeline, step
from neighbour{n} import offset

FACTOR = 2

@step
def load(value: int) -> int:
    return value + offset()

@step
def scale(value: int) -> int:
    log_metric("scaled", value * FACTOR)
    return value * FACTOR

@step
def write(value: int) -> Path:
    Path("out.txt").write_text(str(value))
    return Path("out.txt")

@step
def read(path: Path) -> int:
    return int(path.read_text())

@pipeline
def work(value: int = 1) -> int:
    return read(write(scale(load(value))))
"""
NEIGHBOUR = "def offset():\n    return 10\n\n\ndef unused():\n    return 1\n"
NUMBERS = itertools.count()


@pytest.fixture
def author(tmp_path, monkeypatch):
    """Writes the pipeline with changes, runs it, and says what became of its nodes."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PENSTOCK_STORE", str(tmp_path / "store"))

    def run(*changes, neighbour=(), inline=True, **parameters):
        # Always under the same names, so that only the text differs.
        for name in ("authored", "neighbour"):
            sys.modules.pop(name, None)
        source, beside = SOURCE.replace("{n}", ""), NEIGHBOUR
        for before, after in changes:
            assert before in source
            source = source.replace(before, after)
        for before, after in neighbour:
            assert before in beside
            beside = beside.replace(before, after)
        (tmp_path / "authored.py").write_text(source + f"# {next(NUMBERS)}\n")
        (tmp_path / "neighbour.py").write_text(beside + f"# {next(NUMBERS)}\n")
        importlib.invalidate_caches()
        sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
        try:
            made = importlib.import_module("authored")
        finally:
            sys.dont_write_bytecode = before
        return made.work.run(inline=inline, **parameters)

    yield run
    for name in ("authored", "neighbour"):
        sys.modules.pop(name, None)


def ran(run):
    return [node.id for node in run.nodes.values() if node.state.value == "succeeded"]


def test_a_second_run_runs_nothing_and_gives_the_same(author):
    first = author()
    second = author()
    assert first.outputs == second.outputs == 22
    assert ran(second) == []
    assert second["scale"].metrics == first["scale"].metrics == {"scaled": 22}
    assert second["scale"].attempts == 0


def test_workers_and_inline_share_results(author):
    author(inline=False)
    assert ran(author(inline=True)) == []


def test_another_parameter_runs_what_it_reaches(author):
    author()
    assert ran(author(value=2)) == ["load", "scale", "write", "read"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("return value + offset()", "return offset() + value"), ["load"]),
        (("FACTOR = 2", "FACTOR = 1 + 1"), ["scale"]),
        (("FACTOR = 2", "FACTOR = 3"), ["scale", "write", "read"]),
        (("return int(path.read_text())", "return int(path.read_text()) * 1"), ["read"]),
    ],
)
def test_changed_code_runs_the_step_and_what_gets_another_value(author, change, expected):
    author()
    assert ran(author(change)) == expected


def test_comments_layout_and_place_do_not_count(author):
    author()
    moved = ("FACTOR = 2", "# how much\n\n\nFACTOR = (\n    2\n)  # twice")
    assert ran(author(moved)) == []


@pytest.mark.slow
def test_a_helper_in_another_module_counts_and_what_is_not_reached_does_not(author):
    author()
    assert ran(author(neighbour=[("return 1\n", "return 2\n")])) == []
    assert ran(author(neighbour=[("return 10", "return 5 + 5")])) == ["load"]


def test_environment_packages_and_cache_version_count(author):
    author()
    for option in ('env={"A": "1"}', 'cache_version="2"'):
        assert ran(author(("@step\ndef scale", f"@step({option})\ndef scale"))) == ["scale"]
        assert ran(author(("@step\ndef scale", f"@step({option})\ndef scale"))) == []


def test_cache_false_always_runs(author):
    change = ("@step\ndef scale", "@step(cache=False)\ndef scale")
    author(change)
    assert ran(author(change)) == ["scale"]


def test_a_failure_is_no_result(author):
    change = ("return int(path.read_text())", "raise ValueError")
    assert author(change).state.value == "failed"
    again = author(change)
    assert again["read"].state.value == "failed"
    assert again["write"].state.value == "cached"


def objects(store: Path):
    return [file for file in (store / "objects").rglob("*") if file.is_file()]


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_a_damaged_artifact_is_seen_and_made_again(author, damage, tmp_path):
    author()
    (file,) = objects(tmp_path / "store")
    content = file.read_bytes()
    file.chmod(0o644)
    if damage == "delete":
        file.unlink()
    else:
        file.write_bytes(b"x" + content[1:] if damage == "flip" else content[:-1])
    again = author()
    assert ran(again) == ["write"]
    assert again.outputs == 22
    assert file.read_bytes() == content


def test_a_damaged_record_is_seen_and_made_again(author, tmp_path):
    author()
    records = [file for file in (tmp_path / "store" / "results").rglob("*") if file.is_file()]
    assert len(records) == 4
    for file in records:
        file.write_bytes(file.read_bytes().replace(b"22", b"23"))
    again = author()
    assert "scale" in ran(again)
    assert again.outputs == 22


def test_equal_calls_in_one_run_are_separate_and_both_found_later(author):
    twice = ("return read(write(scale(load(value))))", "load(value)\n    return read(write(scale(load(value))))")
    assert ran(author(twice)) == ["load", "load_2", "scale", "write", "read"]
    assert ran(author(twice)) == []
