"""Content-addressed files: what is stored is found by what it holds, so that it can be checked whenever it is read.

Worker processes load this file by its path, into interpreters that may lack Penstock: it imports nothing but the
standard library.

A file is stored under the SHA-256 of its bytes, a folder as a manifest (JSON) whose entries refer to files. Objects
appear by rename: whole, or not at all. They are not synced to disk one by one: after a power failure a torn one no
longer matches its name, which the next read sees. Objects are read-only, and nobody is handed the path of one to
write to: what a step gets as a `Path` is a copy of its own (shared by the file system where that can copy on write).
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

Json = Any
BLOCK = 1 << 20
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
# The harness's own formats, read by content alone; any other reader may look at a file's name, or write beside it.
READ_IN_PLACE = ("json", "text", "pickle", "npy", "parquet")


class AttemptFolder:
    """The folder of one attempt after another: ``work`` to start it in, ``log`` for what it prints, and what it makes.

    What an attempt left as it was found is taken again; what it did not is removed, and its name is never used again.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._be_at(objects.draft())

    def make(self) -> None:
        """Sees to it that it is there, and as if it were new."""
        if not self._is_clean():
            self.remove()
            self._be_at(self._objects.draft())
            self.work.mkdir(parents=True)

    def remove(self) -> None:
        """Removes it, as far as that can be done."""
        if self._is_clean():
            with contextlib.suppress(OSError):
                self.log.unlink(missing_ok=True)
                self.work.rmdir()
                self.place.rmdir()
        if self.place.exists():
            import shutil  # noqa: PLC0415  # as `hashlib` in `_sha256`

            shutil.rmtree(self.place, ignore_errors=True)

    def _be_at(self, place: Path) -> None:
        self.place = place
        self.work = place / "work"
        self.log = place / "log"
        self.inputs = place / "inputs"
        self.outputs = place / "outputs"
        self.answer = place / "answer.json"
        self._names = str(place), str(self.work), str(self.log)

    def _is_clean(self) -> bool:
        place, work, log = self._names
        try:
            left = os.listdir(place)  # noqa: PTH208  # this is done for each attempt, and Paths are slow
            is_empty = left in (["work"], ["work", "log"], ["log", "work"]) and not os.listdir(work)  # noqa: PTH208
            return is_empty and (len(left) == 1 or os.stat(log).st_size == 0)  # noqa: PTH116
        except OSError:
            return False


class CorruptedError(Exception):
    """A stored object is gone, or is not what was stored. ``digest`` says which, ``why`` what is wrong with it."""

    def __init__(self, digest: str, why: str) -> None:
        super().__init__(f"stored object {digest[:12]} {why}; run again, and what made it is computed anew")
        self.digest = digest
        self.why = why


