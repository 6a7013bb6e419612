"""Every case on every engine: one definition, one meaning.

The engines run for real. What a case says of states must be so, and what the pipeline returns must be what plain Python
returns, to the type and the bit.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.case import Case
from tests.conformance.cases import (
    artifacts,
    conditions,
    endings,
    failures,
    found,
    gates,
    graphs,
    loops,
    results,
    secrets,
    sources,
    values,
)
from tests.conformance.engine import Engine
from tests.conformance.engines import ENGINES
from tests.conformance.engines.airflow import Airflow
from tests.conformance.meaning import assert_same_meaning, assert_the_model_agrees

MODULES = (values, artifacts, sources, graphs, conditions, loops, gates, failures, endings, results, secrets, found)
CASES = [case for module in MODULES for case in module.CASES]


def _ids() -> Iterator[str]:
    """The pipelines' names, and which of several is meant where parameters are given."""
    given: Counter[str] = Counter()
    for case in CASES:
        if case.parameters:
            given[case.name] += 1
        number = given[case.name]
        yield case.name + ("" if not case.parameters else "-given" if number == 1 else f"-given-{number}")


IDS = list(_ids())
# A run on a scheduler takes several times as long as one by `dag.test`.
SCHEDULED = ("thirty_lines", "one_failure", "retried", "rollback_in_a_loop", "items_and_slices")


@pytest.fixture
def in_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of the test's own, also as the current directory."""
    before = Path.cwd()
    (tmp_path / "plain").mkdir()
    os.chdir(tmp_path / "plain")
    yield tmp_path
    os.chdir(before)


PAIRS = [
    (engine, case, name)
    for engine in ENGINES
    for case, name in zip(CASES, IDS, strict=True)
    if not getattr(engine, "scheduled", False) or case.name in SCHEDULED
]
"""Every case on every engine, the cases of one engine together, so that its warm process serves them all."""


def _tests() -> Iterator[Any]:
    for engine, case, name in PAIRS:
        group = engine.group(case.name) if isinstance(engine, Airflow) else engine.name
        yield pytest.param(engine, case, id=f"{engine.name}-{name}", marks=pytest.mark.xdist_group(group))


@pytest.mark.engine
@pytest.mark.parametrize(("engine", "case"), list(_tests()))
def test_a_pipeline_means_the_same_on_every_engine(engine: Engine, case: Case, in_folder: Path) -> None:
    assert_same_meaning(engine, case, in_folder)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_model_agrees_with_the_case_and_with_plain_python(case: Case, in_folder: Path) -> None:
    assert_the_model_agrees(case, in_folder)


def test_each_case_says_why_it_exists() -> None:
    assert len(set(IDS)) == len(IDS)
    assert all(case.why.endswith((".", "!", "?")) for case in CASES)
