"""From the name of an import to the distribution that provides it, pinned to the version that is installed."""

from __future__ import annotations

import functools
import importlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

_MODULE_SUFFIXES = (".py", ".so", ".pyd")
# Where steps run, the harness stands in for these.
_PROVIDED = frozenset({"penstock", "penstock_backends", "penstock_templates"})


def needs_distribution(module: str) -> bool:
    """Whether an import needs something installed: not for the standard library, nor for Penstock."""
    top = module.partition(".")[0]
    return top not in sys.stdlib_module_names and top not in _PROVIDED


def requirements_for(module: str) -> tuple[str, ...]:
    """The pinned distributions (``numpy==2.4.6``) that provide a module, sorted; () if none is installed.

    Where several share a top-level package (``google.cloud.storage``), those that hold the longest part of the name.
    """
    return tuple(sorted({pinned(name) for name in _distributions(module)}))


def _distributions(module: str) -> list[str]:
    candidates = sorted(set(_providers().get(module.partition(".")[0], ())))
    if len(candidates) < 2:
        return candidates
    parts = module.split(".")
    for length in range(len(parts), 1, -1):
        prefix = "/".join(parts[:length])
        holding = [name for name in candidates if prefix in _contents(name)]
        if holding:
            return holding
    return candidates


@functools.lru_cache(maxsize=1)
def _providers() -> Mapping[str, list[str]]:
    """The distributions behind each top-level name; `packages_distributions` of Python 3.10 misses most wheels."""
    table: dict[str, list[str]] = {}
    for distribution in _metadata().distributions():
        declared = (distribution.read_text("top_level.txt") or "").split()
        for name in sorted(set(declared or _top_levels(distribution.files or ()))):
            table.setdefault(name, []).append(distribution.metadata["Name"])
    return table


def _top_levels(files: Iterable[PurePosixPath]) -> Iterator[str]:
    for file in files:
        if file.suffix in _MODULE_SUFFIXES and not file.parts[0].endswith((".dist-info", "..")):
            yield file.parts[0].partition(".")[0]


@functools.lru_cache(maxsize=64)
def _contents(distribution: str) -> frozenset[str]:
    """The modules and packages of a distribution, as paths without suffix."""
    files = _metadata().files(distribution) or []
    paths = {file.as_posix() for file in files if file.suffix in _MODULE_SUFFIXES}
    modules = {path.partition(".")[0] for path in paths}
    packages = {path.rpartition("/")[0] for path in paths if path.endswith("__init__.py")}
    return frozenset(modules | packages)


@functools.lru_cache(maxsize=512)
def pinned(distribution: str) -> str:
    """A distribution at the version that is installed, without its local label; empty if it is not installed."""
    metadata = _metadata()
    try:
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
    name = re.sub(r"[-_.]+", "-", distribution).lower()
    return f"{name}=={version.partition('+')[0]}"


def needs(distribution: str, other: str) -> bool:
    """Whether a distribution says that it needs another one; True where it is not installed, and so cannot say."""
    metadata = _metadata()
    try:
        needed = metadata.requires(distribution) or ()
    except metadata.PackageNotFoundError:
        return True
    return any(re.match(rf"{re.escape(other)}\b", each) for each in needed)


def _metadata() -> Any:
    """`importlib.metadata`, imported where it is used: it takes as long as a tenth of importing Penstock."""
    return importlib.import_module("importlib.metadata")
