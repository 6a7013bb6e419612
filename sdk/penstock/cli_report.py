"""The command that makes a page of a run. It is one of ``penstock runs`` (see `penstock.cli`)."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from penstock import compiler
from penstock.console import errors, out, unwritable
from penstock.diagnostics import ConfigurationError


def report(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's id, the beginning of one, or `latest`.")
    ] = "latest",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to; by default PIPELINE-RUN.html here.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the web browser.")] = False,
    store: Annotated[
        str | None, typer.Option(help="Which store; by default the one that runs started here use.")
    ] = None,
) -> None:
    """Write a run as one HTML file: its graph, timeline, metrics, gates, resources and logs."""
    with errors():
        history = compiler.history(None, store)
        found = history.find(run)
        place = output or Path(f"{found.pipeline}-{found.id}.html")
        _write(place, compiler.runner().report(history, found))
    out.print(f"wrote {escape(str(place))}")
    if open_ and not webbrowser.open(place.absolute().as_uri()):
        out.print("[yellow]no web browser could be opened here[/]; open the file yourself")


def _write(place: Path, text: str) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise ConfigurationError(unwritable(place, error.strerror or str(error), "-o FILE")) from None
