"""What is written down with each version of a deployed pipeline, and with its recurring run, to know them again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.deployment import Version
from penstock_backends.rendering import spec_told

_MARK = "Made by Penstock. "


@dataclass(frozen=True)
class Kept:
    """A version as the server has it.

    ``number`` counts versions from 1, ``stands_for`` is the one whose content it has: its own, or after a return that
    of an earlier one. ``file`` is a hash of the YAML. A version that somebody else made has the number 0. ``origin``
    tells the pipeline that it is of; it is empty in what was deployed before that was kept.
    """

    id: str
    name: str
    when: str
    number: int = 0
    stands_for: int = 0
    spec: str = ""
    file: str = ""
    schedule: Mapping[str, Any] | None = None
    origin: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether it was deployed by Penstock."""
        return self.number > 0

    @property
    def description(self) -> str:
        """What the server keeps of it besides the file."""
        returned = {"as version": self.stands_for} if self.stands_for != self.number else {}
        schedule = {"schedule": self.schedule} if self.schedule else {}
        origin = {"origin": self.origin} if self.origin else {}
        return described({"spec": self.spec, "file": self.file, **origin, **returned, **schedule})

    def shown(self, *, current: bool) -> Version:
        """The version as a user sees it."""
        return Version(self.name, self.spec, self.when, current)


def kept(version: Mapping[str, Any]) -> Kept:
    """A version, from the server's words."""
    id_, name = version["pipeline_version_id"], version["display_name"]
    when = version.get("created_at", "")
    told = told_by(version.get("description", ""))
    number = re.match(r"(\d+)-", name)
    if told is None or number is None or "file" not in told:
        return Kept(id_, name, when)
    own = int(number[1])
    stands_for, spec, origin = told.get("as version", own), told.get("spec", ""), told.get("origin", "")
    return Kept(id_, name, when, own, stands_for, spec, told["file"], told.get("schedule"), origin)


def new_version(number: int, text: str, schedule: Mapping[str, Any] | None, origin: str) -> Kept:
    """The version that a file is to become."""
    spec = spec_told(text)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Kept("", f"{number}-{spec or digest}", "", number, number, spec, digest, schedule, origin)


def described(told: Mapping[str, Any]) -> str:
    """A description that can be told from one that a person wrote."""
    return _MARK + json.dumps(told, ensure_ascii=True)


def told_by(description: str) -> dict[str, Any] | None:
    """What a description says; None where it is not by Penstock."""
    if not description.startswith(_MARK):
        return None
    try:
        told: dict[str, Any] = json.loads(description.removeprefix(_MARK))
    except ValueError:
        return None
    return told
