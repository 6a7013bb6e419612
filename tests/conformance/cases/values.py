"""Values along edges, into pipelines and out of them, exact to the bit and the type."""

import dataclasses
import datetime as dt
import decimal
import enum
import math
import uuid
from typing import Any, Literal, NamedTuple, TypedDict

from penstock import Retry, pipeline, step
from tests.conformance.case import Case


class Colour(enum.Enum):
    RED = "r"
    BLUE = ("b", 2)


@dataclasses.dataclass(frozen=True)
class Inner:
    when: dt.date
    ratio: decimal.Decimal = decimal.Decimal("0.10")


@dataclasses.dataclass
class Config:
    inner: Inner
    names: tuple[str, ...] = ("a", "b")
    limits: dict[str, float] = dataclasses.field(default_factory=dict)


class Point(NamedTuple):
    x: float
    y: int = 2


class Options(TypedDict):
    deep: bool
    count: int


EVERYTHING: list[Any] = [
    *[None, True, False, 1, 1.0, 0.0, -0.0, 2**53, 2**53 + 1, -(10**30), 5e-324, math.inf, -math.inf, math.nan],
    *["", "é\u2028\U0001f600", "\x00\x1b\r\n", "line\nline\n", " lead", "trail ", "null", "1", "~", "no", "2024-01-01"],
    *[b"", b"\x00\xff", (), (1, (2,)), [], {}, {"a": {"b": [1]}}, {1: "x", "1": "y"}, {"$tuple": [1]}],
    *[decimal.Decimal("1.10"), uuid.UUID(int=2**100), dt.date(1, 1, 1), dt.time(23, 59, 59, 999999)],
    *[dt.timedelta(days=-1, microseconds=1), dt.datetime(2024, 2, 29, 12, tzinfo=dt.timezone.utc)],
    dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-3, minutes=-30))),
]


@step
def everything() -> list[Any]:
    return EVERYTHING


@step
def as_text(value: Any) -> str:
    """What the step saw, in which a changed type or a lost sign shows."""
    return repr(value)


@step
def types_of(value: list[Any]) -> list[str]:
    return [type(each).__name__ for each in value]


@pipeline
def exact_values() -> tuple[str, list[str], list[Any]]:
    values = everything()
    return as_text(values), types_of(values), values


@step
def huge(size: int) -> str:
    return "é0123456789abcdef"[:16] * (size // 16)


@step
def size_of(text: str) -> int:
    return len(text)


@step
def echoed(text: str) -> str:
    return text


@pipeline
def a_megabyte(size: int = 1_000_000) -> tuple[int, str]:
    text = huge(size)
    return size_of(text), echoed(text)


@step
def describe(
    flag: bool,
    count: int,
    big: int,
    ratio: float,
    text: str,
    maybe: int | None,
    names: list[str],
    pair: tuple[int, str],
    table: dict[str, int],
    choice: Literal["fast", "exact"],
    colour: Colour,
    day: dt.date,
    moment: dt.datetime,
    span: dt.timedelta,
    price: decimal.Decimal,
    data: bytes,
    config: Config,
    point: Point,
    options: Options,
) -> list[str]:
    return [repr(value) for value in (
        flag, count, big, ratio, text, maybe, names, pair, table, choice, colour, day, moment, span, price, data,
        config, point, options,
    )]  # fmt: skip


@pipeline
def parameters_of_all_types(
    flag: bool = True,
    count: int = 0,
    big: int = 2**53 + 1,
    ratio: float = -0.0,
    text: str = "${{ secrets.X }} {{ ds }} {% if %} $(HOME) $$ $X `id` \"quoted\" 'single' \\ é",
    maybe: int | None = None,
    names: list[str] = ["a", ""],
    pair: tuple[int, str] = (1, "x"),
    table: dict[str, int] = {"a": 1, "${{b}}": 2},
    choice: Literal["fast", "exact"] = "exact",
    colour: Colour = Colour.BLUE,
    day: dt.date = dt.date(2024, 2, 29),
    moment: dt.datetime = dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.timezone.utc),
    span: dt.timedelta = dt.timedelta(days=1, seconds=2),
    price: decimal.Decimal = decimal.Decimal("1.10"),
    data: bytes = b"\x00\xff",
    config: Config = Config(Inner(dt.date(2024, 1, 1)), limits={"x": math.inf}),
    point: Point = Point(1.5),
    options: Options = {"deep": False, "count": 3},
) -> list[str]:
    return describe(
        flag, count, big, ratio, text, maybe, names, pair, table, choice, colour, day, moment, span, price, data,
        config, point, options,
    )  # fmt: skip


