"""What type checkers reveal of the public face; the files beside this one are checked, never run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKED = ("control.py", "labels.py", "pipelines.py", "tests_of_pipelines.py")
HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_type_checker_sees_the_authors_own_types(checker, tmp_path):
    sources = os.pathsep.join(str(ROOT / name) for name in ("sdk", "backends", "templates"))
    options = {
        "mypy": ["--strict", "--follow-imports=silent", f"--config-file={os.devnull}", f"--cache-dir={tmp_path}"],
        "pyright": [f"--pythonpath={sys.executable}"],
    }[checker]
    said = subprocess.run(
        [sys.executable, "-m", checker, *options, *(str(HERE / name) for name in CHECKED)],
        capture_output=True,
        text=True,
        env={**os.environ, "MYPYPATH": sources, "PYTHONPATH": sources},
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
