"""Steps defined inside functions stand at the top of their module, with what they took from around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.capture import canonical_name, capture, merge
from penstock.diagnostics import DefinitionError
from tests.sdk.capturing import Project, execute, program


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path, monkeypatch)


def made(project: Project, body: str, *more: Any) -> Any:
    """What ``make`` returns, whose body is given."""
    lines = body.strip("\n").splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    text = "".join(f"    {line[indent:]}\n" for line in lines)
    project.write(pipeline=f"TOP = 10\n\ndef helper(n):\n    return n + TOP\n\ndef make(*given):\n{text}")
    return project.get("pipeline:make")(*more)


def refusal(step: Any) -> str:
    with pytest.raises(DefinitionError) as error:
        capture(step)
    return error.value.diagnostics[0].render()


def test_constants_modules_functions_and_classes_are_taken_along(project: Project) -> None:
    step = made(
        project,
        """
        import json
        import os.path as p
        from dataclasses import dataclass, field
        from penstock import step

        limit = {"a": [1, (2.5,)], "b": {"x", "y"}, "n": -1}
        local = helper

        class Base:
            def base(self):
                return limit["n"]

        @dataclass
        class Config(Base):
            n: int = 3
            more: list = field(default_factory=list)

            def total(self):
                return self.n + limit["n"] + self.base()

        def recursive(n):
            return n * recursive(n - 1) if n else 1

        @step
        def train(n: int = 4) -> object:
            return recursive(n), helper(1), local(2), json.dumps(Config().total()), p.sep, sorted(limit["b"])

        return train
        """,
    )
    captured = capture(step)
    assert execute(captured) == repr(step())
    assert "make" not in program(captured)
    assert 'limit = {"a": [1, (2.5,)], "b": {"x", "y"}, "n": -1}' in program(captured)


def test_classes_of_a_function_are_called_by_their_own_name(project: Project) -> None:
    cls, step = made(
        project,
        """
        class Config:
            n = 3

        def train():
            return 1

        return Config, train
        """,
    )
    assert canonical_name(cls) == "pipeline:Config"
    captured = capture(step, [cls])
    assert captured.reach[0].names == ("Config", "train")


def test_a_helper_below_the_step_is_found_by_its_source(project: Project) -> None:
    captured = made(
        project,
        """
        from penstock.capture import capture

        def train():
            return later(DELTA)

        captured = capture(train)
        DELTA = 5

        def later(n):
            return n

        return captured
        """,
    )
    assert execute(captured) == "5"


def test_a_factory_makes_one_step_per_program(project: Project) -> None:
    one, two = made(
        project,
        """
        def factory(n):
            def train():
                return n
            return train

        return factory(1), factory(2)
        """,
    )
    assert execute(capture(one)) == "1"
    assert execute(capture(two)) == "2"
    with pytest.raises(DefinitionError, match="P112: `n` stands for two things"):
        merge([capture(one), capture(two)])


def test_a_local_helper_hides_one_of_the_module(project: Project) -> None:
    step = made(
        project,
        """
        def helper(n):
            return -n

        def train():
            return helper(1)

        return train
        """,
    )
    assert execute(capture(step)) == "-1"


def test_one_name_for_two_things_is_refused(project: Project) -> None:
    step = made(
        project,
        """
        def outer():
            return helper(1)

        def inner_of_another():
            TOP = 3
            def train():
                return TOP, helper(1)
            return train

        return inner_of_another()
        """,
    )
    assert "P112: `TOP` stands for two things" in refusal(step)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x = object()\ndef train():\n    return x\nreturn train", "P105: `x` is a live object of type object"),
        ("x = float('nan')\ndef train():\n    return x\nreturn train", "P105: `x` is a live object of type float"),
        ("def train():\n    return given\nreturn train", "P105: `given` is a live object of type tuple"),
        ("def train():\n    return x\nfrom penstock.capture import capture\ncapture(train)\nx = object()", "P105: `x`"),
        ("return lambda: 1", "P102: a lambda can't be a step"),
    ],
)
def test_a_closure_over_anything_else_is_refused_with_its_line(project: Project, body: str, message: str) -> None:
    with pytest.raises(DefinitionError) as error:
        capture(made(project, body, object()))
    rendered = error.value.diagnostics[0].render()
    assert message in rendered
    assert "^" in rendered or "lambda" in rendered
    assert "fix: " in rendered


def test_a_decorator_that_hides_the_function_is_refused(project: Project) -> None:
    project.write(
        pipeline="""
        def hides(function):
            def wrapper(*args):
                return function(*args)
            return wrapper

        @hides
        def train():
            return 1
        """
    )
    assert "use functools.wraps" in refusal(project.get("pipeline:train"))
