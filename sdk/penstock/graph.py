"""A pipeline's graph as Mermaid, which GitHub, many wikis and the emitted documentation show as a picture."""

from __future__ import annotations

import html
from collections.abc import Iterator

from penstock.spec import Group, Node, OutputBinding, PipelineSpec, references, walk


def mermaid(pipeline: PipelineSpec) -> str:
    """A flowchart: parameters are not drawn, data flows along full arrows, ``after`` along dotted ones."""
    marks = {node.id: f"n{number}" for number, node in enumerate(walk(pipeline.body))}
    lines = ["flowchart TD", *_nodes(pipeline.body, marks, "    "), *_edges(pipeline, marks)]
    return "\n".join(lines) + "\n"


def _nodes(body: tuple[Node, ...], marks: dict[str, str], indent: str) -> Iterator[str]:
    for node in body:
        label = html.escape(node.id.rpartition(".")[2])
        if isinstance(node, Group):
            yield f'{indent}subgraph {marks[node.id]}["{label}"]'
            yield from _nodes(node.body, marks, indent + "    ")
            yield f"{indent}end"
        else:
            yield f'{indent}{marks[node.id]}["{label}"]'


def _edges(pipeline: PipelineSpec, marks: dict[str, str]) -> Iterator[str]:
    for node in walk(pipeline.body):
        if not isinstance(node, Group):
            found = (ref for _, binding in node.inputs for ref in references(binding))
            sources = dict.fromkeys(ref.node for ref in found if isinstance(ref, OutputBinding))
            yield from (f"    {marks[source]} --> {marks[node.id]}" for source in sources)
        yield from (f"    {marks[other]} -.-> {marks[node.id]}" for other in node.after)
