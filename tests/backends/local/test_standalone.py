"""What the emitted runner promises whoever starts it."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock import CompileError, Resources, Schedule, pipeline, step
from tests.backends.local import control, pipelines

# Each runs an emitted file, and many wait for what a step is to be late with.
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Limits:
    low: int
    high: float = 1.5


@step
def within(value: float, limits: Limits) -> bool:
    """Whether a value lies between."""
    return limits.low <= value <= limits.high


@step(resources=Resources(cpu=0.5, memory="1MiB"))
def label(flag: bool, text: str) -> str:
    return f"{text}: {flag}"


@pipeline(
    schedule=Schedule("0 2 * * *", timezone="Europe/Berlin"),
    description='Checks a value; "quoted", \'\'\'so\'\'\' """or so""", C:\\\\new \\',
)
def checks(value: float = 1.0, limits: Limits = Limits(0), text: str = "100% $ok {{ x }}") -> str:  # frozen
    return label(within(value, limits), text)


@pipeline
def starving() -> str:
    return label.with_options(resources=Resources(cpu=100_000))(True, "x")


@pipeline
def hungry() -> str:
    return label.with_options(resources=Resources(memory="1020 TiB"))(True, "x")


@step(packages=[], timeout=3, retry=1)
def quick() -> int:
    return 1


@pipeline
def prepared() -> int:
    return quick()


@pipeline
def computed(value: float = 1.0) -> object:
    found = within(value, Limits(0))
    return "within" if found else [found, "outside"]


@step(packages=[])
def squared(value: int) -> int:
    return value * value


@pipeline
def elsewhere() -> list[int]:
    return [squared(value) for value in control.upto(3)]


@step(image="python:3.12")
def boxed() -> int:
    return 1


@pipeline
def in_a_box() -> int:
    return boxed()


@pytest.fixture
def emitted(tmp_path):
    """Writes a pipeline's file and runs it in an interpreter without any installed package."""

    def run(chosen, *arguments, python=(sys.executable, "-I", "-S"), **more):
        ((name, text),) = chosen.compile("local").items()
        (tmp_path / name).write_text(text)
        return subprocess.run(
            [*python, name, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, **more
        )

    return run


def test_it_prints_a_line_for_each_node_the_result_and_where_outputs_are(emitted, tmp_path):
    ran = emitted(checks)
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert [line.partition(" after")[0] for line in lines[:2]] == ["within: succeeded", "label: succeeded"]
    assert lines[2] == "result: '100% $ok {{ x }}: True'"
    folder = Path(lines[3].removeprefix("succeeded: outputs and logs are in "))
    assert folder.parent == tmp_path / "checks-runs"
    assert json.loads((folder / "label" / "outputs" / "result.json").read_text())["outputs"] == {
        "output": "100% $ok {{ x }}: True"
    }


@pytest.mark.parametrize("chosen", [checks, control.fanned], ids=lambda each: each.name)
@pytest.mark.parametrize("version", ["3.9", "3.10", "3.12", "3.13", "3.14"])
def test_it_runs_on_every_python_from_3_9(emitted, version, chosen):
    kept = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    python = str(kept[-1]) if kept else shutil.which(f"python{version}")
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    ran = emitted(chosen, python=(python, "-I", "-S"))
    assert ran.returncode == 0, ran.stderr


def test_parameters_are_typed(emitted):
    ran = emitted(checks, "--value", "7", "--limits", '{"low": 2, "high": "inf"}', "--text", "[1]", "--json")
    assert json.loads(ran.stdout)["result"] == "[1]: True"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--value", "much"], 'error: parameter value: "much" is not float'),
        (["--limits", '{"hight": 3}'], "error: parameter limits: "),
        (["--limits", '{"low": "x"}'], "error: parameter limits: "),
        (["--valeu", "1"], "unrecognized arguments: --valeu"),
        (["--jobs", "0"], "error: --jobs must be at least 1"),
    ],
)
def test_a_wrong_argument_is_told_and_nothing_runs(emitted, tmp_path, arguments, message):
    ran = emitted(checks, *arguments)
    assert ran.returncode == 2
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "checks-runs").exists()


