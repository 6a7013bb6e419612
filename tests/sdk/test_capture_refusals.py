"""What can't be carried to where a step runs is refused when it is defined: the construct, the line, the fix."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from penstock.capture import capture
from penstock.diagnostics import DefinitionError
from tests.sdk.capturing import Project, execute


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path, monkeypatch)


CASES = {
    "an open file": (
        "LOG = open(__import__('os').devnull)\n\ndef train():\n    LOG.read()\n",
        "P106: `LOG` holds an open file",
        1,
    ),
    "a lock": (
        "import threading\nLOCK = threading.Lock()\n\ndef train():\n    LOCK.acquire()\n",
        "P106: `LOCK` holds a lock",
        2,
    ),
    "a socket": ("import socket\nS = socket.socket()\n\ndef train():\n    S.close()\n", "P106: `S` holds a socket", 2),
    "a database": (
        "import sqlite3\nDB = sqlite3.connect(':memory:')\n\ndef train():\n    return DB\n",
        "P106: `DB` holds a database connection",
        2,
    ),
    "a generator": (
        "ROWS = (n for n in [1])\n\ndef train():\n    return next(ROWS)\n",
        "P106: `ROWS` holds a generator",
        1,
    ),
    "a global write": (
        "SEEN = 0\n\ndef train():\n    global SEEN\n    SEEN = 1\n",
        "P107: `global SEEN` is assigned by a step",
        4,
    ),
    "a star import of a library": (
        "from math import *\n\ndef train():\n    return sqrt(4)\n",
        "P108: `sqrt` comes from `from math import *`",
        1,
    ),
    "the module's own file": ("def train():\n    return __file__\n", "P109: `__file__` is read", 2),
    "a pipeline": (
        "from penstock import pipeline\n\n@pipeline\ndef whole() -> None:\n    pass\n\ndef train():\n    whole()\n",
        "P110: `whole` is a pipeline",
        4,
    ),
    "a step with options": (
        "import penstock\n@penstock.step\ndef one() -> int: ...\nx = one.with_options(cache=False)\ndef train(): x()\n",
        "P110: `x` is a pipeline or a step with options",
        4,
    ),
    "options given in a step": (
        "import penstock\n@penstock.step\ndef one() -> int: ...\n\ndef train():\n    one.with_options(cache=False)()\n",
        "P110: `one.with_options` makes a step with options",
        6,
    ),
    "an import of nothing": (
        "def train():\n    import no_such_thing\n",
        "P111: `import no_such_thing`: no installed distribution",
        2,
    ),
    "a name set from outside": (
        "globals()['made'] = 1\n\ndef train():\n    return made\n",
        "P113: `made` has a value, but no statement of pipeline.py binds it",
        4,
    ),
    "Penstock inside a step": (
        "from penstock import Retry\n\ndef train():\n    return Retry(1)\n",
        "P114: `penstock.Retry` is used inside a step",
        1,
    ),
    "an async step": ("async def train():\n    return 1\n", "P104: `train` is async", 1),
    "a generator as a step": ("def train():\n    yield 1\n", "P104: `train` is a generator", 1),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_it_is_refused_at_its_line(project: Project, case: str) -> None:
    source, message, line = CASES[case]
    project.write(pipeline=source)
    (problem,) = project.refusals("pipeline:train")
    assert message in problem.render()
    assert problem.location is not None
    assert problem.location.line == line
    assert problem.location.path == str(project.root / "pipeline.py")
    assert problem.location.end_column > problem.location.column
    assert problem.fix
    live = vars(__import__("pipeline"))
    for name in ("LOG", "S", "DB"):
        if name in live:
            live[name].close()


def test_what_a_name_will_hold_is_judged_by_its_expression(project: Project) -> None:
    project.write(
        pipeline="""
        from penstock.capture import capture

        def train():
            return LOG

        def go():
            capture(train)

        go()
        LOG = open("log.txt", "w")
        """
    )
    with pytest.raises(DefinitionError, match="P106: `LOG` holds an open file"):
        project.get("pipeline:train")


def test_all_problems_are_told_at_once(project: Project) -> None:
    project.write(
        other="import threading\nLOCK = threading.Lock()\n",
        pipeline="""
        from other import LOCK

        def train():
            yield __file__
            with LOCK:
                import no_such_thing
        """,
    )
    problems = project.refusals("pipeline:train")
    assert sorted(each.code for each in problems) == ["P104", "P106", "P109", "P111"]
    lock = next(each for each in problems if each.code == "P106")
    assert lock.location is not None
    assert lock.location.path.endswith("other.py")


class Callable_:  # noqa: N801  # not to be taken for the one of typing
    def __call__(self) -> int:
        return 1

    def method(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (Callable_(), "P101: an object of type Callable_ can't be a step"),
        (Callable_().method, "P101: `Callable_.method` is a method"),
        (Callable_.method, "P101: `Callable_.method` is a method"),
        (Callable_, "P101: a class can't be a step"),
        (functools.partial(print, 1), "P101: a functools.partial can't be a step"),
        (len, "P101: an object of type builtin_function_or_method can't be a step"),
    ],
)
def test_only_a_plain_function_can_be_a_step(thing: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        capture(thing)


def test_a_function_without_a_file_is_refused() -> None:
    namespace: dict[str, Any] = {}
    exec("def train():\n    return 1\n", namespace)
    with pytest.raises(DefinitionError, match="P103: `train` has no source file"):
        capture(namespace["train"])


def test_a_file_that_changed_since_it_was_imported_is_refused(project: Project) -> None:
    project.write(pipeline="def train():\n    return 1\n")
    step = project.get("pipeline:train")
    (project.root / "pipeline.py").write_text("# nothing left\n")
    with pytest.raises(DefinitionError, match="P103: the source of `train` has changed"):
        capture(step)


def test_a_closed_file_and_standard_output_are_no_live_objects(project: Project) -> None:
    project.write(
        pipeline="""
        import os
        import sys

        with open(os.devnull) as stream:
            TEXT = stream.read()
        OUT = sys.stderr

        def train():
            return TEXT, OUT is sys.stderr
        """
    )
    assert execute(project.capture("pipeline:train")) == "('', True)"


def test_a_helper_may_keep_a_cache_of_its_own(project: Project) -> None:
    project.write(
        pipeline="""
        _cache = None

        def cached():
            global _cache, _made
            if _cache is None:
                _cache = _made = 1
            return _cache + _made

        def train():
            return cached()
        """
    )
    assert execute(project.capture("pipeline:train")) == "2"


def test_a_submodule_that_nothing_reached_imports_is_refused(project: Project) -> None:
    project.write(
        lib__init="",
        lib__inner="def f():\n    return 1\n",
        elsewhere="import lib.inner\n",
        pipeline="import lib\nimport elsewhere\n\ndef train():\n    return lib.inner.f()\n",
    )
    (problem,) = project.refusals("pipeline:train")
    assert "P115: `lib.inner` is used" in problem.render()
    assert problem.fix == "write `import lib.inner`"
