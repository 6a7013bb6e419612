"""The commands that keep a store in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from penstock import compiler, storekeeping
from penstock.console import errors, out
from penstock.settings import bytes_of
from penstock.upkeep import span_of

app = typer.Typer(name="store", help="Keep the store of outputs, cache and history in order.", no_args_is_help=True)

Where = Annotated[
    str | None, typer.Option("--store", help="Which store; by default the one that runs started here use.")
]
T = TypeVar("T")


@app.command()
def info(store: Where = None) -> None:
    """Say what a store holds, and what that takes up."""
    with errors():
        upkeep = compiler.upkeep(store)
        for line in storekeeping.holdings(upkeep.place, upkeep.info()):
            out.print(line)


@app.command()
def verify(
    store: Where = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove what is damaged, so that a later run computes it anew.")
    ] = False,
) -> None:
    """Read everything in a store, and tell what is damaged."""
    with errors():
        verified = compiler.upkeep(store).verify(repair)
    for line in storekeeping.verified(verified):
        out.print(line)
    raise typer.Exit(0 if all(each.is_mended for each in verified.damages) else 1)


@app.command()
def gc(
    store: Where = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing; say what would go.")] = False,
    older_than: Annotated[
        str | None, typer.Option(metavar="TIME", help="Let results go that no run has used for so long, such as 30d.")
    ] = None,
    max_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Let the least recently used go until it fits, such as 20Gi.")
    ] = None,
) -> None:
    """Remove what no run needs any more, and what is left of attempts that were killed."""
    with errors():
        seconds = _parsed("--older-than", older_than, span_of)
        size = _parsed("--max-size", max_size, lambda text: bytes_of(text, "size"))
        cleared = compiler.upkeep(store).gc(dry_run, seconds, size)
    for line in storekeeping.cleared(cleared, dry_run, size):
        out.print(line)


def _parsed(flag: str, text: str | None, parse: Callable[[str], T]) -> T | None:
    try:
        return None if text is None else parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=flag) from None
