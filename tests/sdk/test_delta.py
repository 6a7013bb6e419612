"""In what two pipelines differ: each change that counts is named, and nothing else is."""

from __future__ import annotations

import itertools
import sys

import pytest

from penstock.delta import delta_of
from penstock.loading import load_definition
from penstock.phrases import phrase
from penstock.spec import Branch, Gate, Group, Loop, PipelineSpec, Settings, StepSpec, Task

SOURCE = '''
from dataclasses import dataclass

from penstock import Gate, Retry, RunStatus, pipeline, step

FACTOR = 2

@dataclass(frozen=True)
class Score:
    value: float

def scaled(rows: int) -> float:
    return rows * FACTOR

@step(retry=Retry(1, delay=3))
def load(rows: int) -> list[int]:
    return [rows]

@step
def undo(value: float) -> None:
    print(value)

@step(rollback=undo)
def score(row: int, bonus: float = 0.0) -> Score:
    return Score(scaled(row) + bonus)

@step
def best(scores: list[Score]) -> float:
    return max(each.value for each in scores)

@step
def publish(value: float) -> str:
    return str(value)

@step
def page(status: RunStatus) -> None:
    print(status)

@pipeline(on_failure=page, timeout=60)
def inner(rows: int = 5, floor: float = 1.0) -> str:
    """Scores rows."""
    found = [score(row) for row in load(rows)]
    top = best(found)
    assert top > floor, "too low"
    if top > 10:
        return publish(top)
    return publish(0.0)
'''
NUMBERS = itertools.count()


