# ruff: noqa: RUF013, UP045  # annotations as people write them are what is read

import functools
import sys
from types import ModuleType
from typing import Any, Literal, Optional

import pytest

from penstock.harness import type_name
from penstock.serializers import Dataset
from penstock.signatures import signature_of
from penstock.types import UnsupportedAnnotation, type_of


class Net:
    pass


def texts(function, namespace=None):
    """The types of a function's parameters and of what it returns, as a person writes them."""
    signature = signature_of(function, namespace or {})
    assert signature.problems == ()
    annotations = [*(each.annotation for each in signature.parameters), signature.returns]
    return [type_of(each, name_of=type_name).text for each in annotations]


def module_of(name: str, source: str) -> ModuleType:
    module = ModuleType(name)
    sys.modules[name] = module
    exec(compile(source, f"{name}.py", "exec", dont_inherit=True), vars(module))
    return module


def test_annotations_are_evaluated_where_the_function_was_defined():
    def train(net: "Net", depth: int = 3, rows: "Dataset[list[Net]] | None" = None) -> "list[Net]":
        return []

    assert texts(train) == ["Net", "int", "Dataset[list[Net]] | None", "list[Net]"]


def test_postponed_annotations_are_evaluated():
    module = module_of(
        "postponed",
        "from __future__ import annotations\n"
        "class Net: ...\n"
        "def train(net: Net, mode: Literal['fast'] | None = None) -> dict[str, Net]: ...\n"
        "from typing import Literal\n",
    )
    assert texts(module.train) == ["Net", "Literal['fast'] | None", "dict[str, Net]"]


def test_strings_inside_generics_are_evaluated():
    def train(
        a: list["Net"], b: Optional[list["Net"]], c: dict[str, list["Net"]] | None, d: Literal["Net"]
    ) -> None: ...

    assert texts(train) == ["list[Net]", "list[Net] | None", "dict[str, list[Net]] | None", "Literal['Net']", "None"]


def test_a_local_class_is_found_in_the_closure_or_in_the_namespace():
    class Local:
        pass

    def used(value: "Local") -> None:
        Local()

    def unused(value: "Local") -> None: ...

    assert texts(used) == ["Local", "None"]
    assert texts(unused, {"Local": Local}) == ["Local", "None"]
    assert "Local" in signature_of(unused).problems[0].message


def test_a_default_of_none_does_not_make_the_type_optional():
    def train(depth: int = None) -> None: ...  # type: ignore[assignment]  # Python 3.10 would read `int | None` here

    assert texts(train) == ["int", "None"]


def test_defaults_are_kept_apart_from_required_parameters():
    def train(depth: int, rate: float = 0.5, *, name: str = "x") -> None: ...

    found = signature_of(train).parameters
    assert [(each.name, each.required) for each in found] == [("depth", True), ("rate", False), ("name", False)]
    assert found[1].default == 0.5


def test_a_wrapped_function_is_read_through_its_wrapper():
    def train(net: "Net") -> int:
        return 1

    @functools.wraps(train)
    def wrapper(*args, **kwargs):
        return train(*args, **kwargs)

    assert texts(wrapper) == ["Net", "int"]


def test_everything_that_is_missing_is_reported_at_once_with_a_fix():
    def train(rows, depth=3, *more, flag: bool, **rest): ...

    signature = signature_of(train)
    assert [each.parameter for each in signature.problems] == ["rows", "depth", "more", "rest", "return"]
    assert all(each.fix for each in signature.problems)
    assert "`rows`" in signature.problems[0].message
    assert "`depth: int`" in signature.problems[1].fix
    assert "-> None" in signature.problems[4].fix


def test_a_parameter_with_a_problem_counts_as_any_so_that_the_rest_is_read():
    def train(rows, net: Net) -> int:
        return 1

    signature = signature_of(train)
    assert [each.annotation for each in signature.parameters] == [Any, Net]
    assert signature.returns is int


def test_a_positional_only_parameter_is_refused_as_inputs_come_by_name():
    def train(rows: int, /) -> None: ...

    assert "by name" in signature_of(train).problems[0].message


@pytest.mark.parametrize(
    ("annotation", "word"),
    [
        ("pd.DataFrame", "`pd`"),
        ("list[", "type that exists"),
        ("1 / 0", "type that exists"),
        ("Net.Inner", "type that exists"),
    ],
)
def test_a_text_that_is_no_type_is_reported_with_its_parameter(annotation, word):
    def train(rows: int) -> None: ...

    train.__annotations__["rows"] = annotation
    (problem,) = signature_of(train).problems
    assert isinstance(problem, UnsupportedAnnotation)
    assert problem.parameter == "rows"
    assert annotation in problem.message
    assert word in problem.fix
