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


REGISTRY = "REG = {}\n\ndef train():\n    return sorted(REG.items(), key=str)\n\n"


@pytest.mark.parametrize(
    "change",
    [
        "def fill(target):\n    target['filled'] = 1\nfill(REG)",
        "def fill(*, target):\n    target.update(filled=1)\nfill(target=REG)",
        "def fill(first, *rest):\n    for each in rest:\n        each['filled'] = 1\nfill(0, REG)",
        "def fill(target):\n    inner(1, target)\ndef inner(n, other):\n    same = other\n    same[n] = n\nfill(REG)",
        "def fill(target):\n    return target.setdefault('x', 1)\nx = fill(REG)",
        "class Filler:\n    def __init__(self, target):\n        target['x'] = 1\nfiller = Filler(REG)",
        "class Filler:\n    @staticmethod\n    def fill(target):\n        target['x'] = 1\nFiller.fill(REG)",
        "class Filler:\n    def fill(self, target):\n        target['x'] = 1\nfiller = Filler()\nfiller.fill(REG)",
        "_ = REG.setdefault('x', 1)",
        "x = y = REG.setdefault('x', 1)",
        "x: int = REG.setdefault('x', 1)",
        "x = 0\nx += REG.setdefault('x', 1)",
        "print(REG.setdefault('x', 1))",
        "list(map(REG.__setitem__, ['a'], [1]))",
        "done = [REG.setdefault(i, i) for i in range(3)]",
        "import functools\nfunctools.partial(REG.update, part=1)()",
        "ALIAS = REG\nALIAS['x'] = 1",
        "ALIAS = REG\nALIAS |= {'x': 1}",
        "ALIAS = REG\nOTHER = ALIAS\nOTHER.update(x=1)",
        "REG['inner'] = {}\ninner = REG['inner']\ninner['x'] = 1",
        "def fill():\n    REG['x'] = 1\n    return 2\nx = fill()",
        (
            "def deco(k):\n    def wrap(f):\n        REG[k] = f.__name__\n        return f\n    return wrap\n"
            "def f():\n    pass\nF2 = deco('F2')(f)"
        ),
        (
            "def deco(target):\n    def wrap(f):\n        target[f.__name__] = 1\n        return f\n    return wrap\n"
            "@deco(REG)\ndef f():\n    pass"
        ),
        "import operator\noperator.setitem(REG, 'x', 1)",
        "getattr(REG, 'update')(x=1)",
    ],
)
def test_a_statement_that_changes_what_is_reached_is_taken_along(project: Project, change: str) -> None:
    project.write(pipeline=REGISTRY + change + "\n")
    check(project)
    project.write(table="REG = {}\n", pipeline="from table import REG\n" + REGISTRY.split("\n", 1)[1] + change + "\n")
    check(project)


@pytest.mark.parametrize(
    "change",
    [
        "setattr(Tree, 'extra', 1)",
        "vars(Tree)['kids'].append(1)",
        "kids = Tree.kids\nkids.append(1)",
        "class Leaf:\n    Tree.kids.append(1)",
        "class Leaf:\n    Tree.extra = 1",
        "class Leaf:\n    class Inner:\n        size = len(Tree.kids.append(1) or [])",
        "class Node(Tree):\n    def __init__(self):\n        Tree.kids.append(1)\nnode = Node()",
    ],
)
def test_a_statement_that_changes_a_reached_class_is_taken_along(project: Project, change: str) -> None:
    project.write(
        pipeline="class Tree:\n    kids = []\n\n"
        "def train():\n    return Tree.kids, getattr(Tree, 'extra', 0)\n\n" + change + "\n"
    )
    check(project)


@pytest.mark.parametrize(
    "reading",
    [
        "print(CONFIG)",
        "print('loaded', CONFIG['a'], CONFIG)",
        "def main():\n    print(train())\nmain()",
        "class App:\n    def __init__(self, config):\n        self.config = config\napp = App(CONFIG)",
        "from dataclasses import dataclass\n@dataclass\nclass App:\n    config: dict\napp = App(CONFIG)",
        (
            "def compute(table):\n    out = []\n    for key in table:\n        out.append(key)\n    return len(out)\n"
            "result = compute(CONFIG)"
        ),
        "def show(table):\n    for key, value in sorted(table.items()):\n        print(key, value)\nshow(CONFIG)",
        "result = sorted(CONFIG)",
        "result = [key.upper() for key in CONFIG]",
        "value = CONFIG.get('a')",
        "import pandas as pd\nframe = pd.DataFrame({'a': list(CONFIG)})",
        "import pandas as pd\nframe = pd.Series(CONFIG)",
        "import json\nimport sys\njson.dump(CONFIG, sys.stdout)",
        "import logging\nlogging.getLogger('x').info('%s', CONFIG)",
        "import os\nos.environ.update(CONFIG)",
        "import random\nrandom.seed(LIMIT)",
        "OTHER = {}\nOTHER.update(CONFIG)",
        "OTHER = []\nOTHER.append(CONFIG)",
        "TOTAL = LIMIT\nTOTAL += 1",
        "COPY = dict(CONFIG)\nCOPY['x'] = 1",
        "def fill(target):\n    target['x'] = 1\nif __name__ == '__main__':\n    fill(CONFIG)\n    x = CONFIG.pop('a')",
    ],
)
def test_a_statement_that_only_reads_what_is_reached_is_left_out(project: Project, reading: str) -> None:
    base = "CONFIG = {'a': 'b'}\nLIMIT = 3\n\ndef train():\n    return sorted(CONFIG), LIMIT\n\n"
    project.write(pipeline=base)
    alone = check(project)
    project.write(pipeline=base + reading + "\n")
    assert check(project) == alone


