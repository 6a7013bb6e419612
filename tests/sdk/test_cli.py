"""The command line as a user meets it: what it prints, writes and returns."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from penstock import DefinitionError, cli
from penstock.loading import load_definition
from tests.warm_python import penstock

SOURCE = '''
import time
from penstock import log_metric, pipeline, step
import beside

@step
def make(n: int, label: str = "x") -> list[int]:
    log_metric("made", n)
    return [beside.ONE] * n

@step
def total(values: list[int]) -> int:
    if len(values) > 5:
        raise ValueError("too many")
    return sum(values)

@pipeline
def sums(n: int = 3, label: str = "x") -> int:
    """Adds ones."""
    return total(make(n, label))
'''
BROKEN = (
    SOURCE
    + """
@pipeline
def broken(n: int) -> int:
    return total(n)
"""
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "flow.py").write_text(SOURCE)
    (tmp_path / "beside.py").write_text("ONE = 1\n")
    (tmp_path / "broken.py").write_text(BROKEN)
    return tmp_path


def test_a_run_shows_its_nodes_its_result_and_where_it_is_kept(project):
    done = penstock(project, "run", "flow.py", "-p", "n=4")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any("✓ make" in line and "made=4" in line for line in lines)
    assert "result 4" in lines
    assert lines[-1].startswith("succeeded in")
    assert Path(project, lines[-1].split()[-1]).is_dir()


def test_a_failed_run_shows_the_authors_own_lines_and_ends_with_1(project):
    done = penstock(project, "run", "flow.py:sums", "-p", "n=6")
    assert done.returncode == 1
    assert "ValueError: too many" in done.stderr
    assert f'File "{project / "flow.py"}", line 14, in total' in done.stderr
    assert "penstock/" not in done.stderr.replace(".penstock/", "")
    assert done.stdout.splitlines()[-1].startswith("failed in")


def test_a_spec_in_json_runs_as_well(project):
    Path(project, "flow.json").write_text(penstock(project, "spec", "flow.py").stdout)
    done = penstock(project, "run", "flow.json", "-p", "n=2")
    assert done.returncode == 0, done.stderr
    assert "result 2" in done.stdout


CLASSES = """
from dataclasses import dataclass
from penstock import pipeline, step

@dataclass
class Config:
    depth: int

@step
def grow(config: Config) -> Config:
    return Config(config.depth + 1)

@pipeline
def tree(config: Config = Config(3)) -> Config:
    return grow(config)
"""


@pytest.fixture
def spec_alone(project, tmp_path_factory) -> Path:
    """A folder that holds nothing but the spec of a pipeline with classes of its own."""
    Path(project, "classes.py").write_text(CLASSES)
    folder = tmp_path_factory.mktemp("elsewhere")
    Path(folder, "tree.json").write_text(penstock(project, "spec", "classes.py").stdout)
    return folder


def test_a_result_of_the_authors_class_is_kept_where_a_spec_cannot_show_it(spec_alone):
    done = penstock(spec_alone, "run", "tree.json")
    assert done.returncode == 0, done.stderr
    assert "result kept in .penstock/runs/" in done.stdout
    assert "`Config` of module `classes` is the author's" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_parameter_of_the_authors_class_is_told_to_be_given_to_the_python_file(spec_alone, project):
    words = ("-p", 'config={"depth": 5}')
    done = penstock(spec_alone, "run", "tree.json", *words)
    assert done.returncode == 2
    assert "P603: parameter `config`: its class `Config` is the author's" in done.stderr
    assert "penstock run classes.py:tree" in done.stderr
    assert "Traceback" not in done.stderr
    assert "result Config(depth=6)" in penstock(project, "run", "classes.py:tree", *words).stdout


HUNGRY = SOURCE.replace("import log_metric", "import Resources, log_metric").replace(
    "@step\ndef make", '@step(resources=Resources(cpu=3000, memory="1020Gi", gpu=2))\ndef make'
)


def test_what_does_not_fit_is_told_at_the_authors_line_and_can_be_allowed(project):
    Path(project, "inner").mkdir()
    Path(project, "inner", "flow.py").write_text(HUNGRY)
    Path(project, "inner", "beside.py").write_text("ONE = 1\n")
    done = penstock(project, "run", "inner/flow.py")
    assert done.returncode == 2
    assert "asks for 3000 cores of " in done.stderr
    assert "1020 GiB of memory of " in done.stderr
    assert "--> inner/flow.py:" in done.stderr
    assert "`--cpu`, `--memory`, `--gpu`" in done.stderr
    allowed = penstock(
        project, "run", "inner/flow.py", "--cpu", "3000", "--memory", "1020Gi", "--gpu", "2", "--workers", "2"
    )
    assert allowed.returncode == 0, allowed.stderr
    refused = penstock(project, "run", "inner/flow.py", "--memory", "plenty")
    assert refused.returncode == 2
    assert "P705: run option `memory`: memory 'plenty' is not a size" in refused.stderr


SLOW = """
import subprocess
import time
from penstock import pipeline, step

