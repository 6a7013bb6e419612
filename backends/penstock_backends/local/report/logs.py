"""What attempts printed, as far as a page can hold it: the ends of their logs, as plain text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

MOST_OF_ONE, MOST_OF_ALL = 20_000, 2_000_000
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u0080-\u009f]")


@dataclass(frozen=True)
class Log:
    """The end of what an attempt printed; ``left_out`` is how many bytes before it ``file`` has besides."""

    text: str
    left_out: int
    file: str


class Logs:
    """Reads logs until a page has enough of them."""

    def __init__(self, most_of_one: int = MOST_OF_ONE, most_of_all: int = MOST_OF_ALL) -> None:
        self._most_of_one = most_of_one
        self._left = most_of_all

    def read(self, file: Path) -> Log | None:
        """The end of a log, shorter where others took the room; None where there is nothing in it."""
        try:
            with file.open("rb") as stream:
                size = stream.seek(0, 2)
                taken = min(size, self._most_of_one, self._left)
                stream.seek(size - taken)
                raw = stream.read(taken)
        except OSError:
            return None
        if not size:
            return None
        self._left -= taken
        if size > taken and b"\n" in raw:
            raw = raw.partition(b"\n")[2]
        return Log(plain(raw.decode("utf-8", "replace")), size - len(raw), str(file))


def plain(text: str) -> str:
    """A text without what moves cursors or changes colours; of a line written over, what was to be seen last."""
    lines = _ESCAPES.sub("", text).replace("\r\n", "\n").split("\n")
    last = (line.rstrip("\r").rpartition("\r")[2] for line in lines)
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", "\n".join(last)).rstrip()
