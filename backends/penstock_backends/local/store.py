"""Where runs leave what they made: outputs by content, results by cache key, and a folder for each run.

::

    .penstock/
      format.json              what this folder is, and the version of its layout
      objects/SHA256           files by the SHA-256 of their bytes (see `objects`)
      results/KEY              what a step returned, by cache key: wires that refer to objects; its time is its last use
      runs/ID/                 spec.json, parameters.json, events.jsonl, run.json, logs/NODE.ATTEMPT.log, outputs/
      turns/PIPELINE/          locks of runs of pipelines that bound how many there are at a time
      drafts/                  what is being written, and the working folders of attempts under way

Any number of processes may use one store at once: everything appears by rename, and what is there never changes.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.diagnostics import ConfigurationError, Diagnostic
from penstock_backends.local.objects import (
    OTHERS_WRITE,
    CorruptedError,
    Json,
    Objects,
    artifacts_in,
    is_own,
    read_record,
    write_record,
)
from penstock_backends.local.signing import signer_for

if TYPE_CHECKING:
    from penstock_backends.local.sharing import Sharing

FORMAT = "penstock-store"
VERSION = 1
LAYOUT = {"format": FORMAT, "version": VERSION}
VARIABLE = "PENSTOCK_STORE"
DEFAULT = ".penstock"
_RUN_ID = "%Y%m%d-%H%M%S-%f"


class Store:
    """A folder of that layout, made where it is missing.

    Args:
        place: a folder, or the URL of what is shared, of which a folder of this user's holds a copy; by default what
            the environment variable ``PENSTOCK_STORE`` says, else ``.penstock`` in the current directory.
        options: of a URL, what fsspec is to know.
        key: of a URL, the environment variable that holds the key which signs what is stored (see `signing`).
        makes: whether it is made where it is missing; what is only to be read may as well be missing.

    Raises:
        ConfigurationError: it cannot be reached or written, may be written to by others, holds something else, or is
            of a later version.
    """

    def __init__(
        self,
        place: str | Path | None = None,
        options: Mapping[str, Any] | None = None,
        key: str | None = None,
        *,
        makes: bool = True,
    ) -> None:
        self.place = str(place or os.environ.get(VARIABLE) or DEFAULT)
        is_url = "://" in self.place
        self.folder = _copy_of(self.place, options or {}) if is_url else Path(self.place).expanduser().absolute()
        self.results = self.folder / "results"
        self.runs = self.folder / "runs"
        self.drafts = self.folder / "drafts"
        self.lock = self.folder / "upkeep.lock"
        self.objects = Objects(self.folder / "objects", self.drafts)
        if makes or is_url or self.folder.exists():
            _prepare(self.folder, self.drafts)
        self.sharing = self._shared(options or {}, key) if is_url else None

    def result_file(self, key: str) -> Path:
        """Where the result of a cache key is, if it is."""
        return self.results / key

    def result(self, key: str) -> Json:
        """What was stored under a cache key, all of it checked; None where it is missing, or no longer whole."""
        file = self.result_file(key)
        try:  # noted before it is read, so that whoever clears the store meanwhile leaves it
            os.utime(file)
        except FileNotFoundError:
            return None
        except OSError:
            pass
        record = read_record(file)
        if record is None:
            return None
        try:
            for wire in record["outputs"].values():
                for reference in artifacts_in(wire):
                    self.objects.check_all(reference["digest"], bool(reference.get("folder")))
        except CorruptedError:
            return None
        return record

    def record(self, key: str) -> Json:
        """What was written down of a result, its objects unseen; None where it is missing, or not signed."""
        found = read_record(self.result_file(key))
        return self.sharing.record(key) if found is None and self.sharing is not None else found

    def add_result(self, key: str, record: Json) -> None:
        """Stores a result under a cache key."""
        write_record(self.result_file(key), record, self.objects.draft())

    def _shared(self, options: Mapping[str, Any], key: str | None) -> Sharing:
        # Only who has such a store waits for fsspec to be imported.
        from penstock_backends.local.remote import Remote  # noqa: PLC0415
        from penstock_backends.local.sharing import Sharing  # noqa: PLC0415

        remote = Remote(self.place, options, signer_for(key), LAYOUT)
        _check_layout(remote.layout, self.place)
        return Sharing(remote, self.objects, self.results, self.runs)

    def new_run(self) -> tuple[str, Path]:
        """The id of a run, and its folder. Ids are times, and later ones are greater, though the clock is set back."""
        while True:
            run_id = max(f"{dt.datetime.now(dt.timezone.utc):{_RUN_ID}}", self._after_the_newest())
            folder = self.runs / run_id
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
            (folder / "logs").mkdir()
            return run_id, folder

    def _after_the_newest(self) -> str:
        """The least id that is greater than those of all runs here; empty where there are none."""
        try:
            newest = max(each.name for each in self.runs.iterdir())
            moment = dt.datetime.strptime(newest, _RUN_ID)  # noqa: DTZ007  # it is only counted on from
        except (OSError, ValueError):
            return ""
        return f"{moment + dt.timedelta(microseconds=1):{_RUN_ID}}"


def _copy_of(url: str, options: Mapping[str, Any]) -> Path:
    """The folder of this user's that holds a copy of what is shared under a URL."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    told = json.dumps([url.rstrip("/"), options], sort_keys=True, default=repr)
    return cache / "penstock" / "stores" / hashlib.sha256(told.encode()).hexdigest()[:16]


