"""Workflows of random pipelines, for the linters: some as they are, some with what configuration can ask for.

By hand, more than the tests look at::

    python -m tests.conformance.random_workflows --count 2000
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from penstock import CompileError
from penstock.loading import import_file
from tests.conformance.random_pipelines import BEYOND, some_programs
from tests.engines.github import github

TOGETHER = 50
OPTIONS: tuple[Mapping[str, Any], ...] = (
    {},
    {"python_version": "3.13", "retention_days": 1, "runs_on": "ubuntu-22.04"},
)
"""What the workflows are compiled with, in turn."""


def workflows(seed: int, count: int) -> list[tuple[str, str]]:
    """So many pipelines, each as its source and its workflow; always the same ones for a seed."""
    return list(islice(_workflows(seed), count))


def _workflows(seed: int) -> Iterator[tuple[str, str]]:
    options = cycle(OPTIONS)
    while True:
        for program in some_programs(seed, TOGETHER):
            try:
                files = _made(program.source).compile("github", **next(options))
            except CompileError as error:
                if {each.code for each in error.diagnostics} <= BEYOND:
                    continue
                raise
            yield program.source, next(text for path, text in files.items() if path.endswith(".yml"))
        seed += 1


def _made(source: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random_workflow.py"
        path.write_text(source)
        try:
            return import_file(path).made
        finally:
            sys.modules.pop(path.stem, None)
            sys.path[:] = [each for each in sys.path if each != folder]


def assert_clean(found: Sequence[tuple[str, str]], folder: Path) -> None:
    """Fails with the shortest pipeline against whose workflow a linter has something to say, if any."""
    said = github().lint_all([workflow for _, workflow in found], folder=folder)
    wrong = [(source, findings) for (source, _), findings in zip(found, said, strict=True) if findings]
    if wrong:
        source, findings = min(wrong, key=lambda each: len(each[0]))
        raise AssertionError(f"{len(wrong)} of {len(found)} workflows are not clean:\n{source}\n{findings}")


def main(arguments: Sequence[str]) -> None:
    """Looks at more workflows than the tests do, and others."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--count", type=int, default=1000, help="how many")
    parser.add_argument("--seed", type=int, default=1000, help="the first one; that of the tests is 0")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = workflows(options.seed, options.count)
        for first in range(0, len(found), TOGETHER):
            assert_clean(found[first : first + TOGETHER], Path(folder, str(first)))
    print(f"{len(found)} workflows are clean")


if __name__ == "__main__":
    main(sys.argv[1:])
