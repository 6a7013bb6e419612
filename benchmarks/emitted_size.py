"""How large what is emitted becomes: pipelines of 10, 100 and 1,000 nodes, for each target.

Three shapes: the calls of one step in a chain; as many different steps side by side, and one that takes all that they
give; and one step over a list that is known only when the pipeline runs, of as many items. Prints the bytes of all
files together, what each further node adds, and how many nodes the engine takes where it bounds that.

    python benchmarks/emitted_size.py
"""

from __future__ import annotations

from collections.abc import Callable

from penstock import compiler, pipeline, step
from penstock.spec import PipelineSpec

SIZES = (10, 100, 1_000)
BEYOND = 100_000


@step
def increment(number: int) -> int:
    """The next number."""
    return number + 1


@step
def total(numbers: list[int]) -> int:
    """What the numbers come to."""
    return sum(numbers)


@step
def listed(count: int) -> list[int]:
    """The numbers below one."""
    return list(range(count))


def chain(nodes: int) -> PipelineSpec:
    """One step, again and again."""

    @pipeline
    def chain(start: int = 0) -> int:
        for _ in range(nodes):
            start = increment(start)
        return start

    return chain.spec


def fan(nodes: int) -> PipelineSpec:
    """As many steps that differ in their settings, and one behind all of them."""

    @pipeline
    def fan(start: int = 0) -> int:
        return total([increment.with_options(env={"NUMBER": str(at)})(start) for at in range(nodes - 1)])

    return fan.spec


def loop(nodes: int) -> PipelineSpec:
    """One step for each item of a list, which only a run knows."""

    @pipeline
    def loop(count: int = nodes) -> int:
        return total([increment(number) for number in listed(count)])

    return loop.spec


def size(spec: PipelineSpec, target: str) -> int:
    """The bytes of all files, whether or not the engine takes them."""
    backend = compiler.backend(target)
    return sum(len(text.encode()) for text in backend.emit(spec, backend.options()).values())


def is_taken(spec: PipelineSpec, target: str) -> bool:
    """Whether a target has nothing against a pipeline."""
    backend = compiler.backend(target)
    return not any(backend.limits(spec, backend.options()))


def most(shape: Callable[[int], PipelineSpec], target: str) -> int:
    """The most nodes that a target takes; `BEYOND` where it took all that were tried."""
    taken, refused = SIZES[0], SIZES[-1]
    if is_taken(shape(refused), target):
        return BEYOND
    while refused - taken > 1:
        middle = (taken + refused) // 2
        taken, refused = (middle, refused) if is_taken(shape(middle), target) else (taken, middle)
    return taken


def main() -> None:
    """Prints a line for each shape and target."""
    for shape in (chain, fan, loop):
        specs = {nodes: shape(nodes) for nodes in SIZES}
        for target in compiler.targets():
            sizes = {nodes: size(spec, target) for nodes, spec in specs.items()}
            each = (sizes[SIZES[-1]] - sizes[SIZES[0]]) / (SIZES[-1] - SIZES[0])
            bound = most(shape, target)
            shown = " ".join(f"{found / 1000:8.0f}" for found in sizes.values())
            said = "" if bound == BEYOND else f", at most {bound} nodes"
            print(f"{shape.__name__:<6} {target:<9} {shown} kB, {each:6.0f} bytes a node{said}", flush=True)


if __name__ == "__main__":
    main()