BASE = """
class Base:
    registry = {}

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        Base.registry[cls.__name__] = cls

"""
INHERITED = BASE.replace("Base.registry", "cls.registry")
ELSEWHERE = """
FOUND = {}

def note(cls):
    FOUND[cls.__name__] = cls

class Base:
    def __init_subclass__(cls):
        note(cls)

"""
META = """
class Meta(type):
    registry = {}

    def __new__(mcs, name, bases, body):
        cls = super().__new__(mcs, name, bases, body)
        mcs.registry[name] = cls
        return cls

class Base(metaclass=Meta):
    pass

"""
META_INIT = """
class Meta(type):
    def __init__(cls, name, bases, body):
        FOUND[name] = cls

FOUND = {}

class Base(metaclass=Meta):
    pass

"""
LISTED = """
class Base:
    @classmethod
    def all(cls):
        return {each.__name__: each for each in cls.__subclasses__()}

"""
DERIVED = """
class Leaf(Base):
    pass

class Twig(Leaf):
    pass

class Unrelated:
    pass
"""


@pytest.mark.parametrize(
    ("base", "read"),
    [
        (BASE, "Base.registry"),
        (INHERITED, "Base.registry"),
        (ELSEWHERE, "FOUND"),
        (META, "Base.registry"),
        (META, "Meta.registry"),
        (META_INIT, "FOUND"),
        (LISTED, "Base.all()"),
    ],
)
def test_classes_that_register_when_they_are_defined_are_reached(project: Project, base: str, read: str) -> None:
    train = f"\ndef train():\n    return sorted({read})\n"
    project.write(pipeline=base + DERIVED + train)
    assert "Unrelated" not in check(project)
    project.write(
        base=base, derived="from base import Base\n" + DERIVED, pipeline="import derived\nfrom base import *\n" + train
    )
    assert "Unrelated" not in check(project)


def test_attributes_that_register_when_their_class_is_defined_are_reached(project: Project) -> None:
    project.write(
        pipeline="""
        FIELDS = {}

        class Field:
            def __set_name__(self, owner, name):
                FIELDS[owner.__name__] = name

        class Text(Field):
            pass

        class Record:
            title = Text()

        class Unrelated:
            title = str()

        def train():
            return FIELDS
        """
    )
    assert "Unrelated" not in check(project)


def test_definitions_that_a_library_is_told_of_are_reached_with_the_library(project: Project) -> None:
    project.write(
        accessors="""
        import pandas as pd

        @pd.api.extensions.register_dataframe_accessor("shop")
        class Shop:
            def __init__(self, frame):
                self.frame = frame

            def total(self):
                return int(self.frame.a.sum())
        """,
        pipeline="""
        import accessors
        import pandas as pd

        def train():
            return pd.DataFrame({"a": [1, 2]}).shop.total()

        def other():
            return 1
        """,
    )
    check(project)
    assert "Shop" not in check(project, "pipeline:other")


@pytest.mark.parametrize(
    "hook",
    [
        "",
        (
            "    def __init_subclass__(cls, size=0):\n        cls.size = size\n        if not issubclass(cls, Base):\n"
            "            raise TypeError(f'{cls.__name__} is wrong')\n        super().__init_subclass__()\n"
        ),
    ],
)
def test_subclasses_that_register_nowhere_are_left_out(project: Project, hook: str) -> None:
    project.write(
        pipeline=f"class Base:\n    kind = 1\n{hook}\n"
        "class Leaf(Base):\n    pass\n\ndef train():\n    return Base.kind\n"
    )
    assert "Leaf" not in check(project)


def test_functions_that_change_what_is_reached_through_others_are_run(project: Project) -> None:
    project.write(
        pipeline="""
        import logging

        LOG = logging.getLogger("x")
        REG = {}

        def fill(target, key):
            target[key] = 1

        def configure():
            fill(REG, "configured")

        def setup():
            configure()

        def main():
            LOG.info("nothing to do")

        setup()
        main()

        def train():
            LOG.info("training")
            return REG
        """
    )
    assert "def main" not in check(project)


def test_a_script_that_runs_its_pipeline_is_left_out(project: Project) -> None:
    project.write(
        pipeline="""
        from penstock import pipeline, step

        CONFIG = {"a": "b"}

        def train():
            return sorted(CONFIG)

        @pipeline
        def flow(config: dict[str, str] = CONFIG) -> None:
            pass

        flow(CONFIG)
        """
    )
    text = "".join(each.text for each in project.capture("pipeline:train").modules)
    assert "flow" not in text


def test_changes_are_made_in_the_order_of_the_imports(project: Project) -> None:
    project.write(
        table="REG = {}\n",
        pkg__init="import table\nimport pkg.inner\ntable.REG['last'] = 'package'\n",
        pkg__inner="import table\ntable.REG['last'] = 'inner'\n\ndef read():\n    return table.REG\n",
        pipeline="import pkg.inner\n\ndef train():\n    return pkg.inner.read()\n",
    )
    check(project)
