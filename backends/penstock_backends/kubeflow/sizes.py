"""What is too large for Kubeflow."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.diagnostics import Diagnostic
from penstock.spec import LiteralBinding, PipelineSpec, location_of, tasks
from penstock_backends.kubeflow.entry import LARGEST_PARAMETER
from penstock_backends.kubeflow.options import KubeflowOptions
from penstock_backends.kubeflow.plan import LARGEST_CONTAINER, Plan
from penstock_backends.rendering import compact_json


def too_large(pipeline: PipelineSpec, plan: Plan, options: KubeflowOptions) -> Iterator[Diagnostic]:
    """Every value, program and pipeline that the engine would reject for its size."""
    yield from _parameters(pipeline)
    containers = {each.executor: each for each in plan.tasks}
    for each in containers.values():
        size = len(compact_json(each.container))
        if size > LARGEST_CONTAINER:
            name = each.unit.id if each.unit else each.name
            yield Diagnostic(
                "P521",
                f"the program of `{name}` takes {size} bytes, and Kubeflow takes {LARGEST_CONTAINER} at most",
                location_of(each.unit.task.span) if each.unit else None,
                "move large constants into a file that the step reads, or code into a package that the image holds",
            )
    if plan.size > options.largest_workflow:
        yield Diagnostic(
            "P522",
            f"the workflow of the pipeline, with its state, would take about {plan.size} bytes; the cluster keeps "
            f"{options.largest_workflow}",
            location_of(pipeline.span),
            "divide the pipeline, let tasks share steps, or set `largest_workflow` where the cluster keeps more",
        )


def _parameters(pipeline: PipelineSpec) -> Iterator[Diagnostic]:
    fix = "write it to a file in a step, and pass the file on"
    for parameter in pipeline.parameters:
        size = 0 if parameter.required else len(compact_json(parameter.default))
        if size > LARGEST_PARAMETER:
            said = f"the default of `{parameter.name}` takes {size} bytes, beyond Kubeflow's {LARGEST_PARAMETER}"
            yield Diagnostic("P523", said, location_of(pipeline.span), fix)
    for task in tasks(pipeline.body):
        size = sum(len(compact_json(given.value)) for _, given in task.inputs if isinstance(given, LiteralBinding))
        if size > LARGEST_PARAMETER:
            said = f"the constants given to `{task.id}` take {size} bytes, beyond Kubeflow's {LARGEST_PARAMETER}"
            yield Diagnostic("P523", said, location_of(task.span), fix)
