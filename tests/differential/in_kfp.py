"""The pipelines as `kfp.dsl` has them; imported by kfp's own environment alone. `in_penstock` has the same by name."""

from functools import partial
from typing import NamedTuple, Optional

from kfp import dsl, kubernetes
from kfp.dsl import (
    HTML,
    ClassificationMetrics,
    Collected,
    Dataset,
    Input,
    Markdown,
    Metrics,
    Model,
    Output,
    PipelineTaskFinalStatus,
)

component = partial(dsl.component, base_image="python:3.12-slim", packages_to_install=[], install_kfp_package=False)


@component
def add(a: int, b: int) -> int:
    return a + b


@component
def scaled(value: int, factor: float) -> float:
    return value * factor


@component
def upper(text: str) -> str:
    return text.upper()


@component
def is_large(value: int, floor: int) -> bool:
    return value > floor


@component
def numbers(count: int) -> list:
    return list(range(count))


@component
def total(values: list) -> int:
    return sum(int(value) for value in values)


@component
def described(count: int, share: float, text: str, flag: bool, names: list, sizes: dict) -> str:
    sizes = {name: int(size) for name, size in sizes.items()}
    return f"{count} {share} {text} {flag} {names} {sizes}"


@component
def rows(count: int, output: Output[Dataset]):
    with open(output.path, "w") as target:
        target.write("row\n" * count)


@component
def lines(data: Input[Dataset]) -> int:
    with open(data.path) as source:
        return len(source.readlines())


@component
def fit(data: Input[Dataset], depth: int, output: Output[Model]):
    with open(data.path) as source, open(output.path, "w") as target:
        target.write(f"{depth} {len(source.readlines())}")


@component
def shown(model: Input[Model]) -> str:
    with open(model.path) as source:
        return source.read()


@component
def score(value: int, metrics: Output[Metrics]) -> float:
    metrics.log_metric("accuracy", value / 10)
    metrics.log_metric("loss", 0.5)
    return value / 10


@component
def page(text: str, output: Output[HTML]):
    with open(output.path, "w") as target:
        target.write(f"<p>{text}</p>")


@component
def notes(text: str, output: Output[Markdown]):
    with open(output.path, "w") as target:
        target.write(f"# {text}")


@component
def judged(yes: int, output: Output[ClassificationMetrics]):
    output.log_confusion_matrix(["no", "yes"], [[5, 1], [2, yes]])


@component
def length_of(name: str) -> int:
    import os

    return len(os.environ[name])


@component
def greeted(name: Optional[str] = None) -> str:  # noqa: UP045  # as kfp knows it
    return f"hello {name}"


@component
def repeated(text: str, times: int) -> str:
    return text * times


@component
def size_of(text: str) -> int:
    return len(text)


