"""The suite itself: each way in which an engine may be wrong is noticed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock import Pipeline
from tests.conformance.case import Case
from tests.conformance.cases import endings, loops
from tests.conformance.engine import Observed
from tests.conformance.engines.local import Local
from tests.conformance.meaning import assert_same_meaning

LISTED = next(case for case in loops.CASES if case.pipeline is loops.loop_over_an_output)
FAILED = next(case for case in loops.CASES if case.pipeline is loops.a_failed_item_among_good_ones)
TOLD = next(case for case in endings.CASES if case.pipeline is endings.told_of_failures)


@dataclasses.dataclass(frozen=True)
class Wrong:
    """The local engine, seen through a change."""

    change: Callable[[Observed], Observed]
    name: str = "wrong"
    target: str = "local"

    def run(self, pipeline: Pipeline[..., Any], parameters: dict[str, Any], folder: Path) -> Observed:
        return self.change(Local("right", inline=True).run(pipeline, parameters, folder))


def nothing(seen: Observed) -> Observed:
    return seen


def forget(name: str) -> Callable[[Observed], Observed]:
    return lambda seen: dataclasses.replace(
        seen, nodes={node: state for node, state in seen.nodes.items() if node != name}
    )


def state(name: str, other: str) -> Callable[[Observed], Observed]:
    return lambda seen: dataclasses.replace(seen, nodes={**seen.nodes, name: other})


def output(name: str, other: Any) -> Callable[[Observed], Observed]:
    return lambda seen: dataclasses.replace(
        seen, outputs={**seen.outputs, name: dict.fromkeys(seen.outputs[name], other)}
    )


def run_state(other: str) -> Callable[[Observed], Observed]:
    return lambda seen: dataclasses.replace(seen, state=other)


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain").mkdir()
    monkeypatch.chdir(tmp_path / "plain")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "change"),
    [
        (LISTED, forget("doubled[1]")),
        (LISTED, state("for_2", "succeeded")),
        (LISTED, state("total", "skipped")),
        (LISTED, output("total", 7)),
        (LISTED, output("total", 6.0)),
        (LISTED, run_state("failed")),
        (FAILED, state("doubled[2]", "skipped")),
        (FAILED, state("not_two[3]", "upstream_failed")),
        (FAILED, output("doubled[1]", 4)),
        (FAILED, output("for", [1, 0, 2, 3])),
        (FAILED, run_state("succeeded")),
        (TOLD, state("page", "skipped")),
        (TOLD, forget("cleanup")),
        (TOLD, output("told_too", {"fails": "ValueError: no good: 1"})),
    ],
)
def test_a_wrong_engine_is_noticed(case: Case, change: Callable[[Observed], Observed], tmp_path: Path) -> None:
    assert_same_meaning(Wrong(nothing), case, tmp_path / "right")
    with pytest.raises(AssertionError):
        assert_same_meaning(Wrong(change), case, tmp_path / "wrong")


@pytest.mark.parametrize(
    "change",
    [
        {"nodes": {"total": "skipped"}},
        {"nodes": {"there_is_no_such_node": "skipped"}},
        {"returns": 7},
        {"gives": {"doubled[1]": 5}},
        {"fails": {"doubled[1]": "no good"}},
    ],
)
def test_a_case_that_claims_what_is_not_so_is_noticed(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        assert_same_meaning(Wrong(nothing), dataclasses.replace(LISTED, **change), tmp_path)
