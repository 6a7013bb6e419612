"""Why each node of a run ran, or did not: from what its run and the earlier ones of its pipeline have left.

Nothing is written down for this while a run goes on. The newest earlier run that has a node is read again, and what
the node's cache key is made of there is compared with what it is made of here.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

from penstock.differences import ADDED, CHANGED, REMOVED, Code, changes_of_step, own_name
from penstock.harness import Absent, parts_of
from penstock.history import History, PastNode, PastRun
from penstock.spec import PipelineSpec, StepSpec
from penstock_backends.local import settling
from penstock_backends.local.cache import Outputs, content_of
from penstock_backends.local.objects import Json
from penstock_backends.local.outputs import instances_of
from penstock_backends.local.plan import PlannedNode, PlannedUnit, node_of, plan_of
from penstock_backends.local.settling import settled_job, used_by
from penstock_backends.local.store import Store
from penstock_backends.lowering import program_of, requirements_of

READ_BACK = 50  # how many earlier runs are looked at for a node


class Books:
    """A run that is over, read again as far as its nodes' keys need it."""

    def __init__(self, history: History, store: Store, run: PastRun) -> None:
        self.run = run
        self.nodes = history.nodes(run)
        self._history = history
        self._store = store

    @functools.cached_property
    def spec(self) -> PipelineSpec:
        """What it ran."""
        spec: PipelineSpec = self._history.spec(self.run)
        return spec

    @functools.cached_property
    def code(self) -> Code:
        """The code of its steps."""
        return Code(self.spec)

    @functools.cached_property
    def parameters(self) -> Mapping[str, Json]:
        """What it was given."""
        return self._history.parameters(self.run)

    @functools.cached_property
    def outputs(self) -> Outputs:
        """What its nodes gave, as far as the store has it."""
        found: dict[str, Mapping[str, Json]] = {}
        for node in self.nodes.values():
            record = self._store.record(node.result) if node.result else None
            if record is not None:
                found.update(instances_of(self.planned(node.id), record["outputs"]))
        return found

    @functools.cached_property
    def computed(self) -> frozenset[str]:
        """The keys of the results that came into being in it."""
        return frozenset(node.result for node in self.nodes.values() if node.state == "succeeded")

    def planned(self, node: str) -> PlannedNode:
        """A node, as it was to be run."""
        unit, index = parts_of(node)
        return node_of(self._plan[unit], index)

    @functools.cached_property
    def _plan(self) -> Mapping[str, PlannedUnit]:
        return plan_of(program_of(self.spec))

    def inputs(self, node: PlannedNode) -> dict[str, _Input]:
        """What a node took, each input and the bounds of each gate by name. Raises `KeyError` at a gap."""
        job = settled_job(node, self.outputs)
        inputs = ((f"input `{name}`", binding) for name, binding in job["arguments"].items())
        bounds = (
            (f"gate `{check['value']} {check['operator']}`", {"kind": "list", "items": check["bounds"]})
            for check in job.get("checks", ())
        )
        return {name: self._input(binding) for name, binding in (*inputs, *bounds)}

    def _input(self, binding: Json) -> _Input:
        sources = {f"parameter `{name}`": self.parameters[name] for name in parameters_in(binding)}
        for node, outputs in itertools.groupby(sorted(set(used_by([binding]))), key=itemgetter(0)):
            references = [{"kind": "output", "node": node, "output": output} for _, output in outputs]
            sources[f"`{node}`"] = [content_of(each, {}, self.outputs) for each in references]
        return _Input(content_of(binding, self.parameters, self.outputs), sources)


@dataclass(frozen=True)
class _Input:
    """What went into a parameter of a step, and what it was made of, by where that came from."""

    content: Json
    sources: Mapping[str, Json]


def explained(history: History, store: Store, run: PastRun) -> dict[str, str]:
    """Why each node of a run's pipeline ran, or that an earlier result stood in, by the node's id.

    Nodes that did not run for want of their inputs, and what runs at the end of a run, are left out.
    """
    here = Books(history, store, run)
    older = itertools.dropwhile(lambda other: other.id >= run.id, history.runs(run.pipeline))
    earlier = _Earlier(history, store, older)
    return {
        node.id: _why(here, earlier, node)
        for node in here.nodes.values()
        if node.kind == "task" and node.state in _EXPLAINED and here.planned(node.id).role == "main"
    }


_EXPLAINED = ("succeeded", "cached", "failed", "running", "interrupted")


