"""When an earlier result may stand in: the key of a node's work.

Two nodes have the same key where the same code is given the same inputs in the same environment. Code is compared
statement by statement without comments, layout or line numbers, and only as far as the step reaches it; artifacts by
content.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Mapping
from typing import Any

from penstock.harness import belongs, trimmed
from penstock.spec import ModuleSource, PipelineSpec, Settings, StepSpec
from penstock_backends.local.objects import is_artifact
from penstock_backends.lowering import requirements_of

Json = Any
Outputs = Mapping[str, Mapping[str, Json]]
KEY_VERSION = 1
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
PYTHON = f"{sys.implementation.name}-{sys.version_info[0]}.{sys.version_info[1]}"


class Keys:
    """Makes the keys of one pipeline's nodes."""

    def __init__(self, pipeline: PipelineSpec) -> None:
        self._modules = {module.name: module for module in pipeline.modules}
        self._fixed: dict[tuple[str, Settings], str] = {}
        self._parsed: dict[str, list[ast.stmt]] = {}

    def key(
        self, step: StepSpec, settings: Settings, job: Json, parameters: Mapping[str, Json], outputs: Outputs
    ) -> str:
        """The key of a call of ``step``.

        Args:
            step: what is called.
            settings: how.
            job: its inputs by name (``arguments``) and its gates (``checks``), as settled bindings in JSON.
            parameters: the pipeline's parameters, as wires.
            outputs: the published wires of the instances before it.
        """
        inputs = {name: content_of(binding, parameters, outputs) for name, binding in job["arguments"].items()}
        gates = [
            [check["value"], check["operator"], [content_of(bound, parameters, outputs) for bound in check["bounds"]]]
            for check in job.get("checks", ())
        ]
        return _digest([self._fixed_part(step, settings), inputs, *([gates] if gates else [])])

    def variant(self, key: str, *more: str | int) -> str:
        """A key that only those share who have the same key and more in common."""
        return _digest([key, *more])

    def _fixed_part(self, step: StepSpec, settings: Settings) -> str:
        known = self._fixed.get((step.id, settings))
        if known is None:
            known = _digest(
                [
                    KEY_VERSION,
                    PYTHON,
                    step.id,
                    [[reach.module, self._code(self._modules[reach.module], set(reach.names))] for reach in step.reach],
                    step.returns.model_dump(mode="json"),
                    [[output.name, output.type.serializer] for output in step.outputs],
                    settings.packages is not None,
                    list(requirements_of(step, settings)),
                    list(settings.env),
                    settings.image,
                    settings.cache_version,
                    *([list(settings.secrets)] if settings.secrets else []),
                ]
            )
            self._fixed[step.id, settings] = known
        return known

    def _code(self, module: ModuleSource, names: set[str]) -> list[str]:
        if module.name not in self._parsed:
            self._parsed[module.name] = [
                each for statement in module.statements for each in ast.parse(statement.source).body
            ]
        return [ast.dump(trimmed(each, names)) for each in self._parsed[module.name] if belongs(each, names)]


def content_of(binding: Json, parameters: Mapping[str, Json], outputs: Outputs) -> Json:
    """What a settled binding resolves to, as far as it can be told without decoding."""
    kind, path = binding["kind"], binding.get("path", ())
    if kind == "literal":
        return _part(binding["value"], path)
    if kind in ("parameter", "output"):
        wire = parameters[binding["name"]] if kind == "parameter" else outputs[binding["node"]][binding["output"]]
        return _part(_without_place(wire), path)
    if kind in ("list", "tuple"):
        whole = [kind, [content_of(item, parameters, outputs) for item in binding["items"]]]
    elif kind == "operation":
        whole = [kind, binding["operator"], [content_of(item, parameters, outputs) for item in binding["operands"]]]
    else:
        items = binding["items"] if kind == "dict" else binding["fields"]
        whole = [kind, binding.get("type", ""), [[name, content_of(item, parameters, outputs)] for name, item in items]]
    return ["part", whole, _accesses(path)] if path else whole


def _without_place(wire: Json) -> Json:
    """An artifact by its content; its file name counts only where the step sees it."""
    if not is_artifact(wire):
        return wire
    reference = wire["$artifact"]
    return {
        "$artifact": {name: item for name, item in reference.items() if name != "file" or reference["format"] == "path"}
    }


def _part(wire: Json, path: Json) -> Json:
    """The wire at the end of a path; where that can't be told from the JSON, the whole and the rest of the path."""
    for index, access in enumerate(path):
        found = _field(wire, access)
        if found is None:
            return ["part", wire, _accesses(path[index:])]
        wire = found[0]
    return wire


def _accesses(path: Json) -> list[Json]:
    return [[each["kind"], each["key"]] for each in path]


def _field(wire: Json, access: Json) -> list[Json] | None:
    key = access["key"]
    if access["kind"] == "attribute":
        fields = wire["$dataclass"][1] if isinstance(wire, dict) and "$dataclass" in wire else {}
        return [fields[key]] if key in fields else None
    if isinstance(wire, dict) and "$tuple" in wire:
        wire = wire["$tuple"]
    is_inside = (isinstance(wire, list) and isinstance(key, int) and -len(wire) <= key < len(wire)) or (
        isinstance(wire, dict) and key in wire and not str(key).startswith("$")
    )
    return [wire[key]] if is_inside else None


def _digest(value: Json) -> str:
    return hashlib.sha256(_ENCODER.encode(value).encode("ascii")).hexdigest()
