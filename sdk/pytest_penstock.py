"""The pytest plugin of Penstock: the fixtures ``penstock_run`` and ``penstock_golden``.

pytest loads it in every session, whether or not a test there uses it; so Penstock is imported only where one does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from penstock.testing import Golden, PipelineRunner

UPDATE = "PENSTOCK_UPDATE_GOLDEN"
CHANGED = "penstock_golden"
_RUNNER: pytest.StashKey[PipelineRunner] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds ``--penstock-update``."""
    said = f"write the golden files of pipelines anew ({UPDATE}=1 does so, too)"
    parser.getgroup("penstock").addoption("--penstock-update", action="store_true", help=said)


@pytest.fixture
def penstock_run(request: pytest.FixtureRequest) -> PipelineRunner:
    """Runs pipelines in a store of this test's own: `penstock_run(pipeline, url="x", fakes={"load": [1, 2]})`.

    See `penstock.testing.PipelineRunner`; what it returns is a `penstock.testing.Trial`.
    """
    from penstock.testing import PipelineRunner  # noqa: PLC0415  # see above

    runner = PipelineRunner(request.getfixturevalue("tmp_path") / ".penstock")
    request.node.stash[_RUNNER] = runner
    return runner


@pytest.fixture
def penstock_golden(request: pytest.FixtureRequest) -> Iterator[Golden]:
    """Holds what a pipeline compiles to against files beside the test: `penstock_golden(pipeline, "airflow")`.

    See `penstock.testing.Golden`; `pytest --penstock-update` writes the files.
    """
    from penstock.testing import Golden  # noqa: PLC0415  # see above

    update = request.config.getoption("--penstock-update") or bool(os.environ.get(UPDATE))
    golden = Golden(request.path.parent, update=update)
    yield golden
    request.node.user_properties.extend((CHANGED, str(each)) for each in golden.changed)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Adds to the report of a test that failed what became of the runs that it made."""
    outcome: Any = yield
    runner = item.stash.get(_RUNNER, None)
    report = outcome.get_result()
    if runner is None or not report.failed or report.when != "call":
        return
    said = str(call.excinfo.value) if call.excinfo is not None else ""
    described = [(f"Penstock run of {run.pipeline}", run.describe()) for run in runner.runs]
    report.sections.extend((title, text) for title, text in described if text not in said)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says which golden files were written or removed."""
    passed = [*terminalreporter.stats.get("passed", ()), *terminalreporter.stats.get("", ())]
    changed = {value for report in passed for name, value in getattr(report, "user_properties", ()) if name == CHANGED}
    if changed:
        terminalreporter.section("golden files of pipelines, written or removed")
        for each in sorted(changed):
            terminalreporter.line(os.path.relpath(each, terminalreporter.startpath))