@step
def slow() -> int:
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    with open({pid!r}, "w") as file:
        file.write(str(child.pid))
    time.sleep(600)
    return 1

@step
def after(n: int) -> int:
    return n

@pipeline
def flow() -> int:
    return after(slow())
"""


def is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def wait_for(condition, seconds: float = 30.0) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return bool(condition())


@pytest.mark.slow
@pytest.mark.parametrize("mode", [(), ("--inline",)], ids=["workers", "inline"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_stopped_is_recorded_and_leaves_no_process(project, number, mode):
    started = Path(project, "child.pid")
    Path(project, "slow.py").write_text(SLOW.format(pid=str(started)))
    command = [sys.executable, "-m", "penstock", "run", "slow.py", *mode]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) as process:
        assert wait_for(lambda: started.exists() and started.read_text())
        process.send_signal(number)
        if number == signal.SIGINT and not mode:
            assert any("Ctrl-C again" in line for line in process.stdout)
            process.send_signal(number)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "cancelled" in said.splitlines()[-1]
    (folder,) = Path(project, ".penstock", "runs").iterdir()
    summary = json.loads((folder / "run.json").read_text())
    assert summary["state"] == "cancelled"
    assert {name: (node["state"], node["attempts"]) for name, node in summary["nodes"].items()} == {
        "slow": ("cancelled", 1),
        "after": ("cancelled", 0),
    }
    assert summary["nodes"]["slow"]["seconds"] > 0
    assert '"run_ended"' in (folder / "events.jsonl").read_text().splitlines()[-1]
    assert wait_for(lambda: not is_running(int(started.read_text())))


@pytest.mark.slow
def test_a_run_goes_on_where_the_signal_was_to_be_ignored(project):
    command = f"trap '' HUP; {sys.executable} -m penstock run flow.py & sleep 0.5; kill -HUP $!; wait $!"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=project, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


TYPED = """
import datetime as dt
import enum
from typing import Literal
from penstock import pipeline, step
from pydantic import BaseModel, Field

class Mode(enum.Enum):
    LEAST = "min"
    MOST = "max"

class Limits(BaseModel):
    most: int = Field(ge=1)

@step
def report(n: int, day: dt.date, mode: Mode, size: Literal["s", 1], most: int | None, limits: Limits) -> dict[str, str]:
    return {"title": str(n), "text": "first\\nsecond"}

@pipeline
def typed(
    n: int = 1,
    day: dt.date = dt.date(2026, 1, 1),
    mode: Mode = Mode.LEAST,
    size: Literal["s", 1] = "s",
    most: int | None = None,
    limits: Limits = Limits(most=1),
) -> dict[str, str]:
    return report(n, day, mode, size, most, limits)
