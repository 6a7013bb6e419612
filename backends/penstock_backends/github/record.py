"""What was deployed last, kept beside it: so that what a person changed since, and what is left over, is known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from penstock.backend import Files
from penstock_backends.rendering import spec_told


@dataclass(frozen=True)
class Record:
    """A version of a pipeline's files.

    ``source`` is the file that defines the pipeline, ``spec`` the hash in the files' headers; ``files`` has the digest
    of each file by its path.
    """

    pipeline: str
    source: str
    spec: str
    files: Mapping[str, str]

    @property
    def version(self) -> str:
        """The version's name: the same for the same files."""
        return digest(json.dumps(sorted(self.files.items())))[:12]

    def wrote(self, path: str, text: str) -> bool:
        """Whether a file is as it was deployed."""
        return self.files.get(path) == digest(text)

    def to_json(self) -> str:
        """The record as it is kept, a file a line."""
        return json.dumps(asdict(self), indent=2) + "\n"


def record_of(pipeline: str, source: str, files: Files) -> Record:
    """The record of files that are to be deployed."""
    found = next(filter(None, map(spec_told, files.values())), "")
    return Record(pipeline, source, found, {path: digest(text) for path, text in files.items()})


def read_record(text: str | None) -> Record | None:
    """A record as it was kept; None where there is none, or none that can be read."""
    try:
        found = Record(**json.loads(text or ""))
    except (ValueError, TypeError):
        return None
    return found if isinstance(found.files, dict) else None


def digest(text: str) -> str:
    """The SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
