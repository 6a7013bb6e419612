# ruff: noqa: UP007, PYI030, PYI061  # unions are built from lists, and as `typing` allows

import io
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, MutableSequence, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypedDict, TypeVar, Union

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import NotRequired

from penstock.harness import type_name
from penstock.serializers import Dataset, Model
from penstock.spec import TypeSpec
from penstock.types import accepts, is_assignable, type_of, why_not
from tests.sdk.annotations import LEAVES, annotations

T = TypeVar("T")


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1


class Shade(str, Enum):
    DARK = "dark"


class Net:
    pass


class DeepNet(Net):
    pass


@dataclass
class Box(Generic[T]):
    item: T


@dataclass
class Tree:
    value: int
    children: "list[Tree]"


class Scores(NamedTuple):
    accuracy: float
    rows: int


class Options(TypedDict):
    depth: int
    name: str


class Wider(TypedDict):
    depth: float


class Maybe(TypedDict):
    depth: NotRequired[int]


def spec(annotation: object) -> TypeSpec:
    return type_of(annotation, name_of=type_name)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (bool, int),
        (bool, float),
        (int, float),
        (float, complex),
        (int, complex),
        (datetime, date),
        (int, int | None),
        (None, int | None),
        (int | None, float | str | None),
        (Literal["a"], str),
        (Literal["a"], Literal["a", "b"]),
        (Literal["a"], Literal["a"] | None),
        (Literal["a", 1], str | int),
        (Literal[1], float),
        (Literal[2**60], int),
        (Literal[b"x"], bytes),
        (bool, Literal[True, False]),
        (bool, Union[Literal[True], Literal[False]]),
        (Literal[Color.RED], Color),
        (Color, Literal[Color.RED, Color.BLUE]),
        (None, Literal[None, "a"]),
        (Level, int),
        (Shade, str),
        (list[int], list[float]),
        (list[int], list),
        (list, list[int]),
        (list[bool], Sequence[int]),
        (tuple[int, bool], Sequence[int]),
        (set[int], Iterable[float]),
        (frozenset[int], AbstractSet[int]),
        (list[int], Collection[int]),
        (list[int], MutableSequence[int]),
        (Sequence[int], Iterable[int]),
        (dict[str, int], Mapping[str, float]),
        (OrderedDict[str, int], dict[str, int]),
        (tuple[int, int], tuple[int, ...]),
        (tuple[()], tuple[int, ...]),
        (tuple[int, bool], tuple[float, int]),
        (Scores, tuple[float, int]),
        (Scores, tuple[float, ...]),
        (Scores, Sequence[float]),
        (Options, dict[str, Any]),
        (Options, dict[str, int | str]),
        (Options, Wider),
        (Options, Maybe),
        (DeepNet, Net),
        (DeepNet, object),
        (DeepNet, Net | None),
        (list[DeepNet], list[Net]),
        (Box[int], Box[float]),
        (Box, Box[int]),
        (Tree, Tree),
        (Any, int),
        (int, Any),
        (list[Any], list[int]),
        (int, object),
        (None, object),
        (Dataset[pd.DataFrame], pd.DataFrame),
        (pd.DataFrame, Dataset[pd.DataFrame]),
        (Model[Net], Dataset[Net]),
        (Path, Path),
        (np.float64, float),
    ],
)
def test_an_edge_is_legal(source, target):
    assert why_not(spec(source), spec(target)) == ""
    assert is_assignable(spec(source), spec(target))


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        (str, int, "str is not int"),
        (float, int, "float is not int"),
        (date, datetime, "date is not datetime"),
        (None, int, "None is not int"),
        (list[str], list[int], "list[str] is not list[int]: items are str, not int"),
        (int | None, int, "int | None is not int: it may be None"),
        (list[int | None], list[int], "list[int | None] is not list[int]: items may be None"),
        (list[str] | None, list[int] | None, "list[str] | None is not list[int] | None: items are str, not int"),
        (list[str], list[int] | None, "list[str] is not list[int] | None: items are str, not int"),
        (str, int | None, "str is not int | None"),
        (list[int], tuple[int, ...], "list[int] is not tuple[int, ...]"),
        (list[int], set[int], "list[int] is not set[int]"),
        (str, Sequence[str], "str is not Sequence[str]"),
        (
            dict[str, list[str]],
            dict[str, list[int]],
            "dict[str, list[str]] is not dict[str, list[int]]: items of values are str, not int",
        ),
        (dict[int, int], dict[str, int], "dict[int, int] is not dict[str, int]: keys are int, not str"),
        (tuple[int, str], tuple[int, int], "tuple[int, str] is not tuple[int, int]: item 1 is str, not int"),
        (tuple[int], tuple[int, int], "tuple[int] is not tuple[int, int]: it has 1 item, not 2"),
        (
            tuple[int, ...],
            tuple[int, int],
            "tuple[int, ...] is not tuple[int, int]: it may have any number of items, not 2",
        ),
        (Literal["a", "c"], Literal["a", "b"], "Literal['a', 'c'] is not Literal['a', 'b']: it may be 'c'"),
        (Literal[1], Literal[True], "Literal[1] is not Literal[True]"),
        (str, Literal["a"], "str is not Literal['a']"),
        (Color, Literal[Color.RED], "Color is not Literal[Color.RED]: it may be Color.BLUE"),
        (Literal[Color.RED], str, "Literal[Color.RED] is not str"),
        (Color, str, "Color is not str"),
        (Net, DeepNet, "Net is not DeepNet"),
        (Scores, tuple[float, str], "Scores is not tuple[float, str]: item 1 is int, not str"),
        (tuple[float, int], Scores, "tuple[float, int] is not Scores"),
        (Wider, Options, "Wider is not Options: key `depth` is float, not int"),
        (Maybe, Wider, "Maybe is not Wider: it may lack the key `depth`"),
        (Options, dict[str, int], "Options is not dict[str, int]: key `name` is str, not int"),
        (dict[str, int], Options, "dict[str, int] is not Options"),
        (Box[str], Box[int], "Box[str] is not Box[int]: field `item` is str, not int"),
        (list[Box[list[str]]], list[Box[list[int]]], "items of field `item` of items are str, not int"),
        (object, int, "object is not int"),
        (Path, str, "Path is not str"),
        (pd.DataFrame, np.ndarray, "DataFrame is not ndarray"),
    ],
)
def test_an_edge_is_refused_with_the_innermost_reason(source, target, reason):
    assert not is_assignable(spec(source), spec(target))
    assert why_not(spec(source), spec(target)).endswith(reason)


