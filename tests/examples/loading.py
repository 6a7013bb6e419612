"""The examples as pipelines, each loaded afresh: all of them are called ``pipeline.py``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from penstock import Pipeline
from penstock.loading import load_pipeline

ROOT = Path(__file__).parents[2] / "examples"
EXAMPLES = tuple(sorted(file.parent.name for file in ROOT.glob("*/pipeline.py")))


def example(name: str, monkeypatch: pytest.MonkeyPatch) -> Pipeline[..., Any]:
    """The pipeline of an example, with its own folder first on ``sys.path`` until the test ends."""
    folder = ROOT / name
    monkeypatch.syspath_prepend(folder)
    for file in folder.glob("*.py"):
        monkeypatch.setitem(sys.modules, file.stem, sys)  # so that whatever it becomes is undone
        del sys.modules[file.stem]
    return load_pipeline(str(folder / "pipeline.py"))
