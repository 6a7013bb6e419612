"""YAML in which a text, or a component, that stands in many places is written once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

_ANCHOR = "id001"  # what PyYAML calls the first text that is shared


class Shared(str):
    """A text that is written where it first occurs, and referred to (``*harness``) everywhere else."""

    __slots__ = ()


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # which of them, mypy can't tell
    """Block style, texts of several lines as literal blocks; by libyaml where it is there, which is fast."""

    def ignore_aliases(self, data: Any) -> bool:
        return not isinstance(data, Shared)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(Shared, _represent_text)


def documents(comments: Iterable[str], values: Iterable[Mapping[str, Any]]) -> str:
    """YAML documents below comment lines; keys keep their order."""
    head = "".join(f"# {line}".rstrip() + "\n" for line in comments)
    return head + "---\n".join(map(_document, values))


def _document(value: Mapping[str, Any]) -> str:
    return "".join(_components(each) if key == "components" else _dumped({key: each}) for key, each in value.items())


def _components(components: Mapping[str, Any]) -> str:
    """The components by name; of one that stands there several times, all but the first are references to it."""
    names: dict[int, str] = {}
    said = {key: each if (name := names.setdefault(id(each), key)) == key else name for key, each in components.items()}
    text = re.sub(r"(?m)^(  \S+:) (\S+)$", r"\1 *\2", _dumped({"components": said}))
    referred_to = {each for each in said.values() if isinstance(each, str)}
    return re.sub(r"(?m)^  (\S+):$", lambda found: found[0] + f" &{found[1]}" * (found[1] in referred_to), text)


def _dumped(value: Mapping[str, Any]) -> str:
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    is_elsewhere = text.count(_ANCHOR) != _times_shared(value)
    return text if is_elsewhere else text.replace(_ANCHOR, "harness")


def _times_shared(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_times_shared, value.values()))
    if isinstance(value, list):
        return sum(map(_times_shared, value))
    return int(isinstance(value, Shared))
