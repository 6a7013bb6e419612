"""The engines of the suite: each module here that names some in ``ENGINES`` is picked up."""

from __future__ import annotations

import importlib
import pkgutil

from tests.conformance.engine import Engine

ENGINES: tuple[Engine, ...] = tuple(
    engine
    for module in pkgutil.iter_modules(__path__)
    for engine in importlib.import_module(f"{__name__}.{module.name}").ENGINES
)
