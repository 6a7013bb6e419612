"""Which way an artifact is written, chosen by its annotation.

The reading and writing itself is in `penstock.harness`, which travels. A built-in serializer is a word (``path``,
``parquet``, ``npy``, ``pickle``, ``any``); the author's own is ``module:save,module:load,.extension``, so that a spec
names it without holding code. There is no registry: `Annotated[Net, Serializer(save_net, load_net, ".pt")]` is all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType
from typing import Any, Final

from penstock.harness import ArtifactLabel, Dataset, Markdown, Metrics, Model, Report, Serializer
from penstock.requirements import pinned
from penstock.spec import TypeSpec

__all__ = [
    "ArtifactLabel",
    "Dataset",
    "Markdown",
    "Metrics",
    "Model",
    "Report",
    "Serializer",
    "requirements_of",
    "roots_of",
    "serializer_for",
    "serializer_name",
    "serializer_problem",
]

_EXTENSION: Final = re.compile(r"(\.[A-Za-z0-9_-]+)+")

# By top-level package and class, because where a library keeps a class changes (`pandas.core.frame` became `pandas`).
_FORMATS: Final = {("pandas", "DataFrame"): "parquet", ("numpy", "ndarray"): "npy"}

# What a library's values need to be read back, though no step imports it: Parquet, and pandas' strings when pickled.
_COMPANIONS: Final = {"pandas": ("pyarrow",)}


def serializer_for(cls: type) -> str:
    """The built-in serializer of a class.

    A subclass of a data frame or an array is pickled: Parquet and ``.npy`` would bring back the base class.
    """
    if issubclass(cls, PurePath):
        return "path"
    if cls is object:
        return "any"
    return _FORMATS.get((_package(cls.__module__), cls.__qualname__), "pickle")


def serializer_name(serializer: Serializer[Any], name_of: Callable[[Any], str]) -> str:
    """The name by which a spec refers to an author's serializer; ``name_of`` gives a function's ``module:qualname``."""
    return f"{name_of(serializer.save)},{name_of(serializer.load)},{serializer.extension}"


def serializer_problem(serializer: Serializer[Any]) -> str:
    """Why a serializer cannot be carried into an emitted file; empty if it can."""
    for role, function in (("save", serializer.save), ("load", serializer.load)):
        if not isinstance(function, (FunctionType, BuiltinFunctionType)):
            return f"`{role}` of a Serializer is a {type(function).__qualname__}, not a function defined in a module"
        if function.__name__ == "<lambda>":
            return f"`{role}` of a Serializer is a lambda, which has no name to refer to it by"
        if "." in function.__qualname__ or not function.__module__:
            return f"`{role}` of a Serializer, `{function.__qualname__}`, is not defined at the top of a module"
    if not _EXTENSION.fullmatch(serializer.extension):
        return f"the extension {serializer.extension!r} of a Serializer is not a dot and letters, like '.pt'"
    return ""


def roots_of(serializer: Serializer[Any]) -> tuple[Callable[..., object], ...]:
    """The functions that must travel with a step whose annotations use this serializer."""
    return serializer.save, serializer.load


def requirements_of(spec: TypeSpec) -> tuple[str, ...]:
    """The distributions that reading and writing values of a type needs beside the libraries that a step imports.

    Each is pinned to what is installed here. One that is not installed is left out: values are then pickled.
    """
    found: dict[str, None] = {}
    for companion in _COMPANIONS.get(_package(spec.name.partition(":")[0]), ()):
        found[pinned(companion)] = None
    for part in (*spec.args, *(field.type for field in spec.fields)):
        found.update(dict.fromkeys(requirements_of(part)))
    return tuple(each for each in found if each)


def _package(module: str) -> str:
    return module.partition(".")[0]