def _prepare(folder: Path, drafts: Path) -> None:
    marker = folder / "format.json"
    try:
        if not marker.exists():
            _create(folder, marker)
        _check_owner(folder)
        drafts.mkdir(exist_ok=True)
        found = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(unusable(folder, f"used: {_reason(folder, error)}")) from None
    _check_layout(found, str(folder))


def unusable(folder: Path, said: str) -> Diagnostic:
    """That a store cannot be ``said``: used, cleared, and why."""
    fix = (
        "give another folder: `--store`, PENSTOCK_STORE, or `store` in [tool.penstock.run]; or make it writable for you"
    )
    return Diagnostic("P722", f"the store {folder} cannot be {said}", fix=fix)


def _reason(folder: Path, error: OSError | ValueError) -> str:
    if folder.exists() and not folder.is_dir():
        return "it is a file, not a folder"
    return error.strerror or str(error) if isinstance(error, OSError) else "its format.json is not JSON"


def _check_layout(found: Json, place: str) -> None:
    if found != LAYOUT:
        said = f"{found.get('format')} {found.get('version')}"
        message = f"the store {place} is of the format {said}, not {FORMAT} {VERSION}"
        fix = "use the Penstock that made it, or give another folder: `store=...`"
        raise ConfigurationError(Diagnostic("P723", message, fix=fix))


def _create(folder: Path, marker: Path) -> None:
    if folder.is_dir() and any(not each.name.startswith(_OURS) for each in folder.iterdir()):
        message = f"the folder {folder} holds something else, so it cannot become a store"
        raise ConfigurationError(Diagnostic("P724", message, fix="give an empty folder, or one that does not exist"))
    if folder.is_dir() and folder.stat().st_uid == os.geteuid():
        folder.chmod(folder.stat().st_mode & ~OTHERS_WRITE)
    folder.mkdir(0o700, parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    draft = folder / f"format.json.{secrets.token_hex(4)}"
    try:
        draft.write_text(json.dumps(LAYOUT) + "\n", encoding="utf-8")
        draft.replace(marker)
    finally:
        draft.unlink(missing_ok=True)


def _check_owner(folder: Path) -> None:
    """Refuses a store that another user could have put something into: what is read from it may run code (pickle)."""
    for place in (folder, folder / "objects", folder / "results"):
        try:
            found = place.stat()
        except FileNotFoundError:
            continue
        if is_own(found):
            continue
        if found.st_uid in (os.geteuid(), 0):
            said, fix = "may be written to by other users", f"take that right from them: `chmod -R go-w {folder}`"
        else:
            said, fix = f"belongs to another user (uid {found.st_uid})", "use a store of your own: `store=...`"
        message = f"the store {place} {said}; what they leave there could run as you when it is read"
        raise ConfigurationError(Diagnostic("P727", message, fix=f"{fix}; to share one, give its URL (docs/local.md)"))


_OURS = (".gitignore", "drafts", "format.json", "objects", "results", "runs", "turns", "upkeep.lock")
