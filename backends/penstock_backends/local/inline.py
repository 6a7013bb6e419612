"""Runs a pipeline's steps in this process and thread, one after another: for breakpoints, coverage and quick tests.

What passes between steps is written and read back as in any other run, so that the outputs are those of other
engines. What needs a process of its own is not there: a step's ``packages`` are taken to be installed here, what it
prints goes where this process prints, and a timeout interrupts Python code but no call into C. A debugger at work
suspends timeouts.
"""

from __future__ import annotations

import heapq
import math
import os
import signal
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from penstock import harness
from penstock_backends.local.deadline import TimeIsUpError, deadline
from penstock_backends.local.execution import Execution
from penstock_backends.local.hiding import hidden_output
from penstock_backends.local.objects import AttemptFolder, CorruptedError, Json, Objects, artifacts_in, located, publish
from penstock_backends.local.plan import Place, PlannedNode
from penstock_backends.local.telemetry import below
from penstock_backends.local.trace_context import environment_of
from penstock_backends.local.turns import Turn, giving_way, interrupting_this_thread
from penstock_backends.local.usage import Meter
from penstock_backends.lowering import step_part

Line = list[tuple[int, Place, PlannedNode]]
_OURS = (__file__, harness.__file__)


def run_inline(execution: Execution, turn: Turn | None = None) -> None:
    """Brings every node to its end; Ctrl-C ends the step and what it has started, and cancels what is left.

    What runs on exit still does then, unless another Ctrl-C cancels that, too.
    """
    others = harness.descendants([os.getpid()])
    ready: Line = []
    folder = AttemptFolder(execution.store.objects)
    try:
        execution.begin()
        with giving_way(turn, execution.books, interrupting_this_thread()):
            while not execution.is_over:
                try:
                    _take_turn(execution, ready, folder)
                except KeyboardInterrupt:
                    _end_processes_since(others)
                    execution.cancel()
    finally:
        folder.remove()


def _take_turn(execution: Execution, ready: Line, folder: AttemptFolder) -> None:
    """Brings the first of the nodes that may run to its end."""
    if execution.seconds_left() <= 0:
        execution.run_out_of_time()
    while execution.runnable:
        node = execution.runnable.popleft()
        heapq.heappush(ready, (-node.settings.priority, node.place, node))
    *_, node = heapq.heappop(ready)
    if execution.is_open(node):
        _bring_to_its_end(execution, node, folder)


def _bring_to_its_end(execution: Execution, node: PlannedNode, folder: AttemptFolder) -> None:
    key = execution.key(node)
    errand = execution.errand_before(node, key)
    try:
        if errand is not None:
            errand()
    except OSError as error:
        execution.books.started(node)
        execution.failed(node, key, {"error": f"the store cannot be asked: {error}", "final": True})
        return
    if execution.found(node, key):
        return
    while execution.is_open(node):
        began, meter = time.monotonic(), Meter()
        folder.make()
        answer = _attempt(execution, node, execution.books.started(node), folder)
        answer.update(seconds=time.monotonic() - began, usage=meter.usage())
        execution.books.tell_what_was_noticed()
        if "outputs" in answer:
            answer = _kept(execution, key, answer)
        if "error" not in answer:
            execution.succeeded(node, key, answer)
            return
        delay = execution.failed(node, key, answer)
        if delay is not None:
            time.sleep(max(0.0, min(delay, execution.seconds_left(node))))
            if execution.seconds_left(node) <= 0:
                execution.run_out_of_time()


def _attempt(execution: Execution, node: PlannedNode, number: int, folder: AttemptFolder) -> Json:
    """The published result of one attempt, or the error that it ended with."""
    settings, objects = node.settings, execution.store.objects
    left = execution.seconds_left(node)
    bound = min(left, math.inf if settings.timeout is None else settings.timeout)
    others = harness.descendants([os.getpid()]) if bound < math.inf else set()
    mask = execution.secrets.mask(settings)
    try:
        given = execution.job_for(node)
        outputs = {
            before: {
                name: located(wire, folder.inputs / before / name, objects) if artifacts_in(wire) else wire
                for name, wire in wires.items()
            }
            for before, wires in execution.outputs.taken_by(given).items()
        }
        inputs = harness.Inputs(execution.parameters, node.planned.kinds, outputs, execution.names.find)
        job = {**step_part(node.step), **given}
        function = execution.definition.functions.get(node.step.id) or harness.find_type(node.step.id)
        secrets = execution.secrets.of(settings)
        env = {
            **environment_of(execution.trace, node.id, number),
            **dict(settings.env),
            **secrets,
            harness.CHECKPOINTS: str(execution.checkpoints_of(node)),
        }
        with (
            _surroundings(folder.work, env, execution.secrets.withheld - secrets.keys()),
            hidden_output(mask),
            execution.names.canonical(),
            below(execution.trace, node.id, number),
            deadline(bound),
        ):
            result = _masked(mask, harness.perform(job, function, inputs, folder.outputs, number))
        return {**result, "outputs": _published(result["outputs"], folder, objects)} if "outputs" in result else result
    except TimeIsUpError:
        _end_processes_since(others)
        if bound == left:
            return {"error": harness.RUN_OUT_OF_TIME, "final": True}
        return {"error": harness.out_of_time(settings.timeout)}
    except CorruptedError as error:
        return {"error": str(error)}
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever the author's code raises fails the attempt
        return _masked(mask, harness.failure(error.with_traceback(_users_part(error))))


def _masked(mask: harness.Mask | None, result: Json) -> Json:
    return mask.result(result) if mask else result


def _kept(execution: Execution, key: str, answer: Json) -> Json:
    """The answer, once it is stored; where it cannot be, the error that this is."""
    try:
        execution.store.add_result(key, answer)
        if execution.store.sharing is not None:
            execution.store.sharing.share(key)
    except OSError as error:  # a full disk, or a store that went away: this attempt's end, not the run's
        spent = {name: answer[name] for name in ("seconds", "usage")}
        return {**spent, "error": f"what the step returned cannot be stored: {error}"}
    return answer


def _published(outputs: Json, folder: AttemptFolder, objects: Objects) -> Json:
    return {name: publish(wire, folder.outputs, objects) for name, wire in outputs.items()}


@contextmanager
def _surroundings(folder: Path, env: Mapping[str, str], withheld: Collection[str] = ()) -> Iterator[None]:
    """The working directory and the environment variables of a step, for its duration."""
    home, before = os.getcwd(), _variables()  # noqa: PTH109  # a Path would be made for it in each attempt
    os.chdir(folder)
    for variable in withheld:
        os.environ.pop(variable, None)
    for variable, value in env.items():
        os.environ[variable] = value
    try:
        yield
    finally:
        after = _variables()
        for name in after.keys() - before.keys():
            del os.environb[name]
        for name, given in before.items():
            if after.get(name) != given:
                os.environb[name] = given
        os.chdir(home)


def _variables() -> dict[bytes, bytes]:
    """The environment as it is. To ask for each variable by itself is a fifth of what a trivial step costs."""
    return dict(getattr(os.environb, "_data", os.environb))


def _end_processes_since(before: set[int]) -> None:
    """Kills what the step started and left; what else this process has started stays."""
    for pid in harness.descendants([os.getpid()]) - before:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _users_part(error: BaseException) -> TracebackType | None:
    """The traceback without the frames that led to the author's code."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename in _OURS:
        frames = frames.tb_next
    return frames
