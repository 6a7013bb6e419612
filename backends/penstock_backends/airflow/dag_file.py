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

import datetime as dt
import heapq
import inspect
import itertools
from collections.abc import Iterable, Iterator, Mapping
from graphlib import TopologicalSorter
from typing import Any, Literal, NamedTuple

from penstock.spec import (
    Binding,
    Group,
    Node,
    OutputBinding,
    ParameterBinding,
    ParameterSpec,
    PipelineSpec,
    RecordBinding,
    Task,
    TypeKind,
    TypeSpec,
    tasks,
    walk,
)
from penstock_backends.airflow import attempt
from penstock_backends.airflow.comments import said_call
from penstock_backends.airflow.references import is_whole, node_of, parts, referring
from penstock_backends.airflow.reserved import FILE, PYTHON, argument_name, free_name
from penstock_backends.airflow.settings import task_options, varies
from penstock_backends.airflow.source import arguments, ascii_id, docstring, identifier, literal, names_relied_on, table
from penstock_backends.airflow.tables import call_row, has_names, parameter_row, renamed_row, step_row, xcom_key
from penstock_backends.json_schema import is_tagged, plain_default, schema_of
from penstock_backends.lowering import dependencies, flatten_groups
from penstock_backends.rendering import harness_source, header, python_template

_FLOAT = schema_of(TypeSpec(kind=TypeKind.FLOAT))


def dag_id(pipeline: PipelineSpec) -> str:
    """The pipeline's name, or where Airflow does not take that, one like it."""
    return ascii_id(pipeline.name)


def task_id(node: str) -> str:
    """A node's id, or where Airflow does not take that, one like it."""
    return ".".join(map(ascii_id, node.split(".")))


class Function(NamedTuple):
    """A task function, its parts as source text."""

    name: str
    options: str
    parameters: list[str]
    doc: str
    call: str
    arguments: list[str]


class DagFile:
    """One DAG file, put together part by part."""

    def __init__(
        self, pipeline: PipelineSpec, airflow: Literal[3, 2], artifact_root: str, start_date: dt.date, pool: str
    ) -> None:
        self.pipeline, self.airflow, self.artifact_root = pipeline, airflow, artifact_root
        self.start_date, self.pool = start_date, pool
        self.tasks = {task.id: task for task in tasks(flatten_groups(pipeline).body)}
        self.steps = {step.id: step for step in pipeline.steps}
        self.groups = dict(_groups_of(pipeline.body, ()))
        self.descriptions = {node.id: node.description for node in walk(pipeline.body) if isinstance(node, Group)}
        self.after = {task.id: self._order_only(task) for task in self.tasks.values()}
        self.varying = any(varies(task.settings.retry) for task in self.tasks.values())
        self.packages = any(task.settings.packages is not None for task in self.tasks.values())
        self.timed = any(task.settings.timeout is not None for task in self.tasks.values())
        rows = {task.id: renamed_row(self.steps[task.step]) for task in self.tasks.values()}
        self.renamed = {id_: row for id_, row in rows.items() if row}
        self.code = python_template(
            "airflow_runtime.py.jinja",
            major=airflow,
            artifact_root=literal(artifact_root),
            packages=self.packages,
            varying=self.varying,
            timed=self.timed,
            renamed=bool(self.renamed),
        )
        self.names, self.results = self._python_names()

    def text(self, target: str) -> str:
        """The file; ``target`` is what to compile to, to make it again."""
        dag_arguments = list(self._dag_arguments())
        return python_template(
            "airflow.py.jinja",
            header=header(self.pipeline, target),
            version=self._version(),
            requirements=self._requirements(),
            doc=docstring(self.pipeline.description or f"The pipeline `{self.pipeline.name}`."),
            imports=self._imports(),
            uses_floats=any("**FLOAT" in line for line in dag_arguments),
            policies=self.varying and self.airflow == 3,
            dag_arguments=dag_arguments,
            functions=[self._function(task) for task in self.tasks.values()],
            wiring=[*self._task_calls(), *self._edges()],
            code=self.code,
            calls=table({task.id: call_row(task, self.airflow) for task in self.tasks.values()}),
            parameters=table({each.name: parameter_row(each) for each in self.pipeline.parameters}),
            steps=table({step.id: step_row(step) for step in self.pipeline.steps}),
            renamed=table(self.renamed) if self.renamed else "",
            modules=[(literal(module.name), module.text) for module in self.pipeline.modules],
            attempt=_below_imports(inspect.getsource(attempt)),
            harness=harness_source(),
        )

    # --- the head ---

    def _version(self) -> str:
        if self.airflow == 2:
            return "2.10 or newer, below 3"
        return "3.3 or newer (for RetryPolicy)" if self.varying else "3.0 or newer"

    def _requirements(self) -> list[str]:
        steps = (self.steps[task.step] for task in self.tasks.values() if task.settings.packages is None)
        return sorted({requirement for step in steps for requirement in step.requirements})

    def _imports(self) -> list[str]:
        modules = ["json", "logging", "os", "select", "shutil", "signal", "subprocess", "sys", "tempfile", "uuid"]
        modules += ["fcntl", "hashlib"] if self.packages else []
        modules += ["random"] if self.varying else []
        modules += ["time"] if self.varying and self.airflow == 2 else []
        retried = any(task.settings.retry and task.settings.retry.max_retries for task in self.tasks.values())
        return [
            *(f"import {name}" for name in sorted(modules)),
            *(["from datetime import timedelta"] if self.timed or retried else []),
            "from pathlib import Path",
            "from urllib.parse import quote",
            "",
            "import pendulum",
            *self._airflow_imports(),
        ]

    def _airflow_imports(self) -> list[str]:
        if self.airflow == 3:
            names = ["DAG"]
            names += ["Param"] if self.pipeline.parameters else []
            names += ["RetryDecision", "RetryPolicy"] if self.varying else []
            names += ["TaskGroup"] if self.descriptions else []
            return [f"from airflow.sdk import {', '.join([*names, 'get_current_context', 'task'])}"]
        return [
            "from airflow import DAG",
            "from airflow.decorators import task",
            *(["from airflow.exceptions import AirflowTaskTimeout"] if self.timed else []),
            *(["from airflow.models.param import Param"] if self.pipeline.parameters else []),
            "from airflow.operators.python import get_current_context",
            *(["from airflow.utils.task_group import TaskGroup"] if self.descriptions else []),
        ]

    # --- the DAG ---

    def _dag_arguments(self) -> Iterator[str]:
        pipeline, schedule, day = self.pipeline, self.pipeline.schedule, self.start_date
        yield f"dag_id={literal(dag_id(pipeline))}"
        if pipeline.description.strip():
            yield f"description={literal(_first_line(pipeline.description))}"
        yield "doc_md=__doc__"
        yield f"schedule={literal(schedule.cron if schedule else None)}"
        zone = literal(schedule.timezone if schedule else "UTC")
        yield f"start_date=pendulum.datetime({day.year}, {day.month}, {day.day}, tz={zone})"
        yield "catchup=False"
        # A deployment may retry by default, and a step without `retry` is not retried.
        defaults: dict[str, Any] = {"owner": pipeline.owner} if pipeline.owner else {}
        defaults |= {"pool": self.pool} if self.pool else {}
        yield f"default_args={literal({**defaults, 'retries': 0}, 4, 17)}"
        if pipeline.tags:
            yield f"tags={literal(list(pipeline.tags), 4, 9)}"
        if pipeline.parameters:
            lines = [f"        {literal(each.name)}: {_param(each)},\n" for each in pipeline.parameters]
            yield "params={\n" + "".join(lines) + "    }"

    def _function(self, task: Task) -> Function:
        step, name = self.steps[task.step], self.names[task.id]
        inputs = referring(task)
        group = self.groups[task.id][-1] if self.groups[task.id] else ""
        own_id = task_id(task.id.removeprefix(f"{group}."))
        options = [] if own_id == name else [f"task_id={literal(own_id)}"]
        options += task_options(task, self.airflow)
        options += ["multiple_outputs=True"] if has_names(step) else []
        return Function(
            name,
            arguments(options, 4, len("    @task")) if options else "",
            [argument_name(each) for each in inputs],
            docstring(step.description, 8) if step.description.strip() else "",
            said_call(task),
            [literal(task.id), *(f"{each}={argument_name(each)}" for each in inputs)],
        )

    def _task_calls(self) -> Iterator[str]:
        """The calls, each after those whose results it takes, inside of the groups that they belong to."""
        ordered = _in_order(self.tasks)
        reentered = _reentered([self.groups[id_] for id_ in ordered])
        opened: set[str] = set()
        path: tuple[str, ...] = ()
        for id_ in ordered:
            pairs = zip(path, self.groups[id_], strict=False)
            depth = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
            path = self.groups[id_]
            for level in range(depth, len(path)):
                yield "    " * level + self._with_group(path[level], path[level] in reentered, path[level] in opened)
                opened.add(path[level])
            yield "    " * len(path) + self._task_call(self.tasks[id_], 4 + 4 * len(path))

    def _with_group(self, id_: str, named: bool, again: bool) -> str:
        variable = f"{identifier(id_)}_group"
        if again:
            return f"with {variable}:"
        description = self.descriptions[id_]
        tooltip = f", tooltip={literal(_first_line(description))}" if description.strip() else ""
        own_id = literal(task_id(id_.rpartition(".")[2]))
        return f"with TaskGroup({own_id}{tooltip}){f' as {variable}' if named else ''}:"

    def _task_call(self, task: Task, indent: int) -> str:
        given = [self._argument(argument_name(name), each, indent + 4) for name, each in referring(task).items()]
        start = f"{self.results[task.id]} = " if self.results[task.id] else ""
        start += self.names[task.id]
        return start + arguments(given, indent, indent + len(start))

    def _argument(self, name: str, binding: Binding, indent: int) -> str:
        if isinstance(binding, (ParameterBinding, OutputBinding)) or is_whole(binding):
            return f"{name}={self._part(next(parts(binding)))}"
        items = [self._part(each) for each in parts(binding)]
        return f"{name}={arguments(items, indent, indent + len(name) + 2, '[]')}"

    def _part(self, part: ParameterBinding | OutputBinding | RecordBinding) -> str:
        if isinstance(part, ParameterBinding):
            return f"dag.param({literal(part.name)})"
        if isinstance(part, RecordBinding):
            return self.results[node_of(part)]
        named = has_names(self.steps[self.tasks[part.node].step])
        return self.results[part.node] + (f"[{literal(xcom_key(part.output))}]" if named else "")

    def _edges(self) -> Iterator[str]:
        """The lines for what tasks wait for beside the outputs that they take."""
        lines = [
            f"{names[0] if len(names) == 1 else '[' + ', '.join(names) + ']'} >> {self.results[id_]}"
            for id_, names in ((id_, [self.results[other] for other in after]) for id_, after in self.after.items())
            if names
        ]
        if lines:
            yield from ("", *lines)

    def _order_only(self, task: Task) -> list[str]:
        """What a task is ``after``, without what is before that, or before its data, anyway."""
        after = [other for other in task.after if other not in dependencies(task)]
        if not after:
            return []
        seen: set[str] = set()
        waiting = [before for start in (*after, *dependencies(task)) for before in self._before(start)]
        while waiting:
            id_ = waiting.pop()
            if id_ not in seen:
                seen.add(id_)
                waiting += self._before(id_)
        return [other for other in after if other not in seen]

    def _before(self, id_: str) -> tuple[str, ...]:
        return (*dependencies(self.tasks[id_]), *self.tasks[id_].after)

    def _python_names(self) -> tuple[dict[str, str], dict[str, str]]:
        """For each task its function's name, and the name of its call's result (empty where nothing refers to it)."""
        taken = {
            *names_relied_on(self.code),
            *FILE,
            *PYTHON,
            *(f"{identifier(id_)}_group" for id_ in self.descriptions),
        }
        wanted = {other for task in self.tasks.values() for other in dependencies(task)}
        wanted |= {other for after in self.after.values() for other in after}
        wanted |= {id_ for id_, after in self.after.items() if after}
        names = {id_: free_name(identifier(id_), taken) for id_ in self.tasks}
        results = {
            id_: free_name(f"{names[id_].rstrip('_')}_task", taken) if id_ in wanted else "" for id_ in self.tasks
        }
        return names, results


