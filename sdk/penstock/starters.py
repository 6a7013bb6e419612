"""Projects to start from: a pipeline that runs, its tests, their configuration, a check for CI, and what it emits."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from enum import Enum
from importlib.resources import files
from pathlib import Path

from penstock import __version__, compiler
from penstock.revisions import specs_of

_SOURCES = ("pipeline.py", "test_pipeline.py")
_RENDERED = {"pyproject.toml": "pyproject.toml.jinja", ".github/workflows/check.yml": "check.yml.jinja"}


class Starter(str, Enum):
    """What a starter is about."""

    TRAINING = "training"
    BATCH = "batch"
    EVALUATION = "evaluation"
    GITHUB = "github"


def compiling(starter: Starter) -> str:
    """The command that emits a starter's files anew."""
    where = "--to github" if starter is Starter.GITHUB else "--to all -o deploy"
    return f"penstock compile pipeline.py {where}"


def project_of(starter: Starter) -> dict[str, str]:
    """The files of a starter by their paths, those that it compiles to included."""
    project = {name: _text(f"{starter.value}/{name}") for name in _SOURCES}
    given = {"version": __version__, "compiling": compiling(starter)}
    project |= {name: _rendered(_text(template), given) for name, template in _RENDERED.items()}
    return {**project, **_emitted(starter, project)}


def _emitted(starter: Starter, project: Mapping[str, str]) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="penstock-") as place:
        folder = Path(place)
        for name in ("pipeline.py", "pyproject.toml"):
            (folder / name).write_text(project[name], encoding="utf-8")
        (spec,) = specs_of(str(folder / "pipeline.py"))
        project_there = compiler.project(folder)
        to = (starter.value,) if starter is Starter.GITHUB else compiler.targets()
        return {
            path if len(to) == 1 else f"deploy/{target}/{path}": text
            for target in to
            for path, text in compiler.compile_spec(spec, target, project_there.options(target)).items()
        }


def _rendered(template: str, given: Mapping[str, object]) -> str:
    import jinja2  # noqa: PLC0415  # every command would wait for it, and only `init` needs it

    environment = jinja2.Environment(  # noqa: S701  # what it makes is no HTML, and holds nothing that a user gave
        keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(template).render(given)


def _text(path: str) -> str:
    return (files("penstock_templates") / "starters" / path).read_text(encoding="utf-8")
