"""Runs a pipeline's steps in worker processes: as many at once as there are workers, and as the budget has room for."""

from __future__ import annotations

import heapq
import math
import queue
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import FrameType
from typing import Any

from penstock.harness import CHECKPOINTS
from penstock.spec import Task
from penstock_backends.local import preloading
from penstock_backends.local.budget import VISIBLE_DEVICES, Budget, devices
from penstock_backends.local.claims import Claims, claims_folder, total
from penstock_backends.local.deciding import quick_answer
from penstock_backends.local.environments import Installer, InstallError, environments_folder
from penstock_backends.local.errands import Errands
from penstock_backends.local.execution import Execution
from penstock_backends.local.layout import log_of
from penstock_backends.local.objects import is_artifact
from penstock_backends.local.packing import Grant, Packing
from penstock_backends.local.plan import Place, PlannedNode
from penstock_backends.local.trace_context import environment_of
from penstock_backends.local.turns import Turn, giving_way
from penstock_backends.local.workers import Kind, Workers

Json = Any
NAMED = 3  # of the nodes that are waited for
LOOK_AGAIN = 0.1  # seconds, for what other runs have given back
INTERRUPTING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_in_workers(
    execution: Execution, budget: Budget, max_workers: int, turn: Turn | None = None, *, share_budget: bool = False
) -> None:
    """Brings every node of an execution to its end.

    Ctrl-C lets what is under way come to its end, and cancels what is left. Another one, or a request to end, ends
    what is under way, too, as does a further run that takes this one's turn. What runs on exit still does in either
    case, unless a further one cancels that as well.
    """
    scheduler = Scheduler(execution, budget, max_workers, Claims(claims_folder()) if share_budget else None)
    with _stopping_on_interrupt(scheduler), giving_way(turn, execution.books, scheduler.stop):
        try:
            scheduler.run()
        finally:
            scheduler.close()


@dataclass(frozen=True)
class _Ready:
    """A node whose inputs are there, and what to run it with."""

    node: PlannedNode
    key: str
    kind: Kind


