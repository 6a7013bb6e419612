"""Finds a pipeline by what a user types: ``FILE``, ``FILE:NAME``, or a spec in a ``.json`` file."""

from __future__ import annotations

import importlib
import importlib.util
import linecache
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from penstock import compiler
from penstock.authoring import Pipeline
from penstock.backend import Definition
from penstock.diagnostics import ConfigurationError, Diagnostic, PenstockError, SpecError, did_you_mean
from penstock.modules import canonical_module, is_author_file, module_name_problem
from penstock.spec import Group, walk


def load_pipeline(target: str) -> Pipeline[..., object]:
    """The pipeline called NAME in FILE, or the only one there that no other of its pipelines nests.

    Raises:
        ConfigurationError: no such file or pipeline, several to choose from, or the file fails when it is imported.
        DefinitionError: the pipeline is not sound.
    """
    file, name = _split(target)
    module = import_file(Path(file).resolve(), file)
    found = {each.name: each for each in vars(module).values() if _is_defined_in(each, module)}
    if name:
        bound = {key: value for key, value in vars(module).items() if isinstance(value, Pipeline)}
        return _chosen(name, {**bound, **found}, file)
    if not found:
        raise ConfigurationError(
            Diagnostic("P711", f"{file} defines no pipeline", fix="decorate a function in it with `@pipeline`")
        )
    if len(found) == 1:
        return next(iter(found.values()))
    outer = _not_nested(found, file)
    if len(outer) == 1:
        return outer[0]
    names = ", ".join(f"`{file}:{each.name}`" for each in outer or found.values())
    raise ConfigurationError(Diagnostic("P712", f"{file} defines {len(found)} pipelines", fix=f"say which: {names}"))


def load_definition(target: str) -> Definition:
    """The pipeline that a user names, which may be a spec in a ``.json`` file: that one has no live objects behind it.

    Raises as `load_pipeline`, and:
        ConfigurationError: the pipeline's function raises an error of its own.
        SpecError: the JSON is not a sound spec.
    """
    if not target.endswith(".json"):
        pipeline = load_pipeline(target)
        with _authors_errors(f"pipeline `{pipeline.name}` of {_split(target)[0]} fails when its graph is made"):
            return pipeline.define()
    file, _ = _split(target)
    try:
        text = Path(file).read_text(encoding="utf-8", errors="replace")
        return Definition(compiler.load_spec(text), file=Path(file))
    except SpecError as error:
        raise SpecError([replace(each, message=f"{file}: {each.message}") for each in error.diagnostics]) from None


def import_file(path: Path, shown: str = "") -> ModuleType:
    """A file as the module that it is to its own package or folder, which is put first on ``sys.path``.

    Args:
        path: the file.
        shown: what messages call it; ``path`` by default.

    Raises:
        ConfigurationError: its name is no module's, or it cannot be imported, with the author's traceback.
    """
    name, _, folder = canonical_module("", str(path))
    problem = module_name_problem(str(path))
    if problem is not None:
        raise ConfigurationError(problem)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    with _authors_errors(f"{shown or path} cannot be imported"):
        if "." in name:
            return importlib.import_module(name)
        spec = importlib.util.spec_from_file_location(name, path, loader=_AsItIs(name, str(path)))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        linecache.checkcache(str(path))  # it may have been imported before, and edited since
        spec.loader.exec_module(module)
        return module


class _AsItIs(SourceFileLoader):
    """Compiles a file each time: Python's cache takes an edit in the same second, to the same length, for none."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


@contextmanager
def _authors_errors(failed: str) -> Iterator[None]:
    """Tells what the author's code raises, by the author's own lines."""
    try:
        yield
    except PenstockError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001  # the author's code may raise anything
        own = [each for each in traceback.extract_tb(error.__traceback__) if is_author_file(each.filename)]
        shown = "".join(traceback.format_list(own)) + "".join(traceback.format_exception_only(error))
        ends = isinstance(error, SystemExit)
        fix = 'put what ends the program below `if __name__ == "__main__":`' if ends else ""
        raise ConfigurationError(Diagnostic("P713", f"{failed}:\n{shown.rstrip()}", fix=fix)) from None


def _not_nested(found: dict[str, Pipeline[..., object]], file: str) -> list[Pipeline[..., object]]:
    nested: set[str] = set()
    for each in found.values():
        with _authors_errors(f"pipeline `{each.name}` of {file} fails when its graph is made"):
            body = each.check().spec.body
        nested |= {node.pipeline for node in walk(body) if isinstance(node, Group)}
    return [each for each in found.values() if each.name not in nested]


def _split(target: str) -> tuple[str, str]:
    """The file, as the user gave it, and the name."""
    file, _, name = target.rpartition(":")
    if not file or Path(target).exists():
        file, name = target, ""
    path = Path(file)
    if not path.is_file():
        siblings = [str(each) for each in _siblings(path)]
        fix = did_you_mean(str(path), siblings, "{}", "give the path of a Python file")
        raise ConfigurationError(Diagnostic("P710", f"there is no file {file}", fix=fix))
    return file, name


def _siblings(path: Path) -> list[Path]:
    return sorted(path.parent.glob("*.py")) if path.parent.is_dir() else []


def _is_defined_in(value: object, module: ModuleType) -> bool:
    return isinstance(value, Pipeline) and value.function.__module__ == module.__name__


def _chosen(name: str, known: dict[str, Pipeline[..., object]], file: str) -> Pipeline[..., object]:
    if name in known:
        return known[name]
    fix = did_you_mean(name, known, otherwise="it defines: {}")
    raise ConfigurationError(Diagnostic("P714", f"{file} defines no pipeline `{name}`", fix=fix))
