"""The examples' golden files: what each target is given, for reviewers to read and for changes to show.

``make golden`` writes them anew.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from penstock import Pipeline
from penstock.loading import load_pipeline

ROOT = Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(file.parent.name for file in ROOT.glob("*/pipeline.py"))
TARGETS = {
    "local": ("local", {}),
    "kubeflow": ("kubeflow", {}),
    "airflow": ("airflow", {}),
    "airflow-2": ("airflow", {"airflow": 2}),
    "github": ("github", {}),
}


def pipeline_of(example: str) -> Pipeline[..., object]:
    return load_pipeline(str(ROOT / example / "pipeline.py"))


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("example", EXAMPLES)
def test_the_golden_files_are_what_is_compiled(example: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / example)
    for module in ("pipeline", *(file.stem for file in (ROOT / example).glob("*.py"))):
        monkeypatch.delitem(__import__("sys").modules, module, raising=False)
    target, options = TARGETS[name]
    files = pipeline_of(example).compile(target, **options)
    folder = ROOT / example / "expected" / name
    if os.environ.get("PENSTOCK_UPDATE_GOLDEN"):
        shutil.rmtree(folder, ignore_errors=True)
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8", newline="\n")
    found = {
        each.relative_to(folder).as_posix(): each.read_text(encoding="utf-8")
        for each in folder.rglob("*")
        if each.is_file()
    }
    assert sorted(found) == sorted(files)
    for path, text in files.items():
        assert found[path] == text, f"{folder / path} is not what is compiled; run `make golden` and read the diff"
