"""What a large pipeline costs: a chain, and one step that fans out to many and back, at several sizes.

Prints, per node, the time to define it, and to run it inline or (with ``--workers``) in worker processes, anew and
with everything cached, each as wall time and as CPU time of all its processes; then the most memory that the process
had, and its open files. What counts is the ratio between the sizes of one run: a cost per node that grows with the
number of nodes is a defect.

    python benchmarks/size.py [--sizes 100 1000 10000] [--workers]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock import pipeline, step
from penstock.authoring import Pipeline


@step
def increment(number: int) -> int:
    """The next number."""
    return number + 1


@step
def total(numbers: list[int]) -> int:
    """What the numbers come to."""
    return sum(numbers)


def chain(size: int) -> Pipeline[[], int]:
    """As many steps, one after the other."""

    @pipeline
    def chain() -> int:
        number = 0
        for _ in range(size):
            number = increment(number)
        return number

    return chain


def fan(size: int) -> Pipeline[[], int]:
    """One step, half as many that each take what it gave, and one that takes what they gave."""

    @pipeline
    def fan() -> int:
        first = increment(0)
        return total([increment(first) for _ in range(size - 2)])

    return fan


@contextmanager
def timed(name: str, phases: dict[str, float]) -> Iterator[None]:
    """Notes the seconds of a phase, and the CPU seconds of this process and of those below it that have ended."""
    began, used = time.perf_counter(), cpu_seconds()
    yield
    phases[name], phases[f"{name} CPU"] = time.perf_counter() - began, cpu_seconds() - used


def cpu_seconds() -> float:
    """What this process and those below it that have ended have used so far."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def measured(shape: str, size: int, *, workers: bool) -> dict[str, float]:
    """Milliseconds per node of each phase, and what the process came to; in a process of its own."""
    phases: dict[str, float] = {}
    with timed("define", phases):
        made = {"chain": chain, "fan": fan}[shape](size)
        made.define()
    with tempfile.TemporaryDirectory() as folder:
        names = ("workers", "workers, cached") if workers else ("inline", "inline, cached")
        for name in names:
            with timed(name, phases):
                run = made.run(store=folder, inline=not workers)
            if run.outputs != (size if shape == "chain" else 2 * (size - 2)):
                sys.exit(f"{shape} of {size} came to {run.outputs}")
    found = {name: seconds / size * 1000 for name, seconds in phases.items()}
    found["peak MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found["open files"] = sum(1 for _ in Path("/proc/self/fd").iterdir()) if Path("/proc/self/fd").exists() else 0
    return found


def main() -> None:
    """Measures each shape at each size, and prints what the largest costs per node as a ratio to the smallest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--workers", action="store_true", help="in worker processes instead of inline")
    parser.add_argument("--one", nargs=2, metavar=("SHAPE", "SIZE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(given.one[0], int(given.one[1]), workers=given.workers)))
        return
    for shape in ("chain", "fan"):
        rows = []
        for size in given.sizes:
            command = [sys.executable, __file__, "--one", shape, str(size), *(["--workers"] if given.workers else [])]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rows.append(json.loads(said))
            print(f"{shape} of {size:6}: " + ", ".join(f"{name} {value:.3f}" for name, value in rows[-1].items()))
        ratios = {name: rows[-1][name] / rows[0][name] for name in rows[0] if rows[0][name]}
        print(f"{shape}, largest to smallest: " + ", ".join(f"{name} {value:.2f}" for name, value in ratios.items()))


if __name__ == "__main__":
    main()
