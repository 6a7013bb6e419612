"""Comments at the head of the file: when it runs, and its branches, loops and gates as the author wrote them."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.spec import Branch, Gate, Group, Loop, Node, PipelineSpec, Task, walk


def outline(pipeline: PipelineSpec) -> list[str]:
    """The lines, without comment marks; none for a pipeline without a schedule in which everything runs."""
    return [*_beginnings(pipeline), *_course(pipeline)]


def _beginnings(pipeline: PipelineSpec) -> Iterator[str]:
    if pipeline.schedule is not None:
        when = f"{pipeline.schedule.cron} ({pipeline.schedule.timezone})"
        yield f"Its schedule, {when}, is no part of this file: `penstock deploy`"
        yield "makes a recurring run of it."


def _course(pipeline: PipelineSpec) -> list[str]:
    steered = any(isinstance(node, (Branch, Loop, Gate)) for node in walk(pipeline.body))
    ends = [(task.id, "if the run failed") for task in pipeline.on_failure]
    ends += [(task.id, "at the end of the run") for task in pipeline.on_exit]
    if not steered and not ends:
        return []
    last = [f"  {id_}  ({said})" for id_, said in ends]
    return ["What runs, and when:", *_lines(pipeline.body, 1), *last]


def _lines(body: tuple[Node, ...], depth: int) -> Iterator[str]:
    indent = "  " * depth
    for node in body:
        if isinstance(node, Task):
            undone = f"  (undone by {node.rollback.id})" if node.rollback else ""
            yield f"{indent}{node.id}{undone}"
        elif isinstance(node, Group):
            yield from _lines(node.body, depth)
        elif isinstance(node, Gate):
            yield f"{indent}{node.id}: {_one_line(node.text)}"
        elif isinstance(node, Loop):
            bound = f", {node.parallelism} at a time" if node.parallelism else ""
            yield f"{indent}{node.id}: each of {_one_line(node.text)}{bound}"
            yield from _lines(node.body, depth + 1)
        else:
            yield f"{indent}{node.id}: {_one_line(node.text)}"
            yield from _lines(node.then, depth + 1)
            if node.otherwise:
                yield f"{indent}{node.id}: otherwise"
                yield from _lines(node.otherwise, depth + 1)


def _one_line(text: str) -> str:
    return " ".join(text.split())
