"""The author's live classes and functions, by the names that a spec and stored values use.

A script that runs as ``__main__`` is called by its file's name in a spec, so that what it stores can be read by any
process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType
from typing import Any

from penstock.backend import Definition
from penstock.harness import StepError, find_type


class LiveNames:
    """Finds what a name in a spec stands for in this process."""

    def __init__(self, definition: Definition) -> None:
        self._types = definition.types
        live = {**definition.types, **definition.functions}
        self._modules = {name.partition(":")[0]: thing.__module__ for name, thing in live.items()}
        self._elsewhere = {name: module for name, module in self._modules.items() if name != module}

    def find(self, name: str) -> Any:
        """The class or function called ``module:qualname``. Raises `StepError` where there is none."""
        found = self._types.get(name)
        if found is not None:
            return found
        module, _, qualname = name.partition(":")
        try:
            return find_type(f"{self._elsewhere.get(module, module)}:{qualname}")
        except (ImportError, AttributeError) as error:
            said = f"`{qualname}` of module `{module}` is the author's, and cannot be found in this process: {error}"
            raise StepError(said) from None

    @contextmanager
    def canonical(self) -> Iterator[None]:
        """For its duration, modules and what they define go by the names of the spec.

        What is pickled meanwhile, by whatever library, refers to classes as every other engine does: not to
        ``__main__``.
        """
        renamed: list[tuple[Any, str]] = []
        added: list[str] = []
        try:
            for name, module in self._elsewhere.items():
                if name not in sys.modules:
                    sys.modules[name] = sys.modules[module]
                    added.append(name)
                for thing in _defined_in(vars(sys.modules[module]), module):
                    renamed.append((thing, module))
                    thing.__module__ = name
            yield
        finally:
            for thing, module in renamed:
                thing.__module__ = module
            for name in added:
                sys.modules.pop(name, None)


def _defined_in(namespace: Mapping[str, Any], module: str) -> Iterator[Any]:
    """The classes and functions of a module, nested ones too."""
    for thing in tuple(namespace.values()):
        if isinstance(thing, (type, FunctionType)) and thing.__module__ == module:
            yield thing
            if isinstance(thing, type):
                yield from _defined_in(vars(thing), module)
