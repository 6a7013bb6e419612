"""Small projects written for a test, captured, and executed where neither they nor Penstock can be imported."""

from __future__ import annotations

import functools
import importlib
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import pytest

import penstock.harness
from penstock.capture import Captured, capture, merge
from penstock.diagnostics import DefinitionError, Diagnostic
from penstock.modules import is_author_file
from penstock.spec import ModuleSource
from tests.engines.environments import HERE
from tests.engines.jobs import carry_out
from tests.engines.processes import Helper, bare_environment

PROGRAM = HERE / "programs" / "captured_steps.py"


class Project:
    """A folder of author's files on ``sys.path``."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.monkeypatch = root, monkeypatch
        monkeypatch.syspath_prepend(str(root))

    def write(self, **files: str) -> Project:
        """Writes files: ``__`` in a name is a ``/``, and ``init`` stands for ``__init__``."""
        for name, text in files.items():
            path = self.root / (name.replace("__", "/").replace("init", "__init__") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
        self.forget()
        return self

    def write_bytes(self, name: str, data: bytes) -> None:
        """Writes one file as it is."""
        (self.root / name).write_bytes(data)
        self.forget()

    def forget(self) -> None:
        """Drops what was imported from here, and what lingers of other projects."""
        own = str(Path(penstock.harness.__file__).parents[2])
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), "")
            if (is_author_file(file) or str(self.root) in file) and not file.startswith(own):
                del sys.modules[name]
        importlib.invalidate_caches()

    def get(self, entry: str) -> Any:
        """The object called ``module:name``, imported."""
        module, _, name = entry.partition(":")
        return getattr(importlib.import_module(module), name)

    def capture(self, entry: str, *also: str) -> Captured:
        """The captured step called ``module:name``."""
        return capture(self.get(entry), [self.get(each) for each in also])

    def refusals(self, entry: str) -> tuple[Diagnostic, ...]:
        """What is wrong with a step that can't be captured."""
        with pytest.raises(DefinitionError) as error:
            self.capture(entry)
        return error.value.diagnostics


def execute(captured: Captured, *arguments: object, modules: tuple[ModuleSource, ...] | None = None) -> str:
    """The ``repr`` of what the step returns in a process that holds only its program and the harness."""
    with tempfile.TemporaryDirectory() as folder:
        outcome = carry_out(
            _helper(),
            Path(folder),
            60,
            None,
            modules={each.name: each.text for each in (captured.modules if modules is None else modules)},
            reach={each.module: each.names for each in captured.reach},
            entry=captured.entry,
            arguments=list(arguments),
        )
    assert not outcome.crash, outcome.crash + "\n" + program(captured)
    return str(outcome.seen["shown"])


@functools.cache
def _helper() -> Helper:
    return Helper([sys.executable, PROGRAM, penstock.harness.__file__], bare_environment())


def program(captured: Captured) -> str:
    """All text of a captured program."""
    return "\n".join(f"# {each.name}\n{each.text}" for each in captured.modules)


def text_of(captured: Captured, module: str) -> str:
    """The text of one module of a captured program."""
    return next(each.text for each in captured.modules if each.name == module)


def names(captured: Captured, module: str) -> tuple[str, ...]:
    """The names of one module that are reached."""
    return next((each.names for each in captured.reach if each.module == module), ())


__all__ = ["Project", "execute", "merge", "names", "program", "text_of"]
