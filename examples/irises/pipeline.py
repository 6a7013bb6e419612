"""Preprocesses a table, trains a classifier epoch by epoch, and reports on what it confuses."""

from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
from sklearn.datasets import load_iris
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from penstock import Dataset, Model, Report, log_metric, pipeline, step

LABEL = "species"


class Evaluation(NamedTuple):
    """How often a model is right, and where it is not."""

    accuracy: float
    confusion: Report[Path]


@step
def preprocess_data(data_path: str) -> Dataset[pd.DataFrame]:
    """The table with each measurement standardised."""
    rows = pd.read_csv(data_path) if data_path else irises()
    measured = [name for name in rows.columns if name != LABEL]
    rows[measured] = StandardScaler().fit_transform(rows[measured])
    log_metric("rows", len(rows))
    return rows


def irises() -> pd.DataFrame:
    """150 flowers of three species, four lengths of each, in an order that tells nothing."""
    flowers = load_iris(as_frame=True)
    species = flowers.target.map(dict(enumerate(flowers.target_names.tolist())))
    rows: pd.DataFrame = flowers.data.assign(**{LABEL: species})
    return rows.sample(frac=1, random_state=7).reset_index(drop=True)


@step
def train_model(dataset: Dataset[pd.DataFrame], epochs: int) -> Model[SGDClassifier]:
    """A linear classifier that goes through the first four fifths of the rows as often as it is told."""
    seen = dataset.iloc[: len(dataset) * 4 // 5]
    features, labels = seen.drop(columns=LABEL), seen[LABEL]
    model = SGDClassifier(loss="log_loss", alpha=0.01, random_state=7)
    for _ in range(epochs):
        model.partial_fit(features, labels, classes=np.unique(dataset[LABEL]))
        log_metric("loss", float(log_loss(labels, model.predict_proba(features))))
    return model


@step
def evaluate_model(model: Model[SGDClassifier], dataset: Dataset[pd.DataFrame]) -> Evaluation:
    """How the model does on the last fifth, and a page with what it takes for what."""
    unseen = dataset.iloc[len(dataset) * 4 // 5 :]
    predicted = model.predict(unseen.drop(columns=LABEL))
    accuracy = float((predicted == unseen[LABEL]).mean())
    log_metric("accuracy", accuracy)
    page = Path("confusion.html")
    page.write_text(pd.crosstab(unseen[LABEL].to_numpy(), predicted).to_html(), encoding="utf-8")
    return Evaluation(accuracy, page)


@pipeline(tags=["training"])
def irises_training(
    data_path: Annotated[str, "a CSV file or its URL, with a column `species`; empty for the irises"] = "",
    epochs: Annotated[int, "how often training goes through the rows"] = 50,
) -> Evaluation:
    """Preprocess, train, evaluate: the end-to-end training pipeline."""
    dataset = preprocess_data(data_path)
    return evaluate_model(train_model(dataset, epochs), dataset)