@component
def divided(value: int, by: int) -> NamedTuple("Divided", [("quotient", int), ("rest", int)]):
    from typing import NamedTuple

    answer = NamedTuple("Divided", [("quotient", int), ("rest", int)])
    return answer(value // by, value % by)


@component
def refused(value: int) -> int:
    if value > 0:
        raise ValueError(f"{value} is refused")
    return value


@component
def flaky(counter: str) -> int:
    with open(counter, "a") as target:
        target.write("x")
    with open(counter) as source:
        attempts = len(source.read())
    if attempts < 3:
        raise ValueError(f"attempt {attempts}")
    return attempts


@component
def noted(text: str, file: str) -> str:
    with open(file, "a") as target:
        target.write(text + "\n")
    return text


@component
def ended(file: str, status: PipelineTaskFinalStatus):
    with open(file, "a") as target:
        target.write({"SUCCEEDED": "succeeded", "FAILED": "failed"}[status.state] + "\n")


@component
def surroundings(name: str) -> str:
    import os

    return os.environ[name]


@component
def area(width: int, height: int) -> int:
    return int(width) * int(height)


@component
def sizes(count: int) -> list:
    return [{"width": n, "height": n + 1} for n in range(count)]


# --- data -------------------------------------------------------------------------------------------------------------


@dsl.pipeline
def parameters(
    count: int = 3,
    share: float = 0.5,
    text: str = "plain",
    flag: bool = True,
    names: list = ["a", "b"],
    sizes: dict = {"x": 1},
) -> str:
    return described(count=count, share=share, text=text, flag=flag, names=names, sizes=sizes).output


@dsl.pipeline
def optional(name: Optional[str] = None) -> str:  # noqa: UP045  # as kfp knows it
    return greeted(name=name).output


@dsl.pipeline
def large_text(times: int = 200_000) -> int:
    return size_of(text=repeated(text="x", times=times).output).output


@dsl.pipeline
def required(count: int, text: str) -> int:
    upper(text=text)
    return add(a=count, b=1).output


@dsl.pipeline
def documented(count: int = 2) -> int:
    """Adds one.

    Args:
        count: How many there are.
    """
    return add(a=count, b=1).output


@dsl.pipeline
def constants() -> str:
    return described(count=7, share=1.5, text="it's", flag=False, names=["a"], sizes={"x": 1}).output


@dsl.pipeline
def chain(start: int = 1) -> int:
    first = add(a=start, b=2)
    second = add(a=first.output, b=3)
    return add(a=second.output, b=4).output


@dsl.pipeline
def diamond(start: int = 5) -> int:
    top = add(a=start, b=0)
    left = add(a=top.output, b=1)
    right = add(a=top.output, b=2)
    return add(a=left.output, b=right.output).output


@dsl.pipeline
def numbers_of_all_kinds(value: int = 3, factor: float = 2.5) -> float:
    return scaled(value=add(a=value, b=1).output, factor=factor).output


@dsl.pipeline
def artifacts(count: int = 4) -> str:
    data = rows(count=count)
    model = fit(data=data.outputs["output"], depth=3)
    return shown(model=model.outputs["output"]).output


@dsl.pipeline
def shared_artifact(count: int = 4) -> int:
    data = rows(count=count)
    first = lines(data=data.outputs["output"])
    second = lines(data=data.outputs["output"])
    return add(a=first.output, b=second.output).output


@dsl.pipeline
def metrics(value: int = 7) -> float:
    return score(value=value).outputs["Output"]


@dsl.pipeline
def report(text: str = "fine") -> str:
    page(text=text)
    return upper(text=text).output


@dsl.pipeline
def pages(yes: int = 8):
    notes(text="fine")
    judged(yes=yes)


@dsl.pipeline
def named_outputs(value: int = 17) -> int:
    parts = divided(value=value, by=5)
    return add(a=parts.outputs["quotient"], b=parts.outputs["rest"]).output


@dsl.pipeline
def several_outputs(value: int = 17) -> NamedTuple("Outputs", [("sum", int), ("text", str)]):
    outputs = NamedTuple("Outputs", [("sum", int), ("text", str)])
    return outputs(add(a=value, b=1).output, upper(text="x").output)


@dsl.pipeline
def artifact_of_the_pipeline(count: int = 2) -> Dataset:
    return rows(count=count).outputs["output"]


@dsl.pipeline
def order(file: str) -> str:
    first = noted(text="first", file=file)
    second = noted(text="second", file=file).after(first)
    return noted(text="third", file=file).after(first, second).output


# --- branches ---------------------------------------------------------------------------------------------------------


@dsl.pipeline
def if_alone(file: str, count: int = 3):
    with dsl.If(count > 2):
        noted(text="many", file=file)


@dsl.pipeline
def if_else(count: int = 3) -> str:
    with dsl.If(count > 2):
        many = upper(text="many")
    with dsl.Else():
        few = upper(text="few")
    return upper(text=dsl.OneOf(many.output, few.output)).output


@dsl.pipeline
def if_of_an_output(count: int = 3) -> int:
    seen = add(a=count, b=1)
    with dsl.If(seen.output == 4):
        same = add(a=seen.output, b=100)
    with dsl.Else():
        other = add(a=seen.output, b=200)
    return add(a=dsl.OneOf(same.output, other.output), b=1).output


@dsl.pipeline
def elif_chain(count: int = 5) -> str:
    with dsl.If(count > 10):
        large = upper(text="large")
    with dsl.Elif(count > 4):
        middle = upper(text="middle")
    with dsl.Else():
        small = upper(text="small")
    return upper(text=dsl.OneOf(large.output, middle.output, small.output)).output


@dsl.pipeline
def nested_conditions(file: str, count: int = 5, flag: bool = True):
    with dsl.If(count > 2):
        noted(text="many", file=file)
        with dsl.If(flag == True):  # noqa: E712
            noted(text="flagged", file=file)


@dsl.pipeline
def one_of_artifacts(count: int = 3) -> int:
    with dsl.If(count > 2):
        many = rows(count=10)
    with dsl.Else():
        few = rows(count=1)
    return lines(data=dsl.OneOf(many.outputs["output"], few.outputs["output"])).output


# --- loops ------------------------------------------------------------------------------------------------------------


@dsl.pipeline
def static_loop(file: str):
    with dsl.ParallelFor(items=["a", "b", "c"], parallelism=1) as item:
        noted(text=item, file=file)


@dsl.pipeline
def loop_over_a_parameter(values: list = [1, 2, 3]) -> int:
    with dsl.ParallelFor(items=values) as value:
        more = add(a=value, b=10)
    return total(values=Collected(more.output)).output


@dsl.pipeline
def loop_over_an_output(count: int = 3) -> int:
    with dsl.ParallelFor(items=numbers(count=count).output) as value:
        more = add(a=value, b=1)
    return total(values=Collected(more.output)).output


@dsl.pipeline
def loop_over_records(count: int = 3) -> int:
    with dsl.ParallelFor(items=sizes(count=count).output) as size:
        one = area(width=size.width, height=size.height)
    return total(values=Collected(one.output)).output


@dsl.pipeline
def bounded_loop(values: list = [1, 2, 3]) -> int:
    with dsl.ParallelFor(items=values, parallelism=2) as value:
        more = add(a=value, b=10)
    return total(values=Collected(more.output)).output


@dsl.pipeline
def nested_loops(xs: list = [1, 2], ys: list = [10, 20]):
    with dsl.ParallelFor(items=xs) as x:
        with dsl.ParallelFor(items=ys) as y:
            add(a=x, b=y)


@dsl.pipeline
def chain_in_a_loop(values: list = [1, 2]) -> int:
    with dsl.ParallelFor(items=values) as value:
        once = add(a=value, b=1)
        twice = add(a=once.output, b=1)
    return total(values=Collected(twice.output)).output


@dsl.pipeline
def condition_in_a_loop(file: str, values: list = [1, 5]):
    with dsl.ParallelFor(items=values, parallelism=1) as value:
        seen = add(a=value, b=0)
        with dsl.If(seen.output > 3):
            noted(text="large", file=file)


@dsl.pipeline
def loop_in_a_condition(file: str, flag: bool = True):
    with dsl.If(flag == True):  # noqa: E712
        with dsl.ParallelFor(items=["a", "b"], parallelism=1) as item:
            noted(text=item, file=file)


@dsl.pipeline
def empty_loop(values: list = []) -> int:
    with dsl.ParallelFor(items=values) as value:
        more = add(a=value, b=10)
    return total(values=Collected(more.output)).output


# --- nested pipelines -------------------------------------------------------------------------------------------------


@dsl.pipeline
def inner(value: int) -> int:
    first = add(a=value, b=1)
    return add(a=first.output, b=1).output


@dsl.pipeline
def nested(value: int = 1) -> int:
    done = inner(value=value)
    return add(a=done.output, b=100).output


@dsl.pipeline
def nested_twice(value: int = 1) -> int:
    once = inner(value=value)
    twice = inner(value=once.output)
    return add(a=twice.output, b=0).output


@dsl.pipeline
def looping(values: list) -> int:
    with dsl.ParallelFor(items=values) as value:
        more = add(a=value, b=1)
    return total(values=Collected(more.output)).output


@dsl.pipeline
def deciding(value: int) -> int:
    with dsl.If(value > 2):
        large = add(a=value, b=100)
    with dsl.Else():
        small = add(a=value, b=1)
    return add(a=dsl.OneOf(large.output, small.output), b=0).output


@dsl.pipeline
def a_loop_in_a_pipeline(values: list = [1, 2]) -> int:
    return add(a=looping(values=values).output, b=0).output


@dsl.pipeline
def a_branch_in_a_pipeline(value: int = 3) -> int:
    return add(a=deciding(value=value).output, b=0).output


@dsl.pipeline
def a_pipeline_in_a_loop(values: list = [1, 2]) -> int:
    with dsl.ParallelFor(items=values) as value:
        done = inner(value=value)
    return total(values=Collected(done.output)).output


# --- failure and settings ---------------------------------------------------------------------------------------------


@dsl.pipeline
def a_failure(value: int = 1) -> int:
    good = add(a=value, b=1)
    bad = refused(value=value)
    return add(a=good.output, b=bad.output).output


@dsl.pipeline
def exit_handler(file: str):
    with dsl.ExitHandler(ended(file=file)):
        noted(text="worked", file=file)


@dsl.pipeline
def exit_handler_after_a_failure(file: str, value: int = 1):
    with dsl.ExitHandler(ended(file=file)):
        refused(value=value)


@dsl.pipeline
def retries(counter: str) -> int:
    return flaky(counter=counter).set_retry(3, "0s", 1.0, "60s").output


@dsl.pipeline
def environment() -> str:
    return surroundings(name="MODE").set_env_variable("MODE", "big").output


@dsl.pipeline
def no_cache(value: int = 1) -> int:
    return add(a=value, b=1).set_caching_options(False).output


@dsl.pipeline
def resources(value: int = 1) -> int:
    task = add(a=value, b=1).set_cpu_request("2").set_memory_request("4Gi")
    task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)
    return task.output


