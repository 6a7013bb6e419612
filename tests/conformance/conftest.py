"""Writes the matrix of case by engine, ``docs/conformance.md``, when PENSTOCK_WRITE_MATRIX is set (``make matrix``)."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
MARKS = {"passed": "✓", "failed": "**✗**", "skipped": "n/a"}
_CELLS = pytest.StashKey[dict[tuple[str, str], tuple[str, str]]]()
_TEST = re.compile(r"test_a_pipeline_means_the_same_on_every_engine\[(?P<cell>[^\]]+)\]$")


def pytest_configure(config: pytest.Config) -> None:
    """Starts with an empty matrix."""
    config.stash[_CELLS] = {}
    config.pluginmanager.register(_Matrix(config), "penstock-matrix")


class _Matrix:
    """Hears of each test where the results come together, which with several workers is not where the tests run."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keeps the outcome of a cell, and the reason where it does not apply."""
        found = _TEST.search(report.nodeid)
        if found is None or (report.when != "call" and report.passed):
            return
        engine, case = _divided(found["cell"])
        reason = report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
        self.config.stash[_CELLS][case, engine] = (report.outcome, reason)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Writes the page, once, if it is asked for."""
        cells = self.config.stash[_CELLS]
        if os.environ.get("PENSTOCK_WRITE_MATRIX") and cells and not hasattr(self.config, "workerinput"):
            PAGE.write_text(_page(cells), encoding="utf-8")


def _divided(cell: str) -> tuple[str, str]:
    from tests.conformance.engines import ENGINES

    names = sorted((engine.name for engine in ENGINES), key=len, reverse=True)
    engine = next(name for name in names if cell.startswith(f"{name}-"))
    return engine, cell.removeprefix(f"{engine}-")


def _page(cells: dict[tuple[str, str], tuple[str, str]]) -> str:
    from tests.conformance.engines import ENGINES
    from tests.conformance.test_conformance import CASES, IDS

    engines = [engine.name for engine in ENGINES]
    lines = [
        "# Conformance",
        "",
        "Which case was executed on which engine, and gave the result of plain Python, and of every instance the state",
        "that a model of what pipelines mean predicts.",
        "Written by the suite itself: `make matrix`.",
        "",
        "- ✓ passed by execution",
        "- n/a does not apply, for the reason below the table",
        "- empty: not run there (starting Airflow's services takes as long as all other cases together)",
        "",
        f"| case | {' | '.join(engines)} | why it exists |",
        "|---|" + "---|" * (len(engines) + 1),
    ]
    reasons: dict[str, None] = {}
    for case, name in zip(CASES, IDS, strict=True):
        row = []
        for engine in engines:
            outcome, reason = cells.get((name, engine), ("", ""))
            row.append(MARKS.get(outcome, ""))
            if reason:
                reasons[f"| `{name}` | {engine} | {reason} |"] = None
        lines.append(f"| `{name}` | {' | '.join(row)} | {case.why.replace('|', chr(92) + '|')} |")
    if reasons:
        lines += ["", "| does not apply | on | because |", "|---|---|---|", *reasons]
    return "\n".join([*lines, ""])
