"""A server that stores objects as S3 does, on the loopback, in memory."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

from tests.engines.environments import HERE, environment
from tests.engines.processes import bare_environment

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@contextlib.contextmanager
def object_server() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Its process, and its address. It has one bucket: ``team``."""
    command = [environment("objects").python, HERE / "programs" / "object_server.py"]
    environ = bare_environment(**CREDENTIALS)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()