class Scheduler:
    """Decides what runs when. It reacts to events only, and does a bounded amount of work for each."""

    def __init__(self, execution: Execution, budget: Budget, max_workers: int, claims: Claims | None = None) -> None:
        self._execution = execution
        self._budget = budget
        self._max_workers = max_workers
        self._claims = claims
        self._asks_for_devices = any(planned.request.gpu for planned in execution.plan.values())
        self._stops = 0
        self._is_draining = False
        self._installer = Installer(environments_folder())
        self._installing: ThreadPoolExecutor | None = None
        self._errands = Errands(self._wake)
        self._installed: queue.SimpleQueue[tuple[PlannedNode, str, Kind | InstallError]] = queue.SimpleQueue()
        self._begin_with_nothing()

    def run(self) -> None:
        """Runs until every node has ended."""
        execution = self._execution
        execution.books.wake = self._wake
        execution.begin()
        while not execution.is_over:
            try:
                self._take_turn()
            except KeyboardInterrupt:  # from a handler that was set meanwhile
                self._stops += 1
            if self._stops:
                self._stops -= 1
                self._drop_everything()
                execution.cancel()
            elif execution.seconds_left() <= 0:
                self._drop_everything()
                execution.run_out_of_time()
            elif self._is_draining:
                self._drain()

    def stop(self) -> None:
        """Makes `run` end what is under way and cancel what is left; callable from a signal handler."""
        self._stops += 1
        self._wake()

    def interrupt(self) -> None:
        """Makes `run` let what is under way end, if there is something; else, or the second time, it is `stop`."""
        if self._is_draining or self._execution.is_ending:
            self.stop()
        else:
            self._is_draining = True
            self._wake()

    def close(self) -> None:
        """Ends all processes."""
        self._installer.stop()
        if self._installing is not None:
            self._installing.shutdown(wait=False, cancel_futures=True)
        self._errands.close()
        self._workers.stop()
        if self._claims is not None:
            self._claims.close()

    def _wake(self) -> None:
        self._workers.wake()

    def _begin_with_nothing(self) -> None:
        execution = self._execution
        self._is_draining = False
        self._has_said_so = False
        self._packing = Packing[_Ready](self._budget, devices(self._budget.gpu), self._max_workers)
        self._running: dict[str, Grant[_Ready]] = {}
        self._has_given_back = True
        self._waiting: list[tuple[float, Place, _Ready]] = []
        self._workers = Workers(
            execution.definition, execution.store, execution.folder, self._max_workers, execution.secrets.withheld
        )

    def _drop_everything(self) -> None:
        """Ends the attempts under way, and forgets what was to be tried."""
        self._workers.stop()
        self._begin_with_nothing()

    def _drain(self) -> None:
        """Cancels what is left once nothing is under way any more; until then, says what it waits for."""
        execution = self._execution
        if execution.is_ending:  # nothing was left but what was under way
            self._is_draining = False
        elif not execution.books.under_way:
            self._drop_everything()
            execution.cancel()
        elif not self._has_said_so:
            self._has_said_so = True
            execution.books.notice(
                "draining", "", f"waiting for {_listed(execution.books.under_way)}; Ctrl-C again ends that, too"
            )

    def _take_turn(self) -> None:
        self._take_runnable()
        if self._stops or self._execution.is_over:
            return
        if not self._is_draining:
            self._start_what_fits()
        for ticket, answer in self._workers.wait(self._patience()):
            self._settle(self._running.pop(ticket), answer)
        self._take_installed()
        self._errands.take_up()
        if not self._is_draining:
            self._take_due()
        self._execution.books.tell_what_was_noticed()

    def _take_runnable(self) -> None:
        """Takes nodes whose inputs are there. Those with an earlier result end at once, which may free more."""
        execution = self._execution
        while execution.runnable and not self._stops and not self._is_draining:
            node = execution.runnable.popleft()
            if not execution.is_open(node):
                continue
            key = execution.key(node)
            errand = execution.errand_before(node, key)
            if errand is None:
                self._take(node, key)
            else:
                self._errands.give(errand, partial(self._take_after, node, key))

    def _take(self, node: PlannedNode, key: str) -> None:
        if not self._execution.found(node, key) and not self._answered_quickly(node, key):
            self._prepare(node, key)

    def _take_after(self, node: PlannedNode, key: str, problem: OSError | None) -> None:
        """Takes a node once it is known what the store's shared side has for it."""
        if not self._execution.is_open(node):
            return
        if problem is None:
            self._take(node, key)
        else:
            self._execution.books.started(node)
            self._take_failure(_Ready(node, key, Kind()), {"error": f"the store cannot be asked: {problem}"})

    def _answered_quickly(self, node: PlannedNode, key: str) -> bool:
        """Whether a node was decided here and now, as what needs none of the author's code can be."""
        execution = self._execution
        if isinstance(node.unit.node, Task):
            return False
        job = execution.job_for(node)
        answer = quick_answer(node, job, execution.parameters, execution.outputs.taken_by(job))
        if answer is None:
            return False
        execution.books.started(node)
        execution.store.add_result(key, answer)
        execution.succeeded(node, key, answer)
        return True

    def _prepare(self, node: PlannedNode, key: str) -> None:
        """Sees to it that there is an interpreter for a node, then queues it."""
        settings = node.settings
        if settings.packages is None:
            self._queue(_Ready(node, key, Kind(is_preloaded=_may_preload(node))))
            return
        if self._installing is None:
            self._installing = ThreadPoolExecutor(1, "penstock-installer")
        self._installing.submit(self._install, node, key, settings.packages)

    def _install(self, node: PlannedNode, key: str, packages: tuple[str, ...]) -> None:
        try:
            found: Kind | InstallError = Kind(str(self._installer.python_with(packages)))
        except InstallError as error:
            found = error
        except OSError as error:
            found = InstallError(f"the environment for the step's packages cannot be made: {error}")
        self._installed.put((node, key, found))
        self._workers.wake()

    def _take_installed(self) -> None:
        while not self._installed.empty():
            node, key, found = self._installed.get()
            if not self._execution.is_open(node):
                continue
            if isinstance(found, Kind):
                self._queue(_Ready(node, key, found))
            else:
                ready = _Ready(node, key, Kind())
                self._execution.books.started(node)
                self._take_failure(ready, {"error": str(found)})

    def _queue(self, ready: _Ready) -> None:
        node = ready.node
        request = node.planned.request
        if self._claims is not None and not request.cpu:  # of the runs that share, none knows how many others run
            request = replace(request, cpu=min(1.0, self._budget.cpu))
        self._packing.add(ready, request, (-node.settings.priority, node.place))

    def _start_what_fits(self) -> None:
        """Starts nodes by priority, then in the author's order; others may go before one that there is no room for."""
        if self._claims is None:
            self._start_chosen()
        elif self._packing.is_waiting or self._has_given_back:
            with self._claims.agreed() as others:
                self._packing.leave(*others)
                has_started = self._start_chosen()
                grants = self._running.values()
                names = [name for grant in grants for name in grant.devices]
                taken = total(grant.request for grant in grants)
                self._claims.write(taken, names, self._packing.first, is_next=has_started)
            self._has_given_back = False

    def _start_chosen(self) -> bool:
        """Starts what is chosen, one after the other; whether anything was."""
        has_started = False
        while (ready := self._packing.chosen()) is not None and self._workers.has_room(ready.kind):
            self._start(self._packing.start())
            has_started = True
        return has_started

    def _start(self, grant: Grant[_Ready]) -> None:
        ready = grant.item
        node, execution = ready.node, self._execution
        attempt = execution.books.started(node)
        self._running[node.id] = grant
        job = execution.job_for(node)
        outputs = execution.outputs.taken_by(job)
        seals = execution.store.objects.seals
        digests = [
            wire["$artifact"]["digest"] for wires in outputs.values() for wire in wires.values() if is_artifact(wire)
        ]
        secrets = execution.secrets.of(node.settings)
        request = {
            "step": node.step.id,
            "attempt": attempt,
            "job": job,
            "kinds": node.planned.kinds,
            "parameters": {name: execution.parameters[name] for name in node.planned.kinds},
            "outputs": outputs,
            "seals": {digest: seals[digest] for digest in digests if digest in seals},
            "env": {
                **self._devices_of(grant),
                **environment_of(execution.trace, node.id, attempt),
                **dict(node.settings.env),
                **secrets,
                CHECKPOINTS: str(execution.checkpoints_of(node)),
            },
            "timeout": node.settings.timeout,
            "log": str(log_of(execution.folder, node.id, attempt)),
            **({"secrets": list(secrets)} if secrets else {}),
        }
        self._workers.start(node.id, ready.kind, request)

    def _devices_of(self, grant: Grant[_Ready]) -> dict[str, str]:
        """What has a step see the GPUs that it was given, and no others; nothing where no step asks for any."""
        return {VISIBLE_DEVICES: ",".join(grant.devices)} if self._asks_for_devices else {}

    def _settle(self, grant: Grant[_Ready], answer: Json) -> None:
        self._packing.give_back(grant)
        self._has_given_back = True
        ready = grant.item
        self._execution.store.objects.seals.update(answer.pop("seals", {}))
        if "outputs" in answer:  # as it has, too, where only a gate was not passed
            try:
                self._execution.store.add_result(ready.key, answer)
            except OSError as error:  # a full disk, or a store that went away: this attempt's end, not the run's
                answer = _unstored(answer, error)
            else:
                sharing = self._execution.store.sharing
                if sharing is not None:
                    self._errands.give(partial(sharing.share, ready.key), partial(self._end_shared, ready, answer))
                    return
        self._end(ready, answer)

    def _end_shared(self, ready: _Ready, answer: Json, problem: OSError | None) -> None:
        if self._execution.is_open(ready.node):
            self._end(ready, answer if problem is None else _unstored(answer, problem))

    def _end(self, ready: _Ready, answer: Json) -> None:
        if "error" in answer:
            self._take_failure(ready, answer)
        else:
            self._execution.succeeded(ready.node, ready.key, answer)

    def _take_failure(self, ready: _Ready, answer: Json) -> None:
        delay = self._execution.failed(ready.node, ready.key, answer)
        if delay is not None:
            heapq.heappush(self._waiting, (time.monotonic() + delay, ready.node.place, ready))

    def _take_due(self) -> None:
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            self._queue(heapq.heappop(self._waiting)[2])

    def _patience(self) -> float | None:
        """The seconds until the next node is due, or the pipeline's time is up."""
        due = self._waiting[0][0] - time.monotonic() if self._waiting and not self._is_draining else math.inf
        soonest = min(due, self._execution.seconds_left())
        if self._claims is not None and self._packing.is_waiting:
            soonest = min(soonest, LOOK_AGAIN)
        return None if soonest == math.inf else soonest


def _may_preload(node: PlannedNode) -> bool:
    """Whether a node gains by libraries that are loaded already, and these are what it would load itself."""
    return not (node.settings.env or node.settings.secrets) and preloading.benefits(node.step)


def _listed(nodes: Sequence[str]) -> str:
    """The first of some nodes, and how many more there are."""
    more = f" and {len(nodes) - NAMED} more" if len(nodes) > NAMED else ""
    return ", ".join(f"`{node}`" for node in nodes[:NAMED]) + more


def _unstored(answer: Json, problem: OSError) -> Json:
    """What an attempt comes to whose result cannot be stored."""
    return {**_spent(answer), "error": f"what the step returned cannot be stored: {problem}"}


def _spent(answer: Json) -> Json:
    """The part of an answer that says what the attempt took."""
    return {name: answer[name] for name in ("seconds", "usage") if name in answer}


@contextmanager
def _stopping_on_interrupt(scheduler: Scheduler) -> Iterator[None]:
    """For its duration, what would have raised `KeyboardInterrupt` stops the scheduler between two events.

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
            if number == signal.SIGINT:
                scheduler.interrupt()
            else:  # who asks for that will not wait for long
                scheduler.stop()

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
