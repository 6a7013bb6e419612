"""A problem with what pyproject.toml says points at the line there."""

from __future__ import annotations

import pytest

from penstock import ConfigurationError, compiler

PROJECT = """
[tool.other]
cpu = 1

[tool.penstock.run]
cpu = "many"
store_limt = "2Gi"

[[tool.penstock.run.alerts]]
on = "failure"
to = "https://hooks.example.org"

[[tool.penstock.run.alerts]]
on = "sucess"
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "inner").mkdir()
    return tmp_path / "inner"


def test_each_problem_has_its_line_and_the_text_of_it(folder):
    with pytest.raises(ConfigurationError) as refused:
        compiler.history(folder)
    problems = refused.value.diagnostics
    places = {each.message.partition("option `")[2].partition("`")[0]: each.location for each in problems}
    lines = PROJECT.splitlines()
    assert {name: (place.line, place.text) for name, place in places.items()} == {
        "cpu": (6, lines[5]),
        "store_limt": (7, lines[6]),
        "alerts.1.on": (13, "[[tool.penstock.run.alerts]]"),
    }
    assert {place.path for place in places.values()} == {str(folder.parent / "pyproject.toml")}


def test_what_is_given_has_no_line_though_the_file_says_something_else(folder):
    (folder.parent / "pyproject.toml").write_text("[tool.penstock.run]\nstore = 'here'\n")
    with pytest.raises(ConfigurationError) as refused:
        compiler.history(folder, 5)
    assert {each.location for each in refused.value.diagnostics} == {None}


@pytest.mark.parametrize("option", ["memory", "store_limit"])
def test_a_size_below_nothing_is_refused(option):
    with pytest.raises(ConfigurationError, match=f"P705: run option `{option}`: .*greater than or equal to 0"):
        compiler.checked_run_options({option: -1})
