"""The matrix that is published is the one that was seen."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conformance.matrix import Matrix
from tests.conformance.test_conformance import PAIRS

TEST = "tests/conformance/test_conformance.py::test_a_pipeline_means_the_same_on_every_engine"


def finished(matrix: Matrix, *, failed: str = "", omitted: str = "") -> Any:
    """A session in which all cells passed but one that failed or was not run, by its name."""
    for engine, _, name in PAIRS:
        cell = f"{engine.name}-{name}"
        outcome: Any = "failed" if cell == failed else "passed"
        node = f"{TEST}[{cell}]@{engine.name}"  # several workers name the group, too
        if cell != omitted:
            matrix.pytest_runtest_logreport(pytest.TestReport(node, ("", 0, ""), {}, outcome, None, "call"))
    session: Any = SimpleNamespace(exitstatus=pytest.ExitCode.OK)
    matrix.pytest_sessionfinish(session)
    return session


def test_a_run_that_saw_what_stands_there_passes_and_one_that_saw_otherwise_fails(tmp_path: Path) -> None:
    written = tmp_path / "conformance.md"
    finished(Matrix(written, writes=True))
    assert "| `nones` | ✓ | ✓ |" in written.read_text(encoding="utf-8")
    assert finished(Matrix(written, writes=False)).exitstatus == pytest.ExitCode.OK
    assert finished(Matrix(written, writes=False), failed="act-nones").exitstatus == pytest.ExitCode.TESTS_FAILED


def test_a_run_of_some_cells_neither_writes_nor_judges(tmp_path: Path) -> None:
    written = tmp_path / "conformance.md"
    finished(Matrix(written, writes=True), omitted="act-nones")
    assert not written.exists()
    written.write_text("something else")
    assert finished(Matrix(written, writes=False), omitted="act-nones").exitstatus == pytest.ExitCode.OK
