"""Scores loan applications with a model that had to pass a gate at every stage.

Bad data that goes unnoticed costs most here, so that stages end where a quality gate fails. Training wants GPUs and
goes first; scoring wants many cores, and only follows. The budget that they share is in `pyproject.toml`.
"""

from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from sklearn.datasets import make_classification
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import accuracy_score, precision_score, recall_score

from penstock import Dataset, Gate, Model, Resources, log_metric, pipeline, step

LABEL = "defaulted"
Algorithm = Literal["forest", "boosting"]
ALGORITHMS: tuple[Algorithm, ...] = ("forest", "boosting")


class Split(NamedTuple):
    """Applications to learn from, to judge by, and to decide about."""

    train: Dataset[pd.DataFrame]
    validation: Dataset[pd.DataFrame]
    applications: Dataset[pd.DataFrame]


class Trained(NamedTuple):
    """A model, and how often it is right about applications that it has not seen."""

    model: Model[Any]
    accuracy: float


class Portfolio(NamedTuple):
    """The score of each application, and how many are to be declined."""

    scores: Dataset[pd.DataFrame]
    declined: int


@step
def load_applications(seed: int, missing: float) -> Dataset[pd.DataFrame]:
    """3,000 generated applications of 12 figures each, a share of which is missing."""
    features, labels = make_classification(
        n_samples=3000, n_features=12, n_informative=6, class_sep=1.5, flip_y=0.02, random_state=seed
    )
    rows = pd.DataFrame(features, columns=[f"figure_{number}" for number in range(12)])
    gaps = np.random.default_rng(seed).random(rows.shape) < missing
    return rows.mask(gaps).assign(**{LABEL: labels})


@step(
    resources=Resources(cpu=2, memory="8Gi"),
    gates=[
        Gate("null_rate", "<", 0.1, message="too many figures are missing"),
        Gate("duplicate_rate", "<", 0.05, message="too many applications are there twice"),
        Gate("rows", ">", 1000, message="too few applications to learn from"),
    ],
)
def validate_data(rows: Dataset[pd.DataFrame]) -> Dataset[pd.DataFrame]:
    """The same applications, once their quality is known to do."""
    log_metric("null_rate", rows.isna().to_numpy().mean())
    log_metric("duplicate_rate", rows.duplicated().mean())
    log_metric("rows", len(rows))
    return rows


@step(resources=Resources(cpu=4, memory="16Gi"))
def preprocess(rows: Dataset[pd.DataFrame]) -> Split:
    """Fills gaps with what is usual among the applications to learn from, and divides the rows."""
    filled = rows.fillna(rows.iloc[:2000].median())
    parts = filled.iloc[:2000], filled.iloc[2000:2500], filled.iloc[2500:].drop(columns=LABEL)
    train, validation, applications = (part.reset_index(drop=True) for part in parts)
    return Split(train, validation, applications)


# scikit-learn leaves the GPUs idle; the request is what models of production's size are placed by.
@step(
    resources=Resources(cpu=8, memory="64Gi", gpu=2),
    priority=2,
    gates=[
        Gate("accuracy", ">", 0.8),
        Gate("precision", ">", 0.75, message="too many good customers would be declined"),
        Gate("recall", ">", 0.75, message="too many bad loans would be approved"),
    ],
)
def train_model(
    algorithm: Algorithm, train: Dataset[pd.DataFrame], validation: Dataset[pd.DataFrame], seed: int
) -> Trained:
    """One kind of model, judged on the applications kept for that."""
    model: Any = GradientBoostingClassifier(n_estimators=40, random_state=seed)
    if algorithm == "forest":
        model = RandomForestClassifier(n_estimators=60, random_state=seed)
    model.fit(train.drop(columns=LABEL), train[LABEL])
    predicted = model.predict(validation.drop(columns=LABEL))
    accuracy = float(accuracy_score(validation[LABEL], predicted))
    log_metric("accuracy", accuracy)
    log_metric("precision", precision_score(validation[LABEL], predicted))
    log_metric("recall", recall_score(validation[LABEL], predicted))
    return Trained(model, accuracy)


@step
def select_best(candidates: list[Trained]) -> Trained:
    """The most accurate of them."""
    return max(candidates, key=lambda each: each.accuracy)


@step(resources=Resources(cpu=16, memory="128Gi"), priority=1, gates=Gate("scored", ">", 0))
def score_batch(model: Model[Any], applications: Dataset[pd.DataFrame], limit: float) -> Portfolio:
    """How likely each applicant is to default, in hundredths, and how many are above the limit."""
    risk = model.predict_proba(applications)[:, 1].round(2)
    log_metric("scored", len(risk))
    return Portfolio(pd.DataFrame({"risk": risk}), int((risk > limit).sum()))


@pipeline(owner="risk", tags=["production", "gates"])
def credit(
    limit: Annotated[float, "the likelihood of a default above which an application is declined"] = 0.5,
    missing: Annotated[float, "the share of figures that the applications lack"] = 0.03,
    seed: int = 7,
) -> Portfolio:
    """Validate, preprocess, train two kinds of models, select the better one, score a batch."""
    data = preprocess(validate_data(load_applications(seed, missing)))
    candidates = [
        train_model.with_options(name=f"train_{algorithm}")(algorithm, data.train, data.validation, seed)
        for algorithm in ALGORITHMS
    ]
    return score_batch(select_best(candidates).model, data.applications, limit)
