"""What is drawn of a pipeline: its graph as shapes in shapes, with so few of them that a person can read it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from penstock.graph import Arrow, arrows
from penstock.layers import ranks_of
from penstock.spec import Branch, Gate, Group, Loop, Node, PipelineSpec, bodies

Kind = Literal["task", "branch", "gate", "loop", "group", "bundle"]
MOST_SHAPES = 100
_FEWEST_IN_BUNDLE, _MANY_TWINS = 3, 13


@dataclass(frozen=True)
class Shape:
    """A thing to draw: a node, a box around others (a loop, a nested pipeline), or a bundle of nodes drawn as one.

    ``nodes`` holds the ids of all nodes that it stands for, or holds, itself included. A loop or group with nothing
    ``inside`` is drawn closed.
    """

    id: str
    kind: Kind
    label: str
    nodes: tuple[str, ...]
    inside: tuple[Shape, ...] = ()


@dataclass(frozen=True)
class Figure:
    """Shapes, in the author's order, and the arrows between neighbours: shapes of one list, each pair once."""

    shapes: tuple[Shape, ...]
    arrows: tuple[Arrow, ...]


def figure_of(pipeline: PipelineSpec, most: int = MOST_SHAPES) -> Figure:
    """The figure of a pipeline.

    Many calls of one step or pipeline between the same neighbours are drawn as one. Where there are more than ``most``
    shapes, so are few of them, then boxes are closed, then what follows one upon another, and last what stands side by
    side, become bundles.
    """
    own = tuple(_flat((pipeline.body,)))
    all_arrows = tuple(arrows(pipeline.body))
    figure = _bundle_twins(Figure(own, all_arrows), most, _MANY_TWINS)
    for simpler in (_bundle_twins, _close_boxes, _bundle_twins, _bundle_chains, _bundle_layers, _bundle_chains):
        if sum(1 for _ in leaves(figure.shapes)) <= most:
            break
        figure = _bundle_twins(simpler(figure, most), most, _MANY_TWINS)
    shapes = (*figure.shapes, *_endings(pipeline))
    return Figure(shapes, _between_neighbours(shapes, all_arrows))


def leaves(shapes: Iterable[Shape]) -> Iterator[Shape]:
    """The shapes that hold no others, at any depth."""
    for shape in shapes:
        if shape.inside:
            yield from leaves(shape.inside)
        else:
            yield shape


def _shape(node: Node) -> Shape:
    inside = tuple(_flat(bodies(node))) if isinstance(node, (Group, Loop)) else ()
    held = tuple(id_ for shape in inside for id_ in shape.nodes)
    if isinstance(node, Group):
        return Shape(node.id, "group", _last(node.id), (node.id, *held), inside)
    if isinstance(node, Loop):
        return Shape(node.id, "loop", f"for each of {node.text}", (node.id, *held), inside)
    if isinstance(node, Branch):
        return Shape(node.id, "branch", node.text, (node.id,))
    if isinstance(node, Gate):
        return Shape(node.id, "gate", node.text, (node.id,))
    return Shape(node.id, "task", _last(node.id), (node.id,))


def _flat(given: Iterable[tuple[Node, ...]]) -> Iterator[Shape]:
    """The shapes of bodies; what is in the arms of a branch stands beside it."""
    for body in given:
        for node in body:
            yield _shape(node)
            if isinstance(node, Branch):
                yield from _flat(bodies(node))


def _endings(pipeline: PipelineSpec) -> Iterator[Shape]:
    """What runs at the end of a run, each kind in a box of its own."""
    for title, calls in (("on failure", pipeline.on_failure), ("on exit", pipeline.on_exit)):
        if calls:
            inside = tuple(Shape(each.id, "task", _last(each.id), (each.id,)) for each in calls)
            yield Shape(title, "group", title, tuple(each.id for each in calls), inside)


def _last(node: str) -> str:
    return node.rpartition(".")[2]


# --- what waits for what, among the shapes of one list


def _between_neighbours(shapes: Sequence[Shape], given: Iterable[Arrow]) -> tuple[Arrow, ...]:
    """Arrows between the shapes that stand in one list and hold both ends, each pair once."""
    paths: dict[str, tuple[str, ...]] = {}
    for shape in shapes:
        _note_paths(shape, (), paths)
    found: dict[tuple[str, str], Arrow] = {}
    for arrow in given:
        pair = _apart(paths.get(arrow.source, ()), paths.get(arrow.target, ()))
        if pair is not None and (pair not in found or found[pair].kind == "after"):
            found[pair] = replace(arrow, source=pair[0], target=pair[1])
    return tuple(found.values())


def _note_paths(shape: Shape, around: tuple[str, ...], paths: dict[str, tuple[str, ...]]) -> None:
    path = (*around, shape.id)
    paths.update((node, path) for node in (shape.id, *shape.nodes))
    for each in shape.inside:
        _note_paths(each, path, paths)


def _apart(source: tuple[str, ...], target: tuple[str, ...]) -> tuple[str, str] | None:
    """The first ids at which two paths part; None where one goes on from the other."""
    return next(((one, other) for one, other in zip(source, target, strict=False) if one != other), None)


# --- fewer shapes


