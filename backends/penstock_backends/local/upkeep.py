"""Keeps a store in order: says what it takes up, finds what is damaged, and clears what is no longer wanted.

Runs may go on in any number of processes meanwhile, and others begin. What they use is told by time, read from the
clock of the file system: whatever was written, or touched because a run took it from the cache, since the oldest run
under way began is left alone. What goes is first moved aside; where it turns out to have been wanted in the meantime,
it is put back.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from penstock.diagnostics import ConfigurationError, Diagnostic
from penstock.spec import PipelineSpec
from penstock.upkeep import Cleared, Damage, Holding, Verified
from penstock_backends.local.history import is_live, read_journal
from penstock_backends.local.layout import JOURNAL, PARAMETERS, SPEC, SUMMARY
from penstock_backends.local.objects import CorruptedError, Objects, digests_in, read_record
from penstock_backends.local.store import Store

MARGIN = 1.0  # seconds: what was written a moment before a run began may still be what it began with
BEGINNING = 3600.0  # seconds that a run may take to begin once it has its folder
NAMED = re.compile(rb'"result": ?"([^"\\]+)"')


@dataclass(frozen=True)
class _Result:
    """A stored result as it was found: its size, its last use, and the objects that it needs."""

    key: str
    size: int
    used: int
    digests: frozenset[str]
    is_whole: bool


class LocalUpkeep:
    """The upkeep of a store in a folder, as `penstock.upkeep.Upkeep` has it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def place(self) -> str:
        """The store's folder."""
        return str(self._store.folder)

    def info(self) -> dict[str, Holding]:
        """What it holds, by kind."""
        store = self._store
        kinds = {"objects": store.objects.folder, "results": store.results, "runs": store.runs, "drafts": store.drafts}
        return {kind: _holding(folder) for kind, folder in kinds.items()}

    def verify(self, repair: bool = False) -> Verified:
        """Reads everything; with ``repair``, removes what is damaged."""
        since = self._in_use_since()
        counts: Counter[str] = Counter()
        damages = [
            *self._damaged_objects(counts),
            *self._damaged_results(counts),
            *self._damaged_runs(counts),
            *(("draft", draft, "was left by a process that is gone") for draft in self._strays(since)),
        ]
        return Verified(counts, tuple(_mended(*each) if repair else _found(*each) for each in damages))

    def gc(self, dry_run: bool = False, older_than: float | None = None, max_size: int | None = None) -> Cleared:
        """Removes what nothing refers to, and what may go beyond that."""
        with self._alone():
            since = self._in_use_since()
            results = self._results()
            doomed = self._unwanted(results, since, older_than)
            if max_size is not None:
                sizes = {file.name: _size_of(file) for file in _entries(self._store.objects.folder)}
                doomed |= excess(results, doomed, since, max_size - _holding(self._store.runs).size, sizes)
            strays = list(self._strays(since))
            gone = {"drafts": Holding(len(strays), sum(map(_size_of, strays)))}
            if not dry_run:
                doomed = {each for each in doomed if self._let_go(each)}
                for each in strays:
                    _remove(each)
            gone["results"] = Holding(len(doomed), sum(each.size for each in doomed))
            wanted = {digest for each in results if each not in doomed for digest in each.digests}
            if not dry_run:
                known = {each.key for each in results}
                wanted |= {digest for each in self._results(known) for digest in each.digests}
            gone["objects"] = self._clear_objects(wanted, since, dry_run)
        held = sum(each.size for each in self.info().values())
        cleared = Cleared(gone, held)
        return Cleared(gone, held - cleared.size) if dry_run else cleared

    def keep_within(self, limit: int) -> None:
        """Lets go of what was not used for the longest time, if the store takes up more than so many bytes.

        Does nothing where that is being seen to already, or cannot be done.
        """
        with contextlib.suppress(OSError, ConfigurationError):
            if sum(each.size for each in self.info().values()) > limit:
                self.gc(max_size=limit)

    # --- what is in use

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with self._store.lock.open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"the store {self._store.folder} is being cleared by another process"
                raise ConfigurationError(Diagnostic("P728", message, fix="wait until it is done")) from None
            yield

    def _in_use_since(self) -> int:
        """Since when what was written or touched may be in use, in nanoseconds of the file system's clock."""
        self._store.lock.touch()
        moments = [self._store.lock.stat().st_mtime_ns]
        for run in _entries(self._store.runs):
            if is_live(run):
                for name in (SPEC, JOURNAL):  # the journal, too: the clock may have been set back since
                    with contextlib.suppress(OSError):
                        moments.append((run / name).stat().st_mtime_ns)
        return min(moments) - int(MARGIN * 1e9)

    def _named_by_runs(self) -> set[str]:
        """The keys of the results that some run had or used."""
        found: set[bytes] = set()
        for run in _entries(self._store.runs):
            with contextlib.suppress(OSError):
                found.update(NAMED.findall((run / JOURNAL).read_bytes()))
        return {each.decode() for each in found}

    def _results(self, known: Iterable[str] = ()) -> list[_Result]:
        """The results that there are, without those that are known."""
        names = set(known)
        return [
            found for file in _entries(self._store.results) if file.name not in names and (found := self._read(file))
        ]

    def _read(self, file: Path) -> _Result | None:
        try:
            found = file.stat()
        except OSError:
            return None
        record = read_record(file)
        digests = frozenset() if record is None else frozenset(digests_in(record, self._store.objects))
        return _Result(file.name, found.st_size, found.st_mtime_ns, digests, record is not None)

    # --- what may go

    def _unwanted(self, results: list[_Result], since: int, older_than: float | None) -> set[_Result]:
        named = self._named_by_runs()
        oldest = -1 if older_than is None else time.time_ns() - int(older_than * 1e9)
        return {
            each
            for each in results
            if each.used < since and (not each.is_whole or each.key not in named or each.used < oldest)
        }

    def _strays(self, since: int) -> Iterator[Path]:
        """What processes that are gone have left half done, runs that could not even begin among it."""
        for run in _entries(self._store.runs):
            with contextlib.suppress(OSError):
                if run.stat().st_ctime_ns < since - int(BEGINNING * 1e9) and not _has_begun(run) and not is_live(run):
                    yield run
        for draft in _entries(self._store.drafts):
            owner = re.fullmatch(r"[0-9a-f]+-(\d+)-\d+", draft.name)
            with contextlib.suppress(OSError):
                if draft.stat().st_ctime_ns < since and not (owner and _is_alive(int(owner[1]))):
                    yield draft

    def _let_go(self, result: _Result) -> bool:
        """Removes a result, unless it was used since it was looked at."""
        file, aside = self._store.result_file(result.key), self._store.objects.draft()
        try:
            if file.stat().st_mtime_ns != result.used:
                return False
            file.rename(aside)
            if aside.stat().st_mtime_ns != result.used:
                aside.rename(file)
                return False
            aside.unlink()
        except OSError:
            return False
        return True

    def _clear_objects(self, wanted: set[str], since: int, dry_run: bool) -> Holding:
        """Removes the objects that nothing refers to, save those that were stored again since they were looked at."""
        count = size = 0
        for file in _entries(self._store.objects.folder):
            if file.name in wanted:
                continue
            with contextlib.suppress(OSError):
                found = file.stat()
                if found.st_ctime_ns >= since:
                    continue
                if not dry_run:
                    aside = self._store.objects.draft()
                    file.rename(aside)
                    if aside.stat().st_ino != found.st_ino:
                        aside.rename(file)
                        continue
                    aside.unlink()
                count, size = count + 1, size + found.st_size
        return Holding(count, size)

    # --- what is damaged

    def _damaged_objects(self, counts: Counter[str]) -> Iterator[tuple[str, Path, str]]:
        objects = Objects(self._store.objects.folder, self._store.drafts)  # one that trusts no earlier look
        for file in _entries(objects.folder):
            counts["objects"] += 1
            try:
                objects.check(file.name)
            except CorruptedError as error:
                if file.exists():
                    yield "object", file, error.why
            objects.seals.clear()

    def _damaged_results(self, counts: Counter[str]) -> Iterator[tuple[str, Path, str]]:
        for file in _entries(self._store.results):
            counts["results"] += 1
            found = self._read(file)
            if found is None:
                continue
            missing = [each for each in found.digests if not self._store.objects.path(each).exists()]
            if not found.is_whole:
                yield "result", file, "is not what was stored"
            elif missing and file.exists():
                yield "result", file, f"refers to the object {missing[0][:12]}, which is missing"

    def _damaged_runs(self, counts: Counter[str]) -> Iterator[tuple[str, Path, str]]:
        for run in _entries(self._store.runs):
            if is_live(run) or not _has_begun(run):
                continue
            counts["runs"] += 1
            for name, check in _CHECKS.items():
                try:
                    check(run / name)
                except FileNotFoundError:
                    if name != SUMMARY:  # a run that was interrupted has none
                        yield "run", run, f"its {name} is missing"
                except (OSError, ValueError) as error:
                    yield "run", run, f"its {name} is not whole: {type(error).__name__}"


