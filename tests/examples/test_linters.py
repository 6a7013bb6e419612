"""What the linters in use have to say against the examples' workflows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.github import github
from tests.examples.loading import ROOT

WORKFLOWS = sorted(ROOT.glob("*/expected/github/.github/workflows/*.yml"))
# An example whose folder for what serves is on a network of one's own asks for runners there, by labels of one's own.
ASKED_FOR = ("self-hosted-runner: ", 'label "large" is unknown', 'label "gpu" is unknown')


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.xdist_group("github")
@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_the_linters_find_nothing_but_the_runners_that_are_asked_for(workflow: Path, tmp_path: Path) -> None:
    found = github().lint(workflow.read_text(encoding="utf-8"), folder=tmp_path)
    assert [each for each in found if not each.message.startswith(ASKED_FOR)] == []
