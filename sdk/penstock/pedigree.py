"""A lineage as people and programs read it: in lines of rich markup, as JSON, as a Mermaid flowchart."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.markup import escape

from penstock.harness import decode, metadata_text
from penstock.lineage import Lineage, Made

Json = Any
_LONGEST = 80


def lines(lineage: Lineage) -> Iterator[str]:
    """A lineage as rich markup: the subjects in full, then the trees of what they came from and of what used them."""
    for subject in lineage.subjects:
        yield from _in_full(lineage.made[subject])
    above, below = set(lineage.subjects), set(lineage.subjects)
    yield "[bold]made from[/]"
    up = [line for subject in lineage.subjects for line in _tree(lineage, subject, "up", above, 1)]
    yield from up or ["  [dim]nothing but its parameters[/]"]
    yield "[bold]used by[/]"
    down = [line for subject in lineage.subjects for line in _tree(lineage, subject, "down", below, 1)]
    yield from down or ["  [dim]nothing[/]"]


def _in_full(made: Made) -> Iterator[str]:
    when = f"{made.began.astimezone():%Y-%m-%d %H:%M:%S}"
    yield f"[bold]{escape(made.node)}[/] {made.state} in run {made.run} [dim]({escape(made.pipeline)}, {when})[/]"
    if made.step:
        yield f"  code  {escape(made.step)}() {escape(made.place)} [dim]{made.code}[/]"
    for each in made.taken:
        yield f"  took  {escape(each.argument)}: {escape(each.text)}"
    for name, text in made.gave.items():
        yield f"  gave  {escape(name)}: {escape(text)}"
        if name in made.metadata:
            yield f"        {escape(metadata_text(name, decode(made.metadata[name])))}"


def _tree(lineage: Lineage, id_: str, way: str, seen: set[str], depth: int) -> Iterator[str]:
    """What is next to a computation on the way up or down, and so on; each in full once."""
    pending = [(other, depth) for other in reversed(_next(lineage, id_, way))]
    while pending:
        other, level = pending.pop()
        made = lineage.made[other]
        line = f"{'  ' * level}{escape(made.node)} [dim]run {made.run}[/]"
        if other in seen:
            yield f"{line} [dim](as above)[/]"
            continue
        seen.add(other)
        facts = [f"{escape(made.step)}()" if made.step else escape(f"{made.kind} {made.text}")]
        facts += [escape(_cut(f"{each.argument}: {each.text}")) for each in made.taken if not each.sources]
        yield "  ".join([line, *facts])
        pending += [(further, level + 1) for further in reversed(_next(lineage, other, way))]


def _next(lineage: Lineage, id_: str, way: str) -> list[str]:
    return list(lineage.made[id_].sources if way == "up" else lineage.users.get(id_, ()))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def as_json(lineage: Lineage) -> Json:
    """A lineage as JSON: its fields."""
    found = asdict(lineage)
    found["made"] = [{**each, "began": each["began"].isoformat()} for each in found["made"].values()]
    found["users"] = {id_: list(users) for id_, users in lineage.users.items()}
    return found


def as_mermaid(lineage: Lineage) -> str:
    """A lineage as a flowchart, what was asked for set off."""
    marks = {id_: f"n{number}" for number, id_ in enumerate(lineage.made)}
    found = ["flowchart TD"]
    for id_, made in lineage.made.items():
        found.append(f'    {marks[id_]}["{html.escape(made.node)}<br/>{html.escape(made.run)}"]')
    for id_, made in lineage.made.items():
        found.extend(f"    {marks[source]} --> {marks[id_]}" for source in made.sources)
    found.extend(f"    style {marks[id_]} stroke-width:4px" for id_ in lineage.subjects)
    return "\n".join(found) + "\n"
