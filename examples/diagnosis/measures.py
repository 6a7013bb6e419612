"""What the diagnosis pipeline knows about its data and about good predictions; a neighbour that its steps import."""

from __future__ import annotations

import pandas as pd

TARGET = "benign"


def divided(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """Measurements and labels of a table that holds both."""
    return rows.drop(columns=TARGET), rows[TARGET]


def recall_of_malignant(labels: pd.Series, predicted: pd.Series) -> float:
    """The share of malignant tumours that were found: what a missed diagnosis costs most."""
    malignant = labels == 0
    return float((predicted[malignant] == 0).mean())
