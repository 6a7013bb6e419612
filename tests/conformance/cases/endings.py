"""The end of a run: what runs when it has failed, what runs always, what is undone, and when time is up."""

import os
import signal
import time
from pathlib import Path

from penstock import Retry, RunStatus, current_attempt, pipeline, step
from tests.conformance.case import Case


@step
def number(value: int) -> int:
    return value


@step
def upto(count: int) -> list[int]:
    return list(range(count))


@step
def total(values: list[int]) -> int:
    return sum(values)


@step
def fails(value: int) -> int:
    raise ValueError(f"no good: {value}")


@step
def not_two(value: int) -> int:
    if value == 2:
        raise ValueError(f"no good: {value}")
    return value


@step
def page(status: RunStatus) -> None:
    assert status == RunStatus(
        "told_of_failures", "failed", {"fails": "ValueError: no good: 1", "not_two[2]": "ValueError: no good: 2"}
    ), status


@step
def cleanup() -> int:
    return 1


@step
def told_too(status: RunStatus) -> dict[str, str]:
    assert status.state == "failed"
    return dict(sorted(status.failures.items()))


@pipeline(on_failure=page, on_exit=[cleanup, told_too])
def told_of_failures() -> int:
    bad = fails(number(1))
    for value in upto(3):
        not_two(value)
    return number.with_options(name="last")(bad)


@step
def all_well(status: RunStatus) -> None:
    assert status == RunStatus("told_of_success", "succeeded", {}), status


@step(retry=Retry(2))
def second_time() -> int:
    if current_attempt() < 2:
        raise RuntimeError("not yet")
    return current_attempt()


@pipeline(on_failure=page, on_exit=all_well)
def told_of_success() -> int:
    return second_time()


@step
def fails_at_the_end(status: RunStatus) -> None:
    raise RuntimeError(f"cannot clean up after {status.state}")


@pipeline(on_exit=[fails_at_the_end, cleanup])
def an_exit_that_fails() -> int:
    return number(1)


@step
def only_the_first(status: RunStatus) -> None:
    assert list(status.failures) == ["fails"], status


@pipeline(on_failure=fails_at_the_end, on_exit=only_the_first)
def an_ending_that_fails_hides_no_failure() -> int:
    return fails(1)


@step
def dies(how: str) -> int:
    if how == "exit":
        os._exit(3)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    blocks = []
    while how == "memory":
        blocks.append(bytearray(2**26))
        if len(blocks) > 4:
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel would, sooner than it would
    return 1


@step
def told_of_deaths(status: RunStatus) -> None:
    assert sorted(status.failures) == ["dies", "dies_2", "dies_3"], status
    assert all(status.failures.values()), status


@pipeline(on_failure=told_of_deaths, on_exit=cleanup)
def endings_after_killed_steps() -> list[int]:
    return [dies("exit"), dies("kill"), dies("memory")]


def noted(note: str, word: str) -> None:
    with Path(note).open("a") as stream:
        stream.write(f"{word}\n")


@step(cache=False)
def undo_create(note: str, name: str) -> None:
    noted(note, f"undo create {name}")


@step(cache=False, rollback=undo_create)
def create(note: str, name: str) -> str:
    noted(note, f"create {name}")
    return name


@step(cache=False)
def undo_attach(note: str, attached: str) -> None:
    noted(note, f"undo attach {attached}")


@step(cache=False, rollback=undo_attach)
def attach(note: str, thing: str) -> str:
    noted(note, f"attach {thing}")
    return f"{thing} for good"


@step(cache=False)
def use(thing: str) -> str:
    raise ValueError(f"no use for {thing}")


@step(cache=False)
def undone_in_order(note: str) -> None:
    said = Path(note).read_text().splitlines()
    assert said == ["create a", "attach a", "undo attach a for good", "undo create a", "paged"], said


@step(cache=False)
def page_after(note: str, status: RunStatus) -> None:
    assert list(status.failures) == ["use"], status
    noted(note, "paged")


@pipeline(on_failure=page_after, on_exit=undone_in_order)
def rollback_over_a_chain(note: str) -> str:
    thing = attach(note, create(note, "a"))
    done = use(thing)
    return create.with_options(name="never")(note, done)


