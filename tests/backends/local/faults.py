"""Pipelines whose steps do what no step should."""

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from penstock import log_metric, pipeline, step

MEGABYTE = 1 << 20
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"


def eats_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    bytearray(1 << 34)


def reads_address_zero() -> None:
    ctypes.string_at(0)


def leaves_quietly() -> None:
    os._exit(0)


def aborts() -> None:
    os.abort()


def ignores_the_request_to_end() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)


def starts_stubborn_children() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(60)


def kills_its_session() -> None:
    os.killpg(0, signal.SIGKILL)


def exhausts_descriptors() -> None:
    held = []
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))


def recurses() -> None:
    recurses()


def raises_all_of_its_data() -> None:
    raise ValueError(f"the data: {'x' * 10_000_000}, all of it")


def raises_what_cannot_be_told() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    raise MuteError


ERRORS = {
    each.__name__: each
    for each in (
        eats_memory,
        reads_address_zero,
        leaves_quietly,
        aborts,
        ignores_the_request_to_end,
        starts_stubborn_children,
        kills_its_session,
        exhausts_descriptors,
        recurses,
        raises_all_of_its_data,
        raises_what_cannot_be_told,
    )
}


@step
def errs(how: str) -> int:
    print("last words")
    ERRORS[how]()
    return 1


@step
def counts(value: int) -> int:
    return value + 1


@pipeline
def erring(how: str) -> int:
    counts(1)
    return counts(errs.with_options(timeout=60.0)(how))


@pipeline
def overdue(how: str) -> int:
    counts(1)
    return counts(errs.with_options(timeout=1.0)(how))


def removes_its_folder() -> None:
    shutil.rmtree(Path.cwd())


def handles_all_signals() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, lambda number, frame: time.sleep(0))
    signal.set_wakeup_fd(-1)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)


def starts_threads_that_never_end() -> None:
    for _ in range(3):
        threading.Thread(target=time.sleep, args=(3600,)).start()


def reads_its_input() -> None:
    assert sys.stdin.read() == ""
    assert os.read(0, 1) == b""


def leaves_the_group() -> None:
    subprocess.Popen([sys.executable, "-c", STUBBORN], start_new_session=True)


def prints_much_without_a_line() -> None:
    block = os.urandom(MEGABYTE).replace(b"\n", b"x")
    for _ in range(100):
        os.write(1, block)


def changes_the_clock() -> None:
    time.time = lambda: 0.0
    time.monotonic = lambda: 1e9


def stops_itself_for_a_moment() -> None:
    subprocess.Popen(["sh", "-c", f"sleep 0.1; kill -CONT {os.getpid()}"])
    os.kill(os.getpid(), signal.SIGSTOP)


def closes_its_output() -> None:
    sys.stdout.close()
    sys.stderr.close()


def forks_and_returns_twice() -> None:
    os.fork()


def waits_for_all_children() -> None:
    try:
        while True:
            os.wait()
    except ChildProcessError:
        return


MISUSES = {
    each.__name__: each
    for each in (
        removes_its_folder,
        handles_all_signals,
        starts_threads_that_never_end,
        reads_its_input,
        leaves_the_group,
        changes_the_clock,
        stops_itself_for_a_moment,
        closes_its_output,
        forks_and_returns_twice,
        waits_for_all_children,
    )
}


@step
def bears(how: str) -> int:
    MISUSES[how]()
    log_metric("times", 1)
    return 1


@pipeline
def bearing(how: str) -> int:
    return counts(bears.with_options(timeout=60.0)(how))


@step
def fails_at_length() -> None:
    prints_much_without_a_line()
    raise ValueError("at last")


@pipeline
def failing_at_length() -> None:
    fails_at_length()


@step
def removes(folder: str) -> int:
    while Path(folder).exists():  # processes that wait for work may make a file meanwhile
        shutil.rmtree(folder, ignore_errors=True)
    return 1


@pipeline
def sawing(folder: str) -> int:
    return counts(removes(folder))


@step
def kills_above(levels: int) -> int:
    pid = os.getpid()
    for _ in range(levels):
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(pid, signal.SIGKILL)
    time.sleep(60)
    return levels


@pipeline
def losing(levels: int) -> tuple[int, list[int]]:
    return counts(kills_above(levels)), [counts(number) for number in range(4)]
