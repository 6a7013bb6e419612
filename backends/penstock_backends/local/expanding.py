"""Environment variables in configured texts, so that what is secret stands in no file."""

from __future__ import annotations

import os
import re

_VARIABLE = re.compile(r"\$\{(\w+)\}")


class UnsetError(Exception):
    """A variable is not set; the message names it."""


def expanded(text: str) -> str:
    """A text with the variables of the environment in place of each ``${NAME}``. Raises `UnsetError` for a lack."""

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if found is None:
            raise UnsetError(f"the environment variable {match[1]} is not set")
        return found

    return _VARIABLE.sub(value, text)
