"""Workflow text from a template in which nothing but YAML scalars can appear where a value is printed."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

import jinja2
import yaml

LINE = 110

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_./@ -]*(?<! )")
_MEANING_MORE = re.compile(r"(?i)null|true|false|yes|no|on|off|y|n|nan|inf(inity)?")


class Yaml(str):
    """Text that is YAML already."""

    __slots__ = ()


def scalar(value: object) -> Yaml:
    """A value as a YAML scalar, or a list of them on one line; every reader of YAML 1.1 and 1.2 gets the same value.

    An expression mark in a text is written so that it evaluates to itself.
    """
    if isinstance(value, Yaml):
        return value
    if isinstance(value, (list, tuple)):
        return Yaml(f"[{', '.join(map(scalar, value))}]")
    if isinstance(value, str):
        value = value.replace("${{", "${{ '${{' }}")
        if _WORD.fullmatch(value) and not _MEANING_MORE.fullmatch(value):
            return Yaml(value)
        return Yaml(_dump(value, default_style="'" if value.isprintable() and '"' in value else '"'))
    return Yaml(_dump(value))


def _dump(value: object, **style: Any) -> str:
    text = str(yaml.safe_dump(value, width=float("inf"), allow_unicode=True, **style))
    return text.removesuffix("...\n").rstrip("\n")


def expression(text: str, indent: int = 0) -> Yaml:
    """A text whose expressions are meant to be evaluated; where it has several lines, they are joined by spaces."""
    lines = text.split("\n")
    if len(lines) > 1:
        return Yaml(">-\n" + "\n".join(" " * indent + line for line in lines))
    if "${{" not in text:
        return scalar(text)
    return Yaml(text if text.startswith("${{") and '"' not in text else _dump(text, default_style='"'))


def secret(text: str, environment: str) -> Yaml:
    """An expression that is a secret, in the job of an environment or of none, which an auditor would remark."""
    if environment or "secrets." not in text:
        return expression(text)
    return Yaml(
        f"{expression(text)} # zizmor: ignore[secrets-outside-env] no `environment` is configured for this step"
    )


def block(lines: Sequence[str], indent: int) -> Yaml:
    """Texts as one literal block, a line each."""
    plain = all(line.isprintable() and line == line.strip() and line for line in lines)
    if not plain or any("${{" in line for line in lines):
        return scalar("\n".join(lines) + "\n")
    return Yaml("|\n" + "\n".join(" " * indent + line for line in lines))


def items(values: Sequence[str], indent: int) -> Yaml:
    """A list, after the colon of its key: on the same line where it is short, else an item a line."""
    flow = scalar(values)
    if len(flow) <= LINE - indent:
        return Yaml(f" {flow}")
    return Yaml("".join(f"\n{' ' * indent}- {scalar(value)}" for value in values))


def comment(text: str) -> Yaml:
    """A text that stays within its comment, after a space."""
    return Yaml(f" {''.join(each if each.isprintable() else ' ' for each in text)}".rstrip())


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("penstock_templates", "."),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701  # YAML, not HTML; `finalize` escapes every value
        finalize=scalar,
        variable_start_string="[[",  # `{{` is GitHub's own
        variable_end_string="]]",
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(comment=comment, block=block, items=items, expression=expression, secret=secret)
    return environment.get_template("github_workflow.yml.jinja")


def workflow_text(**values: Any) -> str:
    """The workflow file."""
    return _template().render(**values)
