"""What plain Python control flow becomes: it means on an engine what Python makes of it, and no more is made than that.

The model that predicts every engine's states runs what was traced, so that this takes no engine.
"""

from __future__ import annotations

import math

import pytest

from penstock import DefinitionError, Gate, RunStatus, flow, pipeline, step
from penstock.compiler import load_spec
from penstock.graph import mermaid
from penstock.spec import (
    Branch,
    CollectBinding,
    Group,
    LiteralBinding,
    Loop,
    OperationBinding,
    ParameterBinding,
    SequenceBinding,
    StatusBinding,
    walk,
)
from penstock.spec import Gate as GateNode
from tests.conformance.model import predict
from tests.sdk import flows
from tests.sdk.flows import Score, add, anything, maybe, note, number, score, table, text, total, upto

INPUTS = range(6)


def given(made, n):
    """What an input is for a pipeline: a list of that length, where it takes one."""
    return list(range(n)) if made.spec.parameters[0].type.text != "int" else n


def same(one, other):
    return (one, type(one)) == (other, type(other))


@pytest.mark.parametrize("made", flows.PLAIN, ids=lambda made: made.name)
def test_what_is_traced_gives_what_python_gives(made):
    for n in INPUTS:
        expected = made(given(made, n))
        found = predict(made.define(), {"n": given(made, n)})
        assert same(found.result, expected), (n, found.nodes)
        assert found.state == "succeeded"


@pytest.mark.parametrize("made", flows.EXPLICIT, ids=lambda made: made.name)
def test_the_explicit_forms_give_what_they_say(made):
    for n in INPUTS:
        assert same(predict(made.define(), {"n": n}).result, flows.EXPLICIT[made](n)), n


@pytest.mark.parametrize("made", [*flows.PLAIN, *flows.EXPLICIT, flows.inner], ids=lambda made: made.name)
def test_it_is_data_that_survives_json(made):
    assert load_spec(made.spec.model_dump_json()) == made.spec


def node_of(made, id_):
    (found,) = [node for node in walk(made.spec.body) if node.id == id_]
    return found


def kinds(made):
    """What a pipeline holds, in the author's order: steps by name, the rest by kind."""
    return [node.id if node.kind == "task" else node.kind for node in walk(made.spec.body)]


# --- no more than is needed -------------------------------------------------------------------------------------------


def test_a_pure_condition_makes_no_branch():
    @pipeline
    def pure(n: int) -> str:
        y = number(n)
        return text(f"{y > 1 and y < 3} {y or 7} {y if y > 2 else 0} {not y} {1 < y < 3}")

    assert kinds(pure) == ["number", "text"]


def test_a_step_in_a_condition_makes_one():
    @pipeline
    def asks(n: int) -> str:
        y = number(n)
        return text(f"{y > 1 and add(y, 1)}")

    assert kinds(asks) == ["number", "branch", "add", "text"]


def test_an_early_return_makes_one_branch():
    @pipeline
    def early(n: int) -> int:
        y = number(n)
        if y > 2:
            return add(y, 1)
        z = add(y, 2)
        return add(z, 3)

    assert kinds(early) == ["number", "branch", "add", "add_2", "add_3"]
    (branch,) = [node for node in early.spec.body if isinstance(node, Branch)]
    assert [[node.id for node in arm] for arm in (branch.then, branch.otherwise)] == [["add"], ["add_2", "add_3"]]


def test_a_list_that_grows_in_no_branch_stays_a_list():
    @pipeline
    def lists(n: int) -> str:
        constants, steps = [], [number(n)]
        for each in (1, 2):
            constants.append(each)
            steps.append(number(each))
        return anything([constants, steps])

    (_, binding), *_ = node_of(lists, "anything").inputs
    constants, steps = binding.items
    assert constants == LiteralBinding(value=[1, 2])
    assert isinstance(steps, SequenceBinding)
    assert len(steps.items) == 3


