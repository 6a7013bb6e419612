"""The part of Penstock that travels: exact values, bindings, programs, attempts and their supervision."""

from __future__ import annotations

import ast
import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import os
import signal
import subprocess
import sys
import time
import typing
import uuid
import zoneinfo
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import harness


class Colour(enum.Enum):
    RED = 1
    GREEN = "g"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0


class Pair(typing.NamedTuple):
    left: object
    right: object = None


def through_json(value: object) -> object:
    return harness.decode(json.loads(harness.dumps(harness.encode(value))))


def same(one: object, other: object) -> bool:
    """Equal, of equal types at every depth, with NaN equal to itself and -0.0 unlike 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(map(same, one.values(), other.values()))
    if isinstance(one, dt.datetime):
        return one == other and one.fold == other.fold and one.tzinfo == other.tzinfo
    return one == other


@pytest.mark.parametrize(
    "value",
    [
        *[None, True, 1, 1.0, 0.0, -0.0, 2**53, 2**53 + 1, -(10**30), math.nan, math.inf, -math.inf, 5e-324],
        *["", "${{ x }}", "{{ x }}", "$(X) $$", "\ud800", "\0\r\n\u2028", "é"],
        *[
            b"\x00\xff",
            (),
            (1,),
            [[]],
            {"a": [1]},
            {},
            {1: "a", "1": "b"},
            {"$tuple": 1},
            {"a": {"$b": 1}},
            {(1, 2): None},
        ],
        pytest.param({1, 2.5, "x"}, id="set"),  # shown in another order by each process
        *[frozenset({(1,)}), decimal.Decimal("1.10"), decimal.Decimal("NaN"), uuid.UUID(int=7)],
        *[Colour.RED, Colour.GREEN, Access.READ | Access.WRITE, Level.LOW, Point(1, -0.0), Pair(Point(2.0), [Pair(1)])],
        *[dt.date(1, 1, 1), dt.time(1, 2, 3, 4), dt.timedelta(-1, 5, 7), dt.datetime(2024, 2, 29, 1, 2, 3, 4)],
        dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))),
        dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc),
        dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    ],
    ids=repr,
)
def test_a_value_comes_back_as_what_it_was(value):
    if isinstance(value, decimal.Decimal) and value.is_nan():
        assert through_json(value).is_nan()
    else:
        assert same(through_json(value), value)


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.datetimes(),
    st.sampled_from([*Colour, *Level]),
)
_HASHABLE = st.one_of(st.booleans(), st.integers(), st.text(), st.binary(), st.tuples(st.integers(), st.text()))
_VALUES = st.recursive(
    _SCALARS | st.frozensets(_HASHABLE) | st.sets(_HASHABLE),
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(_HASHABLE, inner) | st.builds(Pair, inner, inner)
    ),
    max_leaves=12,
)


@given(_VALUES)
def test_any_nesting_of_values_comes_back_as_what_it_was(value):
    assert same(through_json(value), value)


@pytest.mark.parametrize(
    "value",
    [object(), [print], {"a": 1j}, bytearray(b"x"), type("Sub", (int,), {})(3)],
    ids=lambda value: type(value).__name__,
)
def test_a_value_without_an_exact_form_is_refused(value):
    with pytest.raises(TypeError, match="no exact JSON form"):
        harness.encode(value)


def test_a_tag_that_is_not_ours_is_refused():
    with pytest.raises(harness.StepError, match="not a value"):
        harness.decode({"$evil": "os.system"})


def test_a_numpy_scalar_is_the_number_it_holds():
    numpy = pytest.importorskip("numpy")
    assert same(through_json([numpy.float64(0.1), numpy.int64(3), numpy.bool_(True)]), [0.1, 3, True])


def test_how_well_a_classifier_does_is_plain_data_whatever_counted_it():
    numpy = pytest.importorskip("numpy")
    counted = harness.Classification(
        numpy.array(["no", "yes"]), numpy.array([[5, 1], [2, 8]]), numpy.array([[0, 0, math.inf], [1, 1, 0.1]])
    )
    plain = harness.Classification(["no", "yes"], [[5, 1], [2, 8]], [(0.0, 0.0, math.inf), (1.0, 1.0, 0.1)])
    assert same(through_json(counted), plain)
    assert next(iter(harness.encode(plain).values()))[0] == "penstock:Classification"  # whatever file embeds it


def test_a_confusion_matrix_that_is_not_square_is_refused():
    with pytest.raises(ValueError, match="each of the 2 labels"):
        harness.Classification(["no", "yes"], [[5, 1]])


KINDS = {
    "int": {"kind": "int"},
    "float": {"kind": "float"},
    "optional": {"kind": "union", "args": [{"kind": "int"}, {"kind": "none"}], "text": "int | None"},
    "text or number": {"kind": "union", "args": [{"kind": "float"}, {"kind": "str"}]},
    "pair": {"kind": "tuple", "args": [{"kind": "int"}, {"kind": "str"}]},
    "dates": {"kind": "list", "args": [{"kind": "date"}]},
    "by number": {"kind": "dict", "args": [{"kind": "int"}, {"kind": "bool"}]},
    "colour": {"kind": "enum", "name": f"{__name__}:Colour", "members": ["RED", "GREEN"], "values": [1, "g"]},
    "choice": {"kind": "literal", "values": ["a", 1]},
    "point": {
        "kind": "dataclass",
        "name": f"{__name__}:Point",
        "fields": [
            {"name": "x", "type": {"kind": "float"}},
            {"name": "y", "type": {"kind": "float"}, "required": False},
        ],
        "text": "Point",
    },
}


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        ("int", 3.0, 3),
        ("float", 3, 3),
        ("float", "nan", math.nan),
        ("optional", None, None),
        ("text or number", "x", "x"),
        ("text or number", 2.5, 2.5),
        ("pair", [1, "x"], (1, "x")),
        ("dates", ["2024-02-29"], [dt.date(2024, 2, 29)]),
        ("by number", {"1": True}, {1: True}),
        ("colour", "RED", Colour.RED),
        ("colour", "g", Colour.GREEN),
        ("choice", 1, 1),
        ("point", {"x": 1.5}, Point(1.5)),
        ("point", {"$dataclass": [f"{__name__}:Point", {"x": 1, "y": 2}]}, Point(1, 2)),
    ],
)
def test_plain_json_from_outside_becomes_the_declared_type(kind, raw, value):
    assert same(harness.coerce(raw, KINDS[kind]), value)


@pytest.mark.parametrize(
    ("kind", "raw", "said"),
    [
        ("int", "3", '"3" is not int'),
        ("int", True, "true is not int"),
        ("int", float(2**53), "is not int"),
        ("optional", "x", r"is not int \| None"),
        ("choice", True, "true is not literal"),
        ("colour", "BLUE", "is not enum"),
        ("point", {"z": 1}, "unknown: z; missing: x"),
        ("dates", ["x"], r'\["x"\] is not list \("x" is not date\)'),
    ],
)
def test_what_stands_for_no_value_of_the_type_is_refused_with_the_reason(kind, raw, said):
    with pytest.raises(harness.StepError, match=said):
        harness.coerce(raw, KINDS[kind])


def test_a_text_typed_for_a_parameter_is_read_as_json_unless_it_is_declared_a_text():
    assert harness.parse("3", {"kind": "str"}) == "3"
    assert harness.parse("3", {"kind": "int"}) == 3
    assert harness.parse("2024-01-01", {"kind": "date"}) == "2024-01-01"


MODULE = """
import math, json
LIMIT = 3
LIMITS = {}
LIMITS["x"] = LIMIT
raise_at_import = 1 / LIMIT
def double(x: int) -> int:
    return helper(x) * 2
