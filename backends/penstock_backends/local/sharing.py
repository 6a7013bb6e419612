"""How a store in a folder and its shared side are kept alike: results and their objects, and the folders of runs.

Steps work on the folder alone. A result counts once it is on the shared side, its objects first; which ones are, shows
by their files, which are read-only then. What another machine made is brought when it is asked for.
"""

from __future__ import annotations

import json
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from penstock.diagnostics import Diagnostic, RunError
from penstock_backends.local.layout import ALIVE, ELSEWHERE, JOURNAL, LOGS, PARAMETERS, SPEC, SUMMARY
from penstock_backends.local.objects import (
    CorruptedError,
    Json,
    Objects,
    artifacts_in,
    digests_in,
    parsed_record,
    read_record,
)
from penstock_backends.local.remote import Remote, RemoteError
from penstock_backends.local.signing import UntrustedError

INTERVAL = 10.0  # seconds between two looks at what is new in the folder of a run under way
LEASE = 6 * INTERVAL  # after it a run elsewhere counts as interrupted of which nothing more was heard


class Sharing:
    """One folder, and the shared side of it."""

    def __init__(self, remote: Remote, objects: Objects, results: Path, runs: Path) -> None:
        self.remote = remote
        self._objects = objects
        self._results = results
        self._runs = runs

    def errand(self, key: str, is_revocable: bool) -> Callable[[], None] | None:
        """What is to be done before a result can be looked for in the folder; None where it can be right away.

        A result that is there, and on the shared side as well, is good for ever, unless it ``is_revocable``.
        """
        file = self._results / key
        record = read_record(file)
        if record is None:
            return partial(self.bring, key)
        if file.stat().st_mode & stat.S_IWUSR:
            return partial(self._share_if_whole, key)
        is_here = not self._missing(digests_in(record, self._objects))
        return None if is_here and not is_revocable else partial(self.bring, key)

    def bring(self, key: str) -> None:
        """Brings a result and its objects, where they are as they were stored and signed. Raises `RemoteError`."""
        try:
            content = self.remote.get(f"results/{key}")
            record = None if content is None else parsed_record(content)
            if record is None or content is None:
                return
            self._bring_objects(record)
        except (CorruptedError, UntrustedError):
            return
        self._write(self._results / key, content, 0o444)

    def record(self, key: str) -> Json:
        """What the shared side says of a result; None where it is missing. Raises `ConfigurationError`."""
        with self.remote.within_reach(), suppress(UntrustedError):
            content = self.remote.get(f"results/{key}")
            return None if content is None else parsed_record(content)
        return None

    def share(self, key: str) -> None:
        """Puts a result on the shared side, its objects first. Raises `RemoteError`, or `OSError`."""
        try:
            self._share(key)
        except CorruptedError as error:
            raise RemoteError(str(error)) from None

    @contextmanager
    def mirrored(self, folder: Path) -> Iterator[None]:
        """Has what is written down of a run on the shared side, too.

        Raises `RunError` where it is not, save of a run that ended badly: of that its own failures are to be told.
        """
        mirror = Mirror(self.remote, folder)
        try:
            yield
        except BaseException:
            with suppress(OSError):
                mirror.end()
            raise
        try:
            mirror.end()
        except OSError as error:
            if json.loads((folder / SUMMARY).read_bytes())["state"] != "succeeded":
                return
            message = f"the run {folder.name} has ended, but what is written down of it cannot be shared: {error}"
            fix = f"it is kept in {folder}; what its steps gave is in the store"
            raise RunError(Diagnostic("P612", message, fix=fix)) from None
        finally:
            self.remote.close()

    def _share_if_whole(self, key: str) -> None:
        """Puts a result there that an earlier run could not; one that is damaged by now will be computed anew."""
        with suppress(CorruptedError):
            self._share(key)

    def _share(self, key: str) -> None:
        file = self._results / key
        content = file.read_bytes()
        record = parsed_record(content)
        if record is None:
            return
        self.remote.put_objects(digests_in(record, self._objects), self._objects)
        self.remote.put(f"results/{key}", content)
        file.chmod(0o444)

    def run_ids(self) -> list[str]:
        """The runs on the shared side. Raises `ConfigurationError`."""
        with self.remote.within_reach():
            return self.remote.names("runs")

    def bring_run(self, run_id: str, with_logs: bool = False) -> None:
        """Brings what was written down of a run elsewhere, as far as it has got. Raises `ConfigurationError`."""
        with self.remote.within_reach():
            self._bring_run(run_id, with_logs)

    def remove_run(self, run_id: str) -> None:
        """Removes what was written down of a run from the shared side. Raises `ConfigurationError`."""
        with self.remote.within_reach():
            self.remote.remove_all(f"runs/{run_id}")

    def _bring_run(self, run_id: str, with_logs: bool) -> None:
        folder = self._runs / run_id
        if folder.exists() and not (folder / ELSEWHERE).exists():
            return
        wanted = set()
        if not (folder / SUMMARY).exists():
            wanted = {SPEC, PARAMETERS, JOURNAL, SUMMARY, ALIVE}
        if with_logs:
            logs = {f"{LOGS}/{name}" for name in self.remote.names(f"runs/{run_id}/{LOGS}")}
            wanted |= logs if wanted else {name for name in logs if not (folder / name).exists()}
        if wanted:
            (folder / LOGS).mkdir(parents=True, exist_ok=True)
            (folder / ELSEWHERE).touch()
            self.remote.at_once(partial(self._bring_file, run_id), sorted(wanted, key=lambda name: name == SUMMARY))

    def _bring_file(self, run_id: str, name: str) -> None:
        with suppress(UntrustedError):
            content = self.remote.get(f"runs/{run_id}/{name}")
            if content is not None:
                self._write(self._runs / run_id / name, content, 0o644)

    def _bring_objects(self, record: Json) -> None:
        bring = partial(self.remote.get_object, objects=self._objects)
        heads = {each["digest"] for wire in record["outputs"].values() for each in artifacts_in(wire)}
        self.remote.at_once(bring, self._missing(heads))
        self.remote.at_once(bring, self._missing(digests_in(record, self._objects)))

    def _missing(self, digests: Iterable[str]) -> list[str]:
        return sorted(digest for digest in set(digests) if not self._objects.path(digest).exists())

    def _write(self, file: Path, content: bytes, mode: int) -> None:
        draft = self._objects.draft()
        try:
            draft.write_bytes(content)
            draft.chmod(mode)
            file.parent.mkdir(parents=True, exist_ok=True)
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)


