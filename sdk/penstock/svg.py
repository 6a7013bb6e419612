"""A pipeline's figure as an SVG picture that stands alone: no script, no font, nothing from elsewhere."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from html import escape as escaped
from typing import Literal

from penstock.figure import Figure, Shape
from penstock.graph import Arrow
from penstock.layers import Placement, Point, Spacing, place

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
Direction = Literal["right", "down"]
STATES = ("succeeded", "cached", "failed", "skipped", "upstream_failed", "cancelled", "running", "interrupted")
_FONT, _LINE, _WIDEST = 13.0, 17.0, 240.0
_PADDING, _HEAD, _ICON, _STACK = 14.0, 30.0, 22.0, 4.0
_SCREEN, _THINNEST = (1060.0, 640.0), 2.0


@dataclass(frozen=True)
class Look:
    """How a shape is shown: its state, a second line, what a pointer shows, where a click leads.

    ``counts`` says of a shape that stands for several how many came to which state.
    """

    state: str = ""
    note: str = ""
    title: str = ""
    link: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)


def picture(figure: Figure, look: Callable[[Shape], Look] | None = None, *, style: bool = True, title: str = "") -> str:
    """The figure as SVG, its layers to the right or downwards, whichever a screen shows larger.

    Args:
        figure: what to draw.
        look: how each shape is shown; by default by its label alone.
        style: whether colours and fonts go with it; a page that has `STYLE` already needs them once.
        title: what it is a picture of, for those who hear it.
    """
    shown = look or (lambda _: Look())
    directions: tuple[Direction, Direction] = ("right", "down")
    return max((_Drawing(figure, shown, direction) for direction in directions), key=_Drawing.scale).text(style, title)


def text_width(text: str, size: float = _FONT) -> float:
    """About how wide a text is in an ordinary sans-serif font of a size."""
    return sum(_width_of(each) for each in text) * size


def _width_of(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return 1.0
    if character in "iljtfr.,:;'|!()[] ":
        return 0.34
    return 0.72 if character.isupper() or character in "mwMW_@%" else 0.56


def fitting(text: str, width: float, size: float = _FONT) -> str:
    """As much of a text as a width holds, its middle left out."""
    if text_width(text, size) <= width:
        return text
    half = len(text) // 2
    while half > 1 and text_width(f"{text[:half]}…{text[-half:]}", size) > width:
        half -= 1
    return f"{text[:half]}…{text[-half:]}"


def escape(text: str) -> str:
    """A text as XML can hold it: controls, which it can't, are marked."""
    return escaped(_CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text))


