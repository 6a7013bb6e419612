"""How a pipeline's figures changed over its last runs."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from penstock.durations import duration_text
from penstock.figure import step_name
from penstock.harness import parts_of
from penstock.history import History, PastNode, PastRun
from penstock_backends.local.report.charts import trend

MOST_RUNS, MOST_TRENDS, _MOST_NODES = 20, 60, 20_000
_MOST_ALIKE = 4


Metric = tuple[str, str]  # of a node, by name


@dataclass(frozen=True)
class Trend:
    """A figure of this run: its name, the step that it is from (empty for the run's own), and how it changed.

    Of a step that ran many times it is the least and the greatest, and the picture goes from one of them to the next.
    """

    name: str
    step: str
    value: str
    change: str
    picture: str


def trends_of(history: History, run: PastRun, nodes: Mapping[str, PastNode]) -> tuple[Trend, ...]:
    """The run's duration and its metrics, beside those of the pipeline's runs before it."""
    past = list(_before(history, run))
    runs = [*(each for each, _ in past), run]
    metrics = [*(_metrics(found) for _, found in past), _metrics(nodes)]
    return tuple(itertools.islice(_trends(runs, metrics), MOST_TRENDS))


def _before(history: History, run: PastRun) -> list[tuple[PastRun, Mapping[str, PastNode]]]:
    """The last runs that came to an end before this one, the oldest first, as many as are quickly read."""
    found: list[tuple[PastRun, Mapping[str, PastNode]]] = []
    room = _MOST_NODES
    for other in history.runs(run.pipeline):
        if other.id >= run.id or other.state not in ("succeeded", "failed"):
            continue
        nodes = history.nodes(other)
        room -= len(nodes)
        if len(found) == MOST_RUNS - 1 or room < 0:
            break
        found.append((other, nodes))
    return found[::-1]


def _metrics(nodes: Mapping[str, PastNode]) -> dict[Metric, float]:
    return {(node.id, name): value for node in nodes.values() for name, value in node.metrics.items()}


def _trends(runs: Sequence[PastRun], metrics: Sequence[Mapping[Metric, float]]) -> Iterator[Trend]:
    alike: dict[Metric, list[Metric]] = defaultdict(list)
    for node, name in metrics[-1]:
        alike[step_name(parts_of(node)[0].rpartition(".")[2]), name].append((node, name))
    if len(runs) > 1:
        seconds: list[float | None] = [run.seconds for run in runs]
        titles = [f"{run.id}: {duration_text(run.seconds)}" for run in runs]
        yield Trend("duration", "", duration_text(runs[-1].seconds), _change(seconds), _line(seconds, runs, titles))
    for (step, name), keys in sorted(alike.items(), key=lambda item: len(item[1])):
        if len(keys) > _MOST_ALIKE:
            yield _spread(step, name, {node: metrics[-1][node, name] for node, _ in keys})
        else:
            yield from (_over_time(key, runs, metrics) for key in keys)


def _over_time(key: Metric, runs: Sequence[PastRun], metrics: Sequence[Mapping[Metric, float]]) -> Trend:
    values = [found.get(key) for found in metrics]
    titles = [f"{run.id}: {_number(found)}" for run, found in zip(runs, values, strict=True)]
    return Trend(key[1], key[0], _number(values[-1]), _change(values), _line(values, runs, titles))


def _spread(step: str, name: str, values: Mapping[str, float]) -> Trend:
    titles = [f"{node}: {_number(value)}" for node, value in values.items()]
    said = f"{_number(min(values.values()))} to {_number(max(values.values()))}"
    return Trend(
        name, f"{len(values)} calls of {step}", said, "", trend(list(values.values()), [""] * len(values), titles)
    )


def _line(values: Sequence[float | None], runs: Sequence[PastRun], titles: Sequence[str]) -> str:
    if sum(value is not None for value in values) < 2:
        return ""
    return trend(values, [run.state for run in runs], titles)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def _change(values: Sequence[float | None]) -> str:
    """How the last value differs from the one before, in percent of that."""
    before = [value for value in values[:-1] if value is not None and math.isfinite(value)]
    last = values[-1]
    if not before or last is None or not math.isfinite(last):
        return ""
    if last == before[-1]:
        return "unchanged"
    if not before[-1]:
        return f"{last - before[-1]:+.3g}"
    return f"{(last - before[-1]) / abs(before[-1]) * 100:+.1f} %"
