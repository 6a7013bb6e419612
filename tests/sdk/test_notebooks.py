"""Steps and pipelines that are written in the cells of a notebook: IPython runs them, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock import cells, notebooks
from penstock.cells import Cell

# Runs the cells that it is given; with a folder, under the names that a Jupyter kernel gives them there.
_KERNEL = r"""
import hashlib, json, sys
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

job = json.load(open(sys.argv[1]))
shell = InteractiveShell.instance()
shell.history_manager.enabled = False
if job["kernel"]:
    named = lambda raw, transformed, number: f"{job['kernel']}/{hashlib.md5(raw.encode()).hexdigest()[:8]}.py"
    shell.compile.get_code_name = named
done = []
for cell in job["cells"]:
    with capture_output() as shown:
        result = shell.run_cell(cell, store_history=True)
    error = result.error_before_exec or result.error_in_exec
    done.append({"out": shown.stdout, "error": str(error) if error else ""})
json.dump(done, open(sys.argv[1], "w"))
"""

_IMPORTS = "from penstock import pipeline, step"
_STEPS = """
@step
def load(start: int) -> list[int]:
    return [scaled(start), START]

@step
def total(values: list[int]) -> int:
    return sum(values)
"""
_PIPELINE = """
@pipeline
def sums(start: int = 3) -> int:
    return total(load(start))
"""
_HELPER = """
START = 1

def scaled(value: int) -> int:
    return value * 10
"""


@dataclass(frozen=True)
class Ran:
    """What a cell printed, and the error that it ended with."""

    out: str
    error: str


@dataclass
class Notebook:
    """A notebook in a folder, run from its first cell to its last; dedented, so that cells can stand in tests."""

    folder: Path
    kernel: str = ""

    def run(self, *texts: str) -> list[Ran]:
        """Each cell's outcome."""
        job = self.folder / "job.json"
        job.write_text(
            json.dumps({"kernel": self.kernel, "cells": [textwrap.dedent(each).strip("\n") for each in texts]})
        )
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "IPYTHONDIR": str(self.folder / "ipython"),
        }
        command = [sys.executable, "-c", _KERNEL, str(job)]
        ended = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        return [Ran(**each) for each in json.loads(job.read_text())]

    def last(self, *texts: str) -> str:
        """What the last cell printed, where no cell ends with an error."""
        ran = self.run(*texts)
        assert [each.error for each in ran if each.error] == []
        return ran[-1].out.strip()


@pytest.fixture
def notebook(tmp_path: Path) -> Notebook:
    return Notebook(tmp_path)


# --- in a real kernel -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_steps_in_several_cells_run_alike_as_python_inline_and_in_workers(notebook: Notebook) -> None:
    run = "print(sums(), sums.run(inline=True).outputs, sums.run().outputs)"
    assert notebook.last(_IMPORTS, _HELPER, _STEPS, _PIPELINE, run) == "31 31 31"


@pytest.mark.slow
def test_what_a_helper_was_changed_to_counts_from_then_on(notebook: Notebook) -> None:
    changed = "def scaled(value: int) -> int:\n    return value * 100"
    run = "print(sums(), sums.run(inline=True).outputs, sums.run().outputs)"
    text = "print(sums.spec.modules[0].text.count('def scaled'))"
    assert notebook.last(_IMPORTS, _HELPER, _STEPS, _PIPELINE, run, changed, f"{run}\n{text}") == "301 301 301\n1"


@pytest.mark.slow
@pytest.mark.parametrize("target", ["local", "kubeflow", "airflow", "github"])
def test_every_target_gets_the_same_bytes_whatever_the_kernel(tmp_path: Path, target: str) -> None:
    made = []
    for number, kernel in enumerate(("", "/tmp/ipykernel_11", "/var/folders/x/ipykernel_12")):
        folder = tmp_path / str(number)
        folder.mkdir()
        show = f"import json; print(json.dumps(sums.compile({target!r})))"
        made.append(Notebook(folder, kernel).last(_IMPORTS, _HELPER, _STEPS, _PIPELINE, show))
    assert made[0] == made[1] == made[2]
    assert "ipykernel" not in made[0]
    assert str(tmp_path) not in made[0]
    assert "made by Penstock from a notebook" in made[0]


@pytest.mark.slow
def test_the_emitted_file_runs_by_itself(notebook: Notebook) -> None:
    write = "from pathlib import Path; Path('emitted.py').write_text(sums.compile('local')['sums.py'])"
    notebook.last(_IMPORTS, _HELPER, _STEPS, _PIPELINE, write)
    command = [sys.executable, "-I", "emitted.py", "--start", "4"]
    ended = subprocess.run(command, cwd=notebook.folder, capture_output=True, text=True, check=True)
    assert "result: 41" in ended.stdout + ended.stderr


