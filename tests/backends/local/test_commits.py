"""Which commit a run is said to have been started at."""

import json
import subprocess
from pathlib import Path

import pytest

from penstock_backends.local.commits import commit_at
from tests.backends.local import pipelines

GIT = ("git", "-c", "user.name=n", "-c", "user.email=n@example.invalid", "-c", "init.defaultBranch=main")


def git(folder, *words):
    return subprocess.run([*GIT, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    (folder / "flows").mkdir(parents=True)
    git(folder, "init", "--quiet")
    assert commit_at(folder) == ""
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "first")
    return folder


def test_the_commit_is_that_of_the_branch_however_git_keeps_it(repository):
    first = git(repository, "rev-parse", "HEAD")
    assert commit_at(repository) == commit_at(repository / "flows") == first
    git(repository, "pack-refs", "--all")
    assert commit_at(repository) == first
    git(repository, "commit", "--quiet", "--allow-empty", "-m", "second")
    assert commit_at(repository) == git(repository, "rev-parse", "HEAD") != first
    git(repository, "checkout", "--quiet", "--detach", first)
    assert commit_at(repository) == first


def test_a_worktree_has_a_commit_of_its_own(repository):
    git(repository, "worktree", "add", "--quiet", "-b", "other", "../other")
    other = repository.parent / "other"
    git(other, "commit", "--quiet", "--allow-empty", "-m", "there")
    assert commit_at(other) == git(other, "rev-parse", "HEAD") != commit_at(repository)


def test_where_there_is_no_repository_there_is_no_commit(tmp_path):
    (tmp_path / ".git").write_text("not one of Git's")
    assert commit_at(tmp_path) == ""


def test_a_run_notes_the_commit_of_its_pipeline(tmp_path):
    run = pipelines.nothing.run(store=tmp_path, inline=True)
    started = json.loads((run.folder / "events.jsonl").read_text().splitlines()[0])
    assert started.get("commit", "") == commit_at(Path(pipelines.__file__).parent)
