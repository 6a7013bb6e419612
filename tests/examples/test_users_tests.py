"""The tests that stand beside an example are run as its readers run them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.examples.loading import ROOT

TESTED = sorted({file.parent.name for file in ROOT.glob("*/test_*.py")})


@pytest.mark.slow
@pytest.mark.parametrize("title", TESTED)
def test_the_tests_beside_an_example_pass(title: str) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PENSTOCK_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(ROOT / title)],
        capture_output=True,
        text=True,
        env=environ,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
