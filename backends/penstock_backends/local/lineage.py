"""The lineage of what a store holds, read from its journals and results: nothing is written down for it in a run."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from penstock.diagnostics import ConfigurationError, Diagnostic
from penstock.harness import Absent, Place, parts_of
from penstock.history import History, PastNode, PastRun
from penstock.lineage import Lineage, Made, Taken
from penstock.phrases import value_text
from penstock.spec import Binding, OutputBinding, Task, structures, within
from penstock_backends.local.explaining import Books, parameters_in
from penstock_backends.local.objects import Json, digest_of, digests_in
from penstock_backends.local.plan import PlannedNode
from penstock_backends.local.settling import Settling, used_by
from penstock_backends.local.store import Store

_LONGEST_VALUE, _MOST_LISTED = 200, 10
_DIGEST = re.compile(r"[0-9a-f]{6,64}")
_RAN = ("succeeded", "failed", "cached", "cancelled", "interrupted", "running")


def lineage_of(history: History, store: Store, what: str) -> Lineage:
    """The lineage of a run, ``RUN:NODE``, the digest of an object, or of a file with the content of one."""
    records = _Records(history, store)
    subjects = tuple(_subjects(history, records, store, what))
    users: dict[str, list[str]] = {}
    for id_ in records.ids:
        for source in records.made(id_).sources:
            users.setdefault(source, []).append(id_)
    above = _reached(subjects, lambda id_: records.made(id_).sources)
    below = _reached(subjects, lambda id_: tuple(users.get(id_, ())))
    chosen = {id_: records.made(id_) for id_ in records.ids if id_ in above or id_ in below}
    told = {id_: tuple(users[id_]) for id_ in chosen if id_ in below and id_ in users}
    return Lineage(what, subjects, chosen, told)


def _reached(subjects: tuple[str, ...], following: Callable[[str], tuple[str, ...]]) -> set[str]:
    found = set(subjects)
    pending = list(subjects)
    while pending:
        new = set(following(pending.pop())) - found
        found |= new
        pending.extend(new)
    return found


def _subjects(history: History, records: _Records, store: Store, what: str) -> list[str]:
    """The computations that are meant. Raises `ConfigurationError` where there are none."""
    file = Path(what)
    if file.is_file():
        found, message = records.that_gave(digest_of(file)), f"no result holds the content of {what}"
    elif _DIGEST.fullmatch(what) and (given := records.that_gave(what)):
        return given
    else:
        name, _, node = what.partition(":")
        run = history.find(name)
        found = records.of_run(run, [node] if node else None)
        message = f"run {run.id} ran no node `{node}`" if node else f"run {run.id} ran nothing"
    if not found:
        fix = "give a run, RUN:NODE, the digest of an object, or a file; `penstock runs show RUN` names the nodes"
        raise ConfigurationError(Diagnostic("P736", f"{message}, in the store {store.folder}", fix=fix))
    return found


class _Records:
    """Every computation that the runs of a store have left, each under the run and node where it was done."""

    def __init__(self, history: History, store: Store) -> None:
        self._store = store
        self._books: dict[str, Books] = {}
        self._nodes: dict[str, tuple[PastRun, PastNode]] = {}
        self._by_result: dict[str, str] = {}
        self._made: dict[str, Made] = {}
        for run in sorted(history.runs(), key=lambda run: run.id):
            books = self._books[run.id] = Books(history, store, run)
            for node in books.nodes.values():
                self._take(run, node)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all, the oldest run first."""
        return tuple(self._nodes)

    def made(self, id_: str) -> Made:
        """A computation by its id."""
        if id_ not in self._made:
            self._made[id_] = self._read(id_)
        return self._made[id_]

    def id_of(self, run: PastRun, node: str) -> str | None:
        """The computation that gave a run's node what it has; None where there is none."""
        found = self._books[run.id].nodes.get(node)
        own = f"{run.id}:{node}"
        if found is not None and found.result in self._by_result:
            return self._by_result[found.result]
        return own if own in self._nodes else None

    def of_run(self, run: PastRun, nodes: Iterable[str] | None = None) -> list[str]:
        """The computations that nodes of a run did, by default all, or whose results they took from the cache."""
        found = (self.id_of(run, node) for node in nodes or self._books[run.id].nodes)
        return list(dict.fromkeys(id_ for id_ in found if id_ is not None))

    def that_gave(self, digest: str) -> list[str]:
        """The computations among whose outputs there is an object with this digest, or one that begins so."""
        return [
            id_
            for id_, (_, node) in self._nodes.items()
            if any(each.startswith(digest) for each in digests_in(self._record(node), self._store.objects))
        ]

    def _take(self, run: PastRun, node: PastNode) -> None:
        if node.state not in _RAN or (node.result in self._by_result and node.state == "cached"):
            return
        id_ = f"{run.id}:{node.id}"
        self._nodes[id_] = (run, node)
        if node.result:
            self._by_result.setdefault(node.result, id_)

    def _record(self, node: PastNode) -> Json:
        found = self._store.record(node.result) if node.result else None
        return found if found is not None else {}

    def _read(self, id_: str) -> Made:
        run, node = self._nodes[id_]
        books = self._books[run.id]
        record = self._record(node)
        gave = {name: _shown(wire) for name, wire in record.get("outputs", {}).items()}
        known = record.get("metadata", {})
        try:
            planned = books.planned(node.id)
        except (ConfigurationError, KeyError):  # its spec is no longer there, or not whole
            made = Made(id_, run.id, node.id, run.pipeline, node.state, run.began, node.kind, node.text)
            return replace(made, gave=gave, metadata=known)
        made = Made(
            id_,
            run.id,
            node.id,
            run.pipeline,
            node.state,
            node.attempts[0].began if node.attempts else run.began,
            node.kind,
            node.text,
            taken=tuple(self._taken(books, planned)),
            gave=gave,
            metadata=known,
        )
        if not isinstance(planned.unit.node, Task):
            return made
        step, span = planned.step.id, planned.step.span
        place = f"{span.file}:{span.line}" if span else ""
        code = _digest_of_code(books.code.of(step))
        return replace(made, step=step.partition(":")[2], place=place, code=code)

    def _taken(self, books: Books, node: PlannedNode) -> Iterator[Taken]:
        settling = Settling(books.outputs, node.planned.job, Place(node.index))
        for name, binding in node.task.inputs:
            try:
                yield self._as_given(books, name, settling.settled(node.planned.job["arguments"][name]))
            except (ConfigurationError, KeyError, Absent):  # a parameter or a result is no longer there
                yield self._by_spec(books, name, binding)

    def _as_given(self, books: Books, argument: str, settled: Json) -> Taken:
        sources: dict[str, None] = {}
        said = [f"parameter {each} = {_shown(books.parameters[each])}" for each in parameters_in(settled)]
        for instance, output in used_by([settled]):
            node = instance if instance in books.nodes else instance[: instance.rindex("[")]  # a loop's item
            source = self.id_of(books.run, node)
            sources.update({source: None} if source else {})
            said.append(f"{instance} {_shown(books.outputs[instance][output])}")
        return Taken(argument, _listed(said) if said else _shown(settled.get("value")), tuple(sources))

    def _by_spec(self, books: Books, argument: str, binding: Binding) -> Taken:
        """An argument as far as the spec tells it: of what is in a loop or a branch, all that may have been meant."""
        units = {each.node for each in within(binding) if isinstance(each, OutputBinding)} | {*structures(binding)}
        meant = [id_ for id_ in books.nodes if parts_of(id_)[0] in units]
        found = (self.id_of(books.run, id_) for id_ in meant)
        sources = tuple(dict.fromkeys(id_ for id_ in found if id_ is not None))
        return Taken(argument, f"of {_listed(meant)}; what it was is no longer known", sources)


def _listed(names: Sequence[str]) -> str:
    left_out = len(names) - _MOST_LISTED
    return ", ".join(names) if left_out <= 1 else f"{', '.join(names[:_MOST_LISTED])} and {left_out} more"


def _digest_of_code(code: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(code.items())).encode()).hexdigest()[:16]


def _shown(wire: Json) -> str:
    """A value as Python writes it, cut where it is long; of an artifact, its format and digest."""
    text = value_text(wire)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
