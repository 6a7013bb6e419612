"""A DAG file in a DAG folder, and the versions of it that were there.

The versions lie in ``.penstock`` below the same folder, as JSON, which Airflow does not read. Each is there before its
file is, and the file is there whole or not at all: whatever interrupts a deployment, the next one goes on from there.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from penstock_backends import deploy_errors


@dataclass(frozen=True)
class Kept:
    """A version: its number from 1, the hash of the pipeline's spec, when it was put there, and the DAG file.

    ``origin`` tells the pipeline that it is of; it is empty in what was deployed before that was kept.
    """

    number: int
    spec: str
    when: str
    text: str
    origin: str = ""


class DagFolder:
    """The DAG file called ``name`` in a folder. Every method raises `DeployError` where the file system refuses."""

    def __init__(self, folder: Path, name: str) -> None:
        self.place = folder / name
        self._folder = folder
        self._versions = folder / ".penstock" / Path(name).stem

    def text(self) -> str | None:
        """The file that is there."""
        with self._refusals(), contextlib.suppress(FileNotFoundError):
            return self.place.read_bytes().decode(errors="replace")
        return None

    def written(self) -> dt.datetime:
        """When the file that is there was written."""
        with self._refusals():
            return dt.datetime.fromtimestamp(self.place.stat().st_mtime, dt.timezone.utc)

    def kept(self) -> list[Kept]:
        """All versions, the newest first."""
        with self._refusals():
            found = [Kept(**json.loads(path.read_text(encoding="utf-8"))) for path in self._versions.glob("*.json")]
        return sorted(found, key=lambda each: each.number, reverse=True)

    def current(self) -> Kept | None:
        """The version whose file is there; None where there is another file, or none."""
        text, chosen = self.text(), self._chosen()
        found = [each for each in self.kept() if each.text == text]
        return next((each for each in found if each.number == chosen), found[0] if found else None)

    def add(self, text: str, spec: str, origin: str) -> Kept:
        """A new version, not yet in its place."""
        if not self._folder.is_dir():
            reason, fix = f"there is no folder {self._folder}", "make it, or give the folder that Airflow reads"
            raise deploy_errors.refused(str(self.place), reason, fix)
        with self._refusals():
            self._versions.mkdir(parents=True, exist_ok=True)
            number = 1 + max((each.number for each in self.kept()), default=0)
            when = dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
            made = Kept(number, spec, when, text, origin)
            _write(self._path(number), json.dumps(asdict(made), indent=1))
        return made

    def install(self, version: Kept) -> None:
        """Have a version in its place."""
        with self._refusals():
            _write(self.place, version.text)
            _write(self._versions / "current", str(version.number))

    def put_back(self, text: str | None, version: Kept | None) -> None:
        """Return to the file, and the version, that were there before."""
        with self._refusals():
            if version is not None:
                self.install(version)
            elif text is not None:
                _write(self.place, text)
            else:
                self.place.unlink(missing_ok=True)

    def remove(self) -> None:
        """Take the file away; its versions stay."""
        with self._refusals():
            self.place.unlink(missing_ok=True)

    def origin(self) -> str:
        """The pipeline that the newest version is of; empty where that is not known."""
        return next((each.origin for each in self.kept()), "")

    def forget(self, version: Kept) -> None:
        """Drop a version."""
        with self._refusals():
            self._path(version.number).unlink(missing_ok=True)

    def _chosen(self) -> int:
        """The version that was installed last, 0 where that is not known."""
        with contextlib.suppress(OSError, ValueError):
            return int((self._versions / "current").read_text())
        return 0

    def _path(self, number: int) -> Path:
        return self._versions / f"{number}.json"

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise deploy_errors.refused(str(self.place), error.strerror or error) from None
        except (TypeError, ValueError) as error:
            message = f"its versions cannot be read: {error}"
            raise deploy_errors.refused(str(self.place), message, f"mend or remove {self._versions}") from None


def _write(path: Path, text: str) -> None:
    """Puts a file in its place, whole, readable as other new files are: Airflow's workers may be another user."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".draft")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(text.encode())
            stream.flush()
            os.fsync(stream.fileno())
        Path(draft).chmod(_mode(path))
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _mode(path: Path) -> int:
    """The permissions of the file that is there, or those of a new one."""
    with contextlib.suppress(OSError):
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
