"""Train some models, and let the best one replace the one in production only where it deserves to.

The data must pass gates, the candidates are trained side by side, the best of them must reach a floor and beat what is
in production. If anything fails after it went live, it is taken back.
"""

from dataclasses import dataclass

import pandas as pd
from sklearn.datasets import load_wine
from sklearn.model_selection import cross_val_score
from sklearn.tree import DecisionTreeClassifier

from penstock import Dataset, Gate, Model, Retry, RunStatus, log_metric, pipeline, step

TARGET = "cultivar"


@dataclass(frozen=True)
class Candidate:
    """A trained model, and how often it was right on data that it had not seen."""

    depth: int
    accuracy: float
    model: Model[DecisionTreeClassifier]


@step(
    retry=Retry(max_retries=2, delay=1),
    gates=[
        Gate("rows", "between", 100, 1000),
        Gate("null_rate", "<", 0.1, message="too many values are missing"),
        Gate("duplicate_rate", "<", 0.05, message="too many rows are there twice"),
    ],
)
def load() -> Dataset[pd.DataFrame]:
    """The chemical analysis of 178 wines from three cultivars."""
    wines = load_wine(as_frame=True)
    rows = wines.data.assign(**{TARGET: wines.target})
    log_metric("rows", len(rows))
    log_metric("null_rate", rows.isna().to_numpy().mean())
    log_metric("duplicate_rate", rows.duplicated().mean())
    return rows


def tree(depth: int) -> DecisionTreeClassifier:
    """A decision tree that is the same each time."""
    return DecisionTreeClassifier(max_depth=depth, random_state=7)


@step
def train(rows: Dataset[pd.DataFrame], depth: int) -> Candidate:
    """A tree of at most that depth, judged by five-fold cross-validation."""
    features, labels = rows.drop(columns=TARGET), rows[TARGET]
    accuracy = float(cross_val_score(tree(depth), features, labels, cv=5).mean())
    log_metric("accuracy", accuracy)
    return Candidate(depth, accuracy, tree(depth).fit(features, labels))


@step
def select(candidates: list[Candidate]) -> Candidate:
    """The candidate that is right most often; the simplest of equals."""
    return max(candidates, key=lambda each: (each.accuracy, -each.depth))


@step
def production() -> float:
    """The accuracy of the model that serves now, as it was measured when it went live."""
    return 0.87


@step
def withdraw(output: str) -> None:
    """Takes a model back."""
    print("withdrawn:", output)


@step(rollback=withdraw)
def deploy(model: Model[DecisionTreeClassifier], name: str) -> str:
    """Puts a model where it serves, and says where that is."""
    return f"{name}/depth-{model.get_depth()}"


@step
def smoke_test(endpoint: str) -> str:
    """Asks the new endpoint whether it answers."""
    return f"{endpoint} answers"


@step
def keep(accuracy: float) -> str:
    """Says that nothing changes."""
    return f"production stays: {accuracy:.3f} is not better"


@step
def page(status: RunStatus) -> None:
    """Tells whoever is on call what went wrong."""
    for node, message in status.failures.items():
        print(f"{status.pipeline}: {node}: {message}")


@pipeline(on_failure=page, timeout=900)
def promotion(depths: tuple[int, ...] = (1, 2, 4), floor: float = 0.8, name: str = "wines") -> str:
    """Trains a model for each depth, and promotes the best one if it is better than what serves now."""
    rows = load()
    best = select([train(rows, depth) for depth in depths])
    assert best.accuracy >= floor, f"the best of them, of depth {best.depth}, is below the floor of {floor}"
    if best.accuracy > production():
        return smoke_test(deploy(best.model, name))
    return keep(best.accuracy)
