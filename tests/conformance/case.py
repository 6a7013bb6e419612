"""A case: a pipeline, what is given to it, and what must come of it on every engine."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock import Pipeline


class Reference:
    """Stands for: what calling the pipeline as plain Python returns."""


REFERENCE = Reference()


@dataclasses.dataclass(frozen=True)
class Case:
    """What must come of a pipeline.

    ``why`` says what would go unnoticed without it. The states of all instances and what they give come from the model
    (see `model`), the result from plain Python. By hand: ``nodes`` claims states, to which the model is held as well;
    ``gives`` and ``fails`` hold what instances return, or say, whose functions only an engine can run; ``returns`` is
    the result where plain Python gives another; ``varies`` names the nodes that never give the same. ``shows`` are
    texts in what the engine shows of the run, the values of secrets never are. ``attempt`` is the one that plain
    Python makes of steps that ask. ``refused`` maps a target that cannot keep the case to the codes of
    the diagnostics with which it says so.
    """

    pipeline: Pipeline[..., Any]
    why: str
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    nodes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    gives: Mapping[str, object] = dataclasses.field(default_factory=dict)
    fails: Mapping[str, str] = dataclasses.field(default_factory=dict)
    returns: object = REFERENCE
    varies: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()
    attempt: int = 1
    refused: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """The pipeline's."""
        return self.pipeline.name


def difference(one: Any, other: Any, where: str = "result") -> str:
    """How two values differ, their types included; empty if they don't.

    Paths are compared by what is there, objects of classes without a meaning of equality by their class alone.
    """
    if isinstance(one, Path) and isinstance(other, Path):
        return difference(contents(one), contents(other), where)
    if type(one) is not type(other):
        return f"{where}: {type(one)} {one!r:.200} is not {type(other)} {other!r:.200}"
    if isinstance(one, float):
        same = repr(one) == repr(other) or (math.isnan(one) and math.isnan(other))
        return "" if same else f"{where}: {one!r} is not {other!r}"
    if isinstance(one, (list, tuple)):
        if len(one) != len(other):
            return f"{where}: {len(one)} items are not {len(other)}"
        return _first(difference(a, b, f"{where}[{n}]") for n, (a, b) in enumerate(zip(one, other, strict=True)))
    if isinstance(one, dict):
        if list(one) != list(other):
            return f"{where}: keys {list(one)} are not {list(other)}"
        return _first(difference(one[key], other[key], f"{where}[{key!r}]") for key in one)
    if dataclasses.is_dataclass(one):
        pairs = ((each.name, getattr(one, each.name), getattr(other, each.name)) for each in dataclasses.fields(one))
        return _first(difference(a, b, f"{where}.{name}") for name, a, b in pairs)
    if type(one).__eq__ is object.__eq__:
        return ""  # its class does not say when two are equal; a model trained twice may differ in the last bit
    return "" if _are_equal(one, other) else f"{where}: {one!r:.200} is not {other!r:.200}"


def _are_equal(one: Any, other: Any) -> bool:
    if hasattr(one, "equals"):  # pandas
        return (
            one.equals(other)
            and list(one.columns) == list(other.columns)
            and list(one.dtypes) == list(other.dtypes)
            and one.index.equals(other.index)
        )
    if hasattr(one, "tobytes"):  # NumPy; the bytes of objects are pointers
        alike = one.dtype == other.dtype and one.shape == other.shape
        return alike and (one.tolist() == other.tolist() if one.dtype.hasobject else one.tobytes() == other.tobytes())
    return bool(one == other)


def _first(differences: Any) -> str:
    return next((each for each in differences if each), "")


def contents(path: Path) -> dict[str, object]:
    """A file or a directory as data: name, and for each file below it its bytes and whether it may be executed."""
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    root = path.parent
    return {each.relative_to(root).as_posix(): (each.read_bytes(), bool(each.stat().st_mode & 0o100)) for each in files}
