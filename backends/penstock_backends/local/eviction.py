"""Which results of a store are to go when it is too large: those that were not used for the longest time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock_backends.local.objects import Objects, digests_in, read_record


@dataclass(frozen=True)
class StoredResult:
    """A stored result as it was found: its size, its last use (a clock's time), and the objects that it needs."""

    key: str
    size: int
    used: float
    digests: frozenset[str]
    is_whole: bool = True


def result_in(file: Path, objects: Objects) -> StoredResult | None:
    """The result in a file; None where it has gone."""
    try:
        found = file.stat()
    except OSError:
        return None
    record = read_record(file)
    digests = frozenset() if record is None else frozenset(digests_in(record, objects))
    return StoredResult(file.name, found.st_size, found.st_mtime_ns, digests, record is not None)


def excess(
    results: list[StoredResult], doomed: set[StoredResult], since: float, most: int, sizes: Mapping[str, int]
) -> set[StoredResult]:
    """Further results to let go, the least recently used first, until what is left takes up no more than ``most``.

    ``doomed`` are those that go in any case, ``since`` when what is in use was used, ``sizes`` those of the objects.
    """
    users = Counter(digest for each in results if each not in doomed for digest in each.digests)
    total = sum(each.size for each in results if each not in doomed) + sum(sizes.get(each, 0) for each in users)
    found: set[StoredResult] = set()
    for each in sorted(results, key=lambda result: result.used):
        if total <= most or each.used >= since:
            break
        if each in doomed:
            continue
        found.add(each)
        users.subtract(each.digests)
        total -= each.size + sum(sizes.get(digest, 0) for digest in each.digests if not users[digest])
    return found