"""


def test_each_wrong_parameter_is_told_what_fits_its_type(project):
    Path(project, "typed.py").write_text(TYPED)
    given = ["n=x", "day=x", "mode=x", "size=x", "most=x", 'limits={"most": 0}']
    done = penstock(project, "run", "typed.py", *(word for each in given for word in ("-p", each)))
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if line.startswith("fix: ")] == [
        "fix: give a whole number: -p n=3",
        "fix: give a date as YYYY-MM-DD: -p day=2026-01-31",
        "fix: give one of: min, max",
        "fix: give one of: s, 1",
        "fix: give a whole number: -p most=3, or null",
        "fix: write it as JSON: -p limits='{\"most\": 3}'",
    ]
    assert "  most: Input should be greater than or equal to 1" in done.stderr
    assert not done.stderr.endswith("\n\n")


def test_a_result_is_shown_in_tidy_lines_and_texts_as_they_are(project):
    Path(project, "typed.py").write_text(TYPED)
    done = penstock(project, "run", "typed.py")
    assert "result\n  title  '1'\n  text   first\n         second\nsucceeded in" in done.stdout
    assert ", kept in .penstock/runs/" in done.stdout.splitlines()[-1]


def test_an_option_that_no_target_knows_is_refused_and_others_go_to_those_that_know_them(project):
    done = penstock(project, "compile", "flow.py", "--to", "all", "-o", "out", "--option", "pol=small")
    assert done.returncode == 2
    assert "P702: the targets airflow, github, kubeflow, local have no option `pol`" in done.stderr
    assert "did you mean `pool`?" in done.stderr
    assert not Path(project, "out").exists()
    done = penstock(project, "compile", "flow.py", "--to", "all", "-o", "out", "--option", "pool=small")
    assert done.returncode == 0, done.stderr
    assert "small" in Path(project, "out", "airflow", "sums.py").read_text()


def test_where_one_target_refuses_it_is_named_and_nothing_is_written(project):
    Path(project, "flow.py").write_text(SOURCE.replace("@step\ndef total", '@step(image="python:3.12")\ndef total'))
    done = penstock(project, "compile", "flow.py", "--to", "all", "-o", "out")
    assert done.returncode == 1
    assert "P536: airflow cannot keep the image of `total`" in done.stderr
    assert "P501: local cannot keep the image of `total`" in done.stderr
    assert "refused by airflow, local: nothing was written" in done.stderr
    assert "--to github,kubeflow" in done.stderr
    assert not Path(project, "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "flw.py"], "did you mean flow.py?"),
        (["run", "flow.py:sum"], "did you mean `sums`?"),
        (["run", "flow.py", "-p", "lable=3"], "did you mean `label`?"),
        (["run", "flow.py", "-p", "n=many"], '"many" is not int'),
        (["run", "flow.py", "-p", "n"], "write -p n=VALUE"),
        (["run", "flow.py", "-p", "n=1", "-p", "n=2"], "P604: `-p n` is given 2 times"),
        (
            ["compile", "flow.py", "--to", "local", "--option", "x=1", "--option", "x=1"],
            "`--option x` is given 2 times",
        ),
        (["compile", "flow.py", "--to", "local", "-o", "beside.py"], "beside.py is a file, not a folder"),
        (["compile", "flow.py", "--to", "all", "-o", "/proc/x"], "P716: /proc/x/airflow/sums.py cannot be written"),
        (["run", "beside.py"], "decorate a function in it with `@pipeline`"),
        (["compile", "flow.py", "--to", "airlow"], "did you mean `airflow`?"),
        (["compile", "flow.py", "--to", "local", "--option", "x=1"], "has no option `x`"),
        (["check", "broken.py:broken"], "`values` of `total` takes list[int], but parameter `n` is int"),
        (["spec", "flow.py:sums:x"], "there is no file"),
        (["frobnicate"], "No such command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_the_user_got_wrong_is_told_with_the_fix_and_ends_with_2(project, words, said):
    done = penstock(project, *words)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_was_edited_since_it_was_imported_is_told_of_as_it_is_now(tmp_path):
    source = (
        "from penstock import pipeline, step\n\n@step\ndef rows(n: int) -> list[int]:\n    return [n]\n\n"
        "@pipeline\ndef added(n: int = 2) -> int:\n    return sum(rows(n))\n"
    )
    for text, call, line in ((source, "sum(rows(n))", 9), (source.replace("sum", "max"), "max(rows(n))", 9)):
        for before in ("", "import os\n"):
            (tmp_path / "edited.py").write_text(before + text)
            with pytest.raises(DefinitionError) as caught:
                load_definition(str(tmp_path / "edited.py"))
            (problem,) = caught.value.diagnostics
            assert problem.location is not None
            assert problem.message.startswith(f"`{call[:3]}()` asks for `rows`'s result")
            assert (problem.location.line, problem.location.text.strip()) == (line + bool(before), f"return {call}")


def test_a_file_that_fails_to_import_shows_the_authors_traceback_only(project):
    Path(project, "bad.py").write_text("x = 1\ny = x / 0\n")
    done = penstock(project, "run", "bad.py")
    assert done.returncode == 2
    assert "line 2" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert "loading.py" not in done.stderr


LATE = """
from penstock import pipeline, step

@step
def load(n: int) -> int:
    return n

