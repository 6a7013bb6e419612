"""Whether an engine makes of a pipeline what the model predicts, and plain Python gives."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from penstock import CompileError, harness
from penstock.harness import Inputs, Place, decode, load_artifact
from penstock.spec import Loop, Node, PipelineSpec, bodies, walk
from tests.conformance.case import REFERENCE, Case, difference
from tests.conformance.engine import Engine, Observed
from tests.conformance.model import Prediction, predict
from tests.conformance.secret_values import VALUES, in_environment


def assert_same_meaning(engine: Engine, case: Case, folder: Path) -> None:
    """Runs the case on the engine, in ``folder``: states as the model predicts, the result as plain Python gives it."""
    if engine.target in case.refused:
        _assert_refused(engine, case)
        return
    predicted, expected = assert_the_model_agrees(case, folder)
    parameters = _given(case, folder)
    seen = engine.run(case.pipeline, parameters, folder)
    assert [text for text in case.shows if text not in seen.log] == [], seen.log[-6000:]
    assert not any(value in seen.log for value in VALUES.values())
    assert seen.nodes == predicted.nodes, seen.log[-6000:]
    assert seen.state == predicted.state, seen.log[-6000:]
    if predicted.state == "succeeded":
        assert difference(_result(case, parameters, seen), expected) == ""
    assert _differences(case, predicted, seen) == []


def assert_the_model_agrees(case: Case, folder: Path) -> tuple[Prediction, object]:
    """What the model predicts, which must be what the case claims; and the result, which must be plain Python's."""
    with in_environment(case.pipeline):
        predicted = _prediction(case, folder / "model")
    assert {name: predicted.nodes.get(name) for name in case.nodes} == dict(case.nodes)
    if predicted.state == "failed":
        return predicted, None
    expected = plain(case, folder / "plain") if case.returns is REFERENCE else case.returns
    assert difference(predicted.result, expected) == ""
    return predicted, expected


def plain(case: Case, folder: Path) -> object:
    """What plain Python returns."""
    harness._ATTEMPTS.append(harness._Attempt(case.attempt))
    try:
        with in_environment(case.pipeline):
            return case.pipeline(**_given(case, folder))
    finally:
        harness._ATTEMPTS.pop()


def _prediction(case: Case, folder: Path) -> Prediction:
    folder.mkdir(parents=True, exist_ok=True)
    definition = case.pipeline.define()
    given = inspect.signature(case.pipeline.function).bind(**_given(case, folder))
    given.apply_defaults()
    return predict(definition, given.arguments, case.gives, case.fails)


def _given(case: Case, folder: Path) -> dict[str, Any]:
    """The parameters of a run of its own, which finds a folder of its own where the case asks for one."""
    return {
        name: value.replace("{folder}", str(folder)) if isinstance(value, str) else value
        for name, value in case.parameters.items()
    }


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
    wires, place = case.pipeline.encode_parameters(parameters), Place(states=seen.nodes)
    inputs = Inputs(wires, kinds, seen.outputs, definition.find, _loops(spec), place)
    binding = None if spec.result is None else spec.result.model_dump(mode="json")
    return None if binding is None or inputs.state(binding) else inputs.resolve(binding)


def _loops(spec: PipelineSpec) -> dict[str, Any]:
    """How many loops stand around each node, and what stands in each, as `Inputs` reads them."""
    depths: dict[str, int] = {}
    members: dict[str, list[str]] = {}

    def survey(body: tuple[Node, ...], depth: int) -> None:
        for node in body:
            depths[node.id] = depth
            if isinstance(node, Loop):
                members[node.id] = [each.id for each in walk(node.body)]
            for inner in bodies(node):
                survey(inner, depth + isinstance(node, Loop))

    survey(spec.body, 0)
    return {"depths": depths, "members": members}


def _differences(case: Case, predicted: Prediction, seen: Observed) -> list[str]:
    """Where instances that succeeded gave something else than they should have."""
    definition = case.pipeline.define()

    def value(wire: Any) -> Any:
        return decode(wire, definition.find, lambda reference: load_artifact(reference, definition.find))

    found: list[str] = []
    for name, ended in predicted.ended.items():
        if ended.state == "succeeded" and name.partition("[")[0] not in case.varies:
            given: Mapping[str, Any] = {output: value(wire) for output, wire in seen.outputs.get(name, {}).items()}
            found += filter(None, [difference(given, dict(ended.values), name)])
    return found
