"""The support table in the documentation is what the backends declare."""

import importlib.util
from pathlib import Path

import pytest

from penstock import compiler
from penstock.spec import Feature

FILE = Path(__file__).parents[2] / "docs" / "support_table.py"


@pytest.fixture(scope="module")
def support_table():
    spec = importlib.util.spec_from_file_location("support_table", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_in_the_page_is_what_the_backends_declare(support_table):
    page = support_table.PAGE.read_text(encoding="utf-8")
    assert support_table.renewed(page) == page, "the table is stale: run `make docs`"


def test_the_table_has_a_row_for_each_feature_and_a_column_for_each_target(support_table):
    lines = support_table.table().splitlines()
    targets = compiler.targets()
    assert lines[0] == f"| Feature | {' | '.join(f'`{target}`' for target in targets)} |"
    rows = [line.split("|") for line in lines[2 : 2 + len(Feature)]]
    assert [row[1].strip() for row in rows] == [feature.value.replace("_", " ") for feature in Feature]
    assert {len(row) for row in rows} == {len(targets) + 3}


def test_whatever_is_refused_says_why_and_what_to_do_instead(support_table):
    text = " ".join(support_table.table().split())
    refused = [
        support
        for target in compiler.targets()
        for support in compiler.backend(target).supports.values()
        if support.level.value == "unsupported"
    ]
    assert refused
    assert all(f"{support.how}. Instead: {support.fix}." in text for support in refused)


def test_a_page_without_its_markers_is_not_written(support_table):
    with pytest.raises(ValueError, match="lacks a marker"):
        support_table.renewed("# Targets\n")
