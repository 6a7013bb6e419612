"""What is *deferred*: known only when the pipeline runs."""

from __future__ import annotations

from typing import NoReturn

from penstock.diagnostics import DefinitionError, Diagnostic
from penstock.lists import BuiltList
from penstock.placeholders import Placeholder
from penstock.sources import operation_site


def is_deferred(value: object) -> bool:
    """Whether a value is known only when the pipeline runs."""
    return isinstance(value, Placeholder) or (isinstance(value, BuiltList) and value.is_deferred)


def said_of(value: object) -> str:
    """How messages name a deferred value."""
    return value.__penstock__.said if isinstance(value, Placeholder) else "a list that a loop or branch fills"


def refuse_here(code: str, message: str, fix: str) -> NoReturn:
    """Refuses what the author's code does at the line that it is at."""
    raise DefinitionError(Diagnostic(code, message, operation_site()[0], fix))
