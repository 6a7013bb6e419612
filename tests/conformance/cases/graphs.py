"""The shapes of graphs: order, joins, nesting, names."""

import dataclasses
import itertools
import os
import time
from pathlib import Path
from typing import NamedTuple

from penstock import pipeline, step
from tests.conformance.case import Case


class Times(NamedTuple):
    began: float
    ended: float


@step(cache=False)
def slow() -> Times:
    began = time.time()
    time.sleep(0.2)
    return Times(began, time.time())


@step
def ordered(times: list[Times]) -> bool:
    return all(one.ended <= other.began for one, other in itertools.pairwise(times))


@pipeline
def after_orders_without_data() -> bool:
    first = slow()
    second = slow.with_options(name="second", after=first)()
    third = slow.with_options(name="third", after=[second])()
    return ordered([first, second, third])


@step
def number(value: int) -> int:
    return value


@step
def joined(values: list[int]) -> str:
    return ",".join(map(str, values))


@pipeline
def collected_in_order() -> str:
    return joined([number(value) for value in range(7, 0, -1)])


@step
def plus(a: int, b: int = 10) -> int:
    return a + b


@pipeline
def diamond(start: int = 1) -> int:
    top = plus(start)
    left, right = plus(top, b=2), plus(a=top)
    return plus(left, right)


@pipeline
def inner(value: int, more: int = 2) -> int:
    for _ in range(2):
        value = plus(value, more)
    return value


@pipeline
def middle(value: int) -> int:
    return inner(inner(value), more=1)


@pipeline
def nested(start: int = 5) -> int:
    once = middle(start)
    return plus.with_options(after=once)(once, middle(number(3)))


@step
def cls(value: int) -> int:
    return value + 1


@pipeline
def names_that_engines_keep_for_themselves() -> list[int]:
    taken = [
        "class",
        "None",
        "print",
        "dag",
        "task",
        "steps",
        "env",
        "params",
        "run-id",
        "needs",
        "output",
        "exit-handler",
    ]
    return [cls.with_options(name=name)(n) for n, name in enumerate(taken)]


@dataclasses.dataclass
class Named:
    """Outputs that are called what engines and the harness call theirs."""

    output: int
    outputs: int
    items: list[int]
    holds: bool
    result: str


@step
def taking(ds: str, ti: int, params: dict[str, int], inputs: int, env: str, name: str, on: bool) -> Named:
    return Named(ti, inputs, [ti, inputs], on, f"{ds} {params} {env} {name}")


@step
def taken(task: Named, context: int) -> list[str]:
    return [str(context), *map(str, dataclasses.astuple(task))]


@pipeline
def names_of_parameters_and_outputs(
    inputs: int = 1, dag: str = "d", env: str = "e", conf: dict[str, int] = {"a": 1}, run_id: str = "r", on: bool = True
) -> list[str]:
    made = taking(dag, inputs, conf, inputs, env, run_id, on)
    if made.holds:
        inputs = cls(made.output)
    items = [cls.with_options(name="items")(item) for item in made.items]
    return taken(made, inputs if items else made.outputs)


@pipeline
def names_alike() -> list[int]:
    names = ["load", "Load", "LOAD", "load-data", "load_data", "a" * 140, "a" * 140 + "b", "naïve", "_x", "x_", "x__y"]
    return [cls.with_options(name=name)(n) for n, name in enumerate(names)]


@step
def leave_a_file() -> str:
    Path("left.txt").write_text("x")
    return os.getcwd()


@step
def look_around(other: str) -> list[str]:
    assert os.getcwd() != other
    return os.listdir()


@pipeline
def own_working_directories() -> list[str]:
    return look_around(leave_a_file())


@step(env={"SUITE_TEST_A": "one", "SUITE_TEST_B": "x=1; echo $HOME 'é'"})
def environment() -> list[str | None]:
    return [os.environ.get("SUITE_TEST_A"), os.environ.get("SUITE_TEST_B")]


@step
def bare_environment() -> str | None:
    return os.environ.get("SUITE_TEST_A")


@pipeline
def env_of_one_step_only() -> tuple[list[str | None], list[str | None], str | None]:
    other = environment.with_options(name="other", env={"SUITE_TEST_A": ""})
    return environment(), other(), bare_environment()


@step(packages=["six==1.17.0"])
def with_six() -> str:
    import six

    return six.__version__


@pipeline
def packages_of_one_step() -> str:
    return with_six()


@step
def noisy() -> int:
    import subprocess
    import sys

    print("::warning::é \u2028 {{ x }}")
    sys.stdout.buffer.write(b"\xff\xfe\x00 not text\n")
    subprocess.run(["sh", "-c", "echo child; echo error >&2"], check=True)
    sys.stdout.write("no newline at the end")
    return 1


@pipeline
def output_of_any_kind() -> int:
    return noisy()


CASES = (
    Case(
        after_orders_without_data,
        "`after` holds where no value flows, also through a chain of it.",
        varies=("slow", "second", "third"),
    ),
    Case(collected_in_order, "Outputs collected into a list keep the list's order, whichever step ends first."),
    Case(diamond, "A join gets the right value on each side."),
    Case(nested, "A nested pipeline called several times, at several depths, keeps its calls apart."),
    Case(names_that_engines_keep_for_themselves, "A node may be called what its engine calls something else."),
    Case(
        names_of_parameters_and_outputs,
        "Parameters and outputs may be called what an engine calls its own: `inputs`, `params`, `ti`, `output`.",
    ),
    Case(names_alike, "Names stay apart when an engine shortens them, ignores case or lacks characters."),
    Case(
        own_working_directories,
        "Steps that write to the current directory do not meet there.",
        varies=("leave_a_file",),
        returns=[],
    ),
    Case(
        env_of_one_step_only,
        "Environment variables reach their step, exactly, and no other.",
        returns=(["one", "x=1; echo $HOME 'é'"], ["", "x=1; echo $HOME 'é'"], None),
    ),
    Case(
        packages_of_one_step,
        "A step runs with the packages it names though the engine's environment lacks them.",
        gives={"with_six": "1.17.0"},
        returns="1.17.0",
    ),
    Case(output_of_any_kind, "What a step prints, in whatever encoding, is its log and nothing else."),
)
