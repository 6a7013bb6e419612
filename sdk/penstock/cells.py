"""The cells that were run in the notebook, or at the IPython prompt, which this process serves.

IPython keeps the text of what it ran, magics already turned into Python. It is asked only where it is loaded.
"""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MODULE = "notebook_cells"
FILE = f"<{MODULE}>"
"""What stands for the file of all cells together: no path, and the same on every machine."""

_RUN_BY_MAGIC = ("capture", "time")  # cell magics whose text is run as if it stood in the cell itself
_TIMED = re.compile(r"""^get_ipython\(\)\.run_line_magic\('time', ('.*'|".*")\)$""", re.MULTILINE)
_COLORS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Cell:
    """A cell that was run as the ``number``-th, counted from 1.

    ``source`` is what IPython ran. ``text`` is the same without magics that do no more than to run Python; ``above``
    says how many lines of the cell (such a magic) precede it. ``stopped_at`` is the line that raised, if one did.
    """

    number: int
    source: str
    text: str
    above: int = 0
    stopped_at: int | None = None

    @property
    def name(self) -> str:
        """What messages call it, as IPython does."""
        return f"In[{self.number}]"


def all_cells() -> tuple[Cell, ...]:
    """The cells in the order in which they were run; empty where this is no notebook."""
    shell = _shell()
    if shell is None:
        return ()
    history = shell.history_manager
    failures: Mapping[int, Any] = getattr(history, "exceptions", {})  # older versions keep none
    stopped = {number: _stopped_at(failure, number) for number, failure in failures.items()}
    return _cells(tuple(history.input_hist_parsed), tuple(sorted((k, v) for k, v in stopped.items() if v)))


def cell_of(file: str) -> Cell | None:
    """The cell that code compiled under this file name was written in; of several with its text, the last."""
    if "IPython" not in sys.modules:
        return None
    entry = linecache.cache.get(file)
    if entry is None or len(entry) == 1 or entry[1] is not None:  # a file on disk has a time
        return None
    return _by_text(all_cells()).get("".join(entry[2]).rstrip("\n"))


def is_cell(file: str) -> bool:
    """Whether a file name stands for a cell, or for all of them."""
    return file == FILE or cell_of(file) is not None


def shown(file: str) -> str:
    """The file name as messages show it: a cell's by its number."""
    cell = cell_of(file)
    return cell.name if cell else file


def is_shown(path: str) -> bool:
    """Whether a path is what `shown` calls a cell."""
    return re.fullmatch(r"In\[\d+\]", path) is not None


def module_file(thing: Any) -> str:
    """The file of the module that a class or function belongs to; '' where there is none."""
    file = getattr(sys.modules.get(thing.__module__), "__file__", None) or ""
    if file or thing.__module__ != "__main__" or not all_cells():
        return file
    code = getattr(thing, "__code__", None)
    return FILE if code is None or is_cell(code.co_filename) else str(code.co_filename)


def age_of(function: Callable[..., object]) -> int:
    """How many cells have been run, for a function that was written in one; 0 for any other."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return len(all_cells()) if code is not None and is_cell(code.co_filename) else 0


def namespace() -> Mapping[str, object]:
    """The names that the cells have bound so far."""
    shell = _shell()
    return shell.user_ns if shell is not None else {}


def _shell() -> Any:
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return get_ipython() if get_ipython is not None else None


@functools.lru_cache(maxsize=8)
def _cells(sources: tuple[str, ...], failures: tuple[tuple[int, int], ...]) -> tuple[Cell, ...]:
    stopped = dict(failures)
    found = []
    for number, source in enumerate(sources):
        inner = _below_magic(source)
        if inner is not None:
            found.append(Cell(number, source, inner.rstrip("\n"), above=1))
        elif source.strip():
            text = _TIMED.sub(lambda timed: str(ast.literal_eval(timed[1])), source)
            found.append(Cell(number, source, text, stopped_at=stopped.get(number)))
    return tuple(found)


@functools.lru_cache(maxsize=8)
def _by_text(cells: tuple[Cell, ...]) -> dict[str, Cell]:
    return {text: each for each in cells for text in (each.source, each.text)}


def _below_magic(text: str) -> str | None:
    """The Python below a cell magic that runs it in the notebook's own namespace; None for any other cell."""
    if not text.startswith("get_ipython().run_cell_magic("):
        return None
    call = ast.parse(text).body[0].value  # type: ignore[attr-defined]  # what IPython makes of a cell magic
    name, _, inner = (ast.literal_eval(each) for each in call.args)
    return str(_shell().transform_cell(inner)) if name in _RUN_BY_MAGIC else None


def _stopped_at(failure: Mapping[str, Any], number: int) -> int | None:
    """The line of a cell that its traceback, as IPython shows it, begins with."""
    text = _COLORS.sub("", "\n".join(map(str, failure.get("traceback", ()))))
    line = re.search(rf"In\s?\[{number}\], line (\d+)", text)
    return int(line[1]) if line else None