@pipeline
def flow(n: int) -> int:
    return laod(n)
"""


def test_an_error_in_a_pipelines_function_is_told_by_the_authors_lines(project):
    Path(project, "late.py").write_text(LATE)
    done = penstock(project, "check", "late.py")
    assert done.returncode == 2
    assert "P713: pipeline `flow` of late.py fails when its graph is made" in done.stderr
    assert f'File "{project / "late.py"}", line 10, in flow' in done.stderr
    assert "NameError: name 'laod' is not defined" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("File ") == 1


@pytest.mark.parametrize("below", [".", "deeper"])
def test_a_failed_import_shows_no_frames_of_the_import_system(project, below):
    Path(project, "package").mkdir()
    Path(project, "package", "__init__.py").write_text("")
    Path(project, "package", "bad.py").write_text("x = {}['y']\n")
    Path(project, "package", "deeper").mkdir()
    done = penstock(project / "package" / below, "run", str(project / "package" / "bad.py"))
    assert done.returncode == 2
    assert "KeyError: 'y'" in done.stderr
    assert "frozen" not in done.stderr
    assert done.stderr.count("File ") == 1


def test_a_file_that_ends_the_program_is_told(project):
    Path(project, "ends.py").write_text("import sys\n\nsys.exit(3)\n")
    done = penstock(project, "run", "ends.py")
    assert done.returncode == 2
    assert "P713: ends.py cannot be imported" in done.stderr
    assert "SystemExit: 3" in done.stderr


TWICE = """
@pipeline
def twice(n: int = 2) -> int:
    return sums(sums(n))
