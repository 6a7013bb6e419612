from __future__ import annotations

import ast
import contextlib
import datetime as dt
import decimal
import enum
import hashlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import (
    CompileError,
    ConfigurationError,
    DataChange,
    Gate,
    Resources,
    Retry,
    RunStatus,
    Schedule,
    checkpoint_dir,
    current_attempt,
    flow,
    log_metadata,
    log_metric,
    pipeline,
    step,
)
from penstock.harness import coerce
from penstock.spec import FieldSpec, ParameterSpec, TypeKind, TypeSpec
from penstock.values import encode
from penstock_backends.airflow import AirflowBackend, AirflowOptions
from penstock_backends.airflow.reserved import CONTEXT, FILE
from penstock_backends.airflow.source import docstring, literal, text_literal
from penstock_backends.airflow.tables import xcom_key
from penstock_backends.json_schema import is_tagged, plain, schema_of
from tests.engines.airflow import airflow
from tests.engines.environments import environment

MAJORS = (3, 2)
HOSTILE = "{{ ds }} {% raw %} {# c #} ''' \"\"\" \\ \\N{DASH} \r\n\x00 \u2028 \u202e end.md"


class Mode(enum.Enum):
    FAST = 1
    EXACT = "e"


@dataclass(frozen=True)
class Config:
    depth: int = 3
    names: tuple[str, ...] = ("a",)
    made: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "made", self.depth * 2)


class Halves(NamedTuple):
    return_value: int
    step_metrics: str
    naïve: None  # noqa: PLC2401  # an XCom key must be ASCII


class Reserved(NamedTuple):
    gates: int
    step_error: int
    step_state: int


@step
def one(value: object = 1) -> int:
    """Gives 1."""
    return 1


@step
def plus(a: int, b: int) -> int:
    return a + b


@step
def total(values: list[int]) -> int:
    return sum(values)


@pipeline
def inner(start: int) -> int:
    """A part of it."""
    return total([one(start), one(start)])


@pipeline(schedule=Schedule("30 2 * * 1", timezone="Europe/Berlin"), tags=["sums", "demo"], owner="team")
def small(start: int = 1, rate: float = 0.5) -> int:
    """Adds.

    And adds again, as README.md
    """
    first = one(start)
    second = one.with_options(name="second", after=first, retry=Retry(2, delay=30, backoff=2), timeout=90)(rate)
    return plus(first, plus.with_options(name="more")(inner(second), 5))


def emitted(a_pipeline: Any, airflow: int = 3, **options: Any) -> str:
    (text,) = a_pipeline.compile("airflow", airflow=airflow, **options).values()
    return str(text)


# --- what it reads like -----------------------------------------------------------------------------------------------


def test_the_dag_file_is_called_after_the_pipeline() -> None:
    assert list(small.compile("airflow")) == ["small.py"]


@step
def rows(count: int) -> list[list[int]]:
    """Rows of growing length."""
    return [[*range(length)] for length in range(count)]


@step
def number_list(count: int) -> list[int]:
    return [*range(count)]


@step
def undo(output: int) -> str:
    return f"undone {output}"


@step(rollback=undo, retry=Retry(1))
def checked(value: int, bad: int) -> int:
    if value == bad:
        raise ValueError(f"{value} is bad")
    return value


@step(gates=[Gate("output", "<", 10_000, message="too much")])
def summed(values: list[int]) -> int:
    return sum(values)


@step
def told_of(status: RunStatus) -> list[str]:
    return [status.state, *status.failures, *status.failures.values()]


@pipeline(on_failure=told_of, on_exit=told_of.with_options(name="at_last"), timeout=600)
def structured(count: int = 3, bad: int = -1) -> int:
    """Rows of cells, and what follows from their sum."""
    sums = []
    for row in rows(count):
        cells = [checked(cell, bad) for cell in flow.parallel(row, 2)]
        sums.append(summed(cells))
    result = summed(sums)
    if result > 5:
        more = 1
        result = plus(result, more)
    else:
        result = one(result)
    assert result != 6, f"not {result}"
    return plus(result, 2)


@step
def load(bad: bool) -> int:
    """How many rows are there."""
    if bad:
        raise ValueError("nothing there")
    return 1


@pipeline(
    schedule=Schedule("0 2 * * *", timezone="Europe/Berlin", start="2026-01-31T06:30", catch_up=True),
    triggers=[DataChange("s3://lake/rows"), DataChange("s3://lake/labels")],
    updates=["s3://lake/features", "s3://lake/report"],
    concurrency=2,
)
def refresh(bad: bool = False) -> int:
    if load(bad) > 5:
        return plus(1, 2)
    return load.with_options(name="again")(bad)


