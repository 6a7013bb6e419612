"""Every example runs on every engine and gives what plain Python gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conformance.case import Case
from tests.conformance.engine import Engine
from tests.conformance.engines import ENGINES
from tests.conformance.meaning import assert_same_meaning
from tests.examples.loading import EXAMPLES, example

# Where the examples that put something live do so; each run has a folder of its own.
PARAMETERS = {
    "delivery": {"registry": "{folder}/registry"},
    "fraud": {"ledger": "{folder}/ledger/blocked.json"},
    "nightly": {"registry": "{folder}/registry"},
    "recommendation": {"registry": "{folder}/registry"},
}

# A scheduler takes long for each; all examples run by `dag.test` on the same Airflow.
SCHEDULED = ("nightly",)


@pytest.mark.engine
@pytest.mark.parametrize(
    ("engine", "title"),
    [
        pytest.param(engine, title, marks=pytest.mark.xdist_group(engine.name), id=f"{engine.name}-{title}")
        for engine in ENGINES
        for title in EXAMPLES
        if not getattr(engine, "scheduled", False) or title in SCHEDULED
    ],
)
def test_an_example_gives_the_same_on_every_engine(
    engine: Engine, title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(example(title, monkeypatch), "Examples are what people copy.", PARAMETERS.get(title, {}))
    (tmp_path / "plain").mkdir()
    monkeypatch.chdir(tmp_path / "plain")
    assert_same_meaning(engine, case, tmp_path)


@pytest.mark.engine
@pytest.mark.parametrize(
    "engine",
    [
        pytest.param(each, marks=pytest.mark.xdist_group(each.name), id=each.name)
        for each in {each.target: each for each in reversed(ENGINES)}.values()
    ],
)
def test_cards_that_a_faulty_run_blocked_are_released_on_every_target(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {**PARAMETERS["fraud"], "most": 3}
    case = Case(example("fraud", monkeypatch), "A rollback undoes what was done outside of the run.", given)
    ledger = tmp_path / "ledger" / "blocked.json"
    ledger.parent.mkdir()
    ledger.write_text("[1000]")
    assert_same_meaning(engine, case, tmp_path)
    assert json.loads(ledger.read_text()) == [1000]
