"""Failing steps, retries and timeouts."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

from penstock import Retry, checkpoint_dir, current_attempt, pipeline, step
from tests.conformance.case import Case


@dataclasses.dataclass
class Base:
    one: int


@dataclasses.dataclass
class Derived(Base):
    two: int


@step
def good() -> int:
    return 1


@step
def plus_one(value: int) -> int:
    return value + 1


@step
def fails(value: int) -> int:
    raise ValueError(f"no good: {value} ${{{{ x }}}} {{{{ y }}}}")


@pipeline
def one_failure() -> int:
    bad = fails(good())
    below = plus_one(bad)
    plus_one.with_options(name="independent")(good.with_options(name="other")())
    plus_one.with_options(name="waits", after=bad)(1)
    return plus_one.with_options(name="last")(below)


@step(retry=Retry(3, delay=0.1, backoff=2.0, max_delay=0.3))
def third_time() -> int:
    if current_attempt() < 3:
        raise RuntimeError(f"attempt {current_attempt()}")
    return current_attempt()


@pipeline
def retried() -> int:
    return plus_one(third_time())


@step(retry=Retry(1, delay=0.1))
def never() -> int:
    raise RuntimeError("never")


@pipeline
def retries_exhausted() -> int:
    return plus_one(never())


@step(retry=2)
def dies(how: str) -> int:
    if current_attempt() < 3:
        if how == "exit":
            os._exit(0)
        if how == "sys.exit":
            sys.exit(0)
        os.kill(os.getpid(), signal.SIGKILL if how == "kill" else signal.SIGSEGV)
    return current_attempt()


@pipeline
def deaths_count_as_attempts() -> list[int]:
    return [dies("exit"), dies("sys.exit"), dies("kill"), dies("segfault")]


@step(timeout=1.0)
def too_long() -> int:
    time.sleep(60)
    return 1


@pipeline
def timed_out() -> int:
    good()
    return plus_one(too_long())


@step(retry=Retry(2, delay=0.1))
def goes_on(word: str) -> list[str]:
    kept = checkpoint_dir() / "words"
    words = kept.read_text().split() if kept.exists() else []
    kept.write_text(" ".join([*words, word]))
    if len(words) < 2:
        raise RuntimeError(f"stopped after {len(words) + 1} words")
    return words


@pipeline
def attempts_go_on_from_checkpoints(words: list[str] = ["a", "b"]) -> list[list[str]]:
    return [goes_on(word) for word in words]


STUBBORN = """
import os, signal, sys, time
signal.signal(15, signal.SIG_IGN)
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(90)
"""


@step(timeout=2.0, retry=1, cache=False)
def stubborn(note: str) -> int:
    if current_attempt() == 1:
        subprocess.Popen([sys.executable, "-c", STUBBORN, note])
        time.sleep(60)
    return current_attempt()


@step(cache=False)
def is_gone(note: str, attempt: int) -> bool:
    pid = int(open(note).read())  # noqa: SIM115  # as authors write it
    deadline = time.time() + 5
    while time.time() < deadline:
        try:
            if open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] == "Z":  # noqa: SIM115  # as authors write it
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


@pipeline
def a_timeout_ends_the_whole_attempt(note: str) -> tuple[bool, int]:
    attempt = stubborn(note)
    return is_gone(note, attempt), attempt


@step
def wrong_type() -> int:
    return object()  # type: ignore[return-value]


@pipeline
def a_result_that_is_not_what_was_declared() -> int:
    return plus_one(wrong_type())


@step
def a_text_for_a_number() -> int:
    return "1"  # type: ignore[return-value]


@step
def a_cut_record() -> Base:
    return Derived(1, 2)


@step
def value_of(record: Base) -> int:
    return record.one


@pipeline
def results_that_would_change_on_the_way() -> tuple[int, int]:
    return plus_one(a_text_for_a_number()), value_of(a_cut_record())


@pipeline
def half_bad() -> int:
    fails(1)
    return good()


@pipeline
def a_failure_beside_what_is_taken() -> int:
    taken = half_bad()
    plus_one.with_options(name="waits", after=taken)(1)
    return plus_one(taken)


CASES = (
    Case(
        one_failure,
        "What depends on a failure does not run, what does not depend on it does, and the run fails.",
        nodes={"fails": "failed", "plus_one": "upstream_failed", "waits": "upstream_failed", "last": "upstream_failed"},
    ),
    Case(retried, "A retry is made, counted, and readable in the step.", returns=4),
    Case(
        retries_exhausted,
        "When no attempt is left, the step has failed.",
        nodes={"never": "failed", "plus_one": "upstream_failed"},
    ),
    Case(
        deaths_count_as_attempts,
        "An attempt whose process dies is retried like one that raises.",
        gives={"dies": 3, "dies_2": 3, "dies_3": 3, "dies_4": 3},
        returns=[3, 3, 3, 3],
    ),
    Case(
        attempts_go_on_from_checkpoints,
        "What an attempt leaves in its checkpoint folder is there for the next one, item by item.",
        gives={"goes_on[0]": ["a", "a"], "goes_on[1]": ["b", "b"]},
        returns=[["a", "a"], ["b", "b"]],
    ),
    Case(
        timed_out,
        "A step that takes too long fails, and nothing else does.",
        nodes={"plus_one": "upstream_failed"},
        fails={"too_long": "exceeded its timeout"},
    ),
    Case(
        a_timeout_ends_the_whole_attempt,
        "A timeout ends a child that ignores SIGTERM, and the retry runs without it.",
        {"note": "{folder}/pid"},
        gives={"stubborn": 2, "is_gone": True},
        returns=(True, 2),
    ),
    Case(
        results_that_would_change_on_the_way,
        "A subclass would be cut down to the declared fields, and a text would take a number's place, without a word.",
        nodes={
            "a_text_for_a_number": "failed",
            "plus_one": "upstream_failed",
            "a_cut_record": "failed",
            "value_of": "upstream_failed",
        },
        fails={"a_text_for_a_number": "not an int", "a_cut_record": "not a Base"},
    ),
    Case(
        a_failure_beside_what_is_taken,
        "Who takes a nested pipeline's result waits for what makes it; who comes after it, for all of it.",
        nodes={"half_bad.fails": "failed", "waits": "upstream_failed"},
    ),
    Case(
        a_result_that_is_not_what_was_declared,
        "A result that cannot be what the annotation says fails its own step, not a later one.",
        nodes={"plus_one": "upstream_failed"},
        fails={"wrong_type": "not an int"},
    ),
)