def test_its_help_shows_parameters_types_and_defaults(emitted):
    said = emitted(checks, "--help").stdout
    assert "Checks a value" in said
    assert "--text VALUE" in said
    assert "(str; default: '100% $ok {{ x }}')" in " ".join(said.split())
    assert "(float; default: 1.0)" in " ".join(said.split())


def test_a_failure_shows_the_authors_traceback_and_the_exit_code_is_1(emitted):
    ran = emitted(pipelines.one_failure)
    assert ran.returncode == 1
    assert 'File "<pipelines>"' in ran.stdout.replace("tests.backends.local.", "")
    assert "return value // scale" in ran.stdout
    assert "ZeroDivisionError" in ran.stdout
    assert "below: upstream_failed (fails failed)" in ran.stdout
    assert "independent: succeeded" in ran.stdout
    assert "run_job" not in ran.stdout


@pytest.mark.parametrize("how", ["exit", "segfault", "kill"])
def test_a_death_is_a_failed_attempt(emitted, how):
    said = json.loads(emitted(pipelines.misbehaving_once, "--how", how, "--json").stdout)
    assert said["result"] == how
    failed = emitted(pipelines.misbehaving, "--how", how)
    assert failed.returncode == 1
    assert "misbehaves: failed" in failed.stdout


def test_as_many_nodes_run_at_once_as_jobs_allow(emitted, tmp_path):
    said = emitted(pipelines.meeting, "--folder", str(tmp_path), "--jobs", "4", "--json").stdout
    assert json.loads(said)["state"] == "succeeded"
    began = time.monotonic()
    emitted(pipelines.nap_together, "--jobs", "1")
    assert time.monotonic() - began > 1.26


@pytest.fixture
def asleep(tmp_path):
    """An emitted file that runs, two of its steps asleep, and the processes of these."""
    ((name, text),) = pipelines.sleeping.compile("local").items()
    (tmp_path / name).write_text(text)
    note = tmp_path / "note"
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", name, "--note", str(note), "--json", "--jobs", "3"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )

    def is_asleep() -> bool:
        one = list(tmp_path.glob("sleeping-runs/*/one/outputs/result.json"))
        return bool(one) and note.exists() and len(note.read_text().split()) == 4

    assert waited_for(is_asleep)
    assert has_collected(process, left=2)
    with process:
        yield process, [int(pid) for pid in note.read_text().split()]