"""


def test_the_pipeline_that_no_other_nests_is_the_one_that_is_meant(project):
    Path(project, "flow.py").write_text(SOURCE + TWICE)
    assert "result 2" in penstock(project, "run", "flow.py").stdout
    Path(project, "flow.py").write_text(SOURCE + TWICE + TWICE.replace("twice", "again"))
    done = penstock(project, "run", "../" + project.name + "/flow.py")
    assert done.returncode == 2
    assert f"P712: ../{project.name}/flow.py defines 3 pipelines" in done.stderr
    assert f"say which: `../{project.name}/flow.py:twice`, `../{project.name}/flow.py:again`" in done.stderr


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("my-flow.py", "my_flow.py"),
        ("my flow.py", "my_flow.py"),
        ("2nd.py", "_2nd.py"),
        ("class.py", "class_.py"),
        ("flow", "flow.py"),
    ],
)
def test_a_file_that_no_program_can_import_is_refused_for_every_command_and_as_a_script(project, name, better):
    Path(project, name).write_text(SOURCE)
    for done in (
        penstock(project, "run", name),
        penstock(project, "compile", name, "--to", "all"),
        subprocess.run([sys.executable, name], capture_output=True, text=True, cwd=project, check=False),
    ):
        assert done.returncode != 0
        assert f"P715: {name} " in done.stderr
        assert f"fix: rename the file to {better}\n" in done.stderr
    assert not Path(project, ".penstock").exists()


def test_the_name_of_a_package_must_be_a_name_as_well(project):
    Path(project, "my-shop").mkdir()
    Path(project, "my-shop", "__init__.py").write_text("")
    Path(project, "my-shop", "flow.py").write_text(SOURCE)
    done = penstock(project, "run", "my-shop/flow.py")
    assert done.returncode == 2
    assert "fix: rename the folder to my_shop\n" in done.stderr


@pytest.mark.parametrize("text", ["{", "{}", "\\xff"])
def test_a_spec_that_is_broken_is_named(project, text):
    Path(project, "spec.json").write_bytes(text.encode())
    done = penstock(project, "check", "spec.json")
    assert done.returncode == 2
    assert "P400: spec.json: " in done.stderr


@pytest.mark.slow
def test_all_targets_are_written_side_by_side_and_then_checked(project):
    done = penstock(project, "compile", "flow.py", "--to", "all", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert sorted(each.name for each in Path(project, "out").iterdir()) == ["airflow", "github", "kubeflow", "local"]
    assert penstock(project, "compile", "flow.py", "--to", "all", "-o", "out", "--check").returncode == 0
    changed = Path(project, "out", "airflow", "sums.py")
    changed.write_text(changed.read_text().replace("Adds ones", "Adds twos"))
    checked = penstock(project, "compile", "flow.py", "--to", "all", "-o", "out", "--check")
    assert checked.returncode == 1
    assert checked.stdout.startswith("--- out/airflow/sums.py (on disk)\n+++ out/airflow/sums.py (as compiled)\n")
    assert "Adds twos" in checked.stdout
    assert "airflow/sums.py differs" in checked.stderr
    changed.unlink()
    assert (
        "airflow/sums.py is missing"
        in penstock(project, "compile", "flow.py", "--to", "airflow", "-o", "out/airflow", "--check").stderr
    )


def test_nothing_is_written_where_one_file_cannot_be(project):
    Path(project, "out", "local", "sums.py").mkdir(parents=True)
    done = penstock(project, "compile", "flow.py", "--to", "all", "-o", "out")
    assert done.returncode == 2
    assert "P716: out/local/sums.py cannot be written: it is a folder" in done.stderr
    assert [each.name for each in Path(project, "out").iterdir()] == ["local"]


def test_targets_may_be_written_with_spaces(project):
    done = penstock(project, "compile", "flow.py", "--to", "airflow, local", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert sorted(each.name for each in Path(project, "out").iterdir()) == ["airflow", "local"]


def test_options_come_from_pyproject_and_the_command_line_goes_before(project):
    Path(project, "pyproject.toml").write_text("[tool.penstock.airflow]\nairflow = 2\n")
    penstock(project, "compile", "flow.py", "--to", "airflow", "-o", "two")
    penstock(project, "compile", "flow.py", "--to", "airflow", "-o", "three", "--airflow", "3")
    assert "airflow.decorators" in Path(project, "two", "sums.py").read_text()
    assert "airflow.sdk" in Path(project, "three", "sums.py").read_text()


def test_check_says_what_each_target_makes_of_a_pipeline(project):
    done = penstock(project, "check", "flow.py")
    assert done.returncode == 0, done.stderr
    assert "2 tasks of 2 steps, sound" in done.stdout
    Path(project, "flow.py").write_text(SOURCE.replace("@step\ndef total", '@step(image="python:3.12")\ndef total'))
    done = penstock(project, "check", "flow.py")
    assert done.returncode == 1
    assert "P501: local cannot keep the image of `total`" in done.stderr
    assert "return total(make(n, label))" in done.stderr


def test_the_graph_is_mermaid(project):
    assert (
        penstock(project, "graph", "flow.py").stdout == 'flowchart TD\n    n0["make"]\n    n1["total"]\n    n0 --> n1\n'
    )


def test_the_schema_accepts_the_spec(project):
    import jsonschema

    schema = json.loads(penstock(project, "schema").stdout)
    jsonschema.Draft202012Validator(schema).validate(json.loads(penstock(project, "spec", "flow.py").stdout))


@pytest.mark.slow
def test_the_same_source_gives_the_same_spec_however_it_is_loaded(project):
    by_cli = penstock(project, "spec", "flow.py").stdout
    program = "import sys; sys.path.insert(0, '.'); import flow; print(flow.sums.spec.model_dump_json(indent=2))"
    as_script = SOURCE + "\nif __name__ == '__main__':\n    print(sums.spec.model_dump_json(indent=2))\n"
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=project, check=True).stdout
        == by_cli
    )
    Path(project, "flow.py").write_text(as_script)
    ran = subprocess.run([sys.executable, "flow.py"], capture_output=True, text=True, cwd=project, check=True).stdout
    assert ran == penstock(project, "spec", "flow.py").stdout


def test_ctrl_c_before_anything_has_begun_shows_no_traceback(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupted)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 130


def test_what_the_author_wrote_is_not_overwritten(tmp_path):
    (tmp_path / "flow.py").write_text(CLASSES)
    (tmp_path / "tree.py").write_text(CLASSES)
    done = penstock(tmp_path, "compile", "flow.py", "--to", "airflow")
    assert (done.returncode, (tmp_path / "tree.py").read_text()) == (2, CLASSES)
    assert "P707: nothing was written: tree.py is there, and was not made by Penstock" in done.stderr
    assert penstock(tmp_path, "compile", "flow.py", "--to", "airflow", "-o", "dags").returncode == 0
    (tmp_path / "flow.py").write_text(CLASSES + "\nLIMIT = 1\n")
    assert penstock(tmp_path, "compile", "flow.py", "--to", "airflow", "-o", "dags").returncode == 0
