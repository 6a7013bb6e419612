"""How well steps that compute fill the cores: four of half a second for each core, against the ideal.

The ideal is the time that the same work takes in as many plain processes as there are cores, measured in the same run:
what else the machine does slows both.

    python benchmarks/packing.py [--rounds N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

from penstock import pipeline, step

CORES = len(os.sched_getaffinity(0))
SECONDS = 0.5


@step
def compute(number: int) -> int:
    """Half a second of a core, as this process is charged for it."""
    began = time.process_time()
    while time.process_time() - began < SECONDS:
        number = (number * 48271) % 2147483647
    return number


@pipeline
def side_by_side() -> list[int]:
    """Four for each core."""
    return [compute(number + 1) for number in range(4 * CORES)]


WORK = f"""
import time
began = time.process_time()
number = 1
while time.process_time() - began < {4 * SECONDS}:
    number = (number * 48271) % 2147483647
"""


def ideal() -> float:
    """Seconds for the same work in one process for each core."""
    processes = [subprocess.Popen([sys.executable, "-S", "-c", WORK]) for _ in range(CORES)]
    began = time.perf_counter()
    for each in processes:
        each.wait()
    return time.perf_counter() - began


def run() -> float:
    """Seconds from the first attempt's start to the last node's end: starting the workers is left out."""
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        side_by_side.run(store=folder, on_event=lambda _: times.append(time.perf_counter()))
    return times[-2] - times[1]


def main() -> None:
    """Measures in turns, and prints medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    rounds = parser.parse_args().rounds
    ideals, ours = [], []
    for _ in range(rounds):
        ideals.append(ideal())
        ours.append(run())
    ratio = statistics.median(ours) / statistics.median(ideals)
    print(f"ideal   {statistics.median(ideals):6.3f} s")
    print(f"run     {statistics.median(ours):6.3f} s  {ratio:5.3f} times that")


if __name__ == "__main__":
    main()
