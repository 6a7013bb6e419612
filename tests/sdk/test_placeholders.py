"""What a placeholder refuses, in the words that its author wrote."""

import math
import sys

import pytest

from penstock import DefinitionError, pipeline, step

LIMIT = 3


@step
def count(url: str) -> int:
    return len(url)


def problem(use):
    with pytest.raises(DefinitionError) as caught:

        @pipeline
        def bad(url: str) -> None:
            use(count(url))

    (found,) = caught.value.diagnostics
    return found


def opened(value):
    with value:
        pass


def increased(value):
    value += 1


OPERATIONS = {
    "==": lambda value: value == 3,
    "!=": lambda value: value != 3,
    "<": lambda value: value < 3,
    ">=": lambda value: value >= 3,
    "in": lambda value: 3 in value,
    "+": increased,
    "-": lambda value: 3 - value,
    "**": lambda value: value**2,
    "&": lambda value: value & 1,
    "~": lambda value: ~value,
    "len()": lambda value: len(value),
    "int()": lambda value: int(value),
    "float()": lambda value: float(value),
    "abs()": lambda value: abs(value),
    "round()": lambda value: round(value),
    "with": opened,
}


@pytest.mark.parametrize("operator", OPERATIONS)
def test_an_operation_is_refused_by_the_name_of_its_operator(operator):
    found = problem(OPERATIONS[operator])
    assert found.code == "P308"
    assert found.message == (f"`{operator}` is applied to `count`'s result, which is known only when the pipeline runs")


@pytest.mark.parametrize(
    ("use", "fix"),
    [
        (lambda value: value > 3, "compare in a step that takes this value, and returns what `>` gives"),
        (lambda value: 3 in value, "compare in a step that takes this value, and returns what `in` gives"),
        (lambda value: value + 3, "calculate in a step that takes this value, and returns what `+` gives"),
        (lambda value: len(value), "measure it in a step that takes this value, and returns what `len()` gives"),
        (lambda value: int(value), "convert it in a step that takes this value, and returns what `int()` gives"),
        (opened, "pass on its path, and open that in the step that works with it"),
    ],
    ids=["compare", "search", "calculate", "measure", "convert", "open"],
)
def test_each_kind_of_operation_says_what_to_write_instead(use, fix):
    assert problem(use).fix == fix


@pytest.mark.skipif(sys.version_info < (3, 11), reason="which expression is being evaluated, Python 3.10 does not tell")
@pytest.mark.parametrize(
    ("use", "operator", "marked"),
    [
        (lambda value: LIMIT > value, ">", "LIMIT > value"),  # noqa: SIM300  # Python asks the value for `<`
        (lambda value: value not in [3, 4], "not in", "value not in [3, 4]"),
        (lambda value: max(value, 3), "max()", "max(value, 3)"),
        (lambda value: range(value), "range()", "range(value)"),
        (lambda value: math.sqrt(value), "math.sqrt()", "math.sqrt(value)"),
        (lambda value: [1, 2][value], "[]", "[1, 2][value]"),
    ],
    ids=[">", "not in", "max", "range", "sqrt", "index"],
)
def test_where_python_tells_it_the_operator_is_the_written_one_and_the_expression_is_marked(use, operator, marked):
    found = problem(use)
    assert found.message.startswith(f"`{operator}` is applied to ")
    assert found.location.text[found.location.column : found.location.end_column] == marked
