"""The commands for runs: what a person sees of them, and how they are gone on with and removed."""

from __future__ import annotations

import json
import linecache
import os
import sys
import threading
import time

import pytest
from typer.testing import CliRunner

from penstock import compiler
from penstock.cli import app

SOURCE = """
from penstock import Retry, current_attempt, log_metric, pipeline, step

@step(retry=1)
def load(rows: int) -> int:
    print("loading", rows)
    if current_attempt() == 1:
        raise ValueError("too early")
    return rows

@step
def score(rows: int) -> float:
    log_metric("accuracy", rows / 10)
    return rows / 10

@pipeline
def work(rows: int = 5) -> float:
    accuracy = score(load(rows))
    assert accuracy > 0.3, "too low"
    return accuracy
"""


class Terminal:
    def __init__(self, folder):
        self.folder = folder
        self.write()

    def write(self, *changes):
        source = SOURCE
        for before, after in changes:
            assert before in source
            source = source.replace(before, after)
        (self.folder / "work.py").write_text(source)
        sys.modules.pop("work", None)
        linecache.clearcache()

    def __call__(self, *arguments, code=0):
        ended = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})
        assert ended.exit_code == code, ended.output
        return ended.output

    def run(self, *arguments, code=0):
        """Runs the pipeline; the run's id."""
        self("run", "work.py", *arguments, code=code)
        return self.ids()[0]

    def ids(self):
        return [each["run"] for each in json.loads(self("runs", "list", "--json"))]


@pytest.fixture
def terminal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PENSTOCK_STORE", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr("signal.signal", lambda number, handler: handler)
    yield Terminal(tmp_path)
    sys.modules.pop("work", None)


def test_where_there_are_no_runs_nothing_is_made(terminal):
    assert "no runs yet" in terminal("runs", "list")
    assert json.loads(terminal("runs", "list", "--json")) == []
    assert "P730" in terminal("runs", "show", code=2)
    assert not os.path.exists(".penstock")


def test_a_list_is_of_one_pipeline_newest_first_and_says_that_there_are_more(terminal):
    first, second = terminal.run("--inline"), terminal.run("--inline", "-p", "rows=2", code=1)
    assert terminal.ids() == [second, first]
    said = terminal("runs", "list")
    assert said.index(second) < said.index(first)
    assert "1 failed" in said
    assert "older runs are left out" in terminal("runs", "list", "--limit", 1)
    assert first in terminal("runs", "list", "--pipeline", "work")
    assert "no runs of `other` yet" in terminal("runs", "list", "--pipeline", "other")


def test_a_run_is_shown_with_all_that_became_of_its_nodes(terminal):
    run = terminal.run("--inline", "-p", "rows=2", code=1)
    said = terminal("runs", "show", run[:-1])
    for part in ("work run", "failed", "work.py:work", "rows  2", "2 attempts", "accuracy=0.2", "too low"):
        assert part in said
    found = json.loads(terminal("runs", "show", "--json"))
    assert found["parameters"] == {"rows": 2}
    assert len(found["spec"]) == 64
    nodes = {node["node"]: node for node in found["nodes"]}
    assert [each["state"] for each in nodes["load"]["attempts"]] == ["failed", "succeeded"]
    assert nodes["load"]["attempts"][0]["error"] == "ValueError: too early"
    assert nodes["score"]["metrics"] == {"accuracy": 0.2}
    assert nodes["assert"]["gates"][0]["passed"] is False


def test_why_nodes_ran_is_said_after_a_run_and_later(terminal):
    terminal.run("--inline")
    terminal.write(("rows / 10\n\n@pipe", "rows / 10.0\n\n@pipe"))
    assert "ran: step `score` changed" in terminal("run", "work.py", "--inline", "--explain")
    assert "ran: step `score` changed" in terminal("runs", "show", "--explain")
    why = {
        node["node"]: node.get("why") for node in json.loads(terminal("runs", "show", "--explain", "--json"))["nodes"]
    }
    assert why["score"] == "step `score` changed"
    assert why["load"].startswith("the same code and inputs as in run ")


def test_logs_are_printed_as_they_are(terminal):
    terminal.run()
    assert terminal("runs", "logs", "latest", "load") == "loading 5\n"
    assert terminal("runs", "logs", "latest", "load", "--attempt", 1).startswith("loading 5\nTraceback")
    said = terminal("runs", "logs")
    assert said.index("==> load, attempt 1 <==") < said.index("==> load, attempt 2 <==")
    assert "did you mean `load`?" in terminal("runs", "logs", "latest", "laod", code=2)
    assert "one of: 1, 2" in terminal("runs", "logs", "latest", "load", "--attempt", 3, code=2)
    terminal.run()
    assert "which runs computed what is cached: penstock runs show" in terminal("runs", "logs", "latest", "load")


@pytest.mark.slow
def test_logs_are_followed_until_the_run_ends(terminal):
    terminal.write(('print("loading", rows)', 'print("loading", rows, flush=True); import time; time.sleep(0.3)'))
    running = threading.Thread(target=lambda: compiler_run("work.py"))
    running.start()
    while not list(compiler.history(None).runs()):
        time.sleep(0.01)
    said = terminal("runs", "logs", "latest", "--follow")
    running.join()
    assert said.count("loading 5") == 2


def compiler_run(file):
    from penstock.loading import load_definition

    compiler.run_definition(load_definition(file), {"rows": 5})


