"""What type checkers reveal of the public face; the files beside this one are checked, never run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("checked", ["control.py", "labels.py", "pipelines.py", "tests_of_pipelines.py"])
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_type_checker_sees_the_authors_own_types(checker, checked, tmp_path):
    sources = os.pathsep.join(str(ROOT / name) for name in ("sdk", "backends", "templates"))
    options = {
        "mypy": ["--strict", "--follow-imports=silent", f"--config-file={os.devnull}", f"--cache-dir={tmp_path}"],
        "pyright": [f"--pythonpath={sys.executable}"],
    }[checker]
    said = subprocess.run(
        [sys.executable, "-m", checker, *options, str(HERE / checked)],
        capture_output=True,
        text=True,
        env={**os.environ, "MYPYPATH": sources, "PYTHONPATH": sources},
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
