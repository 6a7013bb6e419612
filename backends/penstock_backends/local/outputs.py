"""What the nodes of a run gave: as wires while the run goes on, as values for whoever asks afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from penstock.backend import Definition
from penstock.harness import Inputs, assemble, decode, instance, load_artifact
from penstock.spec import Loop, Returns
from penstock_backends.local.names import LiveNames
from penstock_backends.local.objects import Json, Objects, located
from penstock_backends.local.plan import PlannedNode
from penstock_backends.local.settling import ITEM, bindings_in, used_by
from penstock_backends.lowering import Program, wire_of


class Outputs:
    """The outputs of the nodes that succeeded.

    ``wires`` holds them as they were published, by the node's id and the output's name, and each item of a loop as the
    output ``item`` of a name of its own. ``folder`` is the run's, which keeps copies of the paths among them.
    """

    def __init__(self, definition: Definition, names: LiveNames, objects: Objects, folder: Path) -> None:
        self.wires: dict[str, dict[str, Json]] = {}
        self._spec = definition.spec
        self._names = names
        self._objects = objects
        self._folder = folder

    def add(self, node: PlannedNode, wires: Mapping[str, Json]) -> None:
        """Takes what a node gave."""
        self.wires.update(instances_of(node, wires))

    def taken_by(self, job: Json) -> dict[str, dict[str, Json]]:
        """Those that a settled job takes."""
        found: dict[str, dict[str, Json]] = {}
        for node, output in used_by(bindings_in(job)):
            found.setdefault(node, {})[output] = self.wires[node][output]
        return found

    def located(self, node: str, wires: Mapping[str, Json]) -> dict[str, Json]:
        """A node's wires with places to read them from; a path is a copy that stays with the run."""
        place = self._folder / "outputs" / quote(node, safe="[]")
        return {name: located(wire, place / name, self._objects) for name, wire in wires.items()}

    def returned(self, node: PlannedNode, wires: Mapping[str, Json]) -> Any:
        """What a node's step returned."""
        find = self._names.find
        with self._names.canonical():
            values = {
                name: decode(wire, find, lambda reference: load_artifact(reference, find))
                for name, wire in self.located(node.id, wires).items()
            }
        return _joined(values, node.step.returns, self._names)

    def result(self, program: Program, parameters: Mapping[str, Json]) -> Any:
        """What the pipeline returned; None where nothing that it would have returned has run."""
        if self._spec.result is None:
            return None
        depths = {unit.id: len(unit.loops) for unit in program.units if unit.loops}
        job = {"depths": depths, "members": {loop: list(ids) for loop, ids in program.members.items()}}
        binding = wire_of(self._spec.result)
        with self._names.canonical():
            inputs = Inputs(parameters, program.kinds, _Located(self), self._names.find, job=job)
            return None if inputs.state(binding) else inputs.resolve(binding)


def instances_of(node: PlannedNode, wires: Mapping[str, Json]) -> Iterator[tuple[str, dict[str, Json]]]:
    """What a node gave by its name and, where it is a loop, each of its items by a name of its own."""
    yield node.id, dict(wires)
    if isinstance(node.unit.node, Loop):
        for number, wire in enumerate(wires["items"]):
            yield instance(node.unit.id, (*node.index, number)), {ITEM: wire}


class _Located(Mapping[str, Mapping[str, Json]]):
    """The outputs of nodes with places to read them from, made as they are asked for."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        self._known: dict[str, Mapping[str, Json]] = {}

    def __getitem__(self, node: str) -> Mapping[str, Json]:
        if node not in self._known:
            self._known[node] = self._outputs.located(node, self._outputs.wires[node])
        return self._known[node]

    def __iter__(self) -> Iterator[str]:
        return iter(self._outputs.wires)

    def __len__(self) -> int:
        return len(self._outputs.wires)

    def __contains__(self, node: object) -> bool:
        return node in self._outputs.wires


def _joined(values: Mapping[str, Any], returns: Returns, names: LiveNames) -> Any:
    if returns.kind == "none":
        return None
    if returns.kind == "value":
        return next(iter(values.values()))
    if returns.kind == "tuple":
        return tuple(values.values())
    return assemble(names.find(returns.type), values)