@pytest.mark.slow
def test_objects_of_classes_in_cells_travel_between_steps(notebook: Notebook) -> None:
    assert (
        notebook.last(
            """
        from dataclasses import dataclass
        from enum import Enum
        from typing import Any, NamedTuple
        from penstock import pipeline, step

        class Color(Enum):
            RED = 1

        @dataclass
        class Point:
            x: int
            color: Color
        """,
            """
        class Net:
            def __init__(self, weights):
                self.weights = weights

            def total(self):
                return sum(self.weights)

        class Split(NamedTuple):
            point: Point
            net: Net
        """,
            """
        @step
        def split(x: int) -> Split:
            return Split(Point(x, Color.RED), Net([x, x]))

        @step
        def net(anything: Any) -> Net:
            return anything

        @step
        def total(point: Point, net: Net) -> int:
            return point.x * point.color.value + net.total()

        @pipeline
        def travels(x: int = 2) -> int:
            parts = split(x)
            return total(parts.point, net(parts.net))
        """,
            """
        run = travels.run()
        print(travels(), travels.run(inline=True).outputs, run.outputs, type(run["net"].outputs) is Net)
        """,
        )
        == "6 6 6 True"
    )


@pytest.mark.slow
def test_magics_and_trials_in_cells_do_no_harm(notebook: Notebook) -> None:
    assert (
        notebook.last(
            "%load_ext autoreload\n%autoreload 0\n" + _IMPORTS + "\n!echo hello",
            "%%capture\n" + _HELPER,
            _STEPS + "\n%time load(2)",
            "load(2)\nscaled(4)\nload.with_options(name='other')\nscaled?",
            "%%time\nFACTOR = 1\n",
            "%time OFFSET = 0",
            "@step\ndef last(value: int) -> int:\n    return value * FACTOR + OFFSET",
            "@pipeline\ndef sums(start: int = 3) -> int:\n    return last(total(load(start)))",
            "print(sums(), sums.run().outputs, 'load(2)' in sums.spec.modules[0].text)",
        )
        == "31 31 False"
    )


@pytest.mark.slow
def test_cells_may_import_modules_beside_the_notebook_and_libraries(notebook: Notebook) -> None:
    (notebook.folder / "helpers.py").write_text("def half(value: float) -> float:\n    return value / 2\n")
    shown = notebook.last(
        "import numpy as np\nfrom helpers import half\n" + _IMPORTS,
        "@step\ndef mean(values: list[float]) -> float:\n    return half(float(np.mean(values)))",
        "@pipeline\ndef means() -> float:\n    return mean([2.0, 4.0])",
        "print([each.name for each in means.spec.modules], means.spec.steps[0].requirements, means.run().outputs)",
    )
    assert shown.startswith("['helpers', 'notebook_cells'] ('numpy==")
    assert shown.endswith(" 1.5")


@pytest.mark.slow
def test_messages_name_the_cell_and_spans_its_line(notebook: Notebook) -> None:
    ran = notebook.run(
        _IMPORTS,
        _HELPER + _STEPS,
        "print(1)\n\n@pipeline\ndef wrong(start: str) -> int:\n    return total(load(start))",
        "stream = open('job.json')\n",
        "@step\ndef read() -> str:\n    return stream.read()\n\n@pipeline\ndef reads() -> str:\n    return read()",
        _PIPELINE + "\nspan = sums.spec.body[0].span\nprint(span.file, span.line, span.text)",
    )
    assert "P204" in ran[2].error
    assert "--> In[3]:5" in ran[2].error
    assert "P106" in ran[4].error
    assert "--> In[4]:1" in ran[4].error
    assert ran[5].out.strip() == "<notebook_cells> 3     return total(load(start))"


@pytest.mark.slow
def test_a_cell_that_raised_counts_as_far_as_it_ran(notebook: Notebook) -> None:
    ran = notebook.run(
        _IMPORTS + "\nLIMITS = {'a': 1}\nLIMITS.update(b=2)\nLIMITS.udpate(c=3)\nLIMITS = None",
        "@step\ndef limits() -> dict[str, int]:\n    return LIMITS",
        "@pipeline\ndef both() -> dict[str, int]:\n    return limits()",
        "print(both.run().outputs == both() == {'a': 1, 'b': 2})",
    )
    assert "udpate" in ran[0].error
    assert (ran[2].error, ran[3].out.strip()) == ("", "True")


