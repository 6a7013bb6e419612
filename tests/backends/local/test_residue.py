"""Which steps have a process to themselves, and that what others find in theirs is as in a new one."""

from __future__ import annotations

import ast
import decimal
import functools
import gc
import importlib
import itertools
import math
import os
import resource
import signal
import sys
import threading
import time
import types
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from penstock import current_attempt, log_metric, pipeline, step
from penstock_backends.local import residue
from penstock_backends.local.workers import Workers

OWN = {"main", "parts", "parts.inner"}

HARMLESS = [
    "def f(x): return x + 1",
    "import math\ndef f(x): return math.sqrt(x)",
    "import math as m\ndef f(x): return [m.pi * each for each in x]",
    "from collections.abc import Sequence\ndef f(x: Sequence[int]) -> int: return sum(x)",
    "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass P:\n  def __eq__(self, o): return True",
    "import functools\n@functools.lru_cache(maxsize=None)\ndef f(x): return x",
    "from functools import wraps\ndef d(g):\n  @wraps(g)\n  def h(*a): return g(*a)\n  return h\n@d\ndef f(x): pass",
    "SEEN = {}\ndef f(x):\n  global SEEN\n  SEEN[x] = 1\n  SEEN = dict(SEEN)\n  print(len(SEEN))\n  return SEEN",
    "from parts import helper\ndef f(x): return helper(x)",
    "import re\ndef f(x):\n  try:\n    return re.sub('a', 'b', x)\n  except ValueError as e:\n    raise e",
    "from penstock import log_metric, current_attempt\ndef f(x): log_metric('x', current_attempt())",
    "from penstock import log_metadata\ndef f(x): log_metadata(rows=x, of=[x], deep={'a': (x, None)})",
    "import datetime as dt\ndef f(x): return dt.datetime.now(dt.timezone.utc).isoformat()",
]

HARMFUL = [
    # libraries that are not known, or may be changed
    *("import os", "import numpy as np", "import decimal", "from decimal import Decimal", "import random"),
    *("import sys, math", "from math import *", "from . import parts", "import parts", "from parts import inner"),
    *("import json.tool as t", "import os.path", "import logging", "import threading", "from penstock import step"),
    *("from penstock import checkpoint_dir", "def f():\n  import subprocess", "import warnings", "import asyncio"),
    # ways from a known library to another, or to objects of its own
    *("import json\ndef f(): return json.codecs", "from re import enum", "import json\ndef f(): return [json]"),
    *("import json\nj = json", "class C:\n  import json\nC.json.codecs", "from json import codecs"),
    *("import json\ndef f(): json.dumps = 1", "import json\ndel json.dumps", "import json\ndef f(m=json): return m"),
    *("import json as m\nimport math as m\nm.pi", "from parts import json\nimport json\njson.loads('1')"),
    *("import collections\ncollections.abc.Mapping", "import collections.abc\ncollections.abc.Mapping"),
    *("from collections import Counter\nC = Counter\nC.x = 1", "from collections import Counter\nCounter.x += 1"),
    "from collections import Counter\nfor Counter.x in (1, 2): pass",
    "from collections import Counter\nwith f() as Counter.x: pass",
    "from collections.abc import Mapping\nMapping.register(list)",
    # what changes that which it is given
    *(
        "from functools import update_wrapper",
        "from functools import wraps\nwraps(f)(json)",
        "from typing import final",
    ),
    *("import functools\nfunctools.wraps(f)(g)", "from dataclasses import dataclass as d\nd(int)"),
    *("from dataclasses import dataclass\n@[dataclass(int)][0]\ndef f(): pass", "from operator import attrgetter"),
    *("from functools import wraps\n@wraps(f)(g)\ndef h(): pass", "from dataclasses import dataclass\nx = dataclass"),
    "from dataclasses import dataclass\nclass C:\n  d = dataclass",
    # the interpreter
    *("open('x')", "exec('1')", "eval('1')", "compile('1', '', 'eval')", "globals()", "locals()", "vars()", "input()"),
    *("setattr(x, 'y', 1)", "getattr(x, 'y')", "delattr(x, 'y')", "__import__('os')", "__builtins__", "__spec__"),
    *("type('M', (type,), {})", "x.__class__", "x._private", "(y for y in x).gi_frame", "breakpoint()", "exit()"),
    *("dir()", "'{0.__class__}'.format(x)", "'{x.y}'.format_map(x)", "self.x = 1", "del x.y", "BaseException()"),
    *("def f(): yield 1", "async def f(): pass", "def f(): yield from x", "class C(metaclass=M): pass"),
    *("class C:\n  def __del__(self): pass", "class C:\n  def __subclasshook__(self, c): return True"),
    *("match x:\n  case C(__class__=y): pass", "import json as __builtins__\ncodecs.open('x')"),
]


def is_harmless(source: str) -> bool:
    return residue.is_harmless(list(ast.walk(ast.parse(source))), OWN)


@pytest.mark.parametrize("source", HARMLESS)
def test_a_step_that_only_computes_leaves_nothing(source):
    assert is_harmless(source)


@pytest.mark.parametrize("source", HARMFUL)
def test_a_step_that_may_reach_further_has_a_process_to_itself(source):
    assert not is_harmless(source)
    assert not is_harmless(f"{HARMLESS[5]}\ndef inner(x):\n" + "".join(f"  {line}\n" for line in source.splitlines()))


def test_what_may_be_taken_of_a_library_is_none_that_could_be_changed_without_a_store_to_it():
    tables = [*residue.HARMLESS.items(), *residue.DECORATORS.items()]
    found = [
        (name, part, getattr(importlib.import_module(name), part))
        for name, parts in tables
        for part in parts
        if hasattr(importlib.import_module(name), part)  # some are newer than this Python
    ]
    assert len(found) > 250
    assert not [each for each in found if isinstance(each[2], types.ModuleType | dict | list | set | bytearray)]