def test_what_a_loop_lists_is_collected_without_more():
    @pipeline
    def listed(n: int) -> int:
        return total([add(x, 1) for x in upto(n)])

    assert kinds(listed) == ["upto", "loop", "add", "total"]
    binding = dict(node_of(listed, "total").inputs)["values"]
    assert isinstance(binding, CollectBinding)
    assert (binding.loop, len(binding.entries), binding.entries[0].when) == ("for", 1, ())


def test_a_name_that_both_arms_leave_alone_is_not_merged():
    @pipeline
    def untouched(n: int) -> int:
        y = number(n)
        if y > 2:
            note(y)
        return add(y, 1)

    assert dict(node_of(untouched, "add").inputs)["one"] == dict(node_of(untouched, "note").inputs)["n"]


def test_conditions_and_loops_over_ordinary_values_leave_no_trace():
    assert {node.kind for node in walk(flows.ordinary.spec.body)} == {"task"}
    assert {node.kind for node in walk(flows.ordinary_comprehensions.spec.body)} == {"task"}
    assert {node.kind for node in walk(flows.carried_in_an_ordinary_loop.spec.body)} == {"task"}


def test_a_gate_is_no_branch_and_a_raise_in_a_branch_is_a_gate():
    assert kinds(flows.raised_in_a_branch) == ["number", "branch", "gate", "add"]


# --- lines and texts --------------------------------------------------------------------------------------------------


@pipeline
def placed(n: int) -> int:
    y = number(n)
    if y > 2:  # the if
        note(y)
    found = []
    for x in upto(  # the for
        n
    ):
        found.append(x)
    assert total(found) < 100, "too much"  # the assert
    more = [add(each, 1) for each in found if each]  # the comprehension
    return total(more)


@pytest.mark.parametrize(
    ("id_", "comment", "marked", "written"),
    [
        ("if", "the if", "y > 2", "y > 2"),
        ("for", "the for", None, "upto(n)"),
        ("assert", "the assert", "total(found) < 100", "total(found) < 100"),
        ("for_2", "the comprehension", "found", "found"),
        ("if_2", "the comprehension", "each", "each"),
        ("note", "", "note(y)", None),
    ],
)
def test_what_is_made_points_at_the_authors_line(id_, comment, marked, written):
    node = node_of(placed, id_)
    assert node.span.file.endswith("test_control.py")
    assert comment in node.span.text
    if marked is not None:
        assert node.span.text[node.span.column : node.span.end_column] == marked
    if written is not None:
        assert node.text == written


def test_a_gate_shows_the_values_in_its_condition():
    gate = node_of(placed, "assert")
    assert [label for label, _ in gate.shown] == ["total"]
    assert gate.message == LiteralBinding(value="too much")


# --- order ------------------------------------------------------------------------------------------------------------


def after(made, id_):
    return set(node_of(made, id_).after)


def test_all_that_is_written_after_an_assert_waits_for_it():
    @pipeline
    def gated(n: int) -> int:
        y = number(n)
        assert y > 0
        note(3)
        if y > 2:
            add(y, 1)
        for x in upto(4):
            score(x)
        flows.inner(n)
        assert y < 100
        return number(7)

    assert after(gated, "number") == set()
    assert after(gated, "assert") == set()
    for each in ("note", "if", "upto", "inner", "assert_2"):
        assert after(gated, each) == {"assert"}, each
    assert after(gated, "number_2") == {"assert_2"}
    assert after(gated, "add") == after(gated, "score") == after(gated, "inner.number") == set(), "their holder waits"


def test_what_follows_a_block_waits_for_the_gates_in_it():
    @pipeline
    def checked(n: int) -> int:
        assert n < 100
        return number(n)

    @pipeline
    def gated(n: int) -> None:
        if number(n) > 1:
            assert number(n) < 100
        note(1)
        for x in upto(n):
            assert x < 100
            note(2)
        note(3)
        checked(n)
        note(4)

    assert after(gated, "note") == {"assert"}
    assert after(gated, "note_2") == {"assert_2"}
    assert {"assert", "assert_2"} <= after(gated, "note_3")
    assert "checked.assert" in after(gated, "note_4")
    assert after(gated, "checked.number") == {"checked.assert"}


