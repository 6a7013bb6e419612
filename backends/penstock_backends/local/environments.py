"""Virtual environments for steps with ``packages`` of their own: made once per list of requirements, and kept."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

VARIABLE = "PENSTOCK_ENVIRONMENTS"


class InstallError(Exception):
    """An environment cannot be made; the message is what the installer said."""


def environments_folder() -> Path:
    """Where environments are kept: what ``PENSTOCK_ENVIRONMENTS`` says, else the user's cache folder."""
    given = os.environ.get(VARIABLE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else cache / "penstock" / "environments"


def python_with(requirements: Sequence[str], folder: Path) -> Path:
    """The interpreter of an environment that holds exactly these requirements; made, if it is not there yet.

    Several processes may ask for the same one at once. Raises `InstallError`, with what the installer said.
    """
    text = json.dumps([sys.implementation.cache_tag, sys.base_prefix, sorted(requirements)])
    place = folder / hashlib.sha256(text.encode()).hexdigest()[:16]
    python, ready = place / "bin" / "python", place / "penstock.json"
    if ready.exists():
        return python
    folder.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            shutil.rmtree(place, ignore_errors=True)
            for command in _commands(place, python, requirements):
                _run(command)
            ready.write_text(text + "\n", encoding="utf-8")
    return python


def _commands(place: Path, python: Path, requirements: Sequence[str]) -> list[list[str]]:
    uv = shutil.which("uv")
    if uv:
        make = [uv, "venv", "--quiet", "--python", sys.executable, str(place)]
        install = [uv, "pip", "install", "--quiet", "--python", str(python), *requirements]
    else:
        make = [sys.executable, "-m", "venv", str(place)]
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    return [make, install] if requirements else [make]


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        said = done.stdout.decode("utf-8", "replace").strip()
        raise InstallError(f"the step's packages cannot be installed: {' '.join(command[:3])} ... said:\n{said}")
