"""The processes in which steps run. A program that `workers.Workers` starts (see `START`); it never imports Penstock.

It is three kinds of process. The *nursery*, which is what is started, has the harness and, where that is safe, the
author's libraries loaded; it forks a *slot* each time it is sent one end of a connection. A slot runs one attempt at
a time, in an *attempt* process that it has forked beforehand: so the author's code meets a fresh process each time
without waiting for one, and whatever that process starts and leaves behind is found below its slot, and ended. Where a
step can leave nothing behind (see `residue`), its process is as good as a fresh one, and waits for the next attempt.

A slot sends the runner ``ready`` with a line to the attempt process that waits. On that line the runner sends the
request, and is told the result: the slot looks at neither, and runs again only when the attempt has ended. Then it
ends what is left of it, and sends the runner ``ended`` where there is more to say: that it died, that its time was
up, or what it has left to be published, its artifacts. All messages are JSON, after their length.

What a step costs is, nearly all of it, pages: after a fork, the first write to each one copies it, and to use a Python
object is to write to it. So what runs between a fork and the author's code makes use of few objects.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal.signal` makes enums: 0.2 ms in a process just forked
import _socket  # whose sockets are closed by no Python code
import codecs
import contextlib
import ctypes
import decimal
import faulthandler
import functools
import gc
import importlib
import importlib.util
import io
import json
import math
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
import types
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

    harness = _loaded("penstock_harness", sys.argv[2])
    stored = _loaded("penstock_objects", sys.argv[3])

Json = typing.Any
LENGTH = struct.Struct("!Q")
DESCRIPTOR = struct.Struct("i")
ENCODER = json.JSONEncoder(separators=(",", ":"))
DECODER = json.JSONDecoder()
REHEARSALS = 10  # Python takes eight calls to adapt code to what it works on
MOST_CPU_SECONDS, MOST_MEMORY = 0.1, 4 << 20  # of the attempts that one process runs
PR_SET_PDEATHSIG = 1
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
# Looked up here, once, and not in each attempt.
PRCTL = getattr(ctypes.CDLL(None), "prctl", None)
GIVE_WAY = getattr(os, "sched_yield", lambda: None)
codecs.lookup("ascii")


class GoneError(Exception):
    """The runner is gone, or wants what is under way to end."""


# --- messages
# -------------------------------------------------------------------------------------------------------------


def receive(connection: _socket.socket) -> Json:
    """The next message. Raises `GoneError` where the other side is gone."""
    (length,) = LENGTH.unpack(_received(connection, LENGTH.size))
    return DECODER.raw_decode(str(_received(connection, length), "ascii"))[0]


def _received(connection: _socket.socket, count: int) -> bytes | bytearray:
    found: bytes | bytearray = b""
    while len(found) < count:
        try:
            part = connection.recv(min(count - len(found), 1 << 20))
        except ConnectionError:
            raise GoneError from None
        if not part:
            raise GoneError
        if not found:
            found = part  # and that is all, nearly always
        elif isinstance(found, bytes):
            found = bytearray(found) + part
        else:
            found += part
    return found


def framed(message: Json) -> bytes:
    """A message as it is sent."""
    return _framed(ENCODER.encode(message))


def _framed(text: str) -> bytes:
    body = text.encode("ascii")
    return LENGTH.pack(len(body)) + body


class Bell:
    """Rings when a child has ended, so that one can wait for that and for a message at once."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def wait(self, connections: typing.Sequence[socket.socket], seconds: float = math.inf) -> list[socket.socket]:
        """Waits for a child's end, a message, or so many seconds; the connections that have something to say."""
        poll = select.poll()
        for each in (*connections, self._reader):
            poll.register(each, select.POLLIN)
        found = dict(poll.poll(None if seconds == math.inf else max(0.0, seconds) * 1000 + 1))
        if self._reader.fileno() in found:
            with contextlib.suppress(BlockingIOError):
                while self._reader.recv(4096):
                    pass
        return [each for each in connections if each.fileno() in found]

    def take_down(self) -> None:
        """Takes it down, in a child."""
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
    rehearsal = Rehearsal()
    rehearsal.repeat()
    programs = Programs(setup)
    programs.prepare(setup["first"])
    new_slot = functools.partial(Slot, setup=setup, programs=programs, rehearsal=rehearsal, kills=_kills_for_memory())
    gc.freeze()
    gc.enable()
    bell = Bell()
    slots: set[int] = set()
    while True:
        messages = bell.wait([control])
        _bury(slots)
        if messages:
            _, descriptors, _, _ = socket.recv_fds(control, 1, 2)
            if not descriptors:
                return _leave(slots)
            slots.add(_fork_slot([socket.socket(fileno=each) for each in descriptors], control, bell, new_slot))


