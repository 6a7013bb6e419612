"""Every case on every engine: one definition, one meaning.

The engines run for real. What a case says of states must be so, and what the pipeline returns must be what plain Python
returns, to the type and the bit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock import CompileError
from penstock.harness import Inputs
from penstock.spec import tasks
from tests.conformance.case import REFERENCE, Case, difference
from tests.conformance.cases import artifacts, failures, graphs, sources, values
from tests.conformance.engine import Engine, Observed
from tests.conformance.engines import ENGINES

CASES = [*values.CASES, *artifacts.CASES, *sources.CASES, *graphs.CASES, *failures.CASES]
IDS = [case.name + ("-given" if case.parameters else "") for case in CASES]
# Starting Airflow's services takes as long as all the other cases together.
SCHEDULED = ("thirty_lines", "one_failure", "retried")


@pytest.fixture
def in_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of the test's own, also as the current directory."""
    before = Path.cwd()
    (tmp_path / "plain").mkdir()
    os.chdir(tmp_path / "plain")
    yield tmp_path
    os.chdir(before)


def _pairs() -> Iterator[Any]:
    """Every case on every engine, the cases of one engine together, so that its warm process serves them all."""
    for engine in ENGINES:
        for case, name in zip(CASES, IDS, strict=True):
            if not getattr(engine, "scheduled", False) or case.name in SCHEDULED:
                mark = pytest.mark.xdist_group(engine.name)
                yield pytest.param(engine, case, id=f"{engine.name}-{name}", marks=mark)


@pytest.mark.engine
@pytest.mark.parametrize(("engine", "case"), list(_pairs()))
def test_a_pipeline_means_the_same_on_every_engine(engine: Engine, case: Case, in_folder: Path) -> None:
    if engine.target in case.refused:
        _assert_refused(engine, case)
        return
    parameters = {name: _placed(value, in_folder) for name, value in case.parameters.items()}
    seen = engine.run(case.pipeline, parameters, in_folder)
    states = {task.id: "succeeded" for task in tasks(case.pipeline.spec.body)} | dict(case.nodes)
    assert seen.nodes == states, seen.log[-6000:]
    assert seen.state == case.state, seen.log[-6000:]
    if case.state == "succeeded":
        expected = case.pipeline(**parameters) if case.returns is REFERENCE else case.returns
        assert not difference(_result(case, parameters, seen), expected)


def _placed(value: Any, folder: Path) -> Any:
    return value.replace("{folder}", str(folder)) if isinstance(value, str) else value


def _assert_refused(engine: Engine, case: Case) -> None:
    with pytest.raises(CompileError) as caught:
        case.pipeline.compile(engine.target)
    assert tuple(each.code for each in caught.value.diagnostics) == case.refused[engine.target]
    assert all(each.location and each.fix for each in caught.value.diagnostics)


def _result(case: Case, parameters: dict[str, Any], seen: Observed) -> Any:
    """The pipeline's result, put together from what its nodes gave."""
    definition = case.pipeline.define()
    spec = definition.spec
    kinds = {each.name: each.type.model_dump(mode="json", exclude_defaults=True) for each in spec.parameters}
    inputs = Inputs(case.pipeline.encode_parameters(parameters), kinds, seen.outputs, definition.find)
    return None if spec.result is None else inputs.resolve(spec.result.model_dump(mode="json"))


def test_each_case_says_why_it_exists() -> None:
    assert len(set(IDS)) == len(IDS)
    assert all(case.why.endswith((".", "!", "?")) for case in CASES)
