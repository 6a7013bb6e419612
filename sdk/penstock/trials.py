"""Runs that a test makes: what is noted of them while they go on, and what can be asked and asserted afterwards."""

from __future__ import annotations

import functools
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, fields
from typing import IO, Any, cast

from penstock.authoring import Step
from penstock.backend import Definition
from penstock.diagnostics import ConfigurationError, did_you_mean
from penstock.fakes import AnyStep, Call, Fake, why_not_returned
from penstock.harness import HIDDEN_FILES, parts_of
from penstock.results import AttemptFailed, AttemptStarted, Event, NodeEnded, NodeRun, Run, State
from penstock.spec import CHECK, DECIDE, GIVE, ITEMS

_SHOWN_NODES = 40
_SHOWN_LINES = 20
HIDDEN_FILES.add(__file__)  # no frame of this file helps those who read why a step failed


class MisusedError(BaseException):
    """A fake is used as it cannot be. It ends the run past whatever takes errors of steps."""

    def __init__(self, error: ConfigurationError) -> None:
        super().__init__(str(error))
        self.error = error


class Recorder:
    """Stands between an inline run and the author's functions: puts fakes in, and notes calls, order and output."""

    def __init__(self, definition: Definition, fakes: Mapping[str, Fake]) -> None:
        self.definition = definition
        self.calls: list[tuple[Callable[..., object], Call]] = []
        self.order: list[str] = []
        self.logs: dict[str, list[str]] = {}
        self.is_interrupted_on_purpose = False
        self.fakes = fakes
        self._node, self._attempt = "", 0
        self._log: list[str] = []

    def watch(self, event: Event) -> None:
        """Takes an event of the run."""
        if isinstance(event, AttemptStarted):
            self._node, self._attempt = event.node, event.attempt
            self._log = self.logs[event.node] = []
            if event.attempt == 1:
                self.order.append(event.node)
        elif isinstance(event, (AttemptFailed, NodeEnded)):
            self._log = []

    def has_fake(self, task: str) -> bool:
        """Whether a fake stands in for a task, or for an instance of it."""
        return any(parts_of(each)[0] == task for each in self.fakes)

    def functions(self) -> dict[str, Callable[..., object]]:
        """The functions of the pipeline's steps, the author's so that calling them passes here."""
        return {
            id_: function if id_ in (CHECK, DECIDE, ITEMS, GIVE) else self._recorded(id_, function)
            for id_, function in self.definition.functions.items()
        }

    def _recorded(self, step: str, function: Callable[..., object]) -> Callable[..., object]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def called(**given: object) -> object:
            whole = signature.bind(**given)
            whole.apply_defaults()
            return self._called(step, given, dict(whole.arguments))

        return called

    def _called(self, step: str, given: Mapping[str, object], everything: Mapping[str, object]) -> object:
        function = self.definition.functions[step]
        node, attempt = self._node, self._attempt
        fake = self.fakes.get(node) or self.fakes.get(parts_of(node)[0])

        def note(returned: object, raised: BaseException | None) -> None:
            call = Call(node, attempt, everything, returned, raised)
            self.calls.append((function, call))
            if fake is not None:
                fake.calls.append(call)

        try:
            returned = function(**given) if fake is None else self._faked(step, fake, given, everything)
        except BaseException as error:
            note(None, error)
            raise
        note(returned, None)
        return returned

    def _faked(self, step: str, fake: Fake, given: Mapping[str, object], everything: Mapping[str, object]) -> object:
        try:
            behaviour = fake.behaviour(self._node, self._attempt)
        except ConfigurationError as error:
            raise MisusedError(error) from None
        self.is_interrupted_on_purpose |= behaviour.cancels
        behaviour.fail()
        function = behaviour.function
        returned = behaviour.value if function is None else function(**behaviour.arguments(given, everything))
        problem = why_not_returned(self.definition, step, self._node, returned)
        if problem:
            raise MisusedError(ConfigurationError(problem))
        return returned

    @contextmanager
    def listening(self) -> Iterator[None]:
        """For its duration, what Python code prints in an attempt is kept as its log; it is printed all the same."""
        with redirect_stdout(self._copied(sys.stdout)), redirect_stderr(self._copied(sys.stderr)):
            yield

    def _copied(self, stream: IO[str]) -> IO[str]:
        return cast("IO[str]", _Copied(stream, self._keep))

    def _keep(self, text: str) -> None:
        self._log.append(text)


