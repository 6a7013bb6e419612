"""YAML in which a text that stands in many places is written once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml


class Shared(str):
    """A text that is written where it first occurs, and referred to (``*harness``) everywhere else."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Block style, texts of several lines as literal blocks. PyYAML's own: the C one names anchors by number."""

    def ignore_aliases(self, data: Any) -> bool:
        return not isinstance(data, Shared)

    def generate_anchor(self, _: yaml.Node) -> str:
        return "harness"


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(Shared, _represent_text)


def documents(comments: Iterable[str], values: Iterable[Any]) -> str:
    """YAML documents below comment lines; keys keep their order."""
    head = "".join(f"# {line}".rstrip() + "\n" for line in comments)
    body = (yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000) for value in values)
    return head + "---\n".join(body)
