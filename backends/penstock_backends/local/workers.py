"""The runner's side of the worker processes: starts them as they are needed, hands out attempts, hears how they ended.

The runner itself imports nothing of the author's because of this, and none of the author's code can harm it: it talks
to processes that run none, either (see `worker`).
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import sysconfig
import time
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from penstock import harness
from penstock.backend import Definition
from penstock_backends.local import objects, preloading, residue
from penstock_backends.local.store import Store
from penstock_backends.lowering import step_part

Json = Any
ENCODER = json.JSONEncoder(separators=(",", ":"))
HERE = Path(__file__).parent
CLOSED_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
# What starts a nursery, with the files of `worker`, the harness and `objects`, and its setup. Python keeps what it has
# compiled of a module, not of a program; and memory that the compiler has used would make each fork dearer. The current
# folder, where Python would look first, holds modules of the author's.
START = """\
import gc, sys
gc.disable()
sys.path[:] = filter(None, sys.path)
import importlib.util
spec = importlib.util.spec_from_file_location("penstock_worker", sys.argv[1])
worker = sys.modules["penstock_worker"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
worker.main()
"""
SLOTS_AT_FIRST = 3  # of a chain's steps, one runs, one is cleared up after, and one waits
PATIENCE = 5.0  # seconds for worker processes to end what they do; each gives an attempt half a second before it kills


@dataclass(frozen=True)
class Kind:
    """Which nursery an attempt comes from.

    ``python`` is its interpreter (empty: this one); ``is_preloaded`` says whether it has libraries loaded beforehand.
    """

    python: str = ""
    is_preloaded: bool = False


@dataclass
class _Nursery:
    process: subprocess.Popen[bytes]
    control: socket.socket
    idle: deque[_Slot] = field(default_factory=deque)
    size: int = 0


@dataclass(eq=False)
class _Slot:
    """A slot with the line to its attempt process, where one is there, and what has come on both.

    ``attempt`` is the number of that process; ``ticket`` stands for what it runs, if it runs anything; ``answer`` is
    its error, held back until all that the attempt has started is gone; ``is_late`` says that its time was up;
    ``leaves_none`` that its process may wait for another.
    """

    connection: socket.socket
    kind: Kind
    said: bytearray = field(default_factory=bytearray)
    lines: list[int] = field(default_factory=list)
    line: socket.socket | None = None
    line_said: bytearray = field(default_factory=bytearray)
    steps: set[str] = field(default_factory=set)
    attempt: int = 0
    ticket: str = ""
    answer: Json = None
    is_late: bool = False
    leaves_none: bool = False
    log: str = ""
    began: float = 0.0


class Workers:
    """The worker processes of one run, which have none of the runner's environment variables that are ``withheld``."""

    def __init__(
        self, definition: Definition, store: Store, folder: Path, at_once: int, withheld: Collection[str] = ()
    ) -> None:
        self._withheld = withheld
        self._definition = definition
        self._store = store
        self._log = folder / "workers.log"
        self._most_slots = 2 * at_once + 1  # as many again, while the first ones clear up after an attempt
        self._nurseries: dict[Kind, _Nursery] = {}
        self._selector = selectors.DefaultSelector()
        self._bell, self._button = socket.socketpair()
        self._bell.setblocking(False)
        self._button.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ, None)
        self._lost: list[_Slot] = []
        self._leaving_none: dict[str, bool] = {}

    def has_room(self, kind: Kind) -> bool:
        """Whether an attempt of that kind can be taken now."""
        nursery = self._nurseries.get(kind)
        return nursery is None or bool(nursery.idle) or nursery.size < self._most_slots

    def start(self, ticket: str, kind: Kind, request: Json) -> None:
        """Has an attempt run; `wait` will give its answer under ``ticket``."""
        slot = self._slot(kind, request["step"])
        slot.ticket, slot.answer, slot.log, slot.began = ticket, None, request["log"], time.monotonic()
        slot.leaves_none = request["leaves_none"] = self._leaves_none(kind, request)
        with contextlib.suppress(OSError):  # it died while it waited: the slot will say so
            cast("socket.socket", slot.line).sendall(_framed(request))
        if request["timeout"] is None and request["step"] in slot.steps:
            return
        slot.steps.add(request["step"])
        try:
            note = {"attempt": slot.attempt, "step": request["step"], "timeout": request["timeout"]}
            slot.connection.sendall(_framed(note))
        except OSError:
            self._lost.append(slot)
            self.wake()

    def wait(self, seconds: float | None) -> list[tuple[str, Json]]:
        """The answers that are there, or come within so many seconds, or until `wake`."""
        answers: list[tuple[str, Json]] = []
        events = self._selector.select(None if seconds is None else max(0.0, seconds))
        # Slots first: what an attempt says after its time was up comes after its slot has said so.
        for key, _ in sorted(events, key=lambda event: _is_of_attempt(event[0])):
            slot = key.data
            if slot is None:
                with contextlib.suppress(BlockingIOError):
                    while self._bell.recv(4096):
                        pass
            elif key.fileobj is slot.line:
                self._hear(slot, answers)
            elif key.fileobj is slot.connection and slot not in self._lost:
                self._hear_of(slot, answers)
        for slot in self._lost:
            self._bereaved(slot, answers)
        self._lost.clear()
        return answers

    def wake(self) -> None:
        """Makes `wait` return; to be called from a signal handler or another thread."""
        with contextlib.suppress(OSError):  # full: it will ring anyway
            self._button.send(b"!")

    def stop(self) -> None:
        """Ends all worker processes, and with them the attempts under way."""
        for key in tuple(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            key.fileobj.close()  # type: ignore[union-attr]  # only sockets are registered
        self._button.close()
        self._selector.close()
        for nursery in self._nurseries.values():
            with contextlib.suppress(OSError):  # it is gone
                nursery.control.shutdown(socket.SHUT_WR)
        for nursery in self._nurseries.values():
            nursery.control.settimeout(PATIENCE)
            with nursery.control, contextlib.suppress(OSError):
                nursery.control.recv(1)  # which ends when the nursery does; `wait` only looks now and then
            try:
                nursery.process.wait(0.5)
            except subprocess.TimeoutExpired:
                nursery.process.kill()
                nursery.process.wait()
        self._nurseries.clear()

    def _leaves_none(self, kind: Kind, request: Json) -> bool:
        """Whether an attempt that succeeds leaves its process as it found it, for the next one."""
        step, wires = request["step"], [wire for each in request["outputs"].values() for wire in each.values()]
        if kind.python or request["timeout"] is not None or request["env"].keys() != {harness.CHECKPOINTS}:
            return False
        if step not in self._leaving_none:
            spec = self._definition.spec
            found = next(each for each in spec.steps if each.id == step)
            self._leaving_none[step] = residue.leaves_none(found, spec.modules)
        return self._leaving_none[step] and not any(map(objects.artifacts_in, wires))

    def _hear(self, slot: _Slot, answers: list[tuple[str, Json]]) -> None:
        """Reads what an attempt says. An error is held back until the slot has ended all that the attempt started."""
        is_open = slot.line is not None and _read_on(slot.line, slot.line_said)
        is_heard = slot.ticket and not slot.is_late
        messages = [each for each in _taken(slot.line_said) if each.keys() & {"outputs", "error"} and is_heard]
        waits = is_open and bool(messages) and messages[0].pop("waits", False) and slot.leaves_none
        if (messages or not is_open) and not waits:
            self._hang_up(slot)
        if messages and "error" in messages[0]:
            slot.answer = messages[0]
        elif messages:
            self._answer(slot, messages[0], answers)
        if waits and slot.kind in self._nurseries:
            self._nurseries[slot.kind].idle.append(slot)

    def _hear_of(self, slot: _Slot, answers: list[tuple[str, Json]]) -> None:
        """Reads what a slot says of its attempts."""
        try:
            said, lines, _, _ = socket.recv_fds(slot.connection, 1 << 16, 1, CLOSED_ON_EXEC)
        except OSError:
            said, lines = b"", []
        slot.said += said
        slot.lines += lines
        if not said:
            self._bereaved(slot, answers)
            return
        for message in _taken(slot.said):
            if "late" in message:
                slot.is_late = bool(slot.ticket)
                continue
            ended = message.get("ended", {"error": harness.how_it_died(0), "usage": message.get("usage", {})})
            if slot.ticket:
                self._settle(slot, ended, answers)
            if "ready" in message:
                self._connect(slot)

    def _settle(self, slot: _Slot, ended: Json, answers: list[tuple[str, Json]]) -> None:
        """Takes the end of an attempt; its own words count for more, unless its time was up."""
        self._hear(slot, answers)
        if slot.ticket:
            is_final = slot.is_late or "outputs" in ended or slot.answer is None
            self._answer(slot, ended if is_final else slot.answer, answers)

    def _connect(self, slot: _Slot) -> None:
        """Takes the line to a slot's next attempt process, which waits for a request."""
        self._hang_up(slot)
        slot.attempt += 1
        slot.line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, slot.lines.pop(0))
        self._selector.register(slot.line, selectors.EVENT_READ, slot)
        self._nurseries[slot.kind].idle.append(slot)

    def _hang_up(self, slot: _Slot) -> None:
        if slot.line is not None:
            self._leave_idle(slot)
            self._selector.unregister(slot.line)
            slot.line.close()
            slot.line = None
            slot.line_said.clear()

    def _leave_idle(self, slot: _Slot) -> None:
        nursery = self._nurseries.get(slot.kind)
        if nursery is not None and slot in nursery.idle:
            nursery.idle.remove(slot)

    def _answer(self, slot: _Slot, answer: Json, answers: list[tuple[str, Json]]) -> None:
        answer["seconds"] = time.monotonic() - slot.began
        if "error" in answer:
            _append(slot.log, answer.get("traceback") or f"error: {answer['error']}")
        answers.append((slot.ticket, answer))
        slot.ticket, slot.answer, slot.is_late = "", None, False

    def _bereaved(self, slot: _Slot, answers: list[tuple[str, Json]]) -> None:
        """Takes note that a slot is gone, and answers for the attempt that it had, if it had one."""
        self._hang_up(slot)
        self._selector.unregister(slot.connection)
        slot.connection.close()
        nursery = self._nurseries.get(slot.kind)
        reason = ""
        if nursery is not None:
            nursery.size -= 1
            with contextlib.suppress(subprocess.TimeoutExpired):
                nursery.process.wait(0.05)  # if it is gone as well, that shows in a moment
                nursery.control.close()
                del self._nurseries[slot.kind]
                reason = self._last_words()
        hint = f" ({reason})" if reason else ""
        if slot.ticket:
            error = f"the worker process of the attempt was ended from outside, or could not start{hint}"
            self._answer(slot, {"error": error}, answers)

    def _last_words(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]

    def _slot(self, kind: Kind, step: str) -> _Slot:
        nursery = self._nurseries.get(kind)
        if nursery is None:
            nursery = self._new_nursery(kind, step)
            nursery.idle.extend(self._new_slot(kind, nursery) for _ in range(SLOTS_AT_FIRST))
        return nursery.idle.popleft() if nursery.idle else self._new_slot(kind, nursery)

    def _new_slot(self, kind: Kind, nursery: _Nursery) -> _Slot:
        (ours, theirs), (line, other_end) = socket.socketpair(), socket.socketpair()
        slot = _Slot(ours, kind, line=line)
        with theirs, other_end, contextlib.suppress(OSError):  # a nursery that is gone shows when the request is sent
            socket.send_fds(nursery.control, [b"s"], [theirs.fileno(), other_end.fileno()])
        self._selector.register(ours, selectors.EVENT_READ, slot)
        self._selector.register(line, selectors.EVENT_READ, slot)
        nursery.size += 1
        return slot

    def _new_nursery(self, kind: Kind, step: str) -> _Nursery:
        """Starts one for an attempt at a step."""
        ours, theirs = socket.socketpair()
        setup = self._store.objects.draft()
        try:
            setup.write_text(json.dumps(self._setup(kind, step, theirs.fileno())), encoding="ascii")
        except OSError:
            setup.unlink(missing_ok=True)
            raise
        command = [
            kind.python or sys.executable,
            "-c",
            START,
            str(HERE / "worker.py"),
            str(harness.__file__),
            str(objects.__file__),
            str(setup),
        ]
        with theirs, self._log.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={name: value for name, value in os.environ.items() if name not in self._withheld},
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # so that Ctrl-C reaches the runner alone, which then ends them in order
            )
        nursery = self._nurseries[kind] = _Nursery(process, ours)
        return nursery

    def _setup(self, kind: Kind, step: str, descriptor: int) -> Json:
        spec = self._definition.spec
        authors = self._authors_folders()
        return {
            "descriptor": descriptor,
            "modules": program_of(self._definition),
            "steps": {each.id: step_part(each) for each in spec.steps},
            "first": step,
            "objects": str(self._store.objects.folder),
            "drafts": str(self._store.drafts),
            "path": []
            if kind.python
            else [str(Path(each).absolute()) for each in sys.path if Path(each).resolve() not in authors],
            "preload": preloading.modules(spec, standard_only=not kind.is_preloaded),
        }

    def _authors_folders(self) -> set[Path]:
        """Where the author's own modules are found, of which a step is to see only what was captured."""
        libraries = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
        return {self._definition.folder.resolve()} - libraries if self._definition.folder is not None else set()


