"""The parameters of one run: from texts or Python values to the encoding that engines are given, checked on the way."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from penstock.assignability import accepts
from penstock.backend import Definition
from penstock.declarations import Names, is_taken
from penstock.diagnostics import Diagnostic, ParameterError, did_you_mean, with_article
from penstock.harness import StepError
from penstock.spec import PipelineSpec, TypeKind, TypeSpec
from penstock.values import Json, coerce, decode, encode, parse

_SAID: Mapping[TypeKind, str] = {
    TypeKind.INT: "a whole number: -p {}=3",
    TypeKind.FLOAT: "a number: -p {}=0.5",
    TypeKind.BOOL: "one of: true, false",
    TypeKind.DATE: "a date as YYYY-MM-DD: -p {}=2026-01-31",
    TypeKind.DATETIME: "a time as YYYY-MM-DDTHH:MM:SS: -p {}=2026-01-31T12:00:00",
    TypeKind.TIME: "a time as HH:MM:SS: -p {}=12:00:00",
    TypeKind.UUID: "a UUID: -p {}=123e4567-e89b-12d3-a456-426614174000",
    TypeKind.DECIMAL: "a decimal number: -p {}=0.10",
    TypeKind.NONE: "null: -p {}=null",
}


_EXAMPLES: Mapping[TypeKind, Json] = {
    TypeKind.STR: "a",
    TypeKind.INT: 3,
    TypeKind.FLOAT: 0.5,
    TypeKind.BOOL: True,
    TypeKind.NONE: None,
    TypeKind.DATE: "2026-01-31",
    TypeKind.DATETIME: "2026-01-31T12:00:00",
    TypeKind.TIME: "12:00:00",
    TypeKind.UUID: "123e4567-e89b-12d3-a456-426614174000",
    TypeKind.DECIMAL: "0.10",
}


class _NotHereError(Exception):
    """A class that the spec names cannot be imported in this process."""


def parse_parameters(definition: Definition, texts: Mapping[str, str]) -> dict[str, Any]:
    """The values that texts from a command line stand for; anything but a text is written as JSON.

    Raises:
        ParameterError: naming each that is unknown or stands for no value of its type.
    """
    parameters = {each.name: each for each in definition.spec.parameters}
    problems = _unknown(definition.spec, texts)
    values: dict[str, Any] = {}

    def find(class_name: str) -> Any:
        try:
            return definition.find(class_name)
        except (ImportError, AttributeError):
            raise _NotHereError(class_name.partition(":")[2]) from None

    for name in (each for each in texts if each in parameters):
        kind = parameters[name].type.model_dump(mode="json", exclude_defaults=True)
        try:
            values[name] = coerce(parse(texts[name], kind), kind, find)
        except _NotHereError as error:
            problems.append(_not_here(definition.spec, name, str(error)))
        except StepError as error:
            message = "".join([f"parameter `{name}`: {error}", *_validators_reasons(error)])
            problems.append(Diagnostic("P603", message, fix=_how_to_write(name, parameters[name].type, texts[name])))
    if problems:
        raise ParameterError(problems)
    return values


def encode_parameters(definition: Definition, given: Mapping[str, Any], options: Iterable[str] = ()) -> dict[str, Json]:
    """All parameters of a run, encoded: those given, checked against their types, and the defaults of the others.

    Args:
        definition: the pipeline.
        given: the values, by name.
        options: what else could have been given at the same place, for who misspelt it.

    Raises:
        ParameterError: naming each that is unknown (and the nearest that exists), missing, or not of its type.
    """
    problems = _unknown(definition.spec, given, options)
    wires: dict[str, Json] = {}
    names = Names()
    for parameter in definition.spec.parameters:
        name = parameter.name
        if name in given:
            reason = accepts(parameter.type, given[name], names.of)
            wires[name] = None if reason else encode(given[name], names.of)
            if not reason and not is_taken(parameter.type, wires[name], definition.find):
                reason = f"{given[name]!r:.60} is not {parameter.type.text}"
            if reason:
                fix = f"give {with_article(parameter.type.text)}"
                problems.append(Diagnostic("P603", f"parameter `{name}`: {reason}", fix=fix))
        elif parameter.required:
            message = f"parameter `{name}` ({parameter.type.text}) of pipeline `{definition.spec.name}` is not given"
            problems.append(Diagnostic("P602", message, fix=f"give it: {name}=..., on the command line -p {name}=..."))
        else:
            wires[name] = parameter.default
    if problems:
        raise ParameterError(problems)
    return wires


def encoded_again(definition: Definition, wires: Mapping[str, Json], run: str) -> dict[str, Json]:
    """The parameters of an earlier run as those of a pipeline that may have changed since.

    Args:
        definition: the pipeline.
        wires: what the earlier run was given, encoded.
        run: its id, for messages.

    Raises:
        ParameterError: naming each that the pipeline has not any more, lacks, or takes as another type.
    """
    values: dict[str, Any] = {}
    problems: list[Diagnostic] = []
    for name, wire in wires.items():
        try:
            values[name] = decode(wire, definition.find)
        except Exception as error:  # noqa: BLE001  # the author's class may have changed in any way
            problems.append(Diagnostic("P603", f"parameter `{name}`: {error}"))
    try:
        if not problems:
            return encode_parameters(definition, values)
    except ParameterError as error:
        problems.extend(error.diagnostics)
    fix = "run the pipeline anew, or what it was then: `penstock runs resume --as-it-was`"
    said = f"run {run} does not fit the pipeline any more"
    raise ParameterError([replace(each, message=f"{said}: {each.message}", fix=fix) for each in problems])


def _how_to_write(name: str, kind: TypeSpec, text: str) -> str:
    """What of a type fits on a command line; ``text`` is what was given."""
    choices = [each for each in kind.args if each.kind is not TypeKind.NONE]
    if kind.kind is TypeKind.UNION and len(choices) == 1:
        return f"{_how_to_write(name, choices[0], text)}, or null"
    if kind.kind in _SAID:
        return f"give {_SAID[kind.kind].format(name)}"
    if kind.kind in (TypeKind.ENUM, TypeKind.LITERAL):
        texts = [each if isinstance(each, str) else json.dumps(each) for each in kind.values]
        return f"give one of: {', '.join(texts if kind.kind is TypeKind.LITERAL else _members(kind, texts))}"
    is_list = kind.kind in (TypeKind.LIST, TypeKind.SET, TypeKind.FROZENSET) or kind.variadic
    is_of_texts = is_list and [each.kind for each in kind.args] == [TypeKind.STR]
    example = [each.strip() for each in text.split(",")] if is_of_texts and text[:1] not in "[{" else _example(kind)
    return f"write it as JSON: -p {name}={shlex.quote(json.dumps(example))}"


def _example(kind: TypeSpec) -> Json:
    """A value of a type, as JSON."""
    if kind.fields:
        return {each.name: _example(each.type) for each in kind.fields}
    parts = [_example(each) for each in kind.args]
    if kind.kind is TypeKind.DICT:
        return {str(parts[0]): parts[1]} if parts else {}
    if kind.kind is TypeKind.UNION:
        return parts[0]
    if kind.kind in (TypeKind.ENUM, TypeKind.LITERAL):
        return _members(kind, list(map(str, kind.values)))[0] if kind.kind is TypeKind.ENUM else kind.values[0]
    return _EXAMPLES.get(kind.kind, parts)


def _members(kind: TypeSpec, texts: list[str]) -> list[str]:
    """How an enum's members may be given: by their values where these are texts, else by their names."""
    return texts if texts and all(isinstance(each, str) for each in kind.values) else list(kind.members)