def has_collected(process, left: int) -> bool:
    """Waits until a runner has noted what came of all nodes that it began but so many."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    collected = waited_for(lambda: len(children.read_text().split()) == left)
    time.sleep(0.2)  # between collecting and noting
    return collected


def waited_for(condition) -> bool:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_an_interrupt_cancels_what_is_left_and_leaves_no_process(asleep):
    process, pids = asleep
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert json.loads(said)["nodes"] == {
        "one": "succeeded",
        "other": "cancelled",
        "sleeps": "cancelled",
        "after": "cancelled",
    }
    assert waited_for(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()])


def test_a_runner_that_is_killed_leaves_no_process(asleep):
    process, pids = asleep
    process.kill()
    process.wait(10)
    assert waited_for(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()])


@pipeline(schedule=Schedule("0 2 * * *", timezone="Europe/Berlin", start="2999-01-31"))
def later() -> str:
    return label(True, "x")


@pipeline(schedule=Schedule("0 2 * * *", start="2020-01-31T02:00:00"))
def begun(scheduled: str = "x") -> str:
    return label(True, scheduled)


def test_started_by_its_crontab_line_a_file_does_nothing_before_its_schedule_begins(emitted):
    (text,) = later.compile("local").values()
    assert "0 2 * * * python3 /path/to/later.py --scheduled\n" in text
    assert (emitted(later, "--scheduled").stdout, emitted(later, "--scheduled").returncode) == ("", 0)
    assert "result: 'x: True'" in emitted(later).stdout
    assert "result: 'y: True'" in emitted(begun, "--scheduled", "--parameter-scheduled", "y").stdout


def test_what_can_never_fit_is_told_before_anything_runs(emitted, tmp_path):
    ran = emitted(starving)
    assert ran.returncode == 1
    assert "label asks for 100000 of cpu, and this machine has " in ran.stderr
    assert not (tmp_path / "starving-runs").exists()
    assert "label asks for 1044480.00 GiB of memory, and this machine has " in emitted(hungry).stderr


def test_who_starts_it_says_what_may_be_asked_for(emitted):
    assert emitted(starving, "--cpu", "100000").returncode == 0
    assert emitted(hungry, "--memory", "1044480").returncode == 0
    assert "1044480.00 GiB of memory, and this machine has 1.00 GiB" in emitted(hungry, "--memory", "1").stderr


SLOW_UV = """#!{python}
import os, sys, time
time.sleep(4)
os.makedirs(sys.argv[-1] + "/bin")
os.symlink("{python}", sys.argv[-1] + "/bin/python")
"""


def test_making_an_environment_takes_nothing_of_a_steps_timeout(emitted, tmp_path):
    uv = tmp_path / "tools" / "uv"
    uv.parent.mkdir()
    uv.write_text(SLOW_UV.format(python=sys.executable))
    uv.chmod(0o755)
    ran = emitted(prepared, "--json", env={**os.environ, "PATH": f"{uv.parent}{os.pathsep}{os.environ['PATH']}"})
    said = json.loads(ran.stdout)
    assert (said["state"], said["result"]) == ("succeeded", 1), ran.stderr


def test_an_environment_that_cannot_be_made_fails_its_step_after_all_retries(emitted, tmp_path):
    ran = emitted(pipelines.with_impossible_packages)
    assert ran.returncode == 1
    assert "could not be installed" in ran.stdout


def test_metrics_are_told(emitted):
    assert ", value = 3, half = 1.5, none = nan" in emitted(pipelines.with_metrics).stdout


def test_a_node_carries_its_authors_condition_and_a_verdict_is_told(emitted, tmp_path):
    (text,) = control.gated.compile("local").values()
    assert "    # assert checked > 0.85\n    'assert': {" in text
    (text,) = control.fanned.compile("local").values()
    assert "    # for each of upto(count)\n    'for': {" in text
    assert "    # if value != 1\n    'if': {" in text
    ran = emitted(control.gated, "--note", str(tmp_path / "note"), "--value", "0.82")
    assert ran.returncode == 1
    assert "    gate output >= 0.8: passed (output = 0.82)\n" in ran.stdout
    assert ran.stdout.count("gate checked > 0.85: failed (score = 0.82): only 0.82") == 1
    assert "noted: upstream_failed (assert failed)" in ran.stdout
    kept = json.loads(emitted(control.gated, "--note", "x", "--value", "0.5", "--json").stdout)
    result = json.loads((Path(kept["folder"]) / "score" / "outputs" / "result.json").read_text())
    assert result["outputs"] == {"output": 0.5}


def test_a_result_may_be_computed_where_the_nodes_are_plain(emitted):
    assert json.loads(emitted(computed, "--json").stdout)["result"] == "within"
    assert json.loads(emitted(computed, "--value", "9", "--json").stdout)["result"] == [False, "outside"]


def test_no_more_items_are_under_way_than_the_author_allows(emitted):
    ran = emitted(control.bounded, "--count", "4", "--jobs", "4")
    ended = [line.partition(":")[0] for line in ran.stdout.splitlines() if line.startswith(("naps[", "second["))]
    for number in (2, 3):
        begun = [each for each in ended[: ended.index(f"naps[{number}]")] if each.startswith("second[")]
        assert len(begun) >= number - 1
    assert "result: [0, 1, 2, 3]" in ran.stdout


def test_what_was_done_is_undone_in_reverse(emitted, tmp_path):
    note = tmp_path / "note"
    said = json.loads(emitted(control.undone, "--note", str(note), "--how", "kill", "--json").stdout)
    assert said["state"] == "failed"
    ended = note.read_text().splitlines()[4:]
    assert ended == ["undo a2", "undo a1", "undo a0", "undo a", *["undone failed ['dies']"] * 2]


def test_a_run_ends_in_time(emitted, tmp_path):
    note, pids = tmp_path / "note", tmp_path / "pids"
    ran = emitted(control.overdue, "--note", str(note), "--pids", str(pids), "--json", "--jobs", "3")
    assert json.loads(ran.stdout)["nodes"] == {
        "double": "succeeded",
        "sleeps": "failed",
        "after_quick": "succeeded",
        "use": "upstream_failed",
        "told": "succeeded",
    }
    assert note.read_text() == "overdue failed ['sleeps']\n"
    assert waited_for(lambda: not [pid for pid in pids.read_text().split() if Path(f"/proc/{pid}").exists()])


def test_an_item_of_a_loop_reaches_an_environment_of_its_own(emitted):
    ran = emitted(elsewhere, "--json", python=(sys.executable,))
    said = json.loads(ran.stdout)
    assert (said["state"], said["result"]) == ("succeeded", [0, 1, 4]), ran.stderr


@pytest.fixture
def endless(tmp_path):
    """An emitted file that runs, one of its steps asleep, with something to do on exit."""
    ((name, text),) = control.interrupted.compile("local").items()
    (tmp_path / name).write_text(text)
    note, pids = tmp_path / "note", tmp_path / "pids"
    command = [sys.executable, "-I", "-S", name, "--note", str(note), "--pids", str(pids), "--json", "--seconds"]

    def begin(seconds: float):
        process = subprocess.Popen(
            [*command, str(seconds)], cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert waited_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        assert has_collected(process, left=1)
        begun.append(process)
        return process

    begun: list[subprocess.Popen[str]] = []
    yield begin, note
    for process in begun:
        process.kill()
        process.communicate()


def test_an_interrupt_does_not_keep_from_running_what_runs_on_exit(endless):
    begin, note = endless
    process = begin(0.0)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert json.loads(said)["nodes"] == {
        "create": "succeeded",
        "sleeps": "cancelled",
        "use": "cancelled",
        "undo": "skipped",
        "told": "skipped",
        "last": "succeeded",
    }
    assert note.read_text().splitlines()[-1] == "left"


def test_a_node_that_ends_just_as_the_run_is_interrupted_is_told_of(tmp_path):
    ((name, text),) = control.interrupted.compile("local").items()
    head = "    def end_node(self, node: str, index: tuple[int, ...], began: float, status: int) -> None:\n"
    assert head in text
    interrupt = "        if node == 'create':\n            os.kill(os.getpid(), signal.SIGINT)\n"
    (tmp_path / name).write_text(text.replace(head, head + interrupt))
    command = [sys.executable, "-I", "-S", name, "--note", "note", "--pids", "pids", "--json", "--seconds", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    nodes = json.loads(done.stdout)["nodes"]
    assert (done.returncode, nodes["create"], nodes["use"], nodes["last"]) == (1, "cancelled", "cancelled", "succeeded")


def test_a_second_interrupt_stops_that_too(endless):
    begin, note = endless
    process = begin(60.0)
    os.killpg(process.pid, signal.SIGINT)
    assert waited_for(lambda: "leaving" in note.read_text())
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert json.loads(said)["nodes"]["last"] == "cancelled"
    assert note.read_text().splitlines()[-1] == "leaving"


def test_a_schedule_is_told_in_crontab_lines():
    (text,) = checks.compile("local").values()
    documentation = ast.get_docstring(ast.parse(text))
    assert "CRON_TZ=Europe/Berlin\n    0 2 * * * python3 /path/to/checks.py" in documentation


def test_an_image_is_refused_at_the_authors_line():
    with pytest.raises(CompileError) as caught:
        in_a_box.compile("local")
    (problem,) = caught.value.diagnostics
    assert problem.code == "P501"
    assert "return boxed()" in problem.location.text


def test_it_holds_no_trace_of_what_is_not_used():
    (text,) = pipelines.chain.compile("local").values()
    assert not [line for line in text.splitlines() if line.startswith(("import penstock", "from penstock"))]
    assert "environment(" not in text
    assert "machine()" not in text
    assert "class Graph" not in text
    assert "deque" not in text


@pytest.mark.parametrize(
    "chosen", [checks, starving, pipelines.several, control.undone, control.overdue], ids=lambda each: each.name
)
def test_it_is_python_and_ends_with_one_newline(chosen):
    (text,) = chosen.compile("local").values()
    ast.parse(text)
    assert text.endswith("sys.exit(main())\n")
    assert not [line for line in text.splitlines() if line != line.rstrip()]