def test_a_comparison_names_what_differs_alone(terminal):
    first = terminal.run("--inline")
    assert "parameters are the same\ncode is the same\npipeline is the same" in terminal(
        "runs", "compare", first, first
    )
    terminal.write(
        ("return rows / 10", "return rows / 20"),
        ("@step(retry=1)", "@step(retry=1, env={'A': 'b'})"),
        ("score(load(rows))", "score(load(rows)); score.with_options(name='again')(rows)"),
        ("accuracy > 0.3", "accuracy > 0.2"),
    )
    terminal.run("--inline", "-p", "rows=8")
    said = terminal("runs", "compare", first)
    assert "rows: 5 → 8" in said
    for part in ("step score changed", "node again is new", "node load has other env", "node assert has other inputs"):
        assert part in said
    assert "accuracy=0.5 → 0.8" in said
    found = json.loads(terminal("runs", "compare", first, "--json"))
    assert found["code"] == [{"name": "work.score", "how": "changed", "steps": ["work:score"]}]
    assert found["pipeline"][0] == {"node": "load", "how": "changed", "what": ["env"]}
    assert [each["parameters"]["rows"] for each in found["runs"]] == [5, 8]


def test_a_run_is_compared_with_the_newest_other_of_its_pipeline(terminal):
    first = terminal.run("--inline")
    assert "the only one of `work`" in terminal("runs", "compare", "latest", code=2)
    terminal.run("--inline", "-p", "rows=7")
    assert "rows: 5 → 7" in terminal("runs", "compare")
    assert "rows: 5 → 7" in terminal("runs", "compare", first)


def test_logs_of_a_node_that_is_called_otherwise_name_what_may_be_meant(terminal):
    terminal.write(
        ("rows: int = 5", "rows: int = 5, sizes: list[int] = [5, 6]"),
        ("accuracy = score(load(rows))", "[score(size) for size in sizes]; accuracy = score(load(rows))"),
        ("retry=1", "retry=1, name='fetch'"),
    )
    terminal.run("--inline")
    for asked, fix in (
        ("fetsh", "did you mean `fetch`?"),
        ("score", "give one of: `score[0]`, `score[1]`\n"),
        ("zzz", "there are: `"),
    ):
        said = terminal("runs", "logs", "latest", asked, code=2)
        assert "P734" in said
        assert fix in said
    assert "P734" in terminal("runs", "logs", "latest", "fetsh", "--follow", code=2)


def test_runs_are_removed_by_name_age_and_number(terminal):
    runs = [terminal.run("--inline") for _ in range(4)]
    assert "P735" in terminal("runs", "rm", code=2)
    terminal("runs", "rm", runs[0])
    assert terminal.ids() == runs[:0:-1]
    assert runs[1] in terminal("runs", "rm", "--keep", 2, "--dry-run")
    assert len(terminal.ids()) == 3
    assert "no run is to be removed" in terminal("runs", "rm", "--older-than", "1h")
    terminal("runs", "rm", "--keep", 1, "--older-than", "0s")
    assert terminal.ids() == [runs[3]]
    assert "cached" in terminal("run", "work.py", "--inline")  # results stay


def test_a_run_under_way_is_not_removed(terminal):
    def remove(event):
        if type(event).__name__ == "AttemptStarted":
            said.append(terminal("runs", "rm", "latest", code=2))
            terminal("runs", "rm", "--keep", 0)

    from penstock.loading import load_definition

    said = []
    run = compiler.run_definition(load_definition("work.py"), {"rows": 5}, inline=True, on_event=remove)
    assert said
    assert all("P731" in each for each in said)
    assert terminal.ids() == [run.id]


def test_a_run_is_resumed_with_what_changed_said(terminal):
    run = terminal.run("--inline", "-p", "rows=2", code=1)
    terminal.write(("accuracy > 0.3", "accuracy > 0.1"), ("return rows / 10", "return rows / 9"))
    said = terminal("runs", "resume", run, "--inline")
    assert f"resuming run {run} (failed, 2 nodes completed)" in said
    assert "step score changed" in said
    assert "= load" in said
    assert json.loads(terminal("runs", "list", "--json"))[0]["resumes"] == run
    said = terminal("runs", "resume", run, "--as-it-was", code=1)
    assert "too low" in said
    assert "--store" not in said.partition("go on with it:")[2]


def test_a_run_whose_file_is_gone_is_resumed_as_it_was(terminal):
    run = terminal.run("--inline")
    os.remove("work.py")
    said = terminal("runs", "resume", run)
    assert "is gone: the pipeline runs as it was then" in said.replace("\n", " ")
    assert "succeeded" in said


def test_a_pipeline_that_is_not_there_any_more_may_run_as_it_was(terminal):
    terminal.run("--inline")
    terminal.write(("def work(", "def other("))
    said = terminal("runs", "resume", code=2)
    assert "P714" in said
    assert "--as-it-was" in said
    terminal("runs", "resume", "--as-it-was")


def test_parameters_that_no_longer_fit_are_told(terminal):
    terminal.run("--inline")
    terminal.write(("rows: int = 5", "lines: int = 5"), ("load(rows))", "load(lines))"))
    said = terminal("runs", "resume", code=2)
    assert "does not fit the pipeline any more" in said
    assert "--as-it-was" in said
