"""The actions that emitted workflows use, each pinned to the commit of a release."""

from __future__ import annotations

import re
from dataclasses import dataclass

PIN = r"^(?:(?P<name>[\w.-]+/[\w./-]+)@)?(?P<commit>[0-9a-f]{40}) # (?P<version>[\w.+-]+)$"
"""How another commit of an action, or a copy of it elsewhere, is written: ``our/checkout@3d3c... # v7.0.1``."""


@dataclass(frozen=True)
class Action:
    """A release of an action: ``commit`` is what its tag ``version`` points to."""

    name: str
    commit: str
    version: str

    @property
    def uses(self) -> str:
        """The action as a step names it."""
        return f"{self.name}@{self.commit}"

    def pinned_to(self, pin: str) -> Action:
        """What stands in its place where a `PIN` says so."""
        found = re.fullmatch(PIN, pin)
        if found is None:
            raise ValueError(f"no pin: {pin}")
        return Action(found["name"] or self.name, found["commit"], found["version"])


CHECKOUT = Action("actions/checkout", "3d3c42e5aac5ba805825da76410c181273ba90b1", "v7.0.1")
SETUP_PYTHON = Action("actions/setup-python", "5fda3b95a4ea91299a34e894583c3862153e4b97", "v7.0.0")
UPLOAD_ARTIFACT = Action("actions/upload-artifact", "043fb46d1a93c77aae656e7c1c64a875d1fc6a0a", "v7.0.1")
DOWNLOAD_ARTIFACT = Action("actions/download-artifact", "3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c", "v8.0.1")
CACHE = Action("actions/cache", "27d5ce7f107fe9357f9df03efb73ab90386fccae", "v5.0.5")

ACTIONS = (CHECKOUT, SETUP_PYTHON, UPLOAD_ARTIFACT, DOWNLOAD_ARTIFACT, CACHE)