@pipeline
def falsy_parameters(flag: bool = True, count: int = 7, ratio: float = 0.5, text: str = "x") -> list[str]:
    return [as_text(flag), as_text(count), as_text(ratio), as_text(text)]


@step
def doubled(value: int) -> int:
    return value * 2


@pipeline
def fields_of_parameters(
    config: Config = Config(Inner(dt.date(2024, 5, 6)), limits={"x": 1.5}), point: Point = Point(0.5, 21)
) -> tuple[str, str, int]:
    return as_text(config.inner.when), as_text(config.limits["x"]), doubled(point.y)


@step
def tokens() -> dict[str, list[int]]:
    return {"a": [1, 2], "b": []}


@pipeline
def items_of_outputs() -> list[str]:
    found = tokens()
    return [as_text(found["a"]), as_text(found["a"][1]), as_text(found["b"])]


@step
def nothing() -> None:
    return None


@step
def maybe(value: int | None) -> int | None:
    return value


@pipeline
def nones(given: int | None = None) -> tuple[str, str]:
    return as_text(maybe(given)), as_text.with_options(after=nothing())(None)


@pipeline
def constants_and_outputs_mixed() -> str:
    two = doubled(1)
    return as_text({"list": [1, two, (two, "x")], "deep": {"two": two, "none": None}})


MARKS = [
    "${{ github.token }}",
    "{{ macros.uuid }} {% raw %} {# c #}",
    "{{$}} {{$.inputs.parameters['x']}} {{workflow.name}} {{inputs.parameters.x}}",
    "$(HOME) $$(HOME) $HOME $$ `id` $(id)",
    "python3 -c 'x'",
    "'''triple''' \"\"\"triple\"\"\" \\N{DASH} \\",
    "::error::x\n::set-output name=x::y",
    "EOF\n__EOF__\n---\n...\n",
    "<!-- --> ]]> </script>",
]


OWN = "${{ own }} {{$}} {{ own }} {% own %} $(OWN) $$ python3"  # a comment with ${{ marks }}
ENV = "${{ x }} {{ y }} $(Z) $$ é\n'\"\\"


@step(env={"MARKS": ENV})
def marks(given: list[str], one: str) -> list[str]:
    """Docstrings hold marks, too: ${{ x }} {{ y }} {% z %} '''."""
    import os

    return [*given, one, OWN, os.environ.get("MARKS", "")]


@pipeline
def engine_marks_in_user_text(one: str = MARKS[0]) -> list[str]:
    """A description with ${{ marks }}, {{ marks }} and $(marks)."""
    return marks(MARKS, one)


@step(retry=Retry(1))
def whole(config: Config, point: Point, colour: Colour) -> Config:
    assert isinstance(point, Point)
    assert colour is Colour.RED
    return dataclasses.replace(config, names=(*config.names, str(point.x)))


@step
def first_name(config: Config) -> str:
    assert isinstance(config, Config)
    return config.names[0] + config.names[-1]


@pipeline
def records_as_constants() -> tuple[str, list[str]]:
    made = whole(Config(Inner(dt.date(2024, 1, 1))), Point(2.5), Colour.RED)
    return first_name(made), [as_text(made.inner)]


CASES = (
    Case(exact_values, "Engines keep numbers as doubles, dates as texts and tuples as lists, without a word."),
    Case(a_megabyte, "Argument lists, XCom rows and job outputs end at different sizes; the author should not know."),
    Case(parameters_of_all_types, "A default must reach the step as it was, through each engine's form of parameters."),
    Case(
        parameters_of_all_types,
        "So must a value given for one run.",
        {
            "flag": False, "big": -(2**70), "ratio": math.nan, "text": "", "maybe": 3, "names": [], "pair": (2, ""),
            "choice": "fast", "colour": Colour.RED, "data": b"", "point": Point(math.inf, -1), "count": 41,
            "config": Config(Inner(dt.date(1999, 12, 31), decimal.Decimal("-0")), (), {"${{a}}": 1.0}),
        },
    ),
    Case(
        falsy_parameters,
        "`inputs.x || default` destroys false, 0 and the empty text.",
        {"flag": False, "count": 0, "ratio": 0.0, "text": ""},
    ),
    Case(fields_of_parameters, "A part of a parameter is taken where the step runs, not where the file is written."),
    Case(items_of_outputs, "So is a part of an output."),
    Case(nones, "None is a value, and a step without outputs can still be waited for."),
    Case(constants_and_outputs_mixed, "An argument may be made of constants and outputs at any depth."),
    Case(
        engine_marks_in_user_text,
        "Template marks in user text must arrive as the bytes they were, and never be run.",
        returns=[*MARKS, MARKS[0], OWN, ENV],
    ),
    Case(records_as_constants, "Classes of the author travel with the steps that take them."),
)  # fmt: skip
