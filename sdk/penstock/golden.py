"""Golden files: what a pipeline compiles to, kept beside its tests for reviewers to read and for changes to show."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from penstock import compiler
from penstock.authoring import Pipeline
from penstock.diagnostics import PenstockError, shown_path

_SHOWN_LINES = 80
_OURS = "made by Penstock from"  # in the first lines of every emitted file
_NOISE = ("__pycache__", ".DS_Store")


class Golden:
    """Compares what pipelines compile to with files. The fixture ``penstock_golden`` is one for each test.

    Args:
        folder: what the folders of expected files are relative to; for the fixture, the test file's own.
        update: write the files anew instead.

    Attributes:
        changed: the files that were written or removed.
    """

    def __init__(self, folder: str | Path, *, update: bool = False) -> None:
        self.folder = Path(folder)
        self.update = update
        self.changed: list[Path] = []

    def __call__(
        self,
        pipeline: Pipeline[..., Any],
        /,
        *targets: str,
        folder: str | Path = "expected",
        name: str = "",
        **options: Any,
    ) -> None:
        """Holds what a pipeline compiles to against ``FOLDER/TARGET/...``: same files, same text.

        Args:
            pipeline: what to compile.
            targets: for what: ``airflow``, ``github`` ...
            folder: where the expected files are; each pipeline needs one of its own, as a file in it that is not
                emitted is taken for a stale one.
            name: the name of the folder inside it, where that is not the target's: ``airflow-2``.
            options: the targets' own; each is given those that it knows.

        Raises:
            AssertionError: a file differs, is missing or is stale; with the difference of each.
            CompileError: a target cannot keep something that the pipeline asks for.
            ConfigurationError: no such target or option.
        """
        __tracebackhide__ = True
        if not targets or (name and len(targets) > 1):
            raise TypeError("give one target, with or without `name`, or several without")
        try:
            shared = compiler.shared_options(options, targets)
            compiled = {target: pipeline.compile(target, **shared[target]) for target in targets}
        except PenstockError as error:
            raise error.with_traceback(None) from None  # it says what is wrong; where in Penstock tells no one more
        problems: list[str] = []
        for target, files in compiled.items():
            place = self.folder / folder / (name or target)
            if self.update:
                self._write(place, files)
            problems.extend(_differences(place, files))
        if problems:
            remedy = "if that is what you want: `pytest --penstock-update`, and read the diff before you commit it"
            message = f"what `{pipeline.name}` compiles to is not what the golden files hold"
            raise AssertionError("\n".join([message, *problems, remedy]))

    def _write(self, place: Path, files: Mapping[str, str]) -> None:
        """Makes the folder hold these files, leaving alone what is right already, and what is someone else's."""
        found = _found(place)
        for path, text in files.items():
            if path not in found or not _is_same(found[path], text):
                (place / path).parent.mkdir(parents=True, exist_ok=True)
                (place / path).write_text(text, encoding="utf-8", newline="\n")
                self.changed.append(place / path)
        for path in found.keys() - files.keys():
            if _OURS in found[path]:
                (place / path).unlink()
                self.changed.append(place / path)


def _found(place: Path) -> dict[str, str]:
    """The files of a folder by their relative paths."""
    files = (each for each in sorted(place.rglob("*")) if each.is_file() and not set(each.parts) & set(_NOISE))
    return {each.relative_to(place).as_posix(): _text_of(each) for each in files}


def _text_of(file: Path) -> str:
    with file.open(encoding="utf-8", errors="replace", newline="") as opened:
        return opened.read()


def _is_same(found: str, text: str) -> bool:
    """Whether a file holds a text; git may have written its line ends as the machine's own."""
    return found in (text, text.replace("\n", "\r\n"))


def _differences(place: Path, files: Mapping[str, str]) -> Iterator[str]:
    found = _found(place)
    for path, text in files.items():
        shown = shown_path(str(place / path))
        if path not in found:
            yield f"missing: {shown}"
        elif not _is_same(found[path], text):
            yield _difference(found[path], text, shown)
    for path in sorted(found.keys() - files.keys()):
        what = "stale" if _OURS in found[path] else "not emitted, and to be removed or moved by you"
        yield f"{what}: {shown_path(str(place / path))}"


def _difference(found: str, text: str, shown: str) -> str:
    lines = difflib.unified_diff(
        found.splitlines(), text.splitlines(), f"{shown} (as it is)", f"{shown} (as compiled)", lineterm=""
    )
    every = list(lines) or ["the line ends differ"]
    more = [f"... and {len(every) - _SHOWN_LINES} more lines"] if len(every) > _SHOWN_LINES else []
    return "\n".join([f"different: {shown}", *every[:_SHOWN_LINES], *more])
