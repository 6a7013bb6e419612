"""A run under way: which of its nodes may run, what there is of them already, and what runs at its end."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from penstock import __version__
from penstock.backend import Definition
from penstock.event_log import FORMAT
from penstock.harness import FAILURES, RUN_OUT_OF_TIME, Inputs, Place, instance, retry_delay
from penstock.results import Listener, Run, RunEnded, RunStarted, State
from penstock_backends.local.books import Books
from penstock_backends.local.cache import PYTHON, Keys
from penstock_backends.local.commits import commit_at
from penstock_backends.local.disk import told_of_room
from penstock_backends.local.given_secrets import Secrets
from penstock_backends.local.graph import Key, graph_of
from penstock_backends.local.layout import CHECKPOINTS, PARAMETERS, SPEC
from penstock_backends.local.names import LiveNames
from penstock_backends.local.objects import Json
from penstock_backends.local.outputs import Outputs
from penstock_backends.local.plan import PlannedNode, node_of, plan_of
from penstock_backends.local.resuming import ANEW, Resumption
from penstock_backends.local.settling import settled_job
from penstock_backends.local.store import Store
from penstock_backends.local.trace_context import TraceContext
from penstock_backends.lowering import program_of

NO_SECRETS = Secrets({})


class Execution:
    """A run under way.

    Whoever executes it takes nodes from ``runnable`` until it `is_over`, and tells of each what came of it, which may
    add more; ``books`` keeps that. ``resumption`` says which earlier runs it goes on with, ``secrets`` which values of
    secrets there are. ``trace`` is the trace that it is part of, where it is traced.
    """

    def __init__(
        self,
        definition: Definition,
        parameters: Mapping[str, Json],
        store: Store,
        listener: Listener | None,
        resumption: Resumption = ANEW,
        secrets: Secrets = NO_SECRETS,
    ) -> None:
        self.secrets = secrets
        self.definition = definition
        self.spec = definition.spec
        self.parameters = dict(parameters)
        self.store = store
        self.names = LiveNames(definition)
        self.program = program_of(self.spec)
        self.plan = plan_of(self.program)
        self.runnable: deque[PlannedNode] = deque()
        self.is_over = False
        self.id, self.folder = store.new_run()
        self.outputs = Outputs(definition, self.names, store.objects, self.folder)
        self.books = Books(self.folder, self.outputs, listener)
        self._graph = graph_of(self.program)
        self._keys = Keys(self.spec)
        self._open: dict[str, PlannedNode] = {}
        self._endings: deque[PlannedNode] | None = None
        self._unsuccessful: dict[str, list[str]] = {}
        self._status: Json = None
        self._results: dict[str, str] = {}
        self._is_out_of_time = False
        self._asked: dict[str, int] = {}
        self._resumption = resumption
        self._taken_over: set[str] = set()
        self._works: dict[str, str] = {}
        self._checkpoints = (resumption.folder or self.folder) / CHECKPOINTS
        self._began = time.monotonic()
        self.trace: TraceContext | None = None

    def begin(self) -> None:
        """Writes down what is to run, and makes runnable what may run at once."""
        spec = self.spec.model_dump_json().encode("utf-8")
        (self.folder / SPEC).write_bytes(spec + b"\n")
        (self.folder / PARAMETERS).write_text(json.dumps(self.parameters) + "\n", encoding="ascii")
        traced = {} if self.trace is None else {"trace": self.trace.trace}
        self.books.journal.note("run_started", **self._heading(), spec=hashlib.sha256(spec).hexdigest(), **traced)
        self.books.tell(RunStarted(self.id, self.spec.name, tuple(self.plan), self.folder))
        self._admit(self._graph.begin())

    def is_open(self, node: PlannedNode) -> bool:
        """Whether a node was made runnable and has not ended."""
        return node.id in self._open

    def key(self, node: PlannedNode) -> str:
        """The cache key of a node whose inputs are all there; to be asked for once.

        A node that is not to be cached has a key that nothing else has, but for the runs that go on with this one. Two
        equal calls in one run are two computations, as in plain Python: the second one has a key of its own.
        """
        key = self._keys.key(node.step, node.settings, self.job_for(node), self.parameters, self.outputs.wires)
        self._works[node.id] = key
        if not node.is_cached:
            return self._key_of_one_run(node, key)
        times = self._asked[key] = self._asked.get(key, 0) + 1
        return key if times == 1 else self._keys.variant(key, times)

    def job_for(self, node: PlannedNode) -> Json:
        """What of a node's job differs from call to call, its bindings settled (see `settling`)."""
        return settled_job(node, self.outputs.wires, self._status)

    @property
    def is_ending(self) -> bool:
        """Whether the pipeline's own nodes have ended, so that what runs at the end of a run is next."""
        return self._endings is not None

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._began

    def seconds_left(self, node: PlannedNode | None = None) -> float:
        """How long the pipeline's timeout lets its nodes, or one of them, run on; infinite where it doesn't bound."""
        bounded = self._endings is None if node is None else node.role == "main"
        if self.spec.timeout is None or not bounded:
            return math.inf
        return self._began + self.spec.timeout - time.monotonic()

    def checkpoints_of(self, node: PlannedNode) -> Path:
        """Where a node that has a key keeps what it goes on from: by its inputs, its code and its place."""
        return self._checkpoints / self._keys.variant(self._works[node.id], node.id)

    def errand_before(self, node: PlannedNode, key: str) -> Callable[[], None] | None:
        """What takes time, and is to be done before `found` can tell; None where it can at once."""
        if self.store.sharing is None or not (node.is_cached or self._resumption.runs):
            return None
        return self.store.sharing.errand(key, node.task.rollback is not None)

    def found(self, node: PlannedNode, key: str) -> bool:
        """Ends a node by an earlier result, if there is one."""
        record = self._usable(key) if node.is_cached or self._resumption.runs else None
        if record is None:
            return False
        if self._resumption.has_done(node.id, key):
            self._taken_over.add(node.id)
        self._good(node, State.CACHED, key, record)
        return True

    def succeeded(self, node: PlannedNode, key: str, record: Json) -> None:
        """Ends a node by what its attempt returned."""
        attempts = self.books.succeeded(node, record)
        if self._checkpoints.is_dir():
            shutil.rmtree(self.checkpoints_of(node), ignore_errors=True)
        self._good(node, State.SUCCEEDED, key, record, attempts)

    def failed(self, node: PlannedNode, key: str, answer: Json) -> float | None:
        """Takes a failed attempt; the seconds to wait before the next, or None, where the node has failed with it."""
        answer = {**answer, "error": told_of_room(str(answer["error"]), self.store.folder)}
        attempt, retry = self.books.attempts_of(node) + 1, node.settings.retry
        is_tried_again = retry is not None and attempt <= retry.max_retries and not answer.get("final")
        delay = retry_delay(retry.model_dump(), attempt) if retry is not None and is_tried_again else None
        self.books.failed(node, answer, delay)
        if delay is None:
            error, traceback = answer["error"], str(answer.get("traceback", ""))
            self._end(node, State.FAILED, attempt, error=error, traceback=traceback, key=key, record=answer)
            self._go_on_after(node)
        return delay

    def run_out_of_time(self) -> None:
        """Ends the pipeline's own nodes because its timeout has passed; what runs at the end of a run is next."""
        self._is_out_of_time = True
        for node in [each for each in self._open.values() if each.role == "main"]:
            self.books.broke_off(node, State.FAILED, RUN_OUT_OF_TIME)
            self._end(node, State.FAILED, self.books.attempts_of(node), error=RUN_OUT_OF_TIME)
            self._go_on_after(node)

    def cancel(self) -> None:
        """Ends every node that has not ended; attempts that were under way count.

        What runs on exit is next, unless this comes while it runs.
        """
        was_ending, is_exiting = self._endings, any(node.role == "on_exit" for node in self._open.values())
        left = [*self._open.values(), *map(self._node, self._graph.waiting() if was_ending is None else ())]
        self.books.states.add(State.CANCELLED)
        self._cancel_all(sorted(left, key=lambda node: node.place))
        if was_ending is None:
            self._begin_endings()
            return
        self._status = self.books.status(self.spec.name)
        self._cancel_all(node for node in was_ending if is_exiting or node.role != "on_exit")
        self._endings = deque(node for node in was_ending if not is_exiting and node.role == "on_exit")
        self._next_ending()

    def close(self) -> None:
        """Lets go of the run's folder."""
        self.books.journal.close()

    def end(self) -> Run:
        """Writes down what the run came to."""
        run = self.books.close_run(
            self.id, self.spec.name, self.seconds, lambda: self.outputs.result(self.program, self.parameters)
        )
        if run.state.is_good:
            shutil.rmtree(self._checkpoints, ignore_errors=True)
        self.books.tell(RunEnded(run))
        return run

    # --- what is there already

    def _key_of_one_run(self, node: PlannedNode, key: str) -> str:
        """The key of what is not to be cached: for this run alone, or that of a run that it goes on with."""
        for run in self._resumption.runs if node.role == "main" else ():
            earlier = self._keys.variant(key, run, node.id)
            if self.store.sharing is not None and self._resumption.has_done(node.id, earlier):
                self.store.sharing.bring(earlier)
            if self._usable(earlier) is not None:
                return earlier
        return self._keys.variant(key, self.id, node.id)

    def _usable(self, key: str) -> Json:
        """The result of a key, where it may stand in; None where it is missing, a failure, or was undone."""
        record = self.store.result(key)
        return None if record is None or "error" in record or "undone" in record else record

    # --- what is next

    def _admit(self, keys: Iterable[Key]) -> None:
        """Takes nodes for which there is nothing to wait any more: ends what must not run, makes the rest runnable."""
        pending = deque(keys)
        while pending:
            key = pending.popleft()
            node = self._node(key)
            state, error = self._obstacle(node)
            if not state and self._is_out_of_time:
                state, error = State.FAILED, RUN_OUT_OF_TIME
            if not state:
                self._hand_out(node)
                continue
            self._end(node, state, error=error)
            pending.extend(self._graph.ended(key, is_good=False))
        if self._graph.is_over and self._endings is None:
            self._begin_endings()

    def _node(self, key: Key) -> PlannedNode:
        unit, index = key
        return node_of(self.plan[unit], index)

    def _hand_out(self, node: PlannedNode) -> None:
        self._open[node.id] = node
        self.runnable.append(node)

    def _go_on_after(self, node: PlannedNode) -> None:
        if node.role != "main":
            self._next_ending()
            return
        _, ended = self.books.ended[node.id]
        self._admit(self._graph.ended((node.unit.id, node.index), ended.state.is_good, ended.size or 0))

    def _obstacle(self, node: PlannedNode) -> tuple[State | None, str]:
        """Why a node of the pipeline itself must not run: its state, and the error to give with it."""
        key = (node.unit.id, node.index)
        if not self._graph.is_troubled(key) and not node.unit.arms:
            return None, ""
        others = self._graph.unsuccessful(key)
        return self._judged(node, {instance(*other): self._state_of(instance(*other)) for other in others})

    def _judged(self, node: PlannedNode, states: Mapping[str, str]) -> tuple[State | None, str]:
        inputs = Inputs({}, {}, self.outputs.wires, job=node.planned.job, place=Place(node.index, states))
        obstacle = inputs.obstacle(node.planned.job)
        if obstacle != State.UPSTREAM_FAILED.value:
            return (State(obstacle) if obstacle else None), ""
        culprit = next(name for name, state in states.items() if state in FAILURES)
        _, ended = self.books.ended[culprit]
        return State.UPSTREAM_FAILED, ended.error if ended.state is State.UPSTREAM_FAILED else f"`{culprit}` failed"

    def _state_of(self, name: str) -> str:
        return self.books.ended[name][1].state.value

    # --- the end of a run

    def _begin_endings(self) -> None:
        for node, ended in self.books.ended.values():
            if not ended.state.is_good:
                self._unsuccessful.setdefault(node.unit.id, []).append(node.id)
        self._status = self.books.status(self.spec.name)
        self._endings = deque(self._ending_nodes())
        self._next_ending()

    def _ending_nodes(self) -> Iterator[PlannedNode]:
        indices: dict[str, list[tuple[int, ...]]] = {unit.node.id: [] for unit in self.program.rollbacks}
        for node, _ in self.books.ended.values():
            if node.unit.id in indices:
                indices[node.unit.id].append(node.index)
        for unit in self.program.rollbacks:
            yield from (node_of(self.plan[unit.id], index) for index in sorted(indices[unit.node.id], reverse=True))
        yield from (node_of(self.plan[unit.id], ()) for unit in (*self.program.on_failure, *self.program.on_exit))

    def _next_ending(self) -> None:
        """Makes the next of the nodes at the end of a run runnable; they run one after another."""
        while self._endings:
            node = self._endings.popleft()
            state, error = self._ending_obstacle(node)
            if not state:
                self._hand_out(node)
                return
            self._end(node, state, error=error)
        self.is_over = True

    def _ending_obstacle(self, node: PlannedNode) -> tuple[State | None, str]:
        has_failed = State.FAILED in self.books.states and State.CANCELLED not in self.books.states
        if node.role != "on_exit" and not has_failed:
            return State.SKIPPED, ""
        if node.role == "rollback":
            undone = instance(node.unit.node.id, node.index)
            if self._state_of(undone) != State.SUCCEEDED.value and undone not in self._taken_over:
                return State.SKIPPED, ""
            self._forget(self._results[undone])
        used = self.program.data(node.unit)
        return self._judged(
            node, {name: self._state_of(name) for unit in used for name in self._unsuccessful.get(unit, ())}
        )

    def _forget(self, key: str) -> None:
        """Has a result stand in for no further call: what is undone must be done again."""
        record = self.store.result(key)
        if record is not None:
            self.store.add_result(key, {**record, "undone": True})
            if self.store.sharing is not None:
                self.store.sharing.share(key)

    def _cancel_all(self, nodes: Iterable[PlannedNode]) -> None:
        for node in nodes:
            self.books.broke_off(node, State.CANCELLED)
            self._end(node, State.CANCELLED, self.books.attempts_of(node))

    # --- the ends of nodes

    def _good(self, node: PlannedNode, state: State, key: str, record: Json, attempts: int = 0) -> None:
        self.outputs.add(node, record["outputs"])
        if node.task.rollback is not None:
            self._results[node.id] = key
        self._end(node, state, attempts, key=key, record=record)
        self._go_on_after(node)

    def _end(self, node: PlannedNode, state: State, attempts: int = 0, **more: Any) -> None:
        self._open.pop(node.id, None)
        self.books.end(node, state, attempts=attempts, **more)

    def _heading(self) -> Json:
        """What the journal says of the run as a whole."""
        here = Path.cwd()
        commit = commit_at(self.definition.folder or here)
        return {
            "run": self.id,
            "pipeline": self.spec.name,
            "format": FORMAT,
            "version": __version__,
            "python": PYTHON,
            "target": _relative(self.definition.target, here),
            "directory": str(here),
            **({"commit": commit} if commit else {}),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            **({"resumes": self._resumption.runs[0]} if self._resumption.runs else {}),
        }


def _relative(target: str, folder: Path) -> str:
    """A target as it is named in a folder."""
    return target.removeprefix(f"{folder}{os.sep}")