@dsl.pipeline
def image(value: int = 1) -> int:
    return add(a=value, b=1).set_container_image("python:3.11-bookworm").output


@dsl.pipeline
def time_limit(value: int = 1) -> int:
    task = add(a=value, b=1)
    kubernetes.set_timeout(task, 60)
    return task.output


@dsl.pipeline
def kind_of_gpu(value: int = 1) -> int:
    task = add(a=value, b=1).set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(2)
    kubernetes.add_node_selector(task, "nvidia.com/gpu.product", "NVIDIA-A100")
    return task.output


@dsl.pipeline
def secrets() -> int:
    task = length_of(name="DB_PASSWORD")
    kubernetes.use_secret_as_env(task, "warehouse", {"password": "DB_PASSWORD"})
    return task.output


@dsl.pipeline
def pod(value: int = 1) -> int:
    task = add(a=value, b=1)
    kubernetes.add_node_selector(task, "cloud.example/pool", "gpu")
    kubernetes.add_toleration(task, "gpu", "Exists", effect="NoExecute", toleration_seconds=60)
    kubernetes.mount_pvc(task, "training-data", "/data")
    kubernetes.use_secret_as_volume(task, "warehouse", "/etc/warehouse")
    kubernetes.use_config_map_as_volume(task, "settings", "/etc/settings")
    kubernetes.use_config_map_as_env(task, "settings", {"log.level": "LEVEL"})
    kubernetes.empty_dir_mount(task, "penstock-scratch-1", "/scratch", size_limit="10Gi")
    kubernetes.set_image_pull_policy(task, "Always")
    kubernetes.set_image_pull_secrets(task, ["registry"])
    kubernetes.add_pod_label(task, "team", "risk")
    kubernetes.add_pod_annotation(task, "sidecar.istio.io/inject", "false")
    kubernetes.set_security_context(task, run_as_user=1000, run_as_group=100)
    return task.output


PIPELINES = {
    name: value
    for name, value in list(globals().items())
    if isinstance(value, dsl.graph_component.GraphComponent) and name not in ("inner", "looping", "deciding")
}
