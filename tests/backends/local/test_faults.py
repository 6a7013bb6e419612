"""What goes wrong in a step, or around it, has its right end, soon, with a message that says why."""

from __future__ import annotations

import itertools
import json
import os
import time
from pathlib import Path

import pytest

from penstock import RunError, terminal
from tests.backends.local import faults
from tests.backends.local.test_run import states, wait_until
from tests.backends.local.test_store_disk import lines_of, mounting


@pytest.fixture(autouse=True)
def _store(tmp_path, monkeypatch):
    monkeypatch.setenv("PENSTOCK_STORE", str(tmp_path / "store"))


def processes_with(mark: str) -> list[int]:
    """Those that were started with something in their environment."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (place / "environ").read_bytes():
                found.append(int(place.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("eats_memory", "MemoryError"),
        ("reads_address_zero", "killed by SIGSEGV (a crash in native code)"),
        ("leaves_quietly", "exit code 0 and no result"),
        ("aborts", "killed by SIGABRT (a crash in native code)"),
        pytest.param("ignores_the_request_to_end", "timeout of 1 s", marks=pytest.mark.slow),
        pytest.param("starts_stubborn_children", "timeout of 1 s", marks=pytest.mark.slow),
        ("kills_its_session", "killed by SIGKILL"),
        ("exhausts_descriptors", "Too many open files"),
        ("recurses", "RecursionError"),
        ("raises_all_of_its_data", "[... 9990"),
        ("raises_what_cannot_be_told", "MuteError"),
    ],
)
def test_a_step_that_goes_wrong_fails_alone_and_says_why(how, message, tmp_path):
    began = time.monotonic()
    run = (faults.overdue if "timeout" in message else faults.erring).run(how=how, max_workers=1)
    assert time.monotonic() - began < 30
    assert run["errs"].error.count(message) == 1, run["errs"]
    assert states(run) == {"counts": "succeeded", "errs": "failed", "counts_2": "upstream_failed"}
    assert "last words" in run["errs"].log.read_text(errors="replace")
    assert len(run["errs"].error) < 20_000
    assert (run.folder / "events.jsonl").stat().st_size < 500_000
    assert processes_with(str(tmp_path)) == []


@pytest.mark.slow
@pytest.mark.parametrize("how", faults.MISUSES)
def test_a_step_that_misuses_its_process_harms_nobody(how, tmp_path):
    run = faults.bearing.run(how=how, max_workers=1)
    assert states(run) == {"bears": "succeeded", "counts": "succeeded"}, run["bears"].error
    assert run.outputs == 2
    assert run["bears"].seconds < 30
    assert processes_with(str(tmp_path)) == []


def test_a_crash_in_native_code_leaves_the_lines_that_led_to_it():
    run = faults.erring.run(how="reads_address_zero")
    log = run["errs"].log.read_text()
    assert "Segmentation fault" in log
    assert f'File "{faults.__file__}", line' in log
    assert "in reads_address_zero" in log


@pytest.mark.parametrize("inline", [False, True], ids=["workers", "inline"])
@pytest.mark.parametrize("what", ["store", "store/runs"])
def test_a_run_whose_folder_is_removed_ends_and_says_so(what, inline, tmp_path):
    with pytest.raises(RunError) as caught:
        faults.sawing.run(folder=str(tmp_path / what), inline=inline)
    (problem,) = caught.value.diagnostics
    assert (problem.code, "No such file" in problem.message) == ("P613", True)
    assert "removed it while the run went on" in problem.fix
    assert faults.bearing.run(how="handles_all_signals", max_workers=1).state.value == "succeeded"


@pytest.mark.slow
def test_a_store_that_can_only_be_read_is_told_and_what_is_in_it_is_shown(tmp_path):
    (said,) = lines_of("read_only_disk.py", tmp_path, by=mounting())
    for use in ("run", "inline"):
        code, message, fix = said[use]
        assert (code, "Read-only file system" in message, "another store" in fix) == ("P613", True, True)
    assert (said["new"][0], said["gc"][0], said["damages"], said["listed"]) == ("P722", "P722", 0, 1)


@pytest.mark.parametrize("levels", [0, 1, 2], ids=["attempt", "slot", "nursery"])
def test_a_process_that_is_killed_fails_its_attempts_and_the_rest_of_the_run_goes_on(levels, tmp_path):
    began = time.monotonic()
    run = faults.losing.run(levels=levels, max_workers=1)
    assert time.monotonic() - began < 20
    assert run["kills_above"].state.value == "failed"
    assert ("killed by SIGKILL" if levels == 0 else "ended from outside") in run["kills_above"].error
    assert [node.id for node in run.nodes.values() if node.state.value == "failed"] == ["kills_above"]
    assert wait_until(lambda: not processes_with(str(tmp_path)), 2)


@pytest.mark.slow
def test_a_log_of_any_size_takes_no_memory_of_the_runner_and_no_room_on_the_screen():
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    before = peak_memory()
    progress = terminal.Progress()
    shown = []
    run = faults.failing_at_length.run(on_event=lambda event: shown.extend(progress.lines(event)))
    shown += terminal.failures(run)
    assert run["fails_at_length"].log.stat().st_size > 100 * faults.MEGABYTE
    assert peak_memory() - before < 20 * faults.MEGABYTE
    assert "ValueError: at last" in "".join(shown)
    assert sum(map(len, shown)) < 100_000


def peak_memory() -> int:
    """The largest memory that this process has had, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.slow
def test_a_clock_that_is_set_changes_no_time_that_is_told_and_no_timeout(monkeypatch):
    jumps = itertools.cycle([-1e6, 1e6, 0.0])
    real = time.time

    def jump(event: object) -> None:
        by = next(jumps)
        monkeypatch.setattr(time, "time", lambda: real() + by)

    began = time.monotonic()
    run = faults.overdue.run(how="ignores_the_request_to_end", on_event=jump)
    assert "timeout of 1 s" in run["errs"].error
    assert 1 <= run["errs"].seconds <= run.seconds <= time.monotonic() - began
    written = [json.loads(line)["time"] for line in (run.folder / "events.jsonl").read_text().splitlines()]
    assert written == sorted(written)
    assert written[-1] - written[0] <= time.monotonic() - began
