"""The processes in which steps run. A program that `workers.Workers` starts; it never imports Penstock.

    python worker.py HARNESS OBJECTS SETUP

It is three kinds of process. The *nursery*, which is what is started, has the harness and, where that is safe, the
author's libraries loaded; it forks a *slot* each time it is sent one end of a connection. A slot runs one attempt at
a time, in an *attempt* process that it has forked beforehand: so the author's code meets a fresh process each time
without waiting for one, and whatever that process starts and leaves behind is found below its slot, and ended.

A slot says ``{"ready": true}`` when it can take a request, and answers each with the step's result or its error. It
may answer a little before it is ready again: what is left of an attempt ends while the next one runs elsewhere.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import gc
import importlib
import importlib.util
import io
import json
import os
import resource
import select
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
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
# Looked up here, once, and not in each attempt.
PRCTL = getattr(ctypes.CDLL(None), "prctl", None)
codecs.lookup("ascii")


class GoneError(Exception):
    """The runner is gone, or wants what is under way to end."""


# --- messages
# -------------------------------------------------------------------------------------------------------------


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

    def wait(self, connections: typing.Sequence[socket.socket], seconds: float | None) -> list[socket.socket]:
        """Waits for a child's end, a message, or so many seconds; the connections that have something to say."""
        poll = select.poll()
        for each in (*connections, self._reader):
            poll.register(each, select.POLLIN)
        found = dict(poll.poll(None if seconds is None else max(0.0, seconds) * 1000 + 1))
        if self._reader.fileno() in found:
            with contextlib.suppress(BlockingIOError):
                while self._reader.recv(4096):
                    pass
        return [each for each in connections if each.fileno() in found]

    def mute(self) -> None:
        """Takes the bell down, in a child."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._reader.close()
        self._writer.close()


# --- the nursery
# ----------------------------------------------------------------------------------------------------------


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
        messages = bell.wait([control], None)
        _bury(slots)
        if messages:
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
    if PRCTL is not None:
        PRCTL(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


# --- a slot
# ---------------------------------------------------------------------------------------------------------------


class Spare(typing.NamedTuple):
    """An attempt process that waits to be told what to run: its id, and the line to it."""

    child: int
    line: socket.socket


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
        self.folder = stored.AttemptFolder(self.objects)
        self.child = 0
        gc.disable()  # attempts switch it on; here it would only write to memory that they share
        signal.signal(signal.SIGTERM, self._stop)

    def serve(self) -> None:
        """Answers requests. Raises `GoneError` when there will be no more."""
        try:
            while True:
                self.folder.make()
                spare = self._new_spare()
                try:
                    send(self.connection, {"ready": True})
                    self._answer(receive(self.connection), spare)
                finally:
                    spare.line.close()
                    harness.end_processes(spare.child)
                    self.child = 0
        finally:
            self.folder.remove()

    def _take_back(self, log: Path) -> None:
        """Takes a log that nothing was written to back, to be used again."""
        with contextlib.suppress(OSError):
            if log.stat().st_size == 0:
                log.replace(self.folder.log)

    def _answer(self, request: Json, spare: Spare) -> None:
        """Has the spare run an attempt, stores what it returned, and tells that, or the error that it ended with."""
        began = time.monotonic()
        self.objects.seals.update(request["seals"])
        with contextlib.suppress(ConnectionError):  # it died while it waited: the attempt's end says so
            send(spare.line, request)
        self._compile(request["step"])
        answer = self._heard(spare, request["timeout"])
        outputs = answer.get("outputs", {})
        has_artifacts = any(map(stored.artifacts_in, outputs.values()))
        if has_artifacts or "error" in answer:  # then nothing may be left that could still write
            self._let_end(spare.child)
            harness.end_processes(spare.child)
        answer["seconds"] = time.monotonic() - began
        try:
            if "error" in answer:
                _append(Path(request["log"]), answer.get("traceback") or f"error: {answer['error']}")
            if "outputs" in answer:  # as it has, too, where only a gate was not passed
                for name, wire in outputs.items():
                    outputs[name] = stored.publish(wire, self.folder.outputs, self.objects)
                stored.write_record(Path(request["result"]), answer, self.objects.draft())
        except OSError as error:  # a full disk, or a store that went away: this attempt's end, not the run's
            answer = {"error": f"what the step returned cannot be stored: {error}", "seconds": answer["seconds"]}
        self._take_back(Path(request["log"]))
        given = [each["digest"] for wire in answer.get("outputs", {}).values() for each in stored.artifacts_in(wire)]
        send(self.connection, {**answer, "seals": {digest: self.objects.seals[digest] for digest in given}})
        self._let_end(spare.child)

    def _heard(self, spare: Spare, timeout: float | None) -> Json:
        """What the attempt says, or what there is to say of it."""
        deadline = None if timeout is None else time.monotonic() + timeout
        said = bytearray()
        lines = [self.connection, spare.line]
        while True:
            ended = _ended(spare.child)
            is_quiet = not _read_on(spare.line, said)
            if len(said) >= LENGTH.size and len(said) - LENGTH.size >= LENGTH.unpack_from(said)[0]:
                with contextlib.suppress(ValueError):
                    return json.loads(said[LENGTH.size :])
            if ended is not None:
                status, usage = ended
                with contextlib.suppress(OSError, ValueError):
                    return json.loads((self.folder.answer).read_bytes())
                return {"error": harness.how_it_died(status), "usage": usage}
            if is_quiet:
                lines = [self.connection]
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return {"error": harness.out_of_time(timeout), "usage": _usage_so_far(spare.child)}
            if self.connection in self.bell.wait(lines, left):
                raise GoneError

    def _let_end(self, child: int) -> None:
        """Gives an attempt that has said its last word the moment that it takes to exit by itself."""
        deadline = time.monotonic() + 0.1
        while _ended(child) is None and time.monotonic() < deadline:
            self.bell.wait([], deadline - time.monotonic())

    def _compile(self, step: str) -> None:
        """Has a step's code ready for the attempts to come."""
        if step not in self.programs:
            program = self.programs[step] = harness.Program(self.modules, self.steps[step]["reach"])
            with contextlib.suppress(Exception):  # the attempt itself will say what is wrong
                for name in program.modules:
                    program.compiled(name)

    def _stop(self, number: int, frame: object) -> typing.NoReturn:
        if self.child:
            harness.end_processes(self.child)
        os._exit(128 + number)

    def _new_spare(self) -> Spare:
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        child = os.fork()
        if child:
            theirs.close()
            self.child = child
            return Spare(child, ours)
        ours.close()
        return self._attend(theirs, parent)

    # --- an attempt's own process

    def _attend(self, line: socket.socket, parent: int) -> typing.NoReturn:
        """Waits for a request and runs it, in the process that was forked for it."""
        code = 0
        try:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            _end_with(parent, signal.SIGKILL)
            self.bell.mute()
            self.connection.close()
            gc.enable()
            _seed_anew()
            os.chdir(self.folder.work)
            _speak_to(self.folder.log)
            request = receive(line)
            self.folder.log.rename(request["log"])
            answer = self._performed(request)
        except GoneError:
            os._exit(0)
        except stored.CorruptedError as error:
            answer, code = {"error": str(error)}, 1
        except BaseException as error:  # noqa: BLE001  # whatever it raises, SystemExit too, fails it
            answer, code = harness.failure(error), 1
        with contextlib.suppress(Exception):  # the author may have closed them
            sys.stdout.flush()
            sys.stderr.flush()
        answer["usage"] = _usage_of_this_process()
        try:
            send(line, answer)
        except OSError:  # the author closed every descriptor
            (self.folder.answer).write_text(harness.dumps(answer), encoding="ascii")
        os._exit(code)

    def _performed(self, request: Json) -> Json:
        os.environ.update(request["env"])
        outputs = {
            node: {
                name: stored.located(wire, self.folder.inputs / node / name, self.objects)
                for name, wire in wires.items()
            }
            for node, wires in request["outputs"].items()
        }
        self._compile(request["step"])
        self.programs[request["step"]].install()
        step = self.steps[request["step"]]
        inputs = harness.Inputs(request["parameters"], request["kinds"], outputs)
        job = {**step, **request["job"]}
        function = harness.find_type(step["function"])
        return harness.perform(job, function, inputs, self.folder.outputs, request["attempt"])


