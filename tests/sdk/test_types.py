# ruff: noqa: UP006, UP007, UP035, UP045, PYI061  # every spelling that `typing` allows is to be read

import sys
from collections import OrderedDict, deque, namedtuple
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    MutableSequence,
    Sequence,
)
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from os import PathLike
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import (
    IO,
    Annotated,
    Any,
    Dict,
    Generic,
    List,
    Literal,
    NamedTuple,
    NewType,
    NoReturn,
    Optional,
    Protocol,
    Tuple,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pandas as pd
import pydantic
import pytest
from hypothesis import given
from typing_extensions import NotRequired, TypeAliasType

from penstock.harness import type_name
from penstock.serializers import Dataset, Markdown, Metrics, Model, Report, Serializer
from penstock.spec import Returns, TypeKind, TypeSpec
from penstock.types import UnsupportedAnnotation, description_of, returns_of, serializers_in, type_of
from tests.sdk.annotations import annotations

T = TypeVar("T")


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1


@dataclass
class Tree:
    value: int
    children: "list[Tree]" = field(default_factory=list)


@dataclass
class Box(Generic[T]):
    item: T


@dataclass
class Boxes(Box[T]):
    more: list[T] = field(default_factory=list)


class Scores(NamedTuple):
    accuracy: float
    rows: int = 0


class Options(TypedDict):
    depth: int
    name: NotRequired[str]


class Loose(TypedDict, total=False):
    depth: int


class Config(pydantic.BaseModel):
    depth: int
    name: str = "tree"


class Net:
    pass


class DeepNet(Net):
    pass


class Fits(Protocol):
    def fit(self) -> None: ...


def save_net(net: Net, path: Path) -> None:
    path.write_text("net")


def load_net(path: Path) -> Net:
    return Net()


def spec(annotation: object) -> TypeSpec:
    return type_of(annotation, name_of=type_name)


def refusal(annotation: object) -> UnsupportedAnnotation:
    with pytest.raises(UnsupportedAnnotation) as caught:
        spec(annotation)
    assert caught.value.fix
    return caught.value


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (None, "none"),
        (type(None), "none"),
        (bool, "bool"),
        (int, "int"),
        (float, "float"),
        (str, "str"),
        (bytes, "bytes"),
        (datetime, "datetime"),
        (date, "date"),
        (time, "time"),
        (timedelta, "timedelta"),
        (Decimal, "decimal"),
        (UUID, "uuid"),
        (Any, "any"),
        (NewType("UserId", int), "int"),
        (Color, "enum"),
        (Level, "enum"),
        (Scores, "namedtuple"),
        (namedtuple("Old", "a b"), "namedtuple"),  # noqa: PYI024  # the untyped kind is what is meant
        (Options, "typeddict"),
        (Config, "pydantic"),
        (Tree, "dataclass"),
    ],
)
def test_a_parameter_type_is_told_by_its_kind_and_is_no_artifact(annotation, kind):
    found = spec(annotation)
    assert found.kind.value == kind
    assert found.is_artifact == (annotation is Any or "Old" in found.name)  # an untyped field may be anything


