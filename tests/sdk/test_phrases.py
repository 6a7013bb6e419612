"""Values of a spec and of a run, as they are told to people."""

import datetime as dt
import enum
import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

import pytest

from penstock.phrases import value_text
from penstock.values import encode


class Kind(enum.Enum):
    LINEAR = "linear"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: float
    y: float


@dataclass
class Found:
    kind: Kind
    at: tuple[Point, ...]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        ("it's", '"it\'s"'),
        ([1, True], "[1, True]"),
        ((1,), "(1,)"),
        ((), "()"),
        ({2, 1}, "{1, 2}"),
        (set(), "set()"),
        (frozenset({"a"}), "frozenset({'a'})"),
        ({"a": (1, 2)}, "{'a': (1, 2)}"),
        ({1: "a", (2,): "b"}, "{1: 'a', (2,): 'b'}"),
        (2**60, "1152921504606846976"),
        (float("nan"), "nan"),
        (b"a", "b'a'"),
        (Decimal("1.10"), "Decimal('1.10')"),
        (dt.date(2026, 1, 31), "datetime.date(2026, 1, 31)"),
        (Rights.READ | Rights.WRITE, "Rights(3)"),
        (Found(Kind.LINEAR, (Point(1.0, 2.0),)), "Found(kind=Kind.LINEAR, at=(Point(1.0, 2.0),))"),
    ],
    ids=repr,
)
def test_a_value_reads_as_its_author_wrote_it(value, text):
    assert value_text(encode(value)) == text


def test_no_code_of_the_author_is_run_to_tell_a_value(tmp_path, monkeypatch):
    (tmp_path / "loud.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert value_text({"$enum": ["loud:Outer.Kind", "LINEAR"]}) == "Outer.Kind.LINEAR"
    assert value_text({"$pydantic": ["loud:Row", {"fields": {"n": 1}, "set": ["n"]}]}) == "Row(n=1)"
    assert "loud" not in sys.modules


def test_what_is_not_known_here_is_told_as_it_is_kept():
    assert value_text({"$later": [1]}) == '{"$later": [1]}'
    assert value_text({"$artifact": {"format": "parquet", "digest": "f471"}}) == "parquet f471"
