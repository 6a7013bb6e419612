"""Trains two classifiers on the Wisconsin breast-cancer data that scikit-learn ships, and reports on the better one."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from measures import TARGET, divided, recall_of_malignant
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from penstock import Dataset, Markdown, Model, Retry, log_metric, pipeline, step


@dataclass(frozen=True)
class Forest:
    """How the random forest grows."""

    trees: int = 100
    depth: int | None = None


class Split(NamedTuple):
    """Rows to learn from, and rows held back."""

    train: pd.DataFrame
    test: pd.DataFrame


class Candidate(NamedTuple):
    """A trained model and how it did on the rows held back."""

    name: str
    model: Model[ClassifierMixin]
    accuracy: float
    recall: float


@step(retry=Retry(2, delay=1.0, backoff=2.0))
def load() -> Dataset[pd.DataFrame]:
    """569 tumours, 30 measurements of each, and whether it was benign (1) or malignant (0)."""
    data = load_breast_cancer(as_frame=True)
    return data.data.assign(**{TARGET: data.target})


@step
def split(rows: pd.DataFrame, held_back: float, seed: int) -> Split:
    """Holds back a share of the rows, both classes in proportion."""
    train, test = train_test_split(rows, test_size=held_back, random_state=seed, stratify=rows[TARGET])
    return Split(train.reset_index(drop=True), test.reset_index(drop=True))


@step
def regression(train: pd.DataFrame) -> Model[ClassifierMixin]:
    """A logistic regression on standardised measurements."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(*divided(train))


@step(timeout=300)
def forest(train: pd.DataFrame, shape: Forest, seed: int) -> Model[ClassifierMixin]:
    """A random forest."""
    grown = RandomForestClassifier(n_estimators=shape.trees, max_depth=shape.depth, random_state=seed)
    return grown.fit(*divided(train))


@step
def evaluate(name: str, model: ClassifierMixin, test: pd.DataFrame) -> Candidate:
    """How a model does on rows that it has not seen."""
    measurements, labels = divided(test)
    predicted = pd.Series(model.predict(measurements), index=labels.index)
    accuracy, recall = float(accuracy_score(labels, predicted)), recall_of_malignant(labels, predicted)
    log_metric("accuracy", accuracy)
    log_metric("recall", recall)
    return Candidate(name, model, accuracy, recall)


@step
def choose(candidates: list[Candidate]) -> Candidate:
    """The one that misses the fewest malignant tumours; among equals, the more accurate."""
    return max(candidates, key=lambda each: (each.recall, each.accuracy))


@step
def report(candidates: list[Candidate], chosen: Candidate) -> Markdown[Path]:
    """A page for the people who decide."""
    lines = ["# Diagnosis", "", "| model | accuracy | recall of malignant |", "|---|---|---|"]
    lines += [f"| {each.name} | {each.accuracy:.3f} | {each.recall:.3f} |" for each in candidates]
    page = Path("report.md")
    page.write_text("\n".join([*lines, "", f"Chosen: **{chosen.name}**", ""]))
    return page


class Result(NamedTuple):
    """What a run is about."""

    chosen: str
    accuracy: float
    recall: float
    report: Markdown[Path]


@pipeline(tags=["example", "training"], owner="diagnostics")
def diagnosis(held_back: float = 0.25, seed: int = 7, shape: Forest = Forest(trees=50)) -> Result:
    """Train two classifiers on the same rows, evaluate both, and report on the better one."""
    rows = split(load(), held_back=held_back, seed=seed)
    candidates = [
        evaluate("regression", regression(rows.train), rows.test),
        evaluate("forest", forest(rows.train, shape, seed), rows.test),
    ]
    best = choose(candidates)
    return Result(best.name, best.accuracy, best.recall, report(candidates, best))
