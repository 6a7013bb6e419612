"""The pipelines of `in_kfp`, written in Penstock."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from penstock import (
    Classification,
    Dataset,
    Markdown,
    Metrics,
    Model,
    Pipeline,
    Report,
    Resources,
    Retry,
    RunStatus,
    log_metric,
    pipeline,
    step,
)
from penstock.flow import ForEach, collect


class Divided(NamedTuple):
    quotient: int
    rest: int


class Size(NamedTuple):
    width: int
    height: int


@step
def add(a: int, b: int) -> int:
    return a + b


@step
def scaled(value: int, factor: float) -> float:
    return value * factor


@step
def upper(text: str) -> str:
    return text.upper()


@step
def numbers(count: int) -> list[int]:
    return list(range(count))


@step
def total(values: list[int]) -> int:
    return sum(values)


@step
def described(count: int, share: float, text: str, flag: bool, names: list[str], sizes: dict[str, int]) -> str:
    return f"{count} {share} {text} {flag} {names} {sizes}"


@step
def rows(count: int) -> Dataset[Path]:
    Path("rows").write_text("row\n" * count)
    return Path("rows")


@step
def lines(data: Path) -> int:
    return len(data.read_text().splitlines())


@step
def fit(data: Path, depth: int) -> Model[Path]:
    Path("model").write_text(f"{depth} {len(data.read_text().splitlines())}")
    return Path("model")


@step
def shown(model: Path) -> str:
    return model.read_text()


@step
def score(value: int) -> float:
    log_metric("accuracy", value / 10)
    log_metric("loss", 0.5)
    return value / 10


@step
def page(text: str) -> Report[Path]:
    Path("page.html").write_text(f"<p>{text}</p>")
    return Path("page.html")


@step
def notes(text: str) -> Markdown[Path]:
    Path("notes.md").write_text(f"# {text}")
    return Path("notes.md")


@step
def judged(yes: int) -> Metrics[Classification]:
    return Classification(["no", "yes"], [[5, 1], [2, yes]])


@step
def length_of(name: str) -> int:
    return len(os.environ[name])


@step
def greeted(name: str | None) -> str:
    return f"hello {name}"


@step
def repeated(text: str, times: int) -> str:
    return text * times


@step
def size_of(text: str) -> int:
    return len(text)


@step
def divided(value: int, by: int) -> Divided:
    return Divided(value // by, value % by)


@step
def refused(value: int) -> int:
    if value > 0:
        raise ValueError(f"{value} is refused")
    return value


@step
def flaky(counter: str) -> int:
    with Path(counter).open("a") as target:
        target.write("x")
    attempts = len(Path(counter).read_text())
    if attempts < 3:
        raise ValueError(f"attempt {attempts}")
    return attempts


@step
def noted(text: str, file: str) -> str:
    with Path(file).open("a") as target:
        target.write(text + "\n")
    return text


@step
def ended(file: str, status: RunStatus) -> None:
    with Path(file).open("a") as target:
        target.write(status.state + "\n")


@step
def surroundings(name: str) -> str:
    return os.environ[name]


@step
def area(width: int, height: int) -> int:
    return width * height


@step
def sizes(count: int) -> list[Size]:
    return [Size(n, n + 1) for n in range(count)]


# --- data -------------------------------------------------------------------------------------------------------------


@pipeline
def parameters(
    count: int = 3,
    share: float = 0.5,
    text: str = "plain",
    flag: bool = True,
    names: list[str] = ["a", "b"],
    sizes: dict[str, int] = {"x": 1},
) -> str:
    return described(count=count, share=share, text=text, flag=flag, names=names, sizes=sizes)


@pipeline
def optional(name: str | None = None) -> str:
    return greeted(name)


@pipeline
def large_text(times: int = 200_000) -> int:
    return size_of(repeated("x", times))


@pipeline
def required(count: int, text: str) -> int:
    upper(text)
    return add(count, 1)


@pipeline
def documented(count: Annotated[int, "How many there are."] = 2) -> int:
    """Adds one."""
    return add(count, 1)


@pipeline
def constants() -> str:
    return described(count=7, share=1.5, text="it's", flag=False, names=["a"], sizes={"x": 1})


@pipeline
def chain(start: int = 1) -> int:
    return add(add(add(start, 2), 3), 4)


@pipeline
def diamond(start: int = 5) -> int:
    top = add(start, 0)
    return add(add(top, 1), add(top, 2))


@pipeline
def numbers_of_all_kinds(value: int = 3, factor: float = 2.5) -> float:
    return scaled(add(value, 1), factor)


@pipeline
def artifacts(count: int = 4) -> str:
    return shown(fit(rows(count), depth=3))


@pipeline
def shared_artifact(count: int = 4) -> int:
    data = rows(count)
    return add(lines(data), lines(data))


@pipeline
def metrics(value: int = 7) -> float:
    return score(value)


@pipeline
def report(text: str = "fine") -> str:
    page(text)
    return upper(text)


@pipeline
def pages(yes: int = 8) -> None:
    notes("fine")
    judged(yes)


@pipeline
def named_outputs(value: int = 17) -> int:
    parts = divided(value, by=5)
    return add(parts.quotient, parts.rest)


class Outputs(NamedTuple):
    sum: int
    text: str


@pipeline
def several_outputs(value: int = 17) -> Outputs:
    return Outputs(add(value, 1), upper("x"))


@pipeline
def artifact_of_the_pipeline(count: int = 2) -> Path:
    return rows(count)


@pipeline
def order(file: str) -> str:
    first = noted("first", file)
    second = noted.with_options(after=first)("second", file)
    return noted.with_options(after=[first, second])("third", file)


# --- branches ---------------------------------------------------------------------------------------------------------


@pipeline
def if_alone(file: str, count: int = 3) -> None:
    if count > 2:
        noted("many", file)


@pipeline
def if_else(count: int = 3) -> str:
    text = upper("many") if count > 2 else upper("few")
    return upper(text)


@pipeline
def if_of_an_output(count: int = 3) -> int:
    seen = add(count, 1)
    if seen == 4:
        found = add(seen, 100)
    else:
        found = add(seen, 200)
    return add(found, 1)


@pipeline
def elif_chain(count: int = 5) -> str:
    if count > 10:
        size = upper("large")
    elif count > 4:
        size = upper("middle")
    else:
        size = upper("small")
    return upper(size)


@pipeline
def nested_conditions(file: str, count: int = 5, flag: bool = True) -> None:
    if count > 2:
        noted("many", file)
        if flag:
            noted("flagged", file)


@pipeline
def one_of_artifacts(count: int = 3) -> int:
    if count > 2:
        data = rows(10)
    else:
        data = rows(1)
    return lines(data)


# --- loops ------------------------------------------------------------------------------------------------------------


@pipeline
def static_loop(file: str) -> None:
    with ForEach(["a", "b", "c"], parallelism=1) as item:
        noted(item, file)


@pipeline
def loop_over_a_parameter(values: list[int] = [1, 2, 3]) -> int:
    return total([add(value, 10) for value in values])


@pipeline
def loop_over_an_output(count: int = 3) -> int:
    return total([add(value, 1) for value in numbers(count)])


@pipeline
def loop_over_records(count: int = 3) -> int:
    return total([area(size.width, size.height) for size in sizes(count)])


@pipeline
def bounded_loop(values: list[int] = [1, 2, 3]) -> int:
    with ForEach(values, parallelism=2) as value:
        more = add(value, 10)
    return total(collect(more))


@pipeline
def nested_loops(xs: list[int] = [1, 2], ys: list[int] = [10, 20]) -> None:
    for x in xs:
        for y in ys:
            add(x, y)


@pipeline
def chain_in_a_loop(values: list[int] = [1, 2]) -> int:
    return total([add(add(value, 1), 1) for value in values])


@pipeline
def condition_in_a_loop(file: str, values: list[int] = [1, 5]) -> None:
    with ForEach(values, parallelism=1) as value:
        if add(value, 0) > 3:
            noted("large", file)


@pipeline
def loop_in_a_condition(file: str, flag: bool = True) -> None:
    if flag:
        with ForEach(["a", "b"], parallelism=1) as item:
            noted(item, file)


@pipeline
def empty_loop(values: list[int] = []) -> int:
    return total([add(value, 10) for value in values])


# --- nested pipelines -------------------------------------------------------------------------------------------------


@pipeline
def inner(value: int) -> int:
    return add(add(value, 1), 1)


@pipeline
def nested(value: int = 1) -> int:
    return add(inner(value), 100)


@pipeline
def nested_twice(value: int = 1) -> int:
    return add(inner(inner(value)), 0)


@pipeline
def looping(values: list[int]) -> int:
    return total([add(value, 1) for value in values])


@pipeline
def deciding(value: int) -> int:
    found = add(value, 100) if value > 2 else add(value, 1)
    return add(found, 0)


@pipeline
def a_loop_in_a_pipeline(values: list[int] = [1, 2]) -> int:
    return add(looping(values), 0)


@pipeline
def a_branch_in_a_pipeline(value: int = 3) -> int:
    return add(deciding(value), 0)


@pipeline
def a_pipeline_in_a_loop(values: list[int] = [1, 2]) -> int:
    return total([inner(value) for value in values])


# --- failure and settings ---------------------------------------------------------------------------------------------


@pipeline
def a_failure(value: int = 1) -> int:
    return add(add(value, 1), refused(value))


@pipeline(on_exit=ended)
def exit_handler(file: str) -> None:
    noted("worked", file)


@pipeline(on_exit=ended)
def exit_handler_after_a_failure(file: str, value: int = 1) -> None:
    refused(value)


@pipeline
def retries(counter: str) -> int:
    return flaky.with_options(retry=Retry(3, max_delay=60))(counter)


@pipeline
def environment() -> str:
    return surroundings.with_options(env={"MODE": "big"})("MODE")


@pipeline
def no_cache(value: int = 1) -> int:
    return add.with_options(cache=False)(value, 1)


@pipeline
def resources(value: int = 1) -> int:
    return add.with_options(resources=Resources(cpu=2, memory="4Gi", gpu=1))(value, 1)


@pipeline
def image(value: int = 1) -> int:
    return add.with_options(image="python:3.11-bookworm")(value, 1)


@pipeline
def time_limit(value: int = 1) -> int:
    return add.with_options(timeout=60)(value, 1)


@pipeline
def kind_of_gpu(value: int = 1) -> int:
    return add.with_options(resources=Resources(gpu=2, gpu_type="NVIDIA-A100"))(value, 1)


@pipeline
def secrets() -> int:
    return length_of.with_options(secrets={"DB_PASSWORD": "warehouse/password"})("DB_PASSWORD")


@pipeline
def pod(value: int = 1) -> int:
    return add(value, 1)


# What is said of a pipeline's pods beside it.
PODS: dict[str, dict[str, Any]] = {
    "pod": {
        "node_selector": {"cloud.example/pool": "gpu"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoExecute", "seconds": 60}],
        "volumes": {"/data": "training-data"},
        "secret_volumes": {"/etc/warehouse": "warehouse"},
        "config_volumes": {"/etc/settings": "settings"},
        "config_env": {"LEVEL": "settings/log.level"},
        "scratch": {"/scratch": "10Gi"},
        "image_pull_policy": "Always",
        "image_pull_secrets": ["registry"],
        "labels": {"team": "risk"},
        "annotations": {"sidecar.istio.io/inject": "false"},
        "run_as_user": 1000,
        "run_as_group": 100,
    }
}

PIPELINES: dict[str, Pipeline[..., Any]] = {
    name: value
    for name, value in list(globals().items())
    if isinstance(value, Pipeline) and name not in ("inner", "looping", "deciding")
}