@pytest.mark.parametrize(
    ("annotation", "kind", "serializer"),
    [
        (Path, "path", "path"),
        (PurePosixPath, "path", "path"),
        (PathLike, "path", "path"),
        (PathLike[str], "path", "path"),
        (pd.DataFrame, "object", "parquet"),
        (pd.Series, "object", "pickle"),
        (np.ndarray, "object", "npy"),
        (npt.NDArray[np.float64], "object", "npy"),
        (np.ma.MaskedArray, "object", "pickle"),
        (Net, "object", "pickle"),
        (deque[int], "object", "pickle"),
        (object, "object", "any"),
        (Any, "any", "any"),
        (Fits, "any", "any"),
    ],
)
def test_every_other_class_is_an_artifact_with_a_serializer(annotation, kind, serializer):
    found = spec(annotation)
    assert (found.kind.value, found.serializer, found.is_artifact) == (kind, serializer, True)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (list[int], "list[int]"),
        (List[int], "list[int]"),
        (list, "list"),
        (List, "list"),
        (Dict[str, list[float]], "dict[str, list[float]]"),
        (set[str], "set[str]"),
        (frozenset[int], "frozenset[int]"),
        (tuple[int, str], "tuple[int, str]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (tuple[()], "tuple[()]"),
        (Tuple[()], "tuple[()]"),
        (tuple, "tuple"),
        (Tuple, "tuple"),
        (Optional[int], "int | None"),
        (int | None, "int | None"),
        (Union[int, str, None], "int | str | None"),
        (Literal["a", 1, None], "Literal['a', 1, None]"),
        (Literal[Color.RED], "Literal[Color.RED]"),
        (pd.DataFrame, "DataFrame"),
        (Dataset[pd.DataFrame], "Dataset[DataFrame]"),
        (Box[int], "Box[int]"),
        (Sequence[int], "Sequence[int]"),
        (Iterable[str] | None, "Iterable[str] | None"),
        (Mapping[str, int], "Mapping[str, int]"),
        (Annotated[int, "depth"], "int"),
    ],
)
def test_a_type_reads_as_a_person_writes_it(annotation, text):
    assert spec(annotation).text == text


def test_a_bare_container_may_hold_anything():
    assert [arg.kind.value for arg in spec(dict).args] == ["any", "any"]
    assert spec(tuple).variadic
    assert spec(tuple).args == spec(list).args


def test_a_tuple_of_no_items_is_not_a_tuple_of_any_items():
    assert spec(tuple[()]).args == ()
    assert not spec(tuple[()]).variadic


@pytest.mark.parametrize(
    "annotation", [Sequence[int], Collection[int], Iterable[int], MutableSequence[int], Mapping[str, int]]
)
def test_an_abstract_container_of_values_travels_as_values(annotation):
    assert not spec(annotation).is_artifact


def test_literals_keep_the_type_of_each_choice():
    assert spec(Literal[1, True, "1", b"1"]).values == (1, True, "1", {"$bytes": "MQ=="})
    assert [type(value) for value in spec(Literal[1, True]).values] == [int, bool]


def test_an_enum_lists_its_members_and_their_values():
    assert spec(Color).members == ("RED", "BLUE")
    assert spec(Color).values == ("red", "blue")


def test_the_bases_of_an_enum_are_the_same_in_every_python():
    assert spec(Level).bases == ("enum:IntEnum", "builtins:int", "enum:Enum")


def test_an_enum_of_what_has_no_json_form_lists_no_values():
    class Agg(Enum):
        MEAN = Net()

    assert spec(Agg).values == ()
    assert spec(Agg).members == ("MEAN",)


def test_a_class_is_known_by_its_name_and_all_its_bases():
    assert spec(DeepNet).name == type_name(DeepNet)
    assert spec(DeepNet).bases == (type_name(Net),)
    assert type_of(DeepNet, name_of=lambda cls: f"flow:{cls.__qualname__}").bases == ("flow:Net",)


def test_a_field_is_required_unless_the_class_gives_it():
    def required(annotation):
        return {each.name: each.required for each in spec(annotation).fields}

    assert required(Tree) == {"value": True, "children": False}
    assert required(Scores) == {"accuracy": True, "rows": False}
    assert required(Options) == {"depth": True, "name": False}
    assert required(Loose) == {"depth": False}
    assert required(Config) == {"depth": True, "name": False}


def test_not_required_is_seen_in_postponed_annotations_too():
    module = module_of(
        "postponed_keys",
        "from __future__ import annotations\n"
        "from typing_extensions import NotRequired, Required, TypedDict\n"
        "class Options(TypedDict):\n    depth: int\n    name: NotRequired[str]\n"
        "class Loose(TypedDict, total=False):\n    depth: int\n    name: Required[str]\n",
    )
    assert [each.required for each in spec(module.Options).fields] == [True, False]
    assert [each.required for each in spec(module.Loose).fields] == [False, True]


def test_a_recursive_class_is_read_once_and_then_named():
    children = spec(Tree).fields[1].type
    assert children.args[0].name == spec(Tree).name
    assert children.args[0].fields == ()


