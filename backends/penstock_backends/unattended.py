"""What a run lacks that no person starts."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.diagnostics import Diagnostic
from penstock.spec import PipelineSpec, location_of


def lacking_values(pipeline: PipelineSpec) -> Iterator[Diagnostic]:
    """That a schedule or trigger starts runs that have no value for a parameter."""
    what = "a schedule" if pipeline.schedule is not None else "a trigger" if pipeline.triggers else ""
    required = ", ".join(f"`{each.name}`" for each in pipeline.parameters if each.required)
    if what and required:
        message = f"`{pipeline.name}` has {what}, but a run that no person starts has no value for {required}"
        fix = "give each parameter a default, or drop what starts the runs"
        yield Diagnostic("P507", message, location_of(pipeline.span), fix)
