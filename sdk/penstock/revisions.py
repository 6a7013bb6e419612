"""Pipelines as they stand in files, in specs and at commits, each loaded in a process of its own.

Two files that are called the same, or one file at two commits, cannot both be imported in one process.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter

from penstock.diagnostics import ConfigurationError, Diagnostic, PenstockError
from penstock.loading import load_definition
from penstock.spec import PipelineSpec

_AT_COMMIT = re.compile(r"(?P<commit>[^:]+):(?P<file>[^:]+\.(?:py|json))(?P<name>:[^:]+)?")
_PROGRAM = "from penstock.revisions import tell; tell()"
_PROBLEMS = TypeAdapter(tuple[Diagnostic, ...])
_OWN_FOLDER = Path(__file__).resolve().parents[1]


def specs_of(*given: str) -> list[PipelineSpec]:
    """The specs of what a user names: ``FILE[:NAME]`` or ``COMMIT:FILE[:NAME]``, a file's path from this folder.

    Raises:
        ConfigurationError: there is no such file, commit or pipeline, or it is not sound.
    """
    with ThreadPoolExecutor(len(given)) as threads:
        return list(threads.map(_spec_of, given))


def _spec_of(given: str) -> PipelineSpec:
    found = _AT_COMMIT.fullmatch(given)
    if found is None or Path(given).exists():
        return _loaded(given, Path.cwd(), {})
    with tempfile.TemporaryDirectory(prefix="penstock-") as place:
        tree = Path(place).resolve() / "tree"
        top = Path(_git(given, "rev-parse", "--show-toplevel").strip())
        file = _below(top, Path(found["file"]), given)
        _check_out(given, found["commit"], top, tree)
        here = tree / _below(top, Path.cwd(), given)
        here.mkdir(parents=True, exist_ok=True)
        try:
            return _loaded(f"{tree / file}{found['name'] or ''}", here, _environment(top, tree))
        except PenstockError as error:
            shown = f"{found['commit']}:"
            raise ConfigurationError([_told_of(each, f"{tree}{os.sep}", shown) for each in error.diagnostics]) from None


def _below(top: Path, path: Path, given: str) -> Path:
    """A path, whose last part may be a link, from the top of the repository."""
    absolute = path.parent.resolve() / path.name if path.name else path.resolve()
    if not absolute.is_relative_to(top):
        raise ConfigurationError(Diagnostic("P718", f"`{given}` is not in the repository {top}"))
    return absolute.relative_to(top)


def _check_out(given: str, commit: str, top: Path, tree: Path) -> None:
    """Writes the files of a commit, by an index of their own: the repository's stays as it is."""
    known = _git(given, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}").strip()
    index = {"GIT_INDEX_FILE": str(tree.with_name("index"))}
    _git(given, "-C", str(top), "read-tree", known, **index)
    _git(given, "-C", str(top), "checkout-index", "--all", f"--prefix={tree}{os.sep}", **index)


def _git(given: str, *words: str, **environment: str) -> str:
    try:
        done = subprocess.run(
            ["git", *words], env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise ConfigurationError(Diagnostic("P718", f"`{given}` needs git, which is not installed")) from None
    if done.returncode:
        said = done.stderr.strip() or "no such commit"
        fix = "name a commit, branch or tag of the repository that you are in, or a file that is there"
        raise ConfigurationError(Diagnostic("P718", f"`{given}`: {said}", fix=fix))
    return done.stdout


def _environment(top: Path, tree: Path) -> dict[str, str]:
    """Has the project's own modules come from the tree where this process finds them in the repository."""
    places = [Path(each).resolve() for each in sys.path]
    own = [tree / each.relative_to(top) for each in places if each.is_relative_to(top) and each != _OWN_FOLDER]
    paths = [*(str(each) for each in own if each.is_dir()), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths)} if paths else {}


def _loaded(target: str, folder: Path, environment: dict[str, str]) -> PipelineSpec:
    with tempfile.TemporaryDirectory(prefix="penstock-") as place:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, target, place],
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        spec, problems = _answers(Path(place))
        if problems.exists():
            raise ConfigurationError(_PROBLEMS.validate_json(problems.read_bytes()))
        if done.returncode or not spec.exists():
            said = done.stderr.decode(errors="replace").strip() or f"the process ended with {done.returncode}"
            raise ConfigurationError(Diagnostic("P717", f"{target} cannot be loaded:\n{said}"))
        return PipelineSpec.model_validate_json(spec.read_bytes())


def _answers(place: Path) -> tuple[Path, Path]:
    return place / "spec.json", place / "problems.json"


def tell() -> None:
    """What the process of its own does: leaves the spec of the pipeline in a folder, or what is wrong with it."""
    target, place = sys.argv[1:]
    spec, problems = _answers(Path(place))
    try:
        spec.write_text(load_definition(target).spec.model_dump_json(), encoding="utf-8")
    except PenstockError as error:
        problems.write_bytes(_PROBLEMS.dump_json(error.diagnostics))


def _told_of(problem: Diagnostic, tree: str, shown: str) -> Diagnostic:
    """A problem with the paths that its reader knows, instead of those of the tree."""
    location = problem.location and replace(problem.location, path=problem.location.path.replace(tree, shown))
    message, fix = (text.replace(tree, shown) for text in (problem.message, problem.fix))
    return Diagnostic(problem.code, message, location, fix)
