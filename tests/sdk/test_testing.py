"""The pytest plugin: runs in a store of the test's own, fakes, what can be asked of a run, and golden files."""

import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from penstock import ConfigurationError, Gate, Model, ParameterError, Resources, Retry, RunStatus, pipeline, step
from penstock.configuration import Project
from penstock.testing import PipelineRunner, attempts, fake, raises, returns

pytest_plugins = ["pytester"]
LIMIT = 3


class Net:
    def __init__(self, depth: int) -> None:
        self.depth = depth


class Trained(NamedTuple):
    model: Model[Net]
    accuracy: float


@step(retry=Retry(2, delay=60.0))
def load(url: str, limit: int = 10) -> list[int]:
    raise ConnectionError(f"no network for {url}")


@step
def train(rows: list[int], depth: int) -> Trained:
    print(f"training at depth {depth}")
    if depth > 5:
        raise ValueError("too deep")
    return Trained(Net(depth), 0.5 + depth / 10)


@step
def best(candidates: list[Trained]) -> Trained:
    return max(candidates, key=lambda each: each.accuracy)


@step
def deploy(model: Net) -> str:
    return f"depth {model.depth}"


@step
def tell(status: RunStatus) -> None:
    print(status.state)


@step
def never_called() -> int:
    return 0


@pipeline(on_exit=[tell])
def retrain(url: str = "rows.csv", depths: list[int] = [3, 4], floor: float = 0.8) -> str:
    rows = load(url)
    candidates = [train(rows, depth=each) for each in depths]
    chosen = best(candidates)
    assert chosen.accuracy >= floor, "worse than the floor"
    return deploy(chosen.model)


@step
def number(value: int) -> int:
    return value


@step
def limited(value: int) -> int:
    return min(value, LIMIT)


@step
def process() -> int:
    print("here")
    return os.getpid()


@pipeline
def inner(value: int) -> int:
    return number(value)


@pipeline
def nested(value: int = 1) -> int:
    return limited(inner(number(value)))


@pipeline
def where() -> int:
    return process()


@pipeline
def wide(count: list[int]) -> list[int]:
    return [number(each) for each in count]


