"""The command that tells where something came from. It is one of ``penstock runs`` (see `penstock.cli`)."""

from __future__ import annotations

import json
import sys
from enum import Enum
from typing import Annotated

import typer

from penstock import compiler, pedigree
from penstock.console import errors, out


class Format(str, Enum):
    """How a lineage is printed."""

    TEXT = "text"
    JSON = "json"
    MERMAID = "mermaid"


def show_lineage(
    what: Annotated[
        str,
        typer.Argument(help="A run, RUN:NODE, the digest of an object (or its beginning), or a file with its content."),
    ] = "latest",
    format_: Annotated[Format, typer.Option("--format", help="As lines, JSON, or a Mermaid flowchart.")] = Format.TEXT,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    store: Annotated[
        str | None, typer.Option("--store", help="Which store; by default the one that runs started here use.")
    ] = None,
) -> None:
    """Say which run, code, parameters and inputs made something, and what used it."""
    with errors():
        found = compiler.history(None, store).lineage(what)
    if as_json or format_ is Format.JSON:
        sys.stdout.write(json.dumps(pedigree.as_json(found), indent=2) + "\n")
    elif format_ is Format.MERMAID:
        sys.stdout.write(pedigree.as_mermaid(found))
    else:
        for line in pedigree.lines(found):
            out.print(line)