class Mirror:
    """Keeps what is written down of a run on the shared side, too, from its beginning to its end."""

    def __init__(self, remote: Remote, folder: Path) -> None:
        self._remote = remote
        self._folder = folder
        self._known: dict[str, tuple[int, int]] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="penstock-mirror", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Puts there what is left. Raises `RemoteError`."""
        self._is_over.set()
        self._thread.join()
        self._put_what_is_new()
        self._remote.remove(self._name(ALIVE))

    def _go_on(self) -> None:
        pause = 1.0
        while not self._is_over.wait(pause):
            with suppress(OSError):  # the end of the run tries once more, and tells
                self._remote.put(self._name(ALIVE), str(time.time() + LEASE).encode("ascii"))
                self._put_what_is_new()
            pause = INTERVAL

    def _put_what_is_new(self) -> None:
        found: dict[str, tuple[int, int]] = {}
        for folder in (self._folder, self._folder / LOGS):
            for file in folder.iterdir():
                if file.is_file() and file.suffix != ".draft":
                    about = file.stat()
                    found[file.relative_to(self._folder).as_posix()] = (about.st_size, about.st_mtime_ns)
        self._remote.at_once(self._put, [name for name, about in found.items() if self._known.get(name) != about])
        self._known = found

    def _put(self, name: str) -> None:
        self._remote.put(self._name(name), (self._folder / name).read_bytes())

    def _name(self, file: str) -> str:
        return f"runs/{self._folder.name}/{file}"