def helper(x):
    return min(x, LIMITS["x"])
print("never")
"""


def test_a_program_holds_only_what_the_step_reaches():
    tree = ast.parse(MODULE)
    kept = [node for node in tree.body if harness.belongs(node, {"double", "helper", "LIMITS", "LIMIT", "math"})]
    assert [type(node).__name__ for node in kept] == [
        "Import",
        "Assign",
        "Assign",
        "Assign",
        "FunctionDef",
        "FunctionDef",
    ]
    assert [alias.name for alias in harness.trimmed(kept[0], {"math"}).names] == ["math"]


def job(function: str, reach: dict, arguments: dict | None = None, returns: str = "value", **more) -> dict:
    outputs = [] if returns == "none" else [{"name": "output", "text": "int"}]
    return {
        "function": function,
        "reach": reach,
        "arguments": arguments or {},
        "parameters": {},
        "outputs": outputs,
        "returns": {"kind": returns},
        "env": {},
        **more,
    }


def test_a_step_runs_from_its_source_alone(tmp_path):
    program = f"""
import json, sys
from pathlib import Path
sys.path.insert(0, {str(Path(harness.__file__).parent)!r})
import harness
job = json.loads(sys.argv[1])
print(json.dumps(harness.run_job(job, {{"made.up": {MODULE!r}}}, {{}}, {{"n": {{"output": 5}}}}, Path("out"))))
"""
    reach = {"made.up": ["double", "helper", "LIMITS", "LIMIT"]}
    binding = {"kind": "output", "node": "n", "output": "output"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, json.dumps(job("made.up:double", reach, {"x": binding}))],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert json.loads(done.stdout) == {"outputs": {"output": 6}, "metrics": {}}


def supervised(attempt, **options) -> dict:
    return harness.supervise(attempt, **options)


def test_an_attempt_that_fails_is_made_again_and_told_its_number(tmp_path):
    def attempt(number):
        with (tmp_path / "seen").open("a") as seen:
            seen.write(f"{number} {time.monotonic()}\n")
        if number < 3:
            raise ValueError("not yet")
        return {"outputs": {"output": number}}

    result = supervised(attempt, retry={"max_retries": 4, "delay": 0.05, "backoff": 3.0})
    numbers, times = zip(*(line.split() for line in (tmp_path / "seen").read_text().splitlines()), strict=True)
    assert result == {"outputs": {"output": 3}, "attempts": 3}
    assert numbers == ("1", "2", "3")
    assert float(times[1]) - float(times[0]) >= 0.05
    assert float(times[2]) - float(times[1]) >= 0.15


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (lambda: os._exit(7), "exit code 7"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL.*out of memory"),
        (lambda: sys.exit(3), "SystemExit: 3"),
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
    ids=["os._exit", "killed", "sys.exit", "raised"],
)
def test_an_attempt_that_dies_in_whatever_way_counts_as_failed(end, said):
    result = supervised(lambda number: end(), retry={"max_retries": 1})
    assert result["attempts"] == 2
    import re

    assert re.search(said, result["error"])


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.slow
def test_a_timeout_ends_the_attempt_with_a_grandchild_that_ignores_sigterm_and_left_its_session(tmp_path):
    code = """