class _Drawing:
    """A figure laid out in one direction."""

    def __init__(self, figure: Figure, look: Callable[[Shape], Look], direction: Direction) -> None:
        self._look = look
        self._is_right = direction == "right"
        self._follow: dict[str, list[Arrow]] = {}
        for arrow in figure.arrows:
            self._follow.setdefault(arrow.source, []).append(arrow)
        self._looks: dict[str, Look] = {}
        self._sizes: dict[str, Point] = {}
        self._placements: dict[str, Placement] = {}
        self._shapes = figure.shapes
        self._placed = self._lay_out(figure.shapes)
        self._size = self._turned(self._placed.size)

    def scale(self) -> float:
        """How large a screen can show it, at most as large as it is."""
        width, height = self._size
        return min(1.0, _SCREEN[0] / max(width, 1.0), _SCREEN[1] / max(height, 1.0))

    def text(self, style: bool, title: str) -> str:
        """The picture."""
        width, height = (round(each + 2 * _PADDING) for each in self._size)
        inside = "\n".join(self._list(self._shapes, self._placed, (_PADDING, _PADDING)))
        role = "group" if any(each.link for each in self._looks.values()) else "img"
        sheet = f"<style>{STYLE}{_ALONE}</style>\n" if style else ""
        return (
            f'<svg class="figure" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="{role}" aria-label="{escape(title or "graph")}">\n{sheet}{inside}\n</svg>\n'
        )

    # --- layout

    def _turned(self, point: Point) -> Point:
        """From along and across the layers to right and down, or back."""
        return point if self._is_right else (point[1], point[0])

    def _lay_out(self, shapes: tuple[Shape, ...]) -> Placement:
        sizes = {shape.id: self._turned(self._size_of(shape)) for shape in shapes}
        pairs = [(each.source, each.target) for shape in shapes for each in self._follow.get(shape.id, ())]
        return place(sizes, pairs, Spacing() if self._is_right else Spacing(between_layers=42.0))

    def _size_of(self, shape: Shape) -> Point:
        look = self._looks[shape.id] = self._look(shape)
        if shape.inside:
            placed = self._placements[shape.id] = self._lay_out(shape.inside)
            width, height = self._turned(placed.size)
            title = min(text_width(shape.label), _WIDEST) + text_width(look.note, _FONT - 2) + 4 * _PADDING + _ICON
            self._sizes[shape.id] = (max(width + 2 * _PADDING, title), height + _PADDING + _HEAD)
            return self._sizes[shape.id]
        lines = max(text_width(shape.label), text_width(look.note, _FONT - 2))
        slanted = 20.0 if shape.kind in ("branch", "gate") else 0.0
        width = min(max(lines, 44.0), _WIDEST) + 2 * _PADDING + slanted + (_ICON if look.state else 0.0)
        self._sizes[shape.id] = (width, 2 * _LINE + 12.0 if look.note else 38.0)
        return self._sizes[shape.id]

    # --- drawing

    def _list(self, shapes: tuple[Shape, ...], placed: Placement, at: Point) -> Iterator[str]:
        for shape in shapes:
            for arrow in self._follow.get(shape.id, ()):
                if (arrow.source, arrow.target) in placed.routes:
                    yield self._arrow(arrow, placed, at)
        for shape in shapes:
            x, y = self._turned(placed.corners[shape.id])
            yield from self._drawn(shape, (at[0] + x, at[1] + y))

    def _arrow(self, arrow: Arrow, placed: Placement, at: Point) -> str:
        route = placed.routes[arrow.source, arrow.target]
        points = [self._turned(point) for point in _rounded(route)]
        points = [(at[0] + x, at[1] + y) for x, y in points]
        path = f"M{_pair(points[0])}" + "".join(
            f" C{_pair(points[index])} {_pair(points[index + 1])} {_pair(points[index + 2])}"
            for index in range(1, len(points), 3)
        )
        x, y = points[-1]
        head = f"{x:.1f},{y:.1f} " + (
            f"{x - 7:.1f},{y - 3.6:.1f} {x - 7:.1f},{y + 3.6:.1f}"
            if self._is_right
            else f"{x - 3.6:.1f},{y - 7:.1f} {x + 3.6:.1f},{y - 7:.1f}"
        )
        drawn = f'<g class="arrow {arrow.kind}"><path d="{path}"/><polygon points="{head}"/>'
        if arrow.label:
            near, far = points[0], points[3]
            middle = ((near[0] + far[0]) / 2, (near[1] + far[1]) / 2)
            drawn += f'<text x="{middle[0]:.1f}" y="{middle[1] - 5:.1f}">{escape(arrow.label)}</text>'
        return drawn + "</g>"

    def _drawn(self, shape: Shape, at: Point) -> Iterator[str]:
        look = self._looks[shape.id]
        state = f" {look.state}" if look.state else ""
        link = f'<a href="{escape(look.link)}">' if look.link else ""
        yield f'<g class="shape {shape.kind}{state}" data-id="{escape(shape.id)}">{link}'
        yield f"<title>{escape(look.title or shape.label)}</title>"
        if shape.inside:
            yield from self._box(shape, look, at)
        else:
            yield from self._leaf(shape, look, at)
        yield ("</a>" if link else "") + "</g>"
        if shape.inside:
            placed = self._placements[shape.id]
            margin = (self._sizes[shape.id][0] - self._turned(placed.size)[0]) / 2
            yield from self._list(shape.inside, placed, (at[0] + margin, at[1] + _HEAD))

    def _box(self, shape: Shape, look: Look, at: Point) -> Iterator[str]:
        width, height = self._sizes[shape.id]
        x, y = at
        yield _rectangle(x, y, width, height, 10)
        room = width - 2 * _PADDING - (text_width(look.note, _FONT - 2) + 10 if look.note else 0)
        icon = look.state and f"{_icon(look.state, x + _PADDING + 4, y + 16)}"
        shift = _ICON if look.state else 0
        yield f'{icon}<text class="label" x="{x + _PADDING + shift:.1f}" y="{y + 20:.1f}">'
        yield f"{escape(fitting(shape.label, room - shift))}</text>"
        if look.note:
            yield f'<text class="note" x="{x + width - _PADDING:.1f}" y="{y + 20:.1f}" text-anchor="end">'
            yield f"{escape(look.note)}</text>"

    def _leaf(self, shape: Shape, look: Look, at: Point) -> Iterator[str]:
        width, height = self._sizes[shape.id]
        x, y = at
        if shape.kind in ("bundle", "loop", "group"):
            yield from (_rectangle(x + shift, y + shift, width, height, 7) for shift in (2 * _STACK, _STACK))
        if shape.kind == "branch":
            yield _polygon(x, y, width, height, height / 2.6, 0.5)
        elif shape.kind == "gate":
            yield _polygon(x, y, width, height, 9, 0.28)
        else:
            yield _rectangle(x, y, width, height, 7)
        left = x + _PADDING + (10 if shape.kind in ("branch", "gate") else 0)
        if look.state:
            yield _icon(look.state, left + 3, y + height / 2)
            left += _ICON
        room = min(x + width - _PADDING - left + 4, _WIDEST)
        middle = y + height / 2 + (-3.5 if look.note else 4.5)
        yield f'<text class="label" x="{left:.1f}" y="{middle:.1f}">{escape(fitting(shape.label, room))}</text>'
        if look.note:
            note = escape(fitting(look.note, room, _FONT - 2))
            yield f'<text class="note" x="{left:.1f}" y="{middle + _LINE - 1:.1f}">{note}</text>'
        yield from _bar(look.counts, x + 7, y + height - 5, width - 14)


