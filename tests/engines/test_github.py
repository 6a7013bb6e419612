from __future__ import annotations

import pytest

from tests.engines.github import github

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("github")]

PATH = ".github/workflows/squares.yml"

WORKFLOW = """
name: Squares

on:
  workflow_dispatch:
    inputs:
      n:
        description: How many
        type: number
        default: 3

permissions: {}

concurrency:
  group: squares
  cancel-in-progress: false

env:
  LIMIT: "3"

jobs:
  numbers:
    name: Numbers
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    outputs:
      items: ${{ steps.run.outputs.items }}
    steps:
      - name: Set up Python
        uses: actions/setup-python@5fda3b95a4ea91299a34e894583c3862153e4b97 # v7.0.0
        with:
          python-version: "3.11"
      - name: Run
        id: run
        shell: bash
        env:
          N: ${{ inputs.n }}
        run: |
          python -c 'import numpy; print("numpy", numpy.__version__)'
          items=$(python -c 'import json, os; print(json.dumps(list(range(int(os.environ["N"])))))')
          echo "items=$items" >> "$GITHUB_OUTPUT"
  square:
    name: Square
    needs: numbers
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    strategy:
      fail-fast: false
      matrix:
        item: ${{ fromJSON(needs.numbers.outputs.items) }}
    steps:
      - name: Run
        shell: bash
        env:
          ITEM: ${{ matrix.item }}
        run: |
          test "$ITEM" -lt "$LIMIT"
          mkdir -p out/deep
          echo "$((ITEM * ITEM))" > "out/deep/$ITEM.txt"
      - name: Keep
        uses: actions/upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f # v7.0.0
        with:
          name: square-${{ matrix.item }}
          path: out
          if-no-files-found: error
  total:
    name: Total
    needs: square
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    steps:
      - name: Fetch
        uses: actions/download-artifact@3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c # v8.0.1
        with:
          pattern: square-*
          path: in
          merge-multiple: true
      - name: Run
        id: run
        shell: bash
        run: |
          total=$(awk '{ sum += $1 } END { print sum }' in/deep/*.txt)
          echo "total=$total" >> "$GITHUB_OUTPUT"
          echo "## Total: $total" >> "$GITHUB_STEP_SUMMARY"
"""


def run(text, tmp_path, **inputs):
    return github().run({PATH: text}, PATH, inputs, folder=tmp_path)


def test_jobs_outputs_artifacts_and_the_summary_are_seen(tmp_path):
    seen = run(WORKFLOW, tmp_path, n=3)
    assert (seen.state, seen.crash) == ("success", ""), seen.log
    assert seen.jobs == {"numbers": "success", "square": "success", "total": "success"}
    assert seen.outputs["numbers", "run", "items"] == "[0, 1, 2]"
    assert seen.outputs["total", "run", "total"] == "5"
    assert seen.summary == "## Total: 5\n"
    assert sorted(seen.artifacts) == ["square-0", "square-1", "square-2"]
    assert (seen.artifacts["square-2"] / "deep" / "2.txt").read_text() == "4\n"
    assert "numpy 2" in seen.log


def test_a_failing_instance_fails_its_job_and_skips_those_below(tmp_path):
    seen = run(WORKFLOW, tmp_path, n=4)
    assert seen.state == "failure"
    assert seen.jobs == {"numbers": "success", "square": "failure", "total": "skipped"}
    assert {each.matrix["item"]: each.result for each in seen.instances if each.job == "square"} == {
        0: "success",
        1: "success",
        2: "success",
        3: "failure",
    }


def test_an_artifact_name_is_unique_within_a_run(tmp_path):
    seen = run(WORKFLOW.replace("square-${{ matrix.item }}", "square"), tmp_path, n=2)
    assert seen.jobs["square"] == "failure"
    assert "(409) Conflict" in seen.log


def test_no_files_to_upload_is_an_error_where_the_workflow_says_so(tmp_path):
    seen = run(WORKFLOW.replace("path: out", "path: nowhere"), tmp_path, n=1)
    assert seen.jobs["square"] == "failure"
    assert "No files were found" in seen.log


