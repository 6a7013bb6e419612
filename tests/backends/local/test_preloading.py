"""What worker processes have loaded when a step begins: what it imports, and little else, as each page costs forks."""

from __future__ import annotations

import statistics
import sys

from penstock import pipeline, step
from penstock_backends.local import preloading


@step
def loaded(names: list[str]) -> list[str]:
    return [name for name in names if name in sys.modules]


@step
def mean(numbers: list[float]) -> float:
    return statistics.mean(numbers)


@pipeline
def plain(names: list[str]) -> list[str]:
    return loaded(names)


@pipeline
def with_statistics(names: list[str]) -> list[str]:
    mean([1.0, 2.0])
    return loaded(names)


def test_a_step_finds_nothing_loaded_that_only_makes_forks_dearer(tmp_path):
    names = ["hashlib", "shutil", "ssl", "lzma", "random", "tempfile", "statistics"]
    assert plain.run({"names": names}, store=tmp_path).outputs == []


def test_what_steps_import_of_pythons_own_is_loaded_before_they_begin(tmp_path):
    assert with_statistics.run({"names": ["statistics", "tarfile"]}, store=tmp_path).outputs == ["statistics"]


def test_modules_are_loaded_beforehand_only_where_they_are_known_to_bear_it():
    spec = with_statistics.define().spec
    assert preloading.modules(spec, standard_only=True) == ["statistics"]
    assert preloading.modules(plain.define().spec) == []


def test_modules_in_the_current_folder_are_not_taken_for_pythons_own(tmp_path, monkeypatch):
    (tmp_path / "select.py").write_text("raise SystemExit('the author has a module of that name')\n")
    monkeypatch.chdir(tmp_path)
    assert plain.run({"names": []}, store=tmp_path / "store").outputs == []
