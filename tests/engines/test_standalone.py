from __future__ import annotations

import pytest

from tests.engines.standalone import standalone

pytestmark = pytest.mark.engine

PROGRAM = """
import sys
import pandas

if len(sys.argv) > 1:
    sys.exit(int(sys.argv[1]))
try:
    import penstock
except ImportError:
    print("no penstock,", pandas.DataFrame({"n": [1, 2]}).n.sum())
"""


def test_a_program_sees_the_scientific_packages_and_no_penstock(tmp_path):
    seen = standalone().run({"run.py": PROGRAM}, "run.py", folder=tmp_path)
    assert (seen.code, seen.stdout) == (0, "no penstock, 3\n"), seen.stderr


def test_the_exit_code_is_seen(tmp_path):
    assert standalone().run({"run.py": PROGRAM}, "run.py", ["7"], folder=tmp_path).code == 7


def test_a_program_that_takes_too_long_is_stopped_with_its_children(tmp_path):
    endless = "import subprocess\nsubprocess.run(['sleep', '60'])\n"
    seen = standalone().run({"run.py": endless}, "run.py", folder=tmp_path, seconds=1)
    assert seen.code is None
    assert seen.seconds < 5
