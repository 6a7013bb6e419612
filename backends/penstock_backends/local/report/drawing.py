"""A run's graph: the pipeline's figure with what became of each node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from penstock.durations import duration_text
from penstock.figure import Shape, figure_of
from penstock.harness import parts_of
from penstock.history import PastNode
from penstock.spec import PipelineSpec
from penstock.svg import Look, picture
from penstock_backends.local.report.logs import readable
from penstock_backends.local.report.states import WORDS, worst

_LONGEST_TITLE = 400


def drawing_of(spec: PipelineSpec, nodes: Mapping[str, PastNode], anchors: Mapping[str, str]) -> str:
    """The graph as SVG; a click on a shape leads to the step's entry, of several to one that failed."""
    instances: dict[str, list[PastNode]] = {}
    for node in nodes.values():
        instances.setdefault(parts_of(node.id)[0], []).append(node)

    def look(shape: Shape) -> Look:
        found = [node for id_ in shape.nodes for node in instances.get(id_, ())]
        return _look(shape, found, anchors)

    return picture(figure_of(spec), look, style=False, title=f"graph of {spec.name}")


def _look(shape: Shape, found: Sequence[PastNode], anchors: Mapping[str, str]) -> Look:
    if not found:
        return Look(note="not reached", title=f"{shape.label}: not reached")
    counts = Counter(node.state for node in found)
    state = worst(list(counts))
    first = next((node for node in found if node.state == state), found[0])
    link = f"#{anchors[first.id]}" if first.id in anchors else "#steps"
    said = ", ".join(f"{count} {WORDS[each]}" for each, count in counts.items())
    if shape.kind in ("task", "branch", "gate") and len(found) == 1:
        note = duration_text(first.seconds) if first.seconds else WORDS[state]
        if len(first.attempts) > 1:
            note += f", {len(first.attempts)} attempts"
        error = f"\n{readable(first.error)[:_LONGEST_TITLE]}" if first.error else ""
        return Look(state, note, f"{first.id}: {WORDS[state]}{error}", link)
    note = _share(shape, found, counts)
    return Look(state, note, f"{shape.label}: {said}", link, {} if shape.inside else counts)


def _share(shape: Shape, found: Sequence[PastNode], counts: Mapping[str, int]) -> str:
    if shape.kind == "loop":
        depth = min(len(parts_of(node.id)[1]) for node in found)
        items = len({parts_of(node.id)[1][: depth + 1] for node in found if parts_of(node.id)[0] != shape.id})
        failed = f", {counts['failed']} failed" if counts.get("failed") else ""
        return f"{items} {'item' if items == 1 else 'items'}{failed}"
    good = counts.get("succeeded", 0) + counts.get("cached", 0)
    seconds = sum(node.seconds for node in found)
    return f"{good}/{len(found)}" + (f" · {duration_text(seconds)}" if seconds else "")
