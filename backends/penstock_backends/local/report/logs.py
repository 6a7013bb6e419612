"""What attempts printed, as far as a page can hold it: the ends of their logs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from penstock.logs import end_of, plain, shortened

MOST_OF_ONE, MOST_OF_ALL = 20_000, 2_000_000
_MOST_OF_MESSAGE = 10_000


def readable(text: str) -> str:
    """A message or traceback as plain text, the middle of a long one left out."""
    return shortened(plain(text), _MOST_OF_MESSAGE)


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
            text, left_out = end_of(file, min(self._most_of_one, self._left))
        except OSError:
            return None
        self._left -= min(self._left, len(text.encode()))
        return Log(text, left_out, str(file)) if text or left_out else None