import os, signal, time, sys
os.setsid()
signal.signal(15, signal.SIG_IGN)
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(60)
"""

    def attempt(number):
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "pid")])
        time.sleep(60)

    began = time.monotonic()
    result = supervised(attempt, timeout=1.0)
    assert "timeout of 1 s" in result["error"]
    assert time.monotonic() - began < 20
    assert not alive(int((tmp_path / "pid").read_text()))


def test_a_request_to_stop_leaves_neither_the_attempt_nor_its_folders(tmp_path):
    code = """
import os, sys, time
from penstock import harness

def attempt(number):
    print(harness.checkpoint_dir(), flush=True)
    time.sleep(60)

harness.supervise(attempt)
"""
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, text=True) as process:
        folder = Path(process.stdout.readline().strip())
        assert folder.is_relative_to(tmp_path)
        process.terminate()
        assert process.wait(20) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_the_delay_before_a_retry_is_capped_and_jittered():
    retry = {"delay": 2.0, "backoff": 3.0, "max_delay": 10.0}
    assert [harness.retry_delay(retry, attempt) for attempt in (1, 2, 3)] == [2.0, 6.0, 10.0]
    jittered = [harness.retry_delay({**retry, "jitter": 0.5}, 1) for _ in range(50)]
    assert all(2.0 <= delay <= 3.0 for delay in jittered)
    assert len(set(jittered)) > 1


def test_the_harness_needs_only_the_standard_library_and_python_3_9():
    tree = ast.parse(Path(harness.__file__).read_text(), feature_version=(3, 9))
    imported = {
        alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {(node.module or "").partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= set(sys.stdlib_module_names)