class Weighed(Protocol):
    """A result as far as it matters here: its size, its last use, and the objects that it needs."""

    @property
    def size(self) -> int:
        """In bytes."""

    @property
    def used(self) -> float:
        """The later, the larger."""

    @property
    def digests(self) -> frozenset[str]:
        """Those that it refers to."""


R = TypeVar("R", bound=Weighed)


def excess(results: list[R], doomed: set[R], since: float, most: int, sizes: Mapping[str, int]) -> set[R]:
    """Further results to let go, the least recently used first, until what is left takes up no more than ``most``.

    ``doomed`` are those that go in any case, ``since`` when what is in use was used, ``sizes`` those of the objects.
    """
    users = Counter(digest for each in results if each not in doomed for digest in each.digests)
    total = sum(each.size for each in results if each not in doomed) + sum(sizes.get(each, 0) for each in users)
    found: set[R] = set()
    for each in sorted(results, key=lambda result: result.used):
        if total <= most or each.used >= since:
            break
        if each in doomed:
            continue
        found.add(each)
        users.subtract(each.digests)
        total -= each.size + sum(sizes.get(digest, 0) for digest in each.digests if not users[digest])
    return found


def _check_journal(file: Path) -> None:
    """Raises `ValueError` where an event is damaged; the last one may be torn, as an interrupted run leaves it."""
    whole = sum(1 for _ in read_journal(file))
    text = file.read_bytes()
    if whole < text.count(b"\n"):
        raise ValueError(f"{file} has lines that are no events")