def test_a_failed_gate_stops_all_that_is_written_after_it():
    @pipeline
    def gated(n: int) -> int:
        before = number(n)
        assert before > 2, f"{before} is too few"
        note(1)
        for x in upto(2):
            note(x)
        return before

    failed = predict(gated.define(), {"n": 1})
    assert failed.state == "failed"
    assert failed.nodes == {
        "number": "succeeded",
        "assert": "failed",
        "note": "upstream_failed",
        "upto": "upstream_failed",
        "for": "upstream_failed",
    }
    assert failed.ended["assert"].message == "gate before > 2: 1 is too few"
    assert predict(gated.define(), {"n": 3}).result == 3


def test_a_gate_in_a_skipped_branch_stops_nothing():
    @pipeline
    def gated(n: int) -> int:
        if number(n) > 2:
            assert number(0) > 1
        return number(n)

    assert predict(gated.define(), {"n": 1}).result == 1
    assert predict(gated.define(), {"n": 3}).state == "failed"


def test_after_can_hold_a_list_that_grew_in_a_loop():
    @pipeline
    def ordered(n: int) -> None:
        found = []
        for x in upto(n):
            found.append(add(x, 1))
        note.with_options(after=found)(1)

    assert "for" in after(ordered, "note")


def test_gates_of_a_branch_that_always_raises_stop_the_rest():
    failed = predict(flows.raised_in_a_branch.define(), {"n": 101})
    assert failed.nodes == {"number": "succeeded", "if": "succeeded", "assert": "failed", "add": "upstream_failed"}
    assert failed.ended["assert"].message == "gate raise ValueError: too large: 101"


# --- gates of steps, what undoes them, and the end of a run -----------------------------------------------------------


def test_the_bounds_of_a_steps_gate_may_come_from_elsewhere():
    @pipeline
    def gated(n: int, floor: int = 1) -> int:
        baseline = number(3)
        gates = [Gate("output", ">=", floor), Gate("output", "<", baseline, message="worse")]
        return number.with_options(gates=gates, name="checked")(n)

    first, second = node_of(gated, "checked").checks
    assert first.bounds == (ParameterBinding(name="floor"),)
    assert (second.operator, second.message) == ("<", "worse")
    assert predict(gated.define(), {"n": 2, "floor": 1}).result == 2
    assert predict(gated.define(), {"n": 3, "floor": 1}).nodes["checked"] == "failed"


@pytest.mark.parametrize(
    ("operator", "bounds", "said"),
    [("=>", (1,), "no operator '=>'"), ("between", (1,), "takes 2 bounds, not 1"), ("is not null", (1,), "takes 0")],
)
def test_a_gate_that_makes_no_sense_is_refused(operator, bounds, said):
    with pytest.raises(ValueError, match=said):
        Gate("accuracy", operator, *bounds)


@step
def page(status: RunStatus, n: int) -> None: ...


@step
def clean() -> None: ...


@step
def undo(n: int, made: int) -> None: ...


@pipeline(on_failure=page, on_exit=[clean, clean], timeout=90)
def ended(n: int) -> int:
    return number.with_options(rollback=undo)(n)


def test_endings_take_the_status_and_parameters_and_what_undoes_takes_inputs_and_output():
    (told,) = ended.spec.on_failure
    assert told.inputs == (("status", StatusBinding()), ("n", ParameterBinding(name="n")))
    assert [task.id for task in ended.spec.on_exit] == ["clean", "clean_2"]
    assert ended.spec.timeout == 90
    rollback = node_of(ended, "number").rollback
    assert rollback.id == "undo"
    assert [(name, getattr(binding, "node", "")) for name, binding in rollback.inputs] == [
        ("n", ""),
        ("made", "number"),
    ]


def test_a_step_can_be_undone_in_a_loop_and_in_a_nested_pipeline():
    @pipeline
    def inside(n: int) -> int:
        return number.with_options(rollback=undo)(n)

    @pipeline
    def looped(n: int) -> int:
        return total([inside(x) for x in upto(n)])

    assert node_of(looped, "inside.number").rollback.id == "inside.undo"


