from __future__ import annotations

import ast
import datetime as dt
import decimal
import enum
import importlib.util
import json
import os
import re
import string
import subprocess
import sys
import tarfile
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from penstock import (
    CompileError,
    Gate,
    Resources,
    Retry,
    RunStatus,
    Schedule,
    current_attempt,
    flow,
    log_metadata,
    log_metric,
    pipeline,
    step,
)
from penstock.harness import StepError
from penstock_backends.github import actions
from penstock_backends.github.cron import cron_problem
from penstock_backends.github.names import input_ids, job_id
from penstock_backends.github.text import block, expression, scalar
from tests.engines.environments import PYTHON
from tests.engines.github import github

HOSTILE = "a: b # ${{ secrets.X }} $(id) `id` \"q\" 'q' \\ \u00e9 [%"


class Mode(enum.Enum):
    FAST = 1
    NaN = 2
    true = 3


@dataclass(frozen=True)
class Config:
    depth: int = 3
    rate: float = 0.1


@step
def one(value: object = 1) -> int:
    return 1


@step
def plus(a: int, b: int) -> int:
    return a + b


@pipeline(schedule=Schedule("30 2 * * 1", timezone="Europe/Berlin"))
def small(start: int = 1) -> int:
    """Adds.

    And adds again."""
    first = one(start)
    second = one.with_options(name="second", after=first)(start)
    return plus(first, second)


def workflow_of(files: dict[str, str]) -> dict[str, Any]:
    text = next(text for path, text in files.items() if path.endswith(".yml"))
    found = yaml.safe_load(text)
    return {"on" if key is True else key: value for key, value in found.items()}


def program_of(files: dict[str, str], folder: Path) -> types.ModuleType:
    path = folder / "emitted.py"
    path.write_text(next(text for path, text in files.items() if path.endswith(".py")))
    spec = importlib.util.spec_from_file_location("emitted", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["emitted"] = module
    spec.loader.exec_module(module)
    return module


# --- the workflow -----------------------------------------------------------------------------------------------------


def test_a_workflow_and_the_program_beside_it_are_all_there_is() -> None:
    assert list(small.compile("github")) == [".github/workflows/small.yml", ".github/penstock/small.py"]


def test_each_task_is_a_job_that_waits_for_what_it_depends_on() -> None:
    jobs = workflow_of(small.compile("github"))["jobs"]
    assert {name: job.get("needs") for name, job in jobs.items()} == {
        "one": None, "second": ["one"], "plus": ["one", "second"]
    }  # fmt: skip


def test_a_job_fetches_the_outputs_it_takes_and_no_others() -> None:
    jobs = workflow_of(small.compile("github"))["jobs"]
    fetched = {
        name: [step["with"] for step in job["steps"] if "download" in step.get("uses", "")]
        for name, job in jobs.items()
    }
    assert fetched["second"] == []
    assert fetched["plus"] == [{"pattern": "{one,second}", "path": "penstock/inputs", "merge-multiple": True}]


def test_a_workflow_may_do_nothing_but_read_the_repository() -> None:
    workflow = workflow_of(small.compile("github"))
    assert workflow["permissions"] == {}
    assert {json.dumps(job["permissions"]) for job in workflow["jobs"].values()} == {'{"contents": "read"}'}
    checkouts = [
        step for job in workflow["jobs"].values() for step in job["steps"] if "checkout" in step.get("uses", "")
    ]
    assert len(checkouts) == 3
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_every_action_is_pinned_to_the_commit_of_a_named_release() -> None:
    text = small.compile("github", cache=True)[".github/workflows/small.yml"]
    pinned = {f"{each.name}@{each.commit} # {each.version}" for each in actions.ACTIONS}
    used = set(re.findall(r"uses: (.*)", text))
    assert used == pinned
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each) for each in used)


def test_no_shell_command_holds_an_expression_or_a_word_of_the_author() -> None:
    files = hostile.compile("github")
    for name, job in workflow_of(files)["jobs"].items():
        for each in job["steps"]:
            known = ("printf '%s\\n' \"$REQUIREMENTS\" | python", f"python -u .github/penstock/hostile.py run {name}")
            assert each.get("run", "python").startswith(("python", *known))
            assert "${{" not in each.get("run", "")


def test_a_schedule_keeps_its_time_zone() -> None:
    assert workflow_of(small.compile("github"))["on"]["schedule"] == [
        {"cron": "30 2 * * 1", "timezone": "Europe/Berlin"}
    ]


def test_the_description_of_a_pipeline_is_a_comment_in_its_workflow() -> None:
    text = small.compile("github")[".github/workflows/small.yml"]
    assert "\n# Adds.\n#\n# And adds again.\n" in text


