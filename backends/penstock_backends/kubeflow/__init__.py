"""Kubeflow Pipelines: one YAML file that holds all it needs.

What is emitted
    KFP's intermediate representation v2.1, written as plain data. Each task has a component of its own; tasks that do
    the same share an executor, whose container is started as ``python3 -c HARNESS``, with the engine's JSON, the *job*
    (what to call, and where its inputs are) and the author's source as arguments. No kfp is needed, here or there.

How values travel, and why (`channels`)
    - A pipeline parameter has Kubeflow's own type where that keeps the value (``str int float bool``, lists of these);
      all else, and a default that Kubeflow would change (``2**53 + 1``, ``nan``, a tuple), is STRING with JSON text.
    - Between steps, what can only be small (numbers, dates, enums, records of such) is a STRING parameter with the
      exact JSON. What can grow (``str bytes list dict``) is an artifact with that JSON: parameters end up on a command
      line, and one beyond 128 kB stops the run.
    - Artifacts are ``system.Dataset``, ``Model``, ``Metrics``, ``ClassificationMetrics``, ``HTML``, ``Markdown`` or
      ``Artifact``, by label. Their uri is the file itself (or the folder), so that Kubeflow's pages can show it, with
      the ``format`` in the metadata, and what else the page shows, as far as there is room: what an artifact says of
      itself stands on the command line of each task that takes it.
    - The numbers of ``log_metric`` are the metadata of a ``system.Metrics`` artifact.

What is not left to the engine
    - Retries and timeouts: KFP ignores retries inside ParallelFor (kubeflow/pipelines #13897), has no jitter, and gives
      no attempt number; a pod's deadline counts pulling the image and all attempts. So the harness does both, and the
      deadline is a backstop.
    - Components that share a container share, on the cluster, the component spec of the first one: the compiled
      workflow keeps specs by the container's hash. So a job names the types of its inputs, and tasks share an executor
      only where their components are equal.

What decides what runs (`plan`, `wiring`, `softness`, `steered`)
    - Kubeflow cannot take a value from whichever arm ran (kfp.local not at all if it is an artifact), and starts
      nothing that waits for what was skipped. So tasks in arms are ordinary tasks, which read the decisions themselves
      and hand on that they were skipped; the contract's rule is applied by the harness, in each task.
    - Loops are DAGs under a parameterIterator over the places of the items. An empty one would be skipped by Argo and
      fail the driver of whoever collects from it, so it makes one turn that does nothing.
    - A task that fails is a failure to Kubeflow wherever nothing runs that waits for it (see `softness`), so that the
      page shows it and the cache does not keep it. Failed gates are one by a task of their own: the launcher uploads
      nothing of a task that fails.
    - A schedule is no part of a pipeline, but a recurring run on the server: `deploy` makes it.
    - Exit handlers are told neither what failed nor by which name, cannot take outputs, and there is one for each DAG.
      So the tasks at the end are ordinary ones, before which nothing fails.

After a failure, the nodes that don't depend on it go on where Argo goes on: its ``failFast``, which KFP leaves at the
default, starts nothing more once nothing runs, but is not heeded while anything does (argo-workflows #10312).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from penstock.backend import Backend, Definition, Files, Options, Support, emulated, native, unsupported
from penstock.deployment import Deployment, DeployOptions
from penstock.diagnostics import Diagnostic
from penstock.spec import (
    Binding,
    Feature,
    OutputBinding,
    PipelineSpec,
    RecordBinding,
    SequenceBinding,
)
from penstock_backends.alerting import with_alert
from penstock_backends.emptiness import nothing_to_run
from penstock_backends.kubeflow.channels import arguments_for, identifier, task_name
from penstock_backends.kubeflow.deploy_options import KubeflowDeployOptions
from penstock_backends.kubeflow.deploy_schedule import impossible_schedule
from penstock_backends.kubeflow.form import heading, input_of
from penstock_backends.kubeflow.options import KubeflowOptions
from penstock_backends.kubeflow.outline import outline
from penstock_backends.kubeflow.plan import Plan, plan_of
from penstock_backends.kubeflow.pod import impossible_pods
from penstock_backends.kubeflow.sizes import too_large
from penstock_backends.kubeflow.text import documents
from penstock_backends.rendering import header
from penstock_backends.step_options import unknown_steps

__all__ = ["KubeflowBackend", "KubeflowOptions", "arguments_for"]


_AT_THE_END = (
    "tasks after all others. Kubeflow starts nothing after a task that failed, so those before them hand on how they "
    "ended, and the last task fails the run. A pod that is lost as a whole ends the run without them"
)


class KubeflowBackend(Backend):
    """Emits ``NAME.yaml``, to be uploaded as a pipeline or run by ``kfp.local``."""

    name: ClassVar[str] = "kubeflow"
    options: ClassVar[type[Options]] = KubeflowOptions
    deploy_options: ClassVar[type[DeployOptions]] = KubeflowDeployOptions
    supports: ClassVar[Mapping[Feature, Support]] = {
        Feature.DATA_EDGES: native(),
        Feature.PARAMETERS: native("typed inputs; JSON text where Kubeflow's types would change a value"),
        Feature.ARTIFACTS: native("typed artifacts, by label"),
        Feature.NAMED_OUTPUTS: native(),
        Feature.COLLECTED_INPUTS: emulated("one input per item, joined again before the step is called"),
        Feature.FIELD_ACCESS: emulated("the whole output travels, and the step's harness takes the part"),
        Feature.AFTER: native("dependentTasks"),
        Feature.NESTED_PIPELINES: emulated("flattened; names keep the path: OUTER--STEP"),
        Feature.CONDITIONS: emulated(
            "a task decides each branch; those in its arms are started, and end at once where the other arm is taken"
        ),
        Feature.LOOPS: native(
            "ParallelFor over the places of the items; one turn that does nothing stands for no items"
        ),
        Feature.NESTED_LOOPS: native("a ParallelFor in a ParallelFor"),
        Feature.LOOP_PARALLELISM: native("parallelismLimit"),
        Feature.GATES: emulated(
            "verdicts as a system.Metrics artifact; a task after the gate's own fails in its place"
        ),
        Feature.ON_FAILURE: emulated(_AT_THE_END),
        Feature.ON_EXIT: emulated(_AT_THE_END),
        Feature.ROLLBACK: emulated(_AT_THE_END),
        Feature.PIPELINE_TIMEOUT: emulated(
            "the first task notes when the time is up, and each pod ends its step then; nothing is taken from the cache"
        ),
        Feature.RETRY: emulated(
            "by the harness, inside the pod: KFP has no jitter and no attempt number, and ignores retries in loops. "
            "A pod that is lost as a whole (evicted, or all of it killed for memory) is not started again"
        ),
        Feature.TIMEOUT: emulated("by the harness, per attempt; activeDeadlineSeconds as a backstop for all of them"),
        Feature.RESOURCES: native("requests; the type of a GPU by node selector"),
        Feature.QUOTAS: unsupported(
            "Kubernetes counts what nodes and namespaces have, and nothing by a name of yours",
            "leave `quotas` out, and bound the loop around the steps (`parallelism`)",
        ),
        Feature.PRIORITY: unsupported(
            "a pipeline's pods have the priority class that the cluster gives them", "leave `priority` out"
        ),
        Feature.ENV: native(),
        Feature.SCHEDULE_START: emulated("the start of the recurring run that `penstock deploy` makes"),
        Feature.CATCH_UP: emulated("the recurring run that `penstock deploy` makes, when it is first made, catches up"),
        Feature.PUSH: unsupported("Kubeflow knows no repository", "leave the trigger out"),
        Feature.PULL_REQUEST: unsupported("Kubeflow knows no repository", "leave the trigger out"),
        Feature.AFTER_PIPELINE: unsupported("no run tells another pipeline that it ended", "leave the trigger out"),
        Feature.DATA_CHANGE: unsupported("no run is told of data that changed", "leave the trigger out"),
        Feature.UPDATES: unsupported("no run tells of data that it changed", "leave `updates` out"),
        Feature.CONCURRENCY: unsupported(
            "a recurring run bounds its own runs, with permission too, and no others that are started",
            "leave `concurrency` out",
        ),
        Feature.SEVERAL_RUNS: emulated("of those of a recurring run, where `concurrency` may be left out"),
        Feature.CANCEL_RUNNING: unsupported("runs do not know of each other", "leave `cancel_running` out"),
        Feature.SECRETS: native("keys of Kubernetes Secrets, in the environment of the step's own pod"),
        Feature.PACKAGES: emulated("what the image lacks is installed by pip before the step's first attempt"),
        Feature.IMAGE: native(),
        Feature.CACHE: native("the key holds the step's program, its inputs and its image"),
        Feature.EXISTING: native(
            "an importer, where Kubeflow's own launcher can read the URI and nothing is asked of the node; else a task "
            "that copies it, by HTTP or fsspec"
        ),
        Feature.METRICS: native("metadata of a system.Metrics artifact"),
        Feature.METADATA: native("metadata of the output's artifact, or of one beside it where it is a parameter"),
        Feature.SCHEDULE: emulated("a recurring run, which is no part of the file: `penstock deploy` makes it"),
    }

    def emit(self, pipeline: PipelineSpec, options: KubeflowOptions) -> Files:
        """One YAML file."""
        plan = plan_of(pipeline, options)
        comments = [*header(pipeline, self.name, options), *outline(pipeline)]
        spec = {
            "pipelineInfo": {"name": task_name(pipeline.name), **heading(pipeline)},
            "schemaVersion": "2.1.0",
            "sdkVersion": "penstock",
            "root": _root(pipeline, plan),
            "components": dict(plan.components()),
            "deploymentSpec": {"executors": {each.executor: each.runs for each in plan.tasks}},
        }
        platform = {each.executor: each.platform for each in plan.tasks if each.platform}
        rest = [{"platforms": {"kubernetes": {"deploymentSpec": {"executors": platform}}}}] if platform else []
        return {f"{pipeline.name}.yaml": documents(comments, [spec, *rest])}

    def deployment(
        self, definition: Definition, options: KubeflowOptions, deploy_options: KubeflowDeployOptions
    ) -> Deployment:
        """The pipeline on a server; see `penstock.deployment.Deployer`."""
        from penstock_backends.kubeflow.deploy import deployment_of  # noqa: PLC0415  # compiling needs none of it

        return deployment_of(definition.spec, deploy_options)

    def prepared(self, pipeline: PipelineSpec, options: KubeflowOptions) -> PipelineSpec:
        """The pipeline with the alert that the options ask for."""
        return with_alert(pipeline, options.alert, "Kubeflow")

    def limits(self, pipeline: PipelineSpec, options: KubeflowOptions) -> Iterable[Diagnostic]:
        """What is too large for a command line or for the cluster's store, pods that cannot be, or nothing at all."""
        yield from impossible_schedule(pipeline, options)
        yield from unknown_steps(pipeline, options.steps, self.name)
        yield from impossible_pods(pipeline, options)
        empty = list(nothing_to_run(pipeline, "Kubeflow"))
        yield from empty or too_large(pipeline, plan_of(pipeline, options), options)