def test_hidden_files_stay_behind(tmp_path):
    seen = run(WORKFLOW.replace('> "out/deep/$ITEM.txt"', "| tee out/deep/.hidden > out/deep/seen"), tmp_path, n=1)
    assert [path.name for path in (seen.artifacts["square-0"] / "deep").iterdir()] == ["seen"]


@pytest.mark.parametrize(
    ("pattern", "merge", "there"),
    [
        ("square-*", "false", "in/square-0/deep/0.txt"),
        ("square-1", "false", "in/deep/1.txt"),
        ("square-*", "true", "in/deep/0.txt"),
    ],
    ids=["a folder each", "one that matches has no folder", "merged"],
)
def test_a_download_is_laid_out_as_version_5_does(pattern, merge, there, tmp_path):
    text = WORKFLOW.replace("pattern: square-*", f"pattern: {pattern}").replace(
        "merge-multiple: true", f"merge-multiple: {merge}"
    )
    before, _, _ = text.partition("          total=$(awk")
    seen = run(f"{before}          test -f {there}\n", tmp_path, n=2)
    assert seen.jobs["total"] == "success", seen.log


def test_an_uncached_key_is_missed_and_then_kept(tmp_path):
    text = """
on: push
jobs:
  first:
    runs-on: ubuntu-24.04
    steps:
      - id: cache
        uses: actions/cache@27d5ce7f107fe9357f9df03efb73ab90386fccae
        with: {path: kept, key: "one"}
      - run: cat kept/file || { mkdir kept; echo from the first > kept/file; }
  second:
    needs: first
    runs-on: ubuntu-24.04
    steps:
      - id: cache
        uses: actions/cache/restore@27d5ce7f107fe9357f9df03efb73ab90386fccae
        with: {path: kept, key: "one"}
      - run: cat kept/file; test "${{ steps.cache.outputs.cache-hit }}" = true
"""
    seen = github().run({PATH: text}, PATH, folder=tmp_path, event="push")
    assert seen.jobs == {"first": "success", "second": "success"}, seen.log
    assert "from the first" in seen.log


def test_a_workflow_that_is_none_is_a_crash(tmp_path):
    seen = run("on: workflow_dispatch\njobs: {a: {steps: 3}}\n", tmp_path)
    assert seen.crash
    assert seen.jobs == {"a": "skipped"}


def test_a_run_that_takes_too_long_is_stopped(tmp_path):
    endless = WORKFLOW.replace('test "$ITEM"', 'sleep 60; test "$ITEM"')
    seen = github().run({PATH: endless}, PATH, {"n": 1}, folder=tmp_path, seconds=3)
    assert seen.crash == "timed out"
    assert seen.seconds < 10


def test_a_sound_workflow_has_no_findings(tmp_path):
    assert github().lint(WORKFLOW, folder=tmp_path) == []


@pytest.mark.parametrize(
    ("tool", "there", "instead"),
    [
        ("actionlint", "needs: square", "needs: squire"),
        ("workflow-parser", "inputs.n", "imports.n"),
        ("workflow-parser", "cancel-in-progress: false", "queue: most"),
        ("zizmor", "permissions: {}\n", "permissions: write-all\n"),
        ("check-jsonschema", "timeout-minutes: 5", "timeout-minutes: soon"),
        ("shellcheck", 'test "$ITEM"', "test $ITEM"),
    ],
)
def test_each_linter_has_its_say(tool, there, instead, tmp_path):
    assert tool in {each.tool for each in github().lint(WORKFLOW.replace(there, instead), folder=tmp_path)}


def test_expressions_are_evaluated_as_github_does():
    assert github().evaluate("fromJSON(needs.a.outputs.n) > 3", {"needs": {"a": {"outputs": {"n": "10"}}}}) is True
    assert github().evaluate("'9' > '10'") is True
    with pytest.raises(ValueError, match="Unexpected end"):
        github().evaluate("fromJSON(")