@pipeline(on_exit=cleanup)
def rollback_of_a_run_that_succeeds(note: str) -> str:
    return attach(note, create(note, "a"))


@step(cache=False)
def undo_open(note: str, name: str) -> None:
    noted(note, f"undo open {name}")
    raise RuntimeError("it does not close")


@step(cache=False, rollback=undo_open)
def open_it(note: str, name: str) -> str:
    noted(note, f"open {name}")
    return name


@pipeline
def deployed(note: str, name: str) -> str:
    made = create(note, name)
    opened = open_it(note, made)
    return use(opened)


@step(cache=False)
def undone_all_the_same(note: str, status: RunStatus) -> None:
    assert list(status.failures) == ["deployed.use"], status
    said = Path(note).read_text().splitlines()
    assert said[-3:] == ["undo open b", "undo create b", "undo create outer"], said


@pipeline(on_exit=undone_all_the_same)
def a_failure_in_a_nested_pipeline_with_rollback(note: str) -> str:
    outer = create.with_options(name="outer")(note, "outer")
    return deployed.with_options(after=outer)(note, "b")


@step(cache=False)
def undo_reserve(note: str, value: int) -> None:
    noted(note, f"undo {value}")


@step(cache=False, rollback=undo_reserve)
def reserve(note: str, value: int) -> int:
    if value == 1:
        raise ValueError(f"no good: {value}")
    return value


@step(cache=False)
def undone_from_the_last(note: str, status: RunStatus) -> None:
    assert list(status.failures) == ["reserve[1]"], status
    said = Path(note).read_text().splitlines()
    assert said == ["undo 3", "undo 2", "undo 0"], said


@pipeline(on_exit=undone_from_the_last)
def rollback_in_a_loop(note: str) -> int:
    return total([reserve(note, value) for value in upto(4)])


@step(timeout=1.5)
def slow_at_two(value: int) -> int:
    if value == 2:
        time.sleep(90)
    return value


@pipeline(on_exit=cleanup)
def a_timeout_of_one_item() -> int:
    return total([slow_at_two(value) for value in upto(4)])


@step(retry=Retry(1))
def dies_at_first(value: int) -> int:
    if current_attempt() == 1 or value == 2:
        os._exit(1)
    return value


@pipeline(on_failure=cleanup)
def items_that_die() -> int:
    return total([dies_at_first(value) for value in upto(3)])


@step
def too_slow() -> int:
    time.sleep(90)
    return 1


@step
def told_of_the_time(status: RunStatus) -> None:
    assert list(status.failures) == ["too_slow"], status
    assert "timeout" in status.failures["too_slow"], status


@pipeline(timeout=4, on_failure=told_of_the_time, on_exit=cleanup)
def out_of_time() -> int:
    return number(too_slow())


@step
def slow_item(value: int) -> int:
    time.sleep(90)
    return value


@step
def told_of_each_item(status: RunStatus) -> None:
    assert sorted(status.failures) == ["slow_item[0]", "slow_item[1]", "slow_item[2]"], status


@pipeline(timeout=6, on_exit=told_of_each_item)
def out_of_time_in_a_loop() -> int:
    return total([slow_item(value) for value in upto(3)])


@step
def patient() -> int:
    return 1


@pipeline(timeout=600, on_exit=cleanup)
def in_time() -> int:
    return patient()


@step(retry=Retry(1), env={"SUITE_TEST_A": "at the end"})
def told_at_last(limit: int, status: RunStatus) -> str:
    if current_attempt() < 2:
        raise RuntimeError("not yet")
    return f"{status.state} {limit} {os.environ['SUITE_TEST_A']}"


@step
def shorter_than(limit: int) -> None:
    assert limit < 5


@pipeline(on_failure=told_at_last, on_exit=[told_at_last, shorter_than])
def endings_are_steps(limit: int = 7) -> int:
    return fails(limit)


@pipeline(on_failure=page, on_exit=cleanup)
def endings_after_a_skip(wanted: bool = False) -> int:
    if wanted:
        fails(1)
    return number(1)


FOLDER = {"note": "{folder}/note.txt"}

