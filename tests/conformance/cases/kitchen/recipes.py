"""Recipes."""

from __future__ import annotations

import dataclasses

from . import units

SALT = {"pinch": 1}
SALT["spoon"] = 2 * units.SPOON


@dataclasses.dataclass
class Recipe:
    """How much of what."""

    grams: dict[str, float]

    def weight(self) -> float:
        """Grams in all, salt included."""
        return sum(self.grams.values()) + SALT["spoon"]


def cooked(recipe: Recipe, loss: float = units.LOSS) -> float:
    """Grams that are left."""
    return units.rounded(recipe.weight() * (1 - loss))


def unreached() -> None:
    """Never carried along, or this import would fail."""
    import a_module_that_does_not_exist  # noqa: F401  # to fail is all it is for
