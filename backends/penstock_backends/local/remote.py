"""The shared side of a store that is a URL: any place that fsspec can read and write.

It is laid out as a store in a folder is. Objects are there under their digests; all else is signed (see `signing`).
What is written appears whole: object stores do that by themselves, elsewhere it is written aside and moved.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import fsspec

from penstock.diagnostics import ConfigurationError, Diagnostic
from penstock_backends.local.objects import CorruptedError, Json, Objects
from penstock_backends.local.signing import Signer

AT_ONCE = 16
GRACE = 86_400.0  # seconds for which what was written is taken to be in use by a run somewhere
# Where a write appears as a whole when it ends, or not at all.
OBJECT_STORES = frozenset({"memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "obs"})
A = TypeVar("A")
T = TypeVar("T")


class RemoteError(OSError):
    """A shared store cannot be read or written; the message says which, and why."""


class Remote:
    """A place for stored things, by name: ``objects/SHA256``, ``results/KEY``, ``runs/ID/FILE``.

    ``layout`` is what it says of itself; a place that says nothing is made one of the layout given.

    Raises:
        ConfigurationError: nothing can be kept there: the URL makes no sense, a library is missing, or what is there
            cannot be reached.
    """

    def __init__(self, url: str, options: Mapping[str, Any], signer: Signer, layout: Json) -> None:
        self.url = url.rstrip("/")
        self.signer = signer
        try:
            self._files, self._root = fsspec.url_to_fs(self.url, **options)
            self._is_object_store = not OBJECT_STORES.isdisjoint(_protocols(self._files))
            self.layout = self._layout(layout)
        except Exception as error:  # noqa: BLE001  # each kind of place has errors of its own
            raise ConfigurationError(_unusable(self.url, error)) from None
        self._carriers = ThreadPoolExecutor(AT_ONCE, "penstock-store")
        self._known: set[str] = set()

    def put_objects(self, digests: Iterable[str], objects: Objects) -> None:
        """Stores objects that are not there yet. Raises `RemoteError`; `CorruptedError` where one is damaged here."""
        self.at_once(lambda digest: self._put_object(digest, objects), set(digests) - self._known)

    def get_object(self, digest: str, objects: Objects) -> None:
        """Brings an object, checked. Raises `RemoteError`; `CorruptedError` where it is not there as it was stored."""
        draft = objects.draft()
        try:
            with self._telling():
                self._files.get_file(self._path(f"objects/{digest}"), str(draft))
            if objects.add_file(draft) != digest:
                raise CorruptedError(digest, "is not what was stored: its bytes have changed")
        except FileNotFoundError:
            raise CorruptedError(digest, f"is not in {self.url}") from None
        finally:
            draft.unlink(missing_ok=True)
        self._known.add(digest)

    def put(self, name: str, content: bytes) -> None:
        """Stores bytes, signed, in the place of what was there. Raises `RemoteError`."""
        with self._telling():
            self._write(self._path(name), lambda path: self._files.pipe_file(path, self.signer.signed(name, content)))

    def get(self, name: str) -> bytes | None:
        """What was stored under a name, or None. Raises `RemoteError`, or `UntrustedError`."""
        stored = self.raw(name)
        return None if stored is None else self.signer.opened(name, stored)

    def raw(self, name: str) -> bytes | None:
        """The bytes that are stored under a name, as they are, or None. Raises `RemoteError`."""
        try:
            with self._telling():
                stored: bytes = self._files.cat_file(self._path(name))
        except FileNotFoundError:
            return None
        return stored

    def names(self, folder: str) -> list[str]:
        """What there is right below a folder. Raises `RemoteError`."""
        try:
            with self._telling():
                self._files.invalidate_cache()
                found = self._files.ls(self._path(folder), detail=False)
        except FileNotFoundError:
            return []
        return sorted(name for path in found if (name := path.rstrip("/").rpartition("/")[2]) and name != folder)

    def all(self) -> dict[str, Json]:
        """Everything that there is, by its name, each with its ``size``, and when it was ``modified`` (seconds)."""
        with self._telling():
            self._files.invalidate_cache()
            found = self._files.find(self._root, detail=True)
        start = len(self._root.rstrip("/")) + 1
        return {
            path[start:]: {"size": each.get("size") or 0, "modified": _modified(each)} for path, each in found.items()
        }

    def digest(self, name: str, hasher: Any) -> str:
        """The digest of the bytes stored under a name. Raises `RemoteError`, or `FileNotFoundError`."""
        with self._telling(), self._files.open(self._path(name), "rb") as stream:
            while part := stream.read(1 << 20):
                hasher.update(part)
        return str(hasher.hexdigest())

    def remove(self, name: str) -> None:
        """Removes a file, if it is there. Raises `RemoteError`."""
        with suppress(FileNotFoundError), self._telling():
            self._files.rm_file(self._path(name))

    def remove_all(self, folder: str) -> None:
        """Removes a folder with all that is in it, if it is there. Raises `RemoteError`."""
        with suppress(FileNotFoundError), self._telling():
            self._files.invalidate_cache()
            self._files.rm(self._path(folder), recursive=True)

    def at_once(self, do: Callable[[A], T], names: Iterable[A]) -> list[T]:
        """Does something for each of these, for several at a time. Raises what the first that failed raised."""
        return list(self._carriers.map(do, names))

    def close(self) -> None:
        """Ends its threads, once they have done what they were given."""
        self._carriers.shutdown()

    def _put_object(self, digest: str, objects: Objects) -> None:
        source = objects.check(digest)
        path = self._path(f"objects/{digest}")
        with self._telling():
            if not self._has(path, source.stat().st_size):
                self._write(path, lambda place: self._files.put_file(str(source), place))
        self._known.add(digest)

    def _write(self, path: str, write: Callable[[str], object]) -> None:
        if self._is_object_store:
            write(path)
            return
        aside = self._path(f"drafts/{secrets.token_hex(8)}")
        self._files.makedirs(self._path("drafts"), exist_ok=True)
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        try:
            write(aside)
            self._files.mv(aside, path)
        except BaseException:
            with suppress(Exception):
                self._files.rm_file(aside)
            raise

    def _layout(self, made: Json) -> Json:
        """What the place says that it is; if it says nothing, that it is one to be ``made``."""
        path = self._path("format.json")
        try:
            return json.loads(self._files.cat_file(path))
        except FileNotFoundError:
            self._write(path, lambda place: self._files.pipe_file(place, json.dumps(made).encode("ascii") + b"\n"))
            return made

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _has(self, path: str, size: int) -> bool:
        """Whether there is a file of that size, and young enough to stay until it is used."""
        self._files.invalidate_cache()
        try:
            about = self._files.info(path)
        except FileNotFoundError:
            return False
        return about["size"] == size and _modified(about) > time.time() - GRACE / 2

    @contextmanager
    def within_reach(self) -> Iterator[None]:
        """Has whoever asks for what is stored here told by a `ConfigurationError` that it cannot be reached."""
        try:
            yield
        except RemoteError as error:
            raise ConfigurationError(_unusable(self.url, error)) from None

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, CorruptedError):
            raise
        except Exception as error:
            raise RemoteError(f"{self.url}: {_said(error)}") from error


def _protocols(files: Any) -> set[str]:
    return {files.protocol} if isinstance(files.protocol, str) else set(files.protocol)


def _modified(about: Json) -> float:
    moment = next(
        (about[name] for name in ("LastModified", "last_modified", "mtime", "updated", "created") if name in about), 0
    )
    return float(moment.timestamp() if hasattr(moment, "timestamp") else moment)


def _unusable(url: str, error: Exception) -> Diagnostic:
    fix = "look at its address, and at what it asks for: `store_options`, or FSSPEC_... in the environment"
    if isinstance(error, ImportError):
        fix = "install what speaks to such stores: `pip install 'penstock[s3]'` for S3, or what the message says"
    said = str(error) if isinstance(error, RemoteError) else f"{url}: {_said(error)}"
    return Diagnostic("P721", f"the store cannot be used: {said}", fix=fix)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip() or 'no more is known'}"
