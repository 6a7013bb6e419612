"""What compiling costs, and how much is emitted: a chain of 10 to 10,000 calls of one step, to each target.

The peer, measured in the same run: kfp's own compiler on the same chain of 1,000, in an environment of its own. Prints
CPU seconds from the decorated function to the files, the size of these, how the time grows from 1,000 to 10,000 calls
(bound: 12), and kfp's time as a multiple of ours (bound: 15). Where an engine takes no workflow of that size, the
target says so instead.

    make engines
    python benchmarks/compile_time.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from penstock import CompileError, Pipeline, compiler, pipeline, step

ENGINES = Path(os.environ.get("PENSTOCK_ENGINES") or Path(__file__).resolve().parent.parent / ".engines")
SIZES = (10, 100, 1_000, 10_000)
MOST_GROWTH = 12.0
LEAST_LEAD = 15.0
ROUNDS = 3
BOUNDLESS = {"kubeflow": {"largest_workflow": 10**9, "harness": "packed"}}  # more than clusters keep as they come

KFP = """
import sys, tempfile, time, warnings
warnings.simplefilter("ignore")
from kfp import compiler, dsl

@dsl.component
def increment(number: int) -> int:
    return number + 1

began = time.process_time()

@dsl.pipeline(name="chain")
def chain(start: int = 0) -> int:
    task = increment(number=start)
    for _ in range(int(sys.argv[1]) - 1):
        task = increment(number=task.output)
    return task.output

with tempfile.TemporaryDirectory() as folder:
    compiler.Compiler().compile(chain, folder + "/chain.yaml")
print(time.process_time() - began)
"""


@step
def increment(number: int) -> int:
    """The next number."""
    return number + 1


def chain(length: int) -> Pipeline[..., int]:
    """A pipeline of that many calls, one after the other, traced."""

    @pipeline
    def chain(start: int = 0) -> int:
        number = start
        for _ in range(length):
            number = increment(number)
        return number

    return chain


@dataclass(frozen=True)
class Measured:
    """The fastest of some compilations in seconds, tracing included, and how many bytes were emitted."""

    seconds: float
    size: int


def compiled(target: str, length: int) -> Measured | CompileError:
    """What compiling a chain for a target costs, or why the target refuses it."""
    times, size = [], 0
    for _ in range(ROUNDS):
        began = time.process_time()
        try:
            files = compiler.compile_spec(chain(length).spec, target, BOUNDLESS.get(target))
        except CompileError as error:
            return error
        times.append(time.process_time() - began)
        size = sum(len(text.encode()) for text in files.values())
    return Measured(min(times), size)


def kfp_seconds(length: int) -> float | None:
    """The fastest of as many compilations by kfp; None where its environment is missing."""
    python = ENGINES / "kfp" / "venv" / "bin" / "python"
    if not python.exists():
        return None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "chain.py")  # kfp reads a component's source from its file
        file.write_text(KFP)
        command = [str(python), str(file), str(length)]
        return min(
            float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(ROUNDS)
        )


def main() -> None:
    """Prints a line for each target, and whether the bounds hold; ends with 1 where one does not."""
    held = True
    ours: dict[str, dict[int, Measured | CompileError]] = {}
    for target in compiler.targets():
        compiled(target, SIZES[0])  # once, so that what is loaded at first use is loaded
        ours[target] = {length: compiled(target, length) for length in SIZES}
        for length, found in ours[target].items():
            if isinstance(found, Measured):
                print(f"{target:<9} {length:>6} calls: {found.seconds:7.3f} s, {found.size / 1000:8.0f} kB")
            else:
                print(f"{target:<9} {length:>6} calls: refused: {found.diagnostics[0].message}")
        small, large = ours[target][1_000], ours[target][10_000]
        if isinstance(small, Measured) and isinstance(large, Measured):
            growth = large.seconds / small.seconds
            held &= growth <= MOST_GROWTH
            print(f"{target:<9} 10 times the calls take {growth:.1f} times as long (bound: {MOST_GROWTH:.0f})")
    theirs, mine = kfp_seconds(1_000), ours["kubeflow"][1_000]
    if theirs is None:
        print("kfp is not compared: its environment is missing (make engines)")
    elif isinstance(mine, Measured):
        lead = theirs / mine.seconds
        held &= lead >= LEAST_LEAD
        print(f"kfp takes {theirs:.2f} s for 1,000 calls, {lead:.1f} times as long (bound: {LEAST_LEAD:.0f})")
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
