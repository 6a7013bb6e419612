"""What a step costs besides its work: a chain of 200 trivial steps, outputs kept, in worker processes and inline.

Of workers there are two rows: steps of which the source shows that they leave nothing behind run one after the other in
few processes, all others in one each.

The yardstick, measured in the same run: forking a process that pickles its result and writes it atomically, 200
times, one after the other. Prints milliseconds per step and the ratio to the yardstick (below 1 is faster).

    python benchmarks/overhead.py [--rounds N]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from penstock import pipeline, step
from penstock.authoring import Pipeline

STEPS = 200


@step
def increment(number: int) -> int:
    """The next number."""
    return number + 1


@pipeline
def chain(start: int = 0) -> int:
    """As many steps as there are, one after the other."""
    number = start
    for _ in range(STEPS):
        number = increment(number)
    return number


@step
def increment_there(number: int) -> int:
    """The next number, from a step that could have left files."""
    return number + len(Path().parts) + 1


@pipeline
def chain_of_processes(start: int = 0) -> int:
    """As many of these."""
    number = start
    for _ in range(STEPS):
        number = increment_there(number)
    return number


# In an interpreter of its own, which is as small as one can be: the larger a process, the more its forks cost.
YARDSTICK = """
import os, pickle, sys, time
from pathlib import Path
folder, steps, number = Path(sys.argv[1]), int(sys.argv[2]), 0
began = time.perf_counter()
for index in range(steps):
    child = os.fork()
    if child == 0:
        draft = folder / f"{index}.draft"
        draft.write_bytes(pickle.dumps(number + 1))
        draft.replace(folder / f"{index}.pkl")
        os._exit(0)
    os.waitpid(child, 0)
    number = pickle.loads((folder / f"{index}.pkl").read_bytes())
print((time.perf_counter() - began) / steps)
"""


def forked(folder: Path) -> float:
    """Seconds per step of the yardstick."""
    command = [sys.executable, "-c", YARDSTICK, str(folder), str(STEPS)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run(folder: Path, steps: Pipeline[..., int] = chain, *, inline: bool = False) -> float:
    """Seconds per step, from the first step's start to the last one's end: starting the workers is left out."""
    times: list[float] = []
    finished = steps.run(store=folder, inline=inline, on_event=lambda event: times.append(time.perf_counter()))
    if finished.outputs != STEPS:
        sys.exit(f"the chain came to {finished.outputs}")
    return (times[-2] - times[2]) / (STEPS - 1)  # events: run started, attempt started, first node ended ... run ended


def whole(folder: Path) -> float:
    """Seconds per step of the whole run in workers, all included."""
    return chain.run(store=folder).seconds / STEPS


def cached(folder: Path) -> float:
    """Seconds per step where every step has an earlier result."""
    chain.run(store=folder)
    return chain.run(store=folder).seconds / STEPS


def main() -> None:
    """Measures in turns, and prints medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured")
    rounds = parser.parse_args().rounds
    measured: dict[str, Callable[[Path], float]] = {
        "fork, pickle, write": forked,
        "workers": run,
        "workers, one each": lambda folder: run(folder, chain_of_processes),
        "workers, whole run": whole,
        "inline": lambda folder: run(folder, inline=True),
        "all cached": cached,
    }
    seconds: dict[str, list[float]] = {name: [] for name in measured}
    # Removed at the end, all at once: ext4 without a journal is slow to make files soon after others were removed.
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for name, measure in measured.items():
                place = Path(folder) / f"{name} {number}"
                place.mkdir()
                seconds[name].append(measure(place))
    yardstick = statistics.median(seconds["fork, pickle, write"])
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:20} {median * 1000:8.3f} ms a step  {median / yardstick:6.2f} times the yardstick")


if __name__ == "__main__":
    main()
