"""Keeps a store in order: says what it takes up, finds what is damaged, and clears what is no longer wanted.

Runs may go on in any number of processes meanwhile, and others begin. What they use is told by time, read from the
clock of the file system: whatever was written, or touched because a run took it from the cache, since the oldest run
under way began is left alone. What goes is first moved aside; where it turns out to have been wanted in the meantime,
it is put back.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from penstock.diagnostics import ConfigurationError, Diagnostic
from penstock.upkeep import Cleared, Damage, Holding, Verified
from penstock_backends.local.damage import Damages, has_begun
from penstock_backends.local.eviction import StoredResult, excess, result_in
from penstock_backends.local.folders import entries, holding, remove, size_of
from penstock_backends.local.history import is_live
from penstock_backends.local.layout import JOURNAL, SPEC
from penstock_backends.local.store import Store, unusable

MARGIN = 1.0  # seconds: what was written a moment before a run began may still be what it began with
BEGINNING = 3600.0  # seconds that a run may take to begin once it has its folder
NAMED = re.compile(rb'"result": ?"([^"\\]+)"')


class LocalUpkeep:
    """The upkeep of a store in a folder, as `penstock.upkeep.Upkeep` has it.

    Raises:
        ConfigurationError: there is no such folder.
    """

    def __init__(self, store: Store) -> None:
        if not store.folder.exists():
            fix = "run a pipeline, which makes one, or say where it is: `--store`"
            raise ConfigurationError(Diagnostic("P725", f"there is no store {store.folder}", fix=fix))
        self._store = store

    @property
    def place(self) -> str:
        """The store's folder."""
        return str(self._store.folder)

    def info(self) -> dict[str, Holding]:
        """What it holds, by kind."""
        store = self._store
        kinds = {"objects": store.objects.folder, "results": store.results, "runs": store.runs, "drafts": store.drafts}
        return {kind: holding(folder) for kind, folder in kinds.items()}

    def verify(self, repair: bool = False) -> Verified:
        """Reads everything; with ``repair``, removes what is damaged, and then what refers to that."""
        since = self._in_use_since()
        damages = Damages(self._store)
        strays = (("draft", draft, "was left by a process that is gone") for draft in self._strays(since))
        found = itertools.chain(damages.all(), strays)
        told = [damages.mended(*each) if repair else Damage(each[0], each[1].name, each[2]) for each in found]
        return Verified(damages.counts, tuple(told))

    def gc(self, dry_run: bool = False, older_than: float | None = None, max_size: int | None = None) -> Cleared:
        """Removes what nothing refers to, and what may go beyond that."""
        with self._alone():
            since = self._in_use_since()
            results = self._results()
            doomed = self._unwanted(results, since, older_than)
            if max_size is not None:
                sizes = {file.name: size_of(file) for file in entries(self._store.objects.folder)}
                doomed |= excess(results, doomed, since, max_size - holding(self._store.runs).size, sizes)
            strays = list(self._strays(since))
            gone = {"drafts": Holding(len(strays), sum(map(size_of, strays)))}
            if not dry_run:
                doomed = {each for each in doomed if self._let_go(each)}
                for each in strays:
                    remove(each)
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
        try:
            stream = self._store.lock.open("ab")
        except OSError as error:
            raise ConfigurationError(unusable(self._store.folder, f"cleared: {error.strerror}")) from None
        with stream as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"the store {self._store.folder} is being cleared by another process"
                raise ConfigurationError(Diagnostic("P728", message, fix="wait until it is done")) from None
            yield

    def _in_use_since(self) -> int:
        """Since when what was written or touched may be in use, in nanoseconds of the file system's clock."""
        try:
            self._store.lock.touch()
            moments = [self._store.lock.stat().st_mtime_ns]
        except OSError:  # it can only be read, so that nothing is written to it
            moments = [time.time_ns()]
        for run in entries(self._store.runs):
            if is_live(run):
                for name in (SPEC, JOURNAL):  # the journal, too: the clock may have been set back since
                    with contextlib.suppress(OSError):
                        moments.append((run / name).stat().st_mtime_ns)
        return min(moments) - int(MARGIN * 1e9)

    def _named_by_runs(self) -> set[str]:
        """The keys of the results that some run had or used."""
        found: set[bytes] = set()
        for run in entries(self._store.runs):
            with contextlib.suppress(OSError):
                found.update(NAMED.findall((run / JOURNAL).read_bytes()))
        return {each.decode() for each in found}

    def _results(self, known: Iterable[str] = ()) -> list[StoredResult]:
        """The results that there are, without those that are known."""
        names = set(known)
        return [
            found
            for file in entries(self._store.results)
            if file.name not in names and (found := result_in(file, self._store.objects))
        ]

    # --- what may go

    def _unwanted(self, results: list[StoredResult], since: int, older_than: float | None) -> set[StoredResult]:
        named = self._named_by_runs()
        oldest = -1 if older_than is None else time.time_ns() - int(older_than * 1e9)
        return {
            each
            for each in results
            if each.used < since and (not each.is_whole or each.key not in named or each.used < oldest)
        }

    def _strays(self, since: int) -> Iterator[Path]:
        """What processes that are gone have left half done, runs that could not even begin among it."""
        for run in entries(self._store.runs):
            with contextlib.suppress(OSError):
                if run.stat().st_ctime_ns < since - int(BEGINNING * 1e9) and not has_begun(run) and not is_live(run):
                    yield run
        for draft in entries(self._store.drafts):
            owner = re.fullmatch(r"[0-9a-f]+-(\d+)-\d+", draft.name)
            with contextlib.suppress(OSError):
                if draft.stat().st_ctime_ns < since and not (owner and _is_alive(int(owner[1]))):
                    yield draft

    def _let_go(self, result: StoredResult) -> bool:
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
        for file in entries(self._store.objects.folder):
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


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
