"""The examples' golden files: what each target is given, for reviewers to read and for changes to show.

``make golden`` writes them anew.
"""

from __future__ import annotations

import pytest

from penstock.testing import Golden
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
def test_the_golden_files_are_what_is_compiled(
    title: str, name: str, monkeypatch: pytest.MonkeyPatch, penstock_golden: Golden
) -> None:
    target, options = TARGETS[name]
    penstock_golden(example(title, monkeypatch), target, folder=ROOT / title / "expected", name=name, **options)
