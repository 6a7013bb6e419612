"""What people read on Kubeflow's pages before a run: what the pipeline is, and the form with its parameters."""

from __future__ import annotations

from typing import Any

from penstock.harness import decode, parse
from penstock.spec import ParameterSpec, PipelineSpec, TypeKind, TypeSpec
from penstock.values import Json
from penstock_backends.json_schema import WrongDefaultError, holds_record, plain_default
from penstock_backends.kubeflow import entry
from penstock_backends.kubeflow.channels import STRING, given_value, parameter_type
from penstock_backends.lowering import kind_of
from penstock_backends.rendering import compact_json

# What is typed as it is; all else as JSON.
_TYPED = {
    TypeKind.STR, TypeKind.INT, TypeKind.FLOAT, TypeKind.BOOL, TypeKind.NONE, TypeKind.DATETIME, TypeKind.DATE,
    TypeKind.TIME, TypeKind.TIMEDELTA, TypeKind.DECIMAL, TypeKind.UUID, TypeKind.LITERAL, TypeKind.ENUM, TypeKind.BYTES,
}  # fmt: skip
_WRITTEN = {TypeKind.TIMEDELTA: ", in seconds", TypeKind.BYTES: ", in base64"}


def described(*texts: str) -> dict[str, str]:
    """A description in paragraphs, which the engine's templates may not take for one of theirs."""
    text = "\n\n".join(filter(None, (each.strip() for each in texts)))
    return {"description": text.replace("{{", "{ {")} if text else {}


def heading(pipeline: PipelineSpec) -> dict[str, str]:
    """The pipeline's description; whose it is and what it is tagged with, for which Kubeflow has no place."""
    owner = f"Owner: {pipeline.owner}" if pipeline.owner else ""
    tags = f"Tags: {', '.join(pipeline.tags)}" if pipeline.tags else ""
    return described(pipeline.description, owner, tags)


def input_of(parameter: ParameterSpec) -> dict[str, Any]:
    """A parameter as an input of the pipeline."""
    hint, text = _hint(parameter), parameter.description.strip()
    text = f"{text} ({hint})" if text and hint else text or hint
    found: dict[str, Any] = {"parameterType": parameter_type(parameter), **described(text)}
    if not parameter.required:
        found |= {"defaultValue": _default(parameter), "isOptional": True}
    return found


def read_as(parameter: ParameterSpec) -> Json:
    """A parameter's type as the step reads it, with what its default is read as: a record's class is not called."""
    kind = kind_of(parameter.type)
    if parameter.required or not holds_record(parameter.type):
        return kind
    shown = _default(parameter)
    return (
        kind
        if shown == given_value(parameter, parameter.default)
        else {**kind, "shown": shown, "exact": parameter.default}
    )


def _hint(parameter: ParameterSpec) -> str:
    """What to write, where the type that Kubeflow shows does not tell."""
    type_, is_text = parameter.type, parameter_type(parameter) == STRING
    if type_.kind is TypeKind.STR or (type_.kind in _TYPED and not is_text):
        return ""
    if type_.kind is TypeKind.ENUM:
        return f"one of {', '.join(type_.members)}"
    parts = type_.args if type_.kind is TypeKind.UNION else (type_,)
    as_json = ", as JSON" if is_text and any(part.kind not in _TYPED for part in parts) else ""
    return type_.text + _WRITTEN.get(type_.kind, as_json)


def _default(parameter: ParameterSpec) -> Json:
    """The default as a person would write it, where that is read as the same value (see `read_as`); else exactly."""
    exact = given_value(parameter, parameter.default)
    if parameter_type(parameter) != STRING or parameter.type.kind is TypeKind.STR:
        return exact
    if parameter.type.kind is TypeKind.INT:
        return str(decode(parameter.default))
    try:
        plain = plain_default(parameter)
    except WrongDefaultError:
        return exact
    if isinstance(plain, str) and not entry.has_mark(plain) and _reads_as_it_is(plain, parameter.type):
        return plain
    text = entry.guarded(compact_json(plain))
    return exact if text.startswith(entry.WRAPPED) else text


def _reads_as_it_is(text: str, type_: TypeSpec) -> bool:
    return not text.startswith(entry.WRAPPED) and bool(parse(text, kind_of(type_)) == text)
