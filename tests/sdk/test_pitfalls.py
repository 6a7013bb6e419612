"""What would go wrong in silence is refused, and what only looks like it is not."""

import math

import pytest

import tests.sdk.test_pitfalls as here
from penstock import DefinitionError, pipeline, step


@step
def load(url: str) -> int | None:
    return len(url)


@step
def pair(url: str) -> tuple[int, int]:
    return 1, 2


@step
def total(values: list[int | None]) -> int:
    return len(values)


def is_none(url: str) -> int:
    rows = load(url)
    return total([] if rows is None else [rows])  # here


def is_not_none(url: str) -> int:
    rows: int | None = None
    one, other = pair(url)
    return total([rows] if other is not None else [one])  # here


def parameter_is_none(url: str | None = None) -> int:
    return total([load("default" if url is None else "given")])  # here


def is_an_instance(url: str) -> int:
    rows = here.load.with_options(name="rows")(url)
    if isinstance(rows, int):  # here
        return total([rows])
    return total([])


def part_is_none(url: str) -> int:
    both = pair(url)
    return total([] if both[0] is None else [both[0]])  # here


def of_a_type(url: str) -> int:
    rows = load(url)
    return total([rows] if type(rows) == int else [])  # here  # noqa: E721  # what is refused


def matched(url: str) -> int:
    rows = load(url)
    match rows:  # here
        case None:
            return total([])
        case _:
            return total([rows])


def tried(url: str) -> int:
    try:
        rows = load(url)  # here
    except ValueError:
        rows = load("default")
    return total([rows])


PITFALLS = [
    (is_none, "`is` looks at the placeholder `rows`"),
    (is_not_none, "`is not` looks at the placeholder `other`"),
    (parameter_is_none, "`is` looks at the placeholder `url`"),
    (is_an_instance, "`isinstance()` looks at the placeholder `rows`"),
    (part_is_none, "`is` looks at the placeholder `both[0]`"),
    (of_a_type, "`type()` looks at the placeholder `rows`"),
    (matched, "`match` looks at the placeholder `rows`"),
    (tried, "`try` catches nothing of `load`, which runs later"),
]


@pytest.mark.parametrize(("function", "said"), PITFALLS, ids=[function.__name__ for function, _ in PITFALLS])
def test_a_pitfall_is_refused_at_its_line(function, said):
    with pytest.raises(DefinitionError) as caught:
        pipeline(function)
    found = [problem for problem in caught.value.diagnostics if problem.code == "P309"]
    [problem] = found
    assert problem.message.startswith(said)
    assert "# here" in problem.location.text
    assert problem.location.path == __file__
    assert problem.fix


def test_it_is_told_beside_what_else_is_wrong():
    with pytest.raises(DefinitionError) as caught:

        @pipeline
        def bad(url: str) -> int:
            rows = load(url)
            if rows is None or rows:
                return total([])
            return total([rows])

    assert [problem.code for problem in caught.value.diagnostics] == ["P309", "P301"]


# --- ordinary values --------------------------------------------------------------------------------------------------


def made_before(url: str) -> int:
    rows = None
    for each in ("a", "b"):
        rows = load(each) if rows is None else rows
    return total([rows])


def taken_from_a_list(url: str) -> int:
    rows = [load(url), None]
    return total([each for each in rows if each is not None])


def from_a_factory(url: str) -> int:
    load = dict  # a local name hides the step
    rows = load()
    return total([]) if rows is None else total([1])


def from_a_function(url: str) -> int:
    limit = math.sqrt(4)
    return total([1] if limit is None or not isinstance(limit, float) else [2])


def with_its_own_isinstance(url: str) -> int:
    rows = load(url)
    return total([rows] if _isinstance(rows) else [])


def _isinstance(_: object) -> bool:
    return True


def in_a_helper(url: str) -> int:
    rows = load(url)

    def chosen(rows: object) -> bool:
        return rows is None

    return total([1] if chosen(None) else [rows])


def with_a_resource(url: str) -> int:
    try:
        size = int("3")
    except ValueError:
        size = 4
    return total([load(url), size])


@pytest.mark.parametrize(
    "function",
    [
        made_before,
        taken_from_a_list,
        from_a_factory,
        from_a_function,
        with_its_own_isinstance,
        in_a_helper,
        with_a_resource,
    ],
    ids=lambda function: function.__name__,
)
def test_ordinary_values_may_be_looked_at(function):
    assert pipeline(function).spec.body
