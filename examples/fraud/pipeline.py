"""Finds fraud among the latest card transactions, and blocks cards only if the detector has proved itself.

Every step has little time. What it does to customers can be undone: if the block list turns out to be wrong, exactly
the cards that this run blocked are released.
"""

import json
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import precision_score, recall_score

from penstock import Dataset, Gate, Resources, RunStatus, log_metric, pipeline, step

CARDS = 200
FEATURES = ["relative_amount", "distance", "at_night", "since_last"]


class Transactions(NamedTuple):
    """Those that have been looked into by people (`fraud` says what they found), and those of the last hour."""

    history: Dataset[pd.DataFrame]
    latest: Dataset[pd.DataFrame]


class Detection(NamedTuple):
    """The cards that look stolen, and how far the detector can be trusted."""

    suspects: list[int]
    precision: float
    recall: float


class Action(NamedTuple):
    """The cards that were not blocked before."""

    blocked: list[int]


@step(resources=Resources(cpu=4, memory="8GB"), timeout=60, retry=1)
def ingest_transactions(hour: int) -> Transactions:
    """6,000 generated transactions. Two of a hundred are fraud: larger, farther away, and rather at night."""
    chance = np.random.default_rng(hour)
    count = 6000
    card, fraud = chance.integers(CARDS, size=count), chance.random(count) < 0.02
    usual = 20 + 80 * (card % 7)
    rows = pd.DataFrame(
        {
            "card": card,
            "amount": usual * chance.lognormal(0, 0.4, count) * np.where(fraud, 2.5, 1.0),
            "distance": chance.exponential(np.where(fraud, 300.0, 15.0)),
            "hour": (chance.normal(np.where(fraud, 2, 14), 4) % 24).astype(int),
            "minute": np.arange(count) // 4,
            "fraud": fraud,
        }
    )
    return Transactions(rows.iloc[:-500], rows.iloc[-500:].drop(columns="fraud").reset_index(drop=True))


@step(resources=Resources(cpu=8, memory="16GB"), timeout=120, retry=1)
def extract_features(history: Dataset[pd.DataFrame], latest: Dataset[pd.DataFrame]) -> Transactions:
    """What tells fraud from habit: amounts against the card's own, distance from home, time of day, haste."""
    usual = history.groupby("card")["amount"].median()
    return Transactions(with_features(history, usual), with_features(latest, usual))


def with_features(rows: pd.DataFrame, usual: pd.Series) -> pd.DataFrame:
    """The rows with a column for each feature; a card without a history is compared with all others."""
    known = rows["card"].map(usual).fillna(usual.median())
    return rows.assign(
        relative_amount=rows["amount"] / known,
        at_night=(rows["hour"] < 6).astype(int),
        since_last=rows.groupby("card")["minute"].diff().fillna(60),
    )


# scikit-learn leaves the GPUs idle; the request is what a detector of production's size is placed by.
@step(
    resources=Resources(cpu=16, memory="32GB", gpu=2),
    timeout=180,
    retry=1,
    gates=Gate("recall", ">=", 0.5, message="it misses most of the fraud that people found"),
)
def detect_fraud(history: Dataset[pd.DataFrame], latest: Dataset[pd.DataFrame]) -> Detection:
    """Learns from what people found up to yesterday, proves itself on what they found since, judges the latest."""
    learnt, proof = history.iloc[:-1500], history.iloc[-1500:]
    detector = RandomForestClassifier(n_estimators=60, max_depth=8, class_weight="balanced", random_state=7)
    detector.fit(learnt[FEATURES], learnt["fraud"])
    found = detector.predict(proof[FEATURES])
    precision = float(precision_score(proof["fraud"], found, zero_division=0.0))
    recall = float(recall_score(proof["fraud"], found))
    log_metric("precision", precision)
    log_metric("recall", recall)
    suspects = latest.loc[detector.predict(latest[FEATURES]), "card"]
    return Detection(sorted(set(suspects.tolist())), precision, recall)


@step
def release_cards(ledger: str, blocked: list[int]) -> None:
    """Takes cards off the block list again."""
    write(ledger, sorted(set(blocked_cards(ledger)) - set(blocked)))
    print("released:", blocked)


@step(resources=Resources(cpu=4, memory="8GB"), timeout=60, retry=2, cache=False, rollback=release_cards)
def take_action(suspects: list[int], ledger: str) -> Action:
    """Puts the suspects on the block list that the terminals read."""
    before = set(blocked_cards(ledger))
    write(ledger, sorted(before | set(suspects)))
    return Action(sorted(set(suspects) - before))


@step(timeout=60, cache=False)
def reconcile(blocked: list[int], ledger: str, most: int) -> str:
    """Reads the list as the terminals do. A run that blocks very many cards is taken for a fault of its own."""
    missing = set(blocked) - set(blocked_cards(ledger))
    if missing:
        raise ValueError(f"{len(missing)} cards are not on the list")
    if len(blocked) > most:
        raise ValueError(f"{len(blocked)} cards at once are more than {most}: somebody should look at them")
    return f"{len(blocked)} cards blocked"


def blocked_cards(ledger: str) -> list[int]:
    """The block list; nothing is blocked where there is none yet."""
    file = Path(ledger).expanduser()
    cards: list[int] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return cards


def write(ledger: str, cards: list[int]) -> None:
    """Replaces the block list as a whole: a terminal reads the old or the new one."""
    file = Path(ledger).expanduser()
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f"{file.name}.next")
    fresh.write_text(json.dumps(cards), encoding="utf-8")
    fresh.replace(file)


@step
def alert(status: RunStatus) -> None:
    """Tells the analysts on duty what they have to do by hand."""
    for node, message in status.failures.items():
        print(f"{status.pipeline}: {node}: {message}")


@pipeline(owner="fraud", tags=["production"], on_failure=alert, timeout=1800)
def fraud(
    hour: Annotated[int, "which hour's transactions"] = 7,
    trust: Annotated[float, "the share of blocked cards that must be stolen ones"] = 0.7,
    most: Annotated[int, "more cards than this are never blocked at once"] = 50,
    ledger: Annotated[str, "the block list"] = "~/models/fraud/blocked.json",
) -> str:
    """Ingest, extract features, detect, take action."""
    transactions = ingest_transactions(hour)
    features = extract_features(transactions.history, transactions.latest)
    detection = detect_fraud(features.history, features.latest)
    assert detection.precision >= trust, f"a precision of {detection.precision:.2f} is below {trust}: nobody is blocked"
    return reconcile(take_action(detection.suspects, ledger).blocked, ledger, most)
