from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")
TARGETS = {"local", "kubeflow", "airflow", "github"}
# What a user's environment holds: the wheel, and what it asks for.
LIGHT = {"pydantic", "jinja2", "pyyaml", "typer", "rich", "fsspec"}
HEAVY = {"kfp", "apache-airflow", "numpy", "pandas", "scikit-learn", "cloudpickle", "kubernetes"}

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]


def run(*command: str | Path, cwd: Path) -> str:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(UV, "build", "--quiet", "--wheel", "--out-dir", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """An environment that held nothing before the wheel."""
    folder = tmp_path_factory.mktemp("empty") / "venv"
    run(UV, "venv", "--quiet", "--python", sys.executable, folder, cwd=ROOT)
    interpreter = folder / "bin" / "python"
    run(UV, "pip", "install", "--quiet", "--python", interpreter, wheel, cwd=ROOT)
    return interpreter


def test_the_wheel_holds_the_packages_the_plugin_the_templates_and_the_licence(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {
        "penstock",
        "penstock_backends",
        "penstock_templates",
        "pytest_penstock.py",
    }
    templates = ROOT / "templates"
    written = {path.relative_to(templates).as_posix() for path in templates.rglob("*.*") if path.suffix != ".pyc"}
    assert "penstock_templates/starters/training/pipeline.py" in written
    assert written <= set(names)
    assert "penstock/py.typed" in names
    assert [name for name in names if name.endswith("licenses/LICENSE")]


def test_it_imports_where_nothing_else_is_installed(python, tmp_path):
    assert run(python, "-c", "import penstock; print(penstock.__name__)", cwd=tmp_path) == "penstock\n"


def test_every_target_loads_by_its_entry_point(python, tmp_path):
    program = (
        "from importlib.metadata import entry_points\n"
        "for point in sorted(entry_points(group='penstock.backends')):\n"
        "    print(point.name, point.load().name)\n"
    )
    pairs = [line.split() for line in run(python, "-c", program, cwd=tmp_path).splitlines()]
    assert {name for name, _ in pairs} == TARGETS
    assert [pair for pair in pairs if pair[0] != pair[1]] == []


def test_templates_are_found_as_package_data(python, tmp_path):
    program = (
        "from importlib.resources import files\nprint(*(path.name for path in files('penstock_templates').iterdir()))"
    )
    assert ".jinja" in run(python, "-c", program, cwd=tmp_path)


def test_the_command_and_the_module_both_answer(python, tmp_path):
    by_module = run(python, "-m", "penstock", "--help", cwd=tmp_path)
    by_command = run(python.with_name("penstock"), "--help", cwd=tmp_path)
    assert "compile" in by_module
    assert "compile" in by_command


def test_nothing_heavy_comes_with_it(python, tmp_path):
    program = "from importlib.metadata import distributions\nprint(*(each.name.lower() for each in distributions()))"
    installed = set(run(python, "-c", program, cwd=tmp_path).split())
    assert installed >= LIGHT
    assert installed & HEAVY == set()
