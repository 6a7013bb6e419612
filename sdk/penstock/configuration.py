"""What a project says in its pyproject.toml, and where in it.

``[tool.penstock.TABLE]`` holds for all of its environments; ``[tool.penstock.environments.NAME.TABLE]`` goes before it
where ``PENSTOCK_ENVIRONMENT`` (or ``penstock --environment``) says NAME: another store, another cluster.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from penstock.diagnostics import ConfigurationError, Diagnostic, Location, did_you_mean, shown_path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENVIRONMENT = "PENSTOCK_ENVIRONMENT"
_ENVIRONMENTS = "environments"
_TABLE = f"tool.penstock.{_ENVIRONMENTS}"


PlaceOf: TypeAlias = Callable[[tuple[str | int, ...]], Location | None]
"""Where an option stands, given as its keys and indices from its table on."""


@dataclass(frozen=True)
class Project:
    """What a project's pyproject.toml says of Penstock, as it was when it was read; nothing where there is none.

    ``tables`` are those below ``[tool.penstock]``, ``lines`` the whole file.
    """

    file: Path | None = None
    lines: Sequence[str] = ()
    tables: Mapping[str, Any] = field(default_factory=dict)
    environment: str = ""

    def options(self, *table: str) -> dict[str, Any]:
        """What a table says; empty where it isn't there.

        Raises:
            ConfigurationError: the file lacks the environment that was asked for, or has a value for a table.
        """
        chosen = _below(self.tables, table)
        if not self.environment:
            return dict(chosen)
        environments = _below(self.tables, (_ENVIRONMENTS,))
        if self.environment not in environments:
            raise self._no_environment(sorted(environments))
        return _merged(chosen, _below(self.tables, (_ENVIRONMENTS, self.environment, *table)))

    def _no_environment(self, known: Sequence[str]) -> ConfigurationError:
        name = self.environment
        said = f"{shown_path(str(self.file))} has no" if self.file else "nothing says what"
        said += f" environment `{name}`" + ("" if self.file else " is")
        fix = did_you_mean(name, known, otherwise=f"write [{_TABLE}.{name}.TARGET]; there are: {{}}")
        return ConfigurationError(Diagnostic("P706", said, fix=fix))

    def refuse_unknown_tables(self, known: Collection[str]) -> None:
        """Refuses what nothing reads: a target misspelt would lose all of its options.

        Raises:
            ConfigurationError: with all of them.
        """
        tables = [("tool.penstock", self.tables)]
        names = _below(self.tables, (_ENVIRONMENTS,))
        tables += [(f"{_TABLE}.{name}", _below(self.tables, (_ENVIRONMENTS, name))) for name in names]
        problems = [
            Diagnostic("P708", f"[{table}] takes no `{name}`", self._heading_of(table, name), did_you_mean(name, known))
            for table, written in tables
            for name in written
            if name not in known and (table, name) != ("tool.penstock", _ENVIRONMENTS)
        ]
        if problems:
            raise ConfigurationError(problems)

    def _heading_of(self, table: str, name: str) -> Location:
        """Where a table begins; the file alone where it is written in another form."""
        heading = re.compile(rf"\s*\[+\s*{re.escape(table)}\.\"?{re.escape(name)}\"?\s*[.\]]")
        found = next((number for number, line in enumerate(self.lines) if heading.match(line)), None)
        return self._at(found) if found is not None else Location(shown_path(str(self.file)), 1)

    def places(self, table: Sequence[str], given: Collection[str] = ()) -> PlaceOf:
        """Where the options of a table stand; nowhere those that are ``given`` in another way."""
        return lambda path: None if not path or path[0] in given else self._place_of(table, path)

    def _place_of(self, table: Sequence[str], path: Sequence[str | int]) -> Location | None:
        """The line of an option; None where it stands in a form that isn't looked for, as in another table's braces."""
        for tables in ([_ENVIRONMENTS, self.environment, *table] if self.environment else [], table):
            for depth in reversed(range(_depth_of_tables(path) if tables else 0)):
                number = _line_of(self.lines, [*tables, *map(str, path[:depth])], path[depth:])
                if number is not None:
                    return self._at(number)
        return None

    def _at(self, number: int) -> Location:
        return Location(shown_path(str(self.file)), number + 1, self.lines[number])


def project_of(folder: Path | None) -> Project:
    """The project that a folder is in, from the nearest pyproject.toml at or above it.

    Raises:
        ConfigurationError: the file is not TOML.
    """
    file, environment = _file_of(folder), os.environ.get(ENVIRONMENT, "")
    if file is None:
        return Project(environment=environment)
    text = file.read_text(encoding="utf-8")
    try:
        written = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(Diagnostic("P704", f"{file} is not TOML: {error}")) from None
    return Project(file, text.splitlines(), _below(written, ("tool", "penstock"), ()), environment)


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


def _below(
    tables: Mapping[str, Any], path: Sequence[str], above: Sequence[str] = ("tool", "penstock")
) -> Mapping[str, Any]:
    for number, each in enumerate(path, 1):
        tables = tables.get(each, {})
        if not isinstance(tables, dict):
            name = ".".join([*above, *path[:number]])
            message = f"{name} in pyproject.toml is a table, not {tables!r:.60}"
            fix = f"write [{name}], and each of its options in a line of its own below"
            raise ConfigurationError(Diagnostic("P704", message, fix=fix))
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
