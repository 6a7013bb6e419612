"""What the Airflow target keeps, what can be chosen, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar
from urllib.parse import urlsplit

from penstock.backend import Backend, Definition, Files, Support, emulated, native, unsupported
from penstock.deployment import Deployment, DeployOptions
from penstock.diagnostics import Diagnostic, Location
from penstock.spec import Feature, ParameterSpec, PipelineSpec, Span, Task, walk
from penstock_backends.airflow.dag_file import DagFile, dag_id
from penstock_backends.airflow.deploy_options import AirflowDeployOptions
from penstock_backends.airflow.layout import Layout
from penstock_backends.airflow.options import AirflowOptions
from penstock_backends.airflow.placing import misplaced, placed
from penstock_backends.airflow.starts import awaited
from penstock_backends.alerting import with_alert
from penstock_backends.emptiness import nothing_to_run
from penstock_backends.json_schema import WrongDefaultError, plain_default
from penstock_backends.lowering import program_of
from penstock_backends.rendering import option_words
from penstock_backends.step_options import unknown_steps
from penstock_backends.unattended import lacking_values


class AirflowBackend(Backend):
    """Emits ``NAME.py``, to be put into the DAG folder."""

    name = "airflow"
    options = AirflowOptions
    deploy_options: ClassVar[type[DeployOptions]] = AirflowDeployOptions
    supports: ClassVar[Mapping[Feature, Support]] = {
        Feature.DATA_EDGES: native("XCom, as JSON text; above 48 KiB a file below the artifact root"),
        Feature.PARAMETERS: native("Params with a JSON Schema"),
        Feature.ARTIFACTS: emulated("files below the artifact root, a folder or an object store; their paths in XCom"),
        Feature.NAMED_OUTPUTS: native("one XCom key for each"),
        Feature.COLLECTED_INPUTS: native("lists of XComs"),
        Feature.FIELD_ACCESS: emulated("resolved in the step's process"),
        Feature.AFTER: native("`>>`"),
        Feature.NESTED_PIPELINES: native("TaskGroups"),
        Feature.CONDITIONS: native("a task decides; those of the arm that is not taken skip themselves"),
        Feature.LOOPS: native("mapped task groups"),
        Feature.NESTED_LOOPS: emulated("one mapped task group over all combinations of items"),
        Feature.LOOP_PARALLELISM: emulated("`max_active_tis_per_dagrun` of each task in the loop"),
        Feature.GATES: emulated("a task that fails and is not retried; verdicts in the log and the XCom `gates`"),
        Feature.ON_FAILURE: emulated("tasks behind all others; a watcher keeps the run failed"),
        Feature.ON_EXIT: emulated("tasks behind all others; a watcher keeps the run failed"),
        Feature.ROLLBACK: emulated("tasks behind all others, in reverse order"),
        Feature.PIPELINE_TIMEOUT: emulated("each task ends at the run's deadline, so that what follows a failure runs"),
        Feature.RETRY: native("`retries`; a backoff or jitter by a RetryPolicy (3.3), or by waiting in the task (2.x)"),
        Feature.TIMEOUT: native("`execution_timeout`; the step's process ends with all that it started"),
        Feature.RESOURCES: native("requests of the step's pod, where its `isolation` is `kubernetes`; else refused"),
        Feature.QUOTAS: native("slots of the pool of that name; a task takes those of one pool"),
        Feature.PRIORITY: native("`priority_weight`, absolute"),
        Feature.ENV: emulated("set for the step's process alone"),
        Feature.SCHEDULE_START: native("`start_date`; Airflow makes up for the last run missed before it knew the DAG"),
        Feature.CATCH_UP: native("`catchup`"),
        Feature.PUSH: unsupported("Airflow knows no repository", "leave the trigger out"),
        Feature.PULL_REQUEST: unsupported("Airflow knows no repository", "leave the trigger out"),
        Feature.AFTER_PIPELINE: unsupported(
            "a DAG waits for data, not for another DAG",
            "let the other pipeline say what it `updates`, and wait for that: `DataChange`",
        ),
        Feature.DATA_CHANGE: native("an Asset (3.x) or Dataset (2.x); beside a schedule, whichever comes first"),
        Feature.UPDATES: emulated("outlets of a last task, `updated`, which only runs that succeeded come to"),
        Feature.CONCURRENCY: native("`max_active_runs`"),
        Feature.SEVERAL_RUNS: native("`max_active_runs`"),
        Feature.CANCEL_RUNNING: unsupported(
            "Airflow lets a further run wait, and has none end another", "leave `cancel_running` out"
        ),
        Feature.SECRETS: native(
            "a Variable, or a field of a connection, read by the task and given to the step's process"
        ),
        Feature.PACKAGES: emulated("a virtual environment on the worker, made on first use (by uv where there is one)"),
        Feature.IMAGE: native("of the step's pod, where its `isolation` is `kubernetes`; else refused"),
        Feature.CACHE: emulated(
            "with the option `cache`, below the artifact root by code and inputs; else nothing is reused"
        ),
        Feature.EXISTING: emulated("a task that copies it, by HTTP or fsspec, below the artifact root"),
        Feature.METRICS: emulated("the task's log, and the XCom `step_metrics`"),
        Feature.METADATA: emulated("the task's log, and the XCom `step_metadata`"),
        Feature.SCHEDULE: native("a cron timetable in its time zone"),
    }

    def emit(self, pipeline: PipelineSpec, options: AirflowOptions) -> Files:
        """The DAG file, called after the DAG."""
        return {f"{dag_id(pipeline)}.py": DagFile(placed(pipeline, options), options).text(_target(options))}

    def deployment(
        self, definition: Definition, options: AirflowOptions, deploy_options: AirflowDeployOptions
    ) -> Deployment:
        """The file in a DAG folder; see `penstock.deployment.Deployer`."""
        from penstock_backends.airflow.deploy import deployment_of  # noqa: PLC0415  # compiling needs none of it

        return deployment_of(self.prepared(definition.spec, options), options, deploy_options)

    def prepared(self, pipeline: PipelineSpec, options: AirflowOptions) -> PipelineSpec:
        """The pipeline with the alert that the options ask for."""
        return with_alert(pipeline, options.alert, "Airflow")

    def limits(self, pipeline: PipelineSpec, options: AirflowOptions) -> Iterator[Diagnostic]:
        """Ids that Airflow refuses, and parameters that it would find wrong when it parses the file or starts a run."""
        yield from nothing_to_run(pipeline, "Airflow")
        for what, id_, span in _ids(pipeline):
            if len(id_) > 250:
                message = f"the id of {what} `{id_[:40]}...` has {len(id_)} characters, and Airflow allows 250"
                yield Diagnostic("P530", message, _location(span), "give it a shorter name")
        for tag in pipeline.tags:
            if len(tag) > 100:
                message = f"the tag `{tag[:40]}...` has {len(tag)} characters, and Airflow allows 100"
                yield Diagnostic("P531", message, _location(pipeline.span), "shorten it")
        yield from lacking_values(pipeline)
        for parameter in pipeline.parameters:
            yield from _wrong_default(parameter, pipeline)
        yield from _wrong_data(pipeline)
        yield from unknown_steps(pipeline, options.steps, "airflow")
        for unit in program_of(pipeline).by_id.values():
            yield from _too_many_pools(unit.task)
            yield from misplaced(unit, options)


_KINDS = {"task": "task", "group": "nested pipeline", "branch": "condition", "loop": "loop", "gate": "gate"}


def _target(options: AirflowOptions) -> str:
    """The target and its options, as they are given to ``penstock compile --to``."""
    words = ["airflow"] + (["--airflow", "2"] if options.airflow == 2 else [])
    return " ".join([*words, *option_words(options, leave_out={"airflow"})])


def _ids(pipeline: PipelineSpec) -> Iterator[tuple[str, str, Span | None]]:
    yield "pipeline", dag_id(pipeline), pipeline.span
    layout = Layout(program_of(pipeline))
    for node in walk(pipeline.body):
        yield _KINDS[node.kind], node.id, node.span
        for added in (layout.places.get(node.id, ""), layout.summaries.get(node.id, "")):
            yield "the task beside it", added, node.span
    for unit in layout.endings:
        yield "task", unit.id, unit.task.span


def _wrong_default(parameter: ParameterSpec, pipeline: PipelineSpec) -> Iterator[Diagnostic]:
    place = _location(pipeline.span)
    if parameter.required:
        return
    try:
        plain_default(parameter)
    except WrongDefaultError as error:
        message = f"the default of parameter `{parameter.name}` is not of its type: {error}"
        yield Diagnostic("P533", message, place, "change the default, or the annotation")


def _wrong_data(pipeline: PipelineSpec) -> Iterator[Diagnostic]:
    """The URIs of data that Airflow takes for none, or takes a part of."""
    for uri in dict.fromkeys((*awaited(pipeline), *pipeline.updates)):
        parts = urlsplit(uri)
        why = ""
        if parts.scheme == "airflow":
            why = "it keeps that scheme for itself"
        elif len(uri) > 1500:
            why = "it allows 1500 characters"
        elif parts.fragment or "@" in parts.netloc or (parts.path.endswith("/") and parts.path != "/"):
            why = "it leaves out what follows `#`, what precedes `@`, and a last `/`"
        if why:
            message = f"Airflow does not take `{uri:.60}` for the name of data as it is: {why}"
            yield Diagnostic("P534", message, _location(pipeline.span), "call the data by another URI")


def _too_many_pools(task: Task) -> Iterator[Diagnostic]:
    names = [name for name, _ in task.settings.quotas]
    if len(names) > 1:
        message = (
            f"`{task.id}` takes of {', '.join(f'`{each}`' for each in names)}, and Airflow lets a task take of one pool"
        )
        yield Diagnostic("P535", message, _location(task.span), "take of the scarcest, or divide the step")


def _location(span: Span | None) -> Location | None:
    return Location(span.file, span.line, span.text, span.column, span.end_column) if span else None
