"""What emitted text shares: headers, the harness, JSON, and Python in which values pass `repr`."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import json
import pprint
import re
import shlex
import types
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import jinja2

from penstock import harness
from penstock.backend import MADE_BY, Options
from penstock.spec import Loop, PipelineSpec, Task, walk

_PLAIN = re.compile(r"[\w/.:@+~-]+", re.ASCII)
_SPEC = re.compile(rf"{MADE_BY}.*, spec (?P<hash>[0-9a-f]+)\.$", re.MULTILINE)


def spec_hash(pipeline: PipelineSpec) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the spec's JSON."""
    return hashlib.sha256(pipeline.model_dump_json().encode()).hexdigest()[:16]


def spec_told(text: str) -> str:
    """The hash of the spec in an emitted file's header; empty where there is none."""
    found = _SPEC.search(text)
    return found["hash"] if found else ""


def origin_of(pipeline: PipelineSpec) -> str:
    """The file that defines a pipeline, from its project's source on, and its name there."""
    return f"{pipeline.span.file if pipeline.span else '-'}:{pipeline.name}"


def header(pipeline: PipelineSpec, target: str, options: Options | None = None) -> list[str]:
    """The lines that open every emitted file, without comment marks: where it comes from and how to make it again.

    ``options`` are those that it was made with.
    """
    words = [target, *(option_words(options) if options else ())]
    source = pipeline.span.file if pipeline.span else "a spec"
    return [*_origin(pipeline, source, words), *_left_out(pipeline)]


def left_out(node: PipelineSpec | Task | Loop) -> str:
    """What of a node its author allowed the target not to keep, as a comment says it; empty for most."""
    names = ", ".join(feature.value.replace("_", " ") for feature in node.left_out)
    return f"left out by permission: {names}" if names else ""


def _left_out(pipeline: PipelineSpec) -> Iterator[str]:
    endings = (*pipeline.on_failure, *pipeline.on_exit)
    for node in (*walk(pipeline.body), *endings):
        if isinstance(node, (Task, Loop)) and node.left_out:
            yield f"{node.id}: {left_out(node)}"
    if pipeline.left_out:
        yield f"The pipeline itself: {left_out(pipeline)}"


def _origin(pipeline: PipelineSpec, source: str, words: list[str]) -> list[str]:
    if source.startswith("<"):  # a notebook's cells: the command line can't be given these
        return [
            f"{pipeline.name}{MADE_BY}a notebook, spec {spec_hash(pipeline)}.",
            "Change the pipeline, not this file; then make it again there, by the pipeline's `compile`. It was made",
            f"    --to {' '.join(words)}",
        ]
    return [
        f"{pipeline.name}{MADE_BY}{source}, spec {spec_hash(pipeline)}.",
        "Change the pipeline, not this file; then make it again with",
        f"    penstock compile {source}:{pipeline.name} --to {' '.join(words)}",
    ]


def option_words(options: Options, leave_out: Collection[str] = ()) -> list[str]:
    """The options that differ from their defaults as words of a command line, of one line and ASCII whatever they hold.

    Args:
        options: a target's options.
        leave_out: the names of those that the command says in another way.
    """
    given = options.model_dump(mode="json", exclude_defaults=True, exclude=set(leave_out))
    words = (["--option", shlex.quote(f"{name}={_option_text(value)}")] for name, value in given.items())
    return [each for pair in words for each in pair]


def _option_text(value: object) -> str:
    """What the command line reads as the value: JSON, save where a text stands for itself."""
    if not isinstance(value, str) or not _PLAIN.fullmatch(value):
        return compact_json(value)
    try:
        json.loads(value)
    except ValueError:
        return value
    return compact_json(value)


@functools.cache
def harness_source() -> str:
    """The text of the harness, to be embedded."""
    return inspect.getsource(harness)


def embedded_harness() -> str:
    """The harness as a part of a program that begins with ``from __future__ import annotations``.

    Its docstring as comments, its imports, its code.
    """
    docstring, _, code = harness_source().partition("from __future__ import annotations\n")
    lines = docstring.strip().strip('"').strip().splitlines()
    return "\n".join(f"# {line}".rstrip() for line in lines) + "\n" + code


@functools.cache
def embedded(*modules: types.ModuleType) -> str:
    """The code of modules as a part of a program in which the harness stands, after the imports that this lacks."""
    known = set(_imported(ast.parse(harness_source()).body))
    imports, code = {}, ""
    for source in map(inspect.getsource, modules):
        found = [each for each in ast.parse(source).body if isinstance(each, (ast.Import, ast.ImportFrom))]
        imports.update({ast.unparse(each): each for each in found if not _is_ours(each)})
        code += "".join(source.splitlines(keepends=True)[max(each.end_lineno or 0 for each in found) :])
    own = sorted(text for text, each in imports.items() if not known.issuperset(_imported([each])))
    return "".join(f"{text}\n" for text in own) + code


def _imported(statements: Iterable[ast.stmt]) -> Iterator[tuple[str, str]]:
    """What is imported at the top of a module, what is so for annotations alone among it."""
    for each in statements:
        if isinstance(each, (ast.Import, ast.ImportFrom)):
            yield from ((getattr(each, "module", None) or "", alias.name) for alias in each.names)
        elif isinstance(each, ast.If):
            yield from _imported(each.body)


def _is_ours(statement: ast.Import | ast.ImportFrom) -> bool:
    return isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("penstock")


def python_template(name: str, **values: Any) -> str:
    """A template of ``penstock_templates``, filled.

    In it, ``|py`` writes a value as a Python literal, ``|py_text`` a long text as a readable triple-quoted one.
    """
    return _python_templates().get_template(name).render(**values)


@functools.cache
def _python_templates() -> jinja2.Environment:
    """The templates, each compiled once."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("penstock_templates", "."),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701  # Python, not HTML; every value passes `py` or `py_text`
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["py"] = python_literal
    environment.filters["py_text"] = python_text
    return environment


def python_literal(value: object, indent: int = 0) -> str:
    """A value of plain data as Python source, wrapped to be read, its continuation lines indented by ``indent``."""
    text = pprint.pformat(value, width=110 - indent, sort_dicts=False, compact=True)
    return text.replace("\n", "\n" + " " * indent) if "'''" not in text and '"""' not in text else repr(value)


def python_text(text: str) -> str:
    """A text as a triple-quoted Python literal that reads as the text; any other literal where that can't be exact."""
    for quote in ("'''", '"""'):
        raw = f"r{quote}{text}{quote}"
        if quote not in text and not text.endswith((quote[0], "\\")) and "\r" not in text and _reads_as(raw, text):
            return raw
    return repr(text)


def _reads_as(literal: str, text: str) -> bool:
    try:
        return bool(eval(literal, {"__builtins__": {}}) == text)  # noqa: S307  # a string literal that this module just made
    except (SyntaxError, ValueError):
        return False


def compact_json(value: object) -> str:
    """JSON on one line, ASCII, keys in their order."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
