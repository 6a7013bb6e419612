"""Which jobs GitHub starts, by GitHub's own evaluator: those, and only those, that may run by the contract.

A run is played with random ends of its instances. What the rule of a job says is compared with what the harness says of
its instances, for which it knows the state of every other one.
"""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock import Pipeline, RunStatus, Step, pipeline, step
from penstock.harness import FAILURES, Inputs, Place, instance
from penstock.spec import Branch, Loop
from penstock_backends.github.jobs import START, every_unit
from penstock_backends.github.names import job_id
from penstock_backends.lowering import Program, Unit, job_of, program_of
from tests.conformance.cases import conditions, endings, gates, loops
from tests.conformance.random_pipelines import some_programs, written
from tests.engines.github import github

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("github")]

PLAYS = 12


@step
def number(value: int = 1) -> int:
    return value


@step
def numbers(count: int = 3) -> list[int]:
    return list(range(count))


@step
def total(values: list[int]) -> int:
    return sum(values)


@step
def told(status: RunStatus) -> None:
    pass


def after(other: object, name: str) -> Step[..., int]:
    return number.with_options(after=other, name=name)


@pipeline
def waiting_for_what_may_be_skipped(flag: bool = True) -> int:
    outside = number()
    if outside > 0:
        inner = number.with_options(name="inner")(number.with_options(name="deep")(outside))
        if flag:
            number.with_options(name="deepest")(inner)
    else:
        inner = number.with_options(name="other")(2)
    last = after(inner, "last")(5)
    return after(last, "very_last")(inner)


@pipeline
def items_that_take_from_outside(flag: bool = True) -> int:
    """Jobs of a loop that aren't started although there are items, and others that choose between them and more."""
    shaky = number.with_options(name="shaky")(1)
    found = []
    for item in numbers():
        got = number.with_options(name="of_item")(item)
        if item > 1:
            got = number.with_options(name="of_shaky")(shaky)
        found.append(number.with_options(name="chosen")(got))
    return total(found)


@pipeline
def a_list_for_each_item(flag: bool = True) -> int:
    """What is in the list of one item is no matter of another's."""
    shaky = number.with_options(name="shaky")(1)
    lists = []
    for item in numbers():
        own = []
        if item > 1:
            own.append(number.with_options(name="sometimes")(item))
        if flag:
            own.append(number.with_options(name="outer_arm")(shaky))
        own.append(number.with_options(name="every_time")(item))
        lists.append(total.with_options(name="own_total")(own))
    return total(lists)


@pipeline(on_failure=told, on_exit=told.with_options(name="closed"))
def lists_in_arms(flag: bool = True) -> int:
    found = []
    if flag:
        for item in numbers():
            for other in numbers.with_options(name="inner_numbers")(item):
                found.append(number.with_options(name="inner")(other))  # noqa: PERF401  # the append is what is tried
    if number() > 0:
        found.append(number.with_options(name="single", rollback=number.with_options(name="undone"))(2))
    return total(found)


PIPELINES = list(
    {
        each.name: each
        for each in (
            waiting_for_what_may_be_skipped,
            items_that_take_from_outside,
            a_list_for_each_item,
            lists_in_arms,
            *(case.pipeline for module in (conditions, endings, gates, loops) for case in module.CASES),
        )
    }.values()
)


@pytest.mark.parametrize("of", PIPELINES, ids=lambda of: of.name)
def test_github_starts_the_jobs_that_may_run_and_no_others(of: Pipeline[..., Any]) -> None:
    play_with(of)


@pytest.mark.parametrize("seed", [201, 202])
def test_it_does_so_for_random_pipelines(seed: int, tmp_path: Path) -> None:
    for program in some_programs(seed, 10):
        with written(program, tmp_path) as case:
            play_with(case.pipeline)


def play_with(of: Pipeline[..., Any]) -> None:
    program = program_of(of.spec)
    jobs = yaml.safe_load(next(text for path, text in of.compile("github").items() if path.endswith(".yml")))["jobs"]
    for seed in range(PLAYS):
        play = _Play(program, jobs, random.Random(seed))
        for unit in every_unit(program):
            play.go_on(unit)


