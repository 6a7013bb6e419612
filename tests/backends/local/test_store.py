"""What the store promises: whole or not there, checked when read, nobody's to spoil."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from penstock import ConfigurationError
from penstock_backends.local.objects import CorruptedError, located, publish
from penstock_backends.local.store import Store
from tests.backends.local import pipelines


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def file_with(folder: Path, content: bytes, name: str = "a.bin") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def test_a_store_that_is_a_file_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "data.csv").write_text("x")
    with pytest.raises(ConfigurationError, match=r"(?s)P722.*data.csv cannot be used: it is a file.*fix: .*`--store`"):
        Store(tmp_path / "data.csv")


def test_a_file_is_found_by_its_content_and_stored_once(store, tmp_path):
    first = store.objects.add_file(file_with(tmp_path / "x", b"same"))
    second = store.objects.add_file(file_with(tmp_path / "y", b"same", "b.bin"))
    assert first == second
    assert store.objects.check(first).read_bytes() == b"same"
    assert not store.objects.path(first).stat().st_mode & 0o222
    assert not list(store.drafts.iterdir())


@pytest.mark.parametrize("content", [b"", b"x", b"large" * 1_000_000])
def test_changed_bytes_are_never_read(store, tmp_path, content):
    digest = store.objects.add_file(file_with(tmp_path, content))
    path = store.objects.path(digest)
    path.chmod(0o644)
    with path.open("ab") as stream:
        stream.write(b"!")
    with pytest.raises(CorruptedError, match="bytes have changed"):
        store.objects.check(digest)
    path.unlink()
    with pytest.raises(CorruptedError, match="cannot be read: No such file"):
        Store(store.folder).objects.check(digest)


def test_storing_again_heals_what_was_damaged(store, tmp_path):
    digest = store.objects.add_file(file_with(tmp_path, b"right"))
    store.objects.path(digest).chmod(0o644)
    store.objects.path(digest).write_bytes(b"wrong")
    assert store.objects.add_file(file_with(tmp_path, b"right")) == digest
    assert store.objects.check(digest).read_bytes() == b"right"


def test_a_folder_comes_back_with_modes_links_and_empty_folders(store, tmp_path):
    source = tmp_path / "out" / "made"
    file_with(source / "deep", b"data")
    (source / "empty").mkdir()
    (source / "run").write_text("#!")
    (source / "run").chmod(0o750)
    (source / "link").symlink_to("deep/a.bin")
    (source / "dangling").symlink_to("/nowhere")
    wire = publish({"$artifact": {"format": "path", "file": "made"}}, tmp_path / "out", store.objects)
    place = Path(located(wire, tmp_path / "in", store.objects)["$artifact"]["file"])
    assert sorted(path.relative_to(place).as_posix() for path in place.rglob("*")) == [
        "dangling",
        "deep",
        "deep/a.bin",
        "empty",
        "link",
        "run",
    ]
    assert (place / "link").read_bytes() == b"data"
    assert os.readlink(place / "dangling") == "/nowhere"
    assert (place / "run").stat().st_mode & 0o777 == 0o750


def test_what_a_reader_writes_into_its_copy_reaches_no_other(store, tmp_path, monkeypatch):
    monkeypatch.setenv("PENSTOCK_STORE", str(store.folder))
    run = pipelines.spoiled.run()
    assert run.outputs[:3] == (bytes(range(256)), True, "deep/data.bin")
    mine = run["folder_with_everything"].outputs
    (mine / "deep" / "data.bin").write_bytes(b"mine now")
    again = pipelines.spoiled.run()
    assert {node.state.value for node in again.nodes.values()} == {"cached"}
    assert (again["folder_with_everything"].outputs / "deep" / "data.bin").read_bytes() == bytes(range(256))


def test_a_corrupted_input_within_a_run_fails_its_reader_with_what_to_do(store, monkeypatch):
    monkeypatch.setenv("PENSTOCK_STORE", str(store.folder))

    def damage(event):
        node = getattr(event, "node", None)
        if getattr(node, "id", "") == "array":
            (file,) = [file for file in store.objects.folder.rglob("*") if file.is_file()]
            file.chmod(0o644)
            file.write_bytes(b"\0" * file.stat().st_size)

    for inline in (False, True):
        failed = pipelines.arrays.run(on_event=damage, inline=inline, size=1000 + inline)["total"]
        assert "is not what was stored" in failed.error
        for file in store.objects.folder.rglob("*"):
            if file.is_file():
                file.unlink()
    assert "run again" in failed.error
    assert pipelines.arrays.run().outputs == 499500


def test_a_run_keeps_what_it_was_and_what_it_came_to(store, monkeypatch):
    monkeypatch.setenv("PENSTOCK_STORE", str(store.folder))
    run = pipelines.arrays.run(size=4)
    assert run.folder.parent == store.runs
    assert json.loads((run.folder / "spec.json").read_text()) == json.loads(pipelines.arrays.spec.model_dump_json())
    assert json.loads((run.folder / "parameters.json").read_text()) == {"size": 4}
    assert not list(store.drafts.iterdir())


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigurationError) as caught:
        Store(tmp_path)
    assert caught.value.diagnostics[0].code == "P724"
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_store_of_another_version_is_left_alone(store):
    (store.folder / "format.json").write_text('{"format": "penstock-store", "version": 2}')
    with pytest.raises(ConfigurationError) as caught:
        Store(store.folder)
    assert caught.value.diagnostics[0].code == "P723"


def _use(folder: Path, number: int) -> None:
    store = Store(folder)
    for value in range(20):
        digest = store.objects.add_bytes(b"%d" % value)
        store.add_result(f"{value:064d}", {"outputs": {}, "metrics": {}, "by": number})
        assert store.objects.check(digest).read_bytes() == b"%d" % value
        assert store.result(f"{value:064d}") is not None
    store.new_run()


def test_processes_may_make_and_use_one_store_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_use, args=(tmp_path / "store", number)) for number in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 6
    assert len(list(Store(tmp_path / "store").runs.iterdir())) == 6
