"""Small projects written for a test, captured, and executed where neither they nor Penstock can be imported."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import penstock.harness
from penstock.capture import Captured, capture, merge
from penstock.diagnostics import DefinitionError, Diagnostic
from penstock.modules import is_author_file
from penstock.spec import ModuleSource

_RUN = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("harness", sys.argv[1])
harness = importlib.util.module_from_spec(spec)
sys.modules["harness"] = harness
spec.loader.exec_module(harness)
job = json.load(sys.stdin)
harness.Program(job["modules"], job["reach"]).install()
print("\\n=" + repr(harness.find_type(job["entry"])(*job["arguments"])))
"""


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
    """The ``repr`` of what the step returns in a fresh interpreter that holds only its program."""
    job = {
        "modules": {each.name: each.text for each in (captured.modules if modules is None else modules)},
        "reach": {each.module: each.names for each in captured.reach},
        "entry": captured.entry,
        "arguments": arguments,
    }
    command = [sys.executable, "-I", "-c", _RUN, str(Path(penstock.harness.__file__))]
    done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr + "\n" + program(captured)
    return done.stdout.rpartition("\n=")[2].rstrip("\n")


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
