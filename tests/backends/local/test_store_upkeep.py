"""What keeps a store in order: everything damaged is found, nothing that is wanted goes, and what may go does."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import time

import pytest
from typer.testing import CliRunner

from penstock import ConfigurationError, pipeline, step
from penstock.cli import app
from penstock_backends.local import upkeep
from penstock_backends.local.folders import remove
from penstock_backends.local.objects import CorruptedError
from penstock_backends.local.store import Store
from penstock_backends.local.upkeep import LocalUpkeep


@step
def numbers(count: int) -> list[int]:
    return list(range(count))


@step
def things(number: int) -> tuple[object, object, object]:
    return {"number": number}, {"not": number}, {"nor": number}


@pipeline
def many(count: int = 3) -> list[tuple[object, object, object]]:
    return [things(number) for number in numbers(count)]


@step
def large(number: int) -> object:
    return bytes([number]) * 10_000


@pipeline
def one(number: int = 1) -> object:
    return large(number)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(upkeep, "MARGIN", 0.0)
    monkeypatch.setenv("PENSTOCK_STORE", str(tmp_path / "store"))
    return Store()


def keeper(store):
    time.sleep(0.01)  # longer than the file system's clock takes to go on
    return LocalUpkeep(store)


def spoil(file):
    file.chmod(0o644)
    file.write_bytes(b"?" + file.read_bytes()[1:])


def states(run):
    return {node.state.value for node in run.nodes.values()}


@pytest.mark.slow
def test_a_thousand_corrupted_entries_are_all_found_and_computed_anew(store):
    first = many.run(count=250, inline=True)
    files = [
        *(each for each in store.objects.folder.iterdir()),
        *(each for each in store.results.iterdir()),
    ]
    assert len(files) >= 1000
    for file in files:
        spoil(file)
    found = keeper(store).verify()
    assert {each.name for each in found.damages} == {file.name for file in files}
    assert not any(each.is_mended for each in found.damages)
    again = many.run(count=250, inline=True)
    assert again.outputs == first.outputs
    assert "cached" not in states(again)
    left = keeper(store).verify().damages
    assert [each.kind for each in left] == ["result"]  # how the first run's loop went, which each run decides anew


def test_repair_removes_what_is_damaged_and_what_refers_to_it(store):
    one.run(inline=True)
    (stored,) = store.objects.folder.iterdir()
    spoil(stored)
    draft = store.drafts / "0123abcd-999999999-0"
    draft.write_text("half")
    damages = keeper(store).verify(repair=True).damages
    assert [(each.kind, each.is_mended) for each in damages] == [("object", True), ("result", True), ("draft", True)]
    assert "missing" in damages[1].problem
    assert not draft.exists()
    assert keeper(store).verify().damages == ()
    assert states(one.run(inline=True)) == {"succeeded"}


def test_a_damaged_run_is_told_and_kept(store):
    run = one.run(inline=True)
    (run.folder / "spec.json").write_text("{")
    (run.folder / "run.json").unlink()
    found = keeper(store).verify(repair=True)
    assert [(each.kind, each.name, each.is_mended) for each in found.damages] == [("run", run.id, False)]
    assert "spec.json is not whole" in found.damages[0].problem


def test_gc_lets_go_of_what_no_run_refers_to_and_of_nothing_else(store):
    kept, gone = one.run(number=1, inline=True), one.run(number=2, inline=True)
    assert keeper(store).gc().size == 0
    remove(gone.folder)
    before = keeper(store).info()
    would = keeper(store).gc(dry_run=True)
    assert keeper(store).info() == before
    cleared = keeper(store).gc()
    assert (cleared.gone, cleared.left) == (would.gone, would.left)
    assert (cleared.gone["results"].count, cleared.gone["objects"].count) == (1, 1)
    assert cleared.gone["objects"].size > 10_000
    assert kept.outputs == b"\1" * 10_000
    assert states(one.run(number=1, inline=True)) == {"cached"}
    assert states(one.run(number=2, inline=True)) == {"succeeded"}


def test_gc_by_age_and_by_size_goes_by_the_last_use(store):
    for number in (1, 2, 3):
        one.run(number=number, inline=True)
    for age, file in enumerate(sorted(store.results.iterdir(), key=lambda file: file.stat().st_mtime), 1):
        long_ago = time.time() - 100_000 * (4 - age)
        os.utime(file, (long_ago, long_ago))
    assert states(one.run(number=1, inline=True)) == {"cached"}  # which is a use
    assert keeper(store).gc(older_than=250_000).gone["results"].count == 0
    by_size = keeper(store).gc(max_size=keeper(store).gc().left - 1)
    assert by_size.gone["results"].count == 1
    assert [states(one.run(number=number, inline=True)) for number in (1, 2, 3)] == [
        {"cached"},
        {"succeeded"},
        {"cached"},
    ]


def test_a_limit_is_kept_after_each_run_but_never_by_what_the_run_itself_uses(store):
    for number in range(1, 6):
        run = one.run(number=number, inline=True, store_limit=25_000)
        assert run.outputs == bytes([number]) * 10_000
    assert len(list(store.objects.folder.iterdir())) < 5
    run = one.run(number=9, inline=True, store_limit="1k")
    assert run.outputs == bytes([9]) * 10_000


def test_what_a_run_under_way_wrote_or_took_is_left_alone(store):
    cached, gone = one.run(number=1, inline=True), one.run(number=2, inline=True)
    for run in (cached, gone):
        remove(run.folder)

    def clear(event):
        if type(event).__name__ == "NodeEnded":  # the journal does not have it yet in every case
            freed.append(keeper(store).gc(max_size=0))

    freed = []
    run = one.run(number=1, inline=True, on_event=clear)
    assert states(run) == {"cached"}
    assert run.outputs == b"\1" * 10_000
    assert [each.gone["results"].count for each in freed] == [1]
    fresh = one.run(number=3, inline=True, on_event=clear)
    assert fresh.outputs == b"\3" * 10_000


def test_a_result_that_is_used_while_gc_is_about_to_remove_it_stays(store, monkeypatch):
    run = one.run(number=1, inline=True)
    remove(run.folder)
    upkeep_of_it = keeper(store)
    let_go = upkeep_of_it._let_go

    def use_first(result):
        assert store.result(result.key) is not None
        return let_go(result)

    monkeypatch.setattr(upkeep_of_it, "_let_go", use_first)
    cleared = upkeep_of_it.gc()
    assert {kind: each.count for kind, each in cleared.gone.items()} == {"drafts": 0, "results": 0, "objects": 0}
    assert states(one.run(number=1, inline=True)) == {"cached"}


@step
def is_whole(found: object, number: int) -> None:
    assert found == bytes([number]) * 10_000


@pipeline
def checked(number: int) -> None:
    is_whole(large(number), number)


def _run_often(times):
    for number in range(times):
        run = checked.run(number=number % 3, inline=True)  # once it has ended, its results may go at any time
        assert run.state.is_good, [each.error for each in run.nodes.values()]


@pytest.mark.slow
def test_runs_in_other_processes_lose_nothing_to_a_gc_that_never_stops(store):
    context = multiprocessing.get_context("fork")
    runners = [context.Process(target=_run_often, args=(15,)) for _ in range(3)]
    for each in runners:
        each.start()
    gone = 0
    while any(each.is_alive() for each in runners):
        gone += LocalUpkeep(store).gc(max_size=0).gone["results"].count
    assert [each.exitcode for each in runners] == [0, 0, 0]
    assert gone > 0
    assert {each.kind for each in keeper(store).verify().damages} <= {"draft"}


def test_two_do_not_clear_one_store_at_once(store):
    keeper(store).gc()
    with store.lock.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigurationError, match="being cleared by another process"):
            keeper(store).gc()
        keeper(store).keep_within(0)


def test_what_another_user_may_have_written_is_never_read(store):
    one.run(number=1, inline=True)
    (stored,) = store.objects.folder.iterdir()
    stored.chmod(0o666)
    with pytest.raises(CorruptedError, match="may have been written by another user"):
        store.objects.check(stored.name)
    assert states(one.run(number=1, inline=True)) == {"succeeded"}
    (result,) = store.results.iterdir()
    result.chmod(0o664)
    assert store.result(result.name) is None
    store.results.chmod(0o777)
    with pytest.raises(ConfigurationError) as caught:
        Store()
    assert caught.value.diagnostics[0].code == "P727"
    assert "chmod -R go-w" in caught.value.diagnostics[0].fix


def test_the_files_of_another_owner_are_refused(store, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: store.folder.stat().st_uid + 1)
    if store.folder.stat().st_uid == 0:  # then the store is the administrator's, whom everybody trusts
        os.chown(store.folder, 12345, -1)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        Store()


def test_a_new_store_is_its_owners_alone(tmp_path):
    assert Store(tmp_path / "new").folder.stat().st_mode & 0o777 == 0o700
    (tmp_path / "empty").mkdir(mode=0o777)
    (tmp_path / "empty").chmod(0o777)
    assert Store(tmp_path / "empty").folder.stat().st_mode & 0o777 == 0o755


def invoke(*words):
    return CliRunner().invoke(app, ["store", *words])


def test_what_a_link_leads_to_is_not_counted(store, tmp_path):
    run = one.run(number=1, inline=True)
    before = LocalUpkeep(store).info()["runs"].size
    (run.folder / "outputs").mkdir()
    (run.folder / "outputs" / "round").symlink_to(run.folder)
    assert before < LocalUpkeep(store).info()["runs"].size < before + 1000
    remove(run.folder / "outputs")
    assert LocalUpkeep(store).info()["runs"].size == before


def test_what_is_no_store_is_not_made_one_by_looking(tmp_path):
    for words in (["info"], ["verify"], ["gc"]):
        said = invoke(*words, "--store", str(tmp_path / "none"))
        assert (said.exit_code, "P725: there is no store" in said.stderr) == (2, True)
    assert not (tmp_path / "none").exists()


def test_the_commands_say_what_is_there_what_is_damaged_and_what_went(store):
    one.run(number=1, inline=True)
    said = invoke("info")
    assert (said.exit_code, "objects            1" in said.stdout, "runs               1" in said.stdout) == (
        0,
        True,
        True,
    )
    assert "1 object, 1 result, 1 run read; nothing damaged" in invoke("verify").stdout
    (result,) = store.results.iterdir()
    spoil(result)
    said = invoke("verify", "--store", str(store.folder))
    assert (said.exit_code, f"result {result.name}: is not what was stored" in said.stdout) == (1, True)
    assert invoke("verify", "--repair").exit_code == 0
    assert "would free" in invoke("gc", "--dry-run", "--older-than", "30d").stdout
    said = invoke("gc", "--max-size", "1")
    assert (said.exit_code, "freed" in said.stdout, "that is more than 1 bytes" in said.stdout) == (0, True, True)
    assert "'soon' is not a span of time" in invoke("gc", "--older-than", "soon").output
    assert "size 'big' is not a size" in invoke("gc", "--max-size", "big").output