def problems(error: pytest.ExceptionInfo[ConfigurationError]) -> list[str]:
    return [each.code for each in error.value.diagnostics]


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_run_is_in_this_process_and_in_a_store_of_the_tests_own(penstock_run, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = penstock_run(where)
    assert run.outputs == os.getpid()
    assert run.folder.is_relative_to(tmp_path)
    assert list(Path.cwd().iterdir()) == []


def test_steps_may_run_in_worker_processes_as_well(penstock_run):
    run = penstock_run(where, inline=False, max_workers=1)
    assert run.ok
    assert run.outputs != os.getpid()
    assert run.order == ["process"]
    assert run.log("process") == "here\n"
    with pytest.raises(TypeError, match="inline=True"):
        run.calls("process")


def test_parameters_are_given_by_name_or_as_one_dictionary(penstock_run):
    assert penstock_run(nested, value=2).outputs == penstock_run(nested, {"value": 2}).outputs == 2
    with pytest.raises(ParameterError, match="did you mean `value`"):
        penstock_run(nested, valeu=2)


@pytest.mark.slow
def test_parameters_may_be_called_as_the_options_are(penstock_run):
    @pipeline
    def named(fakes: int, on_event: int) -> int:
        return number(fakes)

    assert penstock_run(named, {"fakes": 3}, on_event=4).outputs == 3


def test_a_test_alerts_nobody_of_whom_the_configuration_speaks(penstock_run, tmp_path, monkeypatch):
    configured = {"alerts": [{"on": "cancelled", "to": ["true"]}, {"on": "failure", "to": ["touch", "told"]}]}
    monkeypatch.setattr("penstock.compiler.project", lambda folder: Project(tables={"run": configured}))
    monkeypatch.chdir(tmp_path)
    assert not penstock_run(where, fakes={"process": OSError()}).ok
    assert not (tmp_path / "told").exists()
    penstock_run(where, fakes={"process": OSError()}, **configured)
    assert (tmp_path / "told").exists()


def test_events_are_told_to_the_tests_own_listener_too(penstock_run):
    told = []
    penstock_run(where, on_event=told.append)
    assert [type(each).__name__ for each in told] == ["RunStarted", "AttemptStarted", "NodeEnded", "RunEnded"]


def test_what_the_test_patches_is_patched_in_the_steps(penstock_run, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "LIMIT", 1)
    assert penstock_run(nested, value=5).outputs == 1


def test_a_second_run_computes_everything_anew_unless_asked_not_to(penstock_run):
    assert penstock_run(nested, cache=True).states["limited"] == "succeeded"
    assert penstock_run(nested).states["limited"] == "succeeded"
    assert penstock_run(nested, cache=True).states["limited"] == "cached"


def test_between_attempts_nothing_is_waited_for_unless_asked_to(penstock_run, monkeypatch):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    penstock_run(retrain)
    assert slept == [0, 0]
    penstock_run(retrain, delays=True)
    assert slept == [0, 0, 60, 60]


def test_what_this_machine_has_not_does_not_keep_a_step_from_running_inline(penstock_run):
    @pipeline
    def large() -> int:
        return number.with_options(resources=Resources(gpu=64, memory="900Ti"), image="registry.local/x:1")(1)

    assert penstock_run(large).outputs == 1


def test_a_breakpoint_in_a_step_stops_in_the_steps_own_frame(penstock_run, monkeypatch):
    @step
    def halting() -> int:
        breakpoint()  # noqa: T100  # what is tested
        return 1

    @pipeline
    def halts() -> int:
        return halting()

    seen = []
    monkeypatch.setattr(sys, "breakpointhook", lambda: seen.append(sys._getframe(1).f_code.co_name))
    assert penstock_run(halts).ok
    assert seen == ["halting"]


def test_a_tracer_such_as_coverage_sees_the_lines_of_steps(penstock_run):
    lines = []

    def trace(frame, event, arg):
        if frame.f_code.co_filename == __file__ and event == "line":
            lines.append(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        penstock_run(nested, value=2)
    finally:
        sys.settrace(before)
    assert limited.function.__code__.co_firstlineno + 2 in lines


def test_what_is_no_pipeline_is_refused(penstock_run):
    with pytest.raises(TypeError, match="is no pipeline"):
        penstock_run(number)


def test_a_runner_of_its_own_needs_no_fixture(tmp_path):
    runner = PipelineRunner(tmp_path / "store")
    run = runner(nested)
    assert runner.runs == [run]
    assert (tmp_path / "store" / "format.json").exists()


# --- fakes ------------------------------------------------------------------------------------------------------------


def test_a_step_is_faked_by_a_value_a_function_or_an_error(penstock_run):
    stand_ins = {"load": [1, 2], "train": lambda rows, depth: Trained(Net(depth), 0.9), "deploy": OSError("full")}
    run = penstock_run(retrain, fakes=stand_ins)
    assert run["load"].outputs == [1, 2]
    assert run["best"].outputs.accuracy == 0.9
    assert run.assert_failed("deploy", match="^OSError: full$")


def test_fakes_are_placed_by_step_by_node_and_by_item_the_nearest_first(penstock_run):
    one, two, three = (fake(Trained(Net(each), each / 10)) for each in (1, 2, 3))
    run = penstock_run(retrain, depths=[1, 1, 1], fakes={load: [1], "train[2]": three, train: one, "train[1]": two})
    assert [run[f"train[{each}]"].outputs.accuracy for each in range(3)] == [0.1, 0.2, 0.3]
    assert [call.node for each in (one, two, three) for call in each.calls] == ["train[0]", "train[1]", "train[2]"]
    run = penstock_run(nested, fakes={number: 1, "number": 2, "inner.number": 3})
    assert run.outputs == 3
    assert run["number"].outputs == 2


def test_a_step_that_several_nodes_call_is_faked_in_all_of_them_by_the_step(penstock_run):
    run = penstock_run(nested, fakes={number: lambda value: value + 1})
    assert [run[each].outputs for each in ("number", "inner.number")] == [2, 3]


def test_a_fake_keeps_what_it_was_called_with_the_steps_defaults_included(penstock_run):
    loading = fake([1, 2])
    penstock_run(retrain, url="a.csv", fakes={load: loading})
    (call,) = loading.calls
    assert (call.node, call.attempt, call.arguments) == ("load", 1, {"url": "a.csv", "limit": 10})
    assert (call.returned, call.raised) == ([1, 2], None)


def test_a_fake_takes_those_of_the_steps_defaults_that_it_names(penstock_run):
    assert penstock_run(retrain, fakes={load: lambda url: [1]})["load"].outputs == [1]
    assert penstock_run(retrain, fakes={load: lambda url, limit: [limit]})["load"].outputs == [10]
    assert penstock_run(retrain, fakes={load: lambda **given: [len(given)]})["load"].outputs == [1]


def test_each_attempt_may_do_another_thing(penstock_run):
    loading = attempts(ConnectionError("slow"), lambda url: 1 / 0, [7])
    run = penstock_run(retrain, fakes={"load": loading})
    assert run["load"].attempts == 3
    assert run["load"].outputs == [7]
    assert [type(each.raised) for each in loading.calls] == [ConnectionError, ZeroDivisionError, type(None)]


def test_the_retries_of_each_item_are_its_own(penstock_run):
    @pipeline
    def each_again(count: list[int]) -> list[int]:
        return [number.with_options(retry=1)(each) for each in count]

    run = penstock_run(each_again, count=[5, 6], fakes={number: attempts(OSError, lambda value: value)})
    assert run.outputs == [5, 6]
    assert [each.attempts for each in run.nodes.values() if each.kind == "task"] == [2, 2]


def test_a_value_that_can_be_called_is_returned_by_returns(penstock_run):
    @step
    def net() -> Model[Net]:
        return Net(1)

    @pipeline
    def made() -> Model[Net]:
        return net()

    assert penstock_run(made, fakes={net: returns(dict)}).outputs is dict
    assert penstock_run(made, fakes={net: dict}).outputs == {}
    assert penstock_run(made, fakes={net: raises(KeyError("x"))}).assert_failed("net", match="x")


def test_a_step_may_stand_in_for_a_step(penstock_run):
    assert penstock_run(nested, value=9, fakes={limited: number}).outputs == 9


def test_what_ends_a_run_and_what_undoes_a_step_is_faked_like_any_step(penstock_run):
    @step
    def undo(output: int) -> None:
        raise AssertionError("not in a test")

    @step
    def fails(value: int) -> int:
        raise ValueError(value)

    @pipeline(on_failure=[tell])
    def undone() -> int:
        return fails(number.with_options(rollback=undo)(4))

    undoing, telling = fake(None), fake(None)
    run = penstock_run(undone, fakes={undo: undoing, "tell": telling})
    assert [each.arguments for each in undoing.calls] == [{"output": 4}]
    assert telling.calls[0].arguments["status"] == RunStatus("undone", "failed", {"fails": "ValueError: 4"})
    assert run.order == ["number", "fails", "undo", "tell"]


def test_a_fake_is_called_in_each_run_whatever_the_store_holds(penstock_run):
    assert penstock_run(nested, fakes={limited: 1}, cache=True).outputs == 1
    assert penstock_run(nested, fakes={limited: 2}, cache=True).outputs == 2


def test_an_artifact_may_be_anything_that_can_be_kept(penstock_run):
    stand_in = Trained({"depth": 3}, 0.9)
    run = penstock_run(retrain, fakes={load: [1], train: stand_in, deploy: lambda model: str(model["depth"])})
    assert run.outputs == "3"


def test_a_fake_that_does_what_ctrl_c_does_cancels_the_run_alone(penstock_run):
    run = penstock_run(nested, fakes={"inner.number": KeyboardInterrupt()})
    assert run.state.value == "cancelled"
    assert run.states == {"number": "succeeded", "inner.number": "cancelled", "limited": "cancelled"}


def test_ctrl_c_itself_ends_more_than_the_run(penstock_run):
    def interrupted(value):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        penstock_run(nested, fakes={"inner.number": interrupted})


def test_a_fake_may_fail_the_test(penstock_run):
    with pytest.raises(pytest.fail.Exception, match="not to be called"):
        penstock_run(nested, fakes={limited: lambda value: pytest.fail("not to be called")})


@pytest.mark.parametrize(
    ("misplaced", "said"),
    [
        ("lod", "pipeline `retrain` has no step `lod`\nfix: did you mean `load`?"),
        ("assert", "`assert` of pipeline `retrain` is a gate, not a step\nfix: fake the steps whose results"),
        ("for", "`for` of pipeline `retrain` is a loop, not a step"),
        ("load[0]", "`load[0]` is no instance: `load` is in no loops\nfix: give `load`"),
        (
            "train[0][1]",
            "`train[0][1]` is no instance: `train` is in 1 loop\nfix: give `train[0]`, or `train` for all of them",
        ),
        ("train[x]", "pipeline `retrain` has no step `train[x]`\nfix: did you mean `train`?"),
        (never_called, "pipeline `retrain` never calls the step `never_called`\nfix: it calls `load`, `train`, `best`"),
        pytest.param(number.function, "is no step\nfix: fake a step, or a node by its name", id="a function"),
    ],
    ids=str,
)
def test_a_fake_for_nothing_is_refused_before_anything_runs(penstock_run, misplaced, said):
    with pytest.raises(ConfigurationError) as error:
        penstock_run(retrain, fakes={misplaced: 1})
    assert problems(error) == ["P741"]
    assert said in str(error.value)
    assert not penstock_run.store.exists()


def test_a_nested_pipeline_and_its_nodes_are_told_apart(penstock_run):
    with pytest.raises(ConfigurationError, match=r"is a nested pipeline, not a step\nfix: .* `inner.number`"):
        penstock_run(nested, fakes={"inner": 1})

    @pipeline
    def only_inside() -> int:
        return inner(1)

    with pytest.raises(ConfigurationError, match=r"did you mean `inner.number`"):
        penstock_run(only_inside, fakes={"number": 1})


def test_a_fake_for_an_item_that_the_loop_has_not_is_told_after_the_run(penstock_run):
    with pytest.raises(ConfigurationError, match=r"`train\[2\]` .* ran for 2 items alone") as error:
        penstock_run(retrain, fakes={load: [1], "train[2]": 1})
    assert problems(error) == ["P741"]


def test_a_fake_that_cannot_be_called_as_the_step_is_refused(penstock_run):
    said = (
        r"the fake of `train` takes `\(rows\)`, but `train` is given `rows` and `depth`\nfix: write it `lambda rows, "
    )
    with pytest.raises(ConfigurationError, match=said) as error:
        penstock_run(retrain, fakes={"train": lambda rows: 1, "load": attempts(OSError, lambda: [1]), "beast": 1})
    assert problems(error) == ["P741", "P742", "P742"]


@pytest.mark.parametrize(
    ("stand_ins", "said"),
    [
        ({load: "text"}, "the fake of `load` gave another thing: 'text' is not list[int]"),
        ({load: [1, "2"]}, "item 1 is '2', not int"),
        ({load: [1], train: 3}, "the fake of `train[0]`: the step must return a Trained itself, not 3"),
        ({load: [1], train: Trained(Net(1), "high")}, "gave another thing as `accuracy`: 'high' is not float"),
    ],
    ids=range(4),
)
def test_a_fake_that_gives_what_the_step_could_not_is_refused(penstock_run, stand_ins, said):
    with pytest.raises(ConfigurationError) as error:
        penstock_run(retrain, fakes=stand_ins)
    assert problems(error) == ["P745"]
    assert said in str(error.value)


def test_a_fake_says_what_every_attempt_does(penstock_run):
    with pytest.raises(ConfigurationError, match="says what 2 attempts do; this is attempt 3") as error:
        penstock_run(retrain, fakes={load: attempts(OSError, OSError)})
    assert problems(error) == ["P744"]
    with pytest.raises(ConfigurationError, match="no attempt"):
        attempts()


def test_fakes_need_this_process(penstock_run):
    with pytest.raises(ConfigurationError) as error:
        penstock_run(nested, fakes={number: 1}, inline=False)
    assert problems(error) == ["P743"]


# --- what can be asked of a run ---------------------------------------------------------------------------------------


def test_outputs_states_order_gates_calls_and_logs_are_there_to_be_compared(penstock_run):
    run = penstock_run(retrain, depths=[3, 4], fakes={load: [1, 2]})
    assert run.outputs == "depth 4"
    assert run.states == dict.fromkeys(["load", "train[0]", "train[1]", "best", "deploy", "tell"], "succeeded")
    assert run.order == ["load", "train[0]", "train[1]", "best", "deploy", "tell"]
    assert run.gates == {"chosen.accuracy >= floor": True}
    assert [each.arguments["depth"] for each in run.calls(train)] == [3, 4]
    assert run.calls("train") == run.calls(train)
    assert run.calls("train[1]") == run.calls(train)[1:]
    assert run.log("train[1]") == "training at depth 4\n"
    assert run.log("tell") == "succeeded\n"


def test_gates_of_steps_and_between_them_are_told_by_what_they_ask(penstock_run):
    @pipeline
    def gated(values: list[int], most: int = 5) -> list[int]:
        return [number.with_options(gates=[Gate("output", "<=", most)])(each) for each in values]

    assert penstock_run(gated, values=[1, 2]).gates == {"output <= 5": True}
    run = penstock_run(gated, values=[9, 2])
    assert run.gates == {"output <= 5": False}
    assert run.states == {"number[0]": "failed", "number[1]": "succeeded"}
    run = penstock_run(retrain, floor=1.0, fakes={load: [1]})
    assert run.gates == {"chosen.accuracy >= floor": False}
    assert run.states["deploy"] == "upstream_failed"
    assert run.calls(deploy) == []


def test_the_log_is_what_the_last_attempt_printed_and_it_is_printed_all_the_same(penstock_run, capsys):
    def loading(url):
        sys.stderr.writelines(["once ", "more\n"])
        raise OSError

    run = penstock_run(retrain, fakes={load: loading})
    assert run.log("load") == "once more\n"
    assert run.log("deploy") == ""
    assert capsys.readouterr().err.count("once more") == 3


def test_a_node_that_is_not_there_is_named_with_the_nearest_that_is(penstock_run):
    run = penstock_run(retrain, fakes={load: [1]})
    for ask in (run.__getitem__, run.log, run.calls, run.assert_failed):
        with pytest.raises(KeyError, match="did you mean `deploy`"):
            ask("deplyo")
    with pytest.raises(KeyError, match=r"`train` ran once for each item: `train\[0\]`, `train\[1\]`"):
        run["train"]
    with pytest.raises(KeyError, match="never calls the step `never_called`"):
        run.calls(never_called)


def test_a_run_that_was_to_succeed_says_what_failed_with_traceback_and_log(penstock_run):
    assert penstock_run(nested).assert_succeeded().outputs == 1
    run = penstock_run(retrain, depths=[3, 9], fakes={load: attempts(OSError("away"), [1])})
    assert not run.ok
    assert repr(run) == "<retrain failed; train[1]: ValueError: too deep>"
    with pytest.raises(AssertionError) as error:
        run.assert_succeeded()
    said = str(error.value).splitlines()
    assert said[:3] == ["`retrain` was to succeed", "retrain: failed", "  load      succeeded        2 attempts"]
    assert "  train[1]  failed           ValueError: too deep" in said
    assert "  deploy    upstream_failed  `train[1]` failed" in said
    assert '    raise ValueError("too deep")' in [each[2:] for each in said]
    assert said[-2:] == ["log of train[1]:", "  training at depth 9"]
    assert not any("trials.py" in each or "harness.py" in each for each in said)


def test_a_traceback_that_is_in_the_log_as_well_is_shown_once(penstock_run):
    @pipeline
    def deep() -> Trained:
        return train([1], depth=9)

    run = penstock_run(deep, inline=False, max_workers=1)
    assert "Traceback" in run.log("train")
    assert run.describe().count("ValueError: too deep") == 3, "in its row, above the traceback, and below it"
    assert "log of train:\n  training at depth 9" in run.describe()


def test_a_run_that_was_to_fail_says_what_came_of_it_instead(penstock_run):
    run = penstock_run(retrain, fakes={load: raises(OSError("away"))})
    assert run.assert_failed().id == "load"
    assert run.assert_failed("load", match="aw.y").attempts == 3
    with pytest.raises(AssertionError, match="`deploy` was to fail\nretrain: failed\n  load"):
        run.assert_failed("deploy")
    with pytest.raises(AssertionError, match="matches 'slow'\nretrain: failed"):
        run.assert_failed("load", match="slow")
    with pytest.raises(AssertionError, match="a node of `nested` was to fail\nnested: succeeded"):
        penstock_run(nested).assert_failed()


def test_of_a_long_run_what_went_wrong_is_shown_first(penstock_run):
    run = penstock_run(wide, count=list(range(100)), fakes={"number[77]": ValueError("odd")})
    said = run.describe().splitlines()
    assert "  number[77]  failed           ValueError: odd" in said
    assert "  and 61 more" in said


# --- in a project of a user's own -------------------------------------------------------------------------------------

FLOW = """
from penstock import pipeline, step
from shop.prices import taxed

@step
def price(item: str) -> float:
    print("asking for", item)
    raise LookupError(item)

@step
def total(prices: list[float]) -> float:
    return sum(map(taxed, prices))

@pipeline
def bill(items: list[str]) -> float:
    return total([price(each) for each in items])
"""


@pytest.fixture(scope="module")
def warm():
    """What a session within this one would import anew each time, for pytester forgets what it has imported."""
    for target in ("local", "github", "airflow"):
        wide.compile(target)


@pytest.fixture
def project(pytester, monkeypatch, warm):
    """A project with its sources in a folder of their own. Of the plugins that are installed here only ours is loaded:
    importing the others anew for each session takes longer than the tests do."""
    monkeypatch.delenv("PENSTOCK_UPDATE_GOLDEN", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyprojecttoml("""
[tool.pytest.ini_options]
pythonpath = ["src"]
addopts = "-p no:cacheprovider -p pytest_penstock"
""")
    package = pytester.path / "src" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "flow.py").write_text(FLOW)
    (package / "prices.py").write_text("def taxed(value: float) -> float:\n    return value * 2\n")
    return pytester


def test_a_test_that_fails_shows_beside_its_own_words_what_became_of_the_run(project):
    project.makepyfile("""
from shop.flow import bill, price

def test_outputs(penstock_run):
    assert penstock_run(bill, items=["tea"], fakes={price: 2.0}).outputs == 4.0

def test_wrong(penstock_run):
    run = penstock_run(bill, items=["tea"])
    assert run.outputs == 4.0

def test_told_once(penstock_run):
    penstock_run(bill, items=["jam"]).assert_succeeded()
""")
    done = project.runpytest("-rP")
    done.assert_outcomes(passed=1, failed=2)
    done.stdout.fnmatch_lines([
        "*Penstock run of bill*", "bill: failed", "*price?0?  failed  *LookupError: tea",
        "price?0?: LookupError: tea", "*File *src/shop/flow.py*in price", "log of price?0?:", "  asking for tea",
    ])  # fmt: skip
    text = done.stdout.str()
    assert text.count("Penstock run of bill") == 1
    assert text.count("price[0]: LookupError: jam") == 1
    assert "sdk/penstock" not in text


def test_a_misused_fake_points_at_the_line_of_the_test(project):
    project.makepyfile("""
from shop.flow import bill

def test_it(penstock_run):
    penstock_run(bill, items=["tea"], fakes={"prise": 2.0})
""")
    done = project.runpytest()
    done.stdout.fnmatch_lines(["*test_a_misused*.py:4: ConfigurationError"])
    done.stdout.fnmatch_lines(["E*P741: pipeline `bill` has no step `prise`", "E*did you mean `price`?"])
    assert "sdk/penstock" not in done.stdout.str()


@pytest.mark.slow
def test_tests_may_run_side_by_side(project):
    project.makepyfile("""
import pytest
from shop.flow import bill, price

@pytest.mark.parametrize("count", range(6))
def test_it(penstock_run, count):
    assert penstock_run(bill, items=["x"] * count, fakes={price: 1.0}).outputs == 2 * count

def test_wrong(penstock_run):
    assert penstock_run(bill, items=["tea"]).ok
""")
    done = project.runpytest_subprocess("-p", "xdist", "-n", "2")
    done.assert_outcomes(passed=6, failed=1)
    done.stdout.fnmatch_lines(["*Penstock run of bill*", "bill: failed"])


@pytest.mark.slow
def test_a_session_that_does_not_use_the_plugin_imports_nothing_of_penstock(pytester):
    pytester.makepyfile("""
import sys

def test_it():
    assert "pytest_penstock" in sys.modules
    assert not {"penstock", "pydantic", "fsspec", "rich"} & sys.modules.keys()
    assert 0, "so that the report is made, too"
""")
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
    done.stdout.fnmatch_lines(["E*so that the report is made, too"])


# --- golden files -----------------------------------------------------------------------------------------------------

GOLDEN = """
from shop.flow import bill

def test_golden(penstock_golden):
    penstock_golden(bill, "local", "github")
"""


def expected(project):
    folder = project.path / "expected"
    return {each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file()}


BOTH = {"local/bill.py", "github/.github/workflows/bill.yml", "github/.github/penstock/bill.py"}


def test_golden_files_are_written_when_asked_to_and_compared_otherwise(project):
    project.makepyfile(GOLDEN)
    done = project.runpytest()
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["E*missing: *expected/local/bill.py", "E*pytest --penstock-update*"])
    assert expected(project) == set()
    done = project.runpytest("--penstock-update")
    done.assert_outcomes(passed=1)
    written = sorted(f"expected/{each}" for each in BOTH)
    done.stdout.fnmatch_lines(["*golden files of pipelines, written or removed*", *written])
    assert expected(project) == BOTH
    project.runpytest().assert_outcomes(passed=1)


def test_what_differs_is_shown_as_a_diff_and_what_is_stale_is_named(project, monkeypatch):
    project.makepyfile(GOLDEN)
    project.runpytest("--penstock-update")
    changed, stale = project.path / "expected/local/bill.py", project.path / "expected/local/old.py"
    text = changed.read_text()
    changed.write_text(text.replace("return value * 2", "return value * 3"))
    stale.write_text(text)
    (project.path / "expected/github/notes.txt").write_text("mine")
    done = project.runpytest()
    done.stdout.fnmatch_lines([
        "E*different: *expected/local/bill.py", "E*--- *bill.py (as it is)", "E*+++ *bill.py (as compiled)",
        "E*-*return value * 3*", "E*+*return value * 2*", "E*stale: *expected/local/old.py",
        "E*not emitted, and to be removed or moved by you: *expected/github/notes.txt",
    ])  # fmt: skip
    monkeypatch.setenv("PENSTOCK_UPDATE_GOLDEN", "1")
    project.runpytest().assert_outcomes(failed=1)
    assert expected(project) == {*BOTH, "github/notes.txt"}, "what Penstock did not make is not its to remove"
    (project.path / "expected/github/notes.txt").unlink()
    project.runpytest().assert_outcomes(passed=1)
    assert changed.read_text() == text


def test_writing_them_anew_leaves_alone_what_is_right(project):
    project.makepyfile(GOLDEN)
    project.runpytest("--penstock-update")
    before = {each: (project.path / "expected" / each).stat().st_mtime_ns for each in BOTH}
    done = project.runpytest("--penstock-update")
    assert {each: (project.path / "expected" / each).stat().st_mtime_ns for each in BOTH} == before
    assert "golden files of pipelines" not in done.stdout.str()


def test_options_folder_and_name_are_the_tests_to_choose(project):
    project.makepyfile("""
from shop.flow import bill

def test_golden(penstock_golden):
    penstock_golden(bill, "airflow", name="airflow-2", folder="golden/bill", airflow=2)
""")
    project.runpytest("--penstock-update").assert_outcomes(passed=1)
    assert "below 3" in (project.path / "golden/bill/airflow-2/bill.py").read_text()
    project.runpytest().assert_outcomes(passed=1)


def test_files_that_git_wrote_with_other_line_ends_are_the_same_files(project):
    project.makepyfile(GOLDEN)
    project.runpytest("--penstock-update")
    file = project.path / "expected/github/.github/workflows/bill.yml"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    project.runpytest().assert_outcomes(passed=1)


def test_what_a_target_cannot_keep_is_told_at_the_authors_line_alone(project):
    project.makepyfile("""
import pytest
from shop.flow import bill

def test_option(penstock_golden):
    penstock_golden(bill, "local", airflow=2)

def test_none(penstock_golden):
    with pytest.raises(TypeError, match="give one target"):
        penstock_golden(bill)
    with pytest.raises(TypeError, match="give one target"):
        penstock_golden(bill, "local", "github", name="both")
""")
    done = project.runpytest()
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["E*P702: target `local` has no option `airflow`*"])
    assert "sdk/penstock" not in done.stdout.str()
