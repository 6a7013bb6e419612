"""Python source text as a formatter would lay it out: literals, argument lists, docstrings, names."""

from __future__ import annotations

import hashlib
import inspect
import re
import symtable
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

WIDTH = 110

# Invisible, reordering or unencodable characters; a list, as what Python calls printable changes with its version.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def text_literal(text: str) -> str:
    """A text as a literal in double quotes, or in single ones where that saves escapes."""
    quote = "'" if '"' in text and "'" not in text else '"'
    escaped = text.replace("\\", "\\\\").replace(quote, f"\\{quote}")
    return f"{quote}{_HIDDEN.sub(_escape, escaped)}{quote}"


def _escape(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]


def literal(value: object, indent: int = 0, before: int = 0) -> str:
    """Plain data (JSON's types) as a literal.

    Where it does not fit behind ``before`` columns, it takes several lines, of which the last stands at ``indent``.
    """
    line = in_one_line(value)
    if before + len(line) < WIDTH or not isinstance(value, (dict, list)) or not value:
        return line
    items = (
        [(f"{text_literal(key)}: ", item) for key, item in value.items()]
        if isinstance(value, dict)
        else ([("", item) for item in value])
    )
    inner = indent + 4
    parts = [f"{' ' * inner}{name}{literal(item, inner, inner + len(name) + 1)},\n" for name, item in items]
    return f"{line[0]}\n{''.join(parts)}{' ' * indent}{line[-1]}"


def in_one_line(value: object) -> str:
    """Plain data as a literal without line breaks."""
    if isinstance(value, str):
        return text_literal(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{text_literal(key)}: {in_one_line(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(in_one_line, value))}]"
    return repr(value)


def one_line(text: str) -> str:
    """A text for a comment: on one line, with nothing in it that an editor hides."""
    return _HIDDEN.sub(_escape, " ".join(text.split()))


def table(rows: Mapping[str, Any]) -> str:
    """A dict as a literal, at least a line to each of its entries."""
    lines = [f"    {literal(key)}: {literal(row, 4, 8 + len(key))},\n" for key, row in rows.items()]
    return "{\n" + "".join(lines) + "}" if lines else "{}"


def arguments(parts: Sequence[str], indent: int = 0, before: int = 0, brackets: str = "()") -> str:
    """A call's arguments in their parentheses, or a list's items in brackets, laid out as `literal` does."""
    line = f"{brackets[0]}{', '.join(parts)}{brackets[1]}"
    if not any("\n" in part for part in parts) and before + len(line) < WIDTH:
        return line
    inner = "".join(f"{' ' * (indent + 4)}{part},\n" for part in parts)
    return f"{brackets[0]}\n{inner}{' ' * indent}{brackets[1]}"


def timedelta(seconds: float) -> str:
    """A duration in its largest whole unit."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds and seconds % size == 0:
            return f"timedelta({unit}={int(seconds // size)})"
    return f"timedelta(seconds={number(seconds)!r})"


def number(value: float) -> float:
    """The same number, without a fraction where it has none."""
    return int(value) if value == int(value) else value


def docstring(text: str, indent: int = 0) -> str:
    """A text as a docstring whose first line stands at ``indent``: its words, laid out for the place."""
    body = inspect.cleandoc(text).strip()
    escaped = (line.rstrip().replace("\\", "\\\\").replace('"""', '\\"\\"\\"') for line in body.split("\n"))
    lines = [_HIDDEN.sub(_escape, line) for line in escaped]
    margin = " " * indent
    # Airflow takes a text that ends in ".md" for the name of a file.
    if len(lines) == 1 and not lines[0].endswith((".md", '"')):
        return f'"""{lines[0]}"""'
    return '"""' + textwrap.indent("\n".join(lines), margin).lstrip() + f'\n{margin}"""'


def ascii_id(text: str) -> str:
    """An id that Airflow takes (``[A-Za-z0-9_.-]``; Airflow 3 fails on others when it puts them into a URL).

    A text that is one stays as it is; of others the hash at the end keeps them apart.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    legal = re.sub(r"[^A-Za-z0-9_.-]", "_", plain)
    return legal if legal == text else f"{legal}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def identifier(text: str) -> str:
    """A name of a variable that looks like the text."""
    name = re.sub(r"\W", "_", text)
    return name if name.isidentifier() else f"_{name}"


def names_relied_on(module: str) -> set[str]:
    """The names in a module's scope that it defines or uses, builtins among them."""
    return set(_module_names(symtable.symtable(module, "<module>", "exec")))


def _module_names(scope: symtable.SymbolTable) -> Iterator[str]:
    is_module = scope.get_type() == "module"
    yield from (symbol.get_name() for symbol in scope.get_symbols() if is_module or symbol.is_global())
    for child in scope.get_children():
        yield from _module_names(child)
