"""What the commands share: where they print, how they tell of errors, and what is stopped by Ctrl-C."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from penstock import terminal
from penstock.diagnostics import CompileError, ConfigurationError, DeployError, Diagnostic, PenstockError

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Target = Annotated[
    str,
    typer.Argument(
        metavar="FILE[:NAME]",
        help="A Python file, the pipeline in it where there are several; or a spec in a .json file.",
    ),
]


@contextmanager
def errors() -> Iterator[None]:
    """Prints what Penstock raises as a person reads it, and ends with 2.

    With 1 where a target cannot keep the pipeline, or the place that it is deployed to refuses it.
    """
    try:
        yield
    except PenstockError as error:
        print_problems(error.diagnostics)
        raise typer.Exit(1 if isinstance(error, (CompileError, DeployError)) else 2) from None


def print_problems(problems: Sequence[Diagnostic]) -> None:
    """Prints diagnostics, an empty line between them, to standard error."""
    for index, problem in enumerate(problems):
        err.print(("\n" if index else "") + terminal.problem(problem))


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """Has a request to end, or a terminal that is closed, stop a run as Ctrl-C does; the signals that came."""
    received: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):  # `nohup` has it ignored
            signal.signal(number, interrupt)
    try:
        yield received
    except KeyboardInterrupt:
        raise typer.Exit(128 + received[0]) from None


def pairs(texts: list[str], flag: str) -> dict[str, str]:
    """What was given as ``FLAG NAME=VALUE``, once for each name. Raises `ConfigurationError` otherwise."""
    parts = [text.partition("=") for text in texts]
    names = [name for name, _, _ in parts]
    lone = [name for name, equals, _ in parts if not equals]
    problems = [("has no value", each, f"write {flag} {each}=VALUE") for each in lone] or [
        (f"is given {names.count(each)} times", each, "give it once")
        for each in dict.fromkeys(names)
        if names.count(each) > 1
    ]
    if problems:
        raise ConfigurationError(
            [Diagnostic("P604", f"`{flag} {name}` {said}", fix=fix) for said, name, fix in problems]
        )
    return {name: value for name, _, value in parts}


def option_values(texts: list[str]) -> dict[str, Any]:
    """What was given as ``--option NAME=VALUE``: as JSON, or else as text."""
    options: dict[str, Any] = {}
    for name, text in pairs(texts, "--option").items():
        try:
            options[name] = json.loads(text)
        except ValueError:
            options[name] = text
    return options


def write_all(files: Mapping[Path, str], way: str = "-o FOLDER") -> None:
    """Writes files, and says so; none of them where it can be told beforehand that one of them can't be written.

    ``way`` is how the command is given another place.
    """
    problems = [problem for place in files for problem in _in_the_way(place, way)]
    if problems:
        raise ConfigurationError(dict.fromkeys(problems))
    for place, text in files.items():
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8", newline="\n")
        except OSError as error:
            raise ConfigurationError(unwritable(place, error.strerror or str(error), way)) from None
        out.print(f"wrote {escape(str(place))}")


def _in_the_way(place: Path, way: str) -> Iterator[Diagnostic]:
    """What keeps a file from being written, as far as that can be told before any is."""
    there = next((each for each in place.parents if each.exists()), Path())
    if place.is_dir():
        yield unwritable(place, "it is a folder", way)
    elif not there.is_dir():
        yield unwritable(place, f"{there} is a file, not a folder", way)
    elif not os.access(place if place.exists() else there, os.W_OK):
        yield unwritable(place, os.strerror(errno.EACCES), way)


def unwritable(place: Path, reason: str, way: str) -> Diagnostic:
    """That a file cannot be written where the user wants it; ``way`` is how another place is given."""
    return Diagnostic("P716", f"{place} cannot be written: {reason}", fix=f"give a place that can be: {way}")
