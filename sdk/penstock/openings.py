"""Branches and loops while they are traced: their bodies still grow."""

from __future__ import annotations

from dataclasses import dataclass, field

from penstock.spec import Binding, Branch, Loop, Node, Span, TypeSpec


@dataclass
class OpenBranch:
    """A branch that is being traced, or may be gone on with."""

    id: str
    condition: Binding
    text: str
    after: tuple[str, ...]
    span: Span
    arms: dict[bool, list[OpenNode]] = field(default_factory=lambda: {True: [], False: []})


@dataclass
class OpenLoop:
    """A loop that is being traced."""

    id: str
    items: Binding
    item: TypeSpec
    text: str
    parallelism: int | None
    after: tuple[str, ...]
    span: Span
    body: list[OpenNode] = field(default_factory=list)


OpenNode = Node | OpenBranch | OpenLoop


def frozen(body: list[OpenNode]) -> tuple[Node, ...]:
    """A body as the spec has it."""
    return tuple(map(_closed, body))


def _closed(node: OpenNode) -> Node:
    if isinstance(node, OpenBranch):
        then, otherwise = (frozen(node.arms[holds]) for holds in (True, False))
        return Branch(
            id=node.id,
            condition=node.condition,
            text=node.text,
            then=then,
            otherwise=otherwise,
            after=node.after,
            span=node.span,
        )
    if isinstance(node, OpenLoop):
        return Loop(
            id=node.id,
            items=node.items,
            item=node.item,
            text=node.text,
            parallelism=node.parallelism,
            body=frozen(node.body),
            after=node.after,
            span=node.span,
        )
    return node
