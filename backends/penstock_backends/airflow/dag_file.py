"""The text of a DAG file for Airflow 3 (``airflow.sdk``) or 2, which needs no Penstock.

How a step runs. The task function (TaskFlow, named after the node) starts the harness in a process of its own and
copies what that prints into the task's log. Airflow's own process would be the simpler place, but there the author's
code shares it with Airflow: an ``os._exit``, a segfault or a lack of memory takes the task runner with it (whose retry
then waits for a missed heartbeat), an ``os.chdir`` or a changed environment stays, and a timeout ends the function but
not the processes that it started. It also makes a virtual environment for explicit ``packages`` a matter of another
interpreter, where ``@task.virtualenv`` takes a function's source without its helpers.

How values travel. XCom holds each output as JSON *text*: PostgreSQL's JSONB turns ``1e20`` into an integer and refuses
NUL, and Airflow's own decoding gives a meaning to keys such as ``__classname__`` and ``__type``. Artifacts, and values
of more than 48 KiB, stay in a folder of their attempt below the artifact root, and XCom holds the path.

Retries are Airflow's own (``retries``). Its exponential backoff is not what ``Retry`` promises: it adds up to 100 %
jitter by a hash, rounds to seconds, knows only the factor 2 before 3.x, and caps after the jitter. So a constant delay
is ``retry_delay``; any other is a ``RetryPolicy`` from 3.3 on, and in 2.x the smallest delay is ``retry_delay``, and
the attempt waits for the rest before it begins.

User text is never a template: what tasks are given as arguments (Airflow renders those with Jinja) are references, and
literals stand in the table ``CALLS``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from penstock.spec import Branch, Gate, Group, Loop, ParameterSpec, PipelineSpec, Task, TypeKind, TypeSpec, walk
from penstock_backends import reuse
from penstock_backends.airflow import attempt, reusing
from penstock_backends.airflow.comments import said_unit
from penstock_backends.airflow.layout import Layout
from penstock_backends.airflow.options import AirflowOptions
from penstock_backends.airflow.pods import pod_arguments
from penstock_backends.airflow.reserved import FILE, PYTHON, argument_name
from penstock_backends.airflow.settings import installed, takes_over, task_options, varies
from penstock_backends.airflow.source import (
    arguments,
    ascii_id,
    docstring,
    identifier,
    literal,
    names_relied_on,
    number,
    table,
)
from penstock_backends.airflow.starts import outlets, start_arguments, start_names, start_of
from penstock_backends.airflow.stores import PROVIDERS, connection_of, provider_of
from penstock_backends.airflow.tables import call_row, has_names, parameter_row, renamed_row, step_row, task_id
from penstock_backends.airflow.wiring import Wiring, names_of
from penstock_backends.json_schema import is_tagged, plain_default, schema_of
from penstock_backends.lowering import Unit, program_of
from penstock_backends.rendering import embedded, harness_source, header, python_template

KUBERNETES = "airflow.providers.cncf.kubernetes"
_START = 'if __name__ == "__main__":\n    main()\n'
_FLOAT = schema_of(TypeSpec(kind=TypeKind.FLOAT))


def dag_id(pipeline: PipelineSpec) -> str:
    """The pipeline's name, or where Airflow does not take that, one like it."""
    return ascii_id(pipeline.name)


def pools_of(pipeline: PipelineSpec, options: AirflowOptions) -> list[str]:
    """The pools that tasks take slots of, apart from Airflow's default one."""
    settings = [unit.task.settings for unit in program_of(pipeline).by_id.values()]
    return sorted({name for each in settings for name, _ in each.quotas} | {*filter(None, (options.pool,))})


class Function(NamedTuple):
    """A task function, its parts as source text."""

    name: str
    options: str | None  # of `@task`, if it is one; else the function makes an operator
    parameters: list[str]
    doc: str
    comments: list[str]
    body: str


