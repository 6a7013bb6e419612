"""The examples' golden files: what each target is given, for reviewers to read and for changes to show.

``make golden`` writes them anew.
"""

from __future__ import annotations

import os
import shutil

import pytest

from tests.examples.loading import EXAMPLES, ROOT, example

TARGETS = {
    "local": ("local", {}),
    "kubeflow": ("kubeflow", {}),
    "airflow": ("airflow", {}),
    "airflow-2": ("airflow", {"airflow": 2}),
    "github": ("github", {}),
}


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("title", EXAMPLES)
def test_the_golden_files_are_what_is_compiled(title: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, options = TARGETS[name]
    files = example(title, monkeypatch).compile(target, **options)
    folder = ROOT / title / "expected" / name
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
