"""The report of a run in a real browser: what it shows, that it asks nobody for anything, and that it can be read."""

import json
import os
import subprocess

import pytest

from penstock import Retry, compiler, current_attempt, log_metric, pipeline, step
from penstock_backends.local.report import report_of
from tests.engines.environments import environment

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@step
def load(path: str) -> list[int]:
    print("</script><script>alert('a step said so')</script><style>* { display: none }</style>")
    return [1, 2, 3]


@step(retry=Retry(1), cache=False)
def train(row: int) -> float:
    print("a needle in the log" if row == 2 else "hay")
    if current_attempt() == 1 and row == 3:
        raise OSError("<img src=x onerror=alert('an error said so')>")
    log_metric("accuracy", row / 10)
    return row / 10


@step
def total(scores: list[float]) -> float:
    return sum(scores)


@step
def deploy(score: float) -> None:
    raise ValueError("https://example.invalid/picture.png is not there")


@step
def keep() -> None:
    pass


@step
def tell(score: float) -> None:
    pass


@pipeline
def prepared(path: str) -> list[int]:
    return load(path)


@pipeline
def churn(path: str = "rows.csv", floor: float = 0.5) -> None:
    """Finds out who leaves."""
    score = total([train(row) for row in prepared(path)])
    assert score > floor, "too low"
    if score > 0.55:
        deploy(score)
    else:
        keep()
    tell(score)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    browser = environment("browser")
    folder = tmp_path_factory.mktemp("report")
    for _ in range(2):
        churn.run(store=folder / "store", max_workers=2)
    history = compiler.history(None, folder / "store")
    file = folder / "report.html"
    file.write_text(report_of(history, history.find("latest")), encoding="utf-8")
    # HOME is where Chromium writes.
    done = subprocess.run(
        ["node", browser.path / "look.mjs", file],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "HOME": str(folder)},
    )
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "file": file}


def test_the_page_raises_nothing_and_runs_nothing_that_a_step_said(seen):
    assert seen["problems"] == []


def test_the_page_asks_nobody_for_anything(seen):
    assert set(seen["requests"]) == {f"file://{seen['file']}"}


def test_each_node_is_seen_in_the_graph(seen):
    assert all(shape["visible"] for shape in seen["shapes"])
    drawn = {shape["id"] for shape in seen["shapes"]}
    assert drawn == {"prepared", "prepared.load", "for", "train", "total", "assert", "if", "deploy", "keep", "tell"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(seen, scheme):
    assert seen[scheme]["faint"] == []


def test_the_page_is_light_or_dark_as_the_system_is_or_its_reader_wants(seen):
    light, dark = seen["light"]["background"], seen["dark"]["background"]
    assert light != dark
    assert (seen["toggled"], seen["kept"], seen["printed"]) == (light, light, light)


def test_a_node_is_opened_from_the_graph_by_the_keyboard(seen):
    assert seen["opened"] == "prepared.load"


def test_logs_are_searched(seen):
    assert seen["found"] == ["train[1]"]


def test_the_page_fits_a_telephone_and_paper(seen):
    assert not seen["tooWide"]
    assert seen["printedTools"] == "none"
