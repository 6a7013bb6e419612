"""Keeps a store by URL in order, as `upkeep` does one in a folder.

Nobody can tell here which runs go on elsewhere. So whatever was written within the last day is left alone, and so is
what a run used whose journal was. An object that is to be stored again by then is written anew (see `remote`), so that
it is not taken for an old one.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress

from penstock.upkeep import COPIED, Cleared, Damage, Holding, Verified
from penstock_backends.local.eviction import StoredResult, excess
from penstock_backends.local.layout import JOURNAL
from penstock_backends.local.objects import Json, artifacts_in, parsed_record
from penstock_backends.local.remote import GRACE, Remote
from penstock_backends.local.signing import UntrustedError, content_of
from penstock_backends.local.upkeep import NAMED, LocalUpkeep

Files = dict[str, Json]


class SharedUpkeep:
    """The upkeep of a store by URL, as `penstock.upkeep.Upkeep` has it. ``copy`` is that of the folder here."""

    def __init__(self, remote: Remote, copy: LocalUpkeep) -> None:
        self._remote = remote
        self._copy = copy

    @property
    def place(self) -> str:
        """The store's URL."""
        return self._remote.url

    def info(self) -> dict[str, Holding]:
        """What it holds, by kind; last, what is copied here."""
        files = self._all()
        held = {kind: _holding(_of(kind, files)) for kind in ("objects", "results", "drafts")}
        runs = _of("runs", files)
        here = self._copy.info().values()
        return {
            "objects": held["objects"],
            "results": held["results"],
            "runs": Holding(len({name.split("/")[1] for name in runs}), _holding(runs).size),
            "drafts": held["drafts"],
            COPIED: Holding(sum(each.count for each in here), sum(each.size for each in here)),
        }

    def verify(self, repair: bool = False) -> Verified:
        """Reads everything; with ``repair``, removes what is damaged. What other keys have signed is left to them."""
        with self._remote.within_reach():
            files = self._remote.all()
            damages = [
                *self._remote.at_once(self._object_damage, _of("objects", files)),
                *self._remote.at_once(lambda name: self._result_damage(name, files), _of("results", files)),
                *self._remote.at_once(self._run_damage, _of("runs", files)),
                *(Damage("draft", _last(name), "was left by a process that is gone") for name in self._strays(files)),
            ]
            found = [each for each in damages if each is not None]
            if repair:
                found = self._remote.at_once(self._mended, found)
        runs = len({name.split("/")[1] for name in _of("runs", files)})
        counts = {"objects": len(_of("objects", files)), "results": len(_of("results", files)), "runs": runs}
        return Verified(counts, tuple(found))

    def gc(self, dry_run: bool = False, older_than: float | None = None, max_size: int | None = None) -> Cleared:
        """Removes what nothing refers to, and what may go beyond that."""
        with self._remote.within_reach():
            files = self._remote.all()
            since = time.time() - GRACE
            named = self._used_by_runs(files)
            results = self._results(files, named)
            oldest = -1.0 if older_than is None else time.time() - older_than
            doomed = {each for each in results if each.used < since and (each.key not in named or each.used < oldest)}
            if max_size is not None:
                sizes = {_last(name): each["size"] for name, each in _of("objects", files).items()}
                doomed |= excess(results, doomed, since, max_size - _holding(_of("runs", files)).size, sizes)
            wanted = {digest for each in results if each not in doomed for digest in each.digests}
            gone = {
                "drafts": {name: files[name] for name in self._strays(files)},
                "results": {f"results/{each.key}": files[f"results/{each.key}"] for each in doomed},
                "objects": {
                    name: each
                    for name, each in _of("objects", files).items()
                    if _last(name) not in wanted and each["modified"] < since
                },
            }
            if not dry_run:
                for names in gone.values():
                    self._remote.at_once(self._remote.remove, names)
        cleared = {kind: _holding(names) for kind, names in gone.items()}
        held = sum(each["size"] for name, each in files.items() if "/" in name)
        return Cleared(cleared, held - sum(each.size for each in cleared.values()))

    def _all(self) -> Files:
        with self._remote.within_reach():
            return self._remote.all()

    def _results(self, files: Files, used: Mapping[str, float]) -> list[StoredResult]:
        def read(name: str) -> StoredResult:
            about, key = files[name], _last(name)
            last_use = max(about["modified"], used.get(key, 0))
            digests = frozenset(self._digests(self._remote.raw(name) or b""))
            return StoredResult(key, about["size"], last_use, digests)

        return self._remote.at_once(read, _of("results", files))

    def _used_by_runs(self, files: Files) -> dict[str, float]:
        """The keys of the results that some run had or used, each with when the last of them was written down."""
        journals = [name for name in _of("runs", files) if _last(name) == JOURNAL]
        used: dict[str, float] = {}
        for name, content in zip(journals, self._remote.at_once(self._remote.raw, journals), strict=True):
            for key in re.findall(NAMED, content or b""):
                used[key.decode()] = max(used.get(key.decode(), 0), files[name]["modified"])
        return used

    def _digests(self, stored: bytes) -> Iterator[str]:
        record = parsed_record(content_of(stored))
        for wire in (record or {}).get("outputs", {}).values():
            for reference in artifacts_in(wire):
                yield reference["digest"]
                if reference.get("folder"):
                    manifest = self._remote.raw(f"objects/{reference['digest']}")
                    with suppress(ValueError):
                        yield from (each[3] for each in json.loads(manifest or b"[]") if each[1] == "file")

    def _strays(self, files: Files) -> Iterator[str]:
        old = time.time() - GRACE
        return (name for name, each in _of("drafts", files).items() if each["modified"] < old)

    def _object_damage(self, name: str) -> Damage | None:
        with suppress(FileNotFoundError):  # it went meanwhile
            if self._remote.digest(name, hashlib.sha256()) != _last(name):
                return Damage("object", _last(name), "is not what was stored: its bytes have changed")
        return None

    def _result_damage(self, name: str, files: Files) -> Damage | None:
        try:
            content = self._remote.get(name)
        except UntrustedError as error:
            return None if error.is_foreign else Damage("result", _last(name), str(error))
        if content is None:
            return None
        missing = [each for each in self._digests(b"\n" + content) if f"objects/{each}" not in files]
        if missing:
            return Damage("result", _last(name), f"refers to the object {missing[0][:12]}, which is missing")
        return None

    def _run_damage(self, name: str) -> Damage | None:
        try:
            self._remote.get(name)
        except UntrustedError as error:
            _, run, file = name.split("/", 2)
            return None if error.is_foreign else Damage("run", run, f"its {file} {error}")
        return None

    def _mended(self, damage: Damage) -> Damage:
        if damage.kind != "run":
            self._remote.remove(f"{damage.kind}s/{damage.name}")
        return Damage(damage.kind, damage.name, damage.problem, damage.kind != "run")


def _of(kind: str, files: Files) -> Files:
    return {name: each for name, each in files.items() if name.startswith(f"{kind}/")}


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _holding(files: Files) -> Holding:
    return Holding(len(files), sum(each["size"] for each in files.values()))
