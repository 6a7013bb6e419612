"""Pipelines without a step, which some engines don't take."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.diagnostics import Diagnostic
from penstock.spec import PipelineSpec, location_of


def nothing_to_run(pipeline: PipelineSpec, engine: str) -> Iterator[Diagnostic]:
    """What is wrong with a pipeline without a node; what runs at the end of a run needs something to come after."""
    if not pipeline.body:
        message = f"`{pipeline.name}` calls no step, and {engine} takes no pipeline without a task"
        yield Diagnostic("P503", message, location_of(pipeline.span), "call a step in it")