_CHECKS: dict[str, Callable[[Path], object]] = {
    SPEC: lambda file: PipelineSpec.model_validate_json(file.read_bytes()),
    PARAMETERS: lambda file: json.loads(file.read_bytes()),
    JOURNAL: _check_journal,
    SUMMARY: lambda file: json.loads(file.read_bytes()),
}


def _has_begun(run: Path) -> bool:
    try:
        return next(read_journal(run / JOURNAL), None) is not None
    except OSError:
        return False


def _found(kind: str, place: Path, problem: str) -> Damage:
    return Damage(kind, place.name, problem)


def _mended(kind: str, place: Path, problem: str) -> Damage:
    """Removes what is damaged. A run stays: what is left of it may be all that is known of it."""
    return Damage(kind, place.name, problem, kind != "run" and _remove(place))


def _remove(place: Path) -> bool:
    try:
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _entries(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            yield from sorted(Path(each.path) for each in entries)
    except FileNotFoundError:
        return


def _holding(folder: Path) -> Holding:
    sizes = [_size_of(each) for each in _entries(folder)]
    return Holding(len(sizes), sum(sizes))


def _size_of(place: Path) -> int:
    """The bytes of a file, or of all files below a folder; 0 where it has gone meanwhile."""
    try:
        if not place.is_dir():
            return place.lstat().st_size
        return sum(map(_size_of, map(Path, os.scandir(place))))
    except OSError:
        return 0


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