def test_two_classes_of_one_name_are_told_apart_by_their_modules():
    other = type("Net", (), {"__module__": "elsewhere"})
    assert why_not(spec(other), spec(Net)) == f"elsewhere.Net is not {Net.__module__}.Net"


@pytest.mark.parametrize(
    ("target", "value"),
    [
        (float, 1),
        (float, float("nan")),
        (int, True),
        (int | None, None),
        (list[float], [1, 2.5]),
        (tuple[int, ...], ()),
        (Sequence[str], ("a",)),
        (dict[str, list[int]], {"a": [1]}),
        (Literal["a", 1], 1),
        (Literal[Color.RED], Color.RED),
        (Color, Color.BLUE),
        (Options, {"depth": 1, "name": "x"}),
        (Maybe, {}),
        (Scores, Scores(0.5, 3)),
        (tuple[float, int], Scores(0.5, 3)),
        (Tree, Tree(1, [Tree(2, [])])),
        (Path, Path("x")),
        (Net, DeepNet()),
        (object, Net()),
        (Any, Net()),
        (float, np.float64(1.5)),
        (date, datetime(2024, 1, 1)),  # a naive one is a value too
    ],
)
def test_a_constant_of_the_type_is_accepted(target, value):
    assert accepts(spec(target), value) == ""


