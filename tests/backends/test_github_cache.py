"""The option `cache`: a step takes over what it gave before for the same code and inputs."""

from __future__ import annotations

import re
import types
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from penstock import Pipeline, log_metric, pipeline, step
from penstock_backends.github import GithubBackend, GithubOptions
from tests.backends.test_github import program_of
from tests.engines.environments import PYTHON
from tests.engines.github import ActRun, github


class Sized(NamedTuple):
    file: Path
    size: int


@step
def written(text: str) -> Sized:
    print("writing")
    Path("text.txt").write_text(text)
    log_metric("length", len(text))
    return Sized(Path("text.txt"), len(text))


@step
def counted(file: Path, letter: str) -> int:
    print(f"counting {letter}")
    return file.read_text().count(letter)


@step(cache=False)
def told(counts: list[int], size: int) -> str:
    print("telling")
    return f"{counts} of {size}"


@pipeline
def letters(text: str = "banana", wanted: list[str] = ["a", "n"]) -> str:  # never changed
    made = written(text)
    return told([counted(made.file, letter) for letter in wanted], made.size)


def jobs_of(of: Pipeline[..., Any], **options: Any) -> dict[str, Any]:
    files = of.compile("github", **options)
    jobs: dict[str, Any] = yaml.safe_load(files[f".github/workflows/{of.name}.yml"])["jobs"]
    return jobs


def test_nothing_is_looked_for_unless_that_is_asked_for_and_never_for_a_step_that_says_no() -> None:
    assert "actions/cache" not in str(jobs_of(letters))
    asked = jobs_of(letters, cache=True)
    assert [name for name, job in asked.items() if "actions/cache" in str(job)] == ["written", "counted"]


# --- the key ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path: Path) -> types.ModuleType:
    return program_of(letters.compile("github", cache=True), tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "files" / "text.txt"
    file.parent.mkdir()
    file.write_text("banana")
    return file


def key(program: types.ModuleType, file: Path, item: str = "a", index: int = 0, **more: Any) -> str:
    artifact = {"$artifact": {"format": "path", "file": str(file)}}
    outputs = {"written": {"file": artifact}, "for": {"items": [*("z" * index), item]}, **more}
    found: str = program.key_of(program.JOBS["counted"], (index,), {"text": "x", "wanted": []}, outputs, {})
    return found


def test_a_key_knows_an_artifact_by_its_content(program: types.ModuleType, file: Path, tmp_path: Path) -> None:
    before = key(program, file)
    elsewhere = tmp_path / "elsewhere" / "text.txt"
    elsewhere.parent.mkdir()
    elsewhere.write_text("banana")
    assert key(program, elsewhere) == before
    elsewhere.write_text("ananas")
    assert key(program, elsewhere) != before


def test_a_key_knows_its_own_item_and_no_other(program: types.ModuleType, file: Path) -> None:
    assert key(program, file, "a", 0) == key(program, file, "a", 2) != key(program, file, "n", 0)


def test_equal_calls_in_one_run_have_different_keys(program: types.ModuleType, file: Path) -> None:
    first, second = key(program, file, "z", 0), key(program, file, "z", 1)
    assert first != second
    other = {**program.JOBS["counted"], "node": "counted_2"}
    given = {"written": {"file": 1}, "for": {"items": ["z"]}}
    keys = [program.key_of(job, (0,), {}, given, {}) for job in (program.JOBS["counted"], other)]
    assert keys[0] != keys[1]


def test_a_key_knows_the_code_but_not_how_it_is_laid_out() -> None:
    texts = ["return a + 1  # one", "return (a +\n        1)", "return a + 2"]
    assert len({_code_of(text) for text in texts[:2]}) == 1
    assert len({_code_of(text) for text in texts}) == 2


def _code_of(line: str) -> str:
    spec = letters.spec
    modules = [
        module.model_copy(
            update={
                "statements": tuple(
                    each.model_copy(update={"source": f"def counted(a):\n    {line}\n"})
                    if "def counted" in each.source
                    else each
                    for each in module.statements
                )
            }
        )
        for module in spec.modules
    ]
    files = GithubBackend().emit(spec.model_copy(update={"modules": tuple(modules)}), GithubOptions(cache=True))
    (found,) = re.findall(r"'counted': \{.*?'code': '(\w+)'", files[".github/penstock/letters.py"], re.DOTALL)
    return str(found)


# --- runs -------------------------------------------------------------------------------------------------------------


def ran(folder: Path, cache: Path, **inputs: str) -> ActRun:
    folder.mkdir()
    files = letters.compile("github", python_version=PYTHON, cache=True)
    done = github().run(files, ".github/workflows/letters.yml", inputs, folder=folder, cache=cache)
    assert done.state == "success", done.log
    return done


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.xdist_group("github")
def test_a_run_computes_only_what_an_earlier_one_did_not(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    first = ran(tmp_path / "first", cache)
    assert sorted(re.findall(r"writing|counting \w|telling", first.log)) == [
        "counting a",
        "counting n",
        "telling",
        "writing",
    ]
    second = ran(tmp_path / "second", cache, wanted='["n", "b", "a"]')
    assert sorted(re.findall(r"writing|counting \w|telling", second.log)) == ["counting b", "telling"]
    assert "### <code>written</code>: cached\n" in second.summary
    assert "| <code>length</code> | <code>6</code> |" in second.summary
    told_ = (second.artifacts["told"] / "told.tar").read_bytes()
    assert b"[2, 1, 3] of 6" in told_


@pytest.mark.engine
@pytest.mark.xdist_group("github")
def test_reviewers_linters_have_nothing_to_say(tmp_path: Path) -> None:
    text = letters.compile("github", cache=True)[".github/workflows/letters.yml"]
    assert github().lint(text, folder=tmp_path) == []
