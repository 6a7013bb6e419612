"""What an author gets wrong about options, parameters and names is told as such, and where."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import math
from typing import Any

import pytest

from penstock import (
    Concurrency,
    DefinitionError,
    Gate,
    ParameterError,
    Push,
    Resources,
    Retry,
    Schedule,
    flow,
    pipeline,
    step,
)
from penstock.parameters import parse_parameters
from tests.sdk.flows import add, note, number, total, upto
from tests.sdk.test_control_refusals import refused

# --- pipelines that call themselves, and parameters without a name ----------------------------------------------------


@pipeline
def countdown(n: int) -> int:
    if n > 0:
        return countdown(number(n))  # here
    return number(0)


@pipeline
def ping(n: int) -> int:
    return pong(n)  # here


@pipeline
def pong(n: int) -> int:
    return ping(n) if number(n) > 1 else number(1)  # here


@pipeline
def repeated(n: int) -> int:
    return halved(n, 3)


@pipeline
def halved(n: int, left: int) -> int:
    if left == 0:
        return number(n)
    return add(halved(n, left - 1), 1)


def test_a_pipeline_that_calls_itself_without_an_end_is_refused_where_it_does():
    for made, name in ((countdown, "countdown"), (ping, "p[io]ng")):
        with pytest.raises(DefinitionError, match=f"`{name}` calls itself without an end") as caught:
            made.check()
        (problem,) = caught.value.diagnostics
        assert problem.code == "P320"
        assert "# here" in problem.location.text


def test_a_pipeline_may_call_itself_where_an_ordinary_value_ends_it():
    with pytest.raises(DefinitionError, match="halved"):
        halved.check()  # by itself, how often is known only when it runs
    assert [node.id for node in repeated.spec.body] == ["halved"]


def with_args(*values: int) -> int:
    return number(1)


def with_keywords(**values: int) -> int:
    return number(1)


def by_position_only(value: int, /) -> int:
    return number(value)


@pytest.mark.parametrize("function", [with_args, with_keywords, by_position_only], ids=lambda each: each.__name__)
def test_a_pipelines_parameters_have_names(function):
    (problem,) = refused(function)
    assert problem.code == "P201"
    assert f"def {function.__name__}" in problem.location.text


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [math.nan, math.inf, -1, 0, True, "1m", dt.timedelta(0)], ids=str)
def test_a_timeout_is_a_time(timeout):
    with pytest.raises(DefinitionError, match="a timeout is a number of seconds greater than 0") as caught:
        number.with_options(timeout=timeout)
    assert [each.code for each in caught.value.diagnostics] == ["P211"]
    assert [each.code for each in refused(plain, timeout=timeout)] == ["P212"]


def plain(n: int) -> int:
    return number(n)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"owner": 3}, "`owner` is a text, not 3"),
        ({"description": None}, "`description` is a text, not None"),
        ({"name": 3}, "`name` is a text, not 3"),
        ({"tags": 3}, "`tags` is a list of texts, not 3"),
        ({"tags": [3]}, "each of `tags` is a text, not 3"),
        ({"triggers": Push(branches=[3])}, "each of `branches` is a text, not 3"),
        ({"schedule": Schedule("0 2 * * *", timezone=3)}, "a schedule's `timezone` is a text, not 3"),
        (
            {"schedule": Schedule("0 2 * * *", start="2026-01-31", catch_up="yes")},
            "a schedule's `catch_up` is True or False, not 'yes'",
        ),
        ({"concurrency": Concurrency(2, cancel_running="yes")}, "`cancel_running` is True or False, not 'yes'"),
    ],
    ids=str,
)
def test_an_option_of_a_pipeline_that_is_of_another_type_is_told_at_its_line(options, said):
    (problem,) = refused(plain, **options)
    assert (problem.code, problem.message) == ("P212", said)
    assert "def plain" in problem.location.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": 3}, "`name` is a text, not 3"),
        ({"retry": {"max_retries": 3}}, "`retry` is a number of retries or a `Retry`, not "),
        ({"retry": Retry("3")}, "`max_retries`: must be a whole number (given: '3')"),
        ({"retry": True}, "`max_retries`: must be a whole number (given: True)"),
        ({"resources": {"cpu": 1}}, "`resources` takes a `Resources`, such as Resources(cpu=2), not "),
        ({"resources": Resources(cpu="1")}, "`cpu`: must be a number (given: '1')"),
        ({"resources": Resources(quotas=["licence"])}, "`quotas` says how many it takes of what, "),
        ({"env": ["A=1"]}, "`env` says for each variable what it holds, "),
        ({"env": {"LEVEL": 3}}, "`env`: must be a text (given: 3)"),
        ({"packages": [3]}, "each of `packages` is a text, not 3"),
    ],
    ids=str,
)
def test_an_option_of_a_step_that_is_of_another_type_is_told_at_its_line(options, said):
    for make, place in ((number.with_options, "make(**options)"), (lambda **given: step(**given)(plain), "def plain")):
        with pytest.raises(DefinitionError) as caught:
            make(**options)
        (problem,) = caught.value.diagnostics
        assert problem.code == "P211"
        assert said in problem.message
        assert place in problem.location.text


@pytest.mark.parametrize(("value", "message"), [(3, ""), ("output", 3)])
def test_a_gate_is_written_in_texts(value, message):
    with pytest.raises(ValueError, match="is a text, not 3"):
        Gate(value, ">", 1, message=message)


@pytest.mark.parametrize(
    "options",
    [
        {"retry": Retry(1, delay=math.inf)},
        {"retry": Retry(1, max_delay=math.nan)},
        {"resources": Resources(cpu=math.inf)},
    ],
    ids=str,
)
def test_options_are_finite(options):
    with pytest.raises(DefinitionError, match="must be a finite number"):
        number.with_options(**options)


def test_one_gate_may_stand_alone():
    gate = Gate("output", ">", 1)

    @step(gates=gate)
    def checked(n: int) -> int:
        return n

    @pipeline
    def both(n: int) -> int:
        return add(checked(n), number.with_options(gates=gate)(n))

    assert [len(task.checks) for task in both.spec.body] == [1, 1, 0]


@pytest.mark.parametrize("gates", ["output", [("output", ">", 1)], 5], ids=str)
def test_what_is_no_gate_is_refused(gates: Any):
    for use in (lambda: number.with_options(gates=gates), lambda: step(gates=gates)(plain)):
        with pytest.raises(DefinitionError, match="`gates` takes `Gate`s") as caught:
            use()
        assert [each.code for each in caught.value.diagnostics] == ["P211"]


@pytest.mark.parametrize("limit", ["2", 0, 2.0, True, None], ids=repr)
def test_a_bound_of_a_loop_is_a_whole_number(limit: Any):
    def bounded(n: int) -> int:
        return total([number(x) for x in flow.parallel(upto(n), limit)])

    (problem,) = refused(bounded)
    assert problem.code == "P317"
    assert f"cannot have {limit!r} items under way" in problem.message
    assert "flow.parallel(upto(n), limit)" in problem.location.text


@step
def tidy(n: int) -> None: ...


@pytest.mark.parametrize(
    ("option", "given"), [("rollback", note), ("gates", Gate("x", "is not null")), ("after", number)]
)
def test_what_runs_at_the_end_is_not_undone_checked_or_ordered(option, given):
    asked = tidy.with_options(**{option: given})

    def undone(n: int) -> int:
        return number.with_options(rollback=asked)(n)

    ended = [refused(plain, on_exit=asked), refused(plain, on_failure=[asked]), refused(undone)]
    for problem, *others in ended:
        assert not others
        assert problem.code == "P217"
        assert f"`tidy` has `{option}=`" in problem.message


# --- values given to a run --------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Row:
    size: int
    names: list[str]


@step
def anything(value: object) -> None: ...


@pipeline
def taking(
    count: int = 1,
    share: float | None = None,
    counts: list[int] = [],
    names: list[str] | None = None,
    sizes: dict[str, int] = {},
    row: Row = Row(1, []),
    pair: tuple[int, str] = (1, "a"),
    colours: set[Colour] = {Colour.RED},
) -> None:
    anything([count, share, counts, names, sizes, row, pair])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"count": True}, "parameter `count`: True is not int"),
        ({"share": False}, "parameter `share`: False is not float | None"),
        ({"counts": [1, True]}, "parameter `counts`: [1, True] is not list[int]"),
    ],
)
def test_a_truth_value_is_no_number_to_an_engine(given, said):
    with pytest.raises(ParameterError) as caught:
        taking.encode_parameters(given)
    assert [(each.code, each.message) for each in caught.value.diagnostics] == [("P603", said)]


def test_a_truth_value_is_no_default_of_a_number_either():
    def flagged(n: int = True) -> int:
        return number(n)

    (problem,) = refused(flagged)
    assert (problem.code, problem.fix) == ("P202", "give a default of type int, or change the annotation")


@pytest.mark.parametrize(
    ("given", "fix"),
    [
        ({"names": "de, at"}, """-p names='["de", "at"]', or null"""),
        ({"counts": "3"}, "-p counts='[3]'"),
        ({"sizes": "3"}, """-p sizes='{"a": 3}'"""),
        ({"row": "3"}, """-p row='{"size": 3, "names": ["a"]}'"""),
        ({"pair": "[1]"}, """-p pair='[3, "a"]'"""),
        ({"colours": "RED"}, """-p colours='["RED"]'"""),
    ],
)
def test_how_to_write_a_parameter_is_shown_as_it_can_be_typed(given, fix):
    with pytest.raises(ParameterError) as caught:
        parse_parameters(taking.define(), given)
    (problem,) = caught.value.diagnostics
    assert problem.fix == f"write it as JSON: {fix}"
    (name,), text = given, fix.partition("'")[2].partition("'")[0]
    assert name in parse_parameters(taking.define(), {name: text})


# --- nodes of a run ---------------------------------------------------------------------------------------------------


def test_asking_for_a_node_that_is_not_there_names_those_that_are(tmp_path):
    @pipeline
    def looping(n: int) -> int:
        return total([number(x) for x in upto(n)])

    run = looping.run(n=7, inline=True, store=tmp_path)
    with pytest.raises(KeyError, match=r"number stands in a loop.*: number\[0\], .*number\[4\], \.\.\."):
        run["number"]
    with pytest.raises(KeyError, match="no node totl: did you mean `total`"):
        run["totl"]
