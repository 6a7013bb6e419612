"""A parameter's type as JSON Schema, and its default as the plain JSON that a person would type.

Both are what ``harness.coerce`` reads, so that a value that passes the schema reaches the step as what was declared.
Where plain JSON cannot say a value exactly (an integer that JavaScript would round, ``-0.0``), it stays tagged as
``harness.encode`` wrote it, and the schema is widened to let it pass.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from penstock.spec import ParameterSpec, TypeKind, TypeSpec

Json = Any
Schema = dict[str, Any]

NOT_A_NUMBER = "^(nan|-?inf)$"
"""How the floats that JSON lacks are written, as texts."""

TAGS = frozenset(
    f"${name}"
    for name in (
        *("int", "float", "tuple", "set", "frozenset", "dict", "bytes", "datetime", "date", "time", "timedelta"),
        *("decimal", "uuid", "enum", "flag", "dataclass", "namedtuple", "pydantic"),
    )
)
"""The keys that mark a tagged value (see ``harness.encode``)."""


class WrongDefaultError(ValueError):
    """A default is not of its parameter's type."""


def schema_of(type_: TypeSpec, tagged: bool = False) -> Schema:
    """The JSON Schema (2020-12) of plain JSON for values of a type; with ``tagged``, of tagged values too."""
    if type_.kind in _SIMPLE:
        return _widened(_SIMPLE[type_.kind], tagged)
    return _COMPOSED[type_.kind](type_, tagged)


def plain_default(parameter: ParameterSpec) -> Json:
    """The default of a parameter that has one, as JSON for people.

    Raises:
        WrongDefaultError: it is not of the declared type.
    """
    return plain(parameter.default, parameter.type)


def is_tagged(value: Json) -> bool:
    """Whether some part of a value is tagged."""
    if isinstance(value, dict):
        return _is_tag(value) or any(map(is_tagged, value.values()))
    return isinstance(value, list) and any(map(is_tagged, value))


def _is_tag(value: dict[str, Json]) -> bool:
    """Whether the harness would read an object as one of its tagged values."""
    return len(value) == 1 and next(iter(value)) in TAGS


def holds_record(type_: TypeSpec) -> bool:
    """Whether values of a type are made by calling a class, which may do more than set the fields it is given."""
    if type_.kind in (TypeKind.DATACLASS, TypeKind.NAMEDTUPLE):
        return True
    return any(map(holds_record, (*type_.args, *(field.type for field in type_.fields))))


def plain(wire: Json, type_: TypeSpec) -> Json:
    """An encoded value as plain JSON, as far as that is exact. Raises `WrongDefaultError`: it is not of the type."""
    if type_.kind is TypeKind.UNION:
        return _plain_union(wire, type_)
    return _PLAIN.get(type_.kind, _plain_scalar)(wire, type_)


# --- schemas ---

_SIMPLE: dict[TypeKind, Schema] = {
    TypeKind.NONE: {"type": "null"},
    TypeKind.BOOL: {"type": "boolean"},
    TypeKind.INT: {"type": "integer"},
    TypeKind.FLOAT: {"type": ["number", "string"], "pattern": NOT_A_NUMBER},
    TypeKind.STR: {"type": "string"},
    TypeKind.BYTES: {"type": "string", "contentEncoding": "base64"},
    TypeKind.DATETIME: {"type": "string"},  # no `format`: "date-time" wants a time zone, and the type does not say
    TypeKind.DATE: {"type": "string", "format": "date"},
    TypeKind.TIME: {"type": "string"},
    TypeKind.TIMEDELTA: {"type": "number"},
    TypeKind.DECIMAL: {"type": ["string", "integer"]},
    TypeKind.UUID: {"type": "string", "format": "uuid"},
}


def _widened(schema: Schema, tagged: bool) -> Schema:
    if not tagged:
        return dict(schema)
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return {**schema, "type": [*types, "object"]}


