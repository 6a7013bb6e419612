"""Measures something every night on GitHub's runners, each size in a job of its own, and reports on it.

Everything here runs as it is, with the standard library. Have `measure` do your own work: a benchmark, a crawl, a check
of something that others depend on.
"""

import random
from dataclasses import dataclass
from functools import cmp_to_key
from pathlib import Path

from penstock import Markdown, Retry, RunStatus, Schedule, log_metric, pipeline, step


@dataclass(frozen=True)
class Measurement:
    """How many comparisons sorting took, for each item of a list of that size."""

    size: int
    comparisons: float


@step(retry=Retry(max_retries=1, delay=30), timeout=600)
def measure(size: int, seed: int) -> Measurement:
    """Sorts a shuffled list, and counts."""
    items = list(range(size))
    random.Random(seed).shuffle(items)
    compared = 0

    def compare(left: int, right: int) -> int:
        nonlocal compared
        compared += 1
        return left - right

    items.sort(key=cmp_to_key(compare))
    log_metric("comparisons", compared / size)
    return Measurement(size, compared / size)


@step
def most(found: list[Measurement]) -> float:
    """The worst of the measurements."""
    return max(each.comparisons for each in found)


@step
def report(found: list[Measurement]) -> Markdown[Path]:
    """A table of all measurements."""
    rows = [f"| {each.size} | {each.comparisons:.1f} |" for each in found]
    page = Path("report.md")
    page.write_text("\n".join(["| items | comparisons for each |", "|---|---|", *rows, ""]), encoding="utf-8")
    return page


@step
def tell(status: RunStatus) -> None:
    """Tells whoever is on call what went wrong."""
    for node, message in status.failures.items():
        print(f"{status.pipeline}: {node}: {message}")


@pipeline(schedule=Schedule("17 3 * * *", timezone="UTC"), on_failure=tell, tags=["nightly"])
def nightly(sizes: tuple[int, ...] = (100, 1000, 10000), seed: int = 7, bound: float = 13.0) -> Markdown[Path]:
    """Measures each size; fails where an item takes more comparisons than the bound."""
    found = [measure(size, seed) for size in sizes]
    page = report(found)
    assert most(found) <= bound, "sorting takes more than it should"
    return page
