"""Runs started and followed by GitHub's REST API, which a server on the loopback speaks as it is published."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import runpy
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner

from penstock import ConfigurationError, DeployError, pipeline, step
from penstock.cli import app
from penstock.deployment import StartedRun
from penstock.parameters import encode_parameters
from penstock_backends import following
from penstock_backends.github.deploy import GithubDeployment, deployment_of
from penstock_backends.github.deploy_options import GithubDeployOptions
from penstock_backends.github.runs import typed_inputs

TOKEN = "a token of the tests"  # of nobody
SLUG = "owner/name"
WORKFLOW = ".github/workflows/hourly.yml"


class Mode(enum.Enum):
    FAST = 1
    true = 2


@dataclass(frozen=True)
class Config:
    depth: int = 3
    rate: float = 0.1
    day: dt.date = dt.date(2026, 1, 2)


@step
def shown(value: object) -> str:
    return repr(value)


@pipeline
def hourly(
    flag: bool = False,
    count: int = 1,
    ratio: float = 0.5,
    text: str = "",
    quoted: str = '"1"',
    maybe: int | None = None,
    either: str | int = "1",
    mode: Mode = Mode.FAST,
    choice: Literal["a", "1", 2] = "a",
    config: Config = Config(),
    price: decimal.Decimal = decimal.Decimal("1.10"),
    moment: dt.datetime = dt.datetime(2026, 1, 2, 3),
    table: dict[str, tuple[int, ...]] = {},
    blob: bytes = b"",
) -> str:
    return shown(config)


FILES = hourly.compile("github")

VALUES: list[dict[str, Any]] = [
    {"flag": True, "count": -3, "ratio": 0.1 + 0.2, "text": "1", "quoted": "plain", "maybe": 7, "either": 1},
    {"count": 10**30, "ratio": -0.0, "text": '"1"', "quoted": '"2"', "either": "two\nlines ${{ github.token }}"},
    {"text": " a\nb ", "quoted": "", "mode": Mode.true, "choice": 2, "config": Config(1, 2.0, dt.date(2027, 3, 4))},
    {
        "choice": "1",
        "price": decimal.Decimal("0.30"),
        "moment": dt.datetime(2026, 1, 2, 3, fold=1),
        "blob": b"\x00\xff",
    },
    {"table": {"a ${{ x }}": (1, 2)}, "maybe": None, "moment": dt.datetime(2026, 1, 2, tzinfo=dt.timezone.utc)},
]


@dataclass
class Hub:
    """What GitHub holds, answers and was asked."""

    files: dict[str, str] = field(default_factory=dict)
    polls: list[tuple[str, list[tuple[str, str]]]] = field(default_factory=list)
    refusals: list[tuple[int, str]] = field(default_factory=list)
    says_which: bool = True
    started: list[dict[str, Any]] = field(default_factory=list)
    address: str = ""

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        here = f"/repos/{SLUG}"
        if self.refusals:
            code, message = self.refusals.pop(0)
            return code, {"message": message}
        if method == "GET" and path == here:
            return 200, {"default_branch": "trunk"}
        if method == "GET" and path.startswith(f"{here}/contents/"):
            text = self.files.get(path.removeprefix(f"{here}/contents/")) if query["ref"] == ["trunk"] else None
            return (404, {"message": "Not Found"}) if text is None else (200, text)
        if method == "POST" and path == f"{here}/actions/workflows/hourly.yml/dispatches":
            self.started.append(body)
            told = {
                "workflow_run_id": 41,
                "run_url": f"{self.address}{here}/actions/runs/41",
                "html_url": "https://x/41",
            }
            return (200, told) if self.says_which else (204, None)
        if method == "GET" and path == f"{here}/actions/runs/41":
            state = self.polls[0][0]
            return 200, {"status": "completed" if state in ("success", "failure") else state, "conclusion": state}
        if method == "GET" and path == f"{here}/actions/runs/41/jobs":
            jobs = self.polls[0][1]
            first = (int(query["page"][0]) - 1) * int(query["per_page"][0])
            if first + int(query["per_page"][0]) > len(jobs):
                self.polls = self.polls[1:] or self.polls
            return 200, {"jobs": [_job(at, *each) for at, each in enumerate(jobs)][first : first + 100]}
        return 404, {"message": "Not Found"}


def _job(at: int, name: str, state: str) -> dict[str, Any]:
    ended = state in ("success", "failure", "skipped")
    return {"id": at, "name": name, "status": "completed" if ended else state, "conclusion": state if ended else None}


@pytest.fixture
def hub() -> Iterator[Hub]:
    found = Hub(files=dict(FILES))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            url = urlsplit(self.path)
            code, answer = found.answer(self.command, url.path, parse_qs(url.query), body)
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                code, answer = 401, {"message": "Bad credentials"}
            sent = b"" if answer is None else (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_POST = do_GET  # noqa: N815  # the name that the class looks for

        def log_message(self, *about: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        found.address = f"http://127.0.0.1:{server.server_address[1]}"
        yield found
        server.shutdown()


@pytest.fixture
def deployed(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GithubDeployment:
    for name in ("GITHUB_API_URL", "GITHUB_REPOSITORY", "GH_TOKEN", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["git", "remote", "add", "origin", f"git@github.com:{SLUG}.git"], cwd=tmp_path, check=True)
    options = GithubDeployOptions(repository=str(tmp_path), server=hub.address, poll_seconds=0.001)
    found = deployment_of(hourly.spec, options)
    found.put(FILES)
    return found


def start(deployed: GithubDeployment, **parameters: Any) -> StartedRun:
    return deployed.start(encode_parameters(hourly.define(), parameters))


def refused(deployed: GithubDeployment) -> str:
    with pytest.raises(DeployError) as caught:
        start(deployed)
    (problem,) = caught.value.diagnostics
    return f"{problem.code}: {problem.message}"


# --- starting ---------------------------------------------------------------------------------------------------------


def test_a_run_is_started_on_the_default_branch_with_what_was_given(hub: Hub, deployed: GithubDeployment) -> None:
    assert start(deployed, count=3, flag=True) == StartedRun("41", "https://x/41")
    inputs = {"count": "3", "flag": "true"}
    (started,) = hub.started
    assert {name: started["inputs"][name] for name in inputs} == inputs
    assert (started["ref"], started["return_run_details"]) == ("trunk", True)


@pytest.mark.parametrize("given", VALUES, ids=range(len(VALUES)))
def test_the_program_reads_the_values_that_were_given(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = encode_parameters(hourly.define(), given)
    inputs = typed_inputs(hourly.spec, encoded)
    path, event = tmp_path / "hourly.py", tmp_path / "event.json"
    path.write_text(FILES[".github/penstock/hourly.py"])
    event.write_text(json.dumps({"inputs": inputs}))
    monkeypatch.setenv("GITHUB_EVENT_NAME", "workflow_dispatch")
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(event))
    program = runpy.run_path(str(path))
    known = {each.__qualname__: each for each in (Mode, Config)}
    for name, raw in program["started_with"]().items():
        kind = program["PARAMETERS"][name]["type"]
        read = program["coerce"](raw, kind, lambda said: known[said.rpartition(":")[2]])
        assert repr(read) == repr(given.get(name, hourly.function.__defaults__[list(encoded).index(name)]))


def test_a_choice_is_given_as_one_of_the_forms_options() -> None:
    inputs = typed_inputs(hourly.spec, encode_parameters(hourly.define(), {"mode": Mode.true, "choice": 2}))
    assert (inputs["mode"], inputs["choice"]) == ('"true"', "2")


def test_nothing_is_started_where_github_has_another_version(hub: Hub, deployed: GithubDeployment) -> None:
    hub.files[WORKFLOW] += "# changed\n"
    assert refused(deployed) == f"P814: {SLUG}, trunk does not take it: {WORKFLOW} is of another version there"
    del hub.files[WORKFLOW]
    assert refused(deployed) == f"P814: {SLUG}, trunk does not take it: {WORKFLOW} is not there"
    assert hub.started == []


def test_what_is_not_deployed_is_not_started(deployed: GithubDeployment, tmp_path: Path) -> None:
    (tmp_path / ".github" / "penstock" / "hourly.json").unlink()
    assert refused(deployed) == "P814: hourly does not take it: it is not deployed here"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((401, "Bad credentials"), "P812: {} turns this user away: 401 Bad credentials"),
        ((403, "Resource not accessible"), "P812: {} turns this user away: 403 Resource not accessible"),
        ((422, "Unexpected inputs"), "P814: {} does not take it: 422 Unexpected inputs"),
        ((500, "Oops"), "P814: {} does not take it: 500 Oops"),
    ],
)
def test_a_refusal_is_told_in_githubs_words(
    hub: Hub, deployed: GithubDeployment, answer: tuple[int, str], told: str
) -> None:
    hub.refusals.append(answer)
    assert refused(deployed) == told.format(f"{hub.address}/repos/{SLUG}")


def test_who_does_not_answer_is_named(hub: Hub, deployed: GithubDeployment, tmp_path: Path) -> None:
    options = GithubDeployOptions(repository=str(tmp_path), server="http://127.0.0.1:9")
    assert refused(deployment_of(hourly.spec, options)).startswith("P811: http://127.0.0.1:9 cannot be reached")


def test_a_server_that_does_not_say_which_run_it_started_is_not_guessed_about(
    hub: Hub, deployed: GithubDeployment
) -> None:
    hub.says_which = False
    assert "it has started a run, but does not say which" in refused(deployed)
    assert len(hub.started) == 1


def test_no_run_is_started_without_a_token_nor_is_one_ever_shown(
    hub: Hub, deployed: GithubDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GH_TOKEN", "another token")  # goes before GITHUB_TOKEN, as it does for gh
    said = refused(deployed)
    assert said.startswith("P812")
    assert "another token" not in said
    monkeypatch.delenv("GH_TOKEN")
    monkeypatch.delenv("GITHUB_TOKEN")
    assert refused(deployed) == f"P812: {hub.address} turns this user away: no token is given"
    with pytest.raises(DeployError, match="P812"):
        deployed.require_server()
    assert hub.started == []


def test_what_github_calls_the_repository_is_needed(deployed: GithubDeployment, tmp_path: Path) -> None:
    subprocess.run(["git", "remote", "remove", "origin"], cwd=tmp_path, check=True)
    with pytest.raises(ConfigurationError, match='github = "OWNER/NAME"'):
        start(deployed)


# --- following --------------------------------------------------------------------------------------------------------


def test_each_job_is_told_of_once_for_each_state(hub: Hub, deployed: GithubDeployment) -> None:
    hub.polls = [
        ("queued", []),
        ("in_progress", [("load", "in_progress"), ("train", "queued")]),
        ("in_progress", [("load", "success"), ("train", "waiting")]),
        ("in_progress", [("load", "success"), ("train", "in_progress")]),
        ("success", [("load", "success"), ("train", "success")]),
    ]
    said: list[str] = []
    assert deployed.follow(StartedRun("41"), said.append)
    assert said == [
        "load: in progress", "load: success", "train: waiting", "train: in progress", "train: success"
    ]  # fmt: skip


def test_a_run_that_fails_is_told_with_its_jobs(hub: Hub, deployed: GithubDeployment) -> None:
    hub.polls = [("failure", [("load", "failure"), ("train", "skipped")])]
    said: list[str] = []
    assert not deployed.follow(StartedRun("41"), said.append)
    assert said == ["load: failure", "train: skipped"]


def test_all_pages_of_jobs_are_read(hub: Hub, deployed: GithubDeployment) -> None:
    hub.polls = [("success", [(f"job {at}", "success") for at in range(250)])]
    said: list[str] = []
    assert deployed.follow(StartedRun("41"), said.append)
    assert len(set(said)) == 250


def test_some_answers_may_fail_to_come_but_not_all(
    hub: Hub, deployed: GithubDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.polls = [("success", [])]
    hub.refusals = [(502, "Bad gateway"), (404, "Not Found"), (500, "Oops")]
    assert deployed.follow(StartedRun("41"), print)
    hub.refusals = [(401, "Bad credentials")]
    with pytest.raises(DeployError, match="401 Bad credentials"):
        deployed.follow(StartedRun("41"), print)
    monkeypatch.setattr(following, "AWAY_SECONDS", 0)
    hub.refusals = [(502, "Bad gateway")]
    with pytest.raises(DeployError, match="502 Bad gateway"):
        deployed.follow(StartedRun("41"), print)


# --- by the command ---------------------------------------------------------------------------------------------------


def test_the_command_deploys_starts_and_follows(
    hub: Hub, deployed: GithubDeployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("flow.py").write_text(
        "from penstock import pipeline, step\n\n"
        "@step\ndef number(value: int) -> int:\n    return value\n\n"
        "@pipeline\ndef hourly(start: int = 1) -> int:\n    return number(start)\n"
    )
    words = ["deploy", "flow.py", "--to", "github", "--run", "-p", "start=3", "--option", f"server={hub.address}"]
    words += ["--option", "poll_seconds=0.001"]
    first = CliRunner().invoke(app, [*words, "--force"])  # another pipeline has the name so far
    assert (first.exit_code, "commit what is deployed, and push it" in first.output) == (1, True), first.output
    hub.files = {path: Path(path).read_text() for path in FILES}  # as if it were pushed
    hub.polls = [("success", [("number", "success")])]
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0, ran.output
    assert ran.output.splitlines()[-2:] == ["started run 41 https://x/41", "number: success"]
    assert hub.started[-1]["inputs"] == {"start": "3"}
    hub.polls = [("failure", [("number", "failure")])]
    assert CliRunner().invoke(app, words).exit_code == 1
