"""Pipelines that the tests of the local engine run."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from penstock import Resources, Retry, current_attempt, log_metric, pipeline, step


@step
def one() -> int:
    return 1


@step
def add(left: int, right: int = 1) -> int:
    return left + right


@pipeline
def chain(start: int = 0) -> int:
    number = start
    for _ in range(5):
        number = add(number)
    return number


class Summary(NamedTuple):
    total: int
    words: list[str]


@dataclass(frozen=True)
class Point:
    x: int
    y: float = 0.5


class Opaque:
    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return type(other) is Opaque and other.value == self.value

    __hash__ = None


@step
def summarise(point: Point) -> Summary:
    return Summary(point.x, ["a", "b"])


@step
def wrap(value: int) -> Opaque:
    return Opaque(value)


@pipeline
def named(point: Point = Point(2)) -> Summary:  # frozen
    return summarise(point)


@pipeline
def several(point: Point = Point(2)) -> tuple[Opaque, int, Point]:  # frozen
    summary = summarise(point)
    return wrap(summary.total), summary.total, point


@pipeline
def nothing() -> None:
    one()


@step
def fails(value: int) -> int:
    scale = 0
    return value // scale


@pipeline
def one_failure() -> int:
    bad = fails(one())
    add.with_options(name="independent")(5, 6)
    return add(add.with_options(name="below")(bad))


@step
def misbehaves(how: str) -> str:
    if current_attempt() > 1:
        return how
    print("last words", flush=True)
    if how == "exit":
        os._exit(3)
    if how == "sys.exit":
        sys.exit("enough")
    if how == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "kill worker":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return how


@pipeline
def misbehaving(how: str) -> str:
    return misbehaves(how)


@pipeline
def misbehaving_once(how: str) -> str:
    return misbehaves.with_options(retry=1)(how)


@step
def closes_everything() -> str:
    os.closerange(0, 1024)
    return "done"


@step
def leaves() -> str:
    os.chdir("/")
    os.environ["LEFT"] = "behind"
    return str(Path.cwd())


@step
def sees() -> tuple[str, str]:
    return os.environ.get("LEFT", ""), str(list(Path().iterdir()))


@pipeline
def careless() -> tuple[str, str, tuple[str, str]]:
    closed = closes_everything()
    gone = leaves.with_options(after=closed)()
    return closed, gone, sees.with_options(after=gone)()


DAEMON = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], "w").write(str(os.getpid()))
        time.sleep(90)
os._exit(0)
"""


@step
def leaves_daemon(note: str) -> int:
    """A daemon in a session of its own, that holds the log and ignores SIGTERM."""
    subprocess.run([sys.executable, "-c", DAEMON, note], check=True)
    while not Path(note).exists() or not Path(note).read_text():
        time.sleep(0.01)
    return 1


@pipeline
def daemonic(note: str) -> int:
    return leaves_daemon(note)


@step
def sleeps(note: str, seconds: float = 60.0) -> str:
    child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds})"])
    with Path(note).open("a") as file:
        file.write(f"{os.getpid()} {child.pid}\n")
    child.wait()
    return note


@pipeline
def sleeping(note: str, seconds: float = 60.0) -> str:
    one()
    sleeps.with_options(name="other")(note, seconds)
    return sleeps.with_options(name="after")(sleeps(note, seconds), seconds)


@step(retry=Retry(2, delay=0.4, backoff=2.0, max_delay=0.5))
def third_time() -> int:
    if current_attempt() < 3:
        raise RuntimeError(f"attempt {current_attempt()}")
    return current_attempt()