def _array_schema(type_: TypeSpec, tagged: bool) -> Schema:
    schema: Schema = {"type": "array"}
    if type_.kind is TypeKind.TUPLE and not type_.variadic:
        items = [schema_of(each, tagged) for each in type_.args]
        schema |= {"prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    elif type_.args:
        schema |= {"items": schema_of(type_.args[0], tagged)}
    return _widened(schema, tagged)


def _dict_schema(type_: TypeSpec, tagged: bool) -> Schema:
    if tagged or not _has_texts_as_keys(type_):
        return {"type": "object"}
    return {"type": "object", "additionalProperties": schema_of(type_.args[1])}


def _has_texts_as_keys(type_: TypeSpec) -> bool:
    return bool(type_.args) and type_.args[0].kind is TypeKind.STR


def _literal_schema(type_: TypeSpec, _: bool) -> Schema:
    return {"enum": list(type_.values)}


def _enum_schema(type_: TypeSpec, tagged: bool) -> Schema:
    choices: Schema = {"enum": list(type_.members)}
    return {"anyOf": [choices, {"type": "object"}]} if tagged else choices


def _record_schema(type_: TypeSpec, tagged: bool) -> Schema:
    if tagged:
        return {"type": "object"}
    required = [field.name for field in type_.fields if field.required]
    return {
        "type": "object",
        "properties": {field.name: schema_of(field.type) for field in type_.fields},
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def _union_schema(type_: TypeSpec, tagged: bool) -> Schema:
    members = [schema_of(each, tagged) for each in type_.args]
    if all(set(each) == {"type"} and isinstance(each["type"], str) for each in members):
        return {"type": list(dict.fromkeys(each["type"] for each in members))}
    some = [each for each in members if each != {"type": "null"}]
    if len(some) == 1 and len(members) == 2:
        return _or_null(some[0])
    return {"anyOf": [*members, *([{"type": "object"}] if tagged else [])]}


def _or_null(schema: Schema) -> Schema:
    if "enum" in schema:
        return {"enum": [*schema["enum"], None]}
    if "type" not in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return {**schema, "type": [*types, "null"]}


_COMPOSED: dict[TypeKind, Callable[[TypeSpec, bool], Schema]] = {
    TypeKind.LIST: _array_schema,
    TypeKind.TUPLE: _array_schema,
    TypeKind.SET: _array_schema,
    TypeKind.FROZENSET: _array_schema,
    TypeKind.DICT: _dict_schema,
    TypeKind.LITERAL: _literal_schema,
    TypeKind.ENUM: _enum_schema,
    TypeKind.DATACLASS: _record_schema,
    TypeKind.NAMEDTUPLE: _record_schema,
    TypeKind.TYPEDDICT: _record_schema,
    TypeKind.PYDANTIC: _record_schema,
    TypeKind.UNION: _union_schema,
    TypeKind.ANY: lambda type_, tagged: {},
    TypeKind.PATH: lambda type_, tagged: {},
    TypeKind.OBJECT: lambda type_, tagged: {},
}


# --- values ---


def _plain_scalar(wire: Json, type_: TypeSpec) -> Json:
    _expect(type_.kind in _PYTHON and isinstance(wire, _PYTHON[type_.kind]), wire, type_)
    _expect(type_.kind is TypeKind.BOOL or not isinstance(wire, bool), wire, type_)
    return wire


_PYTHON: dict[TypeKind, type] = {TypeKind.NONE: type(None), TypeKind.BOOL: bool, TypeKind.STR: str}


def _plain_int(wire: Json, type_: TypeSpec) -> Json:
    _expect(_body(wire, "$int") is not None or (isinstance(wire, int) and not isinstance(wire, bool)), wire, type_)
    return wire


def _plain_float(wire: Json, type_: TypeSpec) -> Json:
    special = _body(wire, "$float")
    if special is not None:
        return wire if special == "-0.0" else special
    if _body(wire, "$int") is not None:
        return wire
    return _expect(isinstance(wire, (int, float)) and not isinstance(wire, bool), wire, type_)


def _plain_moment(wire: Json, type_: TypeSpec) -> Json:
    body = _body(wire, f"${type_.kind.value}")
    _expect(body is not None, wire, type_)
    text, zone, fold = body
    return text if zone is None and not fold else wire


def _plain_text(wire: Json, type_: TypeSpec) -> Json:
    body = _body(wire, f"${type_.kind.value}")
    _expect(body is not None, wire, type_)
    return body


def _plain_timedelta(wire: Json, type_: TypeSpec) -> Json:
    body = _body(wire, "$timedelta")
    _expect(body is not None, wire, type_)
    days, seconds, microseconds = body
    return wire if microseconds else days * 86400 + seconds


def _plain_list(wire: Json, type_: TypeSpec) -> Json:
    items = wire if type_.kind is TypeKind.LIST else _body(wire, f"${type_.kind.value}")
    _expect(isinstance(items, list), wire, type_)
    if not type_.args:
        return wire if is_tagged(items) else items
    kinds = type_.args if type_.kind is TypeKind.TUPLE and not type_.variadic else type_.args * len(items)
    _expect(len(kinds) == len(items), wire, type_)
    return [plain(item, kind) for item, kind in zip(items, kinds, strict=True)]


def _plain_dict(wire: Json, type_: TypeSpec) -> Json:
    _expect(isinstance(wire, dict), wire, type_)
    pairs = wire["$dict"] if _is_tag(wire) and "$dict" in wire else [[key, item] for key, item in wire.items()]
    if not type_.args:
        return wire
    entries = [(plain(key, type_.args[0]), plain(item, type_.args[1])) for key, item in pairs]
    if _has_texts_as_keys(type_) and not _is_tag(dict(entries)):
        return dict(entries)
    return wire


def _plain_literal(wire: Json, type_: TypeSpec) -> Json:
    return _expect(any(each == wire and type(each) is type(wire) for each in type_.values), wire, type_)


def _plain_enum(wire: Json, type_: TypeSpec) -> Json:
    if _body(wire, "$flag") is not None:
        return _expect(wire["$flag"][0] == type_.name, wire, type_)
    body = _body(wire, "$enum")
    _expect(body is not None and body[0] == type_.name and body[1] in type_.members, wire, type_)
    return body[1]


def _plain_record(wire: Json, type_: TypeSpec) -> Json:
    """The fields of a record. One whose ``__init__`` may do more than set its fields is left as it was encoded."""
    body = wire if type_.kind is TypeKind.TYPEDDICT else _body(wire, f"${type_.kind.value}")
    _expect(body is not None, wire, type_)
    if type_.kind is TypeKind.TYPEDDICT:
        given = body
    else:
        # A value of a subclass must come back as one.
        if body[0] != type_.name:
            return wire
        given = body[1]
    if type_.kind is TypeKind.PYDANTIC:
        return wire
    if type_.kind is TypeKind.NAMEDTUPLE:
        given = dict(zip((field.name for field in type_.fields), given, strict=True))
    kinds = {field.name: field.type for field in type_.fields}
    _expect(isinstance(given, dict), wire, type_)
    if not set(given) <= set(kinds):
        return wire
    return {name: plain(item, kinds[name]) for name, item in given.items()}


def _plain_union(wire: Json, type_: TypeSpec) -> Json:
    """Where more than one type besides None is allowed, what is tagged stays so: the tag says which of them it is."""
    members = [each for each in type_.args if each.kind is not TypeKind.NONE]
    if wire is None:
        return _expect(len(members) < len(type_.args), wire, type_)
    fitting = [each for each in members if _fits(wire, each)]
    _expect(bool(fitting), wire, type_)
    return plain(wire, members[0]) if len(members) == 1 else wire


def _fits(wire: Json, type_: TypeSpec) -> bool:
    try:
        plain(wire, type_)
    except WrongDefaultError:
        return False
    return True


def _plain_any(wire: Json, _: TypeSpec) -> Json:
    return wire


def _body(wire: Json, tag: str) -> Json:
    return wire[tag] if isinstance(wire, dict) and len(wire) == 1 and tag in wire else None


def _expect(condition: bool, wire: Json, type_: TypeSpec) -> Json:
    if not condition:
        raise WrongDefaultError(f"{json.dumps(wire)[:80]} is not {type_.text or type_.kind.value}")
    return wire


_PLAIN: dict[TypeKind, Callable[[Json, TypeSpec], Json]] = {
    TypeKind.INT: _plain_int,
    TypeKind.FLOAT: _plain_float,
    TypeKind.BYTES: _plain_text,
    TypeKind.DATETIME: _plain_moment,
    TypeKind.DATE: _plain_text,
    TypeKind.TIME: _plain_moment,
    TypeKind.TIMEDELTA: _plain_timedelta,
    TypeKind.DECIMAL: _plain_text,
    TypeKind.UUID: _plain_text,
    TypeKind.LIST: _plain_list,
    TypeKind.TUPLE: _plain_list,
    TypeKind.SET: _plain_list,
    TypeKind.FROZENSET: _plain_list,
    TypeKind.DICT: _plain_dict,
    TypeKind.LITERAL: _plain_literal,
    TypeKind.ENUM: _plain_enum,
    TypeKind.DATACLASS: _plain_record,
    TypeKind.NAMEDTUPLE: _plain_record,
    TypeKind.TYPEDDICT: _plain_record,
    TypeKind.PYDANTIC: _plain_record,
    TypeKind.ANY: _plain_any,
    TypeKind.PATH: _plain_any,
    TypeKind.OBJECT: _plain_any,
}
