"""Hides secrets in what this process prints, for steps that run in it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

from penstock.harness import Mask


class _Hiding:
    """A stream of text that hides secrets in each text that is written to it; all else is the stream's own."""

    def __init__(self, stream: TextIO, mask: Mask) -> None:
        self._stream = stream
        self._mask = mask

    def write(self, text: str) -> int:
        """Writes the text, masked."""
        self._stream.write(self._mask.text(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Likewise."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def hidden_output(mask: Mask | None) -> Iterator[None]:
    """For its duration, what is printed by Python has ``***`` for the values of secrets; all is shown without a mask.

    What a child process prints, or is written as bytes, does not pass here.
    """
    if mask is None:
        yield
        return
    out, err = (cast("TextIO", _Hiding(stream, mask)) for stream in (sys.stdout, sys.stderr))
    with redirect_stdout(out), redirect_stderr(err):
        yield
