"""The texts that travel: the harness and `entry` made small, and the author's source kept from the engine's hands."""

from __future__ import annotations

import ast
import base64
import bz2
import hashlib
import inspect
import io
import json
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from penstock import harness
from penstock.spec import CHECK, DECIDE, GIVE, ITEMS, ModuleSource
from penstock.statements import reached_part
from penstock_backends.kubeflow import entry, steered

# kfp.local runs a command only if this name stands in it.
_HEADER = """\
# Penstock's harness: runs one step, with nothing but Python. It is penstock/harness.py and, below it,
# {files} of penstock_backends/kubeflow, {form}, {digest}.
# It stands in the place of kfp.dsl.executor_main. The author's own code is in `args`.
"""

# A harness that all tasks share is an artifact, whose path comes before the executor input.
WRITE_SHARED = f"""\
# Writes Penstock's harness, the last of `args`: all other tasks run it, and so it is in this file once.
# It stands in the place of kfp.dsl.executor_main.
import json, pathlib, sys
harness, outputs = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])["outputs"]
told = {{"artifacts": {{"{entry.HARNESS}": outputs["artifacts"]["{entry.HARNESS}"]}}}}
for file, text in (harness, sys.argv[3]), (pathlib.Path(outputs["outputFile"]), json.dumps(told)):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
"""
START_SHARED = """\
# Runs one step by Penstock's harness, which the task that it comes from holds as text.
# It stands in the place of kfp.dsl.executor_main. The author's own code is in `args`.
import sys
with open(sys.argv.pop(1), encoding="utf-8") as harness:
    exec(compile(harness.read(), "harness.py", "exec"))
"""

# Beside the marks: what a YAML block scalar cannot show (control characters, spaces at the end of a line, emoji).
_HIDDEN = r"[^\n\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]"
_TRAILING = r"(?<= )(?=\n|\Z)"


# --- the author's source ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slice:
    """What a step reaches of one of the author's modules.

    ``lines`` says where the text comes from: pairs of a line in ``text`` and the line in ``file``, one per statement.
    """

    module: str
    file: str
    text: str
    lines: list[list[int]]


def sliced(module: ModuleSource, names: Iterable[str]) -> Slice:
    """The statements of a module that belong to a step which reaches ``names``."""
    reached = set(names)
    kept = [part for each in module.statements if (part := reached_part(each, reached)) is not None]
    text = module.model_copy(update={"statements": tuple(kept)}).text
    lines, position = [], 0
    for statement in kept:
        position = text.index(statement.source, position)
        lines.append([text.count("\n", 0, position) + 1, statement.line])
        position += len(statement.source)
    return Slice(module.name, module.file, text, lines)


def joiner_for(texts: Iterable[str]) -> str:
    """The shortest of ``<~``, ``<~~`` ... that stands in none of the texts; `joined` parts marks with it."""
    together = "\n".join(texts)
    joiner = "<~"
    while joiner in together:
        joiner += "~"
    return joiner


def joined(text: str, joiner: str) -> str:
    """A text in which nothing is left that the engine or the YAML would change; `entry.unjoined` turns it back.

    A mark is parted by ``<~>`` (``{<~>{``), another character is written by its number (a tab is ``<~9>``). Most texts
    stay as they are.
    """
    text = re.sub(_HIDDEN, lambda match: f"{joiner}{ord(match[0]):x}>", text)
    text = re.sub(_TRAILING, f"{joiner}>", text)
    for mark in entry.MARKS:
        text = re.sub(f"{re.escape(mark[0])}(?={re.escape(mark[1:])})", f"{mark[0]}{joiner}>", text)
    return text


@dataclass(frozen=True, eq=False)
class Carried:
    """What a step reaches of the author's modules as it travels: ``texts``, and what its job says of these.

    ``logs`` names what it may call of `RECORDING`.
    """

    texts: tuple[str, ...]
    told: Mapping[str, Any]
    logs: frozenset[str] = frozenset()


RECORDING = frozenset({"log_metric", "log_metadata"})
NOTHING_CARRIED = Carried((), {"modules": {}})


def carried(slices: list[Slice]) -> Carried:
    """A step's slices as they travel."""
    texts = [part.text for part in slices]
    joiner = joiner_for(texts)
    safe = tuple(joined(text, joiner) for text in texts)
    modules = {part.module: {"file": part.file, "lines": part.lines} for part in slices}
    marked = {"joiner": joiner} if list(safe) != texts else {}
    return Carried(safe, {"modules": modules, **marked}, RECORDING & _mentioned(texts))


def _mentioned(texts: Iterable[str]) -> frozenset[str]:
    nodes = (node for text in texts for node in ast.walk(ast.parse(text)))
    return frozenset(getattr(node, "id", getattr(node, "attr", "")) for node in nodes)


def job_text(job: Mapping[str, Any]) -> str:
    """A job as JSON that can be read: one line a key, and without marks."""
    lines = (f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in job.items())
    return entry.guarded("{\n" + ",\n".join(lines) + "\n}\n")


