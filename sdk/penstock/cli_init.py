"""The command that writes a project to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from penstock.console import errors, out, write_all
from penstock.diagnostics import ConfigurationError, Diagnostic
from penstock.starters import Starter, compiling, project_of


def init(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where to; by default here.")] = Path(),
    template: Annotated[Starter, typer.Option(help="What the pipeline is about.")] = Starter.TRAINING,
) -> None:
    """Write a project to start from: a pipeline, its tests, configuration, a check for CI, and what it compiles to."""
    with errors():
        project = {folder / path: text for path, text in project_of(template).items()}
        there = [str(place) for place in project if place.exists()]
        if there:
            fix = "give a folder that is new: penstock init FOLDER"
            raise ConfigurationError(
                Diagnostic("P719", f"nothing was written, for these are there already: {', '.join(there)}", fix=fix)
            )
        write_all(project, "penstock init FOLDER")
    into = [] if folder == Path() else [f"cd {folder}"]
    out.print("next:")
    for command in (*into, "penstock run pipeline.py", "pip install --group dev", "pytest", compiling(template)):
        out.print(f"  {escape(command)}")
