"""Bugs that are put into a target on purpose are found by what the conformance suite compares.

For each target: a retry that is dropped, a condition that is turned around, a collection in the wrong order. Into what
is emitted they are written as text; into the engine on this machine, which emits nothing, as another function.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from penstock import Pipeline, Retry, current_attempt, harness, pipeline, step
from penstock_backends.local.execution import Execution
from tests.conformance.case import Case
from tests.conformance.engine import Engine
from tests.conformance.engines import ENGINES
from tests.conformance.meaning import assert_same_meaning


@step(retry=Retry(max_retries=1))
def at_last(value: int) -> int:
    if current_attempt() == 1:
        raise ValueError("not yet")
    return value


@step
def same(value: int) -> int:
    return value


@step
def opposite(value: int) -> int:
    return -value


@step
def listed(values: list[int]) -> str:
    return "-".join(map(str, values))


@pipeline
def tried_again(value: int = 3) -> int:
    return at_last(value)


@pipeline
def decided(value: int = 3) -> int:
    if value > 2:
        return same(value)
    return opposite(value)


@pipeline
def put_in_order(values: list[int] = [3, 1, 2]) -> str:
    return listed([same(value) for value in values])


class Bug(NamedTuple):
    """The case that shows it, how it is written into emitted text, and into the engine on this machine."""

    shown_by: Case
    in_text: dict[str, str]
    on_this_machine: tuple[type, str, Callable[[Any], Any]]


def _backwards(turns: Any) -> Any:
    def reversed_turns(self: harness.Inputs, loop: str | None) -> Iterator[int]:
        before = self.index
        seen = [(number, self.index) for number in turns(self, loop)]
        for number, self.index in reversed(seen):
            yield number
        self.index = before

    return reversed_turns


BUGS = {
    "a dropped retry": Bug(
        Case(tried_again, "A retry runs.", returns=3),
        {r"(['\"]max_retries['\"]: )1\b": r"\g<1>0", r"\bretries=1\b": "retries=0"},
        (
            Execution,
            "failed",
            lambda failed: lambda self, node, key, answer: failed(self, node, key, {**answer, "final": True}),
        ),
    ),
    "a condition turned around": Bug(
        Case(decided, "The arm whose condition holds runs."),
        {r'is arm\["holds"\]': 'is not arm["holds"]', r"holds == '(true|false)'": r"holds != '\1'"},
        (harness.Inputs, "holds", lambda holds: lambda self, branch: not holds(self, branch)),
    ),
    "a collection backwards": Bug(
        Case(put_in_order, "A collection has the order of the items."),
        {r"in (range\(len\(self\._wires\(loop\)\[\"items\"\]\)\)):": r"in reversed(\1):"},
        (harness.Inputs, "_turns", _backwards),
    ),
}
READABLE = {"kubeflow": {"harness": "text"}}  # what a target else packs
EMITTING = ("standalone", "kfp.local", "airflow-3", "airflow-2", "act")


@pytest.mark.engine
@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.parametrize(
    "engine",
    [
        pytest.param(each, marks=pytest.mark.xdist_group(each.name), id=each.name)
        for each in ENGINES
        if each.name in EMITTING
    ],
)
def test_a_bug_in_what_is_emitted_is_found(
    engine: Engine, bug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled, planted = Pipeline.compile, 0

    def with_the_bug(self: Pipeline[..., Any], target: str, **options: Any) -> dict[str, str]:
        nonlocal planted
        files = compiled(self, target, **options, **READABLE.get(target, {}))
        for path in files:
            for pattern, replacement in BUGS[bug].in_text.items():
                files[path], count = re.subn(pattern, replacement, files[path])
                planted += count
        return files

    monkeypatch.setattr(Pipeline, "compile", with_the_bug)
    with pytest.raises(AssertionError):
        assert_same_meaning(engine, BUGS[bug].shown_by, tmp_path)
    assert planted


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_in_the_engine_on_this_machine_is_found(
    bug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, planted = BUGS[bug].on_this_machine
    monkeypatch.setattr(owner, name, planted(getattr(owner, name)))
    (inline,) = (engine for engine in ENGINES if engine.name == "local-inline")
    with pytest.raises(AssertionError):
        assert_same_meaning(inline, BUGS[bug].shown_by, tmp_path)


@pytest.mark.parametrize("bug", BUGS)
def test_without_the_bug_all_is_well(bug: str, tmp_path: Path) -> None:
    (inline,) = (engine for engine in ENGINES if engine.name == "local-inline")
    assert_same_meaning(inline, BUGS[bug].shown_by, tmp_path)
