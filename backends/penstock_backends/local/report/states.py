"""The states of nodes and runs, in words and in the order of what a person wants to see first."""

from __future__ import annotations

from collections.abc import Collection, Mapping

WORDS: Mapping[str, str] = {
    "failed": "failed",
    "cancelled": "cancelled",
    "interrupted": "interrupted",
    "running": "running",
    "upstream_failed": "upstream failed",
    "succeeded": "succeeded",
    "cached": "cached",
    "skipped": "skipped",
}


def worst(states: Collection[str]) -> str:
    """The one of several states that a person wants to see."""
    return next((state for state in WORDS if state in states), "")
