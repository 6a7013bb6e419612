"""A pipeline's graph: what waits for what, and the same as Mermaid.

GitHub, many wikis and the emitted documentation show Mermaid as a picture.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from penstock.spec import (
    Branch,
    Gate,
    Group,
    Loop,
    Node,
    OutputBinding,
    PipelineSpec,
    bindings_of,
    bodies,
    structures,
    walk,
    within,
)


@dataclass(frozen=True)
class Arrow:
    """That one node (its full id) waits for another: for what it gives (``data``), or for its end alone (``after``).

    From a branch to the first nodes of an arm (``arm``), ``label`` says which: ``yes`` or ``no``.
    """

    source: str
    target: str
    kind: Literal["data", "after", "arm"] = "data"
    label: str = ""


def mermaid(pipeline: PipelineSpec) -> str:
    """A flowchart: parameters are not drawn, data flows along full arrows, ``after`` along dotted ones.

    Conditions are rhombs with an arrow to the first nodes of each arm; loops and nested pipelines are boxes around what
    they hold, gates hexagons.
    """
    marks = marks_of(pipeline)
    drawn = (f"    {marks[each.source]} {_line(each)} {marks[each.target]}" for each in arrows(pipeline.body))
    lines = ["flowchart TD", *_nodes(pipeline.body, marks, "    "), *drawn]
    return "\n".join(lines) + "\n"


def marks_of(pipeline: PipelineSpec) -> dict[str, str]:
    """What `mermaid` calls each node, by its full id."""
    return {node.id: f"n{number}" for number, node in enumerate(walk(pipeline.body))}


def _line(arrow: Arrow) -> str:
    return f"-- {arrow.label} -->" if arrow.label else "-.->" if arrow.kind == "after" else "-->"


def _nodes(body: tuple[Node, ...], marks: dict[str, str], indent: str) -> Iterator[str]:
    for node in body:
        mark = marks[node.id]
        if isinstance(node, (Group, Loop)):
            label = f"for each of {node.text}" if isinstance(node, Loop) else node.id.rpartition(".")[2]
            yield f'{indent}subgraph {mark}["{html.escape(label)}"]'
            yield from _nodes(node.body, marks, indent + "    ")
            yield f"{indent}end"
        elif isinstance(node, Branch):
            yield f'{indent}{mark}{{"{html.escape(node.text)}"}}'
            for inner in bodies(node):
                yield from _nodes(inner, marks, indent)
        elif isinstance(node, Gate):
            yield f'{indent}{mark}{{{{"{html.escape(node.text)}"}}}}'
        else:
            yield f'{indent}{mark}["{html.escape(node.id.rpartition(".")[2])}"]'


def arrows(body: tuple[Node, ...], around: frozenset[str] = frozenset()) -> Iterator[Arrow]:
    """What the nodes of a body wait for, at any depth, apart from the loops ``around`` them."""
    for node in body:
        sources = dict.fromkeys(source for source in _sources(node) if source not in around)
        yield from (Arrow(source, node.id) for source in sources)
        yield from (Arrow(other, node.id, "after") for other in node.after if other not in sources)
        if isinstance(node, Branch):
            yield from _arm(node, node.then, "yes")
            yield from _arm(node, node.otherwise, "no")
        inside = around | {node.id} if isinstance(node, Loop) else around
        for inner in bodies(node):
            yield from arrows(inner, inside)


def _sources(node: Node) -> Iterator[str]:
    """The nodes that a node's values come from: a collected loop stands for what is in it."""
    for _, binding in bindings_of(node):
        loops = set(structures(binding))
        yield from (each.node for each in within(binding) if isinstance(each, OutputBinding) and each.node not in loops)


def _arm(branch: Branch, body: Iterable[Node], label: str) -> Iterator[Arrow]:
    """An arrow to each node of an arm that waits for no other one of it."""
    inside = {each.id for each in walk(tuple(body))}
    for node in body:
        if not inside.intersection((*_sources(node), *node.after)):
            yield Arrow(branch.id, node.id, "arm", label)
