"""Pipelines with branches, loops, gates and endings that the tests of the local engine run."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from penstock import Gate, Retry, RunStatus, current_attempt, flow, log_metadata, log_metric, pipeline, step


@step
def upto(count: int) -> list[int]:
    return list(range(count))


@step
def double(value: int) -> int:
    log_metric("doubled", 2 * value)
    if value == 13:
        raise ValueError("unlucky")
    return 2 * value


@step
def total(values: list[int]) -> int:
    return sum(values)


@pipeline
def fanned(count: int = 3) -> int:
    found = [double(value) for value in upto(count) if value != 1]
    return total(found)


@pipeline
def over(values: list[int]) -> list[int]:
    return [double(value) for value in values]


@pipeline
def some_fail(values: list[int]) -> int:
    return total([double(value) for value in values])


@step
def naps(item: int, seconds: float) -> int:
    time.sleep(seconds / (item + 1))
    return item


@pipeline
def bounded(count: int, seconds: float = 0.1) -> list[int]:
    found = []
    for item in flow.parallel(upto(count), 2):
        first = naps(item, seconds)
        found.append(naps.with_options(name="second")(first, seconds))
    return found


@dataclass
class Grade:
    """Compares in its own way, and leaves a trace of the process in which it did."""

    value: int

    def __gt__(self, other: object) -> bool:
        print("compared", flush=True)
        return isinstance(other, Grade) and self.value > other.value


@step
def grade(value: int) -> Grade:
    return Grade(value)


@pipeline
def graded(value: int = 3) -> int:
    if grade(value) > grade(2):
        return double(value)
    return double(0)


@step(cache=False)
def noted(note: str, word: str) -> None:
    with Path(note).open("a") as stream:
        stream.write(f"{word}\n")


@step
def score(value: float) -> float:
    log_metric("margin", value / 2)
    log_metadata(unit="points", of=[1, None])
    return value


@pipeline
def gated(note: str, value: float, floor: float = 0.8) -> None:
    checked = score.with_options(gates=[Gate("output", ">=", floor, message="too weak"), Gate("margin", "<", 10)])(
        value
    )
    assert checked > 0.85, f"only {checked}"
    noted(note, "deployed")


@step(cache=False)
def undo(note: str, name: str) -> None:
    with Path(note).open("a") as stream:
        stream.write(f"undo {name}\n")


@step(rollback=undo)
def create(note: str, name: str) -> str:
    with Path(note).open("a") as stream:
        stream.write(f"create {name}\n")
    return name


@step
def told(note: str, status: RunStatus) -> None:
    with Path(note).open("a") as stream:
        stream.write(f"{status.pipeline} {status.state} {sorted(status.failures)}\n")


@step
def last(note: str, seconds: float) -> None:
    with Path(note).open("a") as stream:
        stream.write("leaving\n")
    time.sleep(seconds)
    with Path(note).open("a") as stream:
        stream.write("left\n")


@step
def dies(how: str) -> str:
    if how == "exit":
        os._exit(3)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "raise":
        raise ValueError(how)
    return how


@step
def named(name: str) -> list[str]:
    return [f"{name}{number}" for number in range(3)]


@step
def use(value: str) -> str:
    return value


@pipeline(on_failure=told, on_exit=told.with_options(name="told_last"))
def undone(note: str, how: str = "raise") -> None:
    first = create(note, "a")
    made = [create.with_options(name="each")(note, name) for name in named(first)]
    dies.with_options(after=made)(how)


@pipeline(on_failure=told, on_exit=last)
def interrupted(note: str, pids: str, seconds: float = 0.0) -> str:
    create(note, "a")
    return use(sleeps(pids))


SLEEPER = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(float(sys.argv[1]))
"""


@step
def holds(release: str, size: int) -> int:
    memory = bytearray(1) * size
    deadline = time.monotonic() + 30
    while not Path(release).exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    return len(memory) if Path(release).exists() else -1


@step
def sleeps(note: str, seconds: float = 60.0) -> str:
    child = subprocess.Popen([sys.executable, "-c", SLEEPER, str(seconds)])
    Path(note).write_text(f"{os.getpid()} {child.pid}\n")
    child.wait()
    return note


@pipeline(timeout=1.0, on_failure=told)
def overdue(note: str, pids: str) -> str:
    quick = double(1)
    slow = sleeps(pids)
    use.with_options(name="after_quick", after=quick)("x")
    return use(slow)


@step(retry=Retry(5, delay=60.0))
def never() -> int:
    raise ValueError(f"attempt {current_attempt()}")


@pipeline(timeout=1.0)
def overdue_between_attempts() -> int:
    return double(never())


@pipeline(on_exit=last)
def drained(note: str, release: str, seconds: float = 0.0) -> None:
    held = holds(release, 1)
    double(held)
    never.with_options(after=held)()


@step(retry=1)
def burns() -> int:
    memory = bytearray(100_000_000)
    began = time.process_time()
    while time.process_time() - began < 0.05:
        memory[::4096] = bytes(len(memory[::4096]))
    if current_attempt() == 1:
        raise ValueError("once more")
    return len(memory)


@pipeline
def burning() -> int:
    return burns()


@pipeline
def holding(release: str, size: int = 1) -> None:
    assert holds(release, size) >= 0


@step(cache=False)
def pauses(seconds: float) -> None:
    time.sleep(seconds)


@pipeline
def pausing(seconds: float) -> None:
    pauses(seconds)


@step(cache=False)
def parent_of_spans() -> tuple[str, str]:
    from opentelemetry import trace

    return os.environ["TRACEPARENT"], f"{trace.get_current_span().get_span_context().span_id:016x}"


@pipeline
def traced() -> tuple[str, str]:
    return parent_of_spans()


@step
def odd_values(text: str, number: int) -> str:
    log_metric("large", 2**70)
    log_metric("nan", float("nan"))
    return text


@pipeline
def odd(text: str, number: int) -> str:
    return odd_values(text, number)
