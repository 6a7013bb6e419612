"""The inputs of a workflow that is started by hand: a pipeline's parameters as a person types them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from penstock.spec import ParameterSpec, TypeKind, TypeSpec
from penstock.values import Json, parse
from penstock_backends.json_schema import WrongDefaultError, plain_default
from penstock_backends.lowering import kind_of

MOST_INPUTS = 25
LONGEST_INPUTS = 65_535  # characters, of all inputs of a run together

# Types whose values a person types as one word or number; of all others the form says that it takes JSON.
_PLAIN = {
    TypeKind.BOOL, TypeKind.INT, TypeKind.FLOAT, TypeKind.STR, TypeKind.LITERAL, TypeKind.ENUM, TypeKind.DECIMAL,
    TypeKind.DATE, TypeKind.DATETIME, TypeKind.TIME, TypeKind.UUID, TypeKind.NONE,
}  # fmt: skip


@dataclass(frozen=True)
class Input:
    """An input of ``workflow_dispatch``.

    ``quoted`` says that a text in double quotes is read as JSON: its default can be shown on one line in no other way.
    ``shown`` is the default in a form for people, which says less than its encoding; the program knows it by it.
    """

    id: str
    description: str
    type: str
    required: bool
    default: str | float | bool | None
    options: tuple[str, ...]
    quoted: bool
    shown: str


def input_of(id_: str, parameter: ParameterSpec) -> Input:
    """The input for a parameter. All that is typed arrives as text, and is read by ``penstock.harness.parse``."""
    kind = kind_of(parameter.type)
    options = _options(parameter.type, kind)
    raw = _raw(parameter, kind["kind"])
    text = None if parameter.required else typed(raw, kind)
    quoted = text is not None and kind["kind"] == "str" and text != parameter.default
    default: str | float | bool | None = text
    type_ = "choice" if options else "string"
    if not options and kind["kind"] == "bool":
        type_, default = "boolean", None if text is None else text == "true"
    if kind["kind"] in ("int", "float") and (text is None or _is_kept(parameter.default)):
        type_, default = "number", None if text is None else parameter.default
    shown = text if text is not None and _says_less(raw, parameter.default) else ""
    return Input(id_, _description(parameter, quoted), type_, parameter.required, default, options, quoted, shown)


def typed(raw: Json, kind: Any) -> str:
    """What a person types for a raw value: its plain text where that is read as the same value, else its JSON.

    GitHub takes no expression marks here, and a form no second line; JSON has another way to write both.
    """
    if isinstance(raw, str) and _fits_a_form(raw) and parse(raw, kind) == raw:
        return raw
    text = json.dumps(raw, ensure_ascii=False)
    return (text if text.isprintable() else json.dumps(raw)).replace("${{", "\\u0024{{")


def _fits_a_form(text: str) -> bool:
    return text.isprintable() and text == text.strip() and "${{" not in text


def _says_less(raw: Json, wire: Json) -> bool:
    """Whether a default is shown without tags that tell its parts' classes."""
    return isinstance(raw, (dict, list)) and raw != wire


def _raw(parameter: ParameterSpec, kind: str) -> Json:
    """A default without tags, where the declared type says what the rest stands for."""
    wire = parameter.default
    tag: str
    body: Json
    tag, body = next(iter(wire.items())) if isinstance(wire, dict) and len(wire) == 1 else ("", None)
    if (tag, kind) == ("$float", "float"):
        return float(body) if body == "-0.0" else body
    if (tag, kind) == ("$enum", "enum"):
        return body[1]
    if (tag, kind) == ("$int", "int"):
        return int(body)
    if tag in ("$decimal", "$uuid", "$date") and tag == f"${kind}":
        return body
    try:
        return plain_default(parameter)
    except WrongDefaultError:
        return wire


def _options(type_: TypeSpec, kind: Any) -> tuple[str, ...]:
    if type_.kind is TypeKind.ENUM:
        return tuple(typed(member, kind) for member in type_.members)
    if type_.kind is not TypeKind.LITERAL:
        return ()
    options = tuple(typed(value, kind) for value in type_.values)
    read = [parse(option, kind) for option in options]
    # ``Literal["1", 1]`` cannot be told apart in a list of texts.
    return options if all(a == b and type(a) is type(b) for a, b in zip(read, type_.values, strict=True)) else ()


def _is_kept(number: Json) -> bool:
    """Whether GitHub, which writes numbers with 15 digits, shows this default as it is."""
    return isinstance(number, (int, float)) and float(f"{number:.15g}") == number


def _description(parameter: ParameterSpec, quoted: bool) -> str:
    how = parameter.type.text or parameter.type.kind.value
    parts = parameter.type.args if parameter.type.kind is TypeKind.UNION else (parameter.type,)
    if any(part.kind not in _PLAIN for part in parts):
        how += ", as JSON"
    if quoted:
        how += "; a text in double quotes is read as JSON"
    return one_line(f"{parameter.description} ({how})" if parameter.description else how)


def one_line(text: str) -> str:
    """A text for people, where neither a second line nor an expression can stand."""
    return " ".join(text.split()).replace("${{", "$ {{")