class DagFile:
    """One DAG file, put together part by part."""

    def __init__(self, pipeline: PipelineSpec, options: AirflowOptions) -> None:
        self.pipeline, self.options, self.airflow = pipeline, options, options.airflow
        self.layout = Layout(program_of(pipeline))
        self.program = self.layout.program
        self.units = tuple(self.program.by_id.values())
        self.descriptions = {node.id: node.description for node in walk(pipeline.body) if isinstance(node, Group)}
        settings = [unit.task.settings for unit in self.units]
        self.pods = {unit.id: unit for unit in self.units if options.step(unit).is_pod}
        here = [unit for unit in self.units if unit.id not in self.pods]
        self.varying = any(varies(each.retry) for each in settings)
        self.secrets = sorted({reference for unit in here for _, reference in unit.task.settings.secrets})
        self.pools = pools_of(pipeline, options)
        self.ranked = any(each.priority for each in settings)
        self.packages = any(installed(unit, options) is not None for unit in here)
        self.timed = any(each.timeout is not None for each in settings)
        rows = {unit.id: renamed_row(unit.step) for unit in self.units}
        self.renamed = {id_: row for id_, row in rows.items() if row}
        self.needs = needs_of(self.layout)
        self.reusing = any(takes_over(unit, options) for unit in self.units)
        self.code = python_template(
            "airflow_runtime.py.jinja",
            major=self.airflow,
            artifact_root=literal(options.artifact_root),
            stores=options.may_be_in_store,
            in_store=options.is_in_store,
            providers=literal(PROVIDERS, 0, 12),
            scratch=literal(options.scratch),
            largest_xcom=options.largest_xcom,
            packages=self.packages,
            interpreters=any(options.step(unit).isolation == "external_python" for unit in here),
            pods=bool(self.pods),
            secrets=bool(self.secrets),
            varying=self.varying,
            timed=self.timed,
            renamed=bool(self.renamed),
            pipeline=literal(pipeline.name),
            time_limit=None if pipeline.timeout is None else number(pipeline.timeout),
            needs=self.needs,
            reusing=self.reusing,
        )
        taken = {
            *names_relied_on(self.code),
            *FILE,
            *PYTHON,
            *(f"{identifier(id_)}_group" for id_ in self.descriptions),
        }
        self.names = names_of(self.layout, taken)
        self.wiring = Wiring(self.layout, self.names, taken, self.descriptions)

    def text(self, target: str) -> str:
        """The file; ``target`` is what to compile to, to make it again."""
        dag_arguments = list(self._dag_arguments())
        return python_template(
            "airflow.py.jinja",
            header=header(self.pipeline, target),
            version=self._version(),
            requirements=self._requirements(),
            installation=list(self._installation()),
            doc=docstring(self.pipeline.description or f"The pipeline `{self.pipeline.name}`."),
            imports=self._imports(),
            pods=bool(self.pods),
            claim=literal(self.options.artifact_claim),
            is_in_store=self.options.is_in_store,
            shared_folder=literal(self.options.shared_folder),
            uses_floats=any("**FLOAT" in line for line in dag_arguments),
            policies=self.varying and self.airflow == 3,
            dag_arguments=dag_arguments,
            functions=list(self._functions()),
            wiring=list(self.wiring.lines()),
            code=self.code,
            calls=table({unit.id: call_row(self.layout, unit, self.options) for unit in self.units}),
            parameters=table({each.name: parameter_row(each) for each in self.pipeline.parameters}),
            steps=table({step.id: step_row(step) for step in self.pipeline.steps}),
            renamed=table(self.renamed) if self.renamed else "",
            modules=[(literal(module.name), module.text) for module in self.pipeline.modules],
            attempt=_attempt(self.reusing),
            harness=harness_source(),
        )

    # --- the head ---

    def _version(self) -> str:
        if self.airflow == 2:
            return "2.10 or newer, below 3"
        if self.varying:
            return "3.3 or newer (for RetryPolicy)"
        if self._exceptions() or self.pipeline.schedule:
            return "3.2 or newer"
        return "3.1 or newer" if self.secrets else "3.0 or newer"

    def _requirements(self) -> list[str]:
        """What the workers' own Python has to hold."""
        chosen = ((unit.step, installed(unit, self.options), self.options.step(unit)) for unit in self.units)
        steps = (step for step, own, each in chosen if own is None and each.isolation == "process")
        return sorted({requirement for step in steps for requirement in step.requirements})

    def _installation(self) -> Iterator[str]:
        """What the installation of Airflow has to hold beside the file, a line to each kind."""
        plain = [each for each in self.secrets if "/" not in each]
        root = self.options.artifact_root
        kinds = {
            "Variables (secret)": plain,
            "connections (field)": [
                f"{name} ({field})" for name, _, field in (each.partition("/") for each in self.secrets) if field
            ],
            "connections (artifacts)": [*filter(None, [connection_of(root)])],
            "pools": self.pools,
            "provider": [
                *(["apache-airflow-providers-cncf-kubernetes"] if self.pods else []),
                *filter(None, [provider_of(root)]),
            ],
        }
        yield from (f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names)

    def _exceptions(self) -> list[str]:
        names = ["AirflowFailException"] if "final" in self.needs else []
        return [*names, "AirflowSkipException"] if "place" in self.needs else names

    def _imports(self) -> list[str]:
        modules = ["json", "logging", "os", "select", "shutil", "signal", "subprocess", "sys", "tempfile", "uuid"]
        stores = self.options.may_be_in_store
        modules += ["fcntl"] if self.packages else []
        modules += ["hashlib"] if self.packages or stores else []
        modules += ["tarfile"] if stores else []
        modules += ["random"] if self.varying else []
        modules += ["shlex"] if self.pods else []
        modules += ["time"] if self.varying and self.airflow == 2 else []
        retried = any(unit.task.settings.retry and unit.task.settings.retry.max_retries for unit in self.units)
        return [
            *(f"import {name}" for name in sorted(modules)),
            *(["from datetime import timedelta"] if self.timed or retried else []),
            "from pathlib import Path",
            f"from urllib.parse import {'quote, unquote, urlsplit' if stores else 'quote'}",
            "",
            *(["import pendulum"] if start_of(self.pipeline, self.options) else []),
            *self._airflow_imports(),
            *(["from kubernetes.client import models as k8s"] if self.pods else []),
        ]

    def _pod_imports(self) -> list[str]:
        if not self.pods:
            return []
        secret = any(unit.task.settings.secrets for unit in self.pods.values())
        return [
            f"from {KUBERNETES}.operators.pod import KubernetesPodOperator",
            *([f"from {KUBERNETES}.secret import Secret"] if secret else []),
        ]

    def _airflow_imports(self) -> list[str]:
        tasks = ["task", "task_group"] if self.layout.blocks else ["task"]
        if self.airflow == 3:
            names = ["DAG", *start_names(self.pipeline, self.options)]
            names += ["Param"] if self.pipeline.parameters else []
            names += ["RetryDecision", "RetryPolicy"] if self.varying else []
            names += ["TaskGroup"] if self.descriptions else []
            imported = arguments([*sorted(names, key=_import_order), "get_current_context", *tasks], 0, 24)
            raised = ", ".join(self._exceptions())
            return [
                *self._pod_imports(),
                f"from airflow.sdk import {_unbracketed(imported)}",
                *([f"from airflow.sdk.exceptions import {raised}"] if raised else []),
                *(["from airflow.sdk.log import mask_secret"] if self.secrets else []),
            ]
        raised = ", ".join([*self._exceptions(), *(["AirflowTaskTimeout"] if self.timed else [])])
        lines = [
            *self._pod_imports(),
            f"from airflow.decorators import {', '.join(tasks)}",
            *([f"from airflow.exceptions import {raised}"] if raised else []),
            *(["from airflow.models.param import Param"] if self.pipeline.parameters else []),
            "from airflow.operators.python import get_current_context",
            *(["from airflow.utils.log.secrets_masker import mask_secret"] if self.secrets else []),
            *(["from airflow.utils.task_group import TaskGroup"] if self.descriptions else []),
            *(f"from {module} import {name}" for name, module in start_names(self.pipeline, self.options).items()),
        ]
        return ["from airflow import DAG", *sorted(lines)]

    # --- the DAG ---

    def _dag_arguments(self) -> Iterator[str]:
        pipeline, pool = self.pipeline, self.options.pool
        yield f"dag_id={literal(dag_id(pipeline))}"
        if pipeline.description.strip():
            yield f"description={literal(_first_line(pipeline.description))}"
        yield "doc_md=__doc__"
        yield from start_arguments(pipeline, self.options)
        # A deployment may retry by default, and a step without `retry` is not retried.
        defaults: dict[str, Any] = {"owner": pipeline.owner} if pipeline.owner else {}
        defaults |= {"pool": pool} if pool else {}
        defaults |= {"priority_weight": 0, "weight_rule": "absolute"} if self.ranked else {}
        yield f"default_args={literal({**defaults, 'retries': 0}, 4, 17)}"
        if pipeline.tags:
            yield f"tags={literal(list(pipeline.tags), 4, 9)}"
        if pipeline.parameters:
            lines = [f"        {literal(each.name)}: {_param(each)},\n" for each in pipeline.parameters]
            yield "params={\n" + "".join(lines) + "    }"

    def _functions(self) -> Iterator[Function]:
        for unit in self.units:
            lists_places = self.layout.places.get(unit.id, "")
            if lists_places and unit.role != "main":
                yield self._places(unit, lists_places)
            yield self._function(unit)
            if lists_places and unit.role == "main":
                yield self._places(unit, lists_places)
            if unit.id in self.layout.summaries:
                yield self._added(
                    self.layout.summaries[unit.id],
                    "all_done",
                    f"Fails where `{unit.id}` did for an item. Without items it did not, whatever failed before it.",
                    f"return ended({literal(unit.id)})",
                )
        if self.layout.updated:
            yield self._added(
                self.layout.updated,
                "none_failed",
                "Tells the DAGs that wait for its outlets that these changed. No run with a failure comes here.",
                "",
                outlets(self.pipeline, self.options),
            )
        if self.layout.watcher:
            yield self._added(
                self.layout.watcher,
                "one_failed",
                "Fails, and with it the run, where a task failed: those that run in spite of that would hide it.",
                'raise AirflowFailException("a task failed")',
            )

    def _places(self, unit: Unit, id_: str) -> Function:
        what = unit.id if unit.role == "rollback" else f"{unit.id}_body"
        last_first = ", the last first" if unit.role == "rollback" else ""
        doc = f"Lists the items that `{what}` is for, by their numbers{last_first}."
        return self._added(id_, "all_done", doc, f"return places_of({literal(unit.id)})")

    def _added(self, id_: str, rule: str, doc: str, body: str, outlets: str = "") -> Function:
        """A function for what no node of the pipeline stands for."""
        name, group = self.names.functions[id_], self.wiring.group_of(id_)
        own_id = task_id(id_.removeprefix(f"{group}.") if group else id_)
        options = [] if own_id == name else [f"task_id={literal(own_id)}"]
        options.append(f"trigger_rule={literal(rule)}")
        options += [f"outlets={outlets}"] if outlets else []
        return Function(name, arguments(options, 4, len("    @task")), [], docstring(doc, 8), [], body)

    def _function(self, unit: Unit) -> Function:
        name = self.names.functions[unit.id]
        inputs = list(self.layout.handed(unit))
        mapped = ["index"] if unit.loops and unit.role != "main" else []  # a mapped task, not one of a mapped group
        parameters = [*mapped, *(argument_name(each) for each in inputs)]
        said = unit.step.description.strip() if isinstance(unit.node, Task) else ""
        doc, comments = docstring(said, 8) if said else "", list(said_unit(self.program, unit))
        settings = list(task_options(self.layout, unit, self.options))
        if unit.id in self.pods:
            return Function(name, None, parameters, doc, comments, self._pod(unit, inputs, settings))
        own_id = self._own_id(unit)
        options = [*([] if own_id == name else [f"task_id={literal(own_id)}"]), *settings]
        options += ["multiple_outputs=True"] if has_names(unit.step) else []
        given = [literal(unit.id), *(f"{each}={argument_name(each)}" for each in inputs)]
        decorated = arguments(options, 4, len("    @task")) if options else ""
        return Function(name, decorated, parameters, doc, comments, f"return run_step({', '.join(given)})")

    def _own_id(self, unit: Unit) -> str:
        """The id of a unit's task within its group."""
        groups = () if unit.loops else self.layout.groups(unit)
        return task_id(unit.id.removeprefix(f"{groups[-1]}.") if groups else unit.id)

    def _pod(self, unit: Unit, inputs: list[str], settings: list[str]) -> str:
        values = ", ".join(f"{literal(each)}: {argument_name(each)}" for each in inputs)
        given = [
            f"task_id={literal(self._own_id(unit))}",
            f"node={literal(unit.id)}",
            f"values={{{values}}}",
            *([f"doc_md={self.names.functions[unit.id]}.__doc__"] if unit.step.description.strip() else []),
            *pod_arguments(unit.task, self.options.step(unit), self.options),
            *settings,
        ]
        lines = "".join(f"            {each},\n" for each in given)
        return f"return StepPod(\n{lines}        ).output"


