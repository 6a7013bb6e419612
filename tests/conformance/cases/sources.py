"""What a step's source reaches: other modules, packages, classes, constants."""

import dataclasses
import enum
import functools
import re
from collections import Counter
from typing import NamedTuple

import pandas as pd

from penstock import Dataset, Retry, current_attempt, log_metadata, log_metric, pipeline, step
from tests.conformance.case import Case
from tests.conformance.cases import kitchen
from tests.conformance.cases import neighbour as nb
from tests.conformance.cases.kitchen import Recipe
from tests.conformance.cases.neighbour import cleaned

WORD = re.compile(r"[a-zé]+", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Limits:
    shortest: int = 2
    most: int = 3


class Counted(NamedTuple):
    table: pd.DataFrame
    total: int
    longest: str


@step
def words(text: str, limits: Limits) -> pd.DataFrame:
    found = [word for word in WORD.findall(cleaned(text)) if len(word) >= limits.shortest]
    counts = Counter(found).most_common(limits.most)
    return pd.DataFrame(counts, columns=["word", "count"]).astype({"count": "int32"})


@step
def counted(table: pd.DataFrame) -> Counted:
    ranked = table.assign(share=table["count"] / table["count"].sum())
    return Counted(ranked, int(table["count"].sum()), max(table["word"], key=len))


@pipeline
def thirty_lines(text: str = "Été, été — the rain, the RAIN in  Spain!", limits: Limits = Limits()) -> Counted:
    result = counted(words(text, limits))
    return Counted(result.table, result.total, result.longest)


@step
def dinner(recipe: Recipe) -> float:
    return kitchen.cooked(recipe) + nb.EXTRA


@pipeline
def helpers_in_packages(recipe: Recipe = Recipe({"flour": 500.0, "water": 301.5})) -> float:
    return dinner(recipe)


def logged(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return [*function(*args, **kwargs), function.__name__]

    return wrapper


class Shape(enum.Enum):
    SQUARE = 4

    def corners(self) -> list[int]:
        return list(range(self.value))


@step
@logged
def corners(shape: Shape) -> list:
    return shape.corners()


@step
def inner_sum(values: list[int]) -> int:
    return sum(values)


@step
def calls_a_step(values: list[int]) -> int:
    """A step called in a step is its function."""
    return inner_sum(values) + inner_sum(values)


@pipeline
def decorated_and_shared() -> tuple[list, int]:
    return corners(Shape.SQUARE), calls_a_step([1, 2])


@step
def measured() -> int:
    log_metric("accuracy", 0.5)
    log_metric("accuracy", 0.75)
    log_metric("rows", 3)
    return current_attempt()


@pipeline
def metrics() -> int:
    return measured()


class Described(NamedTuple):
    rows: Dataset[list[int]]
    size: int


@step(retry=Retry(1))
def described(size: int) -> Described:
    log_metadata(output="rows", attempt=current_attempt(), format="{{$}}", state="failed", **{"$int": [None, 2**70]})
    log_metadata(output="size", instance="[7]", nan=float("nan"))
    if current_attempt() == 1:
        raise ValueError("the metadata of this attempt is lost")
    return Described(list(range(size)), size)


@step
def added(rows: list[list[int]], sizes: list[int]) -> str:
    log_metadata(lists=len(rows))
    return f"{rows} {sizes}"


@pipeline
def metadata(sizes: list[int] = [1, 2]) -> tuple[str, list[int], int]:
    one = described(3)
    some = [described(size) for size in sizes]
    return added([each.rows for each in some], [each.size for each in some]), one.rows, one.size


class Predictor:
    """What the consumer's annotation names; the value is of a class that it does not."""

    def predict(self, x: float) -> float:
        raise NotImplementedError


class Scaled(Predictor):
    def __init__(self, factor: float) -> None:
        self.link = halved  # pickled by reference: the consumer must hold the function, too
        self.factor = factor

    def predict(self, x: float) -> float:
        return self.link(self.factor * x)


def halved(x: float) -> float:
    return x / 2


@dataclasses.dataclass
class Area:
    name: str

    def size(self) -> float:
        return 0.0


@dataclasses.dataclass
class Disc(Area):
    radius: float = 2.0

    def size(self) -> float:
        return 3 * self.radius**2


@step
def fitted() -> Predictor:
    return Scaled(5.0)


@step
def passed_on(model: Predictor) -> list[Predictor]:
    return [model]


@step
def predicted(models: list[Predictor], x: float) -> float:
    return models[0].predict(x)


@step
def areas() -> list[Area]:
    return [Disc("d"), Area("a")]


@step
def sizes(given: list[Area]) -> list[float]:
    return [each.size() for each in given]


@pipeline
def objects_of_subclasses() -> tuple[float, list[float]]:
    return predicted(passed_on(fitted()), 3.0), sizes(areas())


CASES = (
    Case(
        thirty_lines,
        "The whole of daily work in one: import, constant, neighbour, data frame, named outputs, dataclass.",
    ),
    Case(
        helpers_in_packages,
        "Packages import relatively, re-export, and form cycles; all of it must travel, nothing more.",
    ),
    Case(decorated_and_shared, "Decorators of the author run; Penstock's are gone where Penstock is not installed."),
    Case(
        objects_of_subclasses,
        "A value may be of a class that only the step which made it names; whoever takes it must hold that class.",
    ),
    Case(
        metadata,
        "What a step records of its outputs changes none, though engines keep things of their own beside.",
        returns=("[[0], [0, 1]] [1, 2]", [0, 1, 2], 3),
    ),
    Case(metrics, "A step may use Penstock's own run-time functions where Penstock is not installed."),
)
