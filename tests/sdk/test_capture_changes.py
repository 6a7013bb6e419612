"""What changes a reached object when its module is imported is in the step's program; what only reads it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sdk.capturing import Project, execute, program


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path, monkeypatch)


def check(project: Project, entry: str = "pipeline:train", *arguments: object) -> str:
    """Captures, executes, and compares with the original; returns the program."""
    captured = project.capture(entry)
    assert execute(captured, *arguments) == repr(project.get(entry)(*arguments))
    return program(captured)


def test_the_overloads_of_a_generic_function_are_reached_through_it(project: Project) -> None:
    project.write(
        pipeline="""
        import functools

        @functools.singledispatch
        def show(x):
            return "any"

        @show.register
        def _(x: int):
            return "int"

        @show.register(str)
        def show_text(x):
            return "text"

        @functools.singledispatch
        def other(x):
            return "other"

        @other.register
        def other_int(x: int):
            return "unreached"

        def train():
            return show(1), show("a"), show(None)
        """
    )
    assert "unreached" not in check(project)
