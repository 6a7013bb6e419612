"""The processes in which steps run. A program that `workers.Workers` starts; it never imports Penstock.

    python worker.py HARNESS OBJECTS SETUP

It is three kinds of process. The *nursery*, which is what is started, has the harness and, where that is safe, the author's
libraries loaded; it forks a *slot* each time it is sent one end of a connection. A slot runs one attempt at a time, in an
*attempt* process that it forks: so the author's code meets a fresh process each time for the price of a fork, and whatever
that process starts and leaves behind is found below its slot, and ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import importlib.util
import json
import os
import select
import shutil
import signal
import socket
import struct
import sys
import time
import typing
import warnings
from pathlib import Path

if typing.TYPE_CHECKING:
    from penstock import harness
    from penstock_backends.local import objects as stored
else:

    def _loaded(name, file):  # noqa: ANN001, ANN202  # seen by no type checker
        spec = importlib.util.spec_from_file_location(name, file)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    harness = _loaded("penstock_harness", sys.argv[1])
    stored = _loaded("penstock_objects", sys.argv[2])

Json = typing.Any
LENGTH = struct.Struct("!Q")
PR_SET_PDEATHSIG = 1


class GoneError(Exception):
    """The runner is gone, or wants what is under way to end."""


# --- messages -------------------------------------------------------------------------------------------------------------


def receive(connection: socket.socket) -> Json:
    """The next message. Raises `GoneError` where the other side is gone."""
    (length,) = LENGTH.unpack(_received(connection, LENGTH.size))
    return json.loads(_received(connection, length))


def _received(connection: socket.socket, count: int) -> bytes:
    found = bytearray()
    while len(found) < count:
        try:
            part = connection.recv(min(count - len(found), 1 << 20))
        except ConnectionError:
            raise GoneError from None
        if not part:
            raise GoneError
        found += part
    return bytes(found)


def send(connection: socket.socket, message: Json) -> None:
    """Sends a message whole."""
    body = json.dumps(message, separators=(",", ":")).encode("ascii")
    connection.sendall(LENGTH.pack(len(body)) + body)


class Bell:
    """Rings when a child has ended, so that one can wait for that and for a message at once."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def wait(self, connection: socket.socket, seconds: float | None) -> bool:
        """Waits for a child's end, a message, or so many seconds; whether there is a message."""
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        poll.register(self._reader, select.POLLIN)
        found = dict(poll.poll(None if seconds is None else max(0.0, seconds) * 1000 + 1))
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass
        return connection.fileno() in found

    def mute(self) -> None:
        """Takes the bell down, in a child."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._reader.close()
        self._writer.close()


# --- the nursery ----------------------------------------------------------------------------------------------------------


def nursery(control: socket.socket, setup: Json) -> None:
    """Forks slots until the runner is gone, and ends what a slot that died has left."""
    harness.adopt_orphans()
    for name in setup["preload"]:
        with contextlib.suppress(Exception):  # the step that needs it will say what is wrong
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    bell = Bell()
    slots: set[int] = set()
    while True:
        has_message = bell.wait(control, None)
        _bury(slots)
        if has_message:
            _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not descriptors:
                return _leave(slots)
            slots.add(_new_slot(descriptors[0], control, bell, setup))


def _new_slot(descriptor: int, control: socket.socket, bell: Bell, setup: Json) -> int:
    parent = os.getpid()
    child = os.fork()
    if child:
        os.close(descriptor)
        return child
    bell.mute()
    control.close()
    _end_with(parent, signal.SIGTERM)
    with contextlib.suppress(GoneError, ConnectionError):
        Slot(socket.socket(fileno=descriptor), setup).serve()
    os._exit(0)


def _bury(slots: set[int]) -> None:
    """Collects the children that ended, and kills those that were not started here: attempts whose slot has died."""
    with contextlib.suppress(ChildProcessError):
        while (child := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            slots.discard(child)
            for pid in harness.descendants((os.getpid(),)) - harness.descendants(slots) - slots:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)


def _leave(slots: set[int]) -> None:
    """Waits for the slots, each of which has seen the runner go and ends its attempt."""
    while slots:
        try:
            slots.discard(os.wait()[0])
        except ChildProcessError:
            return


def _end_with(parent: int, number: int) -> None:
    """Has this process sent a signal when its parent ends (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


# --- a slot ---------------------------------------------------------------------------------------------------------------


class Slot:
    """Runs the attempts that it is asked for, one at a time."""

    def __init__(self, connection: socket.socket, setup: Json) -> None:
        harness.adopt_orphans()
        self.connection = connection
        self.bell = Bell()
        self.modules = setup["modules"]
        self.steps = setup["steps"]
        self.objects = stored.Objects(Path(setup["objects"]), Path(setup["drafts"]))
        self.programs: dict[str, harness.Program] = {}

    def serve(self) -> None:
        """Answers requests. Raises `GoneError` when there will be no more."""
        while True:
            send(self.connection, self.answer(receive(self.connection)))

    def answer(self, request: Json) -> Json:
        """Runs one attempt and stores what it returned; the record, or the error that it ended with."""
        began = time.monotonic()
        self.objects.seals.update(request["seals"])
        place = self.objects.draft()
        (place / "work").mkdir(parents=True)
        try:
            answer = self._attempt(request, place)
            if "error" in answer:
                _append(Path(request["log"]), answer.get("traceback") or f"error: {answer['error']}")
            else:
                answer["outputs"] = {
                    name: stored.publish(wire, place / "outputs", self.objects) for name, wire in answer["outputs"].items()
                }
                answer["seconds"] = time.monotonic() - began
                stored.write_record(Path(request["result"]), answer, self.objects.draft())
        except OSError as error:  # a full disk, or a store that went away: this attempt's end, not the run's
            answer = {"error": f"what the step returned cannot be stored: {error}"}
        finally:
            _remove(place)
        digests = [each["$artifact"]["digest"] for each in answer.get("outputs", {}).values() if stored.is_artifact(each)]
        seals = {digest: self.objects.seals[digest] for digest in digests}
        return {**answer, "seals": seals, "seconds": time.monotonic() - began}

    def _attempt(self, request: Json, place: Path) -> Json:
        program = self._program(request["step"])
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            self._run(request, program, place, parent)
        with harness.forwarded_signals(child):
            try:
                status = self._ended(child, request["timeout"])
            finally:
                harness.end_processes(child)
        if status is None:
            return {"error": harness.out_of_time(request["timeout"])}
        try:
            return json.loads((place / "answer.json").read_bytes())
        except (OSError, ValueError):
            return {"error": harness.how_it_died(status)}

    def _program(self, step: str) -> harness.Program:
        if step not in self.programs:
            program = self.programs[step] = harness.Program(self.modules, self.steps[step]["reach"])
            with contextlib.suppress(Exception):  # the attempt itself will say what is wrong
                for name in program.modules:
                    program.compiled(name)
        return self.programs[step]

    def _ended(self, child: int, timeout: float | None) -> int | None:
        """The child's exit status, or None where it outlived ``timeout``."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return status
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return None
            if self.bell.wait(self.connection, left):
                raise GoneError

    # --- in the attempt's own process

    def _run(self, request: Json, program: harness.Program, place: Path, parent: int) -> typing.NoReturn:
        code = 0
        try:
            os.setsid()
            _end_with(parent, signal.SIGKILL)
            self.bell.mute()
            self.connection.close()
            _speak_to(request["log"])
            answer = self._performed(request, program, place)
        except stored.CorruptedError as error:
            answer, code = {"error": f"{error}; run again, and what made it is computed anew"}, 1
        except BaseException as error:  # noqa: BLE001  # whatever the author's code raises, SystemExit too, fails the attempt
            answer, code = harness.failure(error), 1
        draft = place / "answer.draft"
        draft.write_text(harness.dumps(answer), encoding="ascii")
        draft.rename(place / "answer.json")
        with contextlib.suppress(Exception):  # the author may have closed them
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)

    def _performed(self, request: Json, program: harness.Program, place: Path) -> Json:
        os.environ.update(request["env"])
        _seed_anew()
        os.chdir(place / "work")
        outputs = {
            node: {
                name: stored.located(wire, place / "inputs" / node / name, self.objects) for name, wire in wires.items()
            }
            for node, wires in request["outputs"].items()
        }
        program.install()
        step = self.steps[request["step"]]
        inputs = harness.Inputs(request["parameters"], request["kinds"], outputs)
        job = {**step, "arguments": request["arguments"]}
        return harness.perform(job, harness.find_type(step["function"]), inputs, place / "outputs", request["attempt"])


def _speak_to(log: str) -> None:
    """Has this process, and what it starts, print into a file; line by line, so that a killed attempt's last words stay."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]  # a text stream


def _append(log: Path, text: str) -> None:
    with contextlib.suppress(OSError), log.open("ab") as stream:
        stream.write(text.encode("utf-8", "backslashreplace") + b"\n")


def _seed_anew() -> None:
    """Undoes what forking shares though fresh processes would differ: NumPy's global generator. (Python's own is reseeded.)"""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()  # type: ignore[attr-defined]  # NumPy is not imported here


def _remove(place: Path) -> None:
    """Removes an attempt's folder, in the few calls that most need."""
    try:
        (place / "answer.json").unlink()
        (place / "work").rmdir()
        place.rmdir()
    except OSError:
        shutil.rmtree(place, ignore_errors=True)


def main() -> None:
    """Becomes a nursery."""
    file = Path(sys.argv[3])
    setup = json.loads(file.read_bytes())
    file.unlink()
    sys.path[:] = setup["path"] or sys.path[1:]
    sys.argv = [""]
    warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork", category=DeprecationWarning)
    harness.HIDDEN_FILES.add(__file__)
    with contextlib.suppress(KeyboardInterrupt):
        nursery(socket.socket(fileno=int(setup["descriptor"])), setup)


if __name__ == "__main__":
    main()
