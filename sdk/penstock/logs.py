"""What steps printed, as plain text for people to read."""

from __future__ import annotations

import re
from pathlib import Path

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u0080-\u009f]")
_WIDEST, _LONGEST = 300, 4000


def end_of(file: Path, most: int) -> tuple[str, int]:
    """The last ``most`` bytes of a log from the beginning of a line on, as `plain` text, and how many came before.

    Raises `OSError` where the file cannot be read.
    """
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(size - most, 0))
        raw = stream.read(most)
    if size > most and b"\n" in raw:
        raw = raw.partition(b"\n")[2]
    return plain(raw.decode("utf-8", "replace")), size - len(raw)


def plain(text: str) -> str:
    """A text without what moves cursors or changes colours; of a line written over, what was to be seen last."""
    lines = _ESCAPES.sub("", text).replace("\r\n", "\n").split("\n")
    last = (line.rstrip("\r").rpartition("\r")[2] for line in lines)
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", "\n".join(last)).rstrip()


def shortened(text: str, most: int) -> str:
    """A text as it is, or ``most`` of its characters: the middle of a longer one is left out."""
    half = most // 2
    left_out = len(text) - 2 * half
    return text if left_out <= 0 else f"{text[:half]}\n... {left_out} characters are left out here ...\n{text[-half:]}"


def headline(error: str, traceback: str) -> str:
    """What to say of a failure above its traceback, which ends with the whole message: the first line, cut."""
    return shortened(error, _LONGEST) if tells_nothing_more(error, traceback) else error.partition("\n")[0][:_WIDEST]


def tells_nothing_more(error: str, traceback: str) -> bool:
    """Whether a traceback is but the error, or there is none, so that it need not stand below it."""
    return traceback.strip() in ("", error.strip(), f"error: {error.strip()}")


def own_lines(log: str, error: str, traceback: str) -> list[str]:
    """The lines at the end of a log apart from the traceback and the error that it ends with."""
    lines = [] if traceback.endswith(log) else log.removesuffix(traceback).rstrip().splitlines()
    while lines and lines[-1].removeprefix("error: ") == error:
        lines.pop()
    return lines
