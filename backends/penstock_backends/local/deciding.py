"""Decides branches and lists the items of loops in the runner itself, where that runs none of the author's code.

That is: where all that is compared is plain data, of the classes that JSON stands for. Everything else, and whatever
goes wrong, is left to a worker process, which says the same of it that it would say of any step.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from penstock.harness import Inputs, to_wire
from penstock.spec import Branch, Loop
from penstock_backends.local.objects import is_artifact
from penstock_backends.local.plan import PlannedNode
from penstock_backends.local.settling import parts_of

Json = Any
# What may take any amount of time or memory, however small its operands are.
_UNBOUNDED = ("range", "format")


class _AuthorsError(Exception):
    """A value is of the author's own class."""


def quick_answer(
    node: PlannedNode, job: Json, parameters: Mapping[str, Json], outputs: Mapping[str, Mapping[str, Json]]
) -> Json:
    """The result of a decision or of a loop's list, as a worker would give it; None where a worker has to."""
    if not isinstance(node.unit.node, (Branch, Loop)):
        return None
    (binding,) = job["arguments"].values()
    if not _is_bounded([binding]) or any(is_artifact(wire) for wires in outputs.values() for wire in wires.values()):
        return None
    try:
        value = Inputs(parameters, node.planned.kinds, outputs, _find).resolve(binding)
        return {"outputs": _given(node, job, value), "metrics": {}}
    except Exception:  # noqa: BLE001  # whatever it is, the worker tells it as any step's
        return None


def _given(node: PlannedNode, job: Json, value: Any) -> Json:
    if isinstance(node.unit.node, Branch):
        return {"holds": bool(value)}
    if job["outputs"][0]["each"].get("artifact"):
        raise _AuthorsError
    return {"items": to_wire("items", list(value), job["outputs"][0], Path())}


def _is_bounded(bindings: Iterable[Json]) -> bool:
    return all(binding.get("operator") not in _UNBOUNDED and _is_bounded(parts_of(binding)) for binding in bindings)


def _find(name: str) -> typing.NoReturn:
    raise _AuthorsError(name)