# --- types ------------------------------------------------------------------------------------------------------------


def test_an_optional_is_narrowed_where_python_knows_it_is_there():
    @pipeline
    def narrowed(n: int) -> int:
        found = maybe(n)
        if found is None:
            return number(0)
        return anything_of(found)

    @step
    def anything_of(found: Score) -> int:
        return found.value

    assert node_of(narrowed, "anything_of")


def test_the_bound_of_a_loop_is_kept():
    (loop,) = [node for node in flows.bounded.spec.body if isinstance(node, Loop)]
    assert loop.parallelism == 2
    assert flow.parallel([1, 2], 3) == [1, 2]
    with pytest.raises(DefinitionError, match="0 items"):
        flow.parallel([1, 2], 0)


def test_a_nested_pipeline_in_a_loop_is_a_group_there():
    (loop,) = [node for node in flows.pipelines_in_loops.spec.body if isinstance(node, Loop)]
    (group,) = loop.body
    assert isinstance(group, Group)
    assert [node.id for node in walk(group.body)] == ["inner.if", "inner.number", "inner.add"]


def test_a_gate_outside_of_a_pipeline_is_an_assertion():
    flow.gate(condition=True)
    with pytest.raises(AssertionError, match="no"):
        flow.gate(False, "no")


def test_a_function_without_source_can_use_the_explicit_forms():
    source = "def made(n: int) -> int:\n    y = number(n)\n    flow.gate(y > 1)\n    return y\n"
    names = {"number": number, "flow": flow, "__name__": __name__}
    exec(source, names)
    spec = pipeline(names["made"]).spec
    (gate,) = [node for node in spec.body if isinstance(node, GateNode)]
    assert isinstance(gate.condition, OperationBinding)


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_picture_shows_conditions_loops_and_gates():
    @pipeline
    def drawn(n: int) -> None:
        y = number(n)
        if y > 2:
            note(1)
        else:
            note(2)
        found = [add(x, 1) for x in table(n).values()]
        assert total(found) < 9
        text("<end>")

    assert mermaid(drawn.spec).splitlines() == [
        "flowchart TD",
        '    n0["number"]',
        '    n1{"y &gt; 2"}',
        '    n2["note"]',
        '    n3["note_2"]',
        '    n4["table"]',
        '    subgraph n5["for each of table(n).values()"]',
        '        n6["add"]',
        "    end",
        '    n7["total"]',
        '    n8{{"total(found) &lt; 9"}}',
        '    n9["text"]',
        "    n0 --> n1",
        "    n1 -- yes --> n2",
        "    n1 -- no --> n3",
        "    n4 --> n5",
        "    n6 --> n7",
        "    n7 --> n8",
        "    n8 -.-> n9",
    ]


# --- ordinary values --------------------------------------------------------------------------------------------------


def of_a_local_name(n: int) -> int:
    number = dict  # a local name hides the step
    found = number()
    return total([]) if found is None else total([n])


def of_an_ordinary_function(n: int) -> int:
    limit = math.sqrt(4)
    return total([1] if limit is None or not isinstance(limit, float) else [2])


def caught(n: int) -> int:
    try:
        size = int("three")
    except ValueError:
        size = 4
    return add(number(n), size)


def matched(n: int) -> int:
    match len("abc"):
        case 3:
            return number(n)
        case _:
            return number(0)


def repeated(n: int) -> int:
    found, count = number(n), 0
    while count < 3:
        found, count = add(found, count), count + 1
    return found


ORDINARY = [of_a_local_name, of_an_ordinary_function, caught, matched, repeated]


@pytest.mark.parametrize("function", ORDINARY, ids=lambda function: function.__name__)
def test_code_over_ordinary_values_just_runs(function):
    made = pipeline(function)
    assert {node.kind for node in walk(made.spec.body)} == {"task"}
    assert predict(made.define(), {"n": 3}).result == function(3)
