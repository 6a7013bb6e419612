"""What is wrong with options, told in plain words: what must be there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeAlias

from pydantic import AfterValidator, ValidationError

Path: TypeAlias = tuple[str | int, ...]

_WHOLE, _NUMBER, _TRUTH, _TABLE = "a whole number", "a number", "`true` or `false`", "a table"
_WANTED = {
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "a finite number",
    "bool_type": _TRUTH,
    "bool_parsing": _TRUTH,
    "string_type": "a text",
    "path_type": "a path",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": _TABLE,
    "mapping_type": _TABLE,
    "model_type": _TABLE,
    "model_attributes_type": _TABLE,
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "enum": "{expected}",
    "literal_error": "{expected}",
    "string_pattern_mismatch": "a text that matches {pattern}",
    "string_too_short": "of at least {min_length} characters",
    "string_too_long": "of at most {max_length} characters",
    "too_short": "of at least {min_length} items",
    "too_long": "of at most {max_length} items",
}
"""What must be there instead, by pydantic's type of an error, in which its context is filled."""


@dataclass(frozen=True)
class Rejection:
    """A value that is refused, by its keys and indices, and why.

    ``kind`` is pydantic's type of the error, ``context`` what belongs to it; ``given`` is the value, None where it
    is missing.
    """

    path: Path
    reason: str
    kind: str
    given: Any
    context: Mapping[str, Any]


def text_like(pattern: str, what: str) -> AfterValidator:
    """Has a text be refused that a pattern does not match as a whole; ``what`` says what must be there instead."""

    def check(given: str) -> str:
        if re.fullmatch(pattern, given) is None:
            raise ValueError(f"must be {what}")
        return given

    return AfterValidator(check)


def rejections(error: ValidationError, options: Mapping[str, Any]) -> list[Rejection]:
    """All that is wrong with options, a value once, though it could have been of several types."""
    found = [(_path_in(options, each), each) for each in error.errors()]
    found = [(path, each) for path, each in found if not any(_is_within(other, path) for other, _ in found)]
    return [_rejection(path, [each for _, each in same]) for path, same in groupby(found, key=lambda pair: pair[0])]


def plain_reason(error: Mapping[str, Any]) -> str:
    """What is wrong with one value."""
    return _reason([error])


def _rejection(path: Path, errors: Sequence[Mapping[str, Any]]) -> Rejection:
    first = errors[0]
    given = None if first["type"] == "missing" else first["input"]
    return Rejection(path, _reason(errors), first["type"], given, first.get("ctx", {}))


def _reason(errors: Sequence[Mapping[str, Any]]) -> str:
    wanted = dict.fromkeys(_WANTED[each["type"]].format(**_shown(each)) for each in errors if _is_known(each))
    said = dict.fromkeys(_said(each) for each in errors if not _is_known(each))
    return "; ".join([*([f"must be {' or '.join(wanted)}"] if wanted else ()), *said])


def _shown(error: Mapping[str, Any]) -> dict[str, Any]:
    """What belongs to an error, whole numbers as such: bounds of numbers are often of another type."""
    context = error.get("ctx", {})
    return {
        name: int(each) if isinstance(each, float) and each.is_integer() else each for name, each in context.items()
    }


def _is_known(error: Mapping[str, Any]) -> bool:
    return error["type"] in _WANTED


def _said(error: Mapping[str, Any]) -> str:
    """The validator's own words, without those that pydantic puts before them."""
    return "is missing" if error["type"] == "missing" else str(error["msg"]).removeprefix("Value error, ")


def _path_in(options: Mapping[str, Any], error: Mapping[str, Any]) -> Path:
    """The keys and indices of a value, without the types of which pydantic tried it."""
    return tuple(_parts_in(options, error["loc"], is_missing=error["type"] == "missing"))


def _parts_in(value: Any, parts: Sequence[str | int], *, is_missing: bool) -> Iterator[str | int]:
    for number, part in enumerate(parts, 1):
        if _holds(value, part):
            value = value[part]
            yield part
        elif is_missing and number == len(parts):
            yield part


def _holds(value: Any, part: str | int) -> bool:
    if isinstance(value, Mapping):
        return part in value
    return isinstance(value, (list, tuple)) and isinstance(part, int) and part < len(value)


def _is_within(inner: Path, outer: Path) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer
