"""One run's books: what each node came to, what it gave, and what is written down of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from penstock.backend import Definition
from penstock.harness import Inputs, assemble, decode, encode, load_artifact, retry_delay
from penstock.results import (
    AttemptFailed,
    AttemptStarted,
    Event,
    NodeEnded,
    NodeRun,
    Run,
    RunEnded,
    RunStarted,
    State,
)
from penstock.spec import Returns
from penstock_backends.local.cache import Keys
from penstock_backends.local.names import LiveNames
from penstock_backends.local.objects import Json, located
from penstock_backends.local.plan import PlannedNode, graph_of, plan_of
from penstock_backends.local.store import Store
from penstock_backends.lowering import dependencies, kind_of

RUN_VERSION = 1
Listener = Callable[[Event], object]


class Execution:
    """A run under way.

    Whoever executes it asks `waiting` once and then tells, node by node, what came of it; the answer says which nodes
    may run next. ``outputs`` holds the published wires of the nodes that succeeded.
    """

    def __init__(
        self, definition: Definition, parameters: Mapping[str, Json], store: Store, listener: Listener | None
    ) -> None:
        self.definition = definition
        self.spec = definition.spec
        self.parameters = dict(parameters)
        self.store = store
        self.names = LiveNames(definition)
        self.plan = plan_of(self.spec)
        self.outputs: dict[str, dict[str, Json]] = {}
        self.id, self.folder = store.new_run()
        self._graph = graph_of(self.plan)
        self._keys = Keys(self.spec)
        self._listener = listener
        self._nodes: dict[str, NodeRun] = {}
        self._seconds: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._asked: dict[str, int] = {}
        self._under_way: dict[str, float] = {}
        self._began = time.monotonic()
        self._journal = os.open(self.folder / "events.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def begin(self) -> list[PlannedNode]:
        """Writes down what is to run, and returns the nodes that may run at once."""
        (self.folder / "spec.json").write_text(self.spec.model_dump_json() + "\n", encoding="utf-8")
        (self.folder / "parameters.json").write_text(json.dumps(self.parameters) + "\n", encoding="ascii")
        self._note("run_started", run=self.id, pipeline=self.spec.name, format=RUN_VERSION)
        self._tell(RunStarted(self.id, self.spec.name, tuple(self.plan), self.folder))
        return self._planned(self._graph.roots())

    def is_over(self) -> bool:
        """Whether every node has come to its end."""
        return len(self._nodes) == len(self.plan)

    def key(self, node: PlannedNode) -> str:
        """The cache key of a node whose inputs are all there; to be asked for once.

        A node that is not to be cached has a key that nothing else has. Two equal calls in one run are two
        computations, as in plain Python: the second one has a key of its own.
        """
        settings = node.task.settings
        key = self._keys.key(node.step, settings, node.arguments, self.parameters, self.outputs)
        if not settings.cache:
            return self._keys.variant(key, self.id, node.id)
        times = self._asked[key] = self._asked.get(key, 0) + 1
        return key if times == 1 else self._keys.variant(key, times)

    def attempts_of(self, node: PlannedNode) -> int:
        """How many attempts of a node have failed."""
        return self._failures.get(node.id, 0)

    def log_file(self, node: PlannedNode, attempt: int) -> Path:
        """Where what an attempt prints is kept."""
        return self.folder / "logs" / f"{quote(node.id, safe='')}.{attempt}.log"

    def found(self, node: PlannedNode, key: str) -> list[PlannedNode] | None:
        """Ends a node by an earlier result, if there is one; the nodes that may now run."""
        record = self.store.result(key) if node.task.settings.cache else None
        return None if record is None else self._good(node, State.CACHED, key, record, attempts=0)

    def started(self, node: PlannedNode) -> int:
        """Notes that a node is tried; the number of the attempt."""
        attempt = self.attempts_of(node) + 1
        self._under_way[node.id] = time.monotonic()
        self._note("attempt_started", node=node.id, attempt=attempt)
        self._tell(AttemptStarted(node.id, attempt))
        return attempt

    def succeeded(self, node: PlannedNode, key: str, record: Json) -> list[PlannedNode]:
        """Ends a node by what its attempt returned; the nodes that may now run."""
        self._spend(node, record)
        return self._good(node, State.SUCCEEDED, key, record, attempts=self.attempts_of(node) + 1)

    def failed(self, node: PlannedNode, answer: Json) -> float | None:
        """Takes a failed attempt; the seconds to wait before the next, or None, where the node has failed with it."""
        attempt = self._failures[node.id] = self.attempts_of(node) + 1
        self._spend(node, answer)
        error, traceback = str(answer["error"]), str(answer.get("traceback", ""))
        retry = node.task.settings.retry
        if retry is not None and attempt <= retry.max_retries:
            delay = retry_delay(retry.model_dump(), attempt)
            self._note("attempt_failed", node=node.id, attempt=attempt, error=error, retry_in=delay)
            self._tell(AttemptFailed(node.id, attempt, error, traceback, delay))
            return delay
        self._end(node, State.FAILED, attempts=attempt, error=error, traceback=traceback)
        for lost in self._planned(self._graph.failed(node.id)):
            self._end(lost, State.UPSTREAM_FAILED, error=f"`{node.id}` failed")
        return None

    def cancel(self) -> None:
        """Ends every node that has not ended; the attempts that were under way count."""
        for node in self.plan.values():
            began = self._under_way.get(node.id)
            if began is not None:
                self._failures[node.id] = self.attempts_of(node) + 1
                self._spend(node, {"seconds": time.monotonic() - began})
            if node.id not in self._nodes:
                self._end(node, State.CANCELLED, attempts=self.attempts_of(node))

    def close(self) -> None:
        """Lets go of the run's folder."""
        os.close(self._journal)

    def end(self) -> Run:
        """Writes down what the run came to."""
        nodes = {id_: self._nodes[id_] for id_ in self.plan}
        states = {node.state for node in nodes.values()}
        state = (
            State.CANCELLED
            if State.CANCELLED in states
            else State.FAILED
            if State.FAILED in states
            else State.SUCCEEDED
        )
        run = Run(self.id, self.spec.name, state, nodes, self.folder, time.monotonic() - self._began, self._result)
        self._note("run_ended", state=state.value, seconds=run.seconds)
        draft = self.folder / "run.json.draft"
        draft.write_text(json.dumps(_summary(run), indent=1) + "\n", encoding="ascii")
        draft.replace(self.folder / "run.json")
        self._tell(RunEnded(run))
        return run

    def wires_for(self, node: PlannedNode) -> dict[str, dict[str, Json]]:
        """The published outputs that a node takes, by node and output."""
        return {each: self.outputs[each] for each in dependencies(node.task)}

    def _good(self, node: PlannedNode, state: State, key: str, record: Json, attempts: int) -> list[PlannedNode]:
        self.outputs[node.id] = record["outputs"]
        metrics = {name: decode(wire) for name, wire in record["metrics"].items()}
        self._end(node, state, attempts=attempts, metrics=metrics, key=key)
        return self._planned(self._graph.succeeded(node.id))

    def _end(
        self,
        node: PlannedNode,
        state: State,
        *,
        attempts: int = 0,
        metrics: Mapping[str, float] | None = None,
        error: str = "",
        traceback: str = "",
        key: str = "",
    ) -> None:
        log = self.log_file(node, attempts) if attempts else None
        ended = NodeRun(
            node.id,
            state,
            attempts,
            self._seconds.get(node.id, 0.0),
            dict(metrics or {}),
            error,
            traceback,
            log if log is not None and log.exists() else None,
            lambda: self._returned(node),
        )
        self._nodes[node.id] = ended
        said = {
            "attempts": attempts,
            "metrics": _wires(ended.metrics),
            "error": error,
            "traceback": traceback,
            "result": key,
        }
        self._note(
            "node_ended", node=node.id, state=state.value, **{name: value for name, value in said.items() if value}
        )
        self._tell(NodeEnded(ended))

    def _spend(self, node: PlannedNode, answer: Json) -> None:
        self._under_way.pop(node.id, None)
        self._seconds[node.id] = self._seconds.get(node.id, 0.0) + answer.get("seconds", 0.0)

    def _planned(self, ids: list[str]) -> list[PlannedNode]:
        return [self.plan[id_] for id_ in ids]

    def _note(self, event: str, **more: Json) -> None:
        line = json.dumps({"time": round(time.time(), 6), "event": event, **more}, separators=(",", ":"))
        os.write(self._journal, line.encode("ascii") + b"\n")

    def _tell(self, event: Event) -> None:
        if self._listener is not None:
            self._listener(event)

    def located(self, node: str, wires: Mapping[str, Json]) -> dict[str, Json]:
        """A node's wires with places to read them from; a path is a copy that stays with the run."""
        place = self.folder / "outputs" / quote(node, safe="")
        return {name: located(wire, place / name, self.store.objects) for name, wire in wires.items()}

    def _returned(self, node: PlannedNode) -> Any:
        with self.names.canonical():
            values = {
                name: decode(wire, self.names.find, lambda reference: load_artifact(reference, self.names.find))
                for name, wire in self.located(node.id, self.outputs[node.id]).items()
            }
        return _joined(values, node.step.returns, self.names)

    def _result(self) -> Any:
        if self.spec.result is None:
            return None
        used = _LazyOutputs(self)
        kinds = {parameter.name: kind_of(parameter.type) for parameter in self.spec.parameters}
        with self.names.canonical():
            inputs = Inputs(self.parameters, kinds, used, self.names.find)
            return inputs.resolve(self.spec.result.model_dump(mode="json"))


