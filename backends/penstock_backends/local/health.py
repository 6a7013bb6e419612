"""Which attempts, or whole runs, take longer or more memory than is expected; told while they go on."""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from penstock.harness import parts_of
from penstock.settings import size_text
from penstock_backends.local.alerts import BOUNDED, FEWEST_RUNS, Alert
from penstock_backends.local.layout import SUMMARY
from penstock_backends.local.objects import Json


@dataclass(frozen=True)
class Flag:
    """Something is out of a rule's bounds. ``node`` is empty for the run; ``value`` is in seconds or bytes."""

    rule: Alert
    node: str
    value: float
    threshold: float

    @property
    def text(self) -> str:
        """It in a sentence."""
        who = f"`{self.node}`" if self.node else "the run"
        expected = "" if self.rule.times is None else f" ({self.rule.times:g} times what is usual)"
        if self.rule.on == "memory":
            return f"{who} takes {size_text(self.value)} of memory, more than {size_text(self.threshold)}{expected}"
        return f"{who} takes longer than {self.threshold:.3g} s{expected}"


class Health:
    """Holds attempts against rules. Times are those of one clock, which is given; the run has the empty name.

    ``usual`` says how long something took, or what memory it had, in each of some earlier runs (see `Usual`).
    """

    def __init__(self, rules: Iterable[Alert], usual: Callable[[Alert, str], Sequence[float]]) -> None:
        self._rules = [rule for rule in rules if rule.on in BOUNDED]
        self._usual = usual
        self._thresholds: dict[tuple[int, str], float] = {}
        self._flagged: set[tuple[int, str]] = set()
        self._began: dict[str, float] = {}
        self._due: list[tuple[float, float, int, str]] = []

    @property
    def watches_memory(self) -> bool:
        """Whether `weighed` is of any use."""
        return any(rule.on == "memory" for rule in self._rules)

    @property
    def under_way(self) -> list[str]:
        """The nodes with an attempt under way."""
        return [name for name in self._began if name]

    def started(self, name: str, now: float) -> None:
        """An attempt of a node, or the run, begins."""
        self._began[name] = now
        for index, rule in self._about(name, "duration"):
            threshold = self._threshold(index, rule, name)
            if threshold < math.inf:
                heapq.heappush(self._due, (now + threshold, now, index, name))

    def ended(self, name: str, seconds: float, peak: float | None = None) -> Iterator[Flag]:
        """It has ended after so many seconds, having had so much memory; what there is still to be said of it."""
        self._began.pop(name, None)
        for index, rule in self._about(name, "duration"):
            if seconds > self._threshold(index, rule, name):
                yield from self._flag(index, name, seconds)
        if peak is not None:
            yield from self.weighed(name, peak)

    def overdue(self, now: float) -> Iterator[Flag]:
        """What is taking too long by now, and was not flagged yet."""
        while self._due and self._due[0][0] <= now:
            _, began, index, name = heapq.heappop(self._due)
            if self._began.get(name) == began:
                yield from self._flag(index, name, now - began)

    def next_due(self) -> float:
        """When `overdue` may next have something to say."""
        return self._due[0][0] if self._due else math.inf

    def weighed(self, name: str, memory: float) -> Iterator[Flag]:
        """An attempt has so much memory; what there is to be said of that."""
        for index, rule in self._about(name, "memory"):
            if memory > self._threshold(index, rule, name):
                yield from self._flag(index, name, memory)

    def _about(self, name: str, what: str) -> Iterator[tuple[int, Alert]]:
        return ((index, each) for index, each in enumerate(self._rules) if each.on == what and each.is_about(name))

    def _threshold(self, index: int, rule: Alert, name: str) -> float:
        if rule.times is None:
            return math.inf if rule.above is None else rule.above
        task = _task(name)
        if (index, task) not in self._thresholds:
            seen = self._usual(rule, task)
            self._thresholds[index, task] = rule.times * median(seen) if len(seen) >= FEWEST_RUNS else math.inf
        return self._thresholds[index, task]

    def _flag(self, index: int, name: str, value: float) -> Iterator[Flag]:
        """Says it once for each task, of whose instances there may be many."""
        if (index, _task(name)) not in self._flagged:
            self._flagged.add((index, _task(name)))
            rule = self._rules[index]
            yield Flag(rule, name, value, self._threshold(index, rule, name))


def _task(name: str) -> str:
    return parts_of(name)[0] if name else ""


class Usual:
    """How long tasks took, and what memory they had, in earlier runs: the longest and the largest of each run."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._seen: dict[tuple[str, str], list[float]] = {}
        for folder in folders:
            summary = _summary(folder)
            for about, value in _most(summary).items() if summary else ():
                self._seen.setdefault(about, []).append(value)

    def values(self, what: str, task: str, runs: int) -> Sequence[float]:
        """The ``duration`` or ``memory`` of a task (of the run, for an empty name) in the latest of the runs."""
        return self._seen.get((what, task), [])[:runs]


def _most(summary: Json) -> dict[tuple[str, str], float]:
    """What is the most of each task in one run."""
    found = {("duration", ""): summary["seconds"]}
    for id_, node in summary["nodes"].items():
        if node["state"] != "succeeded" or not node["attempts"]:
            continue
        about = {"duration": node["seconds"] / node["attempts"], "memory": node.get("peak_memory") or 0.0}
        for what, value in about.items():
            found[what, _task(id_)] = max(value, found.get((what, _task(id_)), 0.0))
    return found


def _summary(folder: Path) -> Json:
    try:
        return json.loads((folder / SUMMARY).read_bytes())
    except (OSError, ValueError):  # it was removed meanwhile, or the run had no end
        return None
