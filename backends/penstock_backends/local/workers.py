"""The runner's side of the worker processes: starts them as they are needed, hands out attempts, hears how they ended.

The runner itself imports nothing of the author's because of this, and none of the author's code can harm it: it talks
to processes that run none, either (see `worker`).
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import subprocess
import sys
import sysconfig
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock import harness
from penstock.backend import Definition
from penstock_backends.local import objects, preloading
from penstock_backends.local.store import Store
from penstock_backends.lowering import step_part

Json = Any
HERE = Path(__file__).parent
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
    connection: socket.socket
    kind: Kind
    ticket: str = ""


class Workers:
    """The worker processes of one run."""

    def __init__(self, definition: Definition, store: Store, folder: Path, at_once: int) -> None:
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

    def has_room(self, kind: Kind) -> bool:
        """Whether an attempt of that kind can be taken now."""
        nursery = self._nurseries.get(kind)
        return nursery is None or bool(nursery.idle) or nursery.size < self._most_slots

    def start(self, ticket: str, kind: Kind, request: Json) -> None:
        """Has an attempt run; `wait` will give its answer under ``ticket``."""
        slot = self._slot(kind)
        slot.ticket = ticket
        try:
            _send(slot.connection, request)
        except OSError:
            self._lost.append(slot)
            self.wake()

    def wait(self, seconds: float | None) -> list[tuple[str, Json]]:
        """The answers that are there, or come within so many seconds, or until `wake`."""
        answers = []
        for key, _ in self._selector.select(None if seconds is None else max(0.0, seconds)):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    while self._bell.recv(4096):
                        pass
            elif key.data not in self._lost:
                answers.extend(self._heard(key.data))
        for slot in self._lost:
            answers.extend(self._bereaved(slot))
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
            nursery.control.close()
        for nursery in self._nurseries.values():
            try:
                nursery.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                nursery.process.kill()
                nursery.process.wait()
        self._nurseries.clear()

    def _heard(self, slot: _Slot) -> list[tuple[str, Json]]:
        try:
            message = _receive(slot.connection)
        except OSError:
            return self._bereaved(slot)
        if "ready" in message:
            if not slot.ticket:  # a new one has its first request before it can say so
                self._nurseries[slot.kind].idle.append(slot)
            return []
        ticket, slot.ticket = slot.ticket, ""
        return [(ticket, message)]

    def _bereaved(self, slot: _Slot) -> list[tuple[str, Json]]:
        """Takes note that a slot is gone; the answer for the attempt that it had, if it had one."""
        self._selector.unregister(slot.connection)
        slot.connection.close()
        nursery = self._nurseries.get(slot.kind)
        reason = ""
        if nursery is not None:
            nursery.size -= 1
            if slot in nursery.idle:
                nursery.idle.remove(slot)
            with contextlib.suppress(subprocess.TimeoutExpired):
                nursery.process.wait(0.05)  # if it is gone as well, that shows in a moment
                nursery.control.close()
                del self._nurseries[slot.kind]
                reason = self._last_words()
        hint = f" ({reason})" if reason else ""
        error = {"error": f"the worker process of the attempt was ended from outside, or could not start{hint}"}
        return [(slot.ticket, error)] if slot.ticket else []

    def _last_words(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]

    def _slot(self, kind: Kind) -> _Slot:
        nursery = self._nurseries.get(kind) or self._new_nursery(kind)
        if nursery.idle:
            return nursery.idle.popleft()
        ours, theirs = socket.socketpair()
        slot = _Slot(ours, kind)
        with theirs, contextlib.suppress(OSError):  # a nursery that is gone shows when the request is sent
            socket.send_fds(nursery.control, [b"s"], [theirs.fileno()])
        self._selector.register(ours, selectors.EVENT_READ, slot)
        nursery.size += 1
        return slot

    def _new_nursery(self, kind: Kind) -> _Nursery:
        ours, theirs = socket.socketpair()
        setup = self._store.objects.draft()
        setup.write_text(json.dumps(self._setup(kind, theirs.fileno())), encoding="ascii")
        command = [
            kind.python or sys.executable,
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
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # so that Ctrl-C reaches the runner alone, which then ends them in order
            )
        nursery = self._nurseries[kind] = _Nursery(process, ours)
        return nursery

    def _setup(self, kind: Kind, descriptor: int) -> Json:
        spec = self._definition.spec
        return {
            "descriptor": descriptor,
            "modules": program_of(self._definition),
            "steps": {step.id: step_part(step) for step in spec.steps},
            "objects": str(self._store.objects.folder),
            "drafts": str(self._store.drafts),
            "path": []
            if kind.python
            else [str(Path(each).absolute()) for each in sys.path if not self._is_authors(each)],
            "preload": preloading.modules(spec) if kind.is_preloaded else [],
        }

    def _is_authors(self, entry: str) -> bool:
        """Whether a path entry leads to the author's own modules, of which a step is to see only what was captured."""
        folder, place = self._definition.folder, Path(entry).resolve()
        if folder is None or any(place == Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")):
            return False
        return place == folder.resolve()


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


def _send(connection: socket.socket, message: Json) -> None:
    body = json.dumps(message, separators=(",", ":")).encode("ascii")
    connection.sendall(len(body).to_bytes(8, "big") + body)


def _receive(connection: socket.socket) -> Json:
    length = int.from_bytes(_received(connection, 8), "big")
    return json.loads(_received(connection, length))


def _received(connection: socket.socket, count: int) -> bytes:
    found = bytearray()
    while len(found) < count:
        part = connection.recv(min(count - len(found), 1 << 20))
        if not part:
            raise ConnectionResetError
        found += part
    return bytes(found)