def _everywhere(
    figure: Figure, change: Callable[[tuple[Shape, ...], Mapping[str, set[str]]], tuple[Shape, ...]]
) -> Figure:
    """The figure with ``change`` made in each list of shapes, given which shape of it leads to which."""
    follow: dict[str, set[str]] = defaultdict(set)
    for arrow in _between_neighbours(figure.shapes, figure.arrows):
        follow[arrow.source].add(arrow.target)

    def changed(shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
        done = change(shapes, follow)
        return tuple(replace(each, inside=changed(each.inside)) if each.inside else each for each in done)

    return Figure(changed(figure.shapes), figure.arrows)


def _merged(
    shapes: tuple[Shape, ...], key: Callable[[Shape], Hashable | None], fewest: int = _FEWEST_IN_BUNDLE
) -> tuple[Shape, ...]:
    """Shapes with the same key as one, where there are enough of them; None keeps a shape as it is."""
    keys = {shape.id: key(shape) for shape in shapes}
    sizes = Counter(keys.values())
    together: dict[Hashable, list[Shape]] = {}
    for shape in shapes:
        mark = keys[shape.id]
        is_one = mark is None or sizes[mark] < fewest
        together.setdefault(("one", shape.id) if is_one else ("many", mark), []).append(shape)
    return tuple(_bundle(each) if len(each) > 1 else each[0] for each in together.values())


def _bundle(shapes: Sequence[Shape]) -> Shape:
    """Several shapes as one; of boxes that hold the same, what each holds is bundled with its like."""
    first = shapes[0]
    nodes = tuple(node for shape in shapes for node in shape.nodes)
    labels = dict.fromkeys(shape.label for shape in shapes)
    names = list(labels) if len(labels) == 1 else list(dict.fromkeys(map(step_name, labels)))
    label = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
    if not first.inside:
        return Shape(first.id, "bundle", label, nodes)
    inside = tuple(_bundle(each) for each in zip(*(shape.inside for shape in shapes), strict=True))
    times = f"{label} ({len(shapes)} times)" if len(labels) > 1 else label
    return Shape(first.id, first.kind, times, nodes, inside)


def _outline(shape: Shape) -> Hashable:
    """What a shape holds, so far as two of the same name may hold different things."""
    return tuple((each.kind, each.label, _outline(each)) for each in shape.inside)


def step_name(label: str) -> str:
    """The name of a node without the number that tells it from other calls of its step or pipeline."""
    name, _, number = label.rpartition("_")
    return name if name and number.isdigit() else label


def _bundle_twins(figure: Figure, _most: int, fewest: int = _FEWEST_IN_BUNDLE) -> Figure:
    def change(shapes: tuple[Shape, ...], follow: Mapping[str, set[str]]) -> tuple[Shape, ...]:
        before: dict[str, set[str]] = defaultdict(set)
        for source in [each.id for each in shapes]:
            for target in follow.get(source, ()):
                before[target].add(source)
        return _merged(
            shapes,
            lambda shape: (
                shape.kind,
                step_name(shape.label),
                _outline(shape),
                frozenset(before[shape.id]),
                frozenset(follow.get(shape.id, ())),
            ),
            fewest,
        )

    return _everywhere(figure, change)


def _close_boxes(figure: Figure, most: int) -> Figure:
    """Closes boxes, those with most in them first, inner before outer ones, until few enough shapes are left.

    Those of one name are all closed, or none.
    """
    alike: dict[str, list[Shape]] = defaultdict(list)
    for box in _innermost(figure.shapes):
        alike[step_name(box.label)].append(box)
    left = sum(1 for _ in leaves(figure.shapes))
    closed: set[str] = set()
    for boxes in sorted(alike.values(), key=lambda boxes: -sum(len(box.inside) for box in boxes)):
        if left <= most:
            break
        closed.update(box.id for box in boxes)
        left -= sum(len(box.inside) - 1 for box in boxes)
    if not closed:
        return figure
    return _close_boxes(Figure(tuple(_with_closed(shape, closed) for shape in figure.shapes), figure.arrows), most)


def _innermost(shapes: Iterable[Shape]) -> Iterator[Shape]:
    for shape in shapes:
        if shape.inside and not any(each.inside for each in shape.inside):
            yield shape
        else:
            yield from _innermost(shape.inside)


def _with_closed(shape: Shape, closed: set[str]) -> Shape:
    inside = () if shape.id in closed else tuple(_with_closed(each, closed) for each in shape.inside)
    return replace(shape, inside=inside)


def _bundle_chains(figure: Figure, _most: int) -> Figure:
    def change(shapes: tuple[Shape, ...], follow: Mapping[str, set[str]]) -> tuple[Shape, ...]:
        sources = Counter(target for shape in shapes for target in follow.get(shape.id, ()))
        chain_of: dict[str, str] = {}
        is_leaf = {shape.id for shape in shapes if not shape.inside}
        for shape in shapes:
            targets = follow.get(shape.id, set())
            head = chain_of.setdefault(shape.id, shape.id)
            if len(targets) == 1 and targets <= is_leaf and shape.id in is_leaf:
                (target,) = targets
                if sources[target] == 1:
                    chain_of[target] = head
        return _merged(shapes, lambda shape: None if shape.inside else chain_of[shape.id])

    return _everywhere(figure, change)


def _bundle_layers(figure: Figure, _most: int) -> Figure:
    def change(shapes: tuple[Shape, ...], follow: Mapping[str, set[str]]) -> tuple[Shape, ...]:
        ids = [shape.id for shape in shapes]
        ranks = ranks_of(ids, [(source, target) for source in ids for target in follow.get(source, ())])
        return _merged(shapes, lambda shape: None if shape.inside else ranks[shape.id])

    return _everywhere(figure, change)
