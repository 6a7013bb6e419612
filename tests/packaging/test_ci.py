from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.github import github

WORKFLOW = Path(__file__).resolve().parents[2] / ".github" / "workflows" / "ci.yml"


@pytest.mark.engine
@pytest.mark.xdist_group("github")
def test_our_own_workflow_has_no_findings(tmp_path):
    assert github().lint(WORKFLOW.read_text(), folder=tmp_path) == []