class _LazyOutputs(dict[str, Mapping[str, Json]]):
    """The outputs of nodes with places to read them from, made as they are asked for."""

    def __init__(self, execution: Execution) -> None:
        super().__init__()
        self._execution = execution

    def __missing__(self, node: str) -> Mapping[str, Json]:
        self[node] = self._execution.located(node, self._execution.outputs[node])
        return self[node]


def _joined(values: Mapping[str, Any], returns: Returns, names: LiveNames) -> Any:
    if returns.kind == "none":
        return None
    if returns.kind == "value":
        return next(iter(values.values()))
    if returns.kind == "tuple":
        return tuple(values.values())
    return assemble(names.find(returns.type), values)


def _wires(metrics: Mapping[str, float]) -> Json:
    return {name: encode(value) for name, value in metrics.items()}


def _summary(run: Run) -> Json:
    return {
        "format": RUN_VERSION,
        "run": run.id,
        "pipeline": run.pipeline,
        "state": run.state.value,
        "seconds": round(run.seconds, 6),
        "nodes": {
            node.id: {
                "state": node.state.value,
                "attempts": node.attempts,
                "seconds": round(node.seconds, 6),
                "metrics": _wires(node.metrics),
                "error": node.error,
            }
            for node in run.nodes.values()
        },
    }
