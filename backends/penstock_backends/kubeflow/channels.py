"""How values travel on Kubeflow: which type goes by parameter, which by artifact, and under what name."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.harness import StepError
from penstock.spec import OutputSpec, ParameterSpec, TypeKind, TypeSpec
from penstock.values import Json
from penstock_backends.kubeflow import entry
from penstock_backends.lowering import kind_of
from penstock_backends.rendering import compact_json

STRING, LIST, ARTIFACT = "STRING", "LIST", "system.Artifact"
METRICS, CURVES = "system.Metrics", "system.ClassificationMetrics"

_NATIVE = {
    TypeKind.STR: STRING,
    TypeKind.INT: "NUMBER_INTEGER",
    TypeKind.FLOAT: "NUMBER_DOUBLE",
    TypeKind.BOOL: "BOOLEAN",
}
_TITLES = {
    "Dataset": "system.Dataset",
    "Model": "system.Model",
    "Metrics": METRICS,
    "Report": "system.HTML",
    "Markdown": "system.Markdown",
}
_CLASSIFICATION = "penstock.harness:Classification"
_BOUNDED = {
    TypeKind.NONE, TypeKind.BOOL, TypeKind.INT, TypeKind.FLOAT, TypeKind.DATETIME, TypeKind.DATE, TypeKind.TIME,
    TypeKind.TIMEDELTA, TypeKind.DECIMAL, TypeKind.UUID, TypeKind.LITERAL, TypeKind.ENUM,
}  # fmt: skip
_RECORDS = {TypeKind.DATACLASS, TypeKind.NAMEDTUPLE, TypeKind.TYPEDDICT, TypeKind.PYDANTIC}


@dataclass(frozen=True)
class Channel:
    """An input or output of a component: its name, and Kubeflow's type for it (``STRING``, ``system.Model`` ...).

    ``many`` is one for each item of a loop.
    """

    key: str
    type: str = STRING
    many: bool = False

    @property
    def is_artifact(self) -> bool:
        """Whether it carries a file rather than a value."""
        return self.type.startswith("system.")

    @property
    def side(self) -> str:
        """Under which of the two headings it stands in a component."""
        return "artifacts" if self.is_artifact else "parameters"

    @property
    def declared(self) -> str:
        """Its type in one word, for readers."""
        return f"{self.type}, one an item" if self.many else self.type

    @property
    def declaration(self) -> dict[str, Any]:
        """What a component says of it."""
        if self.is_artifact:
            listed = {"isArtifactList": True} if self.many else {}
            return {"artifactType": {"schemaTitle": self.type, "schemaVersion": "0.0.1"}, **listed}
        return {"parameterType": LIST if self.many else self.type}

    def named(self, key: str) -> Channel:
        """The same under another name."""
        return dataclasses.replace(self, key=key)

    def of_task(self, producer: str) -> dict[str, Any]:
        """This output of a task as what an input of another one is bound to."""
        if self.is_artifact:
            return {"taskOutputArtifact": {"producerTask": producer, "outputArtifactKey": self.key}}
        return {"taskOutputParameter": {"producerTask": producer, "outputParameterKey": self.key}}

    def of_subtask(self, producer: str) -> dict[str, Any]:
        """This output of a task as what an output of the DAG around it is taken from."""
        if self.is_artifact:
            return {"artifactSelectors": [{"producerSubtask": producer, "outputArtifactKey": self.key}]}
        return {"valueFromParameter": {"producerSubtask": producer, "outputParameterKey": self.key}}

    @property
    def of_component(self) -> dict[str, Any]:
        """This input of a DAG as what an input of a task in it is bound to."""
        return {"componentInputArtifact" if self.is_artifact else "componentInputParameter": self.key}


def output_channel(output: OutputSpec) -> Channel:
    """How an output travels."""
    if output.type.is_artifact:
        title = _TITLES.get(output.type.label, ARTIFACT)
        return Channel(
            identifier(output.name), CURVES if title == METRICS and _is_classification(output.type) else title
        )
    return Channel(identifier(output.name), STRING if is_bounded(output.type) else ARTIFACT)


def _is_classification(type_: TypeSpec) -> bool:
    return type_.name == _CLASSIFICATION


def is_bounded(type_: TypeSpec) -> bool:
    """Whether every value of the type is small: of fixed parts, none of which can grow."""
    if type_.kind in (TypeKind.UNION, TypeKind.TUPLE):
        return not type_.variadic and all(map(is_bounded, type_.args))
    if type_.kind in _RECORDS:
        return all(is_bounded(field.type) for field in type_.fields)
    return type_.kind in _BOUNDED


# --- parameters of the pipeline ---------------------------------------------------------------------------------------


def parameter_type(parameter: ParameterSpec) -> str:
    """Kubeflow's type for a pipeline parameter: its own where that keeps the type's values and the default.

    Else STRING, which holds a ``str`` as it is and everything else as JSON text; a ``dict``, too: a Struct keeps no
    order.
    """
    own = _own_type(parameter.type)
    is_kept = parameter.required or _is_kept(parameter.default, parameter.type)
    return own if own and is_kept else STRING


def _own_type(type_: TypeSpec) -> str:
    if type_.kind is TypeKind.LIST:
        return LIST if _own_type(type_.args[0]) else ""
    return _NATIVE.get(type_.kind, "")


def _is_kept(value: Json, type_: TypeSpec) -> bool:
    """Whether Kubeflow brings an encoded value to the step as it is, given as a parameter of its own type."""
    text = compact_json(value)
    if entry.has_mark(text) or not isinstance(value, (bool, int, float, list)):
        return False
    try:
        return compact_json(entry.restored(_degraded(value), kind_of(type_))) == text
    except StepError:
        return False


def _degraded(value: Json) -> Json:
    """What Kubeflow makes of JSON: every number a double, and one without a fraction written as an integer."""
    if isinstance(value, list):
        return [_degraded(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return int(value) if float(value).is_integer() else value


def given_value(parameter: ParameterSpec, value: Json) -> Json:
    """An encoded value as it must be given to Kubeflow so that it reaches the step unchanged.

    Mostly the value itself. What an engine would change on the way (``{{$}}``, a list with an integer beyond 2**53)
    goes as ``{"$json": TEXT}``, whose text is JSON in which nothing is left to change. Only a single number cannot.
    """
    type_, text = parameter_type(parameter), entry.guarded(compact_json(value))
    if type_ == LIST:
        return value if _is_kept(value, parameter.type) else [{"$json": text}]
    if type_ == STRING and parameter.type.kind is TypeKind.STR and isinstance(value, str):
        is_safe = not entry.has_mark(value) and not value.startswith(entry.WRAPPED)
        return value if is_safe else entry.WRAPPED + compact_json(text) + "}"
    return text if type_ == STRING else value


def arguments_for(parameters: Iterable[ParameterSpec], values: Mapping[str, Json]) -> dict[str, Any]:
    """Encoded parameter values as the arguments of a run: for the KFP client, and for kfp.local."""
    return {identifier(each.name): given_value(each, values[each.name]) for each in parameters if each.name in values}


# --- names ------------------------------------------------------------------------------------------------------------


def task_name(node: str) -> str:
    """A node's id as a name that Kubernetes allows: ``_`` becomes ``-`` and ``.`` becomes ``--``.

    Where the id can't be read back from that, a hash of it is added, so that no two ids share a name.
    """
    name = node.replace(".", "--").replace("_", "-")
    is_exact = name.replace("--", ".").replace("-", "_") == node
    if is_exact and re.fullmatch(r"[a-z]([a-z0-9-]{,54}[a-z0-9])?", name) and not re.search(r"-[0-9a-f]{6}$", name):
        return name
    cleaned = re.sub(r"-{3,}", "--", re.sub(r"[^a-z0-9-]", "-", name.lower())).strip("-")[:48].rstrip("-")
    return f"{cleaned if cleaned[:1].isalpha() else 'node-' + cleaned}-{_short_hash(node)}"


def identifier(name: str) -> str:
    """A parameter's or output's name, as it is where it is plain ASCII; else cleaned, with a hash."""
    if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) and len(name) <= 100:
        return name
    return f"{re.sub(r'[^A-Za-z0-9_]', '_', name)[:60]}_{_short_hash(name)}"


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]