@step
def naps(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@pipeline
def retried_beside_others() -> tuple[int, list[float]]:
    return third_time(), [naps(0.01), naps(0.02), naps(0.03)]


@step(timeout=30)
def meets(folder: str, number: int, count: int) -> None:
    """Ends once as many are under way."""
    Path(folder, f"{number}.met").touch()
    while len([*Path(folder).glob("*.met")]) < count:
        time.sleep(0.01)


@pipeline
def meeting(folder: str) -> None:
    for number in range(4):
        meets(folder, number, 4)


@pipeline
def nap_together() -> list[float]:
    return [naps(0.30), naps(0.31), naps(0.32), naps(0.33)]


@pipeline
def hungry() -> list[float]:
    greedy = naps.with_options(resources=Resources(cpu=1.5))
    return [greedy(0.20), greedy(0.21), naps(0.22)]


@pipeline
def too_hungry() -> float:
    return naps.with_options(resources=Resources(cpu=10_000, memory="900TiB"))(0.1)


@step
def prints_bytes() -> int:
    print("text before")
    os.write(1, b"\xff\x00raw")
    sys.stderr.write("and an error")
    return 1


@pipeline
def talkative() -> int:
    return add(prints_bytes())


@step
def draw() -> float:
    return float(np.random.random())  # the global generator is what is tested


@pipeline
def random_twice() -> tuple[float, float]:
    return draw(), draw()


@step
def measured(value: int) -> int:
    log_metric("value", value)
    log_metric("half", value / 2)
    log_metric("none", float("nan"))
    return value


@pipeline
def with_metrics(value: int = 3) -> int:
    return measured(value)


@step
def folder_with_everything() -> Path:
    place = Path("made")
    (place / "deep" / "empty").mkdir(parents=True)
    (place / "deep" / "data.bin").write_bytes(bytes(range(256)))
    (place / "run.sh").write_text("#!/bin/sh\n")
    (place / "run.sh").chmod(0o755)
    (place / "link").symlink_to("deep/data.bin")
    return place


@step
def spoils(place: Path) -> list[str]:
    """Writes all over its input."""
    found = sorted(path.relative_to(place).as_posix() for path in place.rglob("*"))
    (place / "deep" / "data.bin").write_bytes(b"spoiled")
    (place / "extra").write_text("extra")
    return found


@step
def reads(place: Path, after: list[str]) -> tuple[bytes, bool, str, list[str]]:
    names = sorted(path.relative_to(place).as_posix() for path in place.rglob("*"))
    return (place / "link").read_bytes(), os.access(place / "run.sh", os.X_OK), os.readlink(place / "link"), names


@pipeline
def spoiled() -> tuple[bytes, bool, str, list[str]]:
    place = folder_with_everything()
    return reads(place, spoils(place))


@step
def array(size: int) -> np.ndarray:
    return np.arange(size)


@step
def total(values: np.ndarray) -> int:
    return int(values.sum())


@pipeline
def arrays(size: int = 1000) -> int:
    return total(array(size))


@pipeline
def with_impossible_packages() -> int:
    one()
    return add.with_options(packages=["nowhere @ file:///nowhere.whl"])(1)


@step
def talks_out_of_turn(number: int) -> int:
    for descriptor in range(3, 64):
        try:
            is_socket = os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")
        except OSError:
            continue
        if is_socket:
            os.write(descriptor, (2).to_bytes(8, "big") + b"{}" + (9).to_bytes(8, "big") + b"no answer")
    return number


@pipeline
def out_of_turn() -> int:
    return add(talks_out_of_turn(1))


@step(timeout=0.5)
def ends_politely(number: int) -> int:
    def leave(received: int, frame: object) -> None:
        raise SystemExit("asked to leave")

    signal.signal(signal.SIGTERM, leave)
    with contextlib.suppress(SystemExit):
        time.sleep(60)
    return number


@pipeline
def polite() -> int:
    return ends_politely(1)


@step(cache=False)
def kills_those_that_wait(numbers: list[int]) -> int:
    def parent(pid: int) -> int:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

    nursery, killed = parent(os.getppid()), 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            slot = parent(int(entry.name))
            if slot > 1 and slot != os.getppid() and parent(slot) == nursery:
                os.kill(int(entry.name), signal.SIGKILL)
                killed += 1
        except (OSError, ValueError, IndexError):
            continue
    return killed


@pipeline
def waiting_ones_killed() -> int:
    killed = kills_those_that_wait([add(1), add(2), add(3)])
    later = [add.with_options(retry=5)(killed, number) for number in range(6)]
    assert len(later) == 6
    return killed