def test_both_uses_of_a_recursive_class_side_by_side_are_read():
    @dataclass
    class Pair:
        left: Tree
        right: Tree

    left, right = (each.type for each in spec(Pair).fields)
    assert left == right
    assert left.fields


def test_classes_that_all_refer_to_each_other_are_read_in_reasonable_size():
    members = " | ".join(f"C{n}" for n in range(9))
    source = "from dataclasses import dataclass\n"
    source += "".join(f"@dataclass\nclass C{n}:\n    other: '{members}'\n" for n in range(9))
    module = module_of("family", source)
    assert len(spec(module.C0).model_dump_json()) < 100_000


def test_a_generic_dataclass_knows_the_types_of_its_fields():
    assert spec(Box[int]).fields[0].type.kind is TypeKind.INT
    assert spec(Box[list[str]]).fields[0].type.text == "list[str]"
    assert spec(Box).fields[0].type.kind is TypeKind.ANY
    assert [each.type.text for each in spec(Boxes[int]).fields] == ["Any", "list[int]"]


def test_a_class_defined_in_a_function_finds_its_neighbours_in_the_namespace():
    @dataclass
    class Inner:
        value: int

    @dataclass
    class Outer:
        inner: "Inner"

    found = type_of(Outer, name_of=type_name, namespace=locals())
    assert found.fields[0].type.fields[0].name == "value"
    assert "Inner" in refusal(Outer).message


def test_aliases_are_what_they_stand_for():
    item = TypeVar("item")
    many = TypeAliasType("many", list[item], type_params=(item,))
    assert spec(TypeAliasType("Depth", int)) == spec(int)
    assert spec(many[int]) == spec(list[int])
    assert spec(many).args[0].kind is TypeKind.ANY
    assert spec(pydantic.JsonValue).kind is TypeKind.UNION


@pytest.mark.skipif(sys.version_info < (3, 12), reason="`type X = ...` is syntax from Python 3.12 on")
def test_type_statements_are_what_they_stand_for():
    module = module_of(
        "aliases",
        "type Depth = int\n"
        "type Pair[A, B] = dict[B, A]\n"
        "type Json = dict[str, Json] | int\n"
        "type Broken = list[Missing]\n",
    )
    assert spec(module.Depth) == spec(int)
    assert spec(module.Pair[int, str]) == spec(dict[str, int])
    assert spec(module.Json).args[0].args[1].kind is TypeKind.ANY
    assert "Missing" in refusal(module.Broken).message


@pytest.mark.parametrize(
    ("label", "name"),
    [(Dataset, "Dataset"), (Model, "Model"), (Metrics, "Metrics")],
)
def test_a_label_makes_an_artifact_of_any_type_and_changes_nothing_else(label, name):
    found = spec(label[dict[str, float]])
    assert (found.label, found.kind, found.is_artifact) == (name, TypeKind.DICT, True)
    assert found.args == spec(dict[str, float]).args


@pytest.mark.parametrize("label", [Report, Markdown])
def test_what_no_page_can_show_is_refused_as_a_report(label):
    shown = Annotated[Net, Serializer(save_net, load_net, ".html")]
    for page in (str, Path, Any, shown, str | None, Annotated[str, "what it is"]):
        assert spec(label[page]).label == label.__metadata__[0].name
    for other in (int, bytes, dict[str, float], Net, pd.DataFrame, int | None):
        error = refusal(label[other])
        assert error.message.endswith("cannot be shown: a page is a text or a file")
        assert f"{label.__metadata__[0].name}[str]" in error.fix


def test_a_label_may_be_inside_a_union():
    assert [each.label for each in spec(Model[Net] | None).args] == ["Model", ""]


def test_a_label_without_its_type_is_refused_with_how_to_write_it():
    error = refusal(Dataset)
    assert "`Dataset`" in error.message
    assert "Dataset[" in error.fix


def test_an_authors_serializer_is_named_after_its_functions():
    net = Annotated[Net, Serializer(save=save_net, load=load_net, extension=".pt")]
    module = save_net.__module__
    assert spec(net).serializer == f"{module}:save_net,{module}:load_net,.pt"
    assert spec(Model[net]).serializer == spec(net).serializer  # type: ignore[valid-type]
    assert spec(Annotated[dict[str, int], Serializer(save_net, load_net, ".pt")]).is_artifact


