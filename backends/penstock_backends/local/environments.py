"""Virtual environments for steps with ``packages`` of their own: made once per list of requirements, and kept."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
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


class Installer:
    """Makes environments below a folder. What it has started ends when it is told to `stop`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopped = False

    def python_with(self, requirements: Sequence[str]) -> Path:
        """The interpreter of an environment that holds exactly these requirements; made, if it is not there yet.

        Several processes may ask for the same one at once. Raises `InstallError`, with what the installer said.
        """
        text = json.dumps([sys.implementation.cache_tag, sys.base_prefix, sorted(requirements)])
        place = self._folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        python, ready = place / "bin" / "python", place / "penstock.json"
        if ready.exists():
            return python
        self._folder.mkdir(parents=True, exist_ok=True)
        with place.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not ready.exists():
                shutil.rmtree(place, ignore_errors=True)
                self._make(place, python, requirements)
                ready.write_text(text + "\n", encoding="utf-8")
        return python

    def stop(self) -> None:
        """Ends the installer that runs, if one does, and lets no other start."""
        with self._lock:
            self._is_stopped = True
            if self._process is not None:
                self._process.kill()

    def _make(self, place: Path, python: Path, requirements: Sequence[str]) -> None:
        uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
        if not uv:
            self._run([sys.executable, "-m", "venv", str(place)])
            install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        else:
            self._run([uv, "venv", "--quiet", "--python", sys.executable, str(place)])
            install = [uv, "pip", "install", "--quiet", "--python", str(python)]
        try:
            if requirements:
                self._run([*install, *requirements])
        except InstallError:
            with contextlib.suppress(InstallError):
                if uv:  # it asks the index even for what its cache holds
                    return self._run([*install, "--offline", *requirements])
            raise

    def _run(self, command: list[str]) -> None:
        with self._lock:
            if self._is_stopped:
                raise InstallError("the run was stopped while the step's packages were installed")
            self._process = process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        said, _ = process.communicate()
        if process.returncode:
            message = f"the step's packages cannot be installed: {' '.join(command[:3])} ... said:"
            raise InstallError(f"{message}\n{said.decode('utf-8', 'replace').strip()}")
