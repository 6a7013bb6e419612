"""Options of single steps under the name of a pipeline that there is not."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from penstock.configuration import Project
from penstock.diagnostics import Diagnostic

_SOURCES = (".py", ".ipynb")


def misspelt_pipelines(name: str, project: Project, target: str) -> Iterator[Diagnostic]:
    """The keys ``PIPELINE:STEP`` of a target's ``steps`` that are meant for the pipeline of this name, and miss it.

    Such a PIPELINE is near the name, and no source file of the project has the words that it is made of: it is not that
    of another pipeline.
    """
    steps = project.options(target).get("steps", {})
    if project.file is None or not isinstance(steps, Mapping):
        return
    others = [key for key in steps if ":" in key and not key.startswith(f"{name}:")]
    if not others:
        return
    import difflib  # noqa: PLC0415  # a twentieth of the time that importing Penstock takes

    near = difflib.get_close_matches(name, {key.partition(":")[0] for key in others}, n=len(others))
    place = project.places((target,))
    for key in others:
        meant, _, step = key.partition(":")
        if meant in near and not _is_written(meant, project.file.parent):
            message = f"the configuration of {target} speaks of a pipeline `{meant}`, which no source file has"
            yield Diagnostic("P709", message, place(("steps", key)), f"did you mean `{name}:{step}`?")


def _is_written(name: str, folder: Path) -> bool:
    """Whether all words of a name stand in source files; names that are put together have theirs in several places."""
    missing = set(re.findall(r"[^\W_]+", name))
    for file in _sources(folder):
        text = file.read_text(encoding="utf-8", errors="replace")
        missing = {word for word in missing if word not in text}
        if not missing:
            return True
    return False


def _sources(folder: Path) -> Iterator[Path]:
    """The source files below a folder, but for those of environments and hidden folders."""
    for place, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if not _is_foreign(Path(place, each))]
        yield from (Path(place, each) for each in files if each.endswith(_SOURCES))


def _is_foreign(folder: Path) -> bool:
    return folder.name.startswith((".", "node_modules")) or (folder / "pyvenv.cfg").exists()