@pytest.mark.slow
def test_the_same_pipeline_gives_the_same_bytes_whatever_the_hash_seed() -> None:
    program = (
        "import sys, hashlib, json; sys.path[:0] = json.loads(sys.argv[1])\n"
        "from penstock.compiler import load_spec, compile_spec\n"
        "files = compile_spec(load_spec(sys.stdin.read()), 'github')\n"
        "print(hashlib.sha256(json.dumps(files).encode()).hexdigest())\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program, json.dumps(sys.path)],
            input=hostile.spec.model_dump_json(),
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(digests) == 1


# --- user text --------------------------------------------------------------------------------------------------------


IMAGE = f"i/${{{{ x }}}}:1@sha256:{'0123456789abcdef' * 4}"


@step(packages=["x @ https://e.invalid/${{ a }}?'b'"], env={"A": HOSTILE}, image=IMAGE)
def marked() -> str:
    return HOSTILE


@pipeline
def hostile(
    text: Annotated[str, HOSTILE] = HOSTILE,
    lines: Annotated[str, "two\nlines ${{ github.token }}"] = "one\n'two'\n",
    choice: Literal["a: b", "${{ x }}", "no"] = "no",
) -> str:
    one(choice)
    one.with_options(name="two", packages=["a==1", "b>2; python_version<'3.13'"])([text, lines])
    return marked()


@given(st.text())
def test_a_text_comes_out_of_yaml_as_it_went_in(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    assert yaml.safe_load(f"x: {scalar(text)}\n") == {"x": text.replace("${{", "${{ '${{' }}")}


@pytest.mark.parametrize(
    "text", ["1e3", "0o17", "0x1F", "1_000", ".inf", "~", "null", "No", "on", "=", "2024-01-01", "1:30"]
)
def test_a_text_that_some_reader_takes_for_something_else_is_quoted(text: str) -> None:
    assert scalar(text)[0] in "\"'"


@given(st.lists(st.text(), min_size=1))
def test_lines_come_out_of_a_block_as_they_went_in(lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    read = yaml.safe_load(f"x:\n  y: {block(lines, 4)}\n")
    assert read == {"x": {"y": text.replace("${{", "${{ '${{' }}")}}


def test_expression_marks_of_the_author_stand_in_no_place_where_github_takes_none() -> None:
    on = workflow_of(hostile.compile("github"))["on"]
    assert "${{" not in json.dumps(on)


# --- names ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.text(alphabet=string.ascii_letters + "_-.0é", min_size=1), unique=True))
def test_job_ids_are_what_github_takes_and_differ_in_more_than_case(names: list[str]) -> None:
    ids = [job_id(name) for name in names]
    assert len({each.lower() for each in ids}) == len(ids)
    assert all(re.fullmatch(r"(?!__)[A-Za-z_][A-Za-z0-9_-]{0,98}", each) for each in ids)


def test_an_ordinary_name_stays_and_a_nested_one_keeps_its_parts() -> None:
    assert (job_id("train_2"), job_id("prepare.load")) == ("train_2", "prepare-load")


def test_a_long_name_is_cut_and_still_its_own() -> None:
    one_id, other = job_id("a" * 300), job_id("a" * 301)
    assert len(one_id) < 100
    assert one_id != other


def test_parameters_that_differ_in_case_alone_have_inputs_of_their_own() -> None:
    ids = input_ids(("c", "C", "X"))
    assert (ids["c"], ids["X"]) == ("c", "X")
    assert ids["C"].lower() not in ("c", "x")


# --- parameters -------------------------------------------------------------------------------------------------------


@pipeline
def typed(
    flag: bool = False,
    count: int = 0,
    big: int = 2**53 + 1,
    huge: int = 10**30,
    ratio: float = 0.25,
    exact: float = 0.1 + 0.2,
    minus: float = -0.0,
    endless: float = float("-inf"),
    text: str = "",
    number: str = "1",
    quoted: str = '"1"',
    marked: str = "${{ github.token }}",
    lines: str = " a\nb\u2028",
    maybe: int | None = None,
    either: str | int = "1",
    mode: Mode = Mode.NaN,
    choice: Literal["a", "1", 2] = 2,
    both: Literal["1", 1] = 1,
    config: Config = Config(),
    price: decimal.Decimal = decimal.Decimal("1.10"),
    day: dt.date = dt.date(2026, 1, 2),
    moment: dt.datetime = dt.datetime(2026, 1, 2, 3, fold=1),  # one without a zone
    table: dict[str, tuple[int, ...]] = {"a ${{ x }}": (1, 2)},
) -> int:
    return one(config)


def test_dispatch_inputs_have_the_type_that_keeps_the_value() -> None:
    inputs = workflow_of(typed.compile("github"))["on"]["workflow_dispatch"]["inputs"]
    assert {name: (each["type"], each["default"]) for name, each in inputs.items()} == {
        "flag": ("boolean", False),
        "count": ("number", 0),
        "big": ("string", "9007199254740993"),
        "huge": ("string", "1000000000000000000000000000000"),
        "ratio": ("number", 0.25),
        "exact": ("string", "0.30000000000000004"),
        "minus": ("string", "-0.0"),
        "endless": ("string", "-inf"),
        "text": ("string", ""),
        "number": ("string", "1"),
        "quoted": ("string", '"1"'),
        "marked": ("string", '"\\u0024{{ github.token }}"'),
        "lines": ("string", '" a\\nb\\u2028"'),
        "maybe": ("string", "null"),
        "either": ("string", '"1"'),
        "mode": ("choice", '"NaN"'),
        "choice": ("choice", "2"),
        "both": ("string", "1"),
        "config": ("string", json.dumps({"depth": 3, "rate": 0.1})),
        "price": ("string", '"1.10"'),
        "day": ("string", "2026-01-02"),
        "moment": ("string", '{"$datetime": ["2026-01-02T03:00:00", null, 1]}'),
        "table": ("string", '{"a \\u0024{{ x }}": [1, 2]}'),
    }
    assert inputs["mode"]["options"] == ["FAST", '"NaN"', '"true"']
    assert inputs["choice"]["options"] == ["a", "1", "2"]


def _name(cls: type) -> str:
    return f"{typed.spec.steps[0].id.partition(':')[0]}:{cls.__qualname__}"


def _started(program: types.ModuleType, monkeypatch: pytest.MonkeyPatch, folder: Path, inputs: dict[str, Any]) -> Any:
    event = folder / "event.json"
    event.write_text(json.dumps({"inputs": inputs}))
    monkeypatch.setenv("GITHUB_EVENT_NAME", "workflow_dispatch")
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(event))
    return program.started_with()


def test_the_defaults_that_the_form_shows_are_read_as_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = typed.compile("github")
    program = program_of(files, tmp_path)
    inputs = workflow_of(files)["on"]["workflow_dispatch"]["inputs"]
    shown = {
        name: json.dumps(each["default"]) if each["type"] in ("boolean", "number") else each["default"]
        for name, each in inputs.items()
    }
    started = _started(program, monkeypatch, tmp_path, shown)
    for parameter in typed.spec.parameters:
        kind = program.PARAMETERS[parameter.name]["type"]
        if "$dataclass" in repr(parameter.default) or "$enum" in repr(parameter.default):
            assert started[parameter.name] in (parameter.default, "NaN")
            continue
        if parameter.name == "both":
            continue  # as text, `"1"` and `1` are one
        read = program.encode(program.coerce(started[parameter.name], kind))
        assert json.dumps(read) == json.dumps(parameter.default)


@pytest.mark.parametrize("event", ["schedule", "push", ""])
def test_a_run_that_no_person_started_takes_the_exact_defaults(
    event: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = program_of(typed.compile("github"), tmp_path)
    monkeypatch.setenv("GITHUB_EVENT_NAME", event)
    assert program.started_with() == {each.name: each.default for each in typed.spec.parameters}


def test_false_zero_and_empty_texts_that_were_typed_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = program_of(typed.compile("github"), tmp_path)
    started = _started(program, monkeypatch, tmp_path, {"flag": "false", "count": "0", "ratio": "0", "marked": ""})
    assert [started[name] for name in ("flag", "count", "ratio", "marked")] == [False, 0, 0, ""]


def test_a_text_without_a_form_of_its_own_may_be_typed_plainly_or_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = program_of(typed.compile("github"), tmp_path)
    for typed_text, meant in (("plain", "plain"), ('"a\\nb"', "a\nb"), ('"', '"'), ("1", "1")):
        assert _started(program, monkeypatch, tmp_path, {"lines": typed_text})["lines"] == meant
    assert _started(program, monkeypatch, tmp_path, {"text": '"a"'})["text"] == '"a"'


def test_a_value_that_is_not_of_its_type_stops_every_first_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = program_of(typed.compile("github"), tmp_path)
    with pytest.raises(StepError.__mro__[1], match=r"parameter `count`: \"three\" is not int"):
        _started(program, monkeypatch, tmp_path, {"count": "three"})


# --- limits -----------------------------------------------------------------------------------------------------------


def refusal(of: Any, **options: Any) -> list[str]:
    with pytest.raises(CompileError) as caught:
        of.compile("github", **options)
    assert all(each.location and each.fix for each in caught.value.diagnostics)
    return [f"{each.code}: {each.message}" for each in caught.value.diagnostics]


@pipeline
def many_parameters(
    a: int, b: int, c: int, d: int, e: int, f: int, g: int, h: int, i: int, j: int, k: int, l: int, m: int, n: int,  # noqa: E741  # the whole alphabet
    o: int, p: int, q: int, r: int, s: int, t: int, u: int, v: int, w: int, x: int, y: int, z: int,
) -> int:  # fmt: skip
    return one(a)


def test_more_parameters_than_github_has_inputs_for_are_refused() -> None:
    assert refusal(many_parameters) == ["P540: `many_parameters` has 26 parameters; GitHub takes at most 25 inputs"]


@pipeline
def large_default(text: str = "x" * 70_000, other: str = "y") -> int:
    return one(text)


def test_defaults_too_long_for_a_form_are_refused() -> None:
    (said,) = refusal(large_default)
    assert said.startswith("P541: the defaults of `large_default` are 70,001 characters long (`text` alone 70,000)")


@pipeline(schedule="0 2 * * *")
def scheduled_without_default(url: str) -> int:
    return one(url)


def test_a_scheduled_pipeline_must_have_all_defaults() -> None:
    (said,) = refusal(scheduled_without_default)
    assert said == (
        "P507: `scheduled_without_default` has a schedule, but a run that no person starts has no value for `url`"
    )


@pytest.mark.parametrize(
    ("cron", "problem"),
    [
        ("*/5 * * * *", ""),
        ("0,30 1-5 * * MON", ""),
        ("58,3 * 1 1 *", ""),
        ("58 3 * * *", ""),
        ("* * * * *", "that is every 1 minutes"),
        ("*/7 * * * *", "that is every 4 minutes"),
        ("58,1 * * * *", "that is every 3 minutes"),
        ("58,1 2 * * *", ""),
        ("@daily", "five fields"),
        ("0 0 L * *", "five fields"),
        ("0 0 * * 1#2", "five fields"),
        ("99 0 * * *", "no list of minutes"),
        ("*/0 * * * *", "no list of minutes"),
    ],
)
def test_times_at_which_github_would_not_run_are_refused(cron: str, problem: str) -> None:
    assert problem in cron_problem(cron)
    assert bool(cron_problem(cron)) == bool(problem)


@pipeline(schedule="*/2 * * * *")
def too_often() -> int:
    return one()


def test_a_schedule_is_refused_at_the_pipelines_line() -> None:
    (said,) = refusal(too_often)
    assert said.startswith("P545: the schedule `*/2 * * * *` of `too_often`: that is every 2 minutes")


@step(resources=Resources(cpu=8, memory="32Gi", gpu=1, gpu_type="T4"), timeout=3600)
def heavy() -> int:
    return 1


@pipeline
def large() -> int:
    return heavy()


def test_what_no_runner_offers_is_refused_until_one_is_configured() -> None:
    (said,) = refusal(large)
    assert said.startswith("P543: `heavy` asks for 8 cores, 32 GiB of memory, 1 GPU T4, up to 1 hours for all attempts")
    runners = [
        {"labels": ["big"], "cpu": 16, "memory_gib": 64},
        {"labels": ["self-hosted", "gpu"], "cpu": 8, "memory_gib": 32, "gpu": 2, "gpu_type": "T4"},
    ]
    job = workflow_of(large.compile("github", runners=runners))["jobs"]["heavy"]
    assert job["runs-on"] == ["self-hosted", "gpu"]


@step(timeout=2 * 3600, retry=Retry(3, delay=60, backoff=10, max_delay=300))
def long_lasting() -> int:
    return 1


@pipeline
def patient() -> int:
    return long_lasting()


def test_attempts_that_may_outlast_a_hosted_job_are_refused() -> None:
    (said,) = refusal(patient)
    assert said.startswith("P543: `long_lasting` asks for up to 8.18 hours for all attempts")
    job = workflow_of(patient.compile("github", runners=[{"labels": ["own"], "minutes": 1000}]))["jobs"]["long_lasting"]
    assert job["timeout-minutes"] == (4 * 7200 + 60 + 300 + 300) / 60 + 15


def test_a_workflow_larger_than_github_reads_is_refused() -> None:
    @pipeline
    def wide() -> None:
        for _ in range(800):
            one()

    (said,) = refusal(wide)
    told = r"P544: the workflow of `wide` \(800 jobs\) would have [\d,]+ nodes of YAML; GitHub takes 50,000"
    assert re.match(told, said)


def test_a_workflow_of_more_bytes_than_github_reads_is_refused() -> None:
    @pipeline
    def wordy() -> None:
        for number in range(300):
            one.with_options(packages=[f"a-package-{number}-{at}" for at in range(100)])()

    (said,) = refusal(wordy)
    assert re.match(r"P544: the workflow of `wordy` \(300 jobs\) would be [\d,]+ bytes; GitHub takes 510,000", said)


def test_a_label_of_ones_own_takes_all_jobs() -> None:
    jobs = workflow_of(small.compile("github", runs_on="own"))["jobs"]
    assert {job["runs-on"] for job in jobs.values()} == {"own"}
    jobs = workflow_of(small.compile("github", runs_on=["self-hosted", "x"]))["jobs"]
    assert [job["runs-on"] for job in jobs.values()] == [["self-hosted", "x"]] * len(jobs)


# --- the program ------------------------------------------------------------------------------------------------------


def test_the_program_is_python_3_9_and_imports_the_standard_library_alone() -> None:
    text = typed.compile("github")[".github/penstock/typed.py"]
    tree = ast.parse(text, feature_version=(3, 9))
    imported = {
        (alias.name if isinstance(node, ast.Import) else str(node.module)).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    assert imported <= sys.stdlib_module_names


def test_the_program_shows_the_authors_source_as_it_was_written() -> None:
    text = small.compile("github")[".github/penstock/small.py"]
    assert "\ndef plus(a: int, b: int) -> int:\n    return a + b\n" in text


# --- branches, loops, gates and the end of a run ----------------------------------------------------------------------


@step
def numbers(count: int) -> list[int]:
    return list(range(count))


@step
def shifted(number: int, by: int = 0) -> int:
    if number == by:
        raise ValueError(f"{number} is too much")
    return number - by


@step
def total(values: list[int]) -> int:
    return sum(values)


@step
def taken_back(number: int) -> None:
    print(f"took back {number}")


@step
def told(status: RunStatus) -> str:
    return f"{status.pipeline} {status.state} {status.failures}"


@pipeline(on_failure=told.with_options(name="page"), on_exit=told, timeout=3600)
def structured(count: int = 5, by: int = -1, floor: int = 3) -> int:
    values = numbers(count)
    assert total(values) >= floor, "too few | ${{ github.token }}"
    if count > 4:
        moved = [shifted.with_options(rollback=taken_back)(value, by) for value in flow.parallel(values, 2)]
    else:
        moved = [shifted.with_options(name="kept")(value) for _ in values for value in numbers(count) if value != 1]
    return total(moved)


def test_a_branch_a_loop_and_a_gate_are_jobs_called_by_the_authors_words() -> None:
    jobs = workflow_of(structured.compile("github"))["jobs"]
    assert {name: job["name"] for name, job in jobs.items() if ":" in job["name"] or "[" in job["name"]} == {
        "assert": "assert: total(values) >= floor",
        "if": "if: count > 4",
        "for": "for: flow.parallel(values, 2)",
        "shifted": "shifted[${{ matrix.index }}]",
        "for_2": "for_2: values",
        "for_3": "for_3: numbers(count)",
        "numbers_2": "numbers_2[${{ matrix.index }}]",
        "if_2": "if_2: value != 1",
        "kept": "kept[${{ matrix.index }}]",
    }


def test_a_job_says_in_the_authors_words_when_it_runs() -> None:
    text = structured.compile("github")[".github/workflows/structured.yml"]
    notes = re.findall(r"\n  ([\w-]+):\n((?:    # .*\n)+)", text)
    assert {job: re.findall("# (.*)", said) for job, said in notes} == {
        "for": ["if count > 4"],
        "shifted": ["for each of flow.parallel(values, 2)", "if count > 4"],
        "for_2": ["unless count > 4"],
        "numbers_2": ["for each of values", "unless count > 4"],
        "for_3": ["for each of values", "unless count > 4"],
        "if_2": ["for each of values", "for each of numbers(count)", "unless count > 4"],
        "kept": ["for each of values", "for each of numbers(count)", "unless count > 4", "if value != 1"],
        "taken_back": ["undoes shifted where the run failed"],
        "page": ["where the run failed"],
        "told": ["at the end of every run"],
    }


def test_an_arm_runs_where_its_condition_is_what_it_stands_under() -> None:
    jobs = workflow_of(structured.compile("github"))["jobs"]
    assert "needs.if.outputs.holds == 'true'" in jobs["for"]["if"]
    assert "needs.if.outputs.holds == 'false'" in jobs["for_2"]["if"]


def test_a_loop_is_a_matrix_of_which_one_failure_ends_no_other() -> None:
    jobs = workflow_of(structured.compile("github"))["jobs"]
    assert {name: job["strategy"] for name, job in jobs.items() if "strategy" in job} == {
        name: {"fail-fast": False, **bound, "matrix": {"index": f"${{{{ fromJSON({list_} || '[]') }}}}"}}
        for name, bound, list_ in (
            ("shifted", {"max-parallel": 2}, "needs.for.outputs.count > 0 && needs.for.outputs.indices"),
            ("numbers_2", {}, "needs.for_2.outputs.count > 0 && needs.for_2.outputs.indices"),
            ("kept", {}, "needs.for_3.outputs.count > 0 && needs.for_3.outputs.indices"),
        )
    }


@pipeline
def bounded_body(count: int = 4) -> list[int]:
    found = []
    for value in flow.parallel(numbers(count), 2):
        found.append(shifted.with_options(name="one_way")(value, -1))
        shifted.with_options(name="other_way")(value, -2)
    return found


@pipeline
def hostile_structures(text: str = HOSTILE) -> int:
    if text != "${{ secrets.X }}" and "# %}\t'" not in text:
        one(text)
    for number in numbers(1) if text == "*/ ]]> ${{ x }}" else numbers(2):
        one.with_options(name="in_a_loop")(number)
    assert text != "`id` $(id) ${{ github.actor }}", "${{ github.token }}"
    return one.with_options(name="last")()


def test_what_conditions_loops_and_gates_say_is_never_evaluated() -> None:
    text = hostile_structures.compile("github")[".github/workflows/hostile_structures.yml"]
    written = re.findall(r"\$\{\{(.*?)\}\}", text, re.DOTALL)
    own = r"matrix\.index|toJSON\(needs\)|fromJSON\(needs[\w.]+ > 0 .*|steps\.run\.[\w.]+|github\.\w+|!cancelled\(\).*"
    said = [" ".join(each.split()) for each in written]
    assert [each for each in said if not re.fullmatch(own, each)] == []
    assert not {"github.token", "github.actor", "secrets.X", "x"} & set(said)


@pytest.mark.parametrize(
    "value", ["a ${{ x }} b", "${{ x }}", 'say "${{ x }}"', "${{ x == 'a' }}\u00e9", "plain", "on"]
)
def test_an_expression_is_read_as_it_was_meant(value: str) -> None:
    assert yaml.safe_load(f"x: {expression(value)}\n") == {"x": value}
    assert yaml.safe_load(f"x: {expression('${{ a &&' + chr(10) + 'b }}', 2)}\n") == {"x": "${{ a && b }}"}


def test_the_jobs_of_a_bounded_loop_wait_for_each_other() -> None:
    jobs = workflow_of(bounded_body.compile("github"))["jobs"]
    assert jobs["other_way"]["needs"] == ["for", "one_way"]
    assert "one_way" not in jobs["other_way"]["if"]


def test_what_has_no_structure_around_it_is_left_to_githubs_own_rule() -> None:
    jobs = workflow_of(structured.compile("github"))["jobs"]
    assert {name for name, job in jobs.items() if "if" not in job} == {
        "start--clock", "numbers", "total", "assert", "if"
    }  # fmt: skip


def test_the_end_of_a_run_waits_for_all_of_it_in_order() -> None:
    jobs = workflow_of(structured.compile("github"))["jobs"]
    last = ["taken_back", "page", "told"]
    main = [name for name in jobs if name not in (*last, "start--clock")]
    assert [jobs[name]["needs"] for name in last] == [main, [*main, "taken_back"], [*main, "taken_back", "page"]]
    assert jobs["told"]["if"] == "${{ always() }}"


@pytest.mark.slow
def test_the_program_defines_no_name_twice() -> None:
    """A name of the harness that is taken again would be called in its place."""
    tree = ast.parse(structured.compile("github")[".github/penstock/structured.py"])
    names = [each.name for each in tree.body if isinstance(each, (ast.FunctionDef, ast.ClassDef))]
    names += [
        target.id
        for each in tree.body
        if isinstance(each, ast.Assign)
        for target in each.targets
        if isinstance(target, ast.Name)
    ]
    assert sorted(names) == sorted(set(names))


def test_more_items_than_a_matrix_takes_are_shared_among_its_jobs(tmp_path: Path) -> None:
    program = program_of(structured.compile("github"), tmp_path)
    items = [str(number) for number in range(300)]
    grouped = program.grouped(items)
    assert len(grouped) == 150
    assert (grouped[0], grouped[-1]) == ("0~1", "298~299")
    assert program.grouped(items[:256]) == items[:256]
    assert program.grouped([]) == []


def _kept(program: types.ModuleType, stem: str, run: int, **result: Any) -> None:
    folder = Path("made") / str(run)
    program.write_result(folder, {"outputs": {}, **result, "run": run})
    program.OUTPUTS = program.INPUTS
    program.pack(stem, folder)


def test_what_an_earlier_attempt_of_the_run_left_counts_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program = program_of(structured.compile("github"), tmp_path)
    entry = {"inputs": {"shifted": "shifted", "for": "for"}}
    _kept(program, "for", 1, outputs={"items": [0, 1, 2]})
    _kept(program, "shifted.0", 1, outputs={"output": 1})
    _kept(program, "shifted.0.failed", 2, error="the second time")
    _kept(program, "shifted.1.failed", 1, error="the first time")
    _kept(program, "shifted.1", 2, outputs={"output": 2})
    monkeypatch.setenv("PENSTOCK_NEEDS", json.dumps({job: {"result": "success"} for job in ("for", "shifted")}))
    outputs, states = program.received(entry, tmp_path / "inputs")
    assert outputs == {"for": {"items": [0, 1, 2]}, "shifted[1]": {"output": 2}}
    assert states == {"shifted[0]": "failed", "shifted[2]": "failed"}


@pytest.mark.parametrize(
    ("result", "lost", "state"),
    [("failure", "", "failed"), ("skipped", "", "skipped"), ("skipped", "shifted", "upstream_failed")],
)
def test_an_item_without_a_word_of_its_own_is_judged_by_its_job(
    result: str, lost: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program = program_of(structured.compile("github"), tmp_path)
    _kept(program, "for", 1, outputs={"items": [0]})
    monkeypatch.setenv("PENSTOCK_NEEDS", json.dumps({"for": {"result": "success"}, "shifted": {"result": result}}))
    monkeypatch.setenv("PENSTOCK_LOST", lost)
    _, states = program.received({"inputs": {"shifted": "shifted", "for": "for"}}, tmp_path / "inputs")
    assert states == {"shifted[0]": state}


def test_the_end_of_a_run_hears_of_failures_and_of_jobs_that_left_no_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program = program_of(structured.compile("github"), tmp_path)
    results = {
        "numbers": "success",
        "shifted": "failure",
        "if": "failure",
        "page": "failure",
        "start--clock": "success",
    }
    monkeypatch.setenv("PENSTOCK_NEEDS", json.dumps({job: {"result": each} for job, each in results.items()}))
    _kept(program, "shifted.1.failed", 1, error="ValueError: no")
    _kept(program, "shifted.2.failed", 1, error="not run", state="upstream_failed")
    _kept(program, "numbers.failed", 1, error="an earlier attempt of the run")
    failures = {"if": "the job ended without a result", "shifted[1]": "ValueError: no"}
    for role in ("on_failure", "on_exit"):
        assert program.status(role) == {"pipeline": "structured", "state": "failed", "failures": failures}


@pytest.mark.parametrize(
    ("result", "state"), [("success", "succeeded"), ("skipped", "succeeded"), ("cancelled", "cancelled")]
)
def test_what_runs_always_hears_how_the_run_ended(
    result: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = program_of(structured.compile("github"), tmp_path)
    results = {"numbers": result, "page": "failure", "start--clock": "failure"}
    monkeypatch.setenv("PENSTOCK_NEEDS", json.dumps({job: {"result": each} for job, each in results.items()}))
    assert program.status("on_exit")["state"] == state


@step(gates=[Gate("output", "<", 1, message="too large")])
def gated() -> int:
    return 2


@pipeline
def with_a_gated_step() -> int:
    return shifted(gated())


def test_the_outputs_of_a_step_that_failed_its_gate_stay(tmp_path: Path) -> None:
    files = with_a_gated_step.compile("github")
    (tmp_path / "program.py").write_text(files[".github/penstock/with_a_gated_step.py"])
    environment = {
        **os.environ,
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
    }
    command = [sys.executable, "-I", "program.py", "run", "gated"]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert (tmp_path / "output").read_text() == "artifact=gated.failed\n"
    with tarfile.open(tmp_path / "penstock" / "outputs" / "gated.failed.tar") as tar:
        result = json.load(tar.extractfile("result.json"))  # type: ignore[arg-type]
    assert (result["outputs"], result["error"]) == ({"output": 2}, "gate output < 1: failed (output = 2): too large")
    assert (
        "| <code>output &lt; 1</code> | **failed** | <code>output = 2</code> | too large |"
        in (tmp_path / "summary").read_text()
    )
    jobs = workflow_of(files)["jobs"]
    assert jobs["gated"]["steps"][-1]["if"] == "${{ !cancelled() && steps.run.outputs.artifact }}"


@pipeline
def with_a_computed_result(count: int = 3) -> tuple[str, bool]:
    return f"{count} | <b>", count > 2


def test_what_a_pipeline_returns_is_shown_on_the_page_of_the_run_where_it_is_computed(tmp_path: Path) -> None:
    program = with_a_computed_result.compile("github")[".github/penstock/with_a_computed_result.py"]
    (tmp_path / "program.py").write_text(program)
    environment = {**os.environ, "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    command = [sys.executable, "-I", "program.py", "run", "return"]
    subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
    shown = (tmp_path / "summary").read_text()
    assert "| <code>output_0</code> | <code>&quot;3 &#124; &lt;b&gt;&quot;</code> |" in shown
    assert "| <code>output_1</code> | <code>true</code> |" in shown


def test_an_artifact_that_has_expired_is_no_skipped_step(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(structured.compile("github")[".github/penstock/structured.py"])
    command = [sys.executable, "-I", "program.py", "run", "total"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "the outputs of job numbers are not there: its artifact has expired, or was not downloaded" in ran.stderr


def test_a_condition_longer_than_github_evaluates_is_refused() -> None:
    @pipeline
    def wide(flag: bool = True) -> int:
        found = [1]
        if flag:
            for number in range(240):
                name = f"a_step_with_a_name_so_long_that_not_so_many_of_them_will_do_to_fill_it_{number}"
                found.append(one.with_options(name=name)())
        return total(found)

    said = refusal(wide)
    assert [re.sub(r"[\d,]{6}", "N", each) for each in said] == [
        "P546: the condition of `total` would be N characters long; GitHub takes N"
    ]


@pytest.mark.engine
@pytest.mark.xdist_group("github")
def test_a_failed_run_on_act_is_taken_back_told_and_shows_its_gates(tmp_path: Path) -> None:
    files = structured.compile("github", python_version=PYTHON)
    # Two items for each job of a matrix, so that this is tried without 257 items.
    files = {path: text.replace("LARGEST_MATRIX = 256", "LARGEST_MATRIX = 3") for path, text in files.items()}
    ran = github().run(files, ".github/workflows/structured.yml", {"by": "3"}, folder=tmp_path)
    assert ran.state == "failure"
    assert {job: ran.jobs[job] for job in ("assert", "shifted", "total_2", "taken_back", "page", "told")} == {
        "assert": "success", "shifted": "failure", "total_2": "skipped", "taken_back": "success", "page": "success",
        "told": "success",
    }  # fmt: skip
    matrices = sorted((each.matrix["index"], each.result) for each in ran.instances if each.job == "shifted")
    assert matrices == [("0~1", "success"), ("2~3", "failure"), ("4", "success")]
    assert re.findall(r"took back (-?\d)", ran.log) == ["4", "2", "1", "0"]
    assert "| <code>total(values) &gt;= floor</code> | passed | <code>" in ran.summary
    with tarfile.open(ran.artifacts["told"] / "told.tar") as tar:
        result = json.load(tar.extractfile("result.json"))  # type: ignore[arg-type]
    assert result["outputs"]["output"] == "structured failed {'shifted[3]': 'ValueError: 3 is too much'}"


@pytest.mark.engine
@pytest.mark.xdist_group("github")
def test_a_failed_gate_on_act_shows_value_bound_and_verdict(tmp_path: Path) -> None:
    files = structured.compile("github", python_version=PYTHON)
    ran = github().run(files, ".github/workflows/structured.yml", {"count": "2"}, folder=tmp_path)
    assert (ran.jobs["assert"], ran.jobs["if"], ran.jobs["told"]) == ("failure", "skipped", "success")
    row = next(line for line in ran.summary.splitlines() if line.startswith("| <code>total(values)"))
    assert "**failed**" in row
    assert "= 1" in row
    assert row.endswith("| too few &#124; ${{ github.token }} |")
    assert "::error title=assert::gate total(values) >= floor: failed" in ran.log


# --- on a runner ------------------------------------------------------------------------------------------------------


@step
def made() -> Path:
    root = Path("made")
    (root / "empty").mkdir(parents=True)
    (root / "run.sh").write_text("exit 0")
    (root / "run.sh").chmod(0o755)
    (root / ".hidden").symlink_to("run.sh")
    print("::error::what a step prints is no command")
    print("no line's end", end="")
    return root


@step(retry=Retry(2, delay=0.01))
def looked_at(folder: Path, name: str) -> list[str]:
    if current_attempt() < 2:
        raise RuntimeError("not yet")
    log_metric("files | all", 3)
    log_metadata(**{"a | name": "<i>&\nsecond"}, none=None)
    return [name, *(f"{each.name} {each.is_symlink()} {os.access(each, os.X_OK)}" for each in sorted(folder.iterdir()))]


@step
def fails(name: str) -> int:
    raise ValueError(f"<b>{name}</b>\nsecond line, 100 %")


@pipeline(schedule="0 2 * * *")
def on_a_runner(name: str = HOSTILE) -> tuple[list[str], int]:
    return looked_at(made(), name), plus(fails(name), 1)


def test_what_a_step_prints_is_no_command_and_keeps_none_from_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(on_a_runner.compile("github")[".github/penstock/on_a_runner.py"])
    command = [sys.executable, "-I", "program.py", "run", "made"]
    lines = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    token = lines[0].removeprefix("::stop-commands::")
    assert lines[1:] == ["::error::what a step prints is no command", "no line's end", f"::{token}::"]


@pytest.mark.engine
@pytest.mark.xdist_group("github")
@pytest.mark.parametrize("event", ["workflow_dispatch", "schedule"])
def test_a_run_on_act_keeps_files_and_says_what_happened(event: str, tmp_path: Path) -> None:
    name = f"\u00fc {HOSTILE}" if event == "workflow_dispatch" else HOSTILE
    inputs = {"name": name} if event == "workflow_dispatch" else None
    files = on_a_runner.compile("github", python_version=PYTHON)
    ran = github().run(files, ".github/workflows/on_a_runner.yml", inputs, folder=tmp_path, event=event)
    assert ran.jobs == {"made": "success", "looked_at": "success", "fails": "failure", "plus": "skipped"}, ran.log
    with tarfile.open(ran.artifacts["looked_at"] / "looked_at.tar") as tar:
        result = json.load(tar.extractfile("result.json"))  # type: ignore[arg-type]
    assert result["outputs"]["output"] == [name, ".hidden True True", "empty False True", "run.sh False True"]
    assert (result["attempts"], result["metrics"]) == (2, {"files | all": 3})
    assert "### <code>looked_at</code>: succeeded\n\n2 attempts in " in ran.summary
    assert "| <code>files &#124; all</code> | <code>3</code> |" in ran.summary
    row = "| <code>output</code> | <code>a &#124; name</code> | <code>&lt;i&gt;&amp; second</code> |"
    assert row in ran.summary
    assert "&lt;b&gt;" in ran.summary
    assert "::error title=fails::ValueError: <b>" in ran.log
    assert not re.search("❗.*what a step prints", ran.log)


@pytest.mark.engine
@pytest.mark.xdist_group("github")
@pytest.mark.parametrize(
    "of",
    [small, hostile, typed, on_a_runner, large, structured, bounded_body, hostile_structures],
    ids=lambda of: of.name,
)
def test_reviewers_linters_have_nothing_to_say(of: Any, tmp_path: Path) -> None:
    runners = [{"labels": ["gpu"], "cpu": 8, "memory_gib": 32, "gpu": 1, "gpu_type": "T4"}]
    files = of.compile("github", runners=runners)
    text = files[f".github/workflows/{of.name}.yml"]
    found = github().lint(text, folder=tmp_path)
    assert [each for each in found if 'label "gpu" is unknown' not in each.message] == []  # a label of one's own


@pytest.mark.engine
@pytest.mark.xdist_group("github")
@pytest.mark.parametrize("text", ["${{ x }}", "${{", "a ${{ b }} ${{ 'c' }} }}", "$${{{"])
def test_github_reads_an_escaped_mark_as_the_mark(text: str) -> None:
    parts = re.split(r"\$\{\{ (.*?) \}\}", yaml.safe_load(scalar(text)))
    read = "".join(github().evaluate(part) if index % 2 else part for index, part in enumerate(parts))
    assert read == text