def program_of(definition: Definition) -> dict[str, Json]:
    """The author's modules for `harness.Program`: in their places in the author's files, where these can be found."""
    program: dict[str, Json] = {}
    for module in definition.spec.modules:
        file = definition.folder / module.file if definition.folder is not None else None
        if file is not None and file.is_file():
            program[module.name] = [[str(file), each.line, each.source] for each in module.statements]
        else:
            program[module.name] = module.text
    return program


def _is_of_attempt(key: selectors.SelectorKey) -> bool:
    return key.data is not None and key.fileobj is key.data.line


def _framed(message: Json) -> bytes:
    body = ENCODER.encode(message).encode("ascii")
    return len(body).to_bytes(8, "big") + body


def _taken(said: bytearray) -> list[Json]:
    """Takes the messages that are whole from what was said; what is none came from the author's code, and is none."""
    found = []
    while len(said) >= 8 and len(said) - 8 >= (length := int.from_bytes(said[:8], "big")):
        with contextlib.suppress(ValueError):
            found.append(json.loads(said[8 : 8 + length]))
        del said[: 8 + length]
    return [each for each in found if isinstance(each, dict)]


def _read_on(line: socket.socket, said: bytearray) -> bool:
    """Adds what has come on a line; whether more may come."""
    try:
        while part := line.recv(1 << 16, socket.MSG_DONTWAIT):
            said += part
            if len(part) < 1 << 16:
                return True
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    return False


def _append(log: str, text: str) -> None:
    with contextlib.suppress(OSError), Path(log).open("ab") as stream:
        stream.write(text.encode("utf-8", "backslashreplace") + b"\n")