class Rehearsal:
    """An attempt at nothing."""

    JOB: typing.ClassVar[Json] = {
        "arguments": {"number": {"kind": "output", "node": "before", "output": "output"}},
        "returns": {"kind": "value"},
        "outputs": [{"name": "output", "text": "int", "kind": "int"}],
    }

    def __init__(self) -> None:
        self._program = Program({"rehearsal": "def same(number): return number"}, {"rehearsal": ["same"]})
        self._job = ENCODER.encode(self.JOB)
        self._folder = Path()  # made here, as that is more code than all of `run`

    def repeat(self) -> None:
        """Has Python adapt what an attempt runs to what it works on, in the code: forks find that done."""
        ours, theirs = _socket.socketpair()
        for _ in range(REHEARSALS):
            self._program.prepare("rehearsal:same")
            self.run(self._program.function("rehearsal:same"))
            ours.sendall(framed(self.JOB))
            receive(theirs)
            self._program.withdraw()
        del os.environ[harness.CHECKPOINTS]
        ours.close()
        theirs.close()

    def run(self, function: typing.Callable[[int], int]) -> None:
        """Does what an attempt does: in a process just forked, most of its time goes into copying the pages for that.

        What it leaves, a variable of the environment, has a value in each attempt.
        """
        os.environ[harness.CHECKPOINTS] = ""
        job = DECODER.raw_decode(self._job)[0]
        answer = harness.perform(job, function, harness.Inputs({}, {}, {"before": {"output": 1}}), self._folder)
        answer["usage"] = _usage_of_this_process()
        framed(answer)


def _same(number: int) -> int:
    return number


def _fork_slot(
    lines: list[socket.socket], control: socket.socket, bell: Bell, new_slot: typing.Callable[[socket.socket], Slot]
) -> int:
    parent = os.getpid()
    child = os.fork()
    if child:
        for each in lines:
            each.close()
        return child
    bell.take_down()
    control.close()
    _end_with(parent, signal.SIGTERM)
    with contextlib.suppress(GoneError, ConnectionError):
        connection, first = lines
        new_slot(connection).serve(first)
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
    """Waits for the slots, each of which has seen the runner go and ends its attempt; ends what a dead one left."""
    with contextlib.suppress(ChildProcessError):
        while slots:
            slots.discard(os.wait()[0])
        while not _is_childless():
            for pid in harness.descendants((os.getpid(),)):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            os.wait()


