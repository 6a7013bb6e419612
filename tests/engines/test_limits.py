"""The limits of the engines: what is just within them the engine itself takes; what is just beyond we refuse.

What an engine's tools don't know of, such as how long GitHub's expressions may be, is refused at the published bound.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from penstock import compiler, pipeline, step
from penstock.compiler import compile_spec
from penstock.spec import PipelineSpec
from penstock_backends.github.anchors import nodes_of
from penstock_backends.github.backend import LARGEST_FILE, MOST_NODES
from penstock_backends.github.inputs import LONGEST_INPUTS, MOST_INPUTS
from penstock_backends.github.jobs import LONGEST_EXPRESSION
from penstock_backends.kubeflow.entry import LARGEST_PARAMETER
from tests.engines.airflow import airflow
from tests.engines.github import github, without_anchors
from tests.engines.kfp import kfp

LONG = "a_step_whose_name_is_as_long_as_the_name_of_a_job_may_be_before_it_is_cut_"


@step
def number(value: int = 1) -> int:
    return value


@step
def numbers(count: int) -> list[int]:
    return list(range(count))


@step
def total(values: list[int]) -> int:
    return sum(values)


@step
def length(text: str) -> int:
    return len(text)


def codes(spec: PipelineSpec, target: str) -> list[str]:
    """Of what a target refuses; none where it takes the pipeline. Each has a place and a way out."""
    found = compiler.backend(target)
    problems = list(found.limits(spec, found.options()))
    assert all(each.location and each.fix for each in problems)
    return [each.code for each in problems]


def with_names(length_: int, tag: int) -> PipelineSpec:
    @pipeline(name="p" * length_, tags=["t" * tag])
    def named() -> int:
        return number.with_options(name="n" * length_)()

    return named.spec


# --- GitHub -----------------------------------------------------------------------------------------------------------


def chain(count: int) -> PipelineSpec:
    @pipeline
    def chain(start: int = 0) -> int:
        for _ in range(count):
            start = number(start)
        return start

    return chain.spec


def with_text(size: int) -> PipelineSpec:
    @pipeline
    def texts(text: str = "x" * size) -> int:
        return length(text)

    return texts.spec


def with_parameters(count: int) -> PipelineSpec:
    spec = with_text(1)
    parameters = (
        *spec.parameters,
        *(spec.parameters[0].model_copy(update={"name": f"p{at}"}) for at in range(1, count)),
    )
    return spec.model_copy(update={"parameters": parameters})


def depending_on(count: int) -> PipelineSpec:
    """One step on many that may be skipped, all of which its condition names."""

    @pipeline
    def wide(flag: bool = True) -> int:
        found = [1]
        if flag:
            found += [number.with_options(name=f"{LONG}{at:03}")() for at in range(count)]
        return total(found)

    return wide.spec


def collecting_from(count: int) -> PipelineSpec:
    """One step of each item on many of the same item, all of whose outputs it fetches."""

    @pipeline
    def deep(items: int = 2) -> list[int]:
        found = []
        for item in numbers(items):
            own = [number.with_options(name=f"{LONG}{at:03}")(item) for at in range(count)]
            found.append(total(own))
        return found

    return deep.spec


def workflow_of(spec: PipelineSpec) -> str:
    return next(text for path, text in compile_spec(spec, "github").items() if path.endswith(".yml"))


def longest_expression(workflow: str) -> int:
    texts = re.findall(r"(?:if|pattern): (?:>-\n((?:      .*\n)+)|(.*))", workflow)
    read = [yaml.safe_load(folded) if folded else yaml.safe_load(line) for folded, line in texts]
    return max(len(each) for each in read if "${{" in each)


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.xdist_group("github")
def test_the_largest_workflow_is_read_by_githubs_own_parser_and_one_more_job_is_refused(tmp_path: Path) -> None:
    each = nodes_of(workflow_of(chain(101))) - nodes_of(workflow_of(chain(100)))
    most = 100 + (MOST_NODES - nodes_of(workflow_of(chain(100)))) // each
    assert codes(chain(most), "github") == []
    workflow = workflow_of(chain(most))
    written_out = without_anchors(workflow)  # the published parser looks for each anchor through all of the file
    assert len(workflow.encode()) <= LARGEST_FILE < len(written_out.encode())
    assert github().lint(written_out, folder=tmp_path) == []
    assert codes(chain(most + 1), "github") == ["P544"]


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.xdist_group("github")
def test_as_many_inputs_as_github_takes_and_as_long(tmp_path: Path) -> None:
    most = with_parameters(MOST_INPUTS)
    assert codes(with_text(LONGEST_INPUTS), "github") == codes(most, "github") == []
    assert github().lint(workflow_of(most), folder=tmp_path) == []
    assert codes(with_parameters(MOST_INPUTS + 1), "github") == ["P540"]
    assert codes(with_text(LONGEST_INPUTS + 1), "github") == ["P541"]


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.xdist_group("github")
def test_names_are_cut_to_what_github_takes(tmp_path: Path) -> None:
    files = compile_spec(with_names(300, 1), "github")
    assert max(len(part) for path in files for part in path.split("/")) < 100
    (workflow,) = (text for path, text in files.items() if path.endswith(".yml"))
    assert github().lint(workflow, folder=tmp_path) == []
    assert github().lint(re.sub(r"n{80}--\w+", "n" * 101, workflow), folder=tmp_path / "longer")


@pytest.mark.slow
@pytest.mark.parametrize("made", [depending_on, collecting_from])
def test_no_expression_is_longer_than_github_evaluates(made: Callable[[int], PipelineSpec]) -> None:
    each = longest_expression(workflow_of(made(41))) - longest_expression(workflow_of(made(40)))
    most = 40 + (LONGEST_EXPRESSION - longest_expression(workflow_of(made(40)))) // each
    assert LONGEST_EXPRESSION - each < longest_expression(workflow_of(made(most))) <= LONGEST_EXPRESSION
    assert codes(made(most + 1), "github") == ["P546"]


# --- Airflow ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.xdist_group("airflow")
def test_names_as_long_as_airflow_takes_them() -> None:
    (text,) = compile_spec(with_names(250, 100), "airflow").values()
    longer = {"p": 250, "n": 250, "t": 100}
    files = {f"{letter}.py": text.replace(letter * most, letter * (most + 1)) for letter, most in longer.items()}
    files = {path: each.replace("p" * 250, path[0] * 250) for path, each in files.items()}  # DAGs of their own
    parsed = airflow().parse({"within.py": text, **files})
    assert parsed.crash == ""
    assert {Path(path).name for path in parsed.import_errors} == set(files)
    assert codes(with_names(251, 101), "airflow") == ["P530", "P530", "P531"]


@pipeline
def looped(count: int = 3) -> int:
    return total([number(value) for value in numbers(count)])


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.xdist_group("airflow")
@pytest.mark.parametrize(("count", "state"), [(3, "success"), (4, "failed")])
def test_of_more_items_than_airflow_maps_none_runs(count: int, state: str) -> None:
    (text,) = compile_spec(looped.spec, "airflow").values()
    ran = airflow().dag_test(text, {"count": count}, environ={"AIRFLOW__CORE__MAX_MAP_LENGTH": "3"})
    assert (ran.state, ran.crash) == (state, "")
    assert sum(task == "number" and index >= 0 for task, index in ran.tasks) == (count if state == "success" else 0)


# --- Kubeflow ---------------------------------------------------------------------------------------------------------


def with_constant(size: int) -> PipelineSpec:
    @pipeline
    def constant() -> int:
        return length("x" * size)

    return constant.spec


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.xdist_group("kfp")
def test_a_constant_as_long_as_fits_on_a_command_line(tmp_path: Path) -> None:
    most = LARGEST_PARAMETER - 2  # its quotes
    (text,) = compile_spec(with_constant(most), "kubeflow").values()
    ran = kfp().run(text, folder=tmp_path)
    assert (ran.state, ran.crash) == ("success", ""), ran.log
    assert codes(with_constant(most + 1), "kubeflow") == ["P523"]
