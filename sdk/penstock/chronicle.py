"""What the commands for runs say, as lines of rich markup; and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape

from penstock.delta import Difference
from penstock.diagnostics import shown_path
from penstock.differences import ADDED, CHANGED, REMOVED, CodeChange
from penstock.durations import duration_text
from penstock.harness import encode, metadata_text, verdict_text
from penstock.history import PastAttempt, PastNode, PastRun
from penstock.phrases import value_text
from penstock.settings import size_text
from penstock.terminal import MARKS, failure

Json = Any
_WIDEST = 48
_NOT_RUN = PastNode("", "")


def runs(found: Sequence[PastRun], more: bool) -> Iterator[str]:
    """A table of runs; ``more`` says that there are older ones."""
    name = max(len("pipeline"), *(len(run.pipeline) for run in found))
    width = max(len("run"), *(len(run.id) for run in found))
    yield f"  [dim]  {'run':<{width}}  {'pipeline':<{name}}  {'began':<16}  {'took':>10}  nodes[/]"
    for run in found:
        when = f"{run.began.astimezone():%Y-%m-%d %H:%M}  {_took(run):>10}"
        yield f"  {_mark(run.state)} {run.id:<{width}}  {escape(run.pipeline):<{name}}  {when}  {_counted(run)}"
    if more:
        yield "  [dim]older runs are left out: --limit 0 shows all[/]"


def _took(run: PastRun) -> str:
    """How long a run took; of an interrupted one no more is known than when something was last written down of it."""
    return f"{'> ' if run.state == 'interrupted' else ''}{duration_text(run.seconds)}"


def _counted(run: PastRun) -> str:
    counts = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in run.counts.items()) or "none ended"
    state = run.state if run.state in ("running", "interrupted", "cancelled") else ""
    resumed = f"[dim]resumes {run.resumes}[/]" if run.resumes else ""
    return "  ".join(filter(None, (f"[{MARKS[state][0]}]{state}[/]" if state else "", counts, resumed)))


def run(found: PastRun, parameters: Mapping[str, Json], nodes: Mapping[str, PastNode]) -> Iterator[str]:
    """One run: what it was given, and what became of each node."""
    yield f"{_mark(found.state)} [bold]{escape(found.pipeline)}[/] run {found.id}: {found.state}"
    facts = {
        "began": f"{found.began.astimezone():%Y-%m-%d %H:%M:%S %Z}, took {_took(found)}",
        "target": escape(found.target),
        "in": escape(shown_path(found.directory)) if found.directory else "",
        "resumes": found.resumes,
        "python": found.python,
        "spec": found.digest[:16],
        "kept in": escape(shown_path(str(found.folder))),
    }
    yield from (f"  [dim]{name:<8}[/] {value}" for name, value in facts.items() if value)
    if parameters:
        yield "[bold]parameters[/]"
        width = max(map(len, parameters))
        yield from (f"  {escape(name):<{width}}  {escape(_short(wire))}" for name, wire in parameters.items())
    yield "[bold]nodes[/]" if nodes else "no node was begun"
    width = min(_WIDEST, max((len(name) for name in nodes), default=0))
    for node in nodes.values():
        yield f"  {_mark(node.state)} {escape(node.id):<{width}}  {'  '.join(_facts(node))}".rstrip()
        yield from (f"      {escape(verdict_text(each))}" for each in node.gates)
        yield from (f"      {escape(metadata_text(*each))}" for each in node.metadata.items())
    for node in nodes.values():
        yield from _failure(node)


def _facts(node: PastNode) -> Iterator[str]:
    ended = [each for each in node.attempts if each.seconds is not None]
    if ended:
        yield duration_text(node.seconds)
    if not ended or node.state not in ("succeeded", "failed"):
        yield node.state.replace("_", " ")
    if len(node.attempts) > 1:
        yield f"{len(node.attempts)} attempts"
    usage = [each.usage for each in node.attempts]
    cpu = [each.cpu_seconds for each in usage if each.cpu_seconds is not None]
    memory = [each.peak_memory for each in usage if each.peak_memory is not None]
    if cpu:
        yield f"{duration_text(sum(cpu))} CPU"
    if memory:
        yield size_text(max(memory))
    yield from (f"{escape(name)}={value:g}" for name, value in node.metrics.items())


def _failure(node: PastNode) -> Iterator[str]:
    if node.state != "failed":
        return
    yield from failure(node.id, node.error, node.traceback, len(node.attempts))
    log = next((each.log for each in reversed(node.attempts) if each.log is not None), None)
    if log is not None:
        yield f"log: {escape(shown_path(str(log)))}"


def reasons(said: Mapping[str, str], states: Mapping[str, str]) -> Iterator[str]:
    """Why each node ran or did not."""
    width = min(_WIDEST, max((len(name) for name in said), default=0))
    yield "[bold]why[/]"
    for node, reason in said.items():
        ran = "" if states[node] == "cached" else "ran: "
        yield f"  {_mark(states[node])} {escape(node):<{width}}  {ran}{escape(reason)}"


def code(changes: Sequence[CodeChange]) -> Iterator[str]:
    """What of the code differs, and which steps that touches."""
    own = {step for change in changes if change.is_step for step in change.steps}
    for change in changes:
        if change.is_step:
            yield f"step [bold]{escape(_shown(change.name))}[/] {_HOW_STEP.get(change.how, 'changed')}"
        elif change.how not in _HOW or not own.issuperset(change.steps):
            reached = ", ".join(step.partition(":")[2] for step in change.steps)
            yield f"[bold]{escape(change.name)}[/] {_HOW.get(change.how, 'changed')}, which {escape(reached)} reaches"


def pipeline(changes: Sequence[Difference]) -> Iterator[str]:
    """Which nodes are new or gone, and what differs of the others."""
    for change in changes:
        said = _HOW_STEP.get(change.how, f"has other {' and '.join(_kinds(change))}")
        yield f"node [bold]{escape(change.name)}[/] {said}"


def _kinds(difference: Difference) -> list[str]:
    """What kinds of things differ of a node that both pipelines have: inputs, gates, settings by their names."""
    if difference.how != CHANGED:
        return []
    parts = (change.what.partition(".")[0] for change in difference.changes)
    return list(dict.fromkeys("inputs" if part in _TAKEN else part for part in parts))


_TAKEN = ("condition", "items", "message")  # what branches, loops and gates take


_HOW = {ADDED: "is used now", REMOVED: "is no longer used"}
_HOW_STEP = {ADDED: "is new", REMOVED: "is gone"}


def _shown(name: str) -> str:
    return name.rpartition(".")[2]


@dataclass(frozen=True)
class Side:
    """One of two runs that are compared."""

    run: PastRun
    parameters: Mapping[str, Json]
    nodes: Mapping[str, PastNode]


def comparison(left: Side, right: Side, changes: Sequence[CodeChange], calls: Sequence[Difference]) -> Iterator[str]:
    """What differs between two runs, then their nodes side by side."""
    yield f"  {left.run.id}  {left.run.state}, {_took(left.run)}"
    yield f"  {right.run.id}  {right.run.state}, {_took(right.run)}"
    differing = {name: pair for name, pair in _pairs(left.parameters, right.parameters).items() if pair[0] != pair[1]}
    yield "[bold]parameters[/]" + ("" if differing else " are the same")
    for name, pair in differing.items():
        before, after = ("not there" if each is _ABSENT else _short(each) for each in pair)
        yield f"  {escape(name)}: {escape(before)} [dim]→[/] {escape(after)}"
    yield "[bold]code[/]" + ("" if changes else " is the same")
    yield from (f"  {line}" for line in code(changes))
    yield "[bold]pipeline[/]" + ("" if calls else " is the same")
    yield from (f"  {line}" for line in pipeline(calls))
    yield "[bold]nodes[/]"
    names = list(_pairs(left.nodes, right.nodes))
    width = min(_WIDEST, max(map(len, names), default=0))
    for name in names:
        old, new = left.nodes.get(name, _NOT_RUN), right.nodes.get(name, _NOT_RUN)
        metrics = "  ".join(_compared(old.metrics, new.metrics))
        yield f"  {escape(name):<{width}}  {_side(old)}  {_side(new)}  {metrics}".rstrip()
        for output in _pairs(old.metadata, new.metadata):
            yield from _metadata_compared(output, old.metadata.get(output, {}), new.metadata.get(output, {}))


_ABSENT = object()


def _pairs(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (left.get(name, _ABSENT), right.get(name, _ABSENT)) for name in dict.fromkeys((*left, *right))}


def _side(node: PastNode) -> str:
    if node is _NOT_RUN:
        return f"[dim]{'-':<26}[/]"
    took = duration_text(node.seconds) if node.attempts else ""
    return f"{_mark(node.state)} {node.state.replace('_', ' '):<15} {took:>8}"


def _compared(left: Mapping[str, float], right: Mapping[str, float]) -> Iterator[str]:
    for name, (old, new) in _pairs(left, right).items():
        before, after = ("-" if each is _ABSENT else f"{each:g}" for each in (old, new))
        yield f"{escape(name)}={after}" if before == after else f"{escape(name)}={before} [dim]→[/] {after}"


def _metadata_compared(output: str, left: Mapping[str, Any], right: Mapping[str, Any]) -> Iterator[str]:
    """What differs of the metadata of an output."""
    of = "" if output == "output" else f"{output}: "
    for name, (old, new) in _pairs(left, right).items():
        before, after = ("-" if each is _ABSENT else _short(encode(each)) for each in (old, new))
        if before != after:
            yield f"      {escape(of)}{escape(name)} = {escape(before)} [dim]→[/] {escape(after)}"


def _mark(state: str) -> str:
    colour, mark = MARKS.get(state, ("dim", "?"))
    return f"[{colour}]{mark}[/]"


def _short(wire: Json) -> str:
    text = value_text(wire)
    return text if len(text) <= 100 else f"{text[:97]}..."


# --- as JSON


def run_as_json(found: PastRun) -> Json:
    """What a list tells of a run."""
    return {
        "run": found.id,
        "pipeline": found.pipeline,
        "state": found.state,
        "began": found.began.isoformat(),
        "seconds": round(found.seconds, 6),
        "target": found.target,
        "directory": found.directory,
        "resumes": found.resumes,
        "python": found.python,
        "spec": found.digest,
        "folder": str(found.folder),
        "counts": dict(found.counts),
    }


def node_as_json(node: PastNode) -> Json:
    """A node with its attempts."""
    return {
        "node": node.id,
        "state": node.state,
        "kind": node.kind,
        "text": node.text,
        "seconds": round(node.seconds, 6),
        "attempts": [_attempt_as_json(each) for each in node.attempts],
        "metrics": {name: encode(value) for name, value in node.metrics.items()},
        "metadata": {name: encode(dict(found)) for name, found in node.metadata.items()},
        "gates": [dict(each) for each in node.gates],
        "error": node.error,
        "traceback": node.traceback,
        "result": node.result,
    }


def _attempt_as_json(attempt: PastAttempt) -> Json:
    return {
        "attempt": attempt.number,
        "state": attempt.state,
        "began": attempt.began.isoformat(),
        "seconds": attempt.seconds,
        "cpu_seconds": attempt.usage.cpu_seconds,
        "peak_memory": attempt.usage.peak_memory,
        "error": attempt.error,
        "log": None if attempt.log is None else str(attempt.log),
    }


def comparison_as_json(left: Side, right: Side, changes: Sequence[CodeChange], calls: Sequence[Difference]) -> Json:
    """Both runs whole, and what of the code and the nodes differs."""
    return {
        "runs": [
            {
                **run_as_json(side.run),
                "parameters": dict(side.parameters),
                "nodes": [node_as_json(node) for node in side.nodes.values()],
            }
            for side in (left, right)
        ],
        "code": [{"name": each.name, "how": each.how, "steps": list(each.steps)} for each in changes],
        "pipeline": [{"node": each.name, "how": each.how, "what": _kinds(each)} for each in calls],
    }
