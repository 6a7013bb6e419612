"""Trains a model on some data, and publishes the best of several only where it is good enough.

Everything here runs as it is, with the standard library. Put your own data and your own model into the steps: `load`
reads, `fit` trains, `publish` hands over.
"""

import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from penstock import Model, Retry, log_metric, pipeline, step


@dataclass(frozen=True)
class Row:
    """What is known of one house: how large it is, and what it was sold for."""

    size: float
    price: float


@dataclass(frozen=True)
class Line:
    """A model: the price is ``slope * size + intercept``. ``penalty`` is how strongly steep slopes were held back."""

    penalty: float
    slope: float
    intercept: float

    def price(self, size: float) -> float:
        """What a house of that size is expected to cost."""
        return self.slope * size + self.intercept


@dataclass(frozen=True)
class Candidate:
    """A model, and how far off it is on average on rows that it has not seen."""

    model: Line
    error: float


@step(retry=Retry(max_retries=2, delay=5))
def load(rows: int, seed: int) -> list[Row]:
    """The data; made up here, and the same for the same seed."""
    chance = random.Random(seed)
    sizes = [chance.uniform(40, 200) for _ in range(rows)]
    return [Row(size, 3 * size + 50 + chance.gauss(0, 10)) for size in sizes]


@step
def held_back(rows: list[Row], share: float) -> tuple[list[Row], list[Row]]:
    """The rows to train on, and the last ones, to judge by."""
    first = round(len(rows) * (1 - share))
    return rows[:first], rows[first:]


@step
def fit(rows: list[Row], penalty: float) -> Line:
    """The line that fits the rows best."""
    size, price = fmean(row.size for row in rows), fmean(row.price for row in rows)
    spread = sum((row.size - size) ** 2 for row in rows)
    slope = sum((row.size - size) * (row.price - price) for row in rows) / (spread + penalty)
    return Line(penalty, slope, price - slope * size)


@step
def judge(model: Line, rows: list[Row]) -> Candidate:
    """The model with its mean absolute error."""
    error = fmean(abs(model.price(row.size) - row.price) for row in rows)
    log_metric("error", error)
    return Candidate(model, error)


@step
def best(candidates: list[Candidate]) -> Candidate:
    """The candidate that is least off."""
    return min(candidates, key=lambda each: each.error)


@step
def publish(chosen: Candidate) -> Model[Path]:
    """The model as a file for those who use it."""
    place = Path("model.json")
    place.write_text(json.dumps(asdict(chosen), indent=2), encoding="utf-8")
    return place


@pipeline(tags=["training"])
def training(
    rows: int = 500,
    seed: int = 7,
    share: float = 0.2,
    penalties: tuple[float, ...] = (0.0, 1e5, 1e6),
    bound: float = 12.0,
) -> Model[Path]:
    """Trains a model for each penalty; the best of them is published if it is no further off than the bound."""
    known, unseen = held_back(load(rows, seed), share)
    chosen = best([judge(fit(known, penalty), unseen) for penalty in penalties])
    assert chosen.error <= bound, f"the best model is off by more than {bound}"
    return publish(chosen)
