"""What a block must leave as it was that is traced whether or not it runs."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from types import CellType, CodeType, FunctionType
from typing import NoReturn

from penstock.deferred import refuse_here
from penstock.snapshots import Snapshot, is_same
from penstock.sources import author_frame
from penstock.syntax import FLAG

Outside = Callable[[], Mapping[str, object]]
INSTEAD_OF_CHANGES = "bind a name instead, or use `append` on a list that has a name of its own (`xs = []`)"


def watched_here() -> Watch:
    """Watches a block that code of the author's, which is not rewritten, is about to enter."""
    frame = author_frame()
    return Watch(dict(frame.f_locals), outside_of_code(frame.f_code, frame.f_globals))


class Watch:
    """Ordinary objects, and names from outside of a function, before a block that is traced whether or not it runs."""

    def __init__(self, named: Mapping[str, object], outside: Outside) -> None:
        self._outside, self._before = outside, outside()
        own = {name: value for name, value in named.items() if not name.startswith(FLAG)}
        self._snapshot = Snapshot({**own, **self._before})

    def refuse_changes(self) -> None:
        """Refuses the block if it changed an object from before it, or bound a name that is not the function's own."""
        name = self._snapshot.changed
        if name is not None:
            message = f"what `{name}` stands for is changed in a branch or loop that is decided when the pipeline runs"
            refuse_here("P315", f"{message}: it would be changed in any case", INSTEAD_OF_CHANGES)
        now = self._outside()
        bound = [name for name in now if not is_same(now[name], self._before.get(name, self))]
        if bound:
            refuse_binding(bound[0])


def refuse_binding(name: str) -> NoReturn:
    """Refuses that a name from outside of the function is bound where that is decided when the pipeline runs."""
    message = f"`{name}`, from outside of the function, is bound in a branch or loop that is decided when the pipeline"
    fix = f"bind a name of the function's own, which `global {name}` and `nonlocal {name}` are not"
    refuse_here("P315", f"{message} runs: it would be bound in any case", fix)


def outside_of(function: FunctionType) -> Outside:
    """What is `_outside_of` a function."""
    return outside_of_code(function.__code__, function.__globals__, function.__closure__ or ())


def outside_of_code(code: CodeType, module: Mapping[str, object], cells: Sequence[CellType] = ()) -> Outside:
    """The names of its module, and of the functions around it, that code mentions, as they are when asked."""
    names = [name for name in _mentioned(code) if not name.startswith("__")]

    def found() -> dict[str, object]:
        known = {name: module[name] for name in names if name in module}
        for name, cell in zip(code.co_freevars, cells, strict=False):
            with contextlib.suppress(ValueError):  # not bound yet
                known[name] = cell.cell_contents
        return {name: value for name, value in known.items() if not name.startswith(FLAG)}

    return found


@functools.lru_cache(maxsize=256)
def _mentioned(code: CodeType) -> tuple[str, ...]:
    inner = (name for each in code.co_consts if isinstance(each, CodeType) for name in _mentioned(each))
    return tuple(dict.fromkeys((*code.co_names, *inner)))