class _Copied:
    """A stream that also hands what is written to it to someone else."""

    def __init__(self, stream: IO[str], keep: Callable[[str], None]) -> None:
        self._stream = stream
        self._keep = keep

    def write(self, text: str) -> int:
        self._keep(text)
        return self._stream.write(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@dataclass(frozen=True, repr=False, eq=False)
class Trial(Run):
    """A run that a test made: a `Run`, and what tests ask of one.

    Compare ``outputs``, ``states``, ``gates`` and ``order`` with plain ``assert``: where the test fails, pytest shows
    beside its own explanation what became of each node, with the traceback and the log of each that failed.
    """

    _recorder: Recorder = field(kw_only=True)
    _is_inline: bool = field(kw_only=True)

    @classmethod
    def of(cls, run: Run, recorder: Recorder, *, is_inline: bool) -> Trial:
        """A run with what was noted of it."""
        known = {each.name: getattr(run, each.name) for each in fields(run)}
        return cls(**known, _recorder=recorder, _is_inline=is_inline)

    def __repr__(self) -> str:
        failed = "".join(f"; {each.id}: {each.error}" for each in self._failed())
        return f"<{self.pipeline} {self.state.value}{failed}>"

    def __getitem__(self, node: str) -> NodeRun:
        __tracebackhide__ = True
        if node in self.nodes:
            return self.nodes[node]
        items = [each for each in self.nodes if parts_of(each)[0] == node]
        if items:
            raise KeyError(f"`{node}` ran once for each item: {', '.join(f'`{each}`' for each in items[:5])}")
        raise KeyError(f"`{self.pipeline}` ran no `{node}`; {did_you_mean(node, self.nodes, otherwise='it ran: {}')}")

    @property
    def ok(self) -> bool:
        """Whether the run succeeded."""
        return self.state is State.SUCCEEDED

    @property
    def states(self) -> dict[str, str]:
        """How each step ended, by node; in a loop by instance: ``{"load": "succeeded", "train[0]": "failed"}``.

        Steps alone are in it; what became of branches, loops and gates is in ``nodes``.
        """
        return {each.id: each.state.value for each in self.nodes.values() if each.kind == "task"}

    @property
    def order(self) -> list[str]:
        """The steps that were tried, in the order in which they were first begun."""
        return [each for each in self._recorder.order if self.nodes[each].kind == "task"]

    @property
    def gates(self) -> dict[str, bool]:
        """Whether each gate was passed, by what it asks: ``{"best.accuracy >= floor": False}``.

        What several nodes ask was passed where each of them passed. A gate that was not reached is not in it.
        """
        found: dict[str, bool] = {}
        for verdict in (each for node in self.nodes.values() for each in node.gates):
            found[verdict["gate"]] = found.get(verdict["gate"], True) and bool(verdict["passed"])
        return found

    def calls(self, step: str | AnyStep) -> list[Call]:
        """The attempts of a step, real or fake, in the order in which they were made; inline runs only.

        Args:
            step: a node (``train``: in a loop, all of its items), an instance (``train[2]``), or a step, for all of
                its nodes.

        Raises:
            KeyError: the pipeline has no such node or step.
            TypeError: the run was not inline.
        """
        __tracebackhide__ = True
        if not self._is_inline:
            raise TypeError("calls are recorded in this process: run the pipeline with `inline=True`")
        if isinstance(step, Step):
            if all(each is not step.function for each in self._recorder.definition.functions.values()):
                raise KeyError(f"`{self.pipeline}` never calls the step `{step.function.__name__}`")
            return [call for function, call in self._recorder.calls if function is step.function]
        if all(parts_of(each)[0] != step for each in self.nodes):
            self[step]
        return [call for _, call in self._recorder.calls if step in (call.node, parts_of(call.node)[0])]

    def log(self, node: str) -> str:
        """What a node printed in its last attempt; inline, what Python code printed. Empty where it did not run.

        Raises:
            KeyError: no such node ran.
        """
        file = self[node].log
        if file is not None:
            return file.read_text(encoding="utf-8", errors="replace")
        return "".join(self._recorder.logs.get(node, ()))

    def assert_succeeded(self) -> Trial:
        """The run itself, if it succeeded. Raises `AssertionError` with the failed nodes and their tracebacks."""
        __tracebackhide__ = True
        if not self.ok:
            raise AssertionError(f"`{self.pipeline}` was to succeed\n{self.describe()}")
        return self

    def assert_failed(self, node: str = "", *, match: str = "") -> NodeRun:
        """The node that failed, if one did.

        Args:
            node: which; by default any.
            match: a regular expression that is to be found in its message.

        Raises:
            AssertionError: none did, or not so, with what became of each node.
            KeyError: no such node ran.
        """
        __tracebackhide__ = True
        failed = [self[node]] if node else list(self._failed())
        whose = f"`{node}`" if node else f"a node of `{self.pipeline}`"
        found = [each for each in failed if each.state is State.FAILED]
        if not found:
            raise AssertionError(f"{whose} was to fail\n{self.describe()}")
        for each in found:
            if re.search(match, each.error):
                return each
        raise AssertionError(f"{whose} was to fail with a message that matches {match!r}\n{self.describe()}")

    def describe(self) -> str:
        """What became of the run, as text: a line a node, then the traceback and the log of each that failed."""
        failures = (line for each in self._failed() for line in self._failure(each))
        return "\n".join([f"{self.pipeline}: {self.state.value}", *self._rows(), *failures])

    def _failed(self) -> Iterator[NodeRun]:
        return (each for each in self.nodes.values() if each.state is State.FAILED)

    def _rows(self) -> Iterator[str]:
        """A line for each node; of a long run, for those that were not good and the first of the others."""
        bad = [each for each in self.nodes.values() if not each.state.is_good]
        good = [each for each in self.nodes.values() if each.state.is_good]
        chosen = {each.id for each in [*bad, *good][:_SHOWN_NODES]}
        width = max((len(each) for each in chosen), default=0)
        for each in self.nodes.values():
            if each.id in chosen:
                said = [f"{each.attempts} attempts"] if each.attempts > 1 else []
                said += each.error.splitlines()[:1]
                yield f"  {each.id:<{width}}  {each.state.value:<15}  {': '.join(said)}".rstrip()
        if len(self.nodes) > len(chosen):
            yield f"  and {len(self.nodes) - len(chosen)} more"

    def _failure(self, node: NodeRun) -> Iterator[str]:
        yield f"\n{node.id}: {node.error}"
        if node.traceback and node.traceback.removeprefix("error: ") != node.error:
            yield textwrap.indent(node.traceback, "  ")
        log = self.log(node.id).replace(node.traceback, "").splitlines()  # of a worker, the traceback is in it as well
        if log:
            yield f"log of {node.id}:"
            yield textwrap.indent("\n".join(log[-_SHOWN_LINES:]), "  ")
