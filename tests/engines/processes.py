"""Processes that a driver starts: each a group of its own, bounded in time, blind to the developer's environment."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

START_SECONDS = 120
PROGRAMS = Path(__file__).resolve().parent / "programs"


@dataclass(frozen=True)
class Ended:
    """A process that is over. ``code`` is negative for a signal, None where it was stopped for taking too long."""

    code: int | None
    stdout: str
    stderr: str
    seconds: float


def bare_environment(**extra: str) -> dict[str, str]:
    """This process's environment without what could let an engine see Penstock or another Python's packages."""
    hidden = ("PYTHON", "VIRTUAL_ENV", "AIRFLOW", "PENSTOCK", "PYTEST", "COV_", "GITHUB_", "ACTIONS_", "RUNNER_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return {**kept, **extra}


def run(command: Sequence[str | Path], cwd: Path, environ: Mapping[str, str], seconds: float) -> Ended:
    """Run to the end, or stop the whole process group when the time is up."""
    start = time.monotonic()
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=seconds)
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        stop_group(process.pid)
        stdout, stderr = process.communicate()
        code = None
    finally:
        stop_group(process.pid)
    return Ended(code, stdout, stderr, time.monotonic() - start)


def stop_group(leader: int) -> None:
    """Kill what is left of a process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


class Guard:
    """Kills, once this process is over, all that has a folder of its own in its environment, or works below that.

    However it is over: what is killed stops nothing that it started, nor does what is terminated.
    """

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-I", "-S", PROGRAMS / "guard.py", folder]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def close(self) -> None:
        """Kill what there still is of that."""
        with self._process:  # closes its standard input, and waits for it
            pass


class Helper:
    """A long-lived program that answers each JSON line with one JSON line, so that slow imports are paid for once.

    It is started by the first question, again after it died, and stopped when the tests end.
    """

    def __init__(self, command: Sequence[str | Path], environ: Mapping[str, str]) -> None:
        self._command = [str(part) for part in command]
        self._environ = dict(environ)
        self._process: subprocess.Popen[str] | None = None
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  # lives as long as this does
        atexit.register(self.close)

    def ask(self, question: Mapping[str, Any], seconds: float) -> Any:
        """The answer; fails the test where none comes in time."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        return self._exchange(json.dumps(question) + "\n", seconds)

    def close(self) -> None:
        """Stop the program."""
        process, self._process = self._process, None
        if process is not None:
            with process:  # waits for it, and closes what was open to it
                stop_group(process.pid)

    def _start(self) -> None:
        self.close()
        self._process = subprocess.Popen(
            self._command,
            env=self._environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )
        self._exchange("", START_SECONDS)

    def _exchange(self, line: str, seconds: float) -> Any:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line)
        process.stdin.flush()
        with selectors.DefaultSelector() as waiting:
            waiting.register(process.stdout, selectors.EVENT_READ)
            answer = process.stdout.readline() if waiting.select(seconds) else ""
        if answer:
            return json.loads(answer)
        self.close()
        self._errors.seek(0)
        pytest.fail(f"{self._command[-1]} gave no answer within {seconds} s:\n{self._errors.read()[-4000:]}")