def _pair(point: Point) -> str:
    return f"{point[0]:.1f},{point[1]:.1f}"


def _rounded(route: tuple[Point, ...]) -> list[Point]:
    """The points of a route with those between them that make its line leave and arrive along the layers' direction."""
    points = [route[0]]
    for one, other in itertools.pairwise(route):
        middle = (one[0] + other[0]) / 2
        points += [(middle, one[1]), (middle, other[1]), other]
    return points


def _rectangle(x: float, y: float, width: float, height: float, radius: float) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius:g}"/>'


def _polygon(x: float, y: float, width: float, height: float, cut: float, share: float) -> str:
    """A box with its corners cut off: ``cut`` from its width, a ``share`` of its height."""
    low, high = y + height * share, y + height * (1 - share)
    points = [(x, low), (x + cut, y), (x + width - cut, y), (x + width, low)]
    points += [(x + width, high), (x + width - cut, y + height), (x + cut, y + height), (x, high)]
    return f'<polygon class="body" points="{" ".join(map(_pair, points))}"/>'


def _icon(state: str, x: float, y: float) -> str:
    return f'<g class="icon" transform="translate({x:.1f} {y:.1f})"><circle r="8"/><path d="{ICONS[state]}"/></g>'


def _bar(counts: Mapping[str, int], x: float, y: float, width: float) -> Iterator[str]:
    """How many of several came to which state, as parts of a thin bar."""
    total = sum(counts.values())
    for state in STATES:
        share = counts.get(state, 0) / total * width if total > 1 else 0.0
        share = max(share, _THINNEST) if share else 0.0
        if share:
            yield f'<rect class="part {state}" x="{x:.1f}" y="{y:.1f}" width="{share:.1f}" height="2.5"/>'
        x += share


