"""The parameters of one run: from texts or Python values to the encoding that engines are given, checked on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.assignability import accepts
from penstock.backend import Definition
from penstock.declarations import Names
from penstock.diagnostics import Diagnostic, ParameterError, did_you_mean, with_article
from penstock.harness import StepError
from penstock.spec import ParameterSpec, PipelineSpec
from penstock.values import Json, coerce, encode, parse


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

    for name in parameters.keys() & texts.keys():
        kind = parameters[name].type.model_dump(mode="json", exclude_defaults=True)
        try:
            values[name] = coerce(parse(texts[name], kind), kind, find)
        except _NotHereError as error:
            problems.append(_not_here(definition.spec, name, str(error)))
        except StepError as error:
            problems.append(
                Diagnostic("P603", f"parameter `{name}`: {error}", fix=f"write it as JSON: -p {name}='...'")
            )
    if problems:
        raise ParameterError(problems)
    return values


def encode_parameters(definition: Definition, given: Mapping[str, Any]) -> dict[str, Json]:
    """All parameters of a run, encoded: those given, checked against their types, and the defaults of the others.

    Raises:
        ParameterError: naming each that is unknown (and the nearest that exists), missing, or not of its type.
    """
    problems = _unknown(definition.spec, given)
    wires: dict[str, Json] = {}
    names = Names()
    for parameter in definition.spec.parameters:
        name = parameter.name
        if name in given:
            reason = accepts(parameter.type, given[name], names.of)
            if reason:
                fix = f"give {with_article(parameter.type.text)}"
                problems.append(Diagnostic("P603", f"parameter `{name}`: {reason}", fix=fix))
            else:
                wires[name] = encode(given[name], names.of)
        elif parameter.required:
            message = f"parameter `{name}` ({parameter.type.text}) of pipeline `{definition.spec.name}` is not given"
            problems.append(Diagnostic("P602", message, fix=f"give it: {name}=..., on the command line -p {name}=..."))
        else:
            wires[name] = parameter.default
    if problems:
        raise ParameterError(problems)
    return wires


def _unknown(pipeline: PipelineSpec, given: Mapping[str, object]) -> list[Diagnostic]:
    known: dict[str, ParameterSpec] = {each.name: each for each in pipeline.parameters}
    return [
        Diagnostic(
            "P601",
            f"pipeline `{pipeline.name}` has no parameter `{name}`",
            fix=did_you_mean(name, known, otherwise="its parameters: {}"),
        )
        for name in given
        if name not in known
    ]


def _not_here(pipeline: PipelineSpec, name: str, class_name: str) -> Diagnostic:
    message = f"parameter `{name}`: its class `{class_name}` is the author's, and a spec holds no classes"
    source = f"{pipeline.span.file}:{pipeline.name}" if pipeline.span else "its Python file"
    return Diagnostic("P603", message, fix=f"run the pipeline from where it is defined: penstock run {source}")
