"""A store by URL: two machines that share one find each other's results and runs, and believe only what was signed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import fsspec
import pytest

from penstock import ConfigurationError, RunError, compiler, pipeline, step
from penstock.upkeep import Verified
from penstock_backends.local import history, sharing
from penstock_backends.local.remote import Remote, RemoteError
from penstock_backends.local.signing import Signer, UntrustedError
from penstock_backends.local.store import Store


class Made(NamedTuple):
    table: object
    folder: Path


@step
def make(size: int) -> Made:
    folder = Path("made")
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "data.txt").write_text("x" * size)
    print("making", size)
    return Made({"size": size}, folder)


@step
def weigh(table: object, folder: Path) -> int:
    assert isinstance(table, dict)
    return table["size"] + len((folder / "deep" / "data.txt").read_text())


@pipeline
def shared(size: int = 5) -> int:
    made = make(size)
    return weigh(made.table, made.folder)


@step
def deploy(size: int) -> str:
    return f"deployed {size}"


@step
def undo(done: str) -> None:
    print("undone", done)


@step
def fail_if(fails: bool, after: str) -> bool:
    assert not fails, "asked to"
    return fails


@pipeline
def deployed(fails: bool = False) -> bool:
    done = deploy.with_options(rollback=undo)(1)
    return fail_if(fails, done)


@pytest.fixture(params=["memory", "file"])
def url(request, tmp_path, monkeypatch):
    monkeypatch.setenv("PENSTOCK_STORE_KEY", "one key for all of the team")
    if request.param == "file":
        return f"file://{tmp_path}/shared"
    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "store", {})
    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "pseudo_dirs", [""])
    return "memory://team/store"


@pytest.fixture
def machine(tmp_path, monkeypatch, url):
    """Has what follows happen on another machine: one with an empty folder of copies."""

    def change(name):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / name / "config"))
        monkeypatch.setenv("PENSTOCK_STORE", url)

    change("first")
    return change


def states(run):
    return {id_: node.state.value for id_, node in run.nodes.items()}


def files_of(url):
    files, root = fsspec.url_to_fs(url)
    files.invalidate_cache()
    return files, sorted(path[len(root) + 1 :] for path in files.find(root))


@pytest.mark.parametrize("inline", [True, False])
def test_another_machine_takes_everything_from_the_store(machine, url, inline):
    first = shared.run(inline=inline)
    assert (first.outputs, set(states(first).values())) == (10, {"succeeded"})
    kinds = {path.partition("/")[0] for path in files_of(url)[1]}
    assert kinds == {"format.json", "objects", "results", "runs"}
    machine("second")
    again = shared.run(inline=inline)
    assert (again.outputs, set(states(again).values())) == (10, {"cached"})
    assert (again["make"].outputs.folder / "deep" / "data.txt").read_text() == "x" * 5


def test_runs_are_seen_from_another_machine_with_their_logs(machine):
    run = shared.run()
    assert "making" in run["make"].log.read_text()
    machine("second")
    history = compiler.history(None)
    found = history.find("latest")
    assert (found.id, found.state) == (run.id, "succeeded")
    assert history.parameters(found) == {"size": 5}
    assert history.nodes(found)["make"].attempts[0].log.read_text() == run["make"].log.read_text()
    history.remove(found)
    machine("third")
    assert list(compiler.history(None).runs()) == []


def test_a_failed_run_resumes_on_another_machine(machine, monkeypatch):
    failed = deployed.run(fails=True)
    assert states(failed)["fail_if"] == "failed"
    machine("second")
    resumed = deployed.run(fails=True, resumes=failed.id)
    assert states(resumed)["deploy"] == "succeeded"  # for it was rolled back


@step
def wait_at(marker: str, after: int) -> int:
    if Path(marker).exists():
        return after
    Path(marker).touch()
    time.sleep(60)
    return 0


@pipeline
def waiting(marker: str) -> int:
    made = make(1)
    return wait_at(marker, weigh(made.table, made.folder))


@pytest.mark.slow
@pytest.mark.parametrize("url", ["file"], indirect=True)
def test_a_run_whose_machine_died_goes_on_on_another_one(machine, url, tmp_path, monkeypatch):
    marker = tmp_path / "marker"
    program = f"from tests.backends.local.test_store_shared import waiting\nwaiting.run(marker={str(marker)!r})"
    command = [sys.executable, "-c", program]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(command, env=environ, start_new_session=True, stderr=subprocess.PIPE) as runner:
        deadline = time.monotonic() + 60
        while not (marker.exists() and any((tmp_path / "shared").glob("runs/*/events.jsonl"))):
            assert time.monotonic() < deadline
            assert runner.poll() is None, runner.stderr.read()
            time.sleep(0.05)
        machine("second")
        assert compiler.history(None).find("latest").state == "running"
        with pytest.raises(ConfigurationError, match="is under way"):
            waiting.resume()
        runner.kill()
    later = SimpleNamespace(time=lambda: time.time() + sharing.LEASE)
    monkeypatch.setattr(history, "time", later)
    died = compiler.history(None).find("latest")
    assert (died.state, compiler.history(None).parameters(died)) == ("interrupted", {"marker": str(marker)})
    resumed = waiting.resume(died.id)
    assert states(resumed) == {"make": "cached", "weigh": "cached", "wait_at": "succeeded"}
    assert resumed.outputs == 2


def test_what_one_machine_undid_does_not_count_on_another_that_had_seen_it_done(machine):
    seen = []

    def look_from_elsewhere(event):
        if getattr(getattr(event, "node", None), "id", "") == "deploy":
            machine("second")
            seen.append(states(deployed.run(inline=True))["deploy"])
            machine("first")

    states(deployed.run(fails=True, inline=True, on_event=look_from_elsewhere))
    machine("second")
    assert (seen, states(deployed.run(inline=True))["deploy"]) == (["cached"], "succeeded")


def test_only_what_was_signed_with_the_stores_key_is_believed(machine, monkeypatch):
    shared.run(inline=True)
    machine("second")
    monkeypatch.setenv("PENSTOCK_STORE_KEY", "the key of somebody else")
    assert set(states(shared.run(inline=True)).values()) == {"succeeded"}
    monkeypatch.setenv("PENSTOCK_STORE_KEY", "too short")
    with pytest.raises(ConfigurationError, match="PENSTOCK_STORE_KEY, which is 9 characters long"):
        shared.run(inline=True)
    with pytest.raises(ConfigurationError, match="TEAM_KEY, which is not set"):
        shared.run(inline=True, store_key="TEAM_KEY")


def test_without_a_key_in_the_environment_each_user_has_one_of_their_own(machine, monkeypatch, tmp_path):
    monkeypatch.delenv("PENSTOCK_STORE_KEY")
    shared.run(inline=True)
    key = tmp_path / "first" / "config" / "penstock" / "store.key"
    assert (key.stat().st_mode & 0o777, len(key.read_bytes())) == (0o600, 64)
    assert set(states(shared.run(inline=True)).values()) == {"cached"}
    key.chmod(0o644)
    with pytest.raises(ConfigurationError, match="can be read by other users"):
        shared.run(inline=True)
    machine("second")  # and of another user
    assert set(states(shared.run(inline=True)).values()) == {"succeeded"}


def test_a_signature_holds_for_one_name_and_these_bytes():
    signer = Signer(b"k" * 16)
    stored = signer.signed("results/a", b"bytes")
    assert signer.opened("results/a", stored) == b"bytes"
    for name, content, why in (
        ("results/b", stored, "is not what was signed"),
        ("results/a", stored + b"!", "is not what was signed"),
        ("results/a", b"bytes", "is not signed"),
        ("results/a", Signer(b"x" * 16).signed("results/a", b"bytes"), "another key"),
    ):
        with pytest.raises(UntrustedError, match=why):
            signer.opened(name, content)


def test_damage_on_the_shared_side_is_computed_anew_and_healed(machine, url):
    shared.run(inline=True)
    files, names = files_of(url)
    root = fsspec.url_to_fs(url)[1]
    for name in names:
        if name.startswith(("objects", "results")):
            files.pipe_file(f"{root}/{name}", b"?" * files.info(f"{root}/{name}")["size"])
    machine("second")
    again = shared.run(inline=True)
    assert (again.outputs, set(states(again).values())) == (10, {"succeeded"})


def test_a_store_that_fails_in_mid_run_fails_the_step_and_the_next_run_goes_on(machine, url, monkeypatch):
    put = Remote.put
    down = []

    def put_or_fail(self, name, content):
        if down and name.startswith("results/"):
            with self._telling():
                raise ConnectionResetError("the line is dead")
        put(self, name, content)

    monkeypatch.setattr(Remote, "put", put_or_fail)
    for inline in (True, False):
        down.append(1)
        failed = shared.run(inline=inline, size=6 + inline)
        assert states(failed) == {"make": "failed", "weigh": "upstream_failed"}
        assert "cannot be stored" in failed["make"].error
        assert f"{url}: ConnectionResetError: the line is dead" in failed["make"].error
        down.clear()
        again = shared.run(inline=inline, size=6 + inline)
        assert states(again) == {"make": "cached", "weigh": "succeeded"}  # it had been kept here, and is shared now
    machine("second")
    assert states(shared.run(size=7))["make"] == "cached"


def test_what_could_not_be_shared_and_is_damaged_by_now_is_computed_anew(machine, url, monkeypatch):
    with monkeypatch.context() as down:
        down.setattr(Remote, "put_objects", fail)
        assert states(shared.run(inline=True))["make"] == "failed"
    for file in Store(url).objects.folder.iterdir():
        file.chmod(0o644)
        file.write_bytes(b"?")
    assert set(states(shared.run(inline=True)).values()) == {"succeeded"}


def fail(*_):
    raise RemoteError("the line is dead")


def test_objects_that_went_from_the_copy_are_brought_again(machine, url):
    shared.run(inline=True)
    for file in Store(url).objects.folder.iterdir():
        file.unlink()
    again = shared.run(inline=True)
    assert set(states(again).values()) == {"cached"}
    assert again["make"].outputs.table == {"size": 5}


def test_records_are_read_from_the_shared_side_where_they_are_not_here(machine, url):
    run = shared.run(inline=True)
    machine("second")
    nodes = compiler.history(None).nodes(compiler.history(None).find(run.id))
    store = Store(url)
    assert store.record(nodes["weigh"].result)["outputs"] == {"output": 10}
    assert store.record("0" * 64) is None


def test_a_run_that_cannot_be_written_down_there_says_where_it_is_kept(machine, url, monkeypatch):
    put = Remote.put

    def put_or_fail(self, name, content):
        if name.endswith("run.json"):
            with self._telling():
                raise ConnectionResetError
        put(self, name, content)

    monkeypatch.setattr(Remote, "put", put_or_fail)
    with pytest.raises(RunError, match="P612: the run") as caught:
        shared.run(inline=True)
    (run,) = Store(url).runs.iterdir()
    assert str(run) in caught.value.diagnostics[0].fix
    assert (run / "run.json").exists()


@pytest.mark.parametrize("place", ["nowhere://bucket", "http://127.0.0.1:9/store", "file:///dev/null/store"])
def test_a_place_that_cannot_be_used_is_told_with_what_to_do(place, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(ConfigurationError) as caught:
        Store(place)
    assert caught.value.diagnostics[0].code == "P721"
    assert place in caught.value.diagnostics[0].message


def test_a_shared_store_of_a_later_version_is_left_alone(machine, url):
    Store(url)
    files, root = fsspec.url_to_fs(url)
    files.pipe_file(f"{root}/format.json", json.dumps({"format": "penstock-store", "version": 2}).encode())
    with pytest.raises(ConfigurationError) as caught:
        Store(url)
    assert caught.value.diagnostics[0].code == "P723"


def upkeep():
    return compiler.upkeep()


def kinds(damages):
    return sorted((each.kind, each.is_mended) for each in damages)


def test_what_is_damaged_on_the_shared_side_is_found_and_mended(machine, url, monkeypatch):
    run = shared.run(inline=True)
    assert upkeep().verify() == Verified({"objects": 3, "results": 2, "runs": 1}, ())
    files, names = files_of(url)
    root = fsspec.url_to_fs(url)[1]
    for name in (next(name for name in names if name.startswith("objects")), f"runs/{run.id}/spec.json"):
        files.pipe_file(f"{root}/{name}", b"?" * files.info(f"{root}/{name}")["size"])
    files.pipe_file(f"{root}/results/{'0' * 64}", Signer(b"another key of others").signed("results/0", b"{}"))
    assert kinds(upkeep().verify(repair=True).damages) == [("object", True), ("run", False)]
    assert kinds(upkeep().verify(repair=True).damages) == [("result", True), ("run", False)]
    assert kinds(upkeep().verify().damages) == [("run", False)]
    machine("second")
    assert shared.run(inline=True).outputs == 10


def test_gc_of_the_shared_side_leaves_what_is_young_and_what_runs_refer_to(machine, url, monkeypatch):
    kept, gone = shared.run(inline=True), shared.run(inline=True, size=6)
    history = compiler.history(None)
    history.remove(history.find(gone.id))
    assert upkeep().gc().size == 0  # for it may be in use somewhere
    monkeypatch.setattr("penstock_backends.local.shared_upkeep.GRACE", -60)
    would = upkeep().gc(dry_run=True)
    cleared = upkeep().gc()
    assert cleared == would
    assert {kind: each.count for kind, each in cleared.gone.items()} == {"drafts": 0, "results": 2, "objects": 3}
    assert cleared.left == sum(each.size for kind, each in upkeep().info().items() if kind != "copied")
    machine("second")
    assert set(states(shared.run(inline=True)).values()) == {"cached"}
    by_size = upkeep().gc(max_size=0)
    assert (by_size.gone["results"].count, by_size.gone["objects"].count) == (2, 3)
    assert compiler.history(None).find(kept.id).state == "succeeded"


def test_an_object_that_is_old_is_put_there_anew_when_it_is_needed(machine, url, monkeypatch):
    shared.run(inline=True)
    put = []
    monkeypatch.setattr(Remote, "_write", lambda self, path, write: put.append(path))
    for grace, times in ((86_400, 0), (-86_400, 1)):
        monkeypatch.setattr("penstock_backends.local.remote.GRACE", grace)
        store = Store(url)
        (digest, *_) = sorted(file.name for file in store.objects.folder.iterdir())
        store.sharing.remote.put_objects([digest], store.objects)
        assert len(put) == times