def test_an_authors_serializers_are_found_at_any_depth():
    mine = Serializer(save_net, load_net, ".pt")
    net = Annotated[Net, mine]
    for annotation in (net, Model[net], list[net], net | None, dict[str, tuple[net, ...]], TypeAliasType("N", net)):
        assert serializers_in(annotation) == (mine,)
    assert serializers_in(Literal["a"]) == ()


@pytest.mark.parametrize(
    ("annotation", "word"),
    [
        (Callable[[int], str], "function"),
        (Iterator[int], "iterator"),
        (Generator[int, None, None], "generator"),
        (AsyncIterator[int], "asynchronous"),
        (Awaitable[int], "awaitable"),
        (IO[str], "file"),
        (type[int], "class"),
        (type, "class"),
        (ModuleType, "module"),
        (T, "`T`"),
        (list[T], "`T`"),
        (NoReturn, "NoReturn"),
        (5, "5"),
        ("Nowhere", "Nowhere"),
        (list[Callable[[], None]], "function"),
    ],
)
def test_what_cannot_travel_is_refused_with_a_fix(annotation, word):
    assert word in refusal(annotation).message


def test_a_refused_field_names_its_class():
    @dataclass
    class Holder:
        call: Callable[[], None]

    assert "Holder" in refusal(Holder).message


def test_a_parametrized_pydantic_model_is_refused_until_it_has_a_name():
    class Page(pydantic.BaseModel, Generic[T]):
        items: list[T]

    class Pages(Page[int]):
        pass

    assert "Page[int]" in refusal(Page[int]).message
    assert spec(Pages).fields[0].type == spec(list[int])


def test_a_builtin_subclass_is_an_artifact_that_knows_its_base():
    assert spec(OrderedDict[str, int]).kind is TypeKind.OBJECT
    assert "builtins:dict" in spec(OrderedDict[str, int]).bases


@pytest.mark.parametrize(
    ("annotation", "kind", "names"),
    [
        (None, "none", []),
        (int, "value", ["output"]),
        (tuple[int, str], "tuple", ["output_0", "output_1"]),
        (tuple[int, ...], "value", ["output"]),
        (tuple[()], "value", ["output"]),
        (Scores, "namedtuple", ["accuracy", "rows"]),
        (Tree, "dataclass", ["value", "children"]),
        (Annotated[Scores, "how well it does"], "namedtuple", ["accuracy", "rows"]),
        (Box[int], "dataclass", ["item"]),
        (Scores | None, "value", ["output"]),
        (Config, "value", ["output"]),
        (Options, "value", ["output"]),
        (Metrics[Scores], "value", ["output"]),
        (Annotated[Tree, Serializer(save_net, load_net, ".tree")], "value", ["output"]),
        (pd.DataFrame, "value", ["output"]),
    ],
)
def test_a_return_annotation_divides_into_outputs(annotation, kind, names):
    returns, outputs = returns_of(annotation, name_of=type_name)
    assert returns.kind == kind
    assert [output.name for output in outputs] == names


def test_named_outputs_know_the_class_that_joins_them_again():
    assert returns_of(Scores, name_of=type_name)[0] == Returns(kind="namedtuple", type=type_name(Scores))


def test_a_description_is_the_first_text_beside_the_type():
    assert description_of(Annotated[int, 3, "how deep", "ignored"]) == "how deep"
    assert description_of(Annotated[Model[Net], "the net"]) == "the net"
    assert description_of(int) == ""


@given(annotations())
def test_reading_a_type_twice_and_through_json_gives_the_same(annotation):
    found = spec(annotation)
    assert spec(annotation) == found
    assert TypeSpec.model_validate_json(found.model_dump_json()) == found


def test_importing_types_loads_no_heavy_library():
    import subprocess

    code = "import sys, penstock.types; print([m for m in ('numpy', 'pandas', 'pyarrow') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def module_of(name: str, source: str) -> ModuleType:
    module = ModuleType(name)
    sys.modules[name] = module
    exec(compile(source, f"{name}.py", "exec"), vars(module))
    return module
