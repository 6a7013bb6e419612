"""Random pipelines mean on every engine what they mean in plain Python, in the states that the model predicts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conformance.engine import Engine
from tests.conformance.engines import ENGINES
from tests.conformance.random_pipelines import assert_the_same_on


class Sample(NamedTuple):
    """How many programs an engine runs, of how many calls at most, and how many in one test."""

    count: int
    calls: int
    together: int


SAMPLES = {
    "local-inline": Sample(200, 10, 50),
    "local-workers": Sample(100, 10, 25),
    "kfp.local": Sample(100, 5, 20),
    "airflow-3": Sample(100, 5, 20),
    "act": Sample(30, 5, 10),
}
"""In CI. The others are run by hand: see `random_pipelines`."""
TIMES = float(os.environ.get("PENSTOCK_RANDOM_TIMES", "1"))
"""For how many times as many, or for fewer where that takes too long."""


def _tests() -> Iterator[Any]:
    """Each engine's programs in several tests, so that several processes may share them."""
    for engine in ENGINES:
        if engine.name in SAMPLES:
            count, calls, together = SAMPLES[engine.name]
            for seed in range(max(1, round(count * TIMES / together))):
                group = pytest.mark.xdist_group(f"random-{engine.name}-{seed % 2}")
                yield pytest.param(engine, seed, together, calls, id=f"{engine.name}-{seed}", marks=group)


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.parametrize(("engine", "seed", "count", "calls"), list(_tests()))
def test_random_pipelines_mean_the_same(engine: Engine, seed: int, count: int, calls: int, tmp_path: Path) -> None:
    assert_the_same_on(engine, seed, count, calls, tmp_path)
