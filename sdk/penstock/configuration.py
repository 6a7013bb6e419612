"""What a project says in its pyproject.toml, and where in it."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from penstock.diagnostics import ConfigurationError, Diagnostic, Location, shown_path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def configuration(folder: Path, target: str) -> dict[str, Any]:
    """``[tool.penstock.TARGET]`` of the nearest pyproject.toml at or above a folder; empty if there is none."""
    file = _file_of(folder)
    if file is None:
        return {}
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(Diagnostic("P704", f"{file} is not TOML: {error}")) from None
    return dict(table.get("tool", {}).get("penstock", {}).get(target, {}))


def place_of(folder: Path, target: str, path: Sequence[str | int]) -> Location | None:
    """The line in which an option stands there, given as its keys and indices from the target's table on.

    None where it stands in a form that is not looked for, such as inside another table's braces.
    """
    file = _file_of(folder)
    if file is None or not path:
        return None
    name, index = re.escape(str(path[0])), path[1] if len(path) > 1 and isinstance(path[1], int) else 0
    table = rf"\s*\[+\s*tool\.penstock\.{re.escape(target)}\s*"
    lines = file.read_text(encoding="utf-8").splitlines()
    first = next((number for number, line in enumerate(lines) if re.match(rf"{table}[.\]]", line)), len(lines))
    own = re.compile(rf"(?:{table}\.\s*{name}\s*\]|\s*{name}\s*=)")
    found = [number for number, line in enumerate(lines) if number >= first and own.match(line)]
    if not found:
        return None
    number = found[min(index, len(found) - 1)]
    return Location(shown_path(str(file)), number + 1, lines[number])


def _file_of(folder: Path) -> Path | None:
    files = (place / "pyproject.toml" for place in (folder, *folder.parents))
    return next((file for file in files if file.is_file()), None)
