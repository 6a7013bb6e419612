"""A run's books: what each of its nodes came to, what that took, and what is written down and told of it."""

from __future__ import annotations

import json
import queue
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from penstock.event_log import FORMAT
from penstock.harness import decode, encode
from penstock.results import (
    AttemptFailed,
    AttemptStarted,
    Event,
    Listener,
    NodeEnded,
    NodeRun,
    Noticed,
    Run,
    State,
)
from penstock.spec import Loop
from penstock_backends.local.journal import Journal
from penstock_backends.local.layout import SUMMARY, log_of
from penstock_backends.local.objects import Json
from penstock_backends.local.outputs import Outputs
from penstock_backends.local.plan import PlannedNode
from penstock_backends.local.usage import together


class Books:
    """What has become of the nodes of one run.

    ``ended`` holds those that have ended, in that order; ``states`` those in which the pipeline's own nodes have.
    ``journal`` is where it is written down, in the run's folder; a listener is told of it. ``wake`` is called from
    other threads when they have noticed something that is to be told.
    """

    def __init__(self, folder: Path, outputs: Outputs, listener: Listener | None) -> None:
        self.journal = Journal(folder)
        self.ended: dict[str, tuple[PlannedNode, NodeRun]] = {}
        self.states: set[State] = set()
        self.wake: Callable[[], None] = _nothing
        self._folder = folder
        self._outputs = outputs
        self._listener = listener
        self._seconds: dict[str, float] = {}
        self._used: dict[str, Json] = {}
        self._failures: dict[str, int] = {}
        self._under_way: dict[str, float] = {}
        self._noticed: queue.SimpleQueue[Noticed] = queue.SimpleQueue()

    # --- attempts

    @property
    def under_way(self) -> tuple[str, ...]:
        """The nodes with an attempt that has begun and not ended."""
        return tuple(self._under_way)

    def attempts_of(self, node: PlannedNode) -> int:
        """How many attempts of a node have failed."""
        return self._failures.get(node.id, 0)

    def started(self, node: PlannedNode) -> int:
        """Takes note that a node is tried; the number of the attempt."""
        attempt = self.attempts_of(node) + 1
        self._under_way[node.id] = time.monotonic()
        self.journal.note("attempt_started", node=node.id, attempt=attempt)
        self.tell(AttemptStarted(node.id, attempt))
        return attempt

    def succeeded(self, node: PlannedNode, answer: Json) -> int:
        """Takes an attempt that has returned; how many there were."""
        attempts = self.attempts_of(node) + 1
        self._attempt_ended(node, attempts, State.SUCCEEDED, answer)
        return attempts

    def failed(self, node: PlannedNode, answer: Json, retry_in: float | None) -> None:
        """Takes a failed attempt; another follows in so many seconds, or none."""
        attempt = self._failures[node.id] = self.attempts_of(node) + 1
        self._attempt_ended(node, attempt, State.FAILED, answer, retry_in)
        if retry_in is not None:
            error, traceback = str(answer["error"]), str(answer.get("traceback", ""))
            seconds, usage = answer.get("seconds", 0.0), answer.get("usage", {})
            self.tell(AttemptFailed(node.id, attempt, error, traceback, retry_in, seconds, **usage))

    def broke_off(self, node: PlannedNode, state: State, error: str = "") -> None:
        """Counts the attempt of a node that is under way, if one is, though it will not come to its own end."""
        began = self._under_way.get(node.id)
        if began is not None:
            attempt = self._failures[node.id] = self.attempts_of(node) + 1
            self._attempt_ended(node, attempt, state, {"seconds": time.monotonic() - began, "error": error})

    def _attempt_ended(
        self, node: PlannedNode, attempt: int, state: State, answer: Json, retry_in: float | None = None
    ) -> None:
        self._under_way.pop(node.id, None)
        seconds, usage = answer.get("seconds", 0.0), answer.get("usage", {})
        self._seconds[node.id] = self._seconds.get(node.id, 0.0) + seconds
        self._used[node.id] = together(self._used[node.id], usage) if node.id in self._used else usage
        more = {
            **usage,
            **({"error": str(answer["error"])} if answer.get("error") else {}),
            **({} if retry_in is None else {"retry_in": retry_in}),
        }
        self.journal.note(
            "attempt_ended", node=node.id, attempt=attempt, state=state.value, seconds=round(seconds, 6), **more
        )

    # --- nodes

    def end(
        self,
        node: PlannedNode,
        state: State,
        *,
        attempts: int = 0,
        error: str = "",
        traceback: str = "",
        key: str = "",
        record: Json = None,
    ) -> NodeRun:
        """Takes note of what became of a node; ``record`` is what it gave, kept under ``key``."""
        given = record or {}
        outputs = given.get("outputs")
        log = log_of(self._folder, node.id, attempts) if attempts else None
        ended = NodeRun(
            node.id,
            state,
            attempts,
            self._seconds.get(node.id, 0.0),
            {name: decode(wire) for name, wire in given.get("metrics", {}).items()},
            error,
            traceback,
            log if log is not None and log.exists() else None,
            tuple(given.get("gates", ())),
            node.unit.node.kind,
            getattr(node.unit.node, "text", ""),
            len(outputs["items"]) if outputs and isinstance(node.unit.node, Loop) else None,
            None if outputs is None else lambda: self._outputs.returned(node, outputs),
            **self._used.get(node.id, {}),
            metadata={name: decode(wire) for name, wire in given.get("metadata", {}).items()},
        )
        self.ended[node.id] = (node, ended)
        if node.role == "main":
            self.states.add(state)
        said = {
            "kind": "" if ended.kind == "task" else ended.kind,
            "text": ended.text,
            "attempts": attempts,
            "metrics": _wires(ended.metrics),
            "metadata": _wires(ended.metadata),
            "gates": list(ended.gates),
            "error": error,
            "traceback": traceback,
            "result": key if outputs is not None else "",
        }
        self.journal.note(
            "node_ended", node=node.id, state=state.value, **{name: value for name, value in said.items() if value}
        )
        self.tell(NodeEnded(ended))
        return ended

    def main(self) -> list[NodeRun]:
        """What became of the pipeline's own nodes, in the author's order."""
        main = [each for each in self.ended.values() if each[0].role == "main"]
        return [ended for _, ended in sorted(main, key=lambda each: each[0].place)]

    def status(self, pipeline: str) -> Json:
        """How the pipeline itself went, as a `RunStatus`."""
        failures = {ended.id: ended.error for ended in self.main() if ended.state is State.FAILED}
        return {"pipeline": pipeline, "state": _whole(self.states).value, "failures": failures}

    # --- the run

    def close_run(self, run_id: str, pipeline: str, seconds: float, result: Callable[[], Any]) -> Run:
        """Writes down what the run came to."""
        others = [ended for node, ended in self.ended.values() if node.role != "main"]
        nodes = {ended.id: ended for ended in (*self.main(), *others)}
        state = _whole(ended.state for ended in nodes.values())
        run = Run(run_id, pipeline, state, nodes, self._folder, seconds, result)
        counts = Counter(node.state.value for node in nodes.values())
        self.journal.note("run_ended", state=state.value, seconds=run.seconds, counts=counts)
        draft = self._folder / f"{SUMMARY}.draft"
        draft.write_text(json.dumps(_summary(run), indent=1) + "\n", encoding="ascii")
        draft.replace(self._folder / SUMMARY)
        return run

    def tell(self, event: Event) -> None:
        """Tells the listener, if there is one."""
        if self._listener is not None:
            self._listener(event)

    def notice(self, event: str, node: str, text: str, /, **more: Json) -> None:
        """Writes down something to be seen, and has it told soon; to be called from other threads."""
        with suppress(OSError):  # a full disk: the run itself will tell of it
            self.journal.note(event, **({"node": node} if node else {}), text=text, **more)
        self._noticed.put(Noticed(event, node, text))
        self.wake()

    def tell_what_was_noticed(self) -> None:
        """Tells what other threads have noticed, in this one."""
        while not self._noticed.empty():
            self.tell(self._noticed.get())


def _nothing() -> None:
    """Wakes nobody."""


def _whole(states: Iterable[State]) -> State:
    """How a run went whose nodes ended so."""
    found = set(states)
    return next((each for each in (State.CANCELLED, State.FAILED) if each in found), State.SUCCEEDED)


def _wires(values: Mapping[str, object]) -> Json:
    return {name: encode(value) for name, value in values.items()}


def _summary(run: Run) -> Json:
    return {
        "format": FORMAT,
        "run": run.id,
        "pipeline": run.pipeline,
        "state": run.state.value,
        "seconds": round(run.seconds, 6),
        "nodes": {
            node.id: {
                "state": node.state.value,
                "attempts": node.attempts,
                "seconds": round(node.seconds, 6),
                "cpu_seconds": node.cpu_seconds,
                "peak_memory": node.peak_memory,
                "metrics": _wires(node.metrics),
                "metadata": _wires(node.metadata),
                "error": node.error,
                "gates": list(node.gates),
            }
            for node in run.nodes.values()
        },
    }
