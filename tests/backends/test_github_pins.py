"""The table of pinned actions follows releases, in repositories that stand for those of the actions."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

from penstock import ConfigurationError, pipeline, step
from penstock_backends.github import actions, pins
from penstock_backends.github.actions import Action

COMMITS = ("a" * 40, "b" * 40, "c" * 40)


def git(folder: Path, *words: str) -> str:
    author = ("-c", "user.name=Author", "-c", "user.email=author@example.invalid")
    return subprocess.run(
        ["git", *author, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def release(repository: Path, tag: str, *, annotated: bool = False) -> str:
    """Commits, and tags the commit, which is returned."""
    if not repository.exists():
        repository.mkdir(parents=True)
        git(repository, "init", "--quiet")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", tag)
    git(repository, "tag", *(("--annotate", "--message", tag) if annotated else ()), tag)
    return git(repository, "rev-parse", "HEAD")


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the table, in which each action is pinned to a release of a repository of the same name."""
    text = Path(actions.__file__).read_text()
    pinned = []
    for each in actions.ACTIONS:
        commit = release(tmp_path / each.name, each.version)
        text = text.replace(each.commit, commit)
        pinned.append(Action(each.name, commit, each.version))
    monkeypatch.setattr(actions, "ACTIONS", tuple(pinned))
    path = tmp_path / "table.py"
    path.write_text(text)
    return path


def pinned(table: Path) -> dict[str, tuple[str, str]]:
    return {each.name: (each.version, each.commit) for each in runpy.run_path(str(table))["ACTIONS"]}


def test_the_table_stays_where_nothing_is_newer(table: Path, tmp_path: Path) -> None:
    before = table.read_text()
    assert pins.main(["--from", str(tmp_path), "--check"], table) == 0
    assert pins.main(["--from", str(tmp_path)], table) == 0
    assert table.read_text() == before


def test_an_action_moves_to_the_commit_of_its_newest_release(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = actions.ACTIONS[0]
    major = first.version.split(".")[0]
    release(tmp_path / first.name, f"{major}.9.0")
    newest = release(tmp_path / first.name, f"{major}.10.0", annotated=True)  # its tag is an object of its own
    release(tmp_path / first.name, f"{major}.11.0-beta")
    release(tmp_path / first.name, major)
    release(tmp_path / first.name, "v99.0.0")
    before = table.read_text()
    assert pins.main(["--from", str(tmp_path), "--check"], table) == 1
    assert table.read_text() == before
    assert pins.main(["--from", str(tmp_path)], table) == 0
    assert capsys.readouterr().out.splitlines() == [f"{first.name}: {first.version} -> {major}.10.0 {newest}"] * 2
    assert pinned(table) == {
        **{each.name: (each.version, each.commit) for each in actions.ACTIONS},
        first.name: (f"{major}.10.0", newest),
    }


def test_another_major_version_is_asked_for(table: Path, tmp_path: Path) -> None:
    first = actions.ACTIONS[0]
    newest = release(tmp_path / first.name, "v99.0.0")
    assert pins.main(["--from", str(tmp_path), "--major"], table) == 0
    assert pinned(table)[first.name] == ("v99.0.0", newest)


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_release_that_was_moved_is_not_followed(table: Path, tmp_path: Path, is_gone: bool) -> None:
    last, before = actions.ACTIONS[-1], table.read_text()
    git(tmp_path / last.name, "tag", "--delete", last.version)
    if not is_gone:
        release(tmp_path / last.name, last.version)
    with pytest.raises(pins.MovedError, match=f"{last.name} {last.version} was at {last.commit}, and is now at"):
        pins.main(["--from", str(tmp_path)], table)
    assert table.read_text() == before


def test_a_repository_that_is_not_there_changes_nothing(table: Path, tmp_path: Path) -> None:
    before = table.read_text()
    shutil.rmtree(tmp_path / actions.ACTIONS[-1].name)
    with pytest.raises(subprocess.CalledProcessError):
        pins.main(["--from", str(tmp_path)], table)
    assert table.read_text() == before


def test_versions_are_numbers() -> None:
    found = {"v7.9.0": COMMITS[0], "v7.10.0": COMMITS[1], "v8.0.0": COMMITS[2]}
    assert pins.newest(Action("x/y", COMMITS[0], "v7.9.0"), found) == Action("x/y", COMMITS[1], "v7.10.0")
    assert pins.newest(Action("x/y", COMMITS[0], "v7.9.0"), found, major=True).version == "v8.0.0"


# --- in a project -----------------------------------------------------------------------------------------------------


@step
def number() -> int:
    return 1


@pipeline
def numbered() -> int:
    return number()


def test_a_project_pins_other_commits_or_copies_of_its_own() -> None:
    pins_ = {
        "actions/checkout": f"our-mirror/checkout@{COMMITS[0]} # v7.0.2-ours",
        "actions/setup-python": f"{COMMITS[1]} # v7.1.0",
    }
    text = numbered.compile("github", actions=pins_)[".github/workflows/numbered.yml"]
    used = re.findall(r"uses: (.*)", text)
    assert used[:2] == [pins_["actions/checkout"], f"actions/setup-python@{pins_['actions/setup-python']}"]
    assert used[2].startswith("actions/upload-artifact@")


@pytest.mark.parametrize(
    ("name", "pin"),
    [
        ("actions/checkout", "v7"),
        ("actions/checkout", COMMITS[0]),
        ("actions/checkout", f"x/y@{COMMITS[0]} # v1\nrun: id"),
        ("actions/stale", f"{COMMITS[0]} # v1.0.0"),
    ],
)
def test_a_pin_that_is_none_is_refused(name: str, pin: str) -> None:
    with pytest.raises(ConfigurationError, match="actions"):
        numbered.compile("github", actions={name: pin})