def test_the_documentation_names_the_modules():
    page = (Path(__file__).parents[3] / "docs" / "local.md").read_text(encoding="utf-8")
    text = page.partition("### A process for each attempt")[2].partition("\n## ")[0]
    assert [name for name in residue.HARMLESS if f"`{name}`" not in text] == ["__future__"]


# --- runs


@dataclass
class Box:
    items: list[int] = field(default_factory=list)


SEEN: list[int] = []
BOX = Box()
NUMBERS = itertools.count()
CALLS: Counter[str] = Counter()


@functools.cache
def remembered(number: int) -> int:
    CALLS["calls"] += 1
    return number


@step
def remembers(turn: int, given: Any = 0, held: list[int] = []) -> list[int]:
    for each in (SEEN, held, BOX.items):
        each.append(turn)
    remembered(1)
    print("turn", turn)
    if turn == 3:
        log_metric("three", 3)
    is_nothing = given != 0 and given / 3 == 0
    return [len(SEEN), len(held), len(BOX.items), CALLS["calls"], current_attempt(), next(NUMBERS), is_nothing]


@step
def snapshot(after: list[list[int]]) -> list[str]:
    """All of a process that a step could find changed."""
    raised = [each.__name__ for each, is_raised in decimal.getcontext().flags.items() if is_raised]
    return [
        f"environment: {sorted(os.environ)}",
        f"folder: {os.listdir()}",
        f"modules: {sorted(sys.modules)}",
        f"finders: {[type(each).__name__ for each in sys.meta_path]}",
        f"path: {sys.path}",
        f"descriptors: {len(os.listdir('/proc/self/fd')) if sys.platform == 'linux' else 0}",
        f"threads: {threading.active_count()}",
        f"signals: {[signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)]}",
        f"decimals: {raised}",
        f"classes: {[each.__qualname__ for each in object.__subclasses__() if each.__name__ == Box.__name__]}",
        f"collector: {gc.isenabled()}",
        f"own: {SEEN}, {BOX}, {CALLS}, {next(NUMBERS)}",
    ]


@pipeline
def many(given: Any = 0) -> tuple[list[str], list[list[int]], list[str]]:
    before = snapshot([])
    found = [remembers(turn, given) for turn in range(9)]
    return before, found, snapshot(found)


@step
def plain(number: int) -> int:
    return number + 1


@step
def counts(number: int) -> int:
    return number + sum(range(1_000_000))


@step
def fails(number: int) -> int:
    return number // 0


@step(timeout=0.2)
def sleeps(number: int) -> int:
    time.sleep(60)
    return number


@step
def dies(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


@step
def with_a_file(number: int) -> int:
    return len(os.listdir()) + number + 1


@pipeline
def plain_chain() -> int:
    number = 0
    for _ in range(12):
        number = plain(number)
    return number


@pipeline
def with_failures() -> tuple[int, int, int, list[int]]:
    before = [plain(number) for number in range(6)]
    return fails(before[3]), sleeps(before[4]), dies(before[5]), [plain(number) for number in range(6)]


@pipeline
def counting() -> list[int]:
    return [counts(number) for number in range(12)]


@pipeline
def chain_with_files() -> int:
    number = 0
    for _ in range(12):
        number = with_a_file(number)
    return number


@pytest.fixture
def forks(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows with each process that is made for an attempt after the first ones."""
    found: list[object] = []
    connect: Callable[..., None] = Workers._connect
    monkeypatch.setattr(Workers, "_connect", lambda self, slot: found.append(slot) or connect(self, slot))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, what an attempt leaves is not seen for sure")
def test_attempts_that_leave_nothing_take_turns_in_few_processes(forks, tmp_path):
    assert plain_chain.run(store=tmp_path, max_workers=1).outputs == 12
    assert forks == []


def test_all_others_have_one_each(forks, tmp_path):
    assert chain_with_files.run(store=tmp_path, max_workers=1).outputs == 12
    assert len(forks) >= 12 - 3  # of the first three, nobody hears but when they are gone


def test_an_attempt_may_fail_in_a_process_that_ran_others_and_harms_none(tmp_path):
    run = with_failures.run(store=tmp_path, max_workers=1)
    assert run["fails"].error == "ZeroDivisionError: integer division or modulo by zero"
    assert "exceeded its timeout of 0.2 s" in run["sleeps"].error
    assert run["dies"].error == "the attempt was killed by SIGKILL (often: out of memory)"
    assert [run[node].state.value for node in run.nodes if node.startswith("plain")] == ["succeeded"] * 12


def test_an_attempt_is_told_its_own_use_of_a_process_not_that_of_those_before(tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = counting.run(store=tmp_path, max_workers=1)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = sum(run[node].cpu_seconds or math.inf for node in run.nodes)
    assert told <= after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("given", [0, decimal.Decimal(1)])
def test_nothing_of_one_attempt_is_found_by_another_in_its_process(given, tmp_path, forks):
    run = many.run({"given": given}, store=tmp_path, max_workers=1)
    assert run.outputs is not None
    before, found, after = run.outputs
    assert found == [[1, 1, 1, 1, 1, 0, 0]] * 9
    for turn in range(9):
        node = run["remembers" if turn == 0 else f"remembers_{turn + 1}"]
        assert node.log.read_text() == f"turn {turn}\n"
        assert node.metrics == ({"three": 3} if turn == 3 else {})
    assert after == before
    if sys.platform == "linux":
        assert len(forks) <= 2  # what `snapshot` had
