"""Trains with the settings of production when they or the code change, and every Monday; a poor model fails the build.

Models are kept in a folder, with a file that says which of them is in production; that file is replaced as a whole.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import joblib
import pandas as pd
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from penstock import Dataset, Model, Push, Report, log_metric, pipeline, step

LABEL = "cultivar"


@dataclass(frozen=True)
class Config:
    """How a model is trained."""

    trees: int = 50
    depth: int = 6
    seed: int = 7


PRODUCTION = Config()


class Validated(NamedTuple):
    """Data that every check let pass, and the report for those who want to see."""

    rows: Dataset[pd.DataFrame]
    report: Report[Path]


@step
def validate_data() -> Validated:
    """The chemical analysis of 178 wines. Fails where a check does, and names each that did."""
    wines = load_wine(as_frame=True)
    rows = wines.data.assign(**{LABEL: wines.target})
    checks = {
        "at least 100 rows": len(rows) >= 100,
        "no value is missing": not rows.isna().to_numpy().any(),
        "nothing but numbers": all(kind.kind in "if" for kind in rows.dtypes),
        "no row is there twice": not rows.duplicated().any(),
        "every cultivar has 20 rows": bool((rows[LABEL].value_counts() >= 20).all()),
    }
    table = pd.DataFrame({"check": list(checks), "passed": list(checks.values())})
    report = Path("data_validation.html")
    report.write_text(table.to_html(index=False), encoding="utf-8")
    if failed := [name for name, passed in checks.items() if not passed]:
        raise ValueError(f"the data fails: {', '.join(failed)}")
    return Validated(rows, report)


def divided(rows: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows to learn from and rows held back, all cultivars in proportion."""
    learnt, unseen = train_test_split(rows, test_size=0.3, random_state=seed, stratify=rows[LABEL])
    return learnt, unseen


@step(timeout=600)
def train(rows: Dataset[pd.DataFrame], config: Config) -> Model[RandomForestClassifier]:
    """A random forest, grown as the configuration says."""
    learnt, _ = divided(rows, config.seed)
    forest = RandomForestClassifier(n_estimators=config.trees, max_depth=config.depth, random_state=config.seed)
    return forest.fit(learnt.drop(columns=LABEL), learnt[LABEL])


@step
def evaluate(model: Model[RandomForestClassifier], rows: Dataset[pd.DataFrame], config: Config) -> float:
    """The share of the wines held back whose cultivar the model tells."""
    _, unseen = divided(rows, config.seed)
    accuracy = float(model.score(unseen.drop(columns=LABEL), unseen[LABEL]))
    log_metric("accuracy", accuracy)
    return accuracy


@step(cache=False)
def deploy(model: Model[RandomForestClassifier], accuracy: float, registry: str) -> str:
    """Adds the model to the registry as the one in production, and says its version."""
    home = Path(registry).expanduser()
    home.mkdir(parents=True, exist_ok=True)
    index = home / "registry.json"
    known: dict[str, Any] = json.loads(index.read_text(encoding="utf-8")) if index.exists() else {"models": {}}
    version = f"v{len(known['models']) + 1}"
    joblib.dump(model, home / f"{version}.joblib")
    known["models"][version] = {"accuracy": accuracy}
    fresh = home / "registry.json.next"
    fresh.write_text(json.dumps({**known, "production": version}, indent=2), encoding="utf-8")
    fresh.replace(index)
    return version


# All that makes a model, its settings too, is in the program that is compiled and committed.
NEWS = Push(branches=["main"], paths=[".github/penstock/delivery.py"])


@pipeline(schedule="0 6 * * 1", triggers=NEWS, concurrency=1, tags=["ml"])
def delivery(
    config: Annotated[Config, "how the model is trained"] = PRODUCTION,
    threshold: Annotated[float, "the accuracy below which the build fails"] = 0.90,
    registry: Annotated[str, "the folder of models; it outlives the runner"] = "~/models/wines",
) -> str:
    """Validate the data, train, evaluate against a threshold, deploy."""
    validated = validate_data()
    model = train(validated.rows, config)
    accuracy = evaluate(model, validated.rows, config)
    assert accuracy >= threshold, f"an accuracy of {accuracy:.3f} is below the threshold of {threshold}"
    return deploy(model, accuracy, registry)