CASES = (
    Case(
        told_of_failures,
        "What runs at the end of a failed run is told which instances failed, and of what; the run stays failed.",
        nodes={
            "fails": "failed",
            "not_two[2]": "failed",
            "last": "upstream_failed",
            "page": "succeeded",
            "cleanup": "succeeded",
            "told_too": "succeeded",
        },
    ),
    Case(
        told_of_success,
        "A run that came to succeed by a retry has not failed.",
        nodes={"page": "skipped", "all_well": "succeeded"},
        returns=2,
    ),
    Case(
        an_exit_that_fails,
        "An exit step that fails is reported and fails the run; the next one runs all the same.",
        nodes={"number": "succeeded", "fails_at_the_end": "failed", "cleanup": "succeeded"},
    ),
    Case(
        an_ending_that_fails_hides_no_failure,
        "What fails at the end is not told as what the run failed of.",
        nodes={"fails": "failed", "fails_at_the_end": "failed", "only_the_first": "succeeded"},
    ),
    Case(
        endings_after_killed_steps,
        "A step that is killed, or ends its process, cannot tell of it; what runs at the end must know all the same.",
        nodes={
            "dies": "failed",
            "dies_2": "failed",
            "dies_3": "failed",
            "told_of_deaths": "succeeded",
            "cleanup": "succeeded",
        },
        fails={"dies": "exit code 3", "dies_2": "SIGKILL", "dies_3": "SIGKILL"},
    ),
    Case(
        rollback_over_a_chain,
        "What was done is undone, the last first, before anyone is told; what was not done is not undone.",
        FOLDER,
        nodes={
            "use": "failed",
            "undo_attach": "succeeded",
            "undo_create": "succeeded",
            "never": "upstream_failed",
            "page_after": "succeeded",
            "undone_in_order": "succeeded",
        },
    ),
    Case(
        rollback_of_a_run_that_succeeds,
        "Nothing is undone where nothing failed.",
        FOLDER,
        nodes={"undo_attach": "skipped", "undo_create": "skipped", "cleanup": "succeeded"},
    ),
    Case(
        a_failure_in_a_nested_pipeline_with_rollback,
        "A failure inside undoes what stands outside as well; an undoing that fails stops no other.",
        FOLDER,
        nodes={"deployed.use": "failed", "undone_all_the_same": "succeeded"},
    ),
    Case(
        rollback_in_a_loop,
        "Each item that completed is undone, the last first; the one that failed is not.",
        FOLDER,
        nodes={"reserve[1]": "failed", "undone_from_the_last": "succeeded"},
    ),
    Case(
        a_timeout_of_one_item,
        "A timeout bounds each item by itself.",
        nodes={"slow_at_two[3]": "succeeded", "total": "upstream_failed", "cleanup": "succeeded"},
        fails={"slow_at_two[2]": "exceeded its timeout"},
    ),
    Case(
        items_that_die,
        "An item whose process ends is tried again like any step, and ends no other item.",
        nodes={"total": "upstream_failed", "cleanup": "succeeded"},
        gives={"dies_at_first[0]": 0, "dies_at_first[1]": 1},
        fails={"dies_at_first[2]": "exit code 1"},
    ),
    Case(
        out_of_time,
        "When the run's time is up, what runs is ended, and what runs at the end still does.",
        nodes={
            "too_slow": "failed",
            "number": "upstream_failed",
            "told_of_the_time": "succeeded",
            "cleanup": "succeeded",
        },
        fails={"too_slow": "the run exceeded its timeout"},
    ),
    Case(
        out_of_time_in_a_loop,
        "When time is up, all items that are under way are ended, and none begins.",
        nodes={"total": "upstream_failed", "told_of_each_item": "succeeded"},
        fails={f"slow_item[{number}]": "the run exceeded its timeout" for number in range(3)},
    ),
    Case(
        endings_are_steps,
        "What runs at the end has retries, settings and the pipeline's parameters like any step.",
        nodes={"told_at_last": "succeeded", "told_at_last_2": "succeeded", "shorter_than": "failed"},
    ),
    Case(in_time, "A bound that is not reached changes nothing.", nodes={"cleanup": "succeeded"}),
    Case(
        endings_after_a_skip,
        "A run in which a step was skipped has not failed.",
        nodes={"fails": "skipped", "page": "skipped", "cleanup": "succeeded"},
    ),
)
