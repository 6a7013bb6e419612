"""Random pipelines mean on every engine what they mean in plain Python, in the states that the model predicts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock import Pipeline
from tests.conformance import meaning, random_pipelines
from tests.conformance.case import difference
from tests.conformance.cases import programs as kept_programs
from tests.conformance.engine import Engine, Observed
from tests.conformance.engines import ENGINES
from tests.conformance.random_pipelines import TOGETHER, assert_the_same_on, some_programs, written

COUNTS = {"local-inline": 200, "local-workers": 100, "kfp.local": 100, "airflow-3": 100, "act": 30}
"""How many programs each engine runs in CI: of the same ones, the first. Others are run by hand: `random_pipelines`."""
TIMES = float(os.environ.get("PENSTOCK_RANDOM_TIMES", "1"))
"""For how many times as many, or for fewer where that takes too long."""


def _tests() -> Iterator[Any]:
    """The programs in tests of a few, so that two processes may share those of an engine, each with it warm."""
    for engine in ENGINES:
        for seed in range(round(COUNTS.get(engine.name, 0) * TIMES / TOGETHER)):
            group = pytest.mark.xdist_group(f"random-{engine.name}-{seed % 2}")
            yield pytest.param(engine, seed, id=f"{engine.name}-{seed}", marks=group)


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.parametrize(("engine", "seed"), list(_tests()))
def test_random_pipelines_mean_the_same(engine: Engine, seed: int, tmp_path: Path) -> None:
    assert_the_same_on(engine, some_programs(seed, TOGETHER), tmp_path)


class _Forgetful:
    """An engine that says that all went well, and shows nothing of it."""

    name = "forgetful"
    target = "local"

    def run(self, pipeline: Pipeline[..., Any], parameters: dict[str, Any], folder: Path) -> Observed:
        return Observed("succeeded", {})


def test_an_engine_that_disagrees_is_shown_with_the_shortest_program(tmp_path: Path) -> None:
    found = some_programs(5, 3)
    with pytest.raises(AssertionError, match="3 of 3 programs differ on forgetful") as caught:
        assert_the_same_on(_Forgetful(), found, tmp_path)
    assert min((each.source for each in found), key=len) in str(caught.value)


def test_a_seed_always_gives_the_same_programs_all_different() -> None:
    found = some_programs(6, 8)
    assert some_programs(6, 8) == found
    assert len({(each.source, repr(each.parameters)) for each in found}) == len(found)


@pytest.mark.slow
def test_plain_python_and_the_model_agree_on_longer_programs(tmp_path: Path) -> None:
    for each in some_programs(7, 40, calls=20):
        with written(each, tmp_path):
            pass


def test_a_program_that_differs_is_written_so_that_it_can_be_kept_as_a_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random_pipelines, "FOUND", tmp_path / "found")
    (program,) = some_programs(5, 1)
    with pytest.raises(AssertionError, match="to keep it as a case: mv ") as caught:
        assert_the_same_on(_Forgetful(), [program], tmp_path)
    (path,) = (tmp_path / "found").iterdir()
    assert str(caught.value).endswith(f"mv {path} {random_pipelines.KEPT}")
    monkeypatch.setattr(kept_programs, "__path__", [str(path.parent)])
    (case,) = kept_programs.kept()
    assert (case.name, case.parameters) == (path.stem, program.parameters)
    assert "forgetful" in case.why
    with written(program, tmp_path) as original:
        assert difference(meaning.plain(case, tmp_path), original.returns) == ""
