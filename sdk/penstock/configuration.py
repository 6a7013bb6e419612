"""What a project says in its pyproject.toml, and where in it.

``[tool.penstock.TABLE]`` holds for all of its environments; ``[tool.penstock.environments.NAME.TABLE]`` goes before it
where ``PENSTOCK_ENVIRONMENT`` (or ``penstock --environment``) says NAME: another store, another cluster.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.diagnostics import ConfigurationError, Diagnostic, Location, did_you_mean, shown_path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENVIRONMENT = "PENSTOCK_ENVIRONMENT"
_ENVIRONMENTS = "environments"
_TABLE = f"tool.penstock.{_ENVIRONMENTS}"


def configuration(folder: Path | None, *table: str) -> dict[str, Any]:
    """A table below ``[tool.penstock]`` of the nearest pyproject.toml at or above a folder; empty if there is none.

    Raises:
        ConfigurationError: the file is not TOML, or does not have the environment that was asked for.
    """
    file = _file_of(folder)
    own = _own(file) if file else {}
    chosen = _below(own, table)
    name = os.environ.get(ENVIRONMENT)
    if not name:
        return dict(chosen)
    environments = own.get(_ENVIRONMENTS, {})
    if name not in environments:
        said = f"{shown_path(str(file))} has no" if file else "nothing says what"
        said += f" environment `{name}`" + ("" if file else " is")
        fix = did_you_mean(name, sorted(environments), otherwise=f"write [{_TABLE}.{name}.TARGET]; there are: {{}}")
        raise ConfigurationError(Diagnostic("P706", said, fix=fix))
    return _merged(chosen, _below(environments[name], table))


def refuse_unknown_tables(folder: Path | None, known: Iterable[str]) -> None:
    """Refuses what nothing reads of a project's tables: a target misspelt would lose all of its options.

    Raises:
        ConfigurationError: with all of them.
    """
    file = _file_of(folder)
    own = _own(file) if file else {}
    tables = [("tool.penstock", own)]
    tables += [(f"{_TABLE}.{name}", each) for name, each in own.get(_ENVIRONMENTS, {}).items()]
    problems = [
        Diagnostic("P708", f"[{table}] takes no `{name}`", _heading_of(file, table, name), did_you_mean(name, known))
        for table, written in tables
        for name in written
        if file and name not in known and (table, name) != ("tool.penstock", _ENVIRONMENTS)
    ]
    if problems:
        raise ConfigurationError(problems)


def _heading_of(file: Path, table: str, name: str) -> Location:
    """Where a table begins; the file alone where it is written in another form."""
    heading = re.compile(rf"\s*\[+\s*{re.escape(table)}\.\"?{re.escape(name)}\"?\s*[.\]]")
    lines = file.read_text(encoding="utf-8").splitlines()
    found = next((number for number, line in enumerate(lines) if heading.match(line)), None)
    shown = shown_path(str(file))
    return Location(shown, 1) if found is None else Location(shown, found + 1, lines[found])


def place_of(folder: Path | None, table: Sequence[str], path: Sequence[str | int]) -> Location | None:
    """The line in which an option stands there, given as its keys and indices from its table on.

    None where it stands in a form that is not looked for, such as inside another table's braces.
    """
    file = _file_of(folder)
    if file is None or not path:
        return None
    lines = file.read_text(encoding="utf-8").splitlines()
    name = os.environ.get(ENVIRONMENT)
    for tables in ([_ENVIRONMENTS, name, *table] if name else [], table):
        for depth in reversed(range(_depth_of_tables(path) if tables else 0)):
            number = _line_of(lines, [*tables, *map(str, path[:depth])], path[depth:])
            if number is not None:
                return Location(shown_path(str(file)), number + 1, lines[number])
    return None


def _depth_of_tables(path: Sequence[str | int]) -> int:
    """How many of these keys may each be that of a table with a heading of its own: those before an index."""
    return next((n for n, key in enumerate(path) if isinstance(key, int)), len(path))


def _line_of(lines: Sequence[str], tables: Sequence[str], path: Sequence[str | int]) -> int | None:
    name, index = re.escape(str(path[0])), path[1] if len(path) > 1 and isinstance(path[1], int) else 0
    table = r"\s*\[+\s*tool\.penstock\." + r"\.".join(rf'"?{re.escape(each)}"?' for each in tables) + r"\s*"
    first = next((number for number, line in enumerate(lines) if re.match(rf"{table}[.\]]", line)), len(lines))
    own = re.compile(rf"(?:{table}\.\s*\"?{name}\"?\s*[.\]]|\s*\"?{name}\"?\s*=)")
    found = list(_within(lines, first, own, re.compile(rf"{table}[.\]]")))
    return found[min(index, len(found) - 1)] if found else None


def _within(lines: Sequence[str], first: int, wanted: re.Pattern[str], own: re.Pattern[str]) -> Iterator[int]:
    """The lines that match, from a table's first on, as far as its tables go."""
    is_own = True
    for number in range(first, len(lines)):
        if lines[number].lstrip().startswith("["):
            is_own = own.match(lines[number]) is not None
        if is_own and wanted.match(lines[number]):
            yield number


def _own(file: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(Diagnostic("P704", f"{file} is not TOML: {error}")) from None
    own: dict[str, Any] = found.get("tool", {}).get("penstock", {})
    return own


def _below(tables: Mapping[str, Any], path: Sequence[str]) -> Mapping[str, Any]:
    for each in path:
        tables = tables.get(each, {})
    return tables


def _merged(base: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What the other says, and for what it does not say the base; tables are merged, all else is replaced."""
    both = {key for key in base.keys() & other.keys() if isinstance(base[key], dict) and isinstance(other[key], dict)}
    return {**base, **other, **{key: _merged(base[key], other[key]) for key in both}}


def _file_of(folder: Path | None) -> Path | None:
    if folder is None:
        return None
    files = (place / "pyproject.toml" for place in (folder, *folder.parents))
    return next((file for file in files if file.is_file()), None)
