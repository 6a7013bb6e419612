"""What a pipeline returns, where that has to be computed: a node of its own does it, and so can fail."""

from pathlib import Path
from typing import Annotated, NamedTuple

from penstock import RunStatus, Serializer, flow, pipeline, step
from tests.conformance.case import Case


class Score(NamedTuple):
    name: str
    value: float


@step
def number(value: int) -> int:
    return value


@step
def upto(count: int) -> list[int]:
    return list(range(count))


@step
def gathered(values: list[int]) -> list[int]:
    return values


@pipeline
def results_that_are_computed(count: int = 3) -> tuple[str, bool, dict[str, int], list[int]]:
    found = gathered([number(each) for each in upto(count)])
    most = number.with_options(name="most")(count)
    return f"{most} of {found!r:>12}", most > 2, {"first": found[0], "all": len(found)}, found


@step
def undo(value: int) -> None:
    assert value == 7


@step(rollback=undo)
def kept(value: int) -> int:
    return value


@step
def told(status: RunStatus) -> list[str]:
    return [status.state, *status.failures]


@pipeline(on_failure=told)
def a_result_that_cannot_be_computed(count: int = 0) -> int:
    kept(7)
    found = gathered([number(each) for each in upto(count)])
    return found[0]


@pipeline
def a_result_behind_a_gate(floor: int = 2) -> str:
    found = number(1)
    assert found >= floor, "too few"
    return f"{found} of them"


@step
def best_of(count: int) -> list[Score]:
    return [Score(f"s{each}", each / 2) for each in range(count)]


@step
def perhaps(count: int) -> dict[str, int] | None:
    return {"count": count} if count else None


@pipeline
def results_of_either_arm(count: int = 0) -> tuple[str, int | None]:
    found, other = best_of(count), perhaps(count)
    rest = None if other is None else other["count"]
    if not found:
        return "none", rest
    return found[-1].name, rest


@pipeline
def a_result_of_what_was_skipped(deep: bool = False) -> str:
    with flow.If(deep):
        found = number(1)
    return f"{found}"


def save_lines(lines: "Lines", path: Path) -> None:
    path.write_text("\n".join(lines.found))


def load_lines(path: Path) -> "Lines":
    return Lines(path.read_text().split("\n"))


class Lines:
    def __init__(self, found: list[str]) -> None:
        self.found = found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lines) and self.found == other.found

    __hash__ = None


Written = Annotated[Lines, Serializer(save_lines, load_lines, ".txt")]


@step
def texts(text: str) -> list[Written]:
    return [Lines([each, each]) for each in text.split()]


@step
def note(text: str) -> Path:
    Path("note.txt").write_text(text)
    return Path("note.txt")


@pipeline
def results_among_artifacts() -> tuple[Written, Path]:
    found = texts("a b")
    return found[-1], note("beside")


CASES = (
    Case(
        results_that_are_computed,
        "A text, a comparison and an item are results like any other.",
        nodes={"return": "succeeded"},
    ),
    Case(
        results_that_are_computed,
        "Where one of them cannot be computed, there is no result at all.",
        {"count": 0},
        nodes={"most": "succeeded", "return": "failed"},
    ),
    Case(
        a_result_that_cannot_be_computed,
        "Python would have raised where it returns, so the run fails, those who are told of failures are, and what can "
        "be undone is.",
        nodes={"kept": "succeeded", "return": "failed", "undo": "succeeded", "told": "succeeded"},
    ),
    Case(
        a_result_that_cannot_be_computed,
        "Where it is there, nothing of that happens.",
        {"count": 2},
        nodes={"return": "succeeded", "undo": "skipped", "told": "skipped"},
    ),
    Case(
        a_result_behind_a_gate,
        "What stands behind a gate that does not hold is not returned.",
        nodes={"assert": "failed", "return": "upstream_failed"},
    ),
    Case(
        results_of_either_arm,
        "What Python would not have looked at is not computed: the item of an empty list, a part of None.",
        nodes={"return": "succeeded"},
    ),
    Case(results_of_either_arm, "In the other arm it is.", {"count": 2}, nodes={"return": "succeeded"}),
    Case(
        a_result_of_what_was_skipped,
        "A result that is computed of what was skipped is skipped, too, and the pipeline returns nothing.",
        nodes={"number": "skipped", "return": "skipped"},
        returns=None,
    ),
    Case(
        results_among_artifacts,
        "An item of a list of artifacts is written as its type says, wherever it is computed.",
    ),
)