ICONS: Mapping[str, str] = {
    "succeeded": "M-3.6 0.2 L-1.2 2.8 L3.8 -2.8",
    "cached": "M-3.4 -1.6 H3.4 M-3.4 1.8 H3.4",
    "failed": "M-2.8 -2.8 L2.8 2.8 M2.8 -2.8 L-2.8 2.8",
    "skipped": "M-3.4 0 H3.4",
    "upstream_failed": "M0 3.6 V-3 M-3 -0.4 L0 -3.4 L3 -0.4",
    "cancelled": "M0 -4 V1.2 M0 3.4 V3.9",
    "running": "M-1.8 -3.4 L3.2 0 L-1.8 3.4 Z",
    "interrupted": "M-1.8 -3 V3 M1.8 -3 V3",
}

STYLE = """
.figure { font: 13px system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
.figure .label { fill: var(--ink); font-weight: 500; }
.figure .note { fill: var(--quiet); font-size: 11px; }
.figure .arrow path { fill: none; stroke: var(--arrow); stroke-width: 1.3; }
.figure .arrow polygon { fill: var(--arrow); }
.figure .arrow.after path { stroke-dasharray: 2 4; stroke-linecap: round; }
.figure .arrow text { fill: var(--quiet); font-size: 11px; text-anchor: middle; paint-order: stroke;
  stroke: var(--paper); stroke-width: 4px; }
.figure .shape rect, .figure .shape .body { fill: var(--card); stroke: var(--line); stroke-width: 1.2; }
.figure .shape:is(.group, .loop) > rect, .figure .shape:is(.group, .loop) > a > rect { fill: var(--box); }
.figure .loop rect { stroke-dasharray: 5 3; }
.figure .failed > rect, .figure .failed > a > rect, .figure .failed > .body, .figure .failed > a > .body {
  stroke: var(--failed); stroke-width: 1.6; }
.figure .skipped .label, .figure .upstream_failed .label { fill: var(--quiet); }
.figure .shape rect.part { stroke: none; stroke-dasharray: none; }
.figure .icon circle { fill: var(--state); }
.figure .icon path { fill: none; stroke: var(--on-state); stroke-width: 1.8; stroke-linecap: round;
  stroke-linejoin: round; }
.figure a { text-decoration: none; }
.figure a:focus { outline: none; }
.figure a:focus > rect, .figure a:focus > .body, .figure a:hover > rect, .figure a:hover > .body {
  stroke: var(--accent); stroke-width: 2; }
""" + "".join(
    f".figure .{each} {{ --state: var(--{each}); }} .figure .shape rect.part.{each} {{ fill: var(--{each}); }}\n"
    for each in STATES
)

LIGHT = """--paper: #ffffff; --card: #ffffff; --box: #f6f7f9; --ink: #1b2129; --quiet: #5d6875; --line: #c6ccd4;
--faint: #e6e9ed; --arrow: #8b95a1; --accent: #2257c9; --on-state: #ffffff; --succeeded: #1d7f43; --cached: #0d7490;
--failed: #c2281d; --skipped: #75808c; --upstream_failed: #9a6108; --cancelled: #8a4bb0; --running: #2257c9;
--interrupted: #8a4bb0;"""
DARK = """--paper: #12161c; --card: #1b2129; --box: #171c23; --ink: #e7ebf0; --quiet: #a0abb8; --line: #3a4452;
--faint: #262e38; --arrow: #728091; --accent: #86adff; --on-state: #12161c; --succeeded: #5ac47e; --cached: #4fc0d9;
--failed: #ff7b70; --skipped: #8d99a6; --upstream_failed: #e0a548; --cancelled: #c893e6; --running: #86adff;
--interrupted: #c893e6;"""
_ALONE = f"""
.figure {{ {LIGHT} background: var(--paper); }}
@media (prefers-color-scheme: dark) {{ .figure {{ {DARK} }} }}
"""
