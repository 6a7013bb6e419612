"""Whether an engine makes of a pipeline what the case says, and plain Python gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock import CompileError
from penstock.harness import Inputs
from penstock.spec import tasks
from tests.conformance.case import REFERENCE, Case, difference
from tests.conformance.engine import Engine, Observed


def assert_same_meaning(engine: Engine, case: Case, folder: Path) -> None:
    """Runs the case on the engine, in ``folder``: states as the case says, the result as plain Python gives it."""
    if engine.target in case.refused:
        _assert_refused(engine, case)
        return
    parameters = {name: _placed(value, folder) for name, value in case.parameters.items()}
    seen = engine.run(case.pipeline, parameters, folder)
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