def _end_with(parent: int, number: int) -> None:
    """Has this process sent a signal when its parent ends (Linux)."""
    if PRCTL is not None:
        PRCTL(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


# --- a slot
# ---------------------------------------------------------------------------------------------------------------


class Program(harness.Program):
    """A step's program, with all made ready beforehand that runs none of the author's code."""

    _blank: types.ModuleType | None = None

    def prepare(self, function: str) -> None:
        """Compiles the modules, and makes the function's, with nothing in it yet, where that is in no package."""
        for each in self.modules:
            self.compiled(each)
        name = function.partition(":")[0]
        if "." not in name and name in self.modules:
            self._blank = importlib.util.module_from_spec(self.find_spec(name))

    def function(self, name: str) -> typing.Any:
        """Installs the program, and finds the function in it. To import takes a hundred times the pages of this."""
        self.install()
        if self._blank is None:
            return harness.find_type(name)
        sys.modules[self._blank.__name__] = self._blank
        self.exec_module(self._blank)
        return functools.reduce(getattr, name.partition(":")[2].split("."), self._blank)

    def withdraw(self) -> None:
        """Undoes `install`, and takes what was imported of the program since then with it."""
        sys.meta_path.remove(self)
        for name in (*self.modules, *self.packages, "penstock"):
            sys.modules.pop(name, None)
        self._blank = None


class Programs:
    """The programs of a pipeline's steps, each made when it is first asked for."""

    def __init__(self, setup: Json) -> None:
        self.steps = setup["steps"]
        self._modules = setup["modules"]
        self._made: dict[str, Program] = {}

    def of(self, step: str) -> Program:
        """A step's program."""
        if step not in self._made:
            self._made[step] = Program(self._modules, self.steps[step]["reach"])
        return self._made[step]

    def prepare(self, step: str) -> None:
        """Has a step's code ready for the attempts to come."""
        with contextlib.suppress(Exception):  # the attempt itself will say what is wrong
            self.of(step).prepare(self.steps[step]["function"])


class Wear:
    """What the attempts that one process ran have left in it, and used.

    Where that is much, it ends: a fork then costs little beside the step, and what is told of a process that is killed
    counts all of its attempts.
    """

    def __init__(self) -> None:
        self._modules = len(sys.modules)
        self._memory = _usage_of_this_process()["peak_memory"]
        self._peak, self._cpu = self._memory, 0.0

    def usage(self) -> Json:
        """What was used since this was last asked, or the process began."""
        usage, before = _usage_of_this_process(), self._cpu
        self._cpu, self._peak = usage["cpu_seconds"], usage["peak_memory"]
        usage["cpu_seconds"] = round(self._cpu - before, 6)
        return usage

    def is_slight(self) -> bool:
        """Whether an attempt may run here that is to find, and to tell, what it would in a new process."""
        is_small = self._cpu <= MOST_CPU_SECONDS and self._peak - self._memory <= MOST_MEMORY
        return is_small and len(sys.modules) == self._modules


class Slot:
    """Runs the attempts that it is asked for, one at a time."""

    def __init__(
        self, connection: socket.socket, setup: Json, programs: Programs, rehearsal: Rehearsal, kills: int
    ) -> None:
        harness.adopt_orphans()
        self.connection = connection
        self.programs = programs
        self.rehearsal = rehearsal
        self.poll = select.poll()
        self.poll.register(connection, select.POLLIN)
        self.objects = stored.Objects(Path(setup["objects"]), Path(setup["drafts"]))
        self.folder = stored.AttemptFolder(self.objects)
        self.work = self.log = ""
        self.child = 0
        self.kills = kills
        self.attempt = 0  # the number of the one that waits or runs: what is said of one that has ended comes too late
        gc.disable()  # attempts switch it on; here it would only write to memory that they share
        signal.signal(signal.SIGTERM, self._stop)

    def serve(self, line: _socket.socket) -> None:
        """Has one spare wait after the other, and tells what became of each. Raises `GoneError` when no more may.

        ``line`` is the first one's; of those after it, the runner is sent the other end.
        """
        try:
            self._fork(line)
            while True:
                try:
                    ended = self._attended()
                finally:
                    if not _is_childless():
                        harness.end_processes(self.child)
                    self.child = 0
                if "error" in ended or "outputs" in ended:
                    self.connection.sendall(framed({"ended": self._published(ended)}))
                self.attempt += 1
                runners, ours = _socket.socketpair()
                self._fork(ours, runners)
                sent = (socket.SOL_SOCKET, socket.SCM_RIGHTS, DESCRIPTOR.pack(runners.fileno()))
                self.connection.sendmsg([_ready(ended["usage"])], [sent])
                runners.close()
        finally:
            if self.child:  # a spare of which the runner will not hear: it may be about to open its log
                with contextlib.suppress(OSError):
                    os.kill(self.child, signal.SIGKILL)
                    os.waitpid(self.child, 0)
            self.folder.remove()

    def _attended(self) -> Json:
        """Waits until an attempt has ended, or is to be; what it used, and what is to be said of it besides that."""
        limit, deadline = None, math.inf
        watch = self._watched(self.child)
        try:
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    self.connection.sendall(framed({"late": True}))  # before it is ended: it may yet say something
                    return {"error": harness.out_of_time(limit), "usage": _usage_so_far(self.child)}
                longest = math.inf if watch else 0.01
                wait = None if left == longest == math.inf else min(left, longest) * 1000 + 1
                speaking = [descriptor for descriptor, _ in self.poll.poll(wait)]
                ended = _ended(self.child)
                if ended is not None:
                    return self._left(*ended)
                if self.connection.fileno() in speaking:
                    note = receive(self.connection)
                    self.programs.prepare(note["step"])
                    if note["timeout"] is not None and note["attempt"] == self.attempt:
                        limit, deadline = note["timeout"], time.monotonic() + note["timeout"]
        finally:
            if watch:
                self.poll.unregister(watch)
                os.close(watch)

    def _watched(self, child: int) -> int:
        """Has `poll` see a child's end; the descriptor for that, 0 where the system has none."""
        if sys.platform != "linux":
            return 0
        watch = os.pidfd_open(child)
        self.poll.register(watch, select.POLLIN)
        return watch

    def _left(self, status: int, usage: Json) -> Json:
        """What an attempt that has ended has left here, where it has not told the runner everything."""
        if not status:
            return {"usage": usage}
        with contextlib.suppress(OSError, ValueError):
            return {"usage": usage, **json.loads(self.folder.answer.read_bytes())}
        return {"error": self._cause(status, usage), "usage": usage}

    def _cause(self, status: int, usage: Json) -> str:
        """How an attempt died; of one that was killed, whether that was for want of memory."""
        is_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        kills, self.kills = self.kills, _kills_for_memory() if is_killed else self.kills
        if self.kills == kills:
            return harness.how_it_died(status)
        return (
            "the attempt was killed by SIGKILL: out of memory, the kernel says; it held "
            f"{usage['peak_memory'] / 2**20:.0f} MiB. Have it hold less at a time, or less run beside it by saying "
            "what it needs: resources=Resources(memory=...)"
        )

    def _published(self, answer: Json) -> Json:
        """An answer with its artifacts moved into the store, when nothing is left that could still write to them."""
        try:
            outputs = {
                name: stored.publish(wire, self.folder.outputs, self.objects)
                for name, wire in answer.get("outputs", {}).items()
            }
        except OSError as error:  # a full disk, or a store that went away: this attempt's end, not the run's
            return {"error": f"what the step returned cannot be stored: {error}", "usage": answer["usage"]}
        digests = [each["digest"] for wire in outputs.values() for each in stored.artifacts_in(wire)]
        seals = {digest: self.objects.seals[digest] for digest in digests}
        return {**answer, **({"outputs": outputs} if outputs else {}), "seals": seals}

    def _stop(self, number: int, frame: object) -> typing.NoReturn:
        # Right after a fork the child is not known here yet, and may be at work.
        child = self.child or max(harness.descendants((os.getpid(),)), default=0)
        if child:
            harness.end_processes(child)
        os._exit(128 + number)

    def _fork(self, line: _socket.socket, other_end: _socket.socket | None = None) -> None:
        """Forks a spare: an attempt process that waits for what it is to run on ``line``, of which it has one end."""
        self.folder.make()
        self.work, self.log = str(self.folder.work), str(self.folder.log)
        parent = os.getpid()
        gc.freeze()  # or what was made since the last fork is gone through, and its pages copied, in the attempt
        self.child = os.fork()
        if not self.child:
            if other_end is not None:
                other_end.close()
            self._attend(line, parent)
        line.close()

    # --- an attempt's own process

    def _attend(self, line: _socket.socket, parent: int) -> typing.NoReturn:
        """Runs what it is asked for, in the process that was forked for that, until something is left of it."""
        try:
            self._settle_in(parent)
        except BaseException as error:  # noqa: BLE001  # whatever it is, the attempt fails that was to be run here
            self._tell(line, {**harness.failure(error), "usage": _usage_of_this_process()})
            os._exit(1)
        wear = Wear()
        while self._attempted(line, wear):
            pass
        os._exit(0)

    def _settle_in(self, parent: int) -> None:
        os.setsid()
        _signal.signal(signal.SIGTERM, _signal.SIG_DFL)
        _end_with(parent, signal.SIGKILL)
        os.close(self.connection.fileno())
        gc.enable()
        _seed_anew()
        os.chdir(self.work)
        _speak_to(self.log)
        self.rehearsal.run(_same)

    def _attempted(self, line: _socket.socket, wear: Wear) -> bool:
        """Waits for a request and runs it; whether this process is then as it was before, and waits for another."""
        log = ""
        request: Json = None
        try:
            request = receive(line)
            os.rename(self.log, request["log"])  # noqa: PTH104  # a Path would be made for it in each attempt
            log = request["log"]
            answer = self._hidden(request) if "secrets" in request else self._performed(request)
        except GoneError:
            os._exit(0)
        except stored.CorruptedError as error:
            answer = {"error": str(error)}
        except BaseException as error:  # noqa: BLE001  # whatever it raises, SystemExit too, fails it
            answer = harness.failure(error)
        with contextlib.suppress(Exception):  # the author may have closed them
            sys.stdout.flush()
            sys.stderr.flush()
        has_log = self._take_back(log)
        answer["usage"] = wear.usage()
        leaves_none = "error" not in answer and request["leaves_none"]
        waits = leaves_none and self._is_restored(request["step"], wear, has_log=has_log)
        if not self._tell(line, answer, waits=waits):
            os._exit(1)
        if waits:
            gc.collect()  # its classes, which refer to themselves, would be found below those of libraries
            self.programs.prepare(request["step"])
        return waits

    def _is_restored(self, step: str, wear: Wear, *, has_log: bool) -> bool:
        """Whether nothing is left of an attempt that left only what is undone here."""
        self.programs.of(step).withdraw()
        decimal.getcontext().clear_flags()  # which those that the step was given may have raised
        if not (wear.is_slight() and _is_childless()):
            return False
        try:
            if not has_log:
                _speak_to(self.log)
        except OSError:
            return False
        return True

    def _performed(self, request: Json) -> Json:
        for name, value in request["env"].items():  # `update` asks what a mapping is, which takes 0.1 ms in a fork
            os.environ[name] = value
        self.objects.seals.update(request["seals"])
        outputs = {
            node: {
                name: stored.located(wire, self.folder.inputs / node / name, self.objects)
                if stored.artifacts_in(wire)
                else wire
                for name, wire in wires.items()
            }
            for node, wires in request["outputs"].items()
        }
        step = self.programs.steps[request["step"]]
        function = self.programs.of(request["step"]).function(step["function"])
        inputs = harness.Inputs(request["parameters"], request["kinds"], outputs)
        job = {**step, **request["job"]}
        return harness.perform(job, function, inputs, self.folder.outputs, request["attempt"])

    def _hidden(self, request: Json) -> Json:
        """Runs a request in a process below this one, which hides the values of its secrets in all that this shows."""
        above = os.getpid()

        def perform() -> Json:
            _end_with(above, signal.SIGKILL)
            try:
                return self._performed(request)
            except stored.CorruptedError as error:
                return {"error": str(error)}

        return harness.isolate(perform, None, harness.Mask([request["env"][name] for name in request["secrets"]]))

    def _take_back(self, log: str) -> bool:
        """Takes a log that nothing was written to back, to be used again; whether it was one."""
        with contextlib.suppress(OSError):
            if os.stat(log).st_size == 0:  # noqa: PTH116
                os.rename(log, self.log)  # noqa: PTH104
                return True
        return False

    def _tell(self, line: _socket.socket, answer: Json, *, waits: bool = False) -> bool:
        """Tells the runner; whether that is all. Else the slot has artifacts to publish, or something to clear up."""
        if not any(map(stored.artifacts_in, answer.get("outputs", {}).values())):
            with contextlib.suppress(OSError):  # the author may have closed it
                line.sendall(framed({**answer, "waits": True} if waits else answer))
                GIVE_WAY()  # to the runner: to end a process takes longer than a short step
                return "error" not in answer
        try:
            self.folder.answer.write_text(harness.dumps(answer), encoding="ascii")
        except OSError as error:
            said = {"error": f"what the step returned cannot be stored: {error}", "usage": answer["usage"]}
            with contextlib.suppress(OSError):
                line.sendall(framed(said))
        return False


def _ended(child: int) -> tuple[int, Json] | None:
    """A child's exit status and what it used; None while it runs, 0 and nothing where it was collected before."""
    try:
        done, status, used = os.wait4(child, os.WNOHANG)
    except ChildProcessError:
        return 0, {}
    return (status, _usage(used)) if done else None


def _kills_for_memory() -> int:
    """How many processes of this one's control group the kernel has ended so far because memory ran out (Linux)."""
    groups: dict[str, str] = {}
    with contextlib.suppress(OSError):
        groups = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    # A container may see its own group where the machine has its root; version 1 of control groups names the resource.
    for tree, file in (("memory", "memory.oom_control"), ("", "memory.events")):
        for group in (groups.get(tree, ""), ""):
            with contextlib.suppress(OSError, ValueError, IndexError):
                said = Path(f"/sys/fs/cgroup/{tree}/{group}/{file}").read_text()
                return int(said.partition("oom_kill ")[2].split(maxsplit=1)[0])
    return 0


def _is_childless() -> bool:
    """Whether nothing is left of an attempt that has ended: what it left would be a child of this process (Linux)."""
    if PRCTL is None:  # then it is not this process that adopts orphans
        return False
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def _ready(usage: Json) -> bytes:
    """What a slot says when the next attempt process waits. An encoder would touch a quarter of the slot's pages."""
    listed = ",".join([f'"{name}":{usage[name]!r}' for name in usage])
    return _framed(f'{{"ready":true,"usage":{{{listed}}}}}')


def _usage(used: resource.struct_rusage) -> Json:
    """The CPU time of a process, and its memory in bytes when that was largest."""
    return {"cpu_seconds": round(used.ru_utime + used.ru_stime, 6), "peak_memory": used.ru_maxrss * MAXRSS_UNIT}


def _usage_of_this_process() -> Json:
    """What it has used, with its children that have ended."""
    own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "cpu_seconds": round(own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime, 6),
        "peak_memory": max(own.ru_maxrss, others.ru_maxrss) * MAXRSS_UNIT,
    }


