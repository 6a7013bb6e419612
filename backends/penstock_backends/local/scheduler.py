"""Runs a pipeline's steps in worker processes: as many at once as there are workers, and as the budget has room for."""

from __future__ import annotations

import heapq
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from penstock.spec import ResourcesSpec
from penstock_backends.local import preloading
from penstock_backends.local.environments import InstallError, environments_folder, python_with
from penstock_backends.local.execution import Execution
from penstock_backends.local.objects import is_artifact
from penstock_backends.local.plan import Budget, PlannedNode
from penstock_backends.local.workers import Kind, Workers

Json = Any
NOTHING = ResourcesSpec()
INTERRUPTING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_in_workers(execution: Execution, budget: Budget, max_workers: int) -> None:
    """Brings every node of an execution to its end; Ctrl-C cancels what is left, and ends what is under way."""
    scheduler = Scheduler(execution, budget, max_workers)
    with _stopping_on_interrupt(scheduler):
        try:
            scheduler.run()
        except KeyboardInterrupt:  # from a handler that was set meanwhile
            scheduler.is_stopped = True
        finally:
            scheduler.close()
        if scheduler.is_stopped:
            execution.cancel()


@dataclass(frozen=True)
class _Ready:
    """A node whose inputs are there, and what to run it with."""

    node: PlannedNode
    key: str
    kind: Kind


class Scheduler:
    """Decides what runs when. It reacts to events only, and does a bounded amount of work for each."""

    def __init__(self, execution: Execution, budget: Budget, max_workers: int) -> None:
        self.is_stopped = False
        self._execution = execution
        self._free = budget
        self._slots = max_workers
        # By what they ask for, so that finding what fits takes a look at each kind of request, not at each node.
        self._ready: dict[ResourcesSpec, list[tuple[int, _Ready]]] = {}
        self._running: dict[str, _Ready] = {}
        self._waiting: list[tuple[float, int, _Ready]] = []
        self._workers = Workers(execution.definition, execution.store, execution.folder, max_workers)
        self._installer: ThreadPoolExecutor | None = None
        self._installed: queue.SimpleQueue[tuple[PlannedNode, str, Kind | InstallError]] = queue.SimpleQueue()

    def run(self) -> None:
        """Runs until every node has ended, or `stop`."""
        self._add(self._execution.begin())
        while not (self.is_stopped or self._execution.is_over()):
            self._start_what_fits()
            for ticket, answer in self._workers.wait(self._patience()):
                self._settle(self._running.pop(ticket), answer)
            self._take_installed()
            self._take_due()

    def stop(self) -> None:
        """Makes `run` return soon; callable from a signal handler."""
        self.is_stopped = True
        self._workers.wake()

    def close(self) -> None:
        """Ends all processes."""
        if self._installer is not None:
            self._installer.shutdown(wait=False, cancel_futures=True)
        self._workers.stop()

    def _add(self, nodes: list[PlannedNode]) -> None:
        """Takes nodes whose inputs are there. Those with an earlier result end at once, which may free more."""
        pending = deque(nodes)
        while pending and not self.is_stopped:
            node = pending.popleft()
            key = self._execution.key(node)
            freed = self._execution.found(node, key)
            if freed is None:
                self._prepare(node, key)
            else:
                pending.extend(freed)

    def _prepare(self, node: PlannedNode, key: str) -> None:
        """Sees to it that there is an interpreter for a node, then queues it."""
        settings = node.task.settings
        if settings.packages is None:
            self._queue(_Ready(node, key, Kind(is_preloaded=not settings.env and preloading.benefits(node.step))))
            return
        if self._installer is None:
            self._installer = ThreadPoolExecutor(1, "penstock-installer")
        self._installer.submit(self._install, node, key, settings.packages)

    def _install(self, node: PlannedNode, key: str, packages: tuple[str, ...]) -> None:
        try:
            found: Kind | InstallError = Kind(str(python_with(packages, environments_folder())))
        except InstallError as error:
            found = error
        except OSError as error:
            found = InstallError(f"the environment for the step's packages cannot be made: {error}")
        self._installed.put((node, key, found))
        self._workers.wake()

    def _take_installed(self) -> None:
        while not self._installed.empty():
            node, key, found = self._installed.get()
            if isinstance(found, Kind):
                self._queue(_Ready(node, key, found))
            else:
                ready = _Ready(node, key, Kind())
                self._execution.started(node)
                self._take_failure(ready, {"error": str(found)})

    def _queue(self, ready: _Ready) -> None:
        asked = ready.node.task.settings.resources or NOTHING
        heapq.heappush(self._ready.setdefault(asked, []), (ready.node.place, ready))

    def _start_what_fits(self) -> None:
        """Starts nodes in the author's order; one that asks for less may go before one that there is no room for."""
        while self._slots > 0:
            fitting = [line[0] for asked, line in self._ready.items() if line and not self._free.lacks(asked)]
            if not fitting:
                return
            ready = min(fitting, key=lambda each: each[0])[1]
            if not self._workers.has_room(ready.kind):
                return
            asked = ready.node.task.settings.resources or NOTHING
            heapq.heappop(self._ready[asked])
            self._free = self._free.less(asked)
            self._slots -= 1
            self._start(ready)

    def _start(self, ready: _Ready) -> None:
        node, execution = ready.node, self._execution
        attempt = execution.started(node)
        self._running[node.id] = ready
        outputs = execution.wires_for(node)
        seals = execution.store.objects.seals
        digests = [
            wire["$artifact"]["digest"] for wires in outputs.values() for wire in wires.values() if is_artifact(wire)
        ]
        request = {
            "step": node.step.id,
            "attempt": attempt,
            "arguments": node.arguments,
            "kinds": node.kinds,
            "parameters": {name: execution.parameters[name] for name in node.kinds},
            "outputs": outputs,
            "seals": {digest: seals[digest] for digest in digests if digest in seals},
            "env": dict(node.task.settings.env),
            "timeout": node.task.settings.timeout,
            "log": str(execution.log_file(node, attempt)),
            "result": str(execution.store.result_file(ready.key)),
        }
        self._workers.start(node.id, ready.kind, request)

    def _settle(self, ready: _Ready, answer: Json) -> None:
        asked = ready.node.task.settings.resources or NOTHING
        self._free = self._free.plus(asked)
        self._slots += 1
        if "error" in answer:
            self._take_failure(ready, answer)
            return
        self._execution.store.objects.seals.update(answer.pop("seals"))
        self._add(self._execution.succeeded(ready.node, ready.key, answer))

    def _take_failure(self, ready: _Ready, answer: Json) -> None:
        delay = self._execution.failed(ready.node, answer)
        if delay is not None:
            heapq.heappush(self._waiting, (time.monotonic() + delay, ready.node.place, ready))

    def _take_due(self) -> None:
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            self._queue(heapq.heappop(self._waiting)[2])

    def _patience(self) -> float | None:
        """The seconds until the next node is due."""
        return self._waiting[0][0] - time.monotonic() if self._waiting else None


@contextmanager
def _stopping_on_interrupt(scheduler: Scheduler) -> Iterator[None]:
    """For its duration, what would have raised `KeyboardInterrupt` (Ctrl-C) stops the scheduler between two events.

    That is asked of the handlers that are there: whoever starts a run may have SIGTERM interrupt it, too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {int(number): signal.getsignal(number) for number in INTERRUPTING}
    before = {number: handler for number, handler in handlers.items() if callable(handler)}

    def stop(number: int, frame: FrameType | None) -> None:
        try:
            before[number](number, frame)
        except KeyboardInterrupt:
            scheduler.stop()

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
