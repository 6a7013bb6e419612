"""What is in a folder that other processes change meanwhile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from penstock.upkeep import Holding


def entries(folder: Path) -> Iterator[Path]:
    """What is right in it, by name; nothing where it is not there."""
    try:
        with os.scandir(folder) as found:
            yield from sorted(Path(each.path) for each in found)
    except FileNotFoundError:
        return


def holding(folder: Path) -> Holding:
    """How many things are right in it, and the bytes of all that is in them."""
    sizes = list(_sizes(folder))
    return Holding(len(sizes), sum(sizes))


def size_of(place: Path) -> int:
    """The bytes of a file, or of all files below a folder; 0 where it has gone meanwhile."""
    if place.is_dir() and not place.is_symlink():
        return sum(_sizes(place))
    try:
        return place.lstat().st_size
    except OSError:
        return 0


def _sizes(folder: str | Path) -> Iterator[int]:
    """The bytes of each thing that is right in a folder. What a link leads to is not in it."""
    try:
        with os.scandir(folder) as found:
            for each in found:
                with suppress(OSError):
                    is_folder = each.is_dir(follow_symlinks=False)
                    yield sum(_sizes(each.path)) if is_folder else each.stat(follow_symlinks=False).st_size
    except OSError:
        return


def remove(place: Path) -> bool:
    """Removes a file, or a folder with all that is in it; whether that could be done."""
    try:
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
    except OSError:
        return False
    return True
