"""Retrains a reader of handwritten digits every night, and lets it serve only if it reads well enough.

Serving follows the link `current` in a folder of versions. A release is written beside the earlier ones, then the link
is switched in one step; if the new release does not answer as it should, the link is switched back.
"""

import json
from pathlib import Path
from typing import Annotated, NamedTuple

import joblib
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from penstock import Dataset, Gate, Model, Retry, RunStatus, log_metric, pipeline, step

LABEL = "digit"
PATIENT = Retry(max_retries=2, delay=300)  # what the warehouse and the disks need to come back


class Quality(NamedTuple):
    """What is known about the data before anything is learnt from it."""

    rows: int
    missing: int
    labels: int


class Release(NamedTuple):
    """A version that serves, and the one that served before it, if any did."""

    version: str
    previous: str | None


@step(retry=PATIENT)
def extract_data() -> Dataset[pd.DataFrame]:
    """1,797 handwritten digits: the shades of 8 by 8 pixels, and the digit that was meant."""
    digits = load_digits(as_frame=True)
    rows: pd.DataFrame = digits.data.assign(**{LABEL: digits.target})
    return rows


@step(
    retry=PATIENT,
    gates=[
        Gate("rows", ">=", 1000, message="too few rows: the extract may have been cut off"),
        Gate("missing", "==", 0),
        Gate("labels", "==", 10, message="some digits never occur"),
    ],
)
def validate_data(rows: Dataset[pd.DataFrame]) -> Quality:
    """Checks what a silent change upstream would break."""
    return Quality(len(rows), int(rows.isna().sum().sum()), rows[LABEL].nunique())


@step(retry=PATIENT)
def train_model(rows: Dataset[pd.DataFrame]) -> Model[SVC]:
    """A support-vector machine that has seen four of five rows."""
    seen = rows[~held_back(rows)]
    return SVC(gamma=0.001).fit(seen.drop(columns=LABEL), seen[LABEL])


@step(retry=PATIENT)
def evaluate_model(model: Model[SVC], rows: Dataset[pd.DataFrame]) -> float:
    """The share of the rows held back that a model reads rightly."""
    accuracy = accuracy_of(model, rows)
    log_metric("accuracy", accuracy)
    return accuracy


@step(retry=PATIENT, cache=False)
def evaluate_current(registry: str, rows: Dataset[pd.DataFrame]) -> float:
    """The same for the model that serves now; 0 before the first release."""
    model = Path(registry).expanduser() / "current" / "model.joblib"
    accuracy = accuracy_of(joblib.load(model), rows) if model.exists() else 0.0
    log_metric("accuracy", accuracy)
    return accuracy


def held_back(rows: pd.DataFrame) -> pd.Series:
    """Every fifth row: the same ones every night, so that models can be compared."""
    return rows.index.to_series() % 5 == 0


def accuracy_of(model: SVC, rows: pd.DataFrame) -> float:
    """How often a model is right on the rows that none has been trained with."""
    unseen = rows[held_back(rows)]
    return float(model.score(unseen.drop(columns=LABEL), unseen[LABEL]))


@step
def withdraw(registry: str, previous: str | None) -> None:
    """Has the earlier version serve again."""
    switch(Path(registry).expanduser(), previous)
    print("serving again:", previous)


@step(retry=PATIENT, cache=False, rollback=withdraw)
def deploy_model(model: Model[SVC], accuracy: float, registry: str) -> Release:
    """Writes a release in full, then has it serve."""
    home = Path(registry).expanduser()
    version = f"v{max((int(each.name[1:]) for each in home.glob('v*')), default=0) + 1}"
    release = home / version
    release.mkdir(parents=True)
    joblib.dump(model, release / "model.joblib")
    (release / "card.json").write_text(json.dumps({"accuracy": accuracy}), encoding="utf-8")
    current = home / "current"
    previous = current.readlink().name if current.is_symlink() else None
    switch(home, version)
    return Release(version, previous)


def switch(home: Path, version: str | None) -> None:
    """Points `current` at a version in one step: who follows it finds the one or the other, never nothing."""
    current = home / "current"
    if version is None:
        current.unlink(missing_ok=True)
        return
    fresh = home / ".next"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(version)
    fresh.replace(current)


@step(cache=False)
def check_release(release: Release, registry: str, rows: Dataset[pd.DataFrame]) -> str:
    """Has what serves now read a few digits, as a client would."""
    model = joblib.load(Path(registry).expanduser() / "current" / "model.joblib")
    few = rows.head(20)
    right = model.score(few.drop(columns=LABEL), few[LABEL])
    if right < 0.8:
        raise ValueError(f"{release.version} reads {right:.0%} of some plain digits")
    return f"{release.version} serves"


@step
def alert(status: RunStatus) -> None:
    """Leaves in one place why nothing new serves this morning."""
    for node, message in status.failures.items():
        print(f"{status.pipeline}: {node}: {message}")


@pipeline(schedule="0 2 * * *", owner="ml-team", tags=["ml", "production"], on_failure=alert)
def nightly(
    floor: Annotated[float, "the accuracy below which nothing is deployed"] = 0.90,
    registry: Annotated[str, "the folder of versions that serving reads; all workers share it"] = "~/models/digits",
) -> str:
    """Extract, validate, train, evaluate and deploy, every night at two."""
    rows = extract_data()
    quality = validate_data(rows)
    model = train_model.with_options(after=quality)(rows)
    accuracy = evaluate_model(model, rows)
    assert accuracy >= floor, f"an accuracy of {accuracy:.3f} is below {floor}: not deploying"
    assert accuracy >= evaluate_current(registry, rows), "what serves now is better: not deploying"
    return check_release(deploy_model(model, accuracy, registry), registry, rows)
