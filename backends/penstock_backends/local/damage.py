"""What in a store is not as it should be, and how that is mended: what is damaged goes, to be computed anew."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from penstock.spec import PipelineSpec
from penstock.upkeep import Damage
from penstock_backends.local.eviction import result_in
from penstock_backends.local.folders import entries, remove
from penstock_backends.local.history import is_live, read_journal
from penstock_backends.local.layout import JOURNAL, PARAMETERS, SPEC, SUMMARY
from penstock_backends.local.objects import CorruptedError, Objects, digest_of, is_own
from penstock_backends.local.store import Store

Found = tuple[str, Path, str]
"""What kind of thing is damaged, where it is, and what is wrong with it."""


class Damages:
    """The damages of a store in a folder. ``counts`` tells how much of each kind was looked at."""

    def __init__(self, store: Store) -> None:
        self.counts: Counter[str] = Counter()
        self._store = store

    def all(self) -> Iterator[Found]:
        """Looks at everything."""
        yield from self._objects()
        yield from self._results()
        yield from self._runs()

    def _objects(self) -> Iterator[Found]:
        objects = Objects(self._store.objects.folder, self._store.drafts)  # one that trusts no earlier look
        for file in entries(objects.folder):
            self.counts["objects"] += 1
            try:
                objects.check(file.name)
            except CorruptedError as error:
                if file.exists():
                    yield "object", file, error.why
            objects.seals.clear()

    def _results(self) -> Iterator[Found]:
        for file in entries(self._store.results):
            self.counts["results"] += 1
            found = result_in(file, self._store.objects)
            if found is None:
                continue
            missing = list(filter(self._lacks, found.digests))
            if not found.is_whole:
                yield "result", file, "is not what was stored"
            elif missing and file.exists():
                yield "result", file, f"refers to the object {missing[0][:12]}, which is missing"

    def _runs(self) -> Iterator[Found]:
        for run in entries(self._store.runs):
            if is_live(run) or not has_begun(run):
                continue
            self.counts["runs"] += 1
            for name, check in _CHECKS.items():
                try:
                    check(run / name)
                except FileNotFoundError:
                    if name != SUMMARY:  # a run that was interrupted has none
                        yield "run", run, f"its {name} is missing"
                except (OSError, ValueError) as error:
                    yield "run", run, f"its {name} is not whole: {type(error).__name__}"

    def mended(self, kind: str, place: Path, problem: str) -> Damage:
        """Removes what is damaged. A run stays: what is left of it may be all that is known of it."""
        if kind in ("object", "result"):
            return Damage(kind, place.name, problem, self._is_taken_away(kind, place))
        return Damage(kind, place.name, problem, kind != "run" and remove(place))

    def _is_taken_away(self, kind: str, place: Path) -> bool:
        """Removes a file, but puts back one that some run has mended since it was looked at."""
        aside = self._store.objects.draft()
        try:
            place.rename(aside)
            if self._is_sound(kind, place.name, aside):
                aside.rename(place)
            else:
                aside.unlink()
        except FileNotFoundError:  # somebody else has taken it away
            return True
        except OSError:
            return False
        return True

    def _is_sound(self, kind: str, name: str, file: Path) -> bool:
        if kind == "object":
            return is_own(file.stat()) and digest_of(file) == name
        found = result_in(file, self._store.objects)
        return found is not None and found.is_whole and not any(map(self._lacks, found.digests))

    def _lacks(self, digest: str) -> bool:
        return not self._store.objects.path(digest).exists()


def has_begun(run: Path) -> bool:
    """Whether anything was written down of a run."""
    try:
        return next(read_journal(run / JOURNAL), None) is not None
    except OSError:
        return False


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
