"""Steps and pipelines as their authors see them: what may be written, what comes of it, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pytest

from penstock import (
    ConfigurationError,
    DefinitionError,
    ParameterError,
    PipelineSpec,
    Resources,
    Retry,
    Schedule,
    Serializer,
    pipeline,
    step,
)
from penstock.parameters import parse_parameters
from penstock.spec import Group, OutputBinding, ParameterBinding, Task, tasks


class Split(NamedTuple):
    train: list[int]
    test: list[int]


@dataclasses.dataclass(frozen=True)
class Config:
    depth: int = 3
    name: str = "tree"


@step
def load(url: str) -> list[int]:
    return [len(url), 2, 3, 4]


@step
def split(rows: list[int], share: float = 0.5) -> Split:
    cut = int(len(rows) * share)
    return Split(rows[:cut], rows[cut:])


@step
def total(rows: list[int], factor: int = 1) -> int:
    return sum(rows) * factor


@step
def scaled(config: Config, value: float) -> float:
    return config.depth * value


@step
def largest(values: list[int]) -> int:
    return max(values)


@step
def tell(text: str) -> None:
    pass


def problems(excinfo: pytest.ExceptionInfo[DefinitionError]) -> list[str]:
    return [each.code for each in excinfo.value.diagnostics]


def test_a_step_called_outside_a_pipeline_is_the_function():
    assert split([1, 2, 3], share=0.4) == Split([1], [2, 3])


@pytest.mark.slow
def test_a_pipeline_called_outside_a_trace_runs_as_plain_python():
    @pipeline
    def sums(url: str = "abc") -> int:
        parts = split(load(url))
        return largest([total(parts.train), total(parts.test, factor=2)])

    assert sums() == 14
    assert sums("abcdef") == 14


def test_a_pipeline_becomes_data_that_survives_json():
    @pipeline(schedule=Schedule("0 2 * * *", timezone="Europe/Berlin"), tags=["a", "b"], owner="me")
    def sums(url: str = "abc", config: Config = Config(depth=4)) -> float:
        """Adds up.

        In two halves.
        """
        parts = split(load(url), share=0.25)
        return scaled(config, total(parts.test))

    spec = sums.spec
    assert PipelineSpec.model_validate_json(spec.model_dump_json()) == spec
    assert [task.id for task in tasks(spec.body)] == ["load", "split", "total", "scaled"]
    assert spec.description.startswith("Adds up.\n\nIn two")
    assert spec.schedule.timezone == "Europe/Berlin"
    by_id = {task.id: task for task in tasks(spec.body)}
    assert dict(by_id["total"].inputs)["rows"] == OutputBinding(node="split", output="test")
    assert dict(by_id["load"].inputs)["url"] == ParameterBinding(name="url")
    assert spec.result == OutputBinding(node="scaled", output="output")
    assert [module.name for module in spec.modules] == ["test_authoring"] or spec.modules[0].name.endswith(
        "test_authoring"
    )


def test_a_spec_cannot_be_changed():
    @pipeline
    def one(url: str) -> list[int]:
        return load(url)

    with pytest.raises(Exception, match="frozen"):
        one.spec.name = "other"


def test_calls_of_one_step_are_numbered_and_a_chosen_name_is_kept():
    @pipeline
    def three(url: str) -> int:
        rows = load(url)
        total(rows)
        total(rows)
        return total.with_options(name="last")(rows)

    assert [task.id for task in tasks(three.spec.body)] == ["load", "total", "total_2", "last"]


def test_two_nodes_cannot_have_one_chosen_name():
    with pytest.raises(DefinitionError) as caught:

        @pipeline
        def twice(url: str) -> None:
            load.with_options(name="x")(url)
            load.with_options(name="x")(url)

    assert problems(caught) == ["P206"]


def test_options_reach_the_node_and_leave_the_step_as_it_was():
    special = load.with_options(
        retry=Retry(2, delay=1.5, backoff=2.0, max_delay=9, jitter=0.1),
        timeout=30,
        env={"A": "1"},
        packages=["numpy==2.0"],
        image="python:3.12",
        resources=Resources(cpu=2, memory="1.5Gi", gpu=1, gpu_type="a100"),
        cache=False,
        cache_version="v2",
    )

    @pipeline
    def one(url: str) -> list[int]:
        return special(url)

    settings = next(tasks(one.spec.body)).settings
    assert settings.retry.model_dump() == {
        "max_retries": 2,
        "delay": 1.5,
        "backoff": 2.0,
        "max_delay": 9,
        "jitter": 0.1,
    }
    assert settings.resources.memory == 1.5 * 2**30
    assert (settings.timeout, settings.env, settings.packages) == (30, (("A", "1"),), ("numpy==2.0",))
    assert load.settings.timeout is None


@pytest.mark.parametrize(
    "options",
    [
        {"retry": -1},
        {"timeout": 0},
        {"retry": Retry(1, backoff=0.5)},
        {"resources": Resources(memory="much")},
        {"packages": "numpy"},
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(DefinitionError) as caught:
        load.with_options(**options)
    assert problems(caught) == ["P211"]


def test_after_orders_nodes_without_data():
    @pipeline
    def ordered(url: str) -> None:
        told = tell("x")
        rows = load.with_options(after=told)(url)
        tell.with_options(name="end", after=[rows, told])("y")

    waits = {task.id: task.after for task in tasks(ordered.spec.body)}
    assert waits == {"tell": (), "load": ("tell",), "end": ("load", "tell")}


def test_after_takes_results_only():
    with pytest.raises(DefinitionError) as caught:

        @pipeline
        def ordered(url: str) -> None:
            load.with_options(after=["tell"])(url)

    assert problems(caught) == ["P210"]


def test_a_nested_pipeline_is_a_group_whose_nodes_carry_its_name():
    @pipeline
    def inner(rows: list[int]) -> int:
        return total(rows)

    @pipeline
    def outer(url: str) -> int:
        first = inner(load(url))
        told = tell.with_options(after=first)("done")
        return total.with_options(after=told)([first, 3])

    spec = outer.spec
    assert [task.id for task in tasks(spec.body)] == ["load", "inner.total", "tell", "total"]
    group = next(node for node in spec.body if isinstance(node, Group))
    assert group.id == "inner"
    assert next(node for node in spec.body if isinstance(node, Task) and node.id == "tell").after == ("inner",)
    assert outer("abcd") == 16


def test_named_outputs_unpack_as_in_python():
    @pipeline
    def unpacked(url: str) -> int:
        train, test = split(load(url))
        return largest([total(train), total(test)])

    by_id = {task.id: dict(task.inputs) for task in tasks(unpacked.spec.body)}
    assert by_id["total_2"]["rows"] == OutputBinding(node="split", output="test")


def test_every_bad_edge_is_reported_at_once_with_line_and_fix():
    with pytest.raises(DefinitionError) as caught:

        @pipeline
        def bad(url: str) -> str:
            rows = load(url)
            tell(text=rows)
            total(["x"])
            total(rows, factor="2")
            total(row=rows)
            return total(rows)

    assert sorted(problems(caught)) == ["P204", "P204", "P204", "P205", "P208"]
    text = str(caught.value)
    assert "`text` of `tell` takes str, but `load`'s result is list[int]" in text
    assert "tell(text=rows)" in text
    lines = text.splitlines()
    marked = lines[lines.index(next(line for line in lines if "tell(text=rows)" in line)) + 1]
    assert marked.index("^") == lines[lines.index(next(line for line in lines if "tell(text=rows)" in line))].index(
        "rows"
    )
    assert "fix: pass a str, or annotate `text: list[int]` in `tell`" in text


MISUSES: dict[str, Any] = {
    "truth": lambda value: bool(value),
    "iteration": lambda value: list(value),
    "length": lambda value: len(value),
    "formatting": lambda value: f"{value}",
    "text": lambda value: str(value),
    "number": lambda value: int(value),
    "order": lambda value: 3 if value > 3 else 4,
    "equality": lambda value: 3 if value == 3 else 4,
    "key": lambda value: {value: 1},
    "arithmetic": lambda value: 1 + value,
    "membership": lambda value: 3 in value,
    "call": lambda value: value(),
    "attribute": lambda value: value.shape,
    "item": lambda value: value["x", 1],
    "setting": lambda value: setattr(value, "x", 1),
    "with": lambda value: value.__enter__(),
}


@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES.keys())
def test_a_placeholder_refuses_to_be_what_it_cannot_be(misuse):
    with pytest.raises(DefinitionError) as caught:

        @pipeline
        def bad(url: str) -> list[int]:
            rows = load(url)
            misuse(rows)
            return rows

    (problem,) = caught.value.diagnostics
    assert problem.code.startswith("P3")
    assert "load" in problem.message
    assert problem.fix
    assert problem.location.path == __file__


def test_a_bad_edge_is_reported_beside_the_misuse_that_ended_the_trace():
    with pytest.raises(DefinitionError) as caught:

        @pipeline
        def bad(url: str) -> None:
            tell(load(url))
            while load(url):
                pass

    assert problems(caught) == ["P204", "P310"]


def test_a_field_that_a_record_lacks_is_refused_with_those_it_has():
    with pytest.raises(DefinitionError, match=r"has no field `tran`(.|\n)*`train`, `test`"):

        @pipeline
        def bad(url: str) -> list[int]:
            return split(load(url)).tran


def test_fields_of_a_dataclass_parameter_can_be_passed_on():
    @pipeline
    def fields(config: Config = Config()) -> int:
        return total([config.depth, 2])

    assert fields(Config(5)) == 7
    (binding,) = dict(next(tasks(fields.spec.body)).inputs).values()
    assert binding.items[0].path[0].key == "depth"


def test_a_constant_that_has_no_json_form_is_refused_with_its_place():
    @step
    def take(thing: object) -> None: ...

    with pytest.raises(DefinitionError, match="make it in a step") as caught:

        @pipeline
        def bad() -> None:
            take(thing=object())

    assert problems(caught) == ["P203"]


def test_a_forgotten_call_is_named_as_such():
    with pytest.raises(
        DefinitionError, match=r"the step `load` itself, not its result(.|\n)*fix: call it: `load\(\.\.\.\)`"
    ):

        @pipeline
        def bad() -> int:
            return total(load)  # type: ignore[arg-type]


def test_a_pipeline_that_takes_a_file_can_be_nested_but_not_run_by_itself():
    @step
    def write() -> Path:
        return Path("x")

    @step
    def size(data: Path) -> int:
        return 1

    @pipeline
    def inner(data: Path) -> int:
        return size(data)

    @pipeline
    def outer() -> int:
        return inner(write())

    assert [task.id for task in tasks(outer.spec.body)] == ["write", "inner.size"]
    with pytest.raises(DefinitionError, match="take a `str`") as caught:
        inner.compile("local")
    assert problems(caught) == ["P207"]


def test_missing_annotations_are_all_named():
    @step
    def untyped(a, b: int = 3):
        return a

    with pytest.raises(DefinitionError) as caught:

        @pipeline
        def bad() -> None:
            untyped(1)

    assert "parameter `a`" in str(caught.value)
    assert "return annotation" in str(caught.value)


def test_an_error_of_the_authors_own_passes_through():
    with pytest.raises(ZeroDivisionError):

        @pipeline
        def bad() -> None:
            1 / 0  # noqa: B018  # to fail is all it is for


def test_parameters_given_at_run_time_are_checked_all_at_once():
    @pipeline
    def typed(count: int, config: Config = Config(), names: list[str] = []) -> int:
        return total([count])

    with pytest.raises(ParameterError) as caught:
        typed.encode_parameters({"cuont": 3, "names": ["a", 2]})
    assert sorted(each.code for each in caught.value.diagnostics) == ["P601", "P602", "P603"]
    assert "did you mean `count`?" in str(caught.value)
    assert typed.encode_parameters({"count": 2**60})["count"] == {"$int": str(2**60)}


def test_an_option_of_a_run_that_is_misspelt_is_not_taken_for_a_parameter_of_the_pipeline():
    @pipeline
    def counted(count: int) -> int:
        return total([count])

    with pytest.raises(ParameterError, match=r"did you mean `max_workers`\?"):
        counted.run(count=1, max_worker=2)
    with pytest.raises(ParameterError, match=r"its parameters: `count`$"):
        counted.run(count=1, zzz=2)
    with pytest.raises(ConfigurationError, match="`on_event` is called with each event, and 3 cannot be"):
        counted.run(count=1, on_event=3)


def test_texts_from_a_command_line_become_values_of_the_declared_types():
    @pipeline
    def typed(count: int, name: str, config: Config = Config(), maybe: float | None = None) -> int:
        return total([count])

    values = parse_parameters(typed.define(), {"count": "3", "name": "3", "config": '{"depth": 7}', "maybe": "null"})
    assert values == {"count": 3, "name": "3", "config": Config(7), "maybe": None}
    with pytest.raises(ParameterError, match=r"`count`: \"many\" is not int"):
        parse_parameters(typed.define(), {"count": "many"})


def test_what_is_read_from_an_artifact_needs_the_library_of_its_class():
    import pandas as pd

    @step
    def frame() -> pd.DataFrame:
        return pd.DataFrame()

    @step
    def shape(rows: Any) -> int:
        return len(rows)

    @pipeline
    def flow() -> int:
        return shape(frame())

    needs = {
        each.id.rpartition(":")[2]: [name.partition("==")[0] for name in each.requirements] for each in flow.spec.steps
    }
    assert needs == {"frame": ["pandas", "pyarrow"], "shape": ["pandas", "pyarrow"]}


def test_a_step_that_takes_anything_carries_the_classes_that_may_come():
    @step
    def loose() -> dict[str, Any]:
        return {"config": Config()}

    @step
    def opened(values: dict[str, Any]) -> int:
        return values["config"].depth

    @pipeline
    def flow(config: Config = Config()) -> int:
        scaled(config, 1.0)
        return opened(loose())

    (reach,) = next(each.reach for each in flow.spec.steps if each.id.endswith(":opened"))
    assert "Config" in reach.names


@pytest.mark.parametrize(
    "schedule", ["every day", "0 2 * *", "0 2 * * * *", Schedule("0 2 * * *", timezone="Europe/Berln")], ids=str
)
def test_a_schedule_that_is_none_is_refused(schedule):
    with pytest.raises(DefinitionError) as caught:

        @pipeline(schedule=schedule)
        def flow() -> None: ...

    assert problems(caught) == ["P212"]


def test_a_nested_pipeline_can_be_named_and_wait_and_be_waited_for_whatever_it_returns():
    @pipeline
    def halves(rows: list[int]) -> Split:
        parts = split(rows)
        tell.with_options(name="aside")("x")
        return Split(parts.train, parts.test)

    @pipeline
    def outer(url: str) -> int:
        told = tell("begin")
        parts = halves.with_options(name="cut", after=told)([1, 2, 3])
        return total.with_options(after=[parts.test])(parts.train)

    group = next(node for node in outer.spec.body if isinstance(node, Group))
    assert (group.id, group.after) == ("cut", ("tell",))
    assert [node.id for node in group.body] == ["cut.split", "cut.aside"]
    assert next(task for task in tasks(outer.spec.body) if task.id == "total").after == ("cut",)


def test_a_step_carries_what_reads_the_artifacts_that_others_write_in_their_own_way():
    names = {each.id.rpartition(":")[2]: each.reach for each in reading.spec.steps}
    assert "load_note" in {name for reach in names["length"] for name in reach.names}


class Note:
    def __init__(self, text: str) -> None:
        self.text = text


def save_note(note: Note, path: Path) -> None:
    path.write_text(note.text)


def load_note(path: Path) -> Note:
    return Note(path.read_text())


@step
def noted() -> Annotated[Note, Serializer(save_note, load_note, ".txt")]:
    return Note("abc")


@step
def length(note: Note) -> int:
    return len(note.text)


@pipeline
def reading() -> int:
    return length(noted())
