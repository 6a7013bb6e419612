"""An author's package of helpers, with a re-export, relative imports and a cycle."""

from .recipes import Recipe, cooked

__all__ = ["Recipe", "cooked"]
