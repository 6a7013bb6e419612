"""What is in a folder that other processes change meanwhile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
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
    sizes = [size_of(each) for each in entries(folder)]
    return Holding(len(sizes), sum(sizes))


def size_of(place: Path) -> int:
    """The bytes of a file, or of all files below a folder; 0 where it has gone meanwhile."""
    try:
        if not place.is_dir():
            return place.lstat().st_size
        return sum(map(size_of, map(Path, os.scandir(place))))
    except OSError:
        return 0


def remove(place: Path) -> bool:
    """Removes a file, or a folder with all that is in it; whether that could be done."""
    try:
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
    except OSError:
        return False
    return True
