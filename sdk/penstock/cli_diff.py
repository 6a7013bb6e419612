"""The command that says in what two pipelines differ, or one at two commits."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from pydantic_core import to_jsonable_python
from rich.markup import escape

from penstock.console import errors, out
from penstock.delta import Change, CodeDifference, Delta, Difference, delta_of
from penstock.differences import ADDED, CHANGED, REMOVED
from penstock.phrases import phrase
from penstock.revisions import specs_of

_MARKS = {ADDED: "[green]+[/]", REMOVED: "[red]-[/]", CHANGED: "[yellow]~[/]"}
_LONGEST = 200
_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def diff(
    before: Annotated[
        str, typer.Argument(metavar="A", help="FILE[:NAME], a spec in a .json file, or COMMIT:FILE[:NAME].")
    ],
    after: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say what one pipeline has otherwise than another: parameters, nodes, edges, settings, code. Ends with 1 if so."""
    with errors():
        delta = delta_of(*specs_of(before, after))
    if as_json:
        sys.stdout.write(json.dumps(_as_json(before, after, delta), indent=2) + "\n")
    else:
        for line in lines_of(before, after, delta):
            out.print(line)
    raise typer.Exit(1 if delta else 0)


def lines_of(before: str, after: str, delta: Delta) -> Iterator[str]:
    """What a person reads, as rich markup."""
    if not delta:
        yield "the pipelines mean the same"
        return
    yield f"[red]---[/] {escape(before)}"
    yield f"[green]+++[/] {escape(after)}"
    if delta.pipeline:
        yield "[bold]pipeline[/]"
        yield from (f"  {_MARKS[CHANGED]} {_change(each)}" for each in delta.pipeline)
    for title in ("parameters", "nodes", "steps"):
        yield from _section(title, getattr(delta, title))
    if delta.code:
        yield "[bold]code[/]"
    for each in delta.code:
        yield from _code(each)


def _section(title: str, found: Sequence[Difference]) -> Iterator[str]:
    if found:
        yield f"[bold]{title}[/]"
    for each in found:
        yield f"  {_MARKS[each.how]} {escape(each.name)}{_in_short(each)}"
        if each.how == CHANGED:
            yield from (f"      {_change(change)}" for change in each.changes)


def _in_short(found: Difference) -> str:
    """What is worth knowing of a thing that is new or gone: the call of a node, the type of a parameter."""
    if found.how == CHANGED:
        return ""
    values = {each.what: each.after if found.how == ADDED else each.before for each in found.changes}
    given = {what.partition(".")[2]: value for what, value in values.items() if what.startswith("inputs.")}
    if "step" in values:
        called = str(values["step"]).rpartition(":")[2]
        return f" [dim]= {escape(called)}({escape(', '.join(f'{k}={phrase(v)}' for k, v in given.items()))})[/]"
    if "condition" in values:
        return f" [dim]{escape(phrase(values['condition']))}[/]"
    if "type" in values:
        default = f" = {phrase(values['default'])}" if values.get("default") else ""
        return f"[dim]: {escape(phrase(values['type']) + default)}[/]"
    return f" [dim]{escape(phrase(values.get('items') or values.get('pipeline')))}[/]"


def _change(change: Change) -> str:
    what = change.what.removeprefix("inputs.").replace("_", " ") if "." not in change.what[7:] else change.what
    return f"{escape(what)}: {escape(_cut(phrase(change.before)))} [dim]→[/] {escape(_cut(phrase(change.after)))}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _code(found: CodeDifference) -> Iterator[str]:
    reached = (
        "" if found.is_step else ", which {} reaches".format(", ".join(step.partition(":")[2] for step in found.steps))
    )
    yield f"  {_MARKS[found.how]} {'step ' if found.is_step else ''}[bold]{escape(found.name)}[/]{escape(reached)}"
    for line in found.diff:
        colour = _COLOURS.get(line[:1])
        yield f"      [{colour}]{escape(line)}[/]" if colour else f"      {escape(line)}"


def _as_json(before: str, after: str, delta: Delta) -> dict[str, Any]:
    found: dict[str, Any] = to_jsonable_python(delta, inf_nan_mode="strings")
    return {"before": before, "after": after, "differs": bool(delta), **found}
