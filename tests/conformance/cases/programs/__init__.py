"""Random programs on which an engine disagreed once, whole, each in a file of its own: see CONTRIBUTING.md."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from tests.conformance.case import Case
from tests.conformance.random_steps import LAST_ATTEMPT


def kept() -> Iterator[Case]:
    """The programs as cases, by the names of their files."""
    for name in sorted(each.name for each in pkgutil.iter_modules(__path__)):
        module = importlib.import_module(f"{__name__}.{name}")
        yield Case(getattr(module, name), str(module.__doc__), module.PARAMETERS, attempt=LAST_ATTEMPT)