# --- the harness ------------------------------------------------------------------------------------------------------


@lru_cache
def harness_text(is_steered: bool = False, has_secrets: bool = False) -> str:
    """The program that every container is started with, as text: without comments and docstrings.

    That of a pipeline in which branches, loops, gates or its end decide what runs holds `steered`, too; that of one
    without secrets leaves out what hides them.
    """
    return _header("without comments and docstrings", is_steered) + _program(is_steered, has_secrets)


# Base85 in which nothing stands that an engine or a shell reads, or JSON writes in six letters.
_BASE85, _OTHER = "$&<>{`", ",./:[]"
_SAFE = str.maketrans(_BASE85, _OTHER)
_UNPACK = """\
import base64, bz2
exec(bz2.decompress(base64.b85decode(\"\"\"
{packed}
\"\"\".translate(str.maketrans("{other}", "{base85}", "\\n")))))
"""


@lru_cache
def packed_harness(is_steered: bool = False, has_secrets: bool = False) -> str:
    """The same program, compressed."""
    bare = _without_annotations(_program(is_steered, has_secrets))
    packed = base64.b85encode(bz2.compress(bare.encode())).decode().translate(_SAFE)
    lines = "\n".join(packed[at : at + 110] for at in range(0, len(packed), 110))
    run = _UNPACK.format(packed=lines, other=_OTHER, base85=_BASE85)
    return _header("compressed (compile with harness=text to read it)", is_steered) + run


def _header(form: str, is_steered: bool) -> str:
    whole = "".join(map(inspect.getsource, (harness, entry, *[steered] * is_steered)))
    files = "entry.py and steered.py" if is_steered else "entry.py"
    digest = f"sha256 {hashlib.sha256(whole.encode()).hexdigest()[:16]}"
    return _HEADER.format(files=files, form=form, digest=digest)


_FOR_SECRETS = {"Mask", "Relay"}  # of the harness; nothing asks for them unless a job has secrets


@lru_cache
def _program(is_steered: bool, has_secrets: bool) -> str:
    own = "".join(
        _without_imports_of_ours(_small(inspect.getsource(each))) for each in (entry, *[steered] * is_steered)
    )
    body, _, last = own.partition('if __name__ == "__main__":\n')
    start, rest = last.split("\n", 1)
    own = re.sub(r"\n{2,}", "\n\n", f'{body}\n{rest}\nif __name__ == "__main__":\n{start}\n').lstrip("\n")
    used = {node.id for node in ast.walk(ast.parse(own)) if isinstance(node, ast.Name)}
    called = {name.partition(":")[2] for name in (GIVE, *[DECIDE, ITEMS, CHECK] * is_steered)}
    roots = used | called | set(harness.RUNTIME_NAMES)
    without = set() if has_secrets else _FOR_SECRETS
    return _reached(_small(inspect.getsource(harness)), roots, without) + "\n" + own


def _without_imports_of_ours(source: str) -> str:
    """Python source without the imports of what stands before it in the same program."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and node.module != "pathlib":
            last = node.end_lineno or node.lineno
            lines[node.lineno - 1 : last] = [""] * (last - node.lineno + 1)
    return "\n".join(lines) + "\n"


def _small(source: str) -> str:
    """Python source without comments, docstrings and most blank lines; all else as it was."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    for first, last in _docstrings(ast.parse(source)):
        lines[first - 1 : last] = [""] * (last - first + 1)
    text = re.sub(r"\n\s*\n(?= )", "\n", "\n".join(lines) + "\n")
    return re.sub(r"\n{2,}", "\n\n", text).lstrip("\n")


def _without_annotations(source: str) -> str:
    """Python source without the annotations of functions, which are for readers."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    return ast.unparse(tree)


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, int]]:
    """The first and last lines of the docstrings, save those that are all there is of a class."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
            first = node.body[0]
            if len(node.body) > 1:
                yield first.lineno, first.end_lineno or first.lineno


def _reached(source: str, roots: set[str], without: set[str]) -> str:
    """The top-level statements that ``roots`` need, directly or through others, and those that bind no name.

    Those that bind a name in ``without`` are left out all the same.
    """
    body = ast.parse(source).body
    needed, chosen = set(roots), set[int]()
    while True:
        more = {
            number
            for number, node in enumerate(body)
            if number not in chosen and (harness.belongs(node, needed) or not harness.bound_names(node))
        }
        if not more:
            break
        chosen |= more
        needed |= {part.id for number in more for part in ast.walk(body[number]) if isinstance(part, ast.Name)}
        needed -= without
    lines = source.splitlines()
    parts = ["\n".join(lines[_first_line(body[n]) - 1 : body[n].end_lineno]) for n in sorted(chosen)]
    return re.sub(r"(?m)^((?:import|from) .*)\n\n(?=import|from)", r"\1\n", "\n\n".join(parts) + "\n")


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(each.lineno for each in decorators)])