def _root(pipeline: PipelineSpec, plan: Plan) -> dict[str, Any]:
    root: dict[str, Any] = {}
    if pipeline.parameters:
        inputs = {identifier(each.name): input_of(each) for each in pipeline.parameters}
        root["inputDefinitions"] = {"parameters": inputs}
    dag: dict[str, Any] = {"tasks": plan.dag()}
    results = {name: each for name, each in _results(pipeline) if not plan.program.by_id[each.node].loops}
    if results:
        root["outputDefinitions"], dag["outputs"] = _root_outputs(plan, results)
    return {**root, "dag": dag}


def _results(pipeline: PipelineSpec) -> Iterator[tuple[str, OutputBinding]]:
    """What the pipeline returns, by name, as far as those are whole outputs of tasks."""
    result = pipeline.result
    parts: Iterable[tuple[str, Binding]] = ()
    if isinstance(result, OutputBinding):
        parts = [("output", result)]
    elif isinstance(result, RecordBinding):
        parts = result.fields
    elif isinstance(result, SequenceBinding):
        parts = [(f"output_{number}", item) for number, item in enumerate(result.items)]
    for name, binding in parts:
        if isinstance(binding, OutputBinding) and not binding.path:
            yield identifier(name), binding


def _root_outputs(plan: Plan, results: dict[str, OutputBinding]) -> tuple[dict[str, Any], dict[str, Any]]:
    definitions: dict[str, Any] = {}
    selectors: dict[str, Any] = {}
    for name, binding in results.items():
        channel = plan.outputs[binding.node, binding.output]
        definitions.setdefault(channel.side, {})[name] = channel.declaration
        selectors.setdefault(channel.side, {})[name] = channel.of_subtask(task_name(binding.node))
    return definitions, selectors
