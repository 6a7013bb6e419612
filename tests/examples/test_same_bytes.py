"""What is compiled depends on the source alone: not on folder, user, hash seed, time zone or Python."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = os.pathsep.join(str(ROOT / name) for name in ("sdk", "backends", "templates"))
# Entry points are what an installation has; this stands in for one, so that other Pythons need only the dependencies.
PROGRAM = """
import hashlib, importlib, json, sys
from penstock import compiler
known = {
    "local": "local:LocalBackend",
    "kubeflow": "kubeflow:KubeflowBackend",
    "airflow": "airflow:AirflowBackend",
    "github": "github:GithubBackend",
}
def backend(target):
    module, _, name = known[target].partition(":")
    return getattr(importlib.import_module("penstock_backends." + module), name)()
compiler.backend = backend
from penstock.loading import load_pipeline
pipeline = load_pipeline(sys.argv[1])
files = [sorted(pipeline.compile(target).items()) for target in known] + [pipeline.spec.model_dump_json()]
print(hashlib.sha256(json.dumps(files).encode()).hexdigest())
"""
FLOW = '''
"""A flow of standard-library steps, so that no requirement depends on what is installed."""
import collections, dataclasses, enum, re
from typing import Literal, NamedTuple
from penstock import Retry, pipeline, step
from helpers.text import cleaned
WORDS = re.compile(r"\\\\w+")
class Mode(enum.Enum):
    FAST = 1
    EXACT = 2
@dataclasses.dataclass(frozen=True)
class Options:
    mode: Mode = Mode.FAST
    seen: frozenset[str] = frozenset({"a", "b", "c", "d"})
class Found(NamedTuple):
    words: set[str]
    most: str
@step(
    retry=Retry(2, delay=1),
    env={"B": "2", "A": "1"},
)
def count(
    text: str,
    options: Options,
    kind: Literal["x", "y"] = "x",
) -> Found:
    words = WORDS.findall(cleaned(text))
    return Found(set(words), collections.Counter(words).most_common(1)[0][0])
@step
def both(found: list[Found]) -> set[str]:
    return set().union(*(each.words for each in found))
@pipeline(tags=["a", "b"])
def words(text: str = "b a", options: Options = Options(), maybe: int | None = None) -> set[str]:
    return both([
        count(text, options),
        count(
            text="x",
            options=Options(Mode.EXACT, frozenset({"e", "f", "g", "h"})),
        ),
    ])
'''


def make_flow(folder: Path) -> Path:
    (folder / "helpers").mkdir(parents=True)
    (folder / "flow.py").write_text(FLOW, encoding="utf-8")
    (folder / "helpers" / "__init__.py").write_text("")
    (folder / "helpers" / "text.py").write_text("def cleaned(text: str) -> str:\n    return text.lower()\n")
    return folder / "flow.py"


def compiled(flow: Path, cwd: Path, python: str = sys.executable, **environment: str) -> str:
    done = subprocess.run(
        [python, "-c", PROGRAM, str(flow)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": SOURCES, "HOME": str(cwd), **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_the_same_source_compiles_to_the_same_bytes_wherever_and_by_whomever(tmp_path: Path) -> None:
    here, there = make_flow(tmp_path / "here"), make_flow(tmp_path / "some" / "where else")
    first = compiled(here, here.parent, PYTHONHASHSEED="1")
    assert len(first) == len(hashlib.sha256().hexdigest())
    assert (
        compiled(there, tmp_path, PYTHONHASHSEED="2", TZ="Asia/Tokyo", USER="someone", LOGNAME="someone", LC_ALL="C")
        == first
    )


OTHER_PYTHONS = ("3.10", "3.12", "3.13")


def interpreter(version: str) -> str | None:
    """A Python of a version, from PATH or from pyenv's folder."""
    found = shutil.which(f"python{version}")
    if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
        return found
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return next((str(each) for each in sorted(root.glob(f"versions/{version}.*/bin/python"))), None)


@pytest.mark.slow
@pytest.mark.parametrize("version", OTHER_PYTHONS)
def test_every_python_compiles_to_the_same_bytes(version: str, tmp_path: Path) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} on this machine; the workflow's matrix has it")
    environment = tmp_path / "environment"
    uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
    subprocess.run([uv, "venv", "-q", "--python", python, str(environment)], check=True)
    needs = ["pydantic", "jinja2", "pyyaml", "typer", "rich", "fsspec", "tomli"]
    subprocess.run([uv, "pip", "install", "-q", "--python", str(environment), *needs], check=True)
    flow = make_flow(tmp_path / "flow")
    assert compiled(flow, tmp_path, str(environment / "bin" / "python")) == compiled(flow, tmp_path)