class _Play:
    """A run: the states of instances as the contract has them, the results of jobs as GitHub does."""

    def __init__(self, program: Program, jobs: dict[str, Any], chance: random.Random) -> None:
        self.program, self.jobs, self.chance = program, jobs, chance
        self.states: dict[str, str] = {}
        self.outputs: dict[str, dict[str, Any]] = {}
        self.results: dict[str, dict[str, Any]] = {START: {"result": "success", "outputs": {"at": "0"}}}

    def go_on(self, unit: Unit) -> None:
        job, names = job_id(unit.id), [instance(unit.id, index) for index in self._places(unit)]
        obstacles = {name: self._obstacle(unit, name) for name in names}
        starts = self._starts(job)
        if unit.loops and unit.role == "main":
            assert starts or all(obstacles.values()), (job, obstacles, self.results)
            assert not starts or names, (job, self.results)
            self._compare_lost(unit)
        elif unit.role == "main":
            assert starts is not any(obstacles.values()), (job, obstacles, self.results)
        else:
            assert starts is self._comes_to_its_turn(unit), (job, self.states, self.results)
        for name in names:
            self._end(unit, name, obstacles[name] if unit.role == "main" else "" if starts else "skipped")
        ended = [self.states[name] for name in names]
        result = "failure" if any(state in FAILURES for state in ended) else "success"
        self.results[job] = {"result": "skipped", "outputs": {}}
        if starts:
            self.results[job] = {"result": result, "outputs": self._told(unit, names)}

    def _comes_to_its_turn(self, unit: Unit) -> bool:
        if unit.role == "on_exit":
            return True
        failed = any(self.states[name] == "failed" for name in self.states if self._role(name) == "main")
        if unit.role == "on_failure" or not failed:
            return failed
        # Of a loop, GitHub knows that the job began; the program knows the items.
        return self.results[job_id(unit.node.id)]["result"] in (("success", "failure") if unit.loops else ("success",))

    def _role(self, name: str) -> str:
        return self.program.by_id[name.partition("[")[0]].role

    def _places(self, unit: Unit) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = [()]
        for loop in unit.loops:
            sizes = {index: len(self.outputs.get(instance(loop, index), {}).get("items", ())) for index in found}
            found = [(*index, number) for index in found for number in range(sizes[index])]
        return found

    def _obstacle(self, unit: Unit, name: str) -> str:
        index = tuple(map(int, re.findall(r"\[(\d+)\]", name)))
        job = job_of(self.program, unit)
        return Inputs({}, {}, self.outputs, job=job, place=Place(index, self.states)).obstacle(job)

    def _end(self, unit: Unit, name: str, obstacle: str) -> None:
        self.states[name] = obstacle or ("failed" if self.chance.random() < 0.15 else "succeeded")
        if self.states[name] != "succeeded":
            return
        self.outputs[name] = {output.name: 0 for output in unit.outputs}
        if isinstance(unit.node, Branch):
            self.outputs[name]["holds"] = self.chance.random() < 0.5
        if isinstance(unit.node, Loop):
            self.outputs[name]["items"] = [0] * self.chance.choice([0, 1, 2, 3])

    def _told(self, unit: Unit, names: list[str]) -> dict[str, str]:
        given = [self.outputs[name] for name in names if name in self.outputs]
        if isinstance(unit.node, Loop) and unit.role == "main":
            return {"count": str(sum(len(each["items"]) for each in given))}
        if isinstance(unit.node, Branch) and not unit.loops and given:
            return {"holds": "true" if given[0]["holds"] else "false"}
        return {}

    def _starts(self, job: str) -> bool:
        condition = self.jobs[job].get("if")
        if condition is None:
            return all(self.results[other]["result"] == "success" for other in self._ancestors(job))
        return bool(self._evaluated(job, condition.removeprefix("${{").removesuffix("}}")))

    def _ancestors(self, job: str) -> set[str]:
        direct = set(self.jobs[job].get("needs", ()))
        return direct.union(*(self._ancestors(each) for each in direct))

    def _evaluated(self, job: str, expression: str) -> Any:
        plain = expression.replace("!cancelled()", "true").replace("always()", "true")
        needs = {other: self.results[other] for other in self.jobs[job].get("needs", ())}
        return github().evaluate(plain.strip(), {"needs": needs})

    def _compare_lost(self, unit: Unit) -> None:
        """A job in a loop knows of those before it that were not started whether something before them failed."""
        steps = self.jobs[job_id(unit.id)]["steps"]
        environment = next(each.get("env", {}) for each in steps if each["name"] == "Run the step")
        for expression in re.findall(r"\$\{\{ (.*?) \}\}", environment.get("PENSTOCK_LOST", "")):
            lost = re.findall(r"&& '([\w-]+)' \|\| ''$", expression)[0]
            node = next(each for each in self.program.units if job_id(each.id) == lost)
            ended = {self.states[instance(node.id, index)] for index in self._places(node)}
            if self.results[lost]["result"] == "skipped" and ended:
                said = "upstream_failed" if self._evaluated(job_id(unit.id), expression) else "skipped"
                assert ended == {said}, (lost, self.results)


@pytest.mark.parametrize("name", ["true", "null", "outer-load", "else", "x--0123abcd"])
def test_a_result_is_found_under_any_jobs_name(name: str) -> None:
    assert github().evaluate(f"needs.{name}.result == 'success'", {"needs": {name: {"result": "success"}}}) is True


@pytest.mark.parametrize(
    ("results", "failed"),
    [(["success", "skipped"], False), (["skipped", "failure"], True), (["cancelled"], True), ([], False)],
)
def test_the_end_of_a_run_sees_whether_anything_failed(results: list[str], failed: bool) -> None:
    jobs = yaml.safe_load(lists_in_arms.compile("github")[".github/workflows/lists_in_arms.yml"])["jobs"]
    condition = jobs["told"]["if"].removeprefix("${{").removesuffix("}}").replace("!cancelled()", "true").strip()
    needs = {f"job{number}": {"result": result} for number, result in enumerate(results)}
    assert github().evaluate(condition, {"needs": needs}) is failed


@pytest.mark.parametrize("of", PIPELINES[:4], ids=lambda of: of.name)
def test_reviewers_linters_have_nothing_to_say_against_long_rules(of: Pipeline[..., Any], tmp_path: Path) -> None:
    text = of.compile("github")[f".github/workflows/{of.name}.yml"]
    assert github().lint(text, folder=tmp_path) == []
