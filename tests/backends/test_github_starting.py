"""What starts a workflow, which of its runs do anything, and how many there are at a time."""

from __future__ import annotations

import http.server
import json
import re
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock import (
    AfterPipeline,
    CompileError,
    Concurrency,
    DataChange,
    Pipeline,
    PullRequest,
    Push,
    pipeline,
    step,
)
from tests.engines.environments import PYTHON
from tests.engines.github import github


@step
def one(value: int = 1) -> int:
    return value


@step
def last() -> None:
    pass


@pipeline(
    triggers=[
        Push(branches=["main", "release/**"], paths=["models/**"]),
        Push(branches=["main", "release/**"], paths=["data/config.yaml"]),
        PullRequest(paths=["models/**", "!models/*.md"]),
        AfterPipeline("load"),
        DataChange("s3://lake/features"),
    ],
    updates=["s3://lake/model", 's3://lake/"quoted"'],
    concurrency=1,
    on_exit=last,
)
def started(start: int = 7) -> int:
    return one.with_options(name="second")(one(start))


@pipeline(triggers=AfterPipeline("load"), timeout=60, on_exit=last, concurrency=Concurrency(cancel_running=True))
def bounded(flag: bool = True) -> int:
    return one(2) if one.with_options(name="first")() > 1 and flag else one(3)


def workflow_of(of: Pipeline[..., Any], **options: Any) -> dict[str, Any]:
    found = yaml.safe_load(of.compile("github", **options)[f".github/workflows/{of.name}.yml"])
    return {"on" if key is True else key: value for key, value in found.items()}


def with_triggers(*triggers: Any, **settings: Any) -> Pipeline[..., Any]:
    @pipeline(triggers=triggers, **settings)
    def several(value: int = 1) -> int:
        return one(value)

    return several


def refusal(of: Pipeline[..., Any]) -> list[str]:
    with pytest.raises(CompileError) as caught:
        of.compile("github")
    return [f"{each.code}: {each.message}" for each in caught.value.diagnostics]


# --- what starts it ---------------------------------------------------------------------------------------------------


def test_each_trigger_is_an_event() -> None:
    events = workflow_of(started)["on"]
    assert list(events) == ["workflow_dispatch", "push", "pull_request", "workflow_run", "repository_dispatch"]
    assert events["push"] == {"branches": ["main", "release/**"], "paths": ["models/**", "data/config.yaml"]}
    assert events["pull_request"] == {"paths": ["models/**", "!models/*.md"]}
    assert events["workflow_run"] == {"workflows": ["load"], "types": ["completed"]}
    assert events["repository_dispatch"] == {"types": ["s3://lake/features"]}


def test_a_push_of_a_tag_starts_nothing() -> None:
    assert workflow_of(with_triggers(Push(paths=["a"])))["on"]["push"] == {"branches": ["**"], "paths": ["a"]}


@pytest.mark.parametrize(
    ("several", "one_of_them"),
    [
        ([Push(branches=["a"]), Push(branches=["b", "a"])], {"branches": ["a", "b"]}),
        ([Push(branches=["a"], paths=["x"]), Push(branches=["a"])], {"branches": ["a"]}),
        ([Push(branches=["a"], paths=["x"]), Push(paths=["x"])], {"branches": ["**"], "paths": ["x"]}),
        ([Push(branches=["a"], paths=["x"]), Push()], {"branches": ["**"]}),
    ],
)
def test_several_triggers_of_a_kind_are_one_that_lets_through_what_any_of_them_does(
    several: list[Push], one_of_them: dict[str, Any]
) -> None:
    assert workflow_of(with_triggers(*several))["on"]["push"] == one_of_them