def _usage_so_far(child: int) -> Json:
    """What a child that still runs has used, with its children that have ended (Linux)."""
    try:
        times = Path(f"/proc/{child}/stat").read_text(errors="replace").rpartition(")")[2].split()[11:15]
        status = Path(f"/proc/{child}/status").read_text(errors="replace")
        peak = int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) * 1024
        return {"cpu_seconds": sum(map(int, times)) / os.sysconf("SC_CLK_TCK"), "peak_memory": peak}
    except (OSError, ValueError, IndexError):
        return {}


def _speak_to(log: str) -> None:
    """Has this process, and what it starts, print into a file."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def _seed_anew() -> None:
    """Seeds NumPy's global generator, which forks would share though fresh processes would not.

    Python's own does so by itself.
    """
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def main() -> None:
    """Becomes a nursery."""
    file = Path(sys.argv[4])
    setup = json.loads(file.read_bytes())
    file.unlink()
    sys.path[:] = setup["path"] or sys.path
    sys.argv = [""]
    warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork", category=DeprecationWarning)
    if isinstance(sys.stdout, io.TextIOWrapper):  # line by line: so the last words of what is killed are there
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    harness.HIDDEN_FILES.add(__file__)
    faulthandler.enable(2)  # which is the log of an attempt, in the process of one
    with contextlib.suppress(KeyboardInterrupt):
        nursery(socket.socket(fileno=int(setup["descriptor"])), setup)
    os._exit(0)  # the runner waits for this, and there is nothing to clear up
