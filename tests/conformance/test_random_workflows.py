"""The linters in use find nothing in the workflows of random pipelines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conformance.random_workflows import assert_clean, workflows


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.xdist_group("github")
def test_the_workflows_of_200_random_pipelines_are_clean(tmp_path: Path) -> None:
    found = workflows(0, 200)
    assert sum("matrix:" in workflow for _, workflow in found) > 40
    assert sum("\n    if:" in workflow for _, workflow in found) > 80
    for said in ("secrets.WAREHOUSE_PASSWORD", "container:", "environment: production", "workflow_run:", "timezone:"):
        assert sum(said in workflow for _, workflow in found) > 30
    assert_clean(found, tmp_path)


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.xdist_group("github")
def test_one_workflow_that_is_not_clean_is_found_among_others(tmp_path: Path) -> None:
    found = workflows(1, 4)
    source, workflow = found[2]
    for there, instead, said in (
        ("permissions: {}", "permissions: write-all", "excessive-permissions"),
        ("run: python", "run: rm $x; python", "SC2086"),
        ("runs-on:", "runs_on:", "Required property is missing: runs-on"),
        ("timeout-minutes: ", "timeout-minutes: x", "check-jsonschema"),
    ):
        broken = [*found[:2], (source, workflow.replace(there, instead, 1)), found[3]]
        with pytest.raises(AssertionError, match=f"(?s)1 of 4 workflows.*{re.escape(said)}"):
            assert_clean(broken, tmp_path / said.split()[0])
