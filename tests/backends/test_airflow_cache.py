"""The option `cache` of Airflow: a step takes over what it gave before for the same code and inputs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from penstock import log_metric, pipeline, step
from penstock.harness import Place
from penstock.spec import PipelineSpec
from penstock_backends.airflow import AirflowBackend, AirflowOptions, reusing
from penstock_backends.airflow.attempt import Asked
from penstock_backends.airflow.reusing import entry_for, keep, reused, taken_over
from tests.backends.test_airflow_places import CLUSTER, IN_PODS, forest
from tests.engines.airflow import AirflowRun, airflow

MAJORS = (3, 2)


class Sized(NamedTuple):
    file: Path
    size: int


@step
def written(text: str) -> Sized:
    print("did: write")
    Path("text.txt").write_text(text)
    log_metric("length", len(text))
    return Sized(Path("text.txt"), len(text))


def weight() -> int:
    return 1


@step
def counted(file: Path, letter: str) -> int:
    print(f"did: count {letter}")
    return file.read_text().count(letter) * weight()


@step(cache=False)
def told(counts: list[int], size: int) -> str:
    print("did: tell")
    return f"{counts} of {size}"


@pipeline
def letters(text: str = "banana", wanted: list[str] = ["a", "n", "-", "a"]) -> str:  # never changed
    made = written(text)
    counts = []
    for letter in wanted:
        if letter != "-":
            counts.append(counted(made.file, letter))  # noqa: PERF401  # so are branches in loops written
    return told(counts, made.size)


def emitted(spec: PipelineSpec, root: Path, major: Any = 3, **options: Any) -> str:
    (text,) = AirflowBackend().emit(spec, AirflowOptions(airflow=major, artifact_root=str(root), **options)).values()
    return text


def changed(old: str, new: str) -> PipelineSpec:
    """The pipeline with other code."""
    spec = letters.spec
    assert any(old in module.text for module in spec.modules)
    modules = tuple(
        module.model_copy(
            update={
                "statements": tuple(
                    each.model_copy(update={"source": each.source.replace(old, new)}) for each in module.statements
                )
            }
        )
        for module in spec.modules
    )
    return spec.model_copy(update={"modules": modules})


def test_nothing_is_kept_unless_that_is_asked_for_and_never_of_a_step_that_says_no(tmp_path: Path) -> None:
    assert "@cache" not in emitted(letters.spec, tmp_path)
    keys = re.findall(r'"code": "(\w+)"', emitted(letters.spec, tmp_path, cache=True))
    assert len(set(keys)) == 2  # of `written` and `counted`


@step
def drawn(most: int) -> int:
    return most


def code_of(settings: dict[str, Any], **options: Any) -> str:
    asked = drawn.with_options(**settings)

    @pipeline
    def drawing(most: int) -> int:
        return asked(most)

    (found,) = re.findall(r'"code": "(\w+)"', emitted(drawing.spec, Path("/a"), cache=True, **options))
    return str(found)


def test_a_key_knows_what_may_change_a_result_and_nothing_else() -> None:
    plain = code_of({})
    assert code_of({"retry": 2, "timeout": 5, "priority": 3}, pool="small") == plain
    others = [
        code_of({"cache_version": "2"}),
        code_of({"env": {"ZONE": "a"}}),
        code_of({"secrets": {"TOKEN": "warehouse"}}),
        code_of({"packages": ["numpy==2.2.1"]}),
        code_of({}, steps={"drawn": {"isolation": "virtualenv"}}),
        code_of({}, steps={"drawn": {"isolation": "external_python", "python": "/opt/other/bin/python"}}),
        code_of({}, steps={"drawn": {"isolation": "kubernetes"}}, artifact_claim="artifacts"),
    ]
    assert len({plain, *others}) == 1 + len(others)


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.xdist_group("airflow")
@pytest.mark.parametrize("major", MAJORS)
def test_a_run_computes_only_what_no_earlier_one_did(major: int, tmp_path: Path) -> None:
    def done(spec: PipelineSpec = letters.spec, **conf: Any) -> tuple[list[str], str]:
        ran = airflow(major).dag_test(emitted(spec, tmp_path, major, cache=True), conf)
        assert (ran.state, ran.import_errors, ran.warnings, ran.crash) == ("success", {}, (), ""), ran.log
        assert ran.tasks["counted", 2] == ("success" if conf else "skipped")
        assert ran.xcoms["written", -1, "step_metrics"] == '{"length": 6}'
        return sorted(re.findall(r"did: (write|count \w|tell)\b", ran.log)), ran.xcoms["told", -1, "return_value"]

    assert done() == (["count a", "count a", "count n", "tell", "write"], '"[3, 2, 3] of 6"')
    for folder in (tmp_path / "letters").iterdir():  # what a run took over is its own
        shutil.rmtree(folder)
    assert done(wanted=["n", "b", "a"]) == (["count b", "tell"], '"[2, 1, 3] of 6"')
    if major == 2:
        return  # its process of an attempt is the same
    assert done(changed("return 1", "return 2")) == (
        ["count a", "count a", "count n", "tell"],
        '"[6, 4, 6] of 6"',
    )
    # Another step wrote the same text: what takes it is not done anew.
    assert done(changed("write_text(text)", 'write_text(f"{text}")')) == (
        ["tell", "write"],
        '"[3, 2, 3] of 6"',
    )


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.xdist_group("airflow")
def test_no_pod_is_started_for_what_an_earlier_run_gave(tmp_path: Path) -> None:
    def ran() -> AirflowRun:
        found = airflow(3).dag_test(emitted(forest.spec, tmp_path, cache=True, **IN_PODS) + CLUSTER, {"depths": [1]})
        assert (found.state, found.import_errors, found.crash) == ("success", {}, ""), found.log
        return found

    first = ran()
    (tmp_path / "train.json").unlink()
    second = ran()
    assert second.xcoms["read", -1, "return_value"] == first.xcoms["read", -1, "return_value"]
    assert not (tmp_path / "train.json").exists()
    assert not any("k3y5" in path.read_text() for path in (tmp_path / "@cache").rglob("*") if path.is_file())


# --- entries ----------------------------------------------------------------------------------------------------------

RESULT = {
    "outputs": {"file": {"$artifact": {"format": "path", "file": "file/text.txt"}}, "size": 6},
    "metrics": {"length": 6},
}


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    """An attempt of which something was given: a file."""
    given = tmp_path / "given" / "rows.csv"
    given.parent.mkdir()
    given.write_text("1,2")
    outputs = {"read": {"output": {"$artifact": {"format": "path", "file": str(given)}}}}
    job = {"code": "c0de", "arguments": {"rows": {"kind": "output", "node": "read", "output": "output"}}}
    request = {"cache": str(tmp_path / "@cache"), "folder": str(tmp_path / "dag" / "run" / "count" / "try-1")}
    return Asked(request, {**job, "parameters": {}}, {}, outputs, Place(), tmp_path / "attempt")


def write(folder: Path) -> None:
    (folder / "file").mkdir(parents=True)
    (folder / "file" / "text.txt").write_text("banana")


def entry_of(asked: Asked) -> Path:
    entry = entry_for(asked)
    assert entry is not None
    return entry


def test_what_is_taken_over_is_what_was_kept_whoever_was_first(asked: Asked, tmp_path: Path) -> None:
    entry = entry_of(asked)
    write(asked.folder)
    keep(entry, RESULT, asked.folder)
    keep(entry, {**RESULT, "metrics": {"length": 7}}, asked.folder)
    assert taken_over(entry, tmp_path / "later") == RESULT
    assert (tmp_path / "later" / "file" / "text.txt").read_text() == "banana"
    assert list(entry.parent.iterdir()) == [entry]


def lose(entry: Path) -> None:
    (entry / "entry.json").unlink()


def cut(entry: Path) -> None:
    (entry / "entry.json").write_text((entry / "entry.json").read_text()[:-20])


def alter(entry: Path) -> None:
    (entry / "entry.json").write_text((entry / "entry.json").read_text().replace('"size":6', '"size":7'))


def rewrite(entry: Path) -> None:
    (entry / "files" / "file" / "text.txt").write_text("bananb")


def add(entry: Path) -> None:
    (entry / "files" / "file" / "more.txt").write_text("")


def drop(entry: Path) -> None:
    shutil.rmtree(entry / "files" / "file")


@pytest.mark.parametrize("damage", [lose, cut, alter, rewrite, add, drop])
def test_a_damaged_entry_is_none_and_is_made_anew(
    damage: Callable[[Path], None], asked: Asked, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry, later = entry_of(asked), tmp_path / "later"
    write(asked.folder)
    keep(entry, RESULT, asked.folder)
    damage(entry)
    assert taken_over(entry, later) is None
    assert "damaged, and made anew" in capsys.readouterr().err
    assert not list(later.rglob("*"))
    keep(entry, RESULT, asked.folder)
    assert taken_over(entry, later) == RESULT


def test_only_what_succeeded_is_kept(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    write(asked.folder)
    answers = [{**RESULT, "error": "a gate was not passed"}, dict(RESULT), {"error": "must not be asked"}]
    monkeypatch.setattr(reusing, "attempted", lambda _: answers.pop(0))
    assert [reused(asked).get("reused") for _ in range(2)] == [None, None]
    again = asked._replace(folder=asked.folder.with_name("again"))
    assert reused(again) == {**RESULT, "reused": True}


def test_equal_calls_in_one_run_are_as_many_computations_and_each_keeps_its_own(asked: Asked, tmp_path: Path) -> None:
    def entry_in(*folder: str) -> Path:
        return entry_of(asked._replace(request={**asked.request, "folder": str(tmp_path.joinpath("dag", *folder))}))

    first, second = entry_in("monday", "count", "0", "try-1"), entry_in("monday", "count", "1", "try-1")
    assert first != second
    assert entry_in("monday", "count", "0", "try-2") == first
    assert [entry_in("tuesday", "count", number, "try-1") for number in "10"] == [first, second]


def test_in_a_store_equal_calls_are_told_apart_by_their_task_and_item(asked: Asked) -> None:
    def key_at(node: str, index: int, **items: Any) -> str:
        request = {"folder": f"{asked.folder}-{index}", "only_look": True, "node": node}
        outputs = {**asked.outputs, **{loop: {"items": found} for loop, found in items.items()}}
        job = {**asked.job, "loops": ["each"]}
        found = reused(asked._replace(request=request, job=job, outputs=outputs, place=Place(index=(index,))))
        return str(found["key"])

    assert len({key_at("count", 0), key_at("count", 1), key_at("tally", 0)}) == 3
    assert len({key_at("count", number, each=["a", "b", "a"]) for number in range(3)}) == 3
    assert key_at("count", 0, each=["a", "b"]) == key_at("count", 1, each=["b", "a"])


def test_an_object_of_a_store_is_known_by_its_name_and_its_digest_and_not_fetched_for_that(asked: Asked) -> None:
    def look_at(url: str, digest: str) -> Any:
        wire = {"$artifact": {"format": "path", "file": url, "digest": digest}}
        request = {"folder": str(asked.folder), "only_look": True, "node": "count"}
        return reused(asked._replace(request=request, outputs={"read": {"output": wire}}))

    found = look_at("s3://team/monday/rows.csv", "d1")
    assert found["fetch"] == [{"node": "read", "format": "path", "file": "s3://team/monday/rows.csv", "digest": "d1"}]
    assert look_at("s3://team/tuesday/rows.csv", "d1")["key"] == found["key"]
    others = [look_at("s3://team/monday/rows.csv", "d2"), look_at("s3://team/monday/lines.csv", "d1")]
    assert found["key"] not in [each["key"] for each in others]


def test_an_input_is_known_by_its_content_and_its_name(asked: Asked, tmp_path: Path) -> None:
    def entry_with(text: str, name: str = "rows.csv") -> Path:
        file = tmp_path / "other" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        outputs = {"read": {"output": {"$artifact": {"format": "path", "file": str(file)}}}}
        return entry_of(asked._replace(outputs=outputs))

    assert entry_with("1,2") == entry_of(asked)
    assert len({entry_with("1,2"), entry_with("1,3"), entry_with("1,2", "lines.csv")}) == 3


def test_nothing_is_looked_for_without_an_input_or_when_time_is_up(asked: Asked) -> None:
    late = asked._replace(request={**asked.request, "deadline": 1.0})
    assert entry_for(late) is None
    Path(asked.outputs["read"]["output"]["$artifact"]["file"]).unlink()
    assert entry_for(asked) is None


def test_that_nothing_can_be_kept_is_said_and_fails_no_step(
    asked: Asked, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "@cache").write_text("no folder")
    write(asked.folder)
    keep(entry_of(asked), RESULT, asked.folder)
    assert "could not be kept for later runs" in capsys.readouterr().err
