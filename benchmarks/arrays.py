"""A large array through three steps in worker processes, against NumPy's own write and read for each edge.

The yardstick runs the same functions in one process of its own, and writes and reads each result once with
`numpy.save` and `numpy.load`. Prints seconds, the ratio, and the most memory that an attempt held, in arrays: a step
that takes one array and returns another holds two.

    python benchmarks/arrays.py [--megabytes N] [--rounds N]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from penstock import pipeline, step


@step
def make(megabytes: int) -> np.ndarray:
    """Noise is not needed: what matters is its size."""
    return np.arange(megabytes * 131072, dtype=np.float64)


@step
def scale(values: np.ndarray) -> np.ndarray:
    """An array of the same size."""
    return values * 2.0


@pipeline
def through(megabytes: int) -> np.ndarray:
    """Three steps, two edges, and the result."""
    return scale(scale(make(megabytes)))


def edges(megabytes: int, folder: Path) -> float:
    """Seconds for the same in this process, with each array written and read once."""
    began = time.perf_counter()
    values = make(megabytes)
    for number in range(3):
        file = folder / f"{number}.npy"
        np.save(file, values)
        values = np.load(file)
        if number < 2:
            values = scale(values)
    return time.perf_counter() - began


def run(megabytes: int, folder: Path) -> tuple[float, float]:
    """Seconds from the first attempt's start until the result is there; the most memory of an attempt, in bytes."""
    starts: list[float] = []
    finished = through.run(megabytes=megabytes, store=folder, on_event=lambda _: starts.append(time.perf_counter()))
    values = finished.outputs
    seconds = time.perf_counter() - starts[1]
    if values[-1] != 4.0 * (megabytes * 131072 - 1):
        sys.exit(f"the last value came to {values[-1]}")
    return seconds, max(float(node.peak_memory or 0) for node in finished.nodes.values())


def main() -> None:
    """Measures in turns, and prints medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--edges", metavar="FOLDER", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.edges:
        print(edges(given.megabytes, Path(given.edges)))
        return
    plain, ours, peaks = [], [], []
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--edges", folder, "--megabytes", str(given.megabytes)]
            plain.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        with tempfile.TemporaryDirectory() as folder:
            seconds, peak = run(given.megabytes, Path(folder))
            ours.append(seconds)
            peaks.append(peak)
    ratio = statistics.median(ours) / statistics.median(plain)
    print(f"NumPy's own write and read  {statistics.median(plain):7.3f} s")
    print(f"three steps in workers      {statistics.median(ours):7.3f} s  {ratio:5.2f} times that")
    print(f"most memory of an attempt   {max(peaks) / (given.megabytes << 20):7.2f} arrays")


if __name__ == "__main__":
    main()