@pytest.mark.parametrize(
    ("target", "value", "reason"),
    [
        (int, "x", "'x' is not int"),
        (int, 1.0, "1.0 is not int"),
        (bool, 1, "1 is not bool"),
        (int, None, "None is not int"),
        (list[int], (1,), "(1,) is not list[int]"),
        (list[int], [1, "x"], "[1, 'x'] is not list[int]: item 1 is 'x', not int"),
        (list[int] | None, [1, "x"], "[1, 'x'] is not list[int] | None: item 1 is 'x', not int"),
        (Sequence[str], "ab", "'ab' is not Sequence[str]"),
        (set[int], {"x"}, "{'x'} is not set[int]: an item is 'x', not int"),
        (dict[str, int], {"a": "b"}, "{'a': 'b'} is not dict[str, int]: the value at 'a' is 'b', not int"),
        (dict[str, int], {1: 2}, "{1: 2} is not dict[str, int]: the key 1 is 1, not str"),
        (tuple[int, int], (1,), "(1,) is not tuple[int, int]: it has 1 item, not 2"),
        (list[tuple[int, int]], [(1,)], "[(1,)] is not list[tuple[int, int]]: item 0 has 1 item, not 2"),
        (Literal[1], True, "True is not Literal[1]"),
        (Literal["a"], [], "[] is not Literal['a']"),
        (Literal["a"], Net(), "a Net is not Literal['a']"),
        (Color, "red", "'red' is not Color"),
        (Options, {"depth": 1}, "{'depth': 1} is not Options: it has no key `name`"),
        (Maybe, {"size": 1}, "{'size': 1} is not Maybe: it has an unknown key 'size'"),
        (Options, {"depth": 1.5, "name": "x"}, "key `depth` is 1.5, not int"),
        (Scores, Scores("high", 1), "field `accuracy` is 'high', not float"),  # type: ignore[arg-type]
        (Path, "x", "'x' is not Path"),
        (Net, io.StringIO(), "a StringIO is not Net"),
        (str, pd.DataFrame({"a": [1]}), "a DataFrame is not str"),
    ],
)
def test_a_constant_of_another_type_is_refused_with_the_place(target, value, reason):
    assert accepts(spec(target), value).endswith(reason)


def test_constants_are_told_by_the_names_that_the_spec_uses():
    def name_of(cls: type) -> str:
        return f"flow:{cls.__qualname__}" if cls.__module__ == __name__ else type_name(cls)

    target = type_of(Net, name_of=name_of)
    assert accepts(target, DeepNet(), name_of) == ""
    assert accepts(target, DeepNet()) != ""


@given(annotations(Any, Net))
def test_every_type_may_go_to_itself_to_optional_and_to_object(annotation):
    one = spec(annotation)
    assert why_not(one, one) == ""
    assert is_assignable(one, spec(Union[annotation, None]))
    assert is_assignable(one, spec(object))


@given(annotations(Any), annotations(Any))
def test_there_is_a_reason_exactly_where_an_edge_is_illegal(source, target):
    assert bool(why_not(spec(source), spec(target))) != is_assignable(spec(source), spec(target))


@pytest.mark.slow
def test_what_may_go_on_may_go_all_the_way():
    leaves = [*LEAVES, complex, Options, Wider, Maybe, Scores, Level, Net, DeepNet]
    unions = [Union[a, b] for a in leaves[:12] for b in leaves[:12]]
    containers = [shape[leaf] for leaf in leaves for shape in (list, Sequence, Iterable)]
    tuples = [tuple[int, float], tuple[float, ...], tuple[()], Sequence[float], dict[str, Any], dict[str, int | str]]
    kinds = list(
        {each.model_dump_json(): each for each in map(spec, [*leaves, *unions, *containers, *tuples])}.values()
    )
    wider = [{n for n, target in enumerate(kinds) if is_assignable(source, target)} for source in kinds]
    broken = [
        (kinds[one].text, kinds[two].text, kinds[three].text)
        for one, targets in enumerate(wider)
        for two in targets
        for three in wider[two] - targets
        if "any" not in kinds[two].model_dump_json()
    ]
    assert broken == []


@pytest.mark.slow
@given(st.data(), annotations())
@settings(deadline=None)  # the first value of a type builds its strategy
def test_values_of_a_type_are_accepted_by_it_and_wherever_it_may_go(data, source):
    value = data.draw(st.from_type(source))
    assert accepts(spec(source), value) == ""
    target = data.draw(annotations())
    if is_assignable(spec(source), spec(target)):
        assert accepts(spec(target), value) == ""
