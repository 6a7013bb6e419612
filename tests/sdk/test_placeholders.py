"""What a placeholder refuses, in the words that its author wrote."""

import math
import sys
from typing import NamedTuple

import pytest

from penstock import DefinitionError, pipeline, step
from penstock.spec import LiteralBinding


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
        (
            lambda value: 3 in value,
            "write `in` in the pipeline's own function, or compare in a step that takes this value",
        ),
        (lambda value: value + 3, "calculate in a step that takes this value, and returns what `+` gives"),
        (lambda value: len(value), "measure it in a step that takes this value, and returns what `len()` gives"),
        (lambda value: int(value), "convert it in a step that takes this value, and returns what `int()` gives"),
        (opened, "pass on its path, and open that in the step that works with it"),
    ],
    ids=["search", "calculate", "measure", "convert", "open"],
)
def test_each_kind_of_operation_says_what_to_write_instead(use, fix):
    assert problem(use).fix == fix


@pytest.mark.skipif(sys.version_info < (3, 11), reason="which expression is being evaluated, Python 3.10 does not tell")
@pytest.mark.parametrize(
    ("use", "operator", "marked"),
    [
        (lambda value: 3 not in value, "in", "3 not in value"),
        (lambda value: range(value), "range()", "range(value)"),
        (lambda value: math.sqrt(value), "math.sqrt()", "math.sqrt(value)"),
        (lambda value: [1, 2][value], "[]", "[1, 2][value]"),
    ],
    ids=["not in", "range", "sqrt", "index"],
)
def test_where_python_tells_it_the_operator_is_the_written_one_and_the_expression_is_marked(use, operator, marked):
    found = problem(use)
    assert found.message.startswith(f"`{operator}` is applied to ")
    assert found.location.text[found.location.column : found.location.end_column] == marked


COMPARISONS = {
    "==": lambda value: value == 3,
    "!=": lambda value: value != 3,
    "<": lambda value: value < 3,
    "<=": lambda value: value <= 3,
    ">": lambda value: value > 3,
    ">=": lambda value: value >= 3,
}


@pytest.mark.parametrize("operator", COMPARISONS)
def test_a_comparison_in_a_helper_gives_a_placeholder(operator):
    compare = COMPARISONS[operator]

    @pipeline
    def told(url: str) -> bool:
        return kept(compare(count(url)))

    (_, binding), *_ = told.spec.body[1].inputs
    assert (binding.operator, binding.operands[1]) == (operator, LiteralBinding(value=3))


@step
def kept(value: bool) -> bool:
    return value


def test_a_comparison_mirrored_by_python_keeps_its_meaning():
    @pipeline
    def told(url: str) -> bool:
        return kept(mirrored(count(url)))

    def mirrored(value):
        return 3 < value  # noqa: SIM300  # Python asks the value for `>`

    (_, binding), *_ = told.spec.body[1].inputs
    assert (binding.operator, binding.operands[1]) == (">", LiteralBinding(value=3))


MISUSES = {
    "truth": ("P301", bool),
    "iteration": ("P304", list),
    "unpacking": ("P304", lambda value: [*value]),
    "text": ("P305", str),
    "key": ("P319", lambda value: {value: 1}),
    "set": ("P319", lambda value: {value}),
    "look-up": ("P319", lambda value: {1: 2}.get(value)),
    "max": ("P301", lambda value: max(value, 3)),
    "between": ("P301", lambda value: 1 < value < 3),
}


@pytest.mark.parametrize("misuse", MISUSES)
def test_what_needs_the_value_itself_is_refused_in_a_helper(misuse):
    code, use = MISUSES[misuse]
    assert problem(use).code == code


class Pair(NamedTuple):
    """Two numbers."""

    low: int
    high: int


@step
def named() -> Pair:
    return Pair(1, 2)


@step
def plain() -> tuple[int, int]:
    return 1, 2


@step
def many() -> tuple[int, ...]:
    return 1, 2, 3


@step
def spread(low: int, high: int) -> int:
    return low + high


@pytest.mark.parametrize("pair", [named, plain])
def test_what_always_has_as_many_items_is_unpacked_into_a_call(pair):
    @pipeline
    def unpacked() -> int:
        return spread(*pair())

    @pipeline
    def written_out() -> int:
        low, high = pair()
        return spread(low, high)

    assert [task.inputs for task in unpacked.spec.body] == [task.inputs for task in written_out.spec.body]
    assert unpacked() == unpacked.run(inline=True).outputs == 3


def test_what_may_have_any_number_of_items_is_not():
    with pytest.raises(DefinitionError, match="P304: `many`'s result is iterated over"):

        @pipeline
        def unpacked() -> int:
            return spread(*many())