@pytest.mark.parametrize("major", MAJORS)
@pytest.mark.parametrize("a_pipeline", [small, structured, refresh], ids=lambda each: each.name)
def test_the_dag_file_is_formatted_and_clean_under_ruff(a_pipeline: Any, major: int, tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(emitted(a_pipeline, major))
    (tmp_path / "with_a_folder.py").write_text(emitted(a_pipeline, major, artifact_root="/artifacts", cache=True))
    (tmp_path / "with_a_store.py").write_text(emitted(a_pipeline, major, artifact_root="gs://team/x", cache=True))
    ruff = Path(sys.executable).with_name("ruff")
    rules = ["--select", "E4,E7,E9,F,I,B,UP,A,PLE", "--ignore", "B018"]
    for command in (["check", *rules], ["format", "--diff"]):
        said = subprocess.run(
            [ruff, *command, "--isolated", "--line-length", "110", tmp_path],
            capture_output=True,
            text=True,
            check=False,
        )
        assert said.returncode == 0, said.stdout


def test_task_functions_carry_the_authors_names_docstrings_and_order() -> None:
    text = emitted(small)
    (dag,) = (each for each in ast.parse(text).body if isinstance(each, ast.With))
    functions = [each.name for each in dag.body if isinstance(each, ast.FunctionDef)]
    assert functions == ["one", "second", "inner_one", "inner_one_2", "inner_total", "more", "plus"]
    assert '"""Gives 1."""' in text
    assert "doc_md=__doc__" in text
    assert ast.get_docstring(ast.parse(text)) == "Adds.\n\nAnd adds again, as README.md"


def test_settings_are_airflows_own_arguments() -> None:
    text = emitted(small)
    assert 'schedule=CronTriggerTimetable("30 2 * * 1", timezone="Europe/Berlin"),\n    catchup=False,' in text
    assert "retry_policy=Backoff(retries=2, delay=30, factor=2)," in text
    assert "retry_delay=timedelta(seconds=30)," in text
    assert "execution_timeout=timedelta(seconds=90)," in text
    assert 'default_args={"owner": "team", "retries": 0},' in text
    assert 'tags=["sums", "demo"],' in text
    assert "first_task" not in text
    assert "one_task >> second_task" in text
    assert 'with TaskGroup("inner", tooltip="A part of it."):' in text
    assert "# plus(a=inner.total, b=5)" in text


def test_what_starts_a_run_is_said_to_airflow() -> None:
    text = emitted(refresh)
    assert (
        """
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("0 2 * * *", timezone="Europe/Berlin"),
        assets=Asset("s3://lake/rows") | Asset("s3://lake/labels"),
    ),
    start_date=pendulum.datetime(2026, 1, 31, 6, 30, 0, tz="Europe/Berlin"),
    catchup=True,
    max_active_runs=2,
"""
        in text
    )
    assert 'trigger_rule="none_failed", outlets=[Asset("s3://lake/features"), Asset("s3://lake/report")])' in text
    assert "from airflow.datasets import Dataset\n" in emitted(refresh, 2)


def test_a_schedule_without_a_start_begins_with_the_next_run_where_airflow_can() -> None:
    assert "start_date" not in head(emitted(small))
    assert 'start_date=pendulum.datetime(2025, 1, 1, tz="Europe/Berlin"),' in emitted(small, 2)


def test_a_pipeline_can_wait_for_data_alone() -> None:
    @pipeline(triggers=DataChange("s3://lake/rows"))
    def waiting() -> int:
        return one()

    assert 'schedule=Asset("s3://lake/rows"),\n    catchup=False,' in emitted(waiting)


@step(secrets={"TOKEN": "api-token", "PASSWORD": "warehouse/password", "REGION": "warehouse/region"}, priority=3)
def signed(said: str) -> str:
    """A signature by secrets, which it also says aloud."""
    held = [os.environ[name] for name in ("TOKEN", "PASSWORD", "REGION")]
    print("with", *held, flush=True)
    subprocess.run(["sh", "-c", "echo and $TOKEN"], check=True)
    if said == "raise":
        raise ValueError(f"not with {held[0]}")
    return hashlib.sha256(" ".join(held).encode()).hexdigest() if said != "all" else held[1]


@pipeline
def signing(said: str = "") -> tuple[str, int]:
    return signed(said), one.with_options(resources=Resources(quotas={"licences": 2}))()


def test_what_airflow_has_to_hold_stands_in_the_head_of_the_file() -> None:
    text = head(emitted(signing))
    assert (
        """
# Airflow itself has to hold:
#     Variables (secret): api-token
#     connections (field): warehouse (password), warehouse (region)
#     pools: licences
"""
        in text
    )
    assert '@task(pool="licences", pool_slots=2)' in text
    assert "@task(priority_weight=3)" in text
    assert 'default_args={"priority_weight": 0, "weight_rule": "absolute", "retries": 0},' in text
    assert "weight_rule" not in emitted(small)


def test_a_task_takes_of_one_pool() -> None:
    @pipeline
    def greedy() -> int:
        return one.with_options(resources=Resources(quotas={"licences": 1, "gpus": 1}))()

    assert refused(greedy) == ["P535"]


TOKEN, PASSWORD, REGION = "t0k3n of 'quotes'", "p4ss\nw0rd in two lines", "r3gion"


@pytest.mark.engine
@pytest.mark.xdist_group("airflow")
@pytest.mark.parametrize("major", MAJORS)
def test_secrets_reach_the_step_alone(major: int, tmp_path: Path) -> None:
    connection = {"conn_type": "generic", "password": PASSWORD, "extra": {"region": REGION}}
    held = {
        "AIRFLOW_VAR_ARTIFACT_ROOT": str(tmp_path),
        "AIRFLOW_VAR_API-TOKEN": TOKEN,
        "AIRFLOW_CONN_WAREHOUSE": json.dumps(connection),
    }
    text = emitted(signing, major)
    assert not any(each in text for each in (TOKEN, PASSWORD, REGION))
    well = airflow(major).dag_test(text, {}, environ=held)
    assert (well.state, well.warnings) == ("success", ()), well.log
    signature = hashlib.sha256(f"{TOKEN} {PASSWORD} {REGION}".encode()).hexdigest()
    assert json.loads(well.xcoms["signed", -1, "return_value"]) == signature
    assert "with *** *** ***" in well.log
    assert "and ***" in well.log
    (dag,) = well.serialized.values()
    weights = {each["__var"]["task_id"]: each["__var"].get("priority_weight", 0) for each in dag["dag"]["tasks"]}
    assert weights["signed"] == 3, weights
    told = airflow(major).dag_test(text, {"said": "all"}, environ=held)
    failed = airflow(major).dag_test(text, {"said": "raise"}, environ=held)
    lacking = airflow(major).dag_test(text, {}, environ={**held, "AIRFLOW_CONN_WAREHOUSE": "{}"})
    assert [each.state for each in (told, failed, lacking)] == ["failed"] * 3
    assert "what the step returns holds the value of a secret" in told.log
    assert "ValueError: not with ***" in failed.log
    assert "Airflow holds no connection `warehouse` with `password`" in lacking.log
    for seen in (well, told, failed, lacking):
        everything = seen.log + repr(seen.xcoms) + repr(seen.serialized)
        assert not any(part in everything for part in (TOKEN, *PASSWORD.splitlines(), REGION))


@pytest.mark.engine
@pytest.mark.xdist_group("airflow")
@pytest.mark.parametrize("major", MAJORS)
def test_a_run_tells_of_the_data_that_it_updated_only_where_it_succeeded(major: int, tmp_path: Path) -> None:
    engine, root = airflow(major), {"AIRFLOW_VAR_ARTIFACT_ROOT": str(tmp_path)}
    well = engine.dag_test(emitted(refresh, major), {}, environ=root)
    assert (well.state, well.tasks["plus", -1], well.tasks["updated", -1]) == ("success", "skipped", "success"), (
        well.log
    )
    assert (well.import_errors, well.warnings) == ({}, ())
    badly = engine.dag_test(emitted(refresh, major), {"bad": True}, environ=root)
    assert (badly.state, badly.tasks["updated", -1]) == ("failed", "upstream_failed")
    (dag,) = well.serialized.values()
    told = json.dumps(dag)
    assert all(f"s3://lake/{name}" in told for name in ("rows", "labels", "features", "report"))


def head(text: str) -> str:
    """The part of a DAG file that a reviewer reads: all above the code that runs a step."""
    return text.partition("# --- How a step runs")[0]


def test_loops_are_mapped_groups_and_a_loop_in_a_loop_stands_beside_it() -> None:
    text = head(emitted(structured))
    wiring = text[text.index("    rows_task = ") : text.index("    summed_2_task = ")]
    assert wiring == textwrap.indent(
        textwrap.dedent(
            """\
            rows_task = rows(count=dag.param("count"))
            for_task = for_(items=rows_task)

            @task_group(group_id="for_body", prefix_group_id=False)
            def for_body(index):
                # once for each item of rows(count)
                for_2()

            for_body.expand(index=for_task)
            for_2_places_task = for_2_places()
            dag.get_task("for_2") >> for_2_places_task

            @task_group(group_id="for_2_body", prefix_group_id=False)
            def for_2_body(index):
                # once for each item of rows(count), for each of flow.parallel(row, 2)
                checked(bad=dag.param("bad"))

            for_2_body.expand(index=for_2_places_task)

            @task_group(group_id="for_body_2", prefix_group_id=False)
            def for_body_2(index):
                # once for each item of rows(count)
                summed()

            for_body_2.expand(index=for_task)
            """
        ),
        "    ",
    )
    assert "@task(max_active_tis_per_dagrun=2, retries=1, retry_delay=timedelta(seconds=0))\n    def checked(" in text


def test_conditions_and_gates_stand_in_the_authors_words() -> None:
    text = head(emitted(structured))
    assert '    @task(task_id="if")\n    def if_(condition):\n        # if result > 5\n' in text
    assert "    def plus(a):\n        # runs if result > 5\n        # plus(a=summed_2, b=1)\n" in text
    assert "        # runs if not (result > 5)\n" in text
    assert "        # assert result != 6\n" in text
    assert "    if_task >> plus_task\n    if_task >> one_task\n" in text


@pipeline
def wordy(names: list[str], first: int = 1, second: int = 2) -> int:
    a_value_with_a_long_name, another_value_with_a_long_name = one(first), one(second)
    if a_value_with_a_long_name > 1000 and another_value_with_a_long_name > 2000 and "a name among the many" in names:
        return plus(
            a_value_with_a_long_name, len([one(each) for each in names if each != "the name left out of these"])
        )
    return total([*range(1000), another_value_with_a_long_name])


def test_long_conditions_and_calls_are_told_in_whole_lines() -> None:
    lines = head(emitted(wordy)).split("\n")
    comments = [line for line in lines if line.lstrip().startswith("#")]
    said = " ".join(" ".join(each.strip("# ") for each in comments).split())
    (branch,) = [node for node in wordy.spec.body if node.id == "if"]
    assert said.count(branch.text) == 6, "where it is decided, and at all that runs by it"
    assert max(map(len, comments)) <= 110
    assert len(comments) < 30, "a constant that fills pages is shortened"
    assert any(line.endswith(" ...") for line in comments)


def test_what_ends_a_run_stands_behind_all_else_in_its_order() -> None:
    text = head(emitted(structured))
    chain = "tasks >> undo_places_task >> undo_task >> told_of_task >> at_last_task\n"
    assert "    tasks = list(dag.tasks)\n" in text
    assert chain in text
    assert text.rstrip().endswith("list(dag.tasks) >> watcher()")
    assert '@task(trigger_rule="all_done", max_active_tis_per_dagrun=1)\n    def undo(index):' in text
    assert "TIME_LIMIT = 600" in emitted(structured)


def test_nothing_is_added_that_a_pipeline_does_not_need() -> None:
    @pipeline
    def looped(count: int = 3) -> int:
        return total([one(number) for number in number_list(count)])

    text = emitted(looped)
    for name in ("watcher", "all_done", "places_of", "RunStatus(", "TIME_LIMIT", "AirflowFailException"):
        assert name not in text.partition("# The author")[0], name
    assert '@task(trigger_rule="none_failed")\n    def total():' in text


def test_a_whole_result_is_handed_over_as_one() -> None:
    text = emitted(names)
    assert "whole=halves_task,\n" in text
    assert 'first=halves_task["return_value_"]' in text
    assert 'XCOM_KEYS = {\n    "halves": {' in text


def test_only_order_that_nothing_else_gives_is_drawn() -> None:
    @pipeline
    def chained() -> int:
        first = one()
        second = one.with_options(name="second", after=first)(first)
        return one.with_options(name="third", after=[first, second])(second)

    assert ">>" not in emitted(chained).partition("# --- How")[0]


@pytest.mark.parametrize(
    ("retry", "native"),
    [
        (Retry(3, delay=2), True),
        (Retry(3), True),
        (Retry(1, delay=2, backoff=9), True),
        (Retry(3, delay=5, backoff=2, max_delay=5), True),
        (Retry(3, delay=5, backoff=2), False),
        (Retry(3, delay=5, jitter=0.1), False),
    ],
)
def test_delays_that_airflow_can_say_are_said_to_airflow(retry: Retry, native: bool) -> None:
    @pipeline
    def retried() -> int:
        return one.with_options(retry=retry)()

    text = emitted(retried)
    assert f"retries={retry.max_retries}" in text
    assert ("RetryPolicy" not in text) == native
    assert ("backoff" not in emitted(retried, 2).partition("# The author")[0]) == native


def test_pool_root_and_start_are_options() -> None:
    text = emitted(small, artifact_root="/mnt/shared", pool="gpu", start_date="2024-02-29")
    assert "LARGEST_XCOM = 1000\n" in emitted(small, largest_xcom=1000)
    assert 'ARTIFACT_ROOT = "/mnt/shared"' in text
    assert '"pool": "gpu"' in text
    assert "pendulum.datetime(2024, 2, 29" in text
    assert "--to airflow --option artifact_root=/mnt/shared --option start_date=2024-02-29 --option pool=gpu" in text
    assert "--to airflow --airflow 2\n" in emitted(small, 2)


@pipeline
def doubled(numbers: list[int] = [1, 2, 3], rows: list[list[int]] = [[1, 2], [3]]) -> int:  # never changed
    once = [plus(number, number) for number in numbers]
    return plus(total(once), total([plus(each, each) for row in rows for each in row]))


@pytest.mark.engine
@pytest.mark.xdist_group("airflow")
@pytest.mark.parametrize("major", MAJORS)
def test_a_loop_that_is_longer_than_airflow_maps_says_so(major: int) -> None:
    ran = airflow(major).dag_test(emitted(doubled, major), environ={"AIRFLOW__CORE__MAX_MAP_LENGTH": "2"})
    said = set(re.findall(r"StepFailed: (the loop has .*?, and Airflow allows 2: divide .* `max_map_length`)", ran.log))
    assert said == {"the loop has 3 items, and Airflow allows 2: divide the list, or raise `max_map_length`"}
    assert sorted(name for (name, _), state in ran.tasks.items() if state == "failed") == [
        "for",
        "for_3_places",
    ]


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ("artifacts", "absolute path"),
        ("s3:/team/x", "absolute path"),
        ("S3://team/x", "absolute path"),
        ("s3://", "must name a bucket"),
        ("s3://store@/x", "must name a bucket"),
        ("s3://team/x?versions=1", "must name a bucket"),
        ("https://team/x", "nothing can be kept by https"),
        ("s3://key:hidden@team/x", "holds credentials"),
    ],
)
def test_a_root_that_is_no_place_is_refused(root: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        small.compile("airflow", artifact_root=root)
    assert "hidden" not in str(caught.value)


def test_a_file_for_a_store_says_what_reaches_it_and_one_for_a_folder_knows_of_no_store() -> None:
    text = emitted(small, artifact_root="s3://lake_keys@team/x/")
    assert 'ARTIFACT_ROOT = "s3://lake_keys@team/x"' in text
    assert "#     connections (artifacts): lake_keys\n#     provider: apache-airflow-providers-amazon[s3fs]\n" in text
    assert "class Store" not in emitted(small, artifact_root="/artifacts")
    for each in (text, emitted(small)):
        top = [line for line in each.partition("with DAG(")[0].splitlines() if "import" in line]
        assert not [line for line in top if re.search("fsspec|ObjectStorage|airflow.io", line)]


@pytest.mark.slow
def test_the_same_source_gives_the_same_bytes_whatever_the_hash_seed() -> None:
    code = (
        "import sys; from penstock.compiler import compile_spec;"
        "from tests.backends.test_airflow import small, emitted;"
        "from penstock.spec import PipelineSpec; text = emitted(small); again = PipelineSpec.model_validate_json("
        "small.spec.model_dump_json()); assert list(compile_spec(again, 'airflow').values()) == [text];"
        "sys.stdout.write(text)"
    )
    root = Path(__file__).parents[2]
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=root,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(texts) == 1


# --- what is refused --------------------------------------------------------------------------------------------------


def refused(a_pipeline: Any) -> list[str]:
    with pytest.raises(CompileError) as caught:
        a_pipeline.compile("airflow")
    assert all(each.location and each.fix for each in caught.value.diagnostics)
    return [each.code for each in caught.value.diagnostics]


def test_a_scheduled_pipeline_needs_defaults() -> None:
    @pipeline(schedule=Schedule("0 0 * * *"))
    def scheduled(start: int) -> int:
        return one(start)

    @pipeline(triggers=DataChange("s3://lake/rows"))
    def waiting(start: int) -> int:
        return one(start)

    assert refused(scheduled) == refused(waiting) == ["P507"]


@pytest.mark.parametrize("uri", ["airflow://rows", "s3://lake/rows/", "s3://me@lake/rows", f"s3://{'r' * 1500}"])
def test_data_whose_name_airflow_would_change_is_refused(uri: str) -> None:
    @pipeline(updates=uri)
    def loading() -> int:
        return one()

    assert refused(loading) == ["P534"]


def test_ids_and_tags_that_airflow_finds_too_long_are_refused() -> None:
    @pipeline(name="p" * 251, tags=["t" * 101])
    def long() -> int:
        return one.with_options(name="n" * 251)()

    assert refused(long) == ["P530", "P530", "P531"]


def test_a_default_of_another_type_is_refused() -> None:
    wrong = ParameterSpec(name="start", type=INT, required=False, default="one")
    spec = small.spec.model_copy(update={"parameters": (wrong,)})
    (problem,) = AirflowBackend().limits(spec, AirflowOptions())
    assert problem.code == "P533"
    assert problem.location
    assert '"one" is not int' in problem.message


# --- user text --------------------------------------------------------------------------------------------------------


@given(st.text())
def test_any_text_is_a_literal_that_reads_as_it(text: str) -> None:
    assert ast.literal_eval(text_literal(text)) == text
    assert text_literal(text).isprintable() or not text.isprintable()
    assert "\n" not in text_literal(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.slow
@given(JSON, st.integers(0, 12), st.integers(0, 100))
def test_any_data_is_a_literal_that_reads_as_it(value: Any, indent: int, before: int) -> None:
    assert ast.literal_eval(literal(value, indent, before)) == value


@given(st.text())
@settings(max_examples=200)
def test_any_docstring_is_one_text(text: str) -> None:
    tree = ast.parse(f"def f():\n    {docstring(text, 4)}\n    return 1\n")
    assert len(tree.body) == 1
    assert len(tree.body[0].body) == 2  # type: ignore[attr-defined]


@step(env={"MARKS": "{{ ds }} {% raw %}"})
def told(text: str, marks: list[str]) -> list[str]:
    """{{ ds }} {% raw %} ''' \\ \\N{DASH} end.md"""
    return [text, *marks, os.environ["MARKS"]]


@pipeline
def hostile(text: str = HOSTILE) -> list[str]:
    """A note on {{ ds }} \u202e and end.md"""
    return told(text, [HOSTILE, one.__name__])


@pytest.mark.engine
@pytest.mark.xdist_group("airflow")
@pytest.mark.parametrize("major", MAJORS)
def test_template_marks_and_quotes_reach_the_step_as_they_are(major: int, tmp_path: Path) -> None:
    ran = airflow(major).dag_test(emitted(hostile, major), environ=root_at(tmp_path))
    assert (ran.import_errors, ran.state) == ({}, "success"), ran.log
    assert json.loads(ran.xcoms["told", -1, "return_value"]) == [HOSTILE, HOSTILE, "one", "{{ ds }} {% raw %}"]


# --- parameters -------------------------------------------------------------------------------------------------------

INT, FLOAT, STR = (TypeSpec(kind=kind, text=kind.value) for kind in (TypeKind.INT, TypeKind.FLOAT, TypeKind.STR))
TYPES: dict[TypeKind, tuple[TypeSpec, st.SearchStrategy[Any]]] = {
    TypeKind.NONE: (TypeSpec(kind=TypeKind.NONE), st.none()),
    TypeKind.BOOL: (TypeSpec(kind=TypeKind.BOOL), st.booleans()),
    TypeKind.INT: (INT, st.integers()),
    TypeKind.FLOAT: (FLOAT, st.floats()),
    TypeKind.STR: (STR, st.text(st.characters(exclude_categories=["Cs"]))),
    TypeKind.BYTES: (TypeSpec(kind=TypeKind.BYTES), st.binary()),
    TypeKind.DATETIME: (
        TypeSpec(kind=TypeKind.DATETIME),
        st.datetimes(timezones=st.sampled_from([None, dt.timezone.utc, dt.timezone(dt.timedelta(hours=-3))])),
    ),
    TypeKind.DATE: (TypeSpec(kind=TypeKind.DATE), st.dates()),
    TypeKind.TIME: (TypeSpec(kind=TypeKind.TIME), st.times()),
    TypeKind.TIMEDELTA: (TypeSpec(kind=TypeKind.TIMEDELTA), st.timedeltas()),
    TypeKind.DECIMAL: (TypeSpec(kind=TypeKind.DECIMAL), st.decimals(allow_nan=False)),
    TypeKind.UUID: (TypeSpec(kind=TypeKind.UUID), st.uuids()),
    TypeKind.ENUM: (
        TypeSpec(kind=TypeKind.ENUM, name=f"{__name__}:Mode", members=("FAST", "EXACT"), values=(1, "e")),
        st.sampled_from(Mode),
    ),
    TypeKind.LITERAL: (
        TypeSpec(kind=TypeKind.LITERAL, values=(1, True, "a", None)),
        st.sampled_from([1, True, "a", None]),
    ),
}


def combined(
    inner: st.SearchStrategy[tuple[TypeSpec, st.SearchStrategy[Any]]],
) -> st.SearchStrategy[tuple[TypeSpec, st.SearchStrategy[Any]]]:
    def of(kind: TypeKind, *args: TypeSpec, **more: Any) -> TypeSpec:
        return TypeSpec(kind=kind, args=args, **more)

    keys = st.sampled_from([TYPES[TypeKind.STR], TYPES[TypeKind.INT], TYPES[TypeKind.DATE]])
    return st.one_of(
        inner.map(lambda item: (of(TypeKind.LIST, item[0]), st.lists(item[1], max_size=3))),
        inner.map(lambda item: (of(TypeKind.TUPLE, item[0], variadic=True), st.lists(item[1], max_size=3).map(tuple))),
        st.sampled_from([INT, FLOAT, STR, TYPES[TypeKind.DATE][0]]).flatmap(
            lambda item: st.sampled_from([(TypeKind.SET, st.sets), (TypeKind.FROZENSET, st.frozensets)]).map(
                lambda made: (of(made[0], item), made[1](TYPES[item.kind][1], max_size=3))
            )
        ),
        st.tuples(inner, inner).map(
            lambda two: (of(TypeKind.TUPLE, two[0][0], two[1][0]), st.tuples(two[0][1], two[1][1]))
        ),
        st.tuples(keys, inner).map(
            lambda two: (of(TypeKind.DICT, two[0][0], two[1][0]), st.dictionaries(two[0][1], two[1][1], max_size=3))
        ),
        inner.map(lambda item: (of(TypeKind.UNION, item[0], TYPES[TypeKind.NONE][0]), item[1] | st.none())),
        inner.map(
            lambda item: (
                TypeSpec(
                    kind=TypeKind.TYPEDDICT,
                    name="x:Y",
                    fields=(FieldSpec(name="a", type=item[0]), FieldSpec(name="b", type=INT)),
                ),
                st.fixed_dictionaries({"a": item[1], "b": st.integers(-9, 9)}),
            )
        ),
    )


@st.composite
def typed_values(draw: st.DrawFn) -> tuple[TypeSpec, Any]:
    type_, strategy = draw(st.recursive(st.sampled_from(list(TYPES.values())), combined, max_leaves=4))
    return type_, draw(strategy)


@pytest.mark.slow
@given(typed_values())
@settings(max_examples=500, deadline=None)
def test_a_default_is_shown_plainly_passes_its_schema_and_is_read_back_exactly(typed: tuple[TypeSpec, Any]) -> None:
    type_, value = typed
    shown = plain(json.loads(json.dumps(encode(value))), type_)
    jsonschema.Draft202012Validator(
        schema_of(type_, is_tagged(shown)), format_checker=jsonschema.FormatChecker()
    ).validate(shown)
    read = coerce(json.loads(json.dumps(shown)), type_.model_dump(mode="json", exclude_defaults=True))
    assert json.dumps(encode(read)) == json.dumps(encode(value))


def test_choices_and_shapes_are_in_the_schema_for_the_trigger_form() -> None:
    @pipeline
    def asking(
        size: int = 3,
        mode: Mode = Mode.EXACT,
        kind: Literal["a", "b"] = "a",
        maybe: int | None = None,
        config: Config = Config(),
        day: dt.date = dt.date(2024, 2, 29),
        price: decimal.Decimal = decimal.Decimal("1.10"),
        big: int = 2**53 + 1,
    ) -> int:
        return one([size, mode, kind, maybe, config, day, price, big])

    text = emitted(asking)
    assert '"size": Param(3, type="integer"),' in text
    assert '"mode": Param("EXACT", enum=["FAST", "EXACT"]),' in text
    assert '"kind": Param("a", enum=["a", "b"]),' in text
    assert '"maybe": Param(None, type=["integer", "null"]),' in text
    assert '"day": Param("2024-02-29", type="string", format="date"),' in text
    assert '"price": Param("1.10", type=["string", "integer"]),' in text
    assert '"big": Param({"$int": "9007199254740993"}, type=["integer", "object"]),' in text
    assert '{"depth": 3, "names": ["a"], "made": 6}' in text


@step
def shown(config: Config, big: int, rate: float, mode: Mode) -> list[str]:
    return [repr(config), repr(big), repr(rate), repr(mode)]


@pipeline
def exact(config: Config = Config(5), big: int = 2**53 + 1, rate: float = -0.0, mode: Mode = Mode.FAST) -> list[str]:
    return shown(config, big, rate, mode)


@pytest.mark.engine
@pytest.mark.xdist_group("airflow")
@pytest.mark.parametrize("major", MAJORS)
def test_defaults_are_exact_and_wrong_values_start_nothing(major: int, tmp_path: Path) -> None:
    engine, text = airflow(major), emitted(exact, major)
    ran = engine.dag_test(text, environ=root_at(tmp_path))
    assert json.loads(ran.xcoms["shown", -1, "return_value"]) == exact(), ran.log
    given = {"config": {"depth": 1}, "big": 7, "rate": "nan", "mode": "EXACT"}
    ran = engine.dag_test(text, given, environ=root_at(tmp_path))
    expected = exact(Config(1), 7, float("nan"), Mode.EXACT)
    assert json.loads(ran.xcoms["shown", -1, "return_value"]) == expected, ran.log
    assert "ParamValidationError" in engine.dag_test(text, {"mode": "SLOW"}, environ=root_at(tmp_path)).crash


# --- on Airflow -------------------------------------------------------------------------------------------------------


def root_at(folder: Path) -> dict[str, str]:
    return {"AIRFLOW_VAR_ARTIFACT_ROOT": str(folder / "artifacts")}


@pytest.mark.engine
@pytest.mark.xdist_group("airflow")
@pytest.mark.parametrize("major", MAJORS)
def test_airflow_parses_and_serialises_it_without_an_error_or_a_warning(major: int) -> None:
    engine = airflow(major)
    for a_pipeline in (small, hostile, exact, structured, refresh, signing):
        text = emitted(a_pipeline, major)
        seen = engine.parse({f"{a_pipeline.name}.py": text})
        assert (seen.import_errors, seen.warnings, seen.dag_ids) == ({}, (), (a_pipeline.name,))
        assert engine.lint(text) == []


@pytest.mark.engine
@pytest.mark.xdist_group("airflow")
@pytest.mark.parametrize("major", MAJORS)
def test_no_argument_takes_the_place_of_something_in_airflows_context(major: int) -> None:
    code = {
        3: "from airflow.sdk.definitions.context import KNOWN_CONTEXT_KEYS as keys",
        2: "from airflow.utils.context import KNOWN_CONTEXT_KEYS as keys",
    }[major]
    asked = subprocess.run(
        [environment(f"airflow{major}").python, "-c", f"{code}; print(*keys)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(asked.stdout.split()) <= CONTEXT


@step
def takes(name: int, ti: int, params: int, task: int, self: int, conf: int, values: int) -> int:
    return name + ti + params + task + self + conf + values


@step
def halves() -> Halves:
    return Halves(2, "m", None)


@step
def joined(first: int, second: str, third: None, whole: Halves) -> str:
    return f"{first}{second}{third}{whole}"


def every_name_in_the_file() -> list[str]:
    text = emitted(small).partition("ATTEMPT =")[0]
    found = {each.id for each in ast.walk(ast.parse(text)) if isinstance(each, ast.Name)}
    found |= {each.name for each in ast.walk(ast.parse(text)) if isinstance(each, (ast.FunctionDef, ast.ClassDef))}
    return sorted(found | FILE)


@pipeline
def names(nothing: list[int] = []) -> tuple[int, str]:  # never changed
    every = every_name_in_the_file()
    counted = [one.with_options(name=name)() for name in every[:7]]
    for _ in nothing:  # a name is taken all the same; a task that runs needs what the file means by all of them
        for name in every[7:]:
            one.with_options(name=name)()
    parts = halves()
    whole = joined(parts.return_value, parts.step_metrics, parts.naïve, parts)
    return takes(*counted), whole


@pytest.mark.engine
@pytest.mark.xdist_group("airflow")
@pytest.mark.parametrize("major", MAJORS)
def test_nodes_inputs_and_outputs_may_be_called_anything(major: int, tmp_path: Path) -> None:
    ran = airflow(major).dag_test(emitted(names, major), environ=root_at(tmp_path))
    assert (ran.import_errors, ran.state) == ({}, "success"), ran.log
    assert json.loads(ran.xcoms["takes", -1, "return_value"]) == 7
    assert json.loads(ran.xcoms["joined", -1, "return_value"]) == f"2mNone{Halves(2, 'm', None)}"
    assert json.loads(ran.xcoms["halves", -1, xcom_key("return_value")]) == 2


@step(retry=Retry(3, delay=0.5, backoff=3, max_delay=2))
def at_last(folder: str) -> list[int]:
    with Path(folder, "began").open("a") as file:
        file.write(f"{current_attempt()} {time.time()}\n")
    (checkpoint_dir() / str(current_attempt())).touch()
    if current_attempt() < 4:
        raise ValueError(f"attempt {current_attempt()}")
    return sorted(int(each.name) for each in checkpoint_dir().iterdir())


@pipeline
def retried(folder: str) -> list[int]:
    return at_last(folder)


def test_checkpoints_are_kept_only_where_a_step_asks_for_them() -> None:
    keeping, plain = (emitted(each).partition("SOURCES =")[0] for each in (retried, small))
    assert "checkpoints" in keeping
    assert "checkpoints" not in plain


@pytest.mark.engine
@pytest.mark.xdist_group("airflow")
@pytest.mark.parametrize("major", MAJORS)
def test_attempts_are_numbered_and_their_delays_exact(major: int, tmp_path: Path) -> None:
    ran = airflow(major).dag_test(emitted(retried, major), {"folder": str(tmp_path)}, environ=root_at(tmp_path))
    assert (ran.state, ran.tries["at_last", -1]) == ("success", 4), ran.log
    began = [line.split() for line in (tmp_path / "began").read_text().splitlines()]
    assert [number for number, _ in began] == ["1", "2", "3", "4"]
    moments = [float(moment) for _, moment in began]
    waits = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert json.loads(ran.xcoms["at_last", -1, "return_value"]) == [1, 2, 3, 4]
    assert list((tmp_path / "artifacts").rglob("checkpoints")) == []  # it goes with success
    # `dag.test` looks every second, and an attempt takes a while to start.
    assert all(delay <= wait < delay + 2.5 for delay, wait in zip([0.5, 1.5, 2.0], waits, strict=True)), waits


@step
def measured() -> int:
    log_metric("accuracy", 0.75)
    log_metadata(unit="rows", loss=float("inf"))
    return 1


@pipeline
def metered() -> int:
    return measured()


@pytest.mark.engine
@pytest.mark.xdist_group("airflow")
@pytest.mark.parametrize("major", MAJORS)
def test_metrics_and_metadata_stand_in_the_log_and_in_xcom(major: int, tmp_path: Path) -> None:
    ran = airflow(major).dag_test(emitted(metered, major), environ=root_at(tmp_path))
    assert json.loads(ran.xcoms["measured", -1, "step_metrics"]) == {"accuracy": 0.75}
    assert "metric accuracy = 0.75" in ran.log
    known = {"output": {"unit": "rows", "loss": {"$float": "inf"}}}
    assert json.loads(ran.xcoms["measured", -1, "step_metadata"]) == known
    assert f"metadata of output: {json.dumps(known['output'])}" in ran.log


@pipeline
def beside_an_empty_loop(count: int = 0) -> int:
    broken = checked(1, 1)
    return total([plus(number, broken) for number in number_list(count)])


@pipeline
def beside_the_other_arm(floor: int = 2) -> int:
    broken = checked(1, 1)
    good = one()
    result = plus(broken, 1) if good > floor else plus(good, 1)
    return plus(result, 3)


@pytest.mark.engine
@pytest.mark.xdist_group("airflow")
@pytest.mark.parametrize("major", MAJORS)
def test_a_failure_holds_up_only_what_needs_it_and_fails_the_run(major: int, tmp_path: Path) -> None:
    def states(a_pipeline: Any, **given: int) -> dict[str, str]:
        ran = airflow(major).dag_test(emitted(a_pipeline, major), given, environ=root_at(tmp_path))
        assert ran.state == "failed", ran.log
        return {id_: state for (id_, _), state in ran.tasks.items()}

    # Airflow calls a task upstream_failed that it never maps for want of items.
    assert states(beside_an_empty_loop)["total"] == "success"
    assert states(beside_an_empty_loop, count=1)["total"] == "upstream_failed"
    assert states(beside_the_other_arm)["plus_3"] == "success"
    assert states(beside_the_other_arm, floor=0)["plus_3"] == "failed"


def test_only_a_merge_that_may_run_beside_a_failure_waits_for_all() -> None:
    @pipeline
    def merged() -> int:
        good = one()
        result = plus(good, 5) if good > 2 else plus(good, 1)
        return plus(result, 3)

    assert "all_done" not in head(emitted(merged))
    assert '@task(trigger_rule="all_done")\n    def plus_3(a):' in emitted(beside_the_other_arm)


@step
def several() -> Reserved:
    return Reserved(1, 2, 3)


@pipeline(on_exit=one.with_options(name="tasks"))
def crowded(count: int = 2) -> int:
    """Nodes called as the file calls what it adds."""
    found = []
    for number in number_list(count):
        index = one.with_options(name="index")(number)
        for_body = one.with_options(name="for_body")(index)
        cells = [
            one.with_options(name="cell")(each) for each in number_list.with_options(name="for_body_group")(for_body)
        ]
        found.append(total.with_options(name="for_2_places")(cells))
    parts = several()
    watcher = one.with_options(name="watcher")(found)
    assert watcher > 0
    return total.with_options(name="call")([watcher, parts.gates, parts.step_error, parts.step_state])


@pytest.mark.engine
@pytest.mark.xdist_group("airflow")
@pytest.mark.parametrize("major", MAJORS)
def test_what_the_file_adds_gives_way_to_the_authors_names(major: int, tmp_path: Path) -> None:
    ran = airflow(major).dag_test(emitted(crowded, major), environ=root_at(tmp_path))
    assert (ran.import_errors, ran.warnings, ran.state) == ({}, (), "success"), ran.log
    assert json.loads(ran.xcoms["call", -1, "return_value"]) == 7


# --- how a step runs, on a stand-in for Airflow ----------------------------------------------------------------------

STAND_IN = '''
"""As much of airflow.sdk as a DAG file needs to be imported, and one task of it to be run."""
import contextlib


class Anything:
    def __getattr__(self, name):
        return Anything()

    def __call__(self, *args, **kwargs):
        return Anything()

    def __getitem__(self, key):
        return Anything()

    def __rshift__(self, other):
        return Anything()

    __rrshift__ = __rshift__

    def __iter__(self):
        return iter(())


@contextlib.contextmanager
def DAG(**arguments):
    yield Anything()


TaskGroup = lambda *args, **kwargs: contextlib.nullcontext()
Param = Anything()
RetryPolicy = object


class RetryDecision:
    retry = staticmethod(lambda delay: delay.total_seconds())


def task(function=None, **options):
    return (lambda function: Anything()) if function is None else Anything()


task_group = task


CONTEXT = {}


def get_current_context():
    return CONTEXT
'''


@dataclass
class FakeInstance:
    task_id: str
    dag_id: str = "dag"
    run_id: str = "manual__2025-01-01T00:00:00+00:00"
    map_index: int = -1
    try_number: int = 1
    max_tries: int = 0
    task: Any = field(default_factory=lambda: types.SimpleNamespace(retries=0))
    pushed: dict[str, Any] = field(default_factory=dict)
    known: dict[tuple[str, int, str], Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def xcom_pull(self, task_ids: str, map_indexes: int, key: str = "return_value") -> Any:
        return self.known.get((task_ids, map_indexes, key))


@dataclass
class Worker:
    """A DAG file imported on the stand-in; `run` runs one task of it as a worker would."""

    module: Any
    sdk: Any
    root: Path

    def run(self, task_id: str, **values: Any) -> Any:
        instance = values.pop("ti", None) or FakeInstance(task_id)
        variables = {"artifact_root": str(self.root)}
        started = values.pop("started", dt.datetime.now(dt.timezone.utc))
        run = types.SimpleNamespace(conf=values.pop("conf", None), start_date=started)
        params = values.pop("params", {})
        self.sdk.CONTEXT.update({"ti": instance, "var": {"value": variables}, "dag_run": run, "params": params})
        return self.module.run_step(task_id, **values)

    @property
    def failed_for_good(self) -> Any:
        return sys.modules["airflow.sdk.exceptions"].AirflowFailException

    @property
    def skipped(self) -> Any:
        return sys.modules["airflow.sdk.exceptions"].AirflowSkipException

    def files(self) -> list[Path]:
        return sorted(each for each in self.root.rglob("*") if each.is_file())


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes a `Worker` for a pipeline."""
    folder = tmp_path / "stand-in"
    (folder / "airflow" / "sdk").mkdir(parents=True)
    (folder / "airflow" / "__init__.py").write_text("")
    (folder / "airflow" / "sdk" / "__init__.py").write_text(STAND_IN)
    (folder / "airflow" / "sdk" / "exceptions.py").write_text(
        "class AirflowFailException(Exception): pass\nclass AirflowSkipException(Exception): pass\n"
    )
    (folder / "airflow" / "configuration.py").write_text(
        "class conf:\n    def getint(section, key, fallback): return fallback\n"
    )
    (folder / "pendulum.py").write_text("def datetime(*args, **kwargs): pass\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))

    def make(a_pipeline: Any) -> Worker:
        module = types.ModuleType("dag_file")
        module.__file__ = str(folder / "dag_file.py")
        Path(module.__file__).write_text(emitted(a_pipeline))
        exec(compile(emitted(a_pipeline), module.__file__, "exec"), vars(module))
        return Worker(module, sys.modules["airflow.sdk"], tmp_path / "artifacts")

    yield make
    for name in [each for each in sys.modules if each.partition(".")[0] in ("airflow", "pendulum")]:
        del sys.modules[name]


@step
def long_text(size: int) -> str:
    return "é" * size


@step
def length(text: str) -> int:
    return len(text)


@pipeline
def large(size: int = 500_000) -> int:
    return length(long_text(size))


def test_a_large_value_travels_as_a_file_unseen_by_the_author(worker: Any) -> None:
    at = worker(large)
    told = at.run("long_text", size=500_000)
    assert len(told) < 1000
    assert len(at.files()) == 1
    assert at.run("length", text=told) == "500000"
    assert json.loads(at.run("long_text", size=3)) == "ééé"
    assert len(at.files()) == 1


def test_a_parameter_that_the_dag_does_not_have_is_refused(worker: Any) -> None:
    at = worker(large)
    with pytest.raises(at.module.StepFailed, match="the DAG has no parameter sise; it has: size"):
        at.run("long_text", size=3, conf={"sise": 3})


def test_two_runs_of_one_try_do_not_meet_on_disk(worker: Any) -> None:
    at = worker(large)
    assert at.run("long_text", size=500_000) != at.run("long_text", size=500_000)
    assert len(at.files()) == 2


def test_a_file_that_this_worker_does_not_see_is_named(worker: Any) -> None:
    at = worker(large)
    told = at.run("long_text", size=500_000)
    at.files()[0].unlink()
    with pytest.raises(at.module.StepFailed, match=r"which `long_text` wrote, is not here: workers must share"):
        at.run("length", text=told)


@step
def half_written(folder: str) -> Path:
    Path("x").mkdir()
    if current_attempt() == 1:
        os._exit(3)
    return Path("x")


@pipeline
def half(folder: str = "") -> Path:
    return half_written(folder)


def test_a_failed_attempt_leaves_nothing_behind(worker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    at = worker(half)
    with pytest.raises(at.module.StepFailed, match="exit code 3 and no result"):
        at.run("half_written", folder="")
    assert at.files() == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_attempts_count_from_one_again_after_the_task_was_cleared(worker: Any) -> None:
    at = worker(retried)
    folder = at.root / "note"
    folder.mkdir(parents=True)
    four = types.SimpleNamespace(retries=3)
    again = FakeInstance("at_last", try_number=9, max_tries=8, task=four)
    assert again.try_number - again.max_tries + 3 == 4
    assert json.loads(at.run("at_last", folder=str(folder), ti=again)) == [4]
    policy = at.module.Backoff(retries=3, delay=0.5, factor=3, longest=2)
    assert [policy.evaluate(None, number, 8) for number in (6, 7, 8)] == [0.5, 1.5, 2]
    jittered = at.module.Backoff(retries=3, delay=1, jitter=0.5)
    waits = {jittered.evaluate(None, 1, 3) for _ in range(200)}
    assert 1 <= min(waits) < 1.1
    assert 1.4 < max(waits) <= 1.5


@step(gates=[Gate("output", ">", 5, message="too small"), Gate("accuracy", "<", 1)], retry=Retry(2))
def gated(value: int) -> int:
    log_metric("accuracy", 0.5)
    return value


@pipeline
def with_gates(value: int = 1) -> int:
    return gated(value)


def test_a_gate_fails_for_good_with_its_verdicts_and_the_outputs_to_be_seen(worker: Any) -> None:
    at = worker(with_gates)
    instance = FakeInstance("gated")
    with pytest.raises(at.failed_for_good, match=r"gate output > 5: failed \(output = 3\): too small"):
        at.run("gated", ti=instance, value=3)
    assert [each["passed"] for each in json.loads(instance.pushed["gates"])] == [False, True]
    assert instance.pushed["return_value"] == "3"
    passing = FakeInstance("gated")
    assert at.run("gated", ti=passing, value=7) == "7"
    assert [each["passed"] for each in json.loads(passing.pushed["gates"])] == [True, True]


@pipeline(timeout=0.5)
def bounded(note: str) -> int:
    return lasting(note)


def test_a_task_ends_with_the_time_of_its_run_and_begins_nothing_after_it(worker: Any, tmp_path: Path) -> None:
    at, note = worker(bounded), tmp_path / "pids"
    late = dt.datetime.now(dt.timezone.utc) - dt.timedelta(seconds=1)
    with pytest.raises(at.failed_for_good, match="the run exceeded its timeout"):
        at.run("lasting", note=str(note), started=late)
    assert not note.exists()


def test_what_a_task_needs_and_does_not_have_skips_it(worker: Any) -> None:
    at = worker(structured)
    known = {("if", -1, "return_value"): "false"}
    with pytest.raises(at.skipped, match="condition does not hold"):
        at.run("plus", ti=FakeInstance("plus", known=known), a="1")
    assert at.run("one", ti=FakeInstance("one", known=known), value="1") == "1"
    with pytest.raises(at.skipped):
        at.run("plus", ti=FakeInstance("plus"), a="1")


def test_an_item_is_the_one_of_this_place_in_every_loop_around(worker: Any) -> None:
    at = worker(structured)
    places = {("for_2_places", -1, "return_value"): [[1, 0], [2, 0], [2, 1]], ("for", -1, "return_value"): [0, 1, 2]}
    known = {
        **places,
        ("for_2", 1, "items"): "[40]",
        ("for_2", 2, "items"): "[50, 60]",
        ("for_2", 1, "return_value"): [0],
        ("for_2", 2, "return_value"): [0, 1],
    }
    for number, value in enumerate(("40", "50", "60")):
        instance = FakeInstance("checked", map_index=number, known=known)
        assert at.run("checked", ti=instance, params={"bad": -1, "count": 3}, bad=-1) == value
    at.sdk.CONTEXT["ti"] = FakeInstance("for_2_places", known=known)
    assert at.module.places_of("for_2") == [[1, 0], [2, 0], [2, 1]]
    at.sdk.CONTEXT["ti"] = FakeInstance("undo_places", known=known)
    assert at.module.places_of("undo") == [[2, 1], [2, 0], [1, 0]]


@step
def texts(size: int) -> list[str]:
    return ["é" * (size + number) for number in range(3)]


@pipeline
def over_large_items(size: int = 30_000) -> int:
    return total([length(text) for text in texts(size)])


@pytest.mark.slow
def test_items_too_large_for_xcom_together_are_looped_over_all_the_same(worker: Any) -> None:
    at = worker(over_large_items)
    listing = FakeInstance("for")
    listed = at.run("for", ti=listing, items=at.run("texts", size=30_000))
    assert listed == [0, 1, 2]
    assert len(listing.pushed["items"]) < 1000
    known = {("for", -1, "return_value"): listed, ("for", -1, "items"): listing.pushed["items"]}
    assert at.run("length", ti=FakeInstance("length", map_index=2, known=known)) == "30002"
    given = {("length", number, "return_value"): str(30_000 + number) for number in listed}
    assert at.run("total", ti=FakeInstance("total", known=known | given)) == "90003"
    del given["length", 1, "return_value"]
    assert at.run("total", ti=FakeInstance("total", known=known | given)) == "60002"


@step
def noisy() -> int:
    sys.stdout.buffer.write(b"\xff no text\n" + b"x" * 300_000 + b"\nlast")
    return 1


@pipeline
def noise() -> int:
    return noisy()


def test_whatever_a_step_prints_is_logged_line_by_line(worker: Any, caplog: pytest.LogCaptureFixture) -> None:
    at = worker(noise)
    with caplog.at_level("INFO"):
        at.run("noisy")
    lines = [each.getMessage() for each in caplog.records]
    assert lines[0] == "\\xff no text"
    assert lines[-1] == "last"
    assert "".join(lines[1:-1]) == "x" * 300_000


@step
def lacking() -> int:
    import penstock_no_such_module  # type: ignore[import-not-found]

    return int(penstock_no_such_module.x)


@pipeline
def unmet() -> int:
    return lacking.with_options(packages=[])()


def test_a_missing_package_is_told_with_what_the_step_was_made_to_find(worker: Any) -> None:
    at = worker(unmet)
    at.module.environment = lambda packages: sys.executable
    with pytest.raises(at.module.StepFailed, match=r"No module named.*made to find: the standard library alone"):
        at.run("lacking")


@step
def lasting(note: str) -> int:
    child = subprocess.Popen(
        [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(90)"],
        start_new_session=True,
    )
    Path(note).write_text(f"{os.getpid()} {child.pid}")
    time.sleep(90)
    return 1


@pipeline
def endless(note: str) -> int:
    return lasting(note)


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_step_started_ends_with_the_task_even_if_that_is_killed(worker: Any, tmp_path: Path, how: int) -> None:
    at, note = worker(endless), tmp_path / "pids"
    task = os.fork()
    if task == 0:
        if how == signal.SIGTERM:
            signal.signal(how, lambda *_: sys.exit(1))  # as Airflow 2 does: an exception in the task
        with contextlib.suppress(BaseException):
            at.run("lasting", note=str(note))
        os._exit(0)
    until(lambda: note.exists() and len(note.read_text().split()) == 2)
    pids = [int(pid) for pid in note.read_text().split()]
    os.kill(task, how)
    os.waitpid(task, 0)
    until(lambda: not any(map(alive, pids)))


def until(condition: Any, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@step
def where() -> str:
    import six  # type: ignore[import-untyped]

    return f"{six.__version__} {sys.prefix}"


@pipeline
def packaged() -> str:
    return where.with_options(packages=["six==1.17.0"])()


@pytest.mark.slow
def test_explicit_packages_are_installed_once_into_an_environment_of_their_own(worker: Any, tmp_path: Path) -> None:
    at = worker(packaged)
    first = json.loads(at.run("where"))
    version, prefix = first.split()
    made = Path(prefix, "pyvenv.cfg").stat()
    assert json.loads(at.run("where")) == first
    again = Path(prefix, "pyvenv.cfg").stat()
    assert (again.st_ino, again.st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    assert version == "1.17.0"
    assert Path(prefix).parent == tmp_path / "home" / "environments"


@pytest.mark.slow
def test_packages_that_cannot_be_installed_are_told(worker: Any) -> None:
    @pipeline
    def impossible() -> str:
        return where.with_options(packages=["six==0.0.0.1"])()

    at = worker(impossible)
    with pytest.raises(at.module.StepFailed, match=r"six==0.0.0.1 could not be installed; the log says why"):
        at.run("where")
