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

from penstock import (
    AfterPipeline,
    CompileError,
    Concurrency,
    DataChange,
    PullRequest,
    Push,
    Resources,
    Retry,
    Schedule,
    pipeline,
    step,
)
from penstock.compiler import compile_spec
from penstock.loading import import_file
from penstock.spec import PipelineSpec, Settings
from tests.conformance.random_pipelines import BEYOND, some_programs
from tests.engines.github import github

TOGETHER = 50
IMAGE = f"registry.example/train:1@sha256:{'0123456789abcdef' * 4}"
HOSTILE = "a: b # ${{ secrets.X }} $(id) `id` \"q\" 'q' \\ \u00e9 [%"


@step
def plain() -> None:
    """What most steps are."""


@step(env={"WORDS": HOSTILE}, packages=["x @ https://e.invalid/${{ a }}?'b'"], retry=Retry(2, delay=1), timeout=90)
def careful() -> None:
    """Variables, requirements and attempts."""


@step(secrets={"PASSWORD": "warehouse/password", "TOKEN": "github/token"}, resources=Resources(cpu=2))
def secretive() -> None:
    """Secrets."""


@step(image=IMAGE, packages=["a==1"])
def contained() -> None:
    """A container."""


@pipeline
def by_hand() -> None:
    """What is started by hand alone."""
    plain()


@pipeline(
    triggers=[
        Push(branches=["main", "release/**"], paths=["models/**"]),
        PullRequest(paths=["models/**", "!models/*.md"]),
        AfterPipeline("load"),
        DataChange("s3://lake/features"),
    ],
    updates=["s3://lake/model"],
    concurrency=1,
    timeout=3600,
)
def by_events() -> None:
    """What much starts, and what tells of its data."""
    plain()


@pipeline(schedule=Schedule("30 2 * * 1", timezone="Europe/Berlin"), concurrency=Concurrency(cancel_running=True))
def by_the_clock() -> None:
    """What time starts."""
    plain()


SETTINGS = (plain.settings, careful.settings, secretive.settings, plain.settings, contained.settings)
"""What the steps have instead of their own settings, in turn."""
STARTS = (by_hand.spec, by_events.spec, by_the_clock.spec)
"""What a pipeline has the starts and bounds of, in turn."""
APPROVED = {"environment": "production", "permissions": {"id-token": {"access": "write", "reason": "to take a role"}}}
OPTIONS: tuple[Mapping[str, Any], ...] = (
    {},
    {"python_version": "3.13", "retention_days": 1, "runs_on": "ubuntu-22.04", "steps": {"*": APPROVED}},
    {"cache": True, "graph": True, "alert": "alerts/webhook"},
)
"""What the workflows are compiled with, in turn."""


def workflows(seed: int, count: int) -> list[tuple[str, str]]:
    """So many pipelines, each as its source and its workflow; always the same ones for a seed."""
    return list(islice(_workflows(seed), count))


def _workflows(seed: int) -> Iterator[tuple[str, str]]:
    options, settings, starts = cycle(OPTIONS), cycle(SETTINGS), cycle(STARTS)
    while True:
        for program in some_programs(seed, TOGETHER):
            spec = _dressed(_made(program.source).spec, settings, next(starts))
            try:
                files = compile_spec(spec, "github", next(options))
            except CompileError as error:
                if {each.code for each in error.diagnostics} <= BEYOND:
                    continue
                raise
            yield program.source, next(text for path, text in files.items() if path.endswith(".yml"))
        seed += 1


def _dressed(spec: PipelineSpec, settings: Iterator[Settings], starts: PipelineSpec) -> PipelineSpec:
    """A pipeline with other settings of its steps, and other starts."""

    def dressed(part: Any) -> Any:
        if isinstance(part, dict):
            own = {"settings": next(settings).model_dump(mode="json")} if part.get("kind") == "task" else {}
            return {key: dressed(value) for key, value in part.items()} | own
        return [dressed(each) for each in part] if isinstance(part, list) else part

    made = PipelineSpec.model_validate(dressed(spec.model_dump(mode="json")))
    names = ("schedule", "triggers", "updates", "concurrency", "timeout")
    return made.model_copy(update={name: getattr(starts, name) for name in names})


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