def _ended(child: int) -> tuple[int, Json] | None:
    """A child's exit status and what it used; None while it runs, 0 and nothing where it was collected before."""
    try:
        done, status, used = os.wait4(child, os.WNOHANG)
    except ChildProcessError:
        return 0, {}
    return (status, _usage(used)) if done else None


def _usage(*used: resource.struct_rusage) -> Json:
    """The CPU time of some processes together, and the memory in bytes that one of them had at its largest."""
    return {
        "cpu_seconds": round(sum(each.ru_utime + each.ru_stime for each in used), 6),
        "peak_memory": max(each.ru_maxrss for each in used) * MAXRSS_UNIT,
    }


def _usage_of_this_process() -> Json:
    """What it has used, with its children that have ended."""
    return _usage(resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))


def _usage_so_far(child: int) -> Json:
    """What a child that still runs has used, with its children that have ended (Linux)."""
    try:
        times = Path(f"/proc/{child}/stat").read_text(errors="replace").rpartition(")")[2].split()[11:15]
        status = Path(f"/proc/{child}/status").read_text(errors="replace")
        peak = int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) * 1024
        return {"cpu_seconds": sum(map(int, times)) / os.sysconf("SC_CLK_TCK"), "peak_memory": peak}
    except (OSError, ValueError, IndexError):
        return {}


def _read_on(line: socket.socket, said: bytearray) -> bool:
    """Adds what has come on a line; whether more may come."""
    try:
        while part := line.recv(1 << 20, socket.MSG_DONTWAIT):
            said += part
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    return False


def _speak_to(log: Path) -> None:
    """Has this process, and what it starts, print into a file.

    Line by line, so that the last words of an attempt that is killed are there.
    """
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")


def _append(log: Path, text: str) -> None:
    with contextlib.suppress(OSError), log.open("ab") as stream:
        stream.write(text.encode("utf-8", "backslashreplace") + b"\n")


def _seed_anew() -> None:
    """Seeds NumPy's global generator, which forks would share though fresh processes would not.

    Python's own does so by itself.
    """
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


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