@pytest.mark.parametrize(
    ("triggers", "said"),
    [
        ([Push(["a"], ["x"]), Push(["b"], ["y"])], "its triggers by pushes differ in branches and in paths"),
        ([PullRequest(["a", "!a/b"]), PullRequest(["a/b"])], "its triggers by pull requests differ in branches"),
        ([Push(paths=["!docs/**"])], "`!docs/**` lets no pushes through"),
        ([Push(branches=["${{ x }}"])], "'${{ x }}' is no glob"),
        ([DataChange(f"s3://{'a' * 100}")], "GitHub takes 100 characters"),
    ],
)
def test_what_github_would_not_take_or_would_never_do_is_refused(triggers: list[Any], said: str) -> None:
    (message,) = refusal(with_triggers(*triggers))
    assert message.startswith("P547: `several`: ")
    assert said in message


def test_a_run_that_no_person_starts_must_have_all_defaults() -> None:
    @pipeline(triggers=Push())
    def needy(url: int) -> int:
        return one(url)

    assert refusal(needy) == ["P507: `needy` has a trigger, but a run that no person starts has no value for `url`"]


@pytest.mark.engine
@pytest.mark.xdist_group("github")
@pytest.mark.parametrize("event", ["push", "repository_dispatch"])
def test_a_run_by_an_event_takes_the_defaults(event: str, tmp_path: Path) -> None:
    @pipeline(triggers=[Push(), DataChange("s3://a/b")])
    def quiet(start: int = 7) -> str:
        return f"{one(start)}"

    files = quiet.compile("github", python_version=PYTHON)
    ran = github().run(files, ".github/workflows/quiet.yml", folder=tmp_path, event=event)
    assert ran.state == "success", ran.log
    assert "| <code>output</code> | <code>&quot;7&quot;</code> |" in ran.summary


# --- which runs are meant ---------------------------------------------------------------------------------------------

EVENTS = {
    "by a person": ({"event_name": "workflow_dispatch", "event": {}}, True),
    "success": ({"event_name": "workflow_run", "event": {"workflow_run": {"conclusion": "success"}}}, True),
    "failure": ({"event_name": "workflow_run", "event": {"workflow_run": {"conclusion": "failure"}}}, False),
    "skipped": ({"event_name": "workflow_run", "event": {"workflow_run": {"conclusion": "skipped"}}}, False),
    "a proposal": (
        {"event_name": "workflow_run", "event": {"workflow_run": {"conclusion": "success", "event": "pull_request"}}},
        False,
    ),
}


@pytest.mark.engine
@pytest.mark.xdist_group("github")
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("of", [started, bounded], ids=lambda of: of.name)
def test_only_the_end_in_success_of_another_pipeline_starts_anything(of: Pipeline[..., Any], event: str) -> None:
    """Played by GitHub's own evaluator, which leaves to the runner what an `if` says of the jobs before."""
    context, is_meant = EVENTS[event]
    results: dict[str, str] = {}
    for name, job in workflow_of(of)["jobs"].items():
        needs = {other: {"result": results[other], "outputs": {"count": 0}} for other in job.get("needs", ())}
        condition = job.get("if", "${{ success() }}")[3:-2]
        has_own = "!cancelled()" in condition or "always()" in condition
        after_success = all(each["result"] == "success" for each in needs.values())
        asked = re.sub(r"!cancelled\(\)|always\(\)|success\(\)", "true", condition)
        starts = (has_own or after_success) and github().evaluate(asked, {"github": context, "needs": needs})
        results[name] = "success" if starts else "skipped"
    assert (set(results.values()) == {"skipped"}) is not is_meant


# --- how many there are -----------------------------------------------------------------------------------------------


def test_a_further_run_waits_and_none_of_those_that_wait_is_cancelled() -> None:
    concurrency = workflow_of(with_triggers(Push(), concurrency=1))["concurrency"]
    assert concurrency == {"group": "${{ github.workflow }}", "cancel-in-progress": False, "queue": "max"}


def test_a_further_run_ends_the_one_under_way() -> None:
    """GitHub takes no queue beside that."""
    concurrency = workflow_of(with_triggers(Push(), concurrency=Concurrency(cancel_running=True)))["concurrency"]
    assert concurrency == {"group": "${{ github.workflow }}", "cancel-in-progress": True}


