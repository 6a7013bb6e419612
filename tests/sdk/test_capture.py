"""What a step reaches is in its program, suffices to run it, and nothing else is there."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.capture import canonical_module, canonical_name, capture, is_authored, merge
from tests.sdk.capturing import Project, execute, names, program, text_of


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path, monkeypatch)


def check(project: Project, entry: str = "pipeline:train", *arguments: object) -> str:
    """Captures, executes, and compares with the original; returns the program."""
    captured = project.capture(entry)
    assert execute(captured, *arguments) == repr(project.get(entry)(*arguments))
    return program(captured)


def test_a_step_takes_along_imports_constants_helpers_and_classes(project: Project) -> None:
    project.write(
        pipeline="""
        import json
        import math
        import os
        from dataclasses import dataclass
        from enum import Enum
        from typing import NamedTuple

        LIMIT = 3
        DOUBLE = LIMIT * 2
        UNUSED = os.getcwd()

        class Kind(Enum):
            SMALL = "small"
            LARGE = "large"

        class Pair(NamedTuple):
            left: int
            right: Kind

        class Broken(ValueError):
            def __str__(self) -> str:
                return f"broken at {LIMIT}"

        @dataclass(frozen=True)
        class Config:
            depth: int = DOUBLE

            def scaled(self) -> float:
                return math.sqrt(self.depth * FACTOR)

        FACTOR = 6

        def describe(config):
            return json.dumps({"depth": config.depth})

        def unused():
            return UNUSED

        def train(rows):
            try:
                raise Broken
            except Broken as error:
                return describe(Config()), Config().scaled(), Pair(len(rows), Kind.LARGE), str(error)
        """
    )
    text = check(project, "pipeline:train", [1, 2])
    assert "UNUSED" not in text
    assert "import os" not in text
    assert "unused" not in text


def test_names_defined_below_the_step_are_found(project: Project) -> None:
    project.write(
        pipeline="""
        from penstock.capture import capture

        def train():
            return later() + LAST

        CAPTURED = capture(train)

        def later():
            return 1

        LAST = 2
        """
    )
    assert execute(project.get("pipeline:CAPTURED")) == "3"


def test_helpers_come_from_neighbouring_modules_and_packages(project: Project) -> None:
    project.write(
        features="""
        SCALE = 2

        def clean(rows):
            return [row * SCALE for row in rows]

        def unused():
            return "never"
        """,
        lib__init="""
        from .core import top as top
        from . import shapes
        from .star import *
        """,
        lib__core="""
        from lib.deep.inner import bottom

        def top():
            return bottom() + "top"

        def other():
            return "other"
        """,
        lib__shapes="def area(a, b):\n    return a * b\n\ndef volume():\n    return 0\n",
        lib__star="__all__ = ['starred']\n\ndef starred():\n    return 'star'\n\ndef hidden():\n    return 1\n",
        lib__deep__init="",
        lib__deep__inner="from ..shapes import area\n\ndef bottom():\n    return str(area(2, 3))\n",
        pipeline="""
        import features
        import features as f
        import lib
        import lib.core
        from features import clean as c
        from lib import shapes, starred

        def train():
            return features.clean([1]), f.SCALE, c([2]), lib.top(), lib.core.other(), shapes.area(1, 2), starred()
        """,
    )
    captured = project.capture("pipeline:train")
    assert execute(captured) == repr(project.get("pipeline:train")())
    assert names(captured, "features") == ("SCALE", "clean")
    assert "unused" not in program(captured)
    assert "volume" not in program(captured)
    assert "hidden" not in program(captured)
    assert "from .star import starred" in text_of(captured, "lib")


def test_a_module_used_as_a_value_comes_whole(project: Project) -> None:
    project.write(
        features="def a():\n    return 1\n\ndef b():\n    return 2\n",
        pipeline="import features\n\ndef train(name):\n    return getattr(features, name)()\n",
    )
    assert "def a" in check(project, "pipeline:train", "b")


def test_imports_inside_functions_count(project: Project) -> None:
    project.write(
        features="def clean():\n    return 'clean'\n\ndef unused():\n    return 0\n",
        pipeline="""
        def train():
            import features
            from features import clean as c
            import json as j
            return features.clean(), c(), j.dumps([1])
        """,
    )
    assert "unused" not in check(project)


def test_a_helper_of_one_name_in_two_modules_is_two_helpers(project: Project) -> None:
    project.write(
        one="def load():\n    return inner()\n\ndef inner():\n    return 1\n",
        two="def load():\n    return inner()\n\ndef inner():\n    return 2\n",
        pipeline="""
        import one
        from two import load

        def train():
            return one.load(), load()
        """,
    )
    check(project)


def test_a_local_variable_hides_a_helper(project: Project) -> None:
    project.write(
        pipeline="""
        def helper():
            return 1

        def other():
            return 2

        class third:
            pass

        def train(rows, other=5):
            helper = 3
            with open(__import__("os").devnull) as third:
                pass
            return helper + other + sum(helper for helper in [1])
        """
    )
    text = check(project, "pipeline:train", [1])
    assert "def helper" not in text
    assert "def other" not in text
    assert "class third" not in text


def test_scopes_are_pythons(project: Project) -> None:
    project.write(
        pipeline="""
        import functools

        x = 1
        y = 2
        z = 3
        w = 4
        default = 5
        key = "k"

        class Holder:
            x = x
            z = [z for _ in range(2)]

            def read(self):
                return x

        def train():
            def inner(a=default):
                nonlocal total
                total = total + a + y
                return lambda b=w: b + total
            total = 0
            pairs = {key: v for key, v in [("a", 1)]}
            f = f"{key}{pairs!r:>{w}}"
            match [1, 2]:
                case [first, *rest]:
                    pass
            if (n := len(rest)) > 0:
                total += n
            return inner()(), Holder.x, Holder().read(), Holder.z, f, first, rest
        """
    )
    text = check(project)
    assert "import functools" not in text


def test_decorators_are_followed_and_penstocks_own_dropped(project: Project) -> None:
    project.write(
        shared="from penstock import step\n\nheavy = step(timeout=60)\n",
        pipeline="""
        import functools

        import penstock
        from penstock import step as a_step, Retry
        from shared import heavy

        def timed(label):
            def decorate(function):
                @functools.wraps(function)
                def wrapper(*args):
                    return label, function(*args)
                return wrapper
            return decorate

        # what it is for
        @a_step(
            retry=Retry(max_retries=2),  # of the network
        )
        @timed("t")
        # and why
        def train(n: int) -> object:
            return fact(n), other(n), third(n)

        @functools.lru_cache(maxsize=None)
        def fact(n):
            return n * fact(n - 1) if n else 1

        @penstock.step
        def other(n: int) -> int:
            return n

        @heavy
        def third(n: int) -> int:
            return n
        """,
    )
    captured = capture(project.get("pipeline:train"))
    assert execute(captured, 3) == "('t', (6, 3, 3))"
    text = program(captured)
    assert "Retry" not in text
    assert "penstock" not in text
    assert '# what it is for\n@timed("t")\n# and why\ndef train' in text


def test_constants_take_along_what_changes_them(project: Project) -> None:
    project.write(
        pipeline="""
        import sys

        COLORS = {"a": 1}
        COLORS["b"] = 2
        COLORS.update(c=3)
        for index in range(3):
            COLORS[index] = index
        del COLORS[0]
        if sys.version_info > (3,):
            COLORS["new"] = True
        TOTAL = 1
        TOTAL += len(COLORS)
        first, *others = COLORS
        OTHER = []
        OTHER.append(1)

        def train():
            return COLORS, TOTAL, first
        """
    )
    assert "OTHER" not in check(project)


def test_registrations_are_reached_through_their_registry(project: Project) -> None:
    project.write(
        registry="""
        MODELS = {}
        PLAIN = []

        def register(name):
            def decorate(function):
                MODELS[name] = function
                return function
            return decorate

        def configure(value):
            global LEVEL
            LEVEL = value

        LEVEL = 0
        """,
        pipeline="""
        import registry
        from registry import MODELS, register, configure

        HOOKS = []
        hook = HOOKS.append

        @register("linear")
        def linear(x):
            return x + OFFSET

        OFFSET = 4
        configure(7)
        registry.PLAIN.append(1)
        print("loaded")

        @HOOKS.append
        def unused():
            return 0

        def train(kind):
            return MODELS[kind](1), registry.LEVEL, registry.PLAIN
        """,
    )
    text = check(project, "pipeline:train", "linear")
    assert "unused" not in text
    assert "print" not in text


def test_plug_ins_that_register_when_imported_are_reached(project: Project) -> None:
    project.write(
        registry="""
        MODELS = {}

        def register(function):
            MODELS[function.__name__] = function
            return function
        """,
        plugins__init="from . import trees\nimport plugins.unused\n",
        plugins__trees="from registry import register\n\n@register\ndef tree():\n    return LEAF\n\nLEAF = 1\n",
        plugins__unused="import registry\n\nUNUSED = registry.MODELS\n",
        pipeline="""
        import plugins
        from registry import MODELS

        def train():
            return sorted(MODELS), MODELS["tree"]()
        """,
    )
    assert "UNUSED" not in check(project)


def test_modules_that_import_each_other_work(project: Project) -> None:
    project.write(
        even="import odd\n\ndef is_even(n):\n    return n == 0 or odd.is_odd(n - 1)\n",
        odd="import even\n\ndef is_odd(n):\n    return n != 0 and even.is_even(n - 1)\n",
        pipeline="from even import is_even\n\ndef train(n):\n    return is_even(n)\n",
    )
    check(project, "pipeline:train", 7)


def test_an_alternative_import_keeps_its_fallback(project: Project) -> None:
    project.write(
        pipeline="""
        from typing import TYPE_CHECKING

        try:
            import no_such_speedup as speed
        except ImportError:
            speed = None

        if TYPE_CHECKING:
            import no_such_stub

        def train() -> "no_such_stub.Thing":
            x: no_such_stub.Other = speed
            return x

        if __name__ == "__main__":
            import no_such_cli
            train()
        """
    )
    text = check(project)
    assert "TYPE_CHECKING" not in text
    assert "__main__" not in text


def test_unevaluated_annotations_are_not_reached(project: Project) -> None:
    project.write(
        pipeline="""
        from __future__ import annotations
        import fractions
        import decimal
        from dataclasses import dataclass

        @dataclass
        class Config:
            ratio: fractions.Fraction = None

        def train(config: decimal.Decimal) -> decimal.Decimal:
            return Config()
        """
    )
    text = check(project, "pipeline:train", 1)
    assert "decimal\n" not in text
    assert "import fractions" in text


def test_evaluated_annotations_are_reached(project: Project) -> None:
    project.write(
        pipeline="""
        import decimal
        from pydantic import BaseModel

        class Inner(BaseModel):
            n: int = 1

        class Outer(BaseModel):
            inner: "Inner" = Inner()
            later: "list[Later]" = []

        class Later(BaseModel):
            n: int = 2

        def train(config: decimal.Decimal):
            Outer.model_rebuild()
            return Outer(later=[{}]).model_dump()
        """
    )
    text = check(project, "pipeline:train", 1)
    assert "import decimal" in text


def test_the_runtime_names_of_penstock_stay(project: Project) -> None:
    project.write(
        pipeline="""
        import penstock
        from penstock import Dataset, Retry, current_attempt, log_metric

        def train() -> Dataset[dict]:
            log_metric("n", 1.0)
            penstock.log_metric("m", 2)
            return current_attempt()
        """
    )
    assert "from penstock import Dataset, current_attempt, log_metric" in check(project)


def test_also_adds_classes_and_the_requirements_of_libraries(project: Project) -> None:
    project.write(
        kinds="import enum\n\nclass Kind(enum.Enum):\n    A = 1\n\nclass Other:\n    pass\n",
        pipeline="from kinds import Kind\nfrom pydantic import BaseModel\n\ndef train():\n    return 1\n",
    )
    captured = project.capture("pipeline:train", "pipeline:Kind", "pipeline:BaseModel")
    assert names(captured, "kinds") == ("Kind", "enum")
    assert [each.partition("==")[0] for each in captured.requirements] == ["pydantic"]


def test_merge_holds_each_statement_once_with_the_union_of_imports(project: Project) -> None:
    project.write(
        pipeline="""
        from math import (
            cos,  # the one
            sin,  # the other
            tan,
        )
        from os import path, sep, curdir
        from shapes import *

        BASE = 1

        def one():
            return cos(BASE), sep, area()

        def two():
            return sin(BASE), path.sep, volume()
        """,
        shapes="def area():\n    return 2\n\ndef volume():\n    return 3\n\ndef unused():\n    return 4\n",
    )
    captured = [project.capture("pipeline:one"), project.capture("pipeline:two")]
    merged = merge(captured)
    text = next(each.text for each in merged if each.name == "pipeline")
    assert text.count("BASE = 1") == 1
    assert "    cos,  # the one\n    sin,  # the other\n)" in text
    assert "from os import path, sep\n" in text
    assert "from shapes import area, volume\n" in text
    for each, name in zip(captured, ("one", "two"), strict=True):
        assert execute(each, modules=merged) == repr(project.get(f"pipeline:{name}")())
    assert merge(reversed(captured)) == merged


def test_a_script_an_import_and_a_load_by_path_give_the_same(project: Project) -> None:
    project.write(
        app__init="",
        app__features="def clean():\n    return 1\n",
        app__pipeline="""
        from app.features import clean

        class Config:
            pass

        def train():
            return clean()

        if __name__ == "__main__":
            from penstock.capture import canonical_name, capture
            print(capture(train).modules, canonical_name(Config), canonical_name(train))
        """,
    )
    captured = project.capture("app.pipeline:train")
    config = canonical_name(project.get("app.pipeline:Config"))
    expected = f"{captured.modules} {config} {captured.entry}\n"
    file = project.root / "app" / "pipeline.py"
    environment = {"PYTHONPATH": f"{Path(capture.__code__.co_filename).parents[1]}:{project.root}"}
    for command in ([str(file)], ["-m", "app.pipeline"]):
        done = subprocess.run(
            [sys.executable, *command], env=environment, cwd=project.root, capture_output=True, text=True, check=False
        )
        assert done.stdout == expected, done.stderr


def test_canonical_names_follow_the_folders(tmp_path: Path) -> None:
    (tmp_path / "pkg" / "sub").mkdir(parents=True)
    for each in ("pkg/__init__.py", "pkg/sub/__init__.py", "pkg/sub/mod.py", "script.py"):
        (tmp_path / each).write_text("")
    mod = str(tmp_path / "pkg" / "sub" / "mod.py")
    assert canonical_module("pkg.sub.mod", mod) == ("pkg.sub.mod", "pkg/sub/mod.py", tmp_path)
    assert canonical_module("__main__", mod) == ("pkg.sub.mod", "pkg/sub/mod.py", tmp_path)
    assert canonical_module("", str(tmp_path / "script.py")) == ("script", "script.py", tmp_path)
    assert canonical_module("loaded_by_path_7", str(tmp_path / "script.py")) == ("script", "script.py", tmp_path)
    assert canonical_module("pkg.sub", str(tmp_path / "pkg/sub/__init__.py")) == (
        "pkg.sub",
        "pkg/sub/__init__.py",
        tmp_path,
    )
    namespace = tmp_path / "ns" / "tool.py"
    namespace.parent.mkdir()
    namespace.write_text("")
    assert canonical_module("ns.tool", str(namespace)) == ("ns.tool", "ns/tool.py", tmp_path)


def test_only_the_authors_classes_are_authored(project: Project) -> None:
    project.write(kinds="class Kind:\n    pass\n")
    assert is_authored(project.get("kinds:Kind"))
    assert not is_authored(Path)
    assert not is_authored(int)
    assert canonical_name(Path) == f"{Path.__module__}:Path"


def test_namespace_packages_of_the_author_work(project: Project) -> None:
    project.write(
        space__tool="def run():\n    return 1\n",
        pipeline="""
        import space.tool
        from space import tool as t

        def train():
            return space.tool.run(), t.run()
        """,
    )
    check(project)


def test_what_the_files_say_counts_not_what_the_process_made_of_it(project: Project) -> None:
    project.write(pipeline="LIMIT = 1\n\ndef train():\n    return LIMIT\n")
    project.monkeypatch.setattr(sys.modules.setdefault("pipeline", __import__("pipeline")), "LIMIT", 5)
    assert execute(project.capture("pipeline:train")) == "1"


def test_an_edited_file_is_read_again(project: Project) -> None:
    project.write(pipeline="def train():\n    return 1\n")
    assert execute(project.capture("pipeline:train")) == "1"
    project.write(pipeline="def train():\n    return 23\n")
    assert execute(project.capture("pipeline:train")) == "23"


def test_a_file_of_fifty_steps_is_parsed_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    helpers = "".join(
        f"def helper_{n}(x):\n    y = x + CONSTANT_{n}\n    for i in range(3):\n        y += i\n"
        f"    return y if x else helper_{max(n - 1, 0)}(x)\n\nCONSTANT_{n} = {n}\n\n"
        for n in range(100)
    )
    steps = "".join(f"def step_{n}(x):\n    a = helper_{n}(x)\n    return [a, np.zeros(a)]\n\n" for n in range(50))
    source = "import numpy as np\nimport json\n\n" + helpers + steps
    project.write(pipeline=source)
    functions = [project.get(f"pipeline:step_{n}") for n in range(50)]
    parsed = []
    parse = ast.parse
    monkeypatch.setattr(ast, "parse", lambda text, *more, **named: parsed.append(text) or parse(text, *more, **named))
    merge([capture(each) for each in functions])
    assert [text for text in parsed if len(text) > len(source) / 2] == [source]


def test_a_star_import_takes_along_what_is_reached_through_it_only(project: Project) -> None:
    project.write(
        tables="UNUSED = 1\nNAMES = {'a': 1}\n\ndef count(x):\n    return len(NAMES) + x\n",
        extra__init="from tables import NAMES\nNAMES['b'] = 2\nOTHER = 3\n",
        pipeline="from extra import *\nfrom tables import *\n\ndef train():\n    return count(0)\n",
    )
    assert not {"UNUSED", "OTHER"} & set(check(project).split())