@pytest.fixture
def spec(tmp_path, monkeypatch):
    """A pipeline's spec, some of its text replaced, from a file of a name of its own."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    made = []

    def load(*changes: tuple[str, str]) -> PipelineSpec:
        source = SOURCE
        for before, after in changes:
            assert before in source
            source = source.replace(before, after)
        made.append(f"flow_of_delta_{next(NUMBERS)}")
        file = tmp_path / f"{made[-1]}.py"
        file.write_text(source)
        return load_definition(str(file)).spec

    yield load
    for name in made:
        sys.modules.pop(name, None)


def changes(found):
    """All that is said of a list of differences, in short."""
    return {
        each.name if each.how != "changed" else f"{each.name}.{change.what}": (
            each.how if each.how != "changed" else (phrase(change.before), phrase(change.after))
        )
        for each in found
        for change in each.changes
    }


@pytest.mark.parametrize(
    "change",
    [
        ("FACTOR = 2", "# what rows are worth\nFACTOR   =   2"),
        ("    return rows * FACTOR", "    return (\n        rows * FACTOR\n    )"),
        ("found", "every_score"),
        ("@step\ndef best", "unused = 1\n\n@step\ndef best"),
    ],
    ids=["comment", "layout", "local name", "what no step reaches"],
)
def test_what_means_the_same_is_no_difference(spec, change):
    delta = delta_of(spec(), spec(change))
    assert not delta, delta


def test_parameters_are_new_gone_and_changed(spec):
    delta = delta_of(
        spec(), spec(("rows: int = 5, floor: float = 1.0", "rows: int = 7, bound: float = 1.0"), ("> floor", "> bound"))
    )
    assert changes(delta.parameters) == {"rows.default": ("5", "7"), "bound": "added", "floor": "removed"}
    assert changes(delta.nodes) == {"assert.condition": ("(best > floor)", "(best > bound)")}
    assert (delta.pipeline, delta.steps, delta.code) == ((), (), ())


def test_an_edge_is_told_by_the_parameter_and_where_its_value_comes_from(spec):
    delta = delta_of(spec(), spec(("score(row) for", "score(row, bonus=floor) for"), ("publish(0.0)", "publish(top)")))
    assert changes(delta.nodes) == {
        "score.inputs.bonus": ("none", "floor"),
        "publish_2.inputs.value": ("0.0", "best"),
    }


def test_settings_gates_and_rollbacks_are_told_with_both_values(spec):
    delta = delta_of(
        spec(),
        spec(
            ("Retry(1, delay=3)", "Retry(2, delay=3)"),
            ("@step\ndef best", "@step(timeout=5, gates=[Gate('output', '>', 3)])\ndef best"),
            ("@step(rollback=undo)", "@step"),
        ),
    )
    found = changes(delta.nodes)
    assert found["load.retry"] == ("max_retries=1, delay=3.0", "max_retries=2, delay=3.0")
    assert found["best.timeout"] == ("none", "5.0")
    assert found["best.gates"] == ("none", "output > 3")
    assert found["score.rollback.step"][1] == "none"


def test_nodes_are_new_gone_and_moved(spec):
    delta = delta_of(
        spec(),
        spec(("    if top > 10:\n        return publish(top)\n    return publish(0.0)", "    return publish(top)")),
    )
    found = changes(delta.nodes)
    assert found["publish_2"] == found["if"] == "removed"
    assert found["publish.inside"] == ("if: yes", "none")


def test_what_holds_for_the_whole_pipeline_is_told(spec):
    delta = delta_of(spec(), spec(("timeout=60", 'timeout=90, schedule="0 3 * * *", tags=["a"]')))
    assert {each.what: (phrase(each.before), phrase(each.after)) for each in delta.pipeline} == {
        "timeout": ("60.0", "90.0"),
        "schedule": ("none", "0 3 * * * UTC"),
        "tags": ("none", "a"),
    }


def test_code_is_told_by_the_helper_the_steps_that_reach_it_and_its_lines(spec):
    delta = delta_of(spec(), spec(("rows * FACTOR", "rows * FACTOR + 1"), ("FACTOR = 2", "FACTOR = 3")))
    found = {each.name.rpartition(".")[2]: each for each in delta.code}
    assert set(found) == {"scaled", "FACTOR"}
    reached_by = {step.rpartition(":")[2] for step in found["scaled"].steps}
    assert "score" in reached_by
    assert "load" not in reached_by
    assert not found["scaled"].is_step
    assert [line for line in found["scaled"].diff if line[:1] in "+-"] == [
        "-    return rows * FACTOR",
        "+    return rows * FACTOR + 1",
    ]
    assert not delta.nodes


def test_what_a_step_takes_and_gives_is_told_apart_from_its_code(spec):
    delta = delta_of(spec(), spec(("bonus: float = 0.0", "bonus: float = 0.5")))
    assert changes(delta.steps) == {f"{delta.steps[0].name}.inputs.bonus.default": ("0.0", "0.5")}
    assert [each.is_step for each in delta.code] == [True]


def test_rollbacks_in_another_order_are_a_difference(spec):
    twice = "    found = [score(row) for row in load(rows)]"
    one = f"    a = score(1)\n    b = score.with_options(name='b')(2)\n{twice}"
    other = f"    b = score.with_options(name='b')(2)\n    a = score(1)\n{twice}"
    delta = delta_of(spec((twice, one)), spec((twice, other)))
    assert [each.what for each in delta.pipeline] == ["order of rollback"]


# --- nothing that a spec can hold goes unnoticed

MEANINGLESS = {
    PipelineSpec: {"version", "span", "left_out", "steps", "body", "modules"},  # the last three are compared in parts
    Task: {"kind", "span", "left_out", "id"},
    Group: {"kind", "span", "id", "body"},
    Branch: {"kind", "span", "id", "text", "then", "otherwise"},
    Loop: {"kind", "span", "id", "text", "left_out", "body"},
    Gate: {"kind", "span", "id", "text", "shown"},
    Settings: set(),
    StepSpec: {"id", "span", "reach", "description"},
}
EMPTIED = {"parameters", "on_failure", "on_exit", "inputs", "outputs"}


def otherwise(name):
    """Something that the field of no pipeline here holds."""
    return () if name in EMPTIED else ("otherwise",)


def altered(whole, model, name):
    """The pipeline with a field of the first of its nodes or steps changed, or one of its own."""
    change = {name: otherwise(name)}
    if model is PipelineSpec:
        return whole.model_copy(update=change)
    if model is StepSpec:
        step = next(each for each in whole.steps if each.inputs and each.outputs)
        return whole.model_copy(
            update={"steps": [step.model_copy(update=change) if each is step else each for each in whole.steps]}
        )
    if model is Settings or name == "settings":
        task = whole.body[0]
        settings = task.settings.model_copy(update=change) if model is Settings else Settings(timeout=1)
        node, other = task, task.model_copy(update={"settings": settings})
    else:
        node = next(each for each in whole.body if isinstance(each, model))
        other = node.model_copy(update=change)
    return whole.model_copy(update={"body": tuple(other if each is node else each for each in whole.body)})


@pytest.mark.parametrize("model", list(MEANINGLESS), ids=lambda model: model.__name__)
def test_each_field_of_a_spec_counts_unless_it_means_nothing(spec, model):
    pipeline = spec()
    last = pipeline.on_failure[0].model_copy(update={"id": "last"})
    whole = pipeline.model_copy(update={"body": (*pipeline.body, Group(id="nested", pipeline="p")), "on_exit": (last,)})
    fields = set(model.model_fields) - MEANINGLESS[model]
    unnoticed = {name for name in fields if not delta_of(whole, altered(whole, model, name))}
    assert not unnoticed