def _validators_reasons(error: BaseException | None) -> Iterator[str]:
    """What the author's pydantic model said of the value."""
    while error is not None and not isinstance(error, ValidationError):
        error = error.__context__
    for each in error.errors() if error is not None else ():
        where = ".".join(map(str, each["loc"]))
        yield f"\n  {where or 'the value'}: {each['msg'].removeprefix('Value error, ')}"


def _unknown(pipeline: PipelineSpec, given: Iterable[str], options: Iterable[str] = ()) -> list[Diagnostic]:
    known = [each.name for each in pipeline.parameters]

    def fix(name: str) -> str:
        return did_you_mean(name, [*known, *options], otherwise="") or did_you_mean(
            name, known, otherwise="its parameters: {}"
        )

    return [
        Diagnostic("P601", f"pipeline `{pipeline.name}` has no parameter `{name}`", fix=fix(name))
        for name in given
        if name not in known
    ]


def _not_here(pipeline: PipelineSpec, name: str, class_name: str) -> Diagnostic:
    message = f"parameter `{name}`: its class `{class_name}` is the author's, and a spec holds no classes"
    source = f"{pipeline.span.file}:{pipeline.name}" if pipeline.span else "its Python file"
    return Diagnostic("P603", message, fix=f"run the pipeline from where it is defined: penstock run {source}")