@pytest.mark.engine
@pytest.mark.xdist_group("github")
@pytest.mark.parametrize("event", EVENTS)
def test_a_run_that_is_not_meant_disturbs_no_other(event: str) -> None:
    context, is_meant = EVENTS[event]
    group = workflow_of(bounded)["concurrency"]["group"].removeprefix("${{ github.workflow }}")
    assert github().evaluate(group[3:-2], {"github": {**context, "run_id": "12"}}) == ("" if is_meant else "-12")


def test_without_a_bound_no_run_waits_for_another() -> None:
    assert workflow_of(with_triggers(Push()))["concurrency"]["group"] == "${{ github.workflow }}-${{ github.run_id }}"


def test_github_counts_to_one_to_which_a_greater_bound_may_be_lowered() -> None:
    several = with_triggers(concurrency=2)
    assert refusal(several) == ["P501: github cannot keep 2 runs at a time: a concurrency group holds one run"]
    one = with_triggers(concurrency=1)
    assert workflow_of(several, allow_degraded="several_runs")["concurrency"] == workflow_of(one)["concurrency"]


# --- what it updated --------------------------------------------------------------------------------------------------


class Api(http.server.BaseHTTPRequestHandler):
    """GitHub's answer to an event that is sent to a repository."""

    seen: list[tuple[str, str | None, Any]]
    answer = 204

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, self.headers["Authorization"], json.loads(body)))
        self.send_response(self.answer)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def told(answer: int) -> tuple[int, list[tuple[str, str | None, Any]]]:
    """What the last job's command did with an API that answers so."""
    (job_step,) = workflow_of(started)["jobs"]["tell--updates"]["steps"]
    handler = type("Handler", (Api,), {"seen": [], "answer": answer})
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environ = {
            "PATH": "/usr/bin:/bin",
            "EVENTS": job_step["env"]["EVENTS"],
            "TOKEN": "t0ken",
            "GITHUB_API_URL": f"http://127.0.0.1:{server.server_port}",
            "GITHUB_REPOSITORY": "owner/name",
        }
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", job_step["run"]]
        ended = subprocess.run(command, env=environ, capture_output=True, check=False, timeout=60)
        server.shutdown()
    return ended.returncode, handler.seen  # type: ignore[attr-defined]


def test_a_run_that_succeeded_tells_the_repository_what_it_updated() -> None:
    where, who = "/repos/owner/name/dispatches", "Bearer t0ken"
    assert told(204) == (
        0,
        [(where, who, {"event_type": "s3://lake/model"}), (where, who, {"event_type": 's3://lake/"quoted"'})],
    )


def test_what_cannot_be_told_fails_the_job() -> None:
    code, seen = told(403)
    assert (code != 0, len(seen)) == (True, 1)


@pytest.mark.engine
@pytest.mark.xdist_group("github")
@pytest.mark.parametrize(
    ("results", "fork", "is_told"),
    [
        (["success", "success", "success"], False, True),
        (["success", "skipped", "success"], False, True),
        (["success", "failure", "success"], False, False),
        (["success", "success", "cancelled"], False, False),
        (["success", "success", "success"], True, False),
    ],
)
def test_only_success_is_told_and_for_no_fork(results: list[str], fork: bool, is_told: bool) -> None:
    job = workflow_of(started)["jobs"]["tell--updates"]
    assert job["permissions"] == {"contents": "write"}
    needs = dict(zip(job["needs"], ({"result": each} for each in results), strict=True))
    context = {"event_name": "pull_request", "event": {"pull_request": {"head": {"repo": {"fork": fork}}}}}
    asked = job["if"][3:-2].replace("!cancelled()", "true")
    assert github().evaluate(asked, {"github": context, "needs": needs}) is is_told


@pytest.mark.engine
@pytest.mark.xdist_group("github")
@pytest.mark.parametrize("of", [started, bounded], ids=lambda of: of.name)
def test_reviewers_linters_have_nothing_to_say(of: Pipeline[..., Any], tmp_path: Path) -> None:
    assert github().lint(of.compile("github")[f".github/workflows/{of.name}.yml"], folder=tmp_path) == []
