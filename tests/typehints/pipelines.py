"""What type checkers see of steps and pipelines: the author's own types, nothing of Penstock's."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd
from typing_extensions import assert_type

from penstock import Dataset, Pipeline, Run, Step, existing, pipeline, step


class Split(NamedTuple):
    train: list[int]
    test: list[int]


@step
def load(url: str) -> Dataset[pd.DataFrame]:
    return pd.DataFrame({"url": [url]})


@step(timeout=3)
def split(rows: pd.DataFrame, share: float = 0.5) -> Split:
    return Split([1], [2])


@step
def tell(text: str) -> None: ...


@pipeline
def inner(rows: list[int]) -> int:
    return rows[0]


@pipeline(tags=["x"])
def outer(url: str, share: float = 0.5) -> int:
    rows = load(url)
    assert_type(rows, pd.DataFrame)
    assert_type(existing("s3://bucket/rows.csv", Dataset[Path], cache=True), Path)
    parts = split(rows, share=share)
    assert_type(parts, Split)
    assert_type(parts.train, list[int])
    train, _test = parts
    assert_type(train, list[int])
    assert_type(tell.with_options(name="x", after=rows)("y"), None)
    assert_type(inner(parts.test), int)
    return inner(train)


assert_type(outer("x"), int)
assert_type(outer.run(url="x"), Run)
assert_type(outer.compile("airflow"), dict[str, str])
steps: list[Step[..., object]] = [load, split, tell]
pipelines: list[Pipeline[..., object]] = [inner, outer]

load(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
split(load("x"), part=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
outer()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
