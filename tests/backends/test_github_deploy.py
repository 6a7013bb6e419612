"""Workflows in a git repository: written, compared, put back, and never over what a person wrote."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from penstock import ConfigurationError, DeployError, Pipeline, pipeline, step
from penstock.backend import Files
from penstock.cli import app
from penstock_backends.github.deploy import GithubDeployment, deployment_of
from penstock_backends.github.deploy_options import GithubDeployOptions
from penstock_backends.github.repository import Repository

WORKFLOW = ".github/workflows/nightly.yml"
PROGRAM = ".github/penstock/nightly.py"
RECORD = ".github/penstock/nightly.json"


@step
def number(value: int = 1) -> int:
    return value


@pipeline
def nightly(start: int = 1) -> int:
    return number(start)


@pipeline(name="nightly")
def later(start: int = 2) -> int:
    return number(number.with_options(name="first")(start))


@pipeline
def weekly() -> int:
    return number()


FIRST, SECOND = nightly.compile("github"), later.compile("github")


def git(folder: Path, *words: str) -> str:
    author = ("-c", "user.name=Author", "-c", "user.email=author@example.invalid")
    command = ["git", *author, *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--message", "As deployed")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    git(tmp_path, "init", "--initial-branch", "main")
    return tmp_path


def deployment(root: Path, made: Pipeline[..., Any] = nightly, **options: Any) -> GithubDeployment:
    return deployment_of(made.spec, GithubDeployOptions(repository=str(root), **options))


def there(root: Path) -> Files:
    found = (root / ".github").rglob("*")
    return {str(path.relative_to(root)): path.read_text() for path in found if path.is_file()}


def codes(error: DeployError | ConfigurationError) -> list[str]:
    return [each.code for each in error.diagnostics]


# --- writing ----------------------------------------------------------------------------------------------------------


def test_the_files_and_the_record_of_them_are_all_that_is_written(root: Path) -> None:
    deployed = deployment(root).put(FIRST)
    assert (deployed.changed, sorted(deployed.places)) == (True, sorted([*FIRST, RECORD]))
    found = there(root)
    assert {path: found[path] for path in FIRST} == FIRST
    record = json.loads(found.pop(RECORD))
    assert set(found) == set(FIRST)
    assert (record["pipeline"], list(record["files"])) == ("nightly", list(FIRST))
    assert f"spec {record['spec']}." in FIRST[WORKFLOW]


def test_what_is_up_to_date_is_not_touched(root: Path) -> None:
    first = deployment(root).put(FIRST)
    before = {path: (root / path).stat().st_mtime_ns for path in there(root)}
    again = deployment(root).put(FIRST)
    assert (again.changed, again.version) == (False, first.version)
    assert {path: (root / path).stat().st_mtime_ns for path in there(root)} == before
    assert deployment(root).differences(FIRST) == []


def test_each_difference_is_told_and_put_makes_them_none(root: Path) -> None:
    deployed = deployment(root)
    assert [each.partition(" ")[0] for each in deployed.differences(FIRST) if each.endswith("is not there")] == [
        *(WORKFLOW, PROGRAM),
        f"{RECORD},",
    ]
    deployed.put(FIRST)
    assert deployed.differences(SECOND) == [
        f"{WORKFLOW} is of another version",
        f"{PROGRAM} is of another version",
        f"{RECORD}, which says what was deployed, is not of this version",
    ]
    (root / WORKFLOW).unlink()
    (root / PROGRAM).write_text("print()\n")
    assert deployed.differences(FIRST) == [f"{WORKFLOW} is not there", f"{PROGRAM} was changed by hand"]
    deployed.put(SECOND, force=True)
    assert deployed.differences(SECOND) == []


@pytest.mark.parametrize("path", [WORKFLOW, PROGRAM])
def test_what_a_person_changed_stays_unless_it_is_forced(root: Path, path: str) -> None:
    deployment(root).put(FIRST)
    with (root / path).open("a") as stream:
        stream.write("# mine\n")
    before = there(root)
    with pytest.raises(DeployError, match=f"{path} was changed since it was deployed") as caught:
        deployment(root).put(SECOND)
    assert codes(caught.value) == ["P813"]
    assert there(root) == before
    assert deployment(root).put(SECOND, force=True).changed
    assert deployment(root).differences(SECOND) == []


def test_a_file_that_penstock_did_not_make_stays(root: Path) -> None:
    (root / WORKFLOW).parent.mkdir(parents=True)
    (root / WORKFLOW).write_text("name: Mine\n")
    with pytest.raises(DeployError):
        deployment(root).put(FIRST)
    assert there(root) == {WORKFLOW: "name: Mine\n"}


def test_what_was_compiled_into_the_repository_by_hand_is_taken_as_it_is(root: Path) -> None:
    for path, text in FIRST.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    assert deployment(root).put(FIRST).changed
    assert deployment(root).put(SECOND).changed


def test_other_line_ends_after_a_checkout_are_no_change(root: Path) -> None:
    deployment(root).put(FIRST)
    (root / WORKFLOW).write_bytes((root / WORKFLOW).read_bytes().replace(b"\n", b"\r\n"))
    assert deployment(root).differences(FIRST) == []
    assert deployment(root).put(SECOND).changed


def test_a_file_that_a_version_no_longer_has_is_removed_unless_a_person_changed_it(root: Path) -> None:
    extra = {**FIRST, ".github/penstock/extra.txt": "more\n"}
    deployment(root).put(extra)
    assert ".github/penstock/extra.txt is left over" in deployment(root).differences(SECOND)
    deployment(root).put(SECOND)
    assert set(there(root)) == {*SECOND, RECORD}
    deployment(root).put(extra)
    (root / ".github/penstock/extra.txt").write_text("mine\n")
    with pytest.raises(DeployError, match=r"extra\.txt was changed"):
        deployment(root).put(SECOND)


def test_a_pipeline_takes_the_place_of_what_it_was_called_before(root: Path) -> None:
    deployment(root).put(FIRST)
    files = weekly.compile("github")
    renamed = deployment(root, weekly, replaces=("nightly", "never"))
    assert {f"{path} is left over" for path in (WORKFLOW, PROGRAM, RECORD)} < set(renamed.differences(files))
    renamed.put(files)
    assert set(there(root)) == {*files, ".github/penstock/weekly.json"}
    assert renamed.differences(files) == []


def test_a_pipeline_of_another_file_with_the_same_name_keeps_its_place(root: Path) -> None:
    deployment(root).put(FIRST)
    span = later.spec.span
    assert span
    moved = later.spec.model_copy(update={"span": span.model_copy(update={"file": "elsewhere.py"})})
    other = deployment_of(moved, GithubDeployOptions(repository=str(root)))
    with pytest.raises(DeployError, match=f"the pipeline of {span.file} has that name"):
        other.put(SECOND)
    assert deployment(root).differences(FIRST) == []
    other.put(SECOND, force=True)
    assert not other.put(SECOND).changed


SOURCE = "from penstock import pipeline, step\n\n@step\ndef one() -> int:\n    return 1\n\n"
MADE = "@pipeline\ndef {}() -> int:\n    return one()\n"


def test_files_of_one_name_are_told_apart_by_their_folders(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    for team in ("vans", "trains"):
        Path(team).mkdir()
        Path(team, "flow.py").write_text(SOURCE + MADE.format("daily"))
    assert CliRunner().invoke(app, ["deploy", "vans/flow.py", "--to", "github"]).exit_code == 0
    refused = CliRunner().invoke(app, ["deploy", "trains/flow.py", "--to", "github"])
    assert refused.exit_code == 1
    assert "the pipeline of vans/flow.py has that name" in " ".join(refused.output.split())


@pytest.mark.parametrize("file", ["flow.py", "flows/flow.py"])
def test_a_former_name_that_goes_on_running_is_told_of(file: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deploy(*words: str) -> str:
        ran = CliRunner().invoke(app, ["deploy", file, "--to", "github", *words])
        assert ran.exit_code == 0, ran.output
        return " ".join(ran.output.split())

    monkeypatch.chdir(root)
    Path(file).parent.mkdir(exist_ok=True)
    Path(file).write_text(SOURCE + MADE.format("before"))
    assert "replaces" not in deploy()
    Path(file).write_text(SOURCE + MADE.format("after"))
    assert "`--option replaces=before`" in deploy()
    assert "replaces" not in deploy("--option", "replaces=before")
    assert not (root / ".github/workflows/before.yml").exists()


def test_a_pipeline_leaves_others_alone(root: Path) -> None:
    deployment(root).put(FIRST)
    deployment(root, weekly).put(weekly.compile("github"))
    assert deployment(root).differences(FIRST) == []


def test_nothing_changes_where_a_folder_takes_no_file(root: Path) -> None:
    deployment(root).put(FIRST)
    before = there(root)
    (root / ".github" / "workflows" / ".nightly.yml.penstock").mkdir()  # where the new text would be written first
    with pytest.raises(DeployError, match="does not take it: Is a directory") as caught:
        deployment(root).put(SECOND)
    assert codes(caught.value) == ["P814"]
    assert there(root) == before


def test_nothing_is_written_through_a_link_out_of_the_repository(root: Path, tmp_path_factory: Any) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (root / ".github").mkdir()
    (root / ".github" / "workflows").symlink_to(outside)
    with pytest.raises(DeployError, match="a link to outside"):
        deployment(root).put(FIRST)
    assert list(outside.iterdir()) == []


def test_one_that_was_interrupted_is_completed_by_the_next(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment(root).put(FIRST)
    replace, places = Path.replace, []

    def interrupted(path: Path, target: Path) -> Path:
        places.append(target.name)
        if len(places) == 2:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        deployment(root).put(SECOND)
    monkeypatch.undo()
    assert places == ["nightly.py", "nightly.yml"]  # at no time a workflow without its program
    assert deployment(root).put(SECOND).changed
    assert there(root).keys() == {*SECOND, RECORD}
    assert deployment(root).differences(SECOND) == []


def test_deployments_at_the_same_time_come_one_after_the_other(root: Path) -> None:
    def alternate() -> None:
        for files in (FIRST, SECOND) * 5:
            deployment(root).put(files)

    threads = [threading.Thread(target=alternate) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert deployment(root).differences(SECOND) == []


def test_a_person_is_told_what_is_left_to_do(root: Path) -> None:
    (root / ".gitignore").write_text("*.json\n")
    notes = deployment(root).put(FIRST).notes
    assert notes == (
        f"{RECORD} is ignored by git: take it out of .gitignore",
        "commit and push it: GitHub runs what is on the default branch",
    )
    (root / ".gitignore").unlink()
    commit(root)
    assert deployment(root).put(FIRST).notes == ()


def test_where_there_is_no_repository_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigurationError, match=f"{folder} is in no git repository") as caught:
            deployment(folder)
        assert codes(caught.value) == ["P803"]


def test_what_git_says_against_a_repository_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # as in a container that runs as another user
    with pytest.raises(DeployError, match="dubious ownership") as caught:
        deployment(root)
    assert codes(caught.value) == ["P814"]


# --- versions ---------------------------------------------------------------------------------------------------------


def test_versions_are_what_was_committed_and_one_returns_to_them(root: Path) -> None:
    assert deployment(root).versions() == []
    first = deployment(root).put(FIRST).version
    commit(root)
    second = deployment(root).put(SECOND).version
    assert [(each.name, each.current) for each in deployment(root).versions()] == [(second, True), (first, False)]
    commit(root)
    back = deployment(root).roll_back()
    assert (back.version, back.changed) == (first, True)
    assert {path: there(root)[path] for path in FIRST} == FIRST
    commit(root)
    assert deployment(root).roll_back().version == second
    assert deployment(root).roll_back(first[:6]).version == first
    spec = json.loads((root / RECORD).read_text())["spec"]
    assert [each.spec for each in deployment(root).versions() if each.current] == [spec]


@pytest.mark.parametrize("version", ["", "abc"])
def test_there_is_no_returning_to_what_never_was(root: Path, version: str) -> None:
    deployment(root).put(FIRST)
    commit(root)
    with pytest.raises(DeployError, match="has no version") as caught:
        deployment(root).roll_back(version)
    assert codes(caught.value) == ["P815"]


def test_returning_overwrites_no_persons_work(root: Path) -> None:
    deployment(root).put(FIRST)
    commit(root)
    deployment(root).put(SECOND)
    (root / PROGRAM).write_text("mine\n")
    with pytest.raises(DeployError, match=f"{PROGRAM} was changed"):
        deployment(root).roll_back()
    assert (root / PROGRAM).read_text() == "mine\n"


def test_returning_brings_nothing_back_that_was_not_deployed(root: Path) -> None:
    deployment(root).put(FIRST)
    (root / PROGRAM).write_text("mine\n")
    commit(root)
    deployment(root).put(SECOND, force=True)
    with pytest.raises(DeployError, match=f"has another {PROGRAM}"):
        deployment(root).roll_back()


# --- by the command ---------------------------------------------------------------------------------------------------


def test_the_command_fails_in_ci_until_what_is_compiled_is_deployed(root: Path) -> None:
    source = root / "flow.py"
    source.write_text(
        "from penstock import pipeline, step\n\n"
        "@step\ndef number() -> int:\n    return 1\n\n"
        "@pipeline\ndef counted() -> int:\n    return number()\n"
    )
    words = ["deploy", str(source), "--to", "github", "--option", f"repository={root}"]
    runner = CliRunner()
    assert runner.invoke(app, [*words, "--check"]).exit_code == 1
    assert runner.invoke(app, words).exit_code == 0
    assert runner.invoke(app, [*words, "--check"]).exit_code == 0
    source.write_text(source.read_text().replace("return 1", "return 2"))
    stale = runner.invoke(app, [*words, "--check"])
    assert (stale.exit_code, ".github/penstock/counted.py is of another version" in stale.output) == (1, True)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("git@github.com:owner/name.git", ("github.com", "owner/name")),
        ("https://github.com/owner/name", ("github.com", "owner/name")),
        ("https://token@git.example.com:8443/owner/na.me.git/", ("git.example.com", "owner/na.me")),
        ("ssh://git@git.example.com:22/owner/name.git", ("git.example.com", "owner/name")),
        ("/srv/git/name.git", ("", "")),
    ],
)
def test_a_remote_is_known_by_its_host_and_name(root: Path, url: str, found: tuple[str, str]) -> None:
    git(root, "remote", "add", "origin", url)
    assert Repository(root).remote() == found
