"""Kills runs at random moments: each must resume, with no finished step repeated or lost, and nothing left behind.

Run: python benchmarks/kill_loop.py [--times 200] [--seed 1] [--only runner|worker|group]

A trial runs a pipeline by `penstock run`, kills the runner, one of its workers (a nursery, a slot or an attempt) or
all of these at once, then goes on by `penstock runs resume latest`, which may be killed, too. After each death the
processes must be gone within two seconds, and the store must be sound. After the last resume, which nobody kills,
everything must be done, and the answer right.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from penstock.cli import app
from penstock.harness import descendants
from penstock.history import PastNode
from penstock_backends.local.history import StoredHistory
from penstock_backends.local.store import Store
from penstock_backends.local.upkeep import LocalUpkeep

VICTIMS = ("runner", "worker", "group")
MOST_KILLS = 3
FOR_PROCESSES = 20.0
FOR_RUNS = 60.0
ITEMS = 4
EXPECTED = sum(2 * item + 1 for item in range(ITEMS)) + ITEMS

SOURCE = f"""
import os
import subprocess
import time
from pathlib import Path

from penstock import pipeline, step


def note(word: str) -> None:
    with open(os.environ["KILL_LOOP_NOTES"], "a") as file:
        file.write(word + "\\n")


@step
def load(count: int) -> list[int]:
    note("load")
    return list(range(count))


@step
def work(item: int) -> int:
    note(f"work[{{item}}]")
    time.sleep(0.01)
    return 2 * item + 1


@step(cache=False)
def stamp(count: int) -> int:
    note("stamp")
    subprocess.Popen(["sleep", "60"], start_new_session=True)
    return count


@step
def bundle(values: list[int]) -> Path:
    note("bundle")
    place = Path("made")
    place.mkdir()
    for number, value in enumerate(values):
        (place / str(number)).write_text(str(value))
    return place


@step
def finish(place: Path, count: int) -> int:
    note("finish")
    total = sum(int(file.read_text()) for file in place.iterdir()) + count
    Path(os.environ["KILL_LOOP_NOTES"] + ".answer").write_text(str(total))
    return total


@pipeline
def killed(count: int = {ITEMS}) -> int:
    stamped = stamp(count)
    values = [work(item) for item in load(count)]
    if stamped > 0:
        return finish(bundle(values), stamped)
    return stamped
