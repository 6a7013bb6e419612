"""The report's smaller pictures, as SVG: when attempts ran, and how a figure changed from run to run."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from penstock.durations import duration_text
from penstock.svg import fitting

MOST_BARS, _MOST_LANES, _MOST_DOTS = 1500, 48, 40
_WIDTH, _LANE, _AXIS, _CLOSE = 1040.0, 24.0, 22.0, 0.001


@dataclass(frozen=True)
class Bar:
    """An attempt in the timeline: ``begins`` and ``ends`` in seconds since the run began."""

    label: str
    state: str
    begins: float
    ends: float
    link: str
    title: str


def timeline(bars: Sequence[Bar], seconds: float) -> str:
    """When attempts ran: one lane for each that ran at a time."""
    kept = heapq.nlargest(MOST_BARS, bars, key=lambda bar: (bar.state == "failed", bar.ends - bar.begins))
    drawn = sorted(kept, key=lambda bar: bar.begins)
    lanes = _lanes(drawn, max(seconds * _CLOSE, 0.002))
    height = _AXIS + (max(lanes, default=0) + 1) * _LANE
    scale = _WIDTH / max(seconds, *(bar.ends for bar in drawn), 1e-3)
    parts = [*_axis(_WIDTH / scale, scale, height)]
    for bar, lane in zip(drawn, lanes, strict=True):
        parts.append(_bar(bar, scale, _AXIS + lane * _LANE))
    body = "\n".join(parts)
    return (
        f'<svg class="timeline" viewBox="0 0 {_WIDTH:g} {height:g}" width="{_WIDTH:g}" height="{height:g}" role="img" '
        f'aria-label="timeline">\n{body}\n</svg>'
    )


def _lanes(bars: Sequence[Bar], tolerance: float) -> list[int]:
    """A lane for each bar, in which no other runs at that time; the first that is free.

    When a bar begins and how long it is were told by different clocks: an overlap of ``tolerance`` is none.
    """
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    found = []
    for bar in bars:
        while busy and busy[0][0] <= bar.begins + tolerance:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else min(len(busy), _MOST_LANES - 1)
        heapq.heappush(busy, (bar.ends, lane))
        found.append(lane)
    return found


def _axis(seconds: float, scale: float, height: float) -> Iterator[str]:
    step = _step(seconds / 8)
    for number in range(math.floor(seconds / step) + 1):
        x = number * step * scale
        anchor = "start" if x < 20 else "end" if x > _WIDTH - 30 else "middle"
        yield f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{_AXIS - 4:g}" y2="{height:g}"/>'
        yield f'<text class="note" x="{x:.1f}" y="{_AXIS - 9:g}" text-anchor="{anchor}">{_tick(number * step)}</text>'


def _tick(seconds: float) -> str:
    return "0" if not seconds else f"{seconds:.3g} s" if seconds < 60 else duration_text(seconds)


def _step(least: float) -> float:
    """The next round number of seconds."""
    if least > 30:
        steps = [60.0, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400]
        return next((step for step in steps if step >= least), 86400.0 * math.ceil(least / 86400))
    power = 10.0 ** math.floor(math.log10(max(least, 1e-4)))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)


def _bar(bar: Bar, scale: float, y: float) -> str:
    x, width = bar.begins * scale, max((bar.ends - bar.begins) * scale, 2.0)
    rectangle = f'<rect x="{x:.1f}" y="{y + 2:.1f}" width="{width:.1f}" height="{_LANE - 4:g}" rx="3"/>'
    label = fitting(bar.label, width - 10, 12) if width > 34 else ""
    text = f'<text x="{x + 5:.1f}" y="{y + 16:.1f}">{escape(label)}</text>' if len(label) > 3 else ""
    return (
        f'<a href="{escape(bar.link)}" class="{bar.state}" tabindex="-1"><title>{escape(bar.title)}</title>'
        f"{rectangle}{text}</a>"
    )


def trend(values: Sequence[float | None], states: Sequence[str], titles: Sequence[str]) -> str:
    """A line through the figures of one run after another, the last one set off; None where a run has none."""
    width, height, margin = 220.0, 44.0, 6.0
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return ""
    low, high = min(known), max(known)
    across = (width - 2 * margin) / max(len(values) - 1, 1)

    def point(index: int, value: float) -> tuple[float, float]:
        share = 0.5 if high == low else (value - low) / (high - low)
        return (margin + index * across, height - margin - share * (height - 2 * margin))

    points = [
        (point(index, value), states[index], titles[index])
        for index, value in enumerate(values)
        if value is not None and math.isfinite(value)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for (x, y), _, _ in points)
    dotted = points if len(points) <= _MOST_DOTS else points[-1:]
    dots = "".join(
        f'<circle class="{state}" cx="{x:.1f}" cy="{y:.1f}" r="{4 if each is points[-1] else 2.4}">'
        f"<title>{escape(title)}</title></circle>"
        for each in dotted
        for (x, y), state, title in [each]
    )
    return (
        f'<svg class="trend" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
        f'aria-label="{len(points)} runs"><polyline points="{line}"/>{dots}</svg>'
    )


def share_bar(share: float) -> str:
    """A share of the largest, as a thin bar."""
    return (
        '<svg class="share" viewBox="0 0 60 4" width="60" height="4" aria-hidden="true">'
        '<rect class="whole" width="60" height="4" rx="2"/>'
        f'<rect width="{60 * min(share, 1):.1f}" height="4" rx="2"/></svg>'
    )
