"""Where something is wrong, what is wrong, and how to mend it.

The exceptions that Penstock raises::

    PenstockError
     +-- DefinitionError       the pipeline as written cannot be a pipeline
     +-- SpecError             a spec read from JSON breaks an invariant
     +-- CompileError          the pipeline is sound, but this target cannot keep it
     +-- ParameterError        a value given at run time is not one the pipeline takes
     +-- ConfigurationError    an option, a target or a path that does not exist
     +-- RunError              a run that was asked for could not be carried out
     +-- DeployError           the place that a pipeline is deployed to refuses it, or cannot be reached

All of them carry ``diagnostics``: every problem that was found, not only the first. Codes are stable: ``P1xx`` capture,
``P2xx`` edges and types, ``P3xx`` placeholders and control flow, ``P4xx`` specs, ``P5xx`` targets, ``P6xx`` values
given at run time, ``P7xx`` configuration, ``P8xx`` deploying.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Location:
    """A place in a user's file, kept with its text so that it prints without the file at hand.

    ``path`` is what is shown; ``line`` counts from 1; ``column`` and ``end_column`` count characters from 0 in
    ``text``, which is the source line as written (empty where unknown).
    """

    path: str
    line: int
    text: str = ""
    column: int = 0
    end_column: int = 0


@dataclass(frozen=True)
class Diagnostic:
    """One problem: a stable code, a sentence that names what and where, and what to write instead."""

    code: str
    message: str
    location: Location | None = None
    fix: str = ""

    def render(self) -> str:
        """The problem as a person reads it in a terminal, carets included."""
        lines = [f"{self.code}: {self.message}"]
        if self.location is not None:
            lines.append(f"  --> {shown_path(self.location.path)}:{self.location.line}")
            lines.extend(_excerpt(self.location))
        if self.fix:
            lines.append(f"fix: {self.fix}")
        return "\n".join(lines)


def shown_path(path: str) -> str:
    """The path as it is shortest to read: relative to the working directory where it lies below it."""
    if not Path(path).is_absolute():
        return path
    try:
        return Path(path).relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path


def did_you_mean(name: str, known: Iterable[str], shown: str = "`{}`", otherwise: str = "there are: {}") -> str:
    """The fix for a name that does not exist: the nearest one that does, or else all there are.

    ``shown`` formats a name, ``otherwise`` the list of them.
    """
    import difflib  # noqa: PLC0415  # only for errors, and a twentieth of the time that importing Penstock takes

    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"did you mean {shown.format(near[0])}?"
    return otherwise.format(", ".join(shown.format(each) for each in names) or "none")


def with_article(noun: str) -> str:
    """``an int``, ``a str``."""
    return f"{'an' if noun[:1].lower() in 'aeio' else 'a'} {noun}"


def _excerpt(location: Location) -> list[str]:
    if not location.text.strip():
        return []
    lines = ["   |", f"   | {location.text.rstrip()}"]
    if location.end_column > location.column:
        lines.append("   | " + " " * location.column + "^" * (location.end_column - location.column))
    return lines


class PenstockError(Exception):
    """The root of all errors that Penstock raises on purpose.

    Args:
        diagnostics: what is wrong; at least one.
    """

    def __init__(self, diagnostics: Diagnostic | Iterable[Diagnostic]) -> None:
        found = (diagnostics,) if isinstance(diagnostics, Diagnostic) else tuple(diagnostics)
        self.diagnostics: tuple[Diagnostic, ...] = found
        super().__init__("\n" + "\n\n".join(each.render() for each in found))

    def __reduce__(self) -> tuple[type[PenstockError], tuple[tuple[Diagnostic, ...]]]:
        return type(self), (self.diagnostics,)


class DefinitionError(PenstockError):
    """The pipeline as written cannot be a pipeline: a bad edge, a placeholder misused, code that cannot be captured."""


class SpecError(PenstockError):
    """A spec breaks an invariant: a cycle, a dangling or duplicate id, an unknown version, a bad type."""


class CompileError(PenstockError):
    """The pipeline is sound, but the target cannot keep something that it asks for."""


class ParameterError(PenstockError):
    """A value given at run time is unknown to the pipeline or not of the declared type."""


class ConfigurationError(PenstockError):
    """An option, a target, a file or a name that the user gave does not exist or is not understood."""


class RunError(PenstockError):
    """A run that was asked for could not be carried out (a failed *step* is a result, not this error)."""


class DeployError(PenstockError):
    """The engine, or the place, that a pipeline is deployed to refuses it or cannot be reached; nothing has changed."""