"""


class WrongError(Exception):
    """What a trial showed to be wrong."""


@dataclass
class Trial:
    """One pipeline in a folder of its own, run and killed until it is allowed to end."""

    folder: Path
    victim: str
    dice: random.Random
    duration: float
    kills: Counter[str] = field(default_factory=Counter)

    @property
    def share(self) -> float:
        """The part of that time in which it is killed: most of its workers are gone well before its end."""
        return 0.4 if self.victim == "worker" else 1.0

    def __post_init__(self) -> None:
        self.place = self.folder / "store"
        self.notes = self.folder / "notes"
        (self.folder / "killed.py").write_text(SOURCE)

    def carry_out(self) -> None:
        """Kills one to three times, and lets it end."""
        self._run_and_kill("run", "killed.py")
        for _ in range(self.dice.randrange(MOST_KILLS)):
            self._go_on(is_killed=True)
        self._go_on(is_killed=False)
        answer = Path(f"{self.notes}.answer").read_text()
        _hold(answer == str(EXPECTED), f"the answer is {answer}, not {EXPECTED}")
        repeated = {name: times for name, times in Counter(self._noted()).items() if times > 1 + self.kills.total()}
        _hold(not repeated, f"done more often than there were kills: {repeated}")

    def measure(self) -> float:
        """How long it takes, from when it can be killed, when nobody does."""
        runner = self._start("run", "killed.py")
        self._wait_for_victims(runner)
        began = time.monotonic()
        _hold(self._wait(runner) == 0, "the run failed though nobody killed it")
        return time.monotonic() - began

    def _go_on(self, is_killed: bool) -> None:
        """Resumes the latest run, and holds what is done again against what was done before."""
        latest, done, results, before = self._latest(), self._done(), self._results(), len(self._noted())
        words = ("runs", "resume", "latest") if latest else ("run", "killed.py")
        if is_killed:
            self._run_and_kill(*words)
        else:
            code = self._wait(self._start(*words))
            _hold(code == 0, f"{' '.join(words)} ended with {code}: {self._said()}")
        again = set(self._noted()[before:]) & done
        _hold(not again, f"done again though finished: {sorted(again)}")
        if self._latest() == latest:  # it was killed before it had begun
            return
        for node in self._nodes().values():
            is_new = node.state == "succeeded" and node.result in results
            _hold(not is_new, f"{node.id} was computed though its result was stored")
            _hold(is_killed or node.state in ("succeeded", "cached", "skipped"), f"{node.id} is {node.state}")

    def _run_and_kill(self, *words: str) -> None:
        runner = self._start(*words)
        self._wait_for_victims(runner)
        time.sleep(self.dice.uniform(0, self.duration * self.share))
        victims = list(self._victims(runner))
        _send(victims, signal.SIGKILL)
        self.kills[self.victim] += bool(victims)
        self._wait(runner)
        self._check_store()

    def _wait_for_victims(self, runner: int) -> None:
        """Waits until there are workers, where it is these that are killed."""
        while self.victim == "worker" and not self._processes() and not _has_ended(runner):
            time.sleep(0.002)

    def _victims(self, runner: int) -> Iterator[int]:
        if self.victim == "worker":
            workers = self._processes()
            yield from [self.dice.choice(workers)] if workers else ()
            return
        yield runner
        if self.victim == "group":
            yield from self._stopped(runner)

    def _stopped(self, runner: int) -> set[int]:
        """All that a runner has started, stopped first, so that nothing is started while they are killed."""
        _stop([runner])
        stopped: set[int] = set()
        while new := {*self._processes(), *descendants((runner,))} - stopped:  # what is about to be another has no name
            _stop(new)
            stopped |= new
        return stopped

    def _check_store(self) -> None:
        if not (self.place / "format.json").exists():
            return
        wrong = [each for each in LocalUpkeep(Store(self.place)).verify().damages if each.kind != "draft"]
        _hold(not wrong, f"the store is damaged: {wrong}")

    # --- processes

    def _start(self, *words: str) -> int:
        """Starts a command in a process of its own, forked from this one, which has it imported."""
        child = os.fork()
        if child:
            return child
        try:
            os.setsid()
            os.chdir(self.folder)
            os.environ.update(PENSTOCK_STORE=str(self.place), KILL_LOOP_NOTES=str(self.notes))
            said = os.open(self.folder / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(said, 1)
            os.dup2(said, 2)
            app(words)
        except SystemExit as end:
            os._exit(int(end.code or 0))
        finally:
            os._exit(70)

    def _wait(self, runner: int) -> int:
        """The exit code of a runner, once it has ended and all that it started is gone."""
        until = time.monotonic() + FOR_RUNS
        while (ended := os.waitpid(runner, os.WNOHANG))[0] == 0:
            if time.monotonic() > until:
                os.kill(runner, signal.SIGKILL)
                os.waitpid(runner, 0)
                raise WrongError(f"the run did not end within {FOR_RUNS:g} s: {self._said()}")
            time.sleep(0.002)
        until = time.monotonic() + FOR_PROCESSES
        while left := self._processes():
            if time.monotonic() > until:
                said = list(map(_command, left))
                _send(left, signal.SIGKILL)
                raise WrongError(f"left after {FOR_PROCESSES:g} s: {said}")
            time.sleep(0.01)
        return os.waitstatus_to_exitcode(ended[1])

    def _processes(self) -> list[int]:
        """What a runner has started, and what that has: told by the environment that they were started with."""
        mark = f"KILL_LOOP_NOTES={self.notes}".encode()
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (place / "environ").read_bytes().split(b"\0"):
                    found.append(int(place.name))
        return found

    # --- what is known of it

    def _history(self) -> StoredHistory:
        return StoredHistory(Store(self.place, makes=False))

    def _latest(self) -> str:
        """The id of the latest run; empty where none has begun."""
        newest = next(self._history().runs(), None)
        return newest.id if newest is not None else ""

    def _nodes(self) -> dict[str, PastNode]:
        history = self._history()
        newest = next(history.runs(), None)
        return dict(history.nodes(newest)) if newest is not None else {}

    def _done(self) -> set[str]:
        """The steps that have finished, as the latest run has it."""
        return {node.id for node in self._nodes().values() if node.state in ("succeeded", "cached")}

    def _results(self) -> set[str]:
        with suppress(FileNotFoundError):
            return {file.name for file in (self.place / "results").iterdir()}
        return set()

    def _noted(self) -> list[str]:
        return self.notes.read_text().split() if self.notes.exists() else []

    def _said(self) -> str:
        return (self.folder / "said").read_text(errors="replace")[-2000:]


def _has_ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return "one that has just ended"


def _send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _stop(pids: Collection[int]) -> None:
    """Stops processes, and waits until they are: one may be in the middle of a fork, which is not broken off."""
    _send(pids, signal.SIGSTOP)
    while not all(map(_is_still, pids)):
        time.sleep(0.001)


def _is_still(pid: int) -> bool:
    """Whether a process is stopped or gone, or waits for what it has forked to become another program."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] in "TtZXD"
    return True


def _hold(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise WrongError(otherwise)


def trials(victim: str, times: int, seed: int) -> Counter[str]:
    """Carries out so many trials, and raises `WrongError` with the first that shows something wrong; the kills."""
    with tempfile.TemporaryDirectory() as place:
        duration = Trial(_folder(place, "whole"), victim, _dice(), 0.0).measure()
        kills: Counter[str] = Counter()
        for number in range(times):
            folder = _folder(place, str(number))
            trial = Trial(folder, victim, _dice(victim, seed, number), duration)
            try:
                trial.carry_out()
            except (WrongError, OSError) as error:
                raise WrongError(f"{victim}, seed {seed}, trial {number}: {error}") from error
            kills += trial.kills
    return kills


def _dice(*seed: object) -> random.Random:
    return random.Random(repr(seed))  # noqa: S311  # it keeps no secret


def _folder(place: str, name: str) -> Path:
    folder = Path(place, name)
    folder.mkdir()
    return folder


def main() -> None:
    """Kills each kind of process in so many trials."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=200, help="how many trials of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=VICTIMS)
    given = parser.parse_args()
    for victim in [given.only] if given.only else VICTIMS:
        began = time.monotonic()
        kills = trials(victim, given.times, given.seed)
        seconds = time.monotonic() - began
        print(f"{victim}: {given.times} runs, killed {kills.total()} times, all resumed soundly ({seconds:.0f} s)")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
