"""What the runs in a store have left: read from their folders, whatever state they are in.

A journal is read as far as it goes: its last line may be torn, and a run may have no end. Whoever runs a pipeline
holds a lock on its journal for as long as it lives, so that what goes on is told from what was interrupted.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import shutil
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from penstock.diagnostics import ConfigurationError, Diagnostic
from penstock.harness import decode, parts_of
from penstock.history import PastAttempt, PastNode, PastRun, Usage
from penstock.lineage import Lineage
from penstock.spec import PipelineSpec
from penstock_backends.local.explaining import explained
from penstock_backends.local.layout import ALIVE, ELSEWHERE, JOURNAL, PARAMETERS, SPEC, log_of
from penstock_backends.local.lineage import lineage_of
from penstock_backends.local.objects import Json
from penstock_backends.local.store import Store
from penstock_backends.lowering import program_of

LATEST = "latest"
RUNNING, INTERRUPTED = "running", "interrupted"
_TAIL = 1 << 16
_ATTEMPT_ENDS = {"succeeded", "failed", "cancelled"}


class StoredHistory:
    """The runs of one store, as `penstock.history.History` has them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def place(self) -> str:
        """Which store it is, as ``store=`` takes it."""
        return self._store.place

    def runs(self, pipeline: str = "") -> Iterator[PastRun]:
        """All of them, or those of one pipeline, the newest first."""
        for folder in self._folders():
            found = self._past(folder)
            if found is not None and pipeline in ("", found.pipeline):
                yield found

    def find(self, text: str) -> PastRun:
        """The run of an id, of the beginning of one, or the ``latest``."""
        if text == LATEST:
            newest = next(self.runs(), None)
            if newest is None:
                raise ConfigurationError(_no_runs(self._store))
            return newest
        known = [folder for folder in self._folders() if folder.name.startswith(text)]
        exact = [folder for folder in known if folder.name == text]
        found = [run for run in map(self._past, exact or known) if run is not None]
        if len(found) != 1:
            raise ConfigurationError(self._unclear(text, found))
        return found[0]

    def has(self, run_id: str) -> bool:
        """Whether the run of an id is kept."""
        return self._past(self._store.runs / run_id) is not None

    def nodes(self, run: PastRun) -> Mapping[str, PastNode]:
        """A run's nodes by their ids, in the author's order; those in a loop by its items."""
        if self._store.sharing is not None:
            self._store.sharing.bring_run(run.id, with_logs=True)
        nodes = nodes_of(run)
        try:
            units = program_of(self.spec(run)).by_id
        except ConfigurationError:  # what was written down of it is told all the same
            return nodes
        main = {id_ for id_ in nodes if parts_of(id_)[0] in units and units[parts_of(id_)[0]].role == "main"}
        ordered = sorted(main, key=lambda id_: (units[parts_of(id_)[0]].place, parts_of(id_)[1]))
        return {id_: nodes[id_] for id_ in (*ordered, *(id_ for id_ in nodes if id_ not in main))}

    def spec(self, run: PastRun) -> PipelineSpec:
        """What it ran. Raises `ConfigurationError` where that is not there any more, or not whole."""
        try:
            return PipelineSpec.model_validate_json((run.folder / SPEC).read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigurationError(_unreadable(run, SPEC, error)) from None

    def parameters(self, run: PastRun) -> dict[str, Json]:
        """The parameters that it was given, as JSON (encoded). Raises as `spec` does."""
        try:
            found: dict[str, Json] = json.loads((run.folder / PARAMETERS).read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigurationError(_unreadable(run, PARAMETERS, error)) from None
        return found

    def explain(self, run: PastRun) -> dict[str, str]:
        """Why each node of the pipeline ran, or that an earlier result stood in, by the node's id."""
        return explained(self, self._store, run)

    def lineage(self, what: str) -> Lineage:
        """Where something came from and what used it, across all runs."""
        return lineage_of(self, self._store, what)

    def remove(self, run: PastRun) -> None:
        """Forgets a run that is not under way: its folder, not what other runs may use of it."""
        if is_live(run.folder):
            raise ConfigurationError(is_under_way(f"run {run.id}"))
        if self._store.sharing is not None:
            self._store.sharing.remove_run(run.id)
        shutil.rmtree(run.folder, ignore_errors=True)

    def _folders(self) -> list[Path]:
        """The folders of all runs, the newest first. Those of runs elsewhere may not be there yet."""
        found: set[Path] = set()
        with suppress(OSError):
            found = {folder for folder in self._store.runs.iterdir() if folder.is_dir()}
        if self._store.sharing is not None:
            found |= {self._store.runs / run_id for run_id in self._store.sharing.run_ids()}
        return sorted(found, key=lambda folder: folder.name, reverse=True)

    def _past(self, folder: Path) -> PastRun | None:
        if self._store.sharing is not None:
            self._store.sharing.bring_run(folder.name)
        return past_run(folder)

    def _unclear(self, text: str, found: list[PastRun]) -> Diagnostic:
        if found:
            message = f"`{text}` is the beginning of {len(found)} runs"
            return Diagnostic("P730", message, fix=f"say which: {', '.join(run.id for run in found[:5])}")
        newest = [run.id for _, run in zip(range(3), self.runs(), strict=False)]
        if not newest:
            return _no_runs(self._store)
        message = f"the store {self._store.folder} has no run `{text}`"
        return Diagnostic("P730", message, fix=f"the newest are {', '.join(newest)}; `penstock runs list` shows all")


def lock(journal: int) -> None:
    """Says of a run, by its open journal, that this process is running it. Where files can't be locked nothing does."""
    try:
        fcntl.flock(journal, fcntl.LOCK_EX)
    except OSError:
        return


def is_live(folder: Path) -> bool:
    """Whether the process that runs this run still does."""
    if (folder / ELSEWHERE).exists():
        return _is_leased(folder)
    try:
        stream = (folder / JOURNAL).open("rb")
    except OSError:
        return False
    with stream:
        started = _event(stream.readline())
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _has_process(started)
        except OSError:  # a file system without locks: what runs on this machine can be told all the same
            return _is_here(started) and _has_process(started)
    return False


def _is_leased(folder: Path) -> bool:
    """Whether another machine has said lately that the run goes on."""
    with suppress(OSError, ValueError):
        return time.time() < float((folder / ALIVE).read_bytes())
    return False


def _is_here(started: Json) -> bool:
    return started is not None and started.get("host") == socket.gethostname()


def _has_process(started: Json) -> bool:
    """Whether the runner is there: what a step of an inline run has forked may hold its lock after its end."""
    if not _is_here(started) or "pid" not in started:
        return True
    try:
        os.kill(started["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def past_run(folder: Path) -> PastRun | None:
    """A run by its folder; None where it had not begun yet."""
    try:
        first, last = _first_and_last(folder / JOURNAL)
    except OSError:
        return None
    if first is None or first.get("event") != "run_started":
        return None
    state, seconds, counts = _end_of(folder, first, last)
    return PastRun(
        folder.name,
        first["pipeline"],
        state,
        _moment(first["time"]),
        seconds,
        folder,
        first.get("target", ""),
        first.get("directory", ""),
        first.get("resumes", ""),
        first.get("python", ""),
        first.get("spec", ""),
        counts,
    )


def _end_of(folder: Path, first: Json, last: Json) -> tuple[str, float, dict[str, int]]:
    if last["event"] == "run_ended" and "counts" in last:
        return last["state"], last["seconds"], last["counts"]
    is_under_way = last["event"] != "run_ended" and is_live(folder)
    events = list(read_journal(folder / JOURNAL))
    counts = Counter(event["state"] for event in events if event["event"] == "node_ended")
    ends = [event for event in events if event["event"] == "run_ended"]
    if ends:
        return ends[-1]["state"], ends[-1]["seconds"], dict(counts)
    until = time.time() if is_under_way else events[-1]["time"]
    return RUNNING if is_under_way else INTERRUPTED, until - first["time"], dict(counts)


def read_journal(file: Path) -> Iterator[Json]:
    """The events of a journal. One that was not written whole is left out."""
    with file.open("rb") as stream:
        for line in stream:
            event = _event(line)
            if event is not None:
                yield event


def _event(line: bytes) -> Json:
    try:
        found = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return found if isinstance(found, dict) and "event" in found and "time" in found else None


def _first_and_last(file: Path) -> tuple[Json, Json]:
    """The first event of a journal and, without reading it all, the last."""
    with file.open("rb") as stream:
        first = _event(stream.readline())
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL))
        events = (_event(line) for line in reversed(stream.read().splitlines(keepends=True)))
        return first, next((each for each in events if each is not None), first)


# --- nodes


class _Node:
    """A node as far as its events have been read."""

    def __init__(self) -> None:
        self.attempts: dict[int, Json] = {}
        self.end: Json = {}

    def take(self, event: Json) -> None:
        kind = event["event"]
        if kind == "attempt_started":
            self.attempts[event["attempt"]] = {"began": event["time"], "state": RUNNING}
        elif kind in ("attempt_ended", "attempt_failed"):  # the latter in the first format
            self._end_attempt(self.attempts.setdefault(event["attempt"], {"began": event["time"]}), event)
        elif kind == "node_ended":
            self.end = event
            for attempt in self.attempts.values():
                if attempt["state"] == RUNNING and event["state"] in _ATTEMPT_ENDS:
                    self._end_attempt(attempt, event)

    def _end_attempt(self, attempt: Json, event: Json) -> None:
        attempt["state"] = event.get("state", "failed")
        attempt["seconds"] = event.get("seconds", event["time"] - attempt["began"])
        attempt.update({name: event[name] for name in ("cpu_seconds", "peak_memory", "error") if name in event})


def nodes_of(run: PastRun) -> dict[str, PastNode]:
    """A run's nodes by their ids, in the order in which they were first heard of."""
    found: dict[str, _Node] = {}
    for event in read_journal(run.folder / JOURNAL):
        if "node" in event:
            found.setdefault(event["node"], _Node()).take(event)
    return {id_: _past_node(run, id_, node) for id_, node in found.items() if node.attempts or node.end}


def _past_node(run: PastRun, id_: str, node: _Node) -> PastNode:
    under_way = RUNNING if run.state == RUNNING else INTERRUPTED
    end = node.end
    return PastNode(
        id_,
        end.get("state", under_way),
        end.get("kind", "task"),
        end.get("text", ""),
        tuple(
            PastAttempt(
                number,
                under_way if each["state"] == RUNNING else each["state"],
                _moment(each["began"]),
                each.get("seconds"),
                Usage(each.get("cpu_seconds"), each.get("peak_memory")),
                each.get("error", ""),
                _log(run, id_, number),
            )
            for number, each in sorted(node.attempts.items())
        ),
        {name: decode(wire) for name, wire in end.get("metrics", {}).items()},
        tuple(end.get("gates", ())),
        end.get("error", ""),
        end.get("traceback", ""),
        end.get("result", ""),
        {name: decode(wire) for name, wire in end.get("metadata", {}).items()},
    )


def _log(run: PastRun, node: str, attempt: int) -> Path | None:
    file = log_of(run.folder, node, attempt)
    return file if file.exists() else None


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc)


def _no_runs(store: Store) -> Diagnostic:
    fix = "run a pipeline, or say where its runs are kept: `--store FOLDER`"
    return Diagnostic("P730", f"the store {store.folder} holds no runs", fix=fix)


def _unreadable(run: PastRun, name: str, error: Exception) -> Diagnostic:
    said = error.strerror if isinstance(error, OSError) else "it is not whole"
    return Diagnostic("P732", f"the {name} of run {run.id} cannot be read: {said}", fix="run its pipeline anew")


def is_under_way(what: str) -> Diagnostic:
    """That something can't be done because a run still goes on."""
    fix = "wait for its end, or stop it with Ctrl-C where it runs; that another machine has died shows after a minute"
    return Diagnostic("P731", f"{what} is under way", fix=fix)
