"""The commands that make a page of a run, and that tell where something came from."""

from __future__ import annotations

import json
import webbrowser

import pytest
from typer.testing import CliRunner

from penstock.cli import app

SOURCE = """
from pathlib import Path
from penstock import pipeline, step

@step
def write(rows: int) -> Path:
    Path("table.csv").write_text("x" * rows)
    return Path("table.csv")

@step
def count(table: Path) -> int:
    return len(table.read_text())

@pipeline
def work(rows: int = 5) -> int:
    return count(write(rows))
"""


def penstock(*words):
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """A folder in which a pipeline ran twice; the ids of both runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flow.py").write_text(SOURCE)
    for rows in (5, 6):
        assert penstock("run", "flow.py", "--inline", "-q", "-p", f"rows={rows}").exit_code == 0
    return sorted(each.name for each in (tmp_path / ".penstock" / "runs").iterdir())


def test_a_report_is_one_file_named_for_its_run(ran, tmp_path):
    done = penstock("runs", "report")
    assert done.stdout == f"wrote work-{ran[1]}.html\n"
    assert "<h1>work</h1>" in (tmp_path / f"work-{ran[1]}.html").read_text()
    assert penstock("runs", "report", ran[0], "-o", "pages/first.html").exit_code == 0
    assert ran[0] in (tmp_path / "pages" / "first.html").read_text()


def test_a_report_is_opened_where_that_is_asked_for(ran, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or len(opened) == 1)
    assert penstock("runs", "report", "-o", "a page.html", "--open").stdout == "wrote a page.html\n"
    assert opened == [(tmp_path / "a page.html").as_uri()]
    assert "no web browser could be opened" in penstock("runs", "report", "-o", "b.html", "--open").stdout


def test_a_report_that_cannot_be_written_is_told_as_such(ran, tmp_path):
    done = penstock("runs", "report", "-o", "flow.py/page.html")
    assert done.exit_code == 2
    assert "P716: flow.py/page.html cannot be written" in done.stderr
    assert "P730" in penstock("runs", "report", "1999").stderr


def test_a_lineage_is_told_of_a_node_and_of_a_file(ran, tmp_path):
    done = penstock("runs", "lineage", f"{ran[0]}:count")
    assert "code  count() flow.py:" in done.stdout
    assert "took  table: write path" in done.stdout
    assert "parameter rows = 5" in done.stdout
    (tmp_path / "found.csv").write_text("x" * 6)
    found = json.loads(penstock("runs", "lineage", "found.csv", "--json").stdout)
    assert found["subjects"] == [f"{ran[1]}:write"]
    assert found["users"] == {f"{ran[1]}:write": [f"{ran[1]}:count"]}
    assert penstock("runs", "lineage", "--format", "mermaid").stdout.startswith("flowchart TD\n")
    assert "P736: no result holds the content of flow.py" in penstock("runs", "lineage", "flow.py").stderr


def test_a_graph_is_drawn(ran):
    drawn = penstock("graph", "flow.py", "--format", "svg").stdout
    assert drawn.startswith("<svg")
    assert ">count</text>" in drawn