class _Earlier:
    """Earlier runs, the newest first, each read when it is first asked for."""

    def __init__(self, history: History, store: Store, runs: Iterator[PastRun]) -> None:
        self._open = (Books(history, store, run) for run in itertools.islice(runs, READ_BACK))
        self._read: list[Books] = []

    def __iter__(self) -> Iterator[Books]:
        yield from self._read
        for books in self._open:
            self._read.append(books)
            yield books

    def with_node(self, node: str) -> Books | None:
        """The newest in which a node came as far as to have inputs."""
        return next((each for each in self if node in each.nodes and each.nodes[node].state in _EXPLAINED), None)

    def that_computed(self, result: str) -> Books | None:
        """The newest in which a result came into being."""
        return next((each for each in self if result in each.computed), None)


def _why(here: Books, earlier: _Earlier, node: PastNode) -> str:
    if node.state == "cached":
        source = earlier.that_computed(node.result)
        return f"the same code and inputs as in run {source.run.id}" if source else "the same code and inputs as before"
    planned = here.planned(node.id)
    before = earlier.with_node(node.id)
    if not planned.is_cached:
        return "it is not cached (`cache=False`)"
    if before is None or before.planned(node.id).step.id != planned.step.id:
        return "no earlier run has it"
    reasons = [*_fixed_reasons(before, here, node.id), *_input_reasons(before, here, node.id)]
    return "; ".join(reasons) or _without_result(before, node.id)


def _without_result(before: Books, node: str) -> str:
    """Why nothing could stand in, where nothing has changed."""
    state, run = before.nodes[node].state, before.run.id
    if state not in ("succeeded", "cached"):
        return f"in run {run} it {'was interrupted' if state in ('running', 'interrupted') else 'failed'}"
    return f"what it gave in run {run} was rolled back, or is no longer in the store, or is damaged there"


def _fixed_reasons(before: Books, here: Books, node: str) -> Iterator[str]:
    old, new = before.planned(node), here.planned(node)
    differing = changes_of_step(before.code, here.code, new.step.id)
    changed = {name: how for name, how in differing.items() if how == CHANGED}
    for name, how in (changed or differing).items():  # what is reached anew is reached by what changed
        is_step = name == own_name(new.step.id)
        yield f"step `{new.step.id.partition(':')[2]}` changed" if is_step else f"`{name}` {_HOW[how]}"
    if _given(old.step) != _given(new.step):
        yield "what it returns is declared or written differently"
    if requirements_of(old.step, old.settings) != requirements_of(new.step, new.settings):
        yield f"its packages changed ({_listed(old, new)})"
    for setting in ("env", "secrets", "image", "cache_version"):
        if getattr(old.settings, setting) != getattr(new.settings, setting):
            yield f"`{setting}` changed"
    if before.run.python != here.run.python and before.run.python and here.run.python:
        yield f"it ran on {before.run.python}, and runs on {here.run.python}"


_HOW = {CHANGED: "changed", ADDED: "is used now", REMOVED: "is no longer used"}


def _given(step: StepSpec) -> Json:
    return step.returns, [(output.name, output.type.serializer) for output in step.outputs]


def _listed(old: PlannedNode, new: PlannedNode) -> str:
    before, after = (set(requirements_of(each.step, each.settings)) for each in (old, new))
    return ", ".join(
        [*(f"-{each}" for each in sorted(before - after)), *(f"+{each}" for each in sorted(after - before))]
    )


def _input_reasons(before: Books, here: Books, node: str) -> Iterator[str]:
    try:
        old, new = before.inputs(before.planned(node)), here.inputs(here.planned(node))
    except (KeyError, Absent):
        yield f"what it took in run {before.run.id} is no longer in the store"
        return
    for name, taken in new.items():
        if name not in old:
            yield f"{name} is new"
        elif old[name].content != taken.content:
            differing = [each for each, wire in taken.sources.items() if old[name].sources.get(each, _NONE) != wire]
            yield f"{name} differs" + (f" (from {_some(differing)})" if differing else " (it is written otherwise)")
    yield from (f"{name} is gone" for name in old if name not in new)


_NONE = object()
_MOST_SOURCES = 4


def _some(names: Sequence[str]) -> str:
    """Names, of many the first: a step may take what a thousand others gave."""
    more = len(names) - _MOST_SOURCES
    return ", ".join(names[:_MOST_SOURCES]) + (f" and {more} more" if more > 0 else "")


def parameters_in(binding: Json) -> Iterator[str]:
    """The parameters that a settled binding refers to."""
    if binding["kind"] == "parameter":
        yield binding["name"]
    for part in settling.parts_of(binding):
        yield from parameters_in(part)
