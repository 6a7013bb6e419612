"""Runs a pipeline of which one step wants more memory than there is; to be started where that is bounded.

Prints one line of JSON: the state of each node, the error of that step, and the peak that is told of it.
"""

import json
import sys

from penstock import pipeline, step

MEGABYTE = 1 << 20


@step
def fills(megabytes: int) -> int:
    kept = [bytearray(b"x" * MEGABYTE) for _ in range(megabytes)]
    return len(kept)


@step
def counts(number: int, after: int = 0) -> int:
    return number + after


@pipeline
def greedy() -> tuple[int, list[int]]:
    return counts(1, after=fills(2000)), [counts(number) for number in range(20)]


if __name__ == "__main__":
    run = greedy.run(store=sys.argv[1], max_workers=2)
    states = {node.id: node.state.value for node in run.nodes.values()}
    print(json.dumps({"states": states, "error": run["fills"].error, "peak": run["fills"].peak_memory}))