# --- parts ---


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


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0]


def _below_imports(source: str) -> str:
    lines = source.splitlines(keepends=True)
    last = max(index for index, line in enumerate(lines) if line.startswith(("import ", "from ")))
    return "".join(lines[last + 1 :])


def _groups_of(body: Iterable[Node], above: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each task's id with the ids of the groups that hold it, outermost first."""
    for node in body:
        if isinstance(node, Task):
            yield node.id, above
        else:
            yield from _groups_of(node.body, (*above, node.id))


def _in_order(by_id: Mapping[str, Task]) -> list[str]:
    """The ids so that each comes after those it takes data from, and else in the author's order."""
    place = {id_: index for index, id_ in enumerate(by_id)}
    sorter = TopologicalSorter({id_: dependencies(task) for id_, task in by_id.items()})
    sorter.prepare()
    ready: list[tuple[int, str]] = []
    ordered: list[str] = []
    while sorter.is_active():
        for id_ in sorter.get_ready():
            heapq.heappush(ready, (place[id_], id_))
        ordered.append(heapq.heappop(ready)[1])
        sorter.done(ordered[-1])
    return ordered


def _reentered(paths: Iterable[tuple[str, ...]]) -> set[str]:
    """The groups that are left and entered again on the way along the tasks' groups."""
    left: set[str] = set()
    found: set[str] = set()
    before: tuple[str, ...] = ()
    for path in paths:
        left |= set(before) - set(path)
        found |= left & set(path)
        before = path
    return found
