"""Finds a pipeline by what a user types: ``FILE``, ``FILE:NAME``, or a spec in a ``.json`` file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from penstock import compiler
from penstock.authoring import Pipeline
from penstock.backend import Definition
from penstock.diagnostics import ConfigurationError, Diagnostic, PenstockError, did_you_mean
from penstock.modules import canonical_module


def load_pipeline(target: str) -> Pipeline[..., object]:
    """The pipeline called NAME in FILE, or the only one that FILE defines.

    Raises:
        ConfigurationError: no such file or pipeline, several to choose from, or the file fails when it is imported.
        DefinitionError: the pipeline is not sound.
    """
    path, name = _split(target)
    module = import_file(path)
    found = {each.name: each for each in vars(module).values() if _is_defined_in(each, module)}
    if name:
        bound = {key: value for key, value in vars(module).items() if isinstance(value, Pipeline)}
        return _chosen(name, {**bound, **found}, path)
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise ConfigurationError(
            Diagnostic("P711", f"{path} defines no pipeline", fix="decorate a function in it with `@pipeline`")
        )
    names = ", ".join(f"`{path}:{each}`" for each in found)
    raise ConfigurationError(Diagnostic("P712", f"{path} defines {len(found)} pipelines", fix=f"say which: {names}"))


def load_definition(target: str) -> Definition:
    """The pipeline that a user names, which may be a spec in a ``.json`` file: that one has no live objects behind it.

    Raises as `load_pipeline`, and:
        SpecError: the JSON is not a sound spec.
    """
    if not target.endswith(".json"):
        return load_pipeline(target).define()
    path, _ = _split(target)
    return Definition(compiler.load_spec(path.read_text(encoding="utf-8")))


def import_file(path: Path) -> ModuleType:
    """A file as the module that it is to its own package or folder, which is put first on ``sys.path``.

    Raises:
        ConfigurationError: it cannot be imported, with the author's traceback.
    """
    name, _, folder = canonical_module("", str(path))
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        if "." in name:
            return importlib.import_module(name)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    except PenstockError:
        raise
    except Exception as error:  # noqa: BLE001  # importing runs the author's code, which may raise anything
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if Path(frame.filename).resolve().is_relative_to(folder)] or list(frames)
        shown = "".join(traceback.format_list(own)) + "".join(traceback.format_exception_only(error))
        raise ConfigurationError(Diagnostic("P713", f"{path} cannot be imported:\n{shown.rstrip()}")) from None
    return module


def _split(target: str) -> tuple[Path, str]:
    file, _, name = target.rpartition(":")
    if not file or Path(target).exists():
        file, name = target, ""
    path = Path(file)
    if not path.is_file():
        siblings = [str(each) for each in _siblings(path)]
        fix = did_you_mean(str(path), siblings, "{}", "give the path of a Python file")
        raise ConfigurationError(Diagnostic("P710", f"there is no file {file}", fix=fix))
    return path.resolve(), name


def _siblings(path: Path) -> list[Path]:
    return sorted(path.parent.glob("*.py")) if path.parent.is_dir() else []


def _is_defined_in(value: object, module: ModuleType) -> bool:
    return isinstance(value, Pipeline) and value.function.__module__ == module.__name__


def _chosen(name: str, known: dict[str, Pipeline[..., object]], path: Path) -> Pipeline[..., object]:
    if name in known:
        return known[name]
    fix = did_you_mean(name, known, otherwise="it defines: {}")
    raise ConfigurationError(Diagnostic("P714", f"{path} defines no pipeline `{name}`", fix=fix))
