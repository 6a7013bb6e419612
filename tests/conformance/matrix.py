"""The matrix of case by engine, ``docs/conformance.md``: what a run of all of them saw must be what stands there.

A pytest plugin of the whole suite. With PENSTOCK_WRITE_MATRIX (``make matrix``) it writes the page instead. A run of
some of the cells says nothing of the page.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
MARKS = {"passed": "✓", "failed": "**✗**", "skipped": "n/a"}
_TEST = re.compile(r"test_a_pipeline_means_the_same_on_every_engine\[(?P<cell>[^\]]+)\](@.*)?$")


class Matrix:
    """Hears of each test where the results come together, which with several workers is not where the tests run."""

    def __init__(self, page: Path = PAGE, *, writes: bool = bool(os.environ.get("PENSTOCK_WRITE_MATRIX"))) -> None:
        self._page, self._writes = page, writes
        self._outcomes: dict[str, tuple[str, str]] = {}
        self._told: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keeps the outcome of a cell, and the reason where it does not apply."""
        found = _TEST.search(report.nodeid)
        if found is None or (report.when != "call" and report.passed):
            return
        reason = report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
        self._outcomes[found["cell"]] = (report.outcome, reason)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Writes the page, or fails the run where it is another one."""
        if not self._outcomes or set(self._outcomes) != _cells():
            return
        text = page(self._outcomes)
        if self._writes:
            self._page.write_text(text, encoding="utf-8")
            return
        lines = (self._page.read_text(encoding="utf-8").splitlines(), text.splitlines())
        self._told = list(difflib.unified_diff(*lines, "docs/conformance.md", "this run", n=0, lineterm=""))
        if self._told and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Shows how the page differs."""
        if self._told:
            terminalreporter.section("the matrix is another one: write it by `make matrix`")
            terminalreporter.write_line("\n".join(self._told))


def _cells() -> set[str]:
    from tests.conformance.test_conformance import PAIRS

    return {f"{engine.name}-{name}" for engine, _, name in PAIRS}


def page(outcomes: dict[str, tuple[str, str]]) -> str:
    """The page of these outcomes and reasons, by engine and case as in the tests' names."""
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
            outcome, reason = outcomes.get(f"{engine}-{name}", ("", ""))
            row.append(MARKS.get(outcome, ""))
            if reason:
                reasons[f"| `{name}` | {engine} | {reason} |"] = None
        lines.append(f"| `{name}` | {' | '.join(row)} | {case.why.replace('|', chr(92) + '|')} |")
    if reasons:
        lines += ["", "| does not apply | on | because |", "|---|---|---|", *reasons]
    return "\n".join([*lines, ""])
