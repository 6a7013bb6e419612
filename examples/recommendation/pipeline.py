"""Trains a recommender on what users looked at, and lets it serve only if it is good and not overfitted.

Each step says how much of the cluster it wants, how long it may take and how often it may be tried. There are two
places to serve from, `blue` and `green`. A release goes to the idle one, then the file `live` is replaced; if what is
live does not answer, the file is put back, and the other place serves as before.
"""

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import joblib
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from sklearn.decomposition import TruncatedSVD
from sklearn.metrics import roc_auc_score

from penstock import Dataset, Model, Resources, log_metric, pipeline, step

USERS, ITEMS, TASTES = 300, 120, 6
Slot = Literal["blue", "green"]


class Interactions(NamedTuple):
    """What users looked at: most of it to learn from, some held back."""

    known: Dataset[pd.DataFrame]
    held_back: Dataset[pd.DataFrame]


class Quality(NamedTuple):
    """How often a model ranks an item that a user looked at before one that the user did not."""

    test: float
    train: float
    overfitting: bool


class Release(NamedTuple):
    """The place that serves now, and the one that did before, if any."""

    slot: Slot
    previous: Slot | None


@step(resources=Resources(cpu=2, memory="4GB"), timeout=300, retry=2)
def load_data(seed: int) -> Dataset[pd.DataFrame]:
    """Views of items by users who each have a taste; some are logged twice, some by nobody who is known."""
    chance = np.random.default_rng(seed)
    tastes, kinds = chance.normal(size=(USERS, TASTES)), chance.normal(size=(ITEMS, TASTES))
    liking = np.exp(1.5 * tastes @ kinds.T)
    views = [
        (user, item)
        for user in range(USERS)
        for item in chance.choice(ITEMS, size=40, replace=False, p=liking[user] / liking[user].sum())
    ]
    log = pd.DataFrame(views, columns=["user", "item"])
    strangers = pd.DataFrame({"user": -1, "item": chance.integers(ITEMS, size=500)})
    return pd.concat([log, log.sample(500, random_state=seed), strangers], ignore_index=True)


@step(resources=Resources(cpu=4, memory="8GB"), timeout=600, retry=1)
def clean_data(log: Dataset[pd.DataFrame]) -> Dataset[pd.DataFrame]:
    """Each view by a known user, once."""
    clean = log[log["user"] >= 0].drop_duplicates(ignore_index=True)
    log_metric("dropped", len(log) - len(clean))
    return clean


@step(resources=Resources(cpu=8, memory="16GB"), timeout=900, retry=1)
def engineer_features(views: Dataset[pd.DataFrame], seed: int) -> Interactions:
    """Holds back a quarter of each user's views; weighs the others, so that what everyone looks at says less."""
    held_back = views.groupby("user").sample(frac=0.25, random_state=seed)
    known = views.drop(held_back.index)
    popularity = known.groupby("item")["user"].transform("count")
    weighted = known.assign(weight=np.log1p(USERS / popularity))
    return Interactions(weighted.reset_index(drop=True), held_back.reset_index(drop=True))


# scikit-learn leaves the GPU idle; the request is what a model of production's size is placed by.
@step(resources=Resources(cpu=16, memory="32GB", gpu=1), timeout=1800, retry=1)
def train_model(known: Dataset[pd.DataFrame], factors: int, seed: int) -> Model[TruncatedSVD]:
    """What explains the views best in a few numbers for each item."""
    return TruncatedSVD(n_components=factors, random_state=seed).fit(matrix(known))


@step(resources=Resources(cpu=4, memory="8GB"), timeout=300, retry=1)
def evaluate_model(model: Model[TruncatedSVD], interactions: Interactions) -> Quality:
    """Whether the model foresees the views that were held back, and whether it only knows by heart what it saw."""
    seen = matrix(interactions.known)
    scores = model.inverse_transform(model.transform(seen))
    viewed = np.zeros((USERS, ITEMS), dtype=bool)
    viewed[interactions.held_back["user"], interactions.held_back["item"]] = True
    learnt = seen.toarray() > 0
    test = float(roc_auc_score(viewed[~learnt], scores[~learnt]))
    train = float(roc_auc_score(learnt[~viewed], scores[~viewed]))
    log_metric("test", test)
    log_metric("train", train)
    return Quality(test, train, train - test > 0.2)


def matrix(views: pd.DataFrame) -> csr_matrix:
    """A row for each user, a column for each item; what was not looked at is not stored."""
    return csr_matrix((views["weight"], (views["user"], views["item"])), shape=(USERS, ITEMS))


@step
def switch_back(registry: str, previous: Slot | None) -> None:
    """Has the other place serve again."""
    make_live(Path(registry).expanduser(), previous)
    print("serving again:", previous)


@step(resources=Resources(cpu=2, memory="4GB"), timeout=300, retry=2, cache=False, rollback=switch_back)
def deploy_model(model: Model[TruncatedSVD], registry: str) -> Release:
    """Puts the model where nobody is served from, then has that place serve."""
    home = Path(registry).expanduser()
    previous = live(home)
    slot: Slot = "green" if previous == "blue" else "blue"
    (home / slot).mkdir(parents=True, exist_ok=True)
    joblib.dump(model, home / slot / "model.joblib")
    make_live(home, slot)
    return Release(slot, previous)


def live(home: Path) -> Slot | None:
    """The place that serves."""
    file = home / "live"
    if not file.exists():
        return None
    return "blue" if file.read_text(encoding="utf-8") == "blue" else "green"


def make_live(home: Path, slot: Slot | None) -> None:
    """Has a place serve, or none, from one moment to the next."""
    if slot is None:
        (home / "live").unlink(missing_ok=True)
        return
    fresh = home / "live.next"
    fresh.write_text(slot, encoding="utf-8")
    fresh.replace(home / "live")


@step(timeout=60, cache=False)
def verify(release: Release, registry: str) -> str:
    """Asks what is live for recommendations, as a client would."""
    home = Path(registry).expanduser()
    model = joblib.load(home / (live(home) or "nowhere") / "model.joblib")
    newcomer = np.zeros((1, ITEMS))
    newcomer[0, 0] = 1.0
    scores = model.inverse_transform(model.transform(newcomer))
    if not np.isfinite(scores).all():
        raise ValueError(f"{release.slot} recommends nothing that can be ranked")
    return f"{release.slot} is live"


@step
def reject(quality: Quality) -> str:
    """Says why nothing changes."""
    reason = "it is overfitted" if quality.overfitting else f"an AUC of {quality.test:.2f} is too low"
    return f"rejected: {reason}"


@pipeline(owner="recommendations", tags=["production"])
def recommendation(
    floor: Annotated[float, "the AUC on views held back from which a model may serve"] = 0.80,
    factors: Annotated[int, "how many numbers describe an item"] = 6,
    seed: int = 7,
    registry: Annotated[str, "the folder with both places to serve from"] = "~/models/recommendation",
) -> str:
    """Load, clean, engineer features, train, evaluate; deploy what deserves it."""
    interactions = engineer_features(clean_data(load_data(seed)), seed)
    model = train_model(interactions.known, factors, seed)
    quality = evaluate_model(model, interactions)
    if quality.test >= floor and not quality.overfitting:
        return verify(deploy_model(model, registry), registry)
    return reject(quality)