class Objects:
    """A folder of objects. ``drafts`` is on the same file system, for what is not yet whole.

    An object that was hashed by one process is known to another by its *seal*: inode, size and times. As long as they
    stay, so do the bytes, and a read need not hash them again.
    """

    def __init__(self, folder: Path, drafts: Path) -> None:
        self.folder = folder
        self.drafts = drafts
        self.seals: dict[str, str] = {}
        self._prefix = os.urandom(4).hex()
        self._numbers = itertools.count()

    def path(self, digest: str) -> Path:
        """Where an object is, if it is."""
        return self.folder / digest

    def add_file(self, file: Path) -> str:
        """Moves a file in, and returns its digest."""
        digest = digest_of(file)
        file.chmod(0o444)
        self._publish(file, digest)
        return digest

    def add_bytes(self, content: bytes) -> str:
        """Stores bytes, and returns their digest."""
        draft = self.draft()
        try:
            draft.write_bytes(content)
            return self.add_file(draft)
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise

    def add_folder(self, folder: Path) -> str:
        """Moves a folder's files in, and returns the digest of its manifest.

        Its modes and symbolic links are kept; owners, times, and anything that is neither file, folder nor link are
        not.
        """
        entries = []
        for path, mode in _walk(folder):
            name = path.relative_to(folder).as_posix()
            if stat.S_ISLNK(mode):
                entries.append([name, "link", 0, str(path.readlink())])
            elif stat.S_ISDIR(mode):
                entries.append([name, "folder", stat.S_IMODE(mode), ""])
            elif stat.S_ISREG(mode):
                entries.append([name, "file", stat.S_IMODE(mode), self.add_file(path)])
        return self.add_bytes(json.dumps(entries, separators=(",", ":")).encode("ascii"))

    def check(self, digest: str) -> Path:
        """The path of an object that is what it was when it was stored. Raises `CorruptedError` where it is not."""
        path = self.path(digest)
        try:
            found = path.stat()
            if not is_own(found):
                raise CorruptedError(digest, "may have been written by another user")
            seal = seal_of(found)
            if self.seals.get(digest) != seal and digest_of(path) != digest:
                raise CorruptedError(digest, "is not what was stored: its bytes have changed")
        except OSError as error:
            raise CorruptedError(digest, f"cannot be read: {error.strerror}") from None
        self.seals[digest] = seal
        return path

    def check_all(self, digest: str, is_folder: bool) -> None:
        """Checks an object and, of a folder, all that it refers to."""
        path = self.check(digest)
        if is_folder:
            for _, kind, _, content in json.loads(path.read_bytes()):
                if kind == "file":
                    self.check(content)

    def copy_file(self, digest: str, target: Path, mode: int = 0o644) -> None:
        """Makes ``target`` a file of its own with an object's bytes."""
        copy_bytes(self.check(digest), target)
        target.chmod(mode | stat.S_IRUSR | stat.S_IWUSR)

    def copy_folder(self, digest: str, target: Path) -> None:
        """Makes ``target`` a folder of its own as it was stored."""
        target.mkdir(parents=True)
        modes: list[tuple[Path, int]] = []
        for name, kind, mode, content in json.loads(self.check(digest).read_bytes()):
            path = target / name
            if kind == "link":
                path.symlink_to(content)
            elif kind == "folder":
                path.mkdir()
                modes.append((path, mode))
            else:
                self.copy_file(content, path, mode)
        for path, mode in reversed(modes):
            path.chmod(mode | stat.S_IRWXU)

    def draft(self) -> Path:
        """A path that nothing else uses, for a file that is to be renamed when it is whole."""
        return self.drafts / f"{self._prefix}-{os.getpid()}-{next(self._numbers)}"

    def _publish(self, file: Path, digest: str) -> None:
        target = self.path(digest)
        try:
            file.replace(target)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
        self.seals[digest] = seal_of(target.stat())


def is_own(found: os.stat_result) -> bool:
    """Whether only this user, or the administrator, can have written a file: what others write is never unpickled."""
    return found.st_uid in (os.geteuid(), 0) and not found.st_mode & OTHERS_WRITE


def seal_of(found: os.stat_result) -> str:
    """What changes when a file's bytes do, short of the bytes."""
    return f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}"


def digest_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb", buffering=0) as stream:
        return _digest_of_stream(stream, os.fstat(stream.fileno()).st_size)


def _digest_of_stream(stream: IO[bytes], size: int) -> str:
    found = _sha256()
    buffer = memoryview(bytearray(min(BLOCK, max(size, 1))))
    while count := stream.readinto(buffer):  # type: ignore[attr-defined]  # an unbuffered file has it
        found.update(buffer[:count])
    return str(found.hexdigest())


def _sha256(content: bytes = b"") -> Any:
    import hashlib  # noqa: PLC0415  # what it maps into memory, and what `shutil` does, is a sixth of a fork's cost

    return hashlib.sha256(content)


def _walk(folder: Path) -> Iterator[tuple[Path, int]]:
    """Everything below a folder, in the order of names, each folder before what it holds."""
    for entry in sorted(os.scandir(folder), key=lambda each: each.name):
        mode = entry.stat(follow_symlinks=False).st_mode
        yield Path(entry.path), mode
        if stat.S_ISDIR(mode):
            yield from _walk(Path(entry.path))


def copy_bytes(source: Path, target: Path) -> None:
    """Copies a file's bytes within the kernel, sharing them on file systems that copy on write."""
    with source.open("rb") as reader, target.open("xb") as writer:
        left = os.fstat(reader.fileno()).st_size
        try:
            while left > 0:
                count = os.copy_file_range(reader.fileno(), writer.fileno(), left)
                left -= count or left
        except (AttributeError, OSError) as error:  # not Linux; or two file systems that cannot
            if isinstance(error, OSError) and error.errno not in (
                errno.EXDEV,
                errno.EINVAL,
                errno.ENOSYS,
                errno.EOPNOTSUPP,
            ):
                raise
            import shutil  # noqa: PLC0415  # as `hashlib` in `_sha256`

            shutil.copyfileobj(reader, writer, BLOCK)


