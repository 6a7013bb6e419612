"""Units."""

from __future__ import annotations

import functools
import typing

if typing.TYPE_CHECKING:
    from .recipes import Recipe

SPOON = 5
LOSS = 0.25


@functools.lru_cache
def rounded(grams: float, recipe: Recipe | None = None) -> float:
    """To the gram, unless a recipe says better."""
    from .recipes import SALT

    return round(grams, SALT["pinch"])
