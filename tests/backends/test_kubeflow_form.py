"""What people read on Kubeflow's pages before a run: the description, and the form with the parameters."""

from __future__ import annotations

import datetime as dt
import enum
import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml

from penstock import pipeline, step
from tests.backends.kubeflow_cluster import Cluster
from tests.engines.kfp import kfp


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass
class Shape:
    sides: int = 3

    def __post_init__(self) -> None:
        self.sides += 1  # so that it matters whether a default is made once more


@step
def shown(values: list[Any]) -> str:
    return repr(values)


@pipeline(owner="risk", tags=["credit", "{{nightly}}"])
def formed(
    count: Annotated[int, "how many"] = 3,
    large: int = 2**60,
    share: float = float("nan"),
    colour: Colour = Colour.BLUE,
    day: Annotated[dt.date, "the first day"] = dt.date(2024, 1, 2),
    at: dt.datetime = dt.datetime(2024, 1, 2, 3, tzinfo=dt.timezone.utc),
    price: Decimal = Decimal("1.50"),
    kind: Literal["x", 3] = "x",
    depth: int | None = None,
    sizes: tuple[int, ...] = (1, 2),
    names: list[str] = ["a"],
    shape: Shape = Shape(4),
    raw: bytes = b"ab",
    odd: dict[str, int] = {"$json": 1},
    pause: dt.timedelta = dt.timedelta(minutes=1),
    text: str | None = "null",
) -> str:
    """Tells what it was given."""
    return shown([count, large, share, colour, day, at, price, kind, depth, sizes, names, shape, raw, odd, pause, text])


def test_the_form_says_what_to_write_and_shows_defaults_as_one_would() -> None:
    (text,) = formed.compile("kubeflow").values()
    loaded = yaml.safe_load(text)
    inputs = loaded["root"]["inputDefinitions"]["parameters"]
    assert {name: (each.get("description"), each["defaultValue"]) for name, each in inputs.items()} == {
        "count": ("how many", 3),
        "large": ("int", "1152921504606846976"),
        "share": ("float", "nan"),
        "colour": ("one of RED, BLUE", "BLUE"),
        "day": ("the first day (date)", "2024-01-02"),
        "at": ("datetime", "2024-01-02T03:00:00+00:00"),
        "price": ("Decimal", '"1.50"'),
        "kind": ("Literal['x', 3]", "x"),
        "depth": ("int | None", "null"),
        "sizes": ("tuple[int, ...], as JSON", "[1,2]"),
        "names": ("list[str]", ["a"]),
        "shape": ("Shape, as JSON", '{"sides":5}'),
        "raw": ("bytes, in base64", "YWI="),
        "odd": ("dict[str, int], as JSON", '{"$dict":[["$json",1]]}'),
        "pause": ("timedelta, in seconds", "60"),
        "text": ("str | None", '"null"'),
    }
    assert loaded["pipelineInfo"] == {
        "name": "formed",
        "description": "Tells what it was given.\n\nOwner: risk\n\nTags: credit, { {nightly}}",
    }


@pytest.mark.engine
def test_defaults_as_one_would_write_them_arrive_as_what_they_are(tmp_path: Path) -> None:
    (text,) = formed.compile("kubeflow").values()
    (tmp_path / "cluster").mkdir()
    on_cluster = Cluster(yaml.safe_load(text), tmp_path / "cluster").run({}).executions
    for execution in (*on_cluster, *kfp().run(text, {}, folder=tmp_path).executions):
        assert json.loads(Path(execution.outputs["output"]["uri"]).read_text()) == formed()