def publish(wire: Json, folder: Path, objects: Objects) -> Json:
    """An output's wire, its artifact moved from below ``folder`` into the objects.

    ``file`` keeps the name, ``digest`` says which object; a folder has ``"folder": true``, an executable its ``mode``.
    Of a list, each item's.
    """
    if isinstance(wire, list):
        return [publish(each, folder, objects) for each in wire]
    if not is_artifact(wire):
        return wire
    reference = wire["$artifact"]
    source = folder / reference["file"]
    found = {"format": reference["format"], "file": source.name}
    if source.is_dir():
        return {"$artifact": {**found, "digest": objects.add_folder(source), "folder": True}}
    mode = stat.S_IMODE(source.stat().st_mode)
    digest = objects.add_file(source)
    executable = {"mode": mode} if mode & 0o111 else {}
    return {"$artifact": {**found, "digest": digest, **executable}}


def located(wire: Json, folder: Path, objects: Objects) -> Json:
    """A published wire with ``file`` the absolute path to read from, checked.

    That is the object itself where the harness reads it in place, else a copy below ``folder``. Of a list, each item's.
    """
    if isinstance(wire, list):
        return [located(each, folder / str(number), objects) for number, each in enumerate(wire)]
    if not is_artifact(wire):
        return wire
    reference = wire["$artifact"]
    digest = reference["digest"]
    if reference["format"] in READ_IN_PLACE:
        return {"$artifact": {**reference, "file": str(objects.check(digest))}}
    target = folder / reference["file"]
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if reference.get("folder"):
            objects.copy_folder(digest, target)
        else:
            objects.copy_file(digest, target, reference.get("mode", 0o644))
    return {"$artifact": {**reference, "file": str(target)}}


def is_artifact(wire: Json) -> bool:
    """Whether a wire stands for an artifact, not a value."""
    return isinstance(wire, dict) and "$artifact" in wire


def artifacts_in(wire: Json) -> list[Json]:
    """The references of the artifacts that an output's wire holds: its own, or those of the items of a loop."""
    if isinstance(wire, list):
        return [reference for each in wire for reference in artifacts_in(each)]
    return [wire["$artifact"]] if is_artifact(wire) else []


def digests_in(record: Json, objects: Objects) -> Iterator[str]:
    """The objects that a result needs: those that it refers to and, as far as that is told, what is in folders."""
    for wire in record.get("outputs", {}).values():
        for reference in artifacts_in(wire):
            yield reference["digest"]
            if reference.get("folder"):
                with contextlib.suppress(OSError, ValueError):
                    manifest = json.loads(objects.path(reference["digest"]).read_bytes())
                    yield from (content for _, kind, _, content in manifest if kind == "file")


def write_record(file: Path, record: Mapping[str, Json], draft: Path) -> None:
    """Writes JSON that `read_record` will know to be whole."""
    text = _ENCODER.encode(record).encode("ascii")
    content = _sha256(text).hexdigest().encode("ascii") + b"\n" + text + b"\n"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        try:
            while content:  # a disk that is nearly full takes the beginning of it
                content = content[os.write(handle, content) :]
        finally:
            os.close(handle)
        try:
            draft.replace(file)
        except FileNotFoundError:
            file.parent.mkdir(parents=True, exist_ok=True)
            draft.replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def read_record(file: Path) -> Json:
    """The JSON that `write_record` wrote, or None where it is not there, not whole, or not this user's."""
    try:
        with file.open("rb", buffering=0) as stream:
            if not is_own(os.fstat(stream.fileno())):
                return None
            content = stream.readall()
    except OSError:
        return None
    return parsed_record(content)


def parsed_record(content: bytes) -> Json:
    """The JSON in the bytes of a record, or None where they are not whole."""
    digest, _, text = content.partition(b"\n")
    if _sha256(text.rstrip(b"\n")).hexdigest().encode("ascii") != digest:
        return None
    return json.loads(text)
