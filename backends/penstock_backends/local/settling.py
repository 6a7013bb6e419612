"""Bindings as they stand for one instance: items, choices and collections settled, so that plain references are left.

What is settled needs neither the instance's place nor what became of others, and refers to what it takes, no more: one
item of a list, not the list. So it is short to send, and makes a cache key of what really goes in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from penstock.harness import Inputs, Place, instance
from penstock.spec import Loop
from penstock_backends.local.plan import PlannedNode

Json = Any
ITEM = "item"  # the output under which an item of a loop is found, its number added to the loop's own index


class Settling(Inputs):
    """Settles the bindings of a job. ``outputs`` and ``place`` as of `Inputs`."""

    def __init__(self, outputs: Mapping[str, Mapping[str, Json]], job: Json, place: Place) -> None:
        super().__init__({}, {}, outputs, job=job, place=place)

    def settled(self, binding: Json) -> Json:
        """The binding with nothing in it but literals, parameters, outputs of instances, and what is made of them."""
        kind = binding["kind"]
        if kind in ("literal", "parameter"):
            return binding
        if kind == "output":
            return {**binding, "node": self._name(binding["node"])}
        if kind == "item":
            return self._settled_item(binding)
        if kind == "choice":
            return _with_path(self.settled(self._chosen(binding)), binding)
        if kind == "collect":
            return _with_path(_joined(list(self._collected(binding))), binding)
        if kind == "status":
            status = {"pipeline": "", "state": "succeeded", "failures": {}, **(self.place.status or {})}
            return {"kind": "literal", "value": {"$dataclass": ["penstock:RunStatus", status]}}
        if kind == "operation":
            return {**binding, "operands": [self.settled(each) for each in binding["operands"]]}
        if kind in ("list", "tuple"):
            return {**binding, "items": [self.settled(each) for each in binding["items"]]}
        pairs = "items" if kind == "dict" else "fields"
        return {**binding, pairs: [[name, self.settled(each)] for name, each in binding[pairs]]}

    def _settled_item(self, binding: Json) -> Json:
        loop = binding["loop"]
        name = instance(loop, self.index[: self.depths.get(loop, 0) + 1])
        return _with_path({"kind": "output", "node": name, "output": ITEM}, binding)

    def _chosen(self, binding: Json) -> Json:
        return binding["then" if self.holds(binding["branch"]) else "otherwise"]

    def _collected(self, binding: Json) -> Iterator[tuple[bool, Json]]:
        """What is added to a list, each with whether it is spread."""
        for _ in self._turns(binding.get("loop")):
            for entry in binding["entries"]:
                if not any(map(self._of_arm, entry.get("when", ()))) and not self.state(entry["value"]):
                    yield entry.get("spread", False), self.settled(entry["value"])


def _joined(added: list[tuple[bool, Json]]) -> Json:
    if not any(spread for spread, _ in added):
        return {"kind": "list", "items": [each for _, each in added]}
    lists = [each if spread else {"kind": "list", "items": [each]} for spread, each in added]
    return {"kind": "operation", "operator": "concatenate", "operands": lists}


def _with_path(settled: Json, binding: Json) -> Json:
    path = [*settled.get("path", ()), *binding.get("path", ())]
    return {**settled, "path": path} if path else settled


def settled_job(node: PlannedNode, outputs: Mapping[str, Mapping[str, Json]], status: Json = None) -> Json:
    """What of a node's job differs from call to call, its bindings settled.

    All that it reads of others is in ``outputs``; what is not there was skipped. ``status`` is a `RunStatus` as JSON.
    """
    job = node.planned.job
    given = {"outputs": job["outputs"]} if isinstance(node.unit.node, Loop) else {}
    checks = job.get("checks", ())
    if node.planned.is_plain:
        return {"arguments": job["arguments"], **given, **({"checks": checks} if checks else {})}
    settled = Settling(outputs, job, Place(node.index, {}, status)).settled
    arguments = {name: settled(binding) for name, binding in job["arguments"].items()}
    gates = [{**check, "bounds": [settled(bound) for bound in check["bounds"]]} for check in checks]
    return {"arguments": arguments, **given, **({"checks": gates} if gates else {})}


def used_by(bindings: Iterable[Json]) -> Iterator[tuple[str, str]]:
    """The outputs that settled bindings refer to, as instance and output."""
    for binding in bindings:
        if binding["kind"] == "output":
            yield binding["node"], binding["output"]
        else:
            yield from used_by(parts_of(binding))


def parts_of(binding: Json) -> list[Json]:
    """The bindings that a settled binding is made of."""
    kind = binding["kind"]
    if kind in ("list", "tuple"):
        return list(binding["items"])
    if kind in ("dict", "record"):
        return [each for _, each in binding["items" if kind == "dict" else "fields"]]
    return list(binding["operands"]) if kind == "operation" else []


def bindings_in(job: Json) -> Iterator[Json]:
    """Every binding of a job: of its arguments, and of the bounds of its gates."""
    yield from job["arguments"].values()
    for check in job.get("checks", ()):
        yield from check["bounds"]