@pytest.mark.slow
def test_a_step_that_its_name_no_longer_stands_for_is_refused(notebook: Notebook) -> None:
    again = _STEPS.replace("START]", "2]")
    kept = "first = load.with_options(cache=False)"
    use = "@pipeline\ndef old() -> list[int]:\n    return first(1)"
    error = notebook.run(_IMPORTS, _HELPER, _STEPS, kept, again, use)[-1].error
    assert "P103: `load` of In[3] is not what the name stands for now" in error
    assert "--> In[3]:1" in error


@pytest.mark.slow
def test_what_exec_made_is_refused_in_a_notebook_too(notebook: Notebook) -> None:
    made = "exec('@step\\ndef made() -> int:\\n    return 1')\n\n@pipeline\ndef uses() -> int:\n    return made()"
    error = notebook.run(_IMPORTS, made)[-1].error
    assert "P103: `made` has no source file" in error
    assert "save it in a file" in error


# --- what the cells amount to -----------------------------------------------------------------------------------------


def amount_to(*texts: str) -> str:
    """The statements that count of cells that were run one after another."""
    run = tuple(Cell(number, text, text) for number, text in enumerate(texts, 1))
    module = notebooks._read(run, Path("/somewhere"), frozenset({"tried"}))
    return "\n".join(line for line in module.text.splitlines() if line.strip())


READER = "def reader():\n    return x, y, TABLE"


@pytest.mark.parametrize(
    ("texts", "left"),
    [
        (("x = 1", "x = 2", READER), f"x = 2\n{READER}"),
        (("x = 1", "y = x", "x = 2", READER), f"x = 1\ny = x\nx = 2\n{READER}"),
        (("x = 1; y = 2", "x = 3", READER), f"x = 1; y = 2\nx = 3\n{READER}"),
        (("x = 1", READER, "x += 1"), f"x = 1\n{READER}\nx += 1"),
        (("x = {}\nx['a'] = 1", "x = {}\nx['b'] = 1", READER), f"x = {{}}\nx['b'] = 1\n{READER}"),
        (("if A:\n    x = 1", "if A:\n    x = 2", READER), f"if A:\n    x = 1\nif A:\n    x = 2\n{READER}"),
        (("unused = 1", "shown = unused", READER), READER),
        (("print(x)", "x", "tried(x)", READER), READER),
        (("y = await x", READER), READER),
        (("def broken(:", "x = 1", READER), f"x = 1\n{READER}"),
    ],
)
def test_a_statement_counts_until_all_that_it_did_is_undone(texts: tuple[str, ...], left: str) -> None:
    assert amount_to(*texts) == left


def test_a_function_counts_as_it_was_when_it_was_called_as_well() -> None:
    one, two = "def make():\n    return 1", "def make():\n    return 2"
    assert amount_to(one, "TABLE = make()", two, READER) == f"{one}\nTABLE = make()\n{two}\n{READER}"
    assert amount_to(one, "shown = make()", two, READER) == f"{two}\n{READER}"


def test_a_call_counts_if_it_changes_something() -> None:
    fill = "def fill(table):\n    table['a'] = 1"
    look = "def look(table):\n    return table['a']"
    called = amount_to(fill, look, "TABLE = {}", "fill(TABLE)", "look(TABLE)", READER)
    assert called == f"{fill}\n{look}\nTABLE = {{}}\nfill(TABLE)\n{READER}"


def test_a_call_is_undone_with_what_it_changed_and_not_with_the_function() -> None:
    fill = "def fill(table):\n    table['a'] = 1"
    again = amount_to(fill, "TABLE = {}\nfill(TABLE)", "TABLE = {}\nfill(TABLE)", READER)
    assert again == f"{fill}\nTABLE = {{}}\nfill(TABLE)\n{READER}"
    other = "def fill(table):\n    table['a'] = 2"
    assert "\nfill(TABLE)\n" in amount_to(fill, "TABLE = {}\nfill(TABLE)", other, READER)


def test_what_changes_a_table_while_its_result_is_kept_counts_for_the_table() -> None:
    fill = "def fill(table):\n    table['a'] = 1\n    return 1"
    assert "count = fill(TABLE)" in amount_to(fill, "TABLE = {}", "count = fill(TABLE)", "count = 0", READER)


def test_future_imports_of_all_cells_come_first() -> None:
    assert amount_to("x = 1", "from __future__ import annotations", READER).startswith(
        "from __future__ import annotations\n"
    )


def test_where_there_is_no_notebook_there_are_no_cells() -> None:
    assert cells.all_cells() == ()
    assert not cells.is_cell(__file__)
    assert cells.shown("<stdin>") == "<stdin>"