# --- parts ---


def needs_of(layout: Layout) -> frozenset[str]:
    """The parts of the code that runs a step which a DAG needs beyond those that every DAG does."""
    program, units = layout.program, layout.program.by_id.values()
    rules = {layout.rule(unit) for unit in units}
    gated = any(isinstance(unit.node, Gate) or unit.task.checks for unit in units)
    nested, timed = bool(layout.places), program.pipeline.timeout is not None
    found = {
        "decides": any(isinstance(unit.node, Branch) for unit in units),
        "loops": any(isinstance(unit.node, Loop) for unit in units),
        "nested": nested,
        "place": nested or gated or timed or rules != {""} or any(map(layout.pulled, units)),
        "waits": "all_done" in rules or bool(layout.summaries),
        "summaries": bool(layout.summaries),
        "gates": gated,
        "ends": bool(layout.endings),
        "rollbacks": bool(program.rollbacks),
        "checkpoints": any("checkpoint_dir" in module.text for module in program.pipeline.modules),
        "metadata": any("log_metadata" in module.text for module in program.pipeline.modules),
        "final": gated or "all_done" in rules or bool(layout.summaries) or timed,
    }
    return frozenset(name for name, is_needed in found.items() if is_needed)


def _param(parameter: ParameterSpec) -> str:
    given: list[str] = []
    tagged = False
    if not parameter.required:
        default = plain_default(parameter)
        tagged = is_tagged(default)
        given.append(literal(default, 12, 12))
    schema = schema_of(parameter.type, tagged)
    if schema == _FLOAT:
        given.append("**FLOAT")
        schema = {}
    if parameter.description:
        schema["description"] = parameter.description
    given += [f"{key}={literal(value, 12, 13 + len(key))}" for key, value in schema.items()]
    return f"Param{arguments(given, 8, 8 + len(literal(parameter.name)) + 7)}"


def _import_order(name: str) -> tuple[bool, str]:
    """Constants before classes, as isort has them."""
    return not name.isupper(), name


def _unbracketed(imported: str) -> str:
    """The names of an import; the brackets are needed only where they take several lines."""
    return imported if "\n" in imported else imported[1:-1]


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0]


def _attempt(is_reused: bool) -> str:
    """What the process of an attempt does, besides what the harness does; it is started once."""
    return embedded(attempt, reuse, reusing).replace(_START, "", 1) if is_reused else embedded(attempt)
