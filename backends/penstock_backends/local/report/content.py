"""What a report tells of a run, read from its records and put into words; `page` makes HTML of it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from penstock.diagnostics import ConfigurationError
from penstock.durations import duration_text
from penstock.harness import Json, encode, parts_of
from penstock.history import History, PastAttempt, PastNode, PastRun
from penstock.logs import headline, own_lines, tells_nothing_more
from penstock.phrases import value_text
from penstock.settings import size_text
from penstock.spec import PipelineSpec, Task
from penstock_backends.local.history import read_journal
from penstock_backends.local.layout import JOURNAL
from penstock_backends.local.report.charts import MOST_BARS, Bar, share_bar, timeline
from penstock_backends.local.report.drawing import drawing_of
from penstock_backends.local.report.logs import Log, Logs, readable
from penstock_backends.local.report.origins import Origin, origins_of
from penstock_backends.local.report.states import WORDS
from penstock_backends.local.report.trends import Trend, trends_of
from penstock_backends.lowering import Program, program_of
from penstock_backends.rendering import spec_hash

MOST_STEPS = 1000
_LONGEST_VALUE, _LAST_LINES, _MOST_NOTICES, _MOST_METRICS = 400, 12, 50, 50
_NOTICES = ("flagged", "draining", "superseded", "alert_sent", "alert_failed", "telemetry_failed")


@dataclass(frozen=True)
class Attempt:
    """An attempt of a step, in words."""

    number: int
    state: str
    began: str
    facts: tuple[str, ...]
    error: str
    log: Log | None


@dataclass(frozen=True)
class Verdict:
    """A gate of a step, with the values in it and what its author says where it fails."""

    step: str
    link: str
    gate: str
    passed: bool
    values: str
    message: str


@dataclass(frozen=True)
class Notice:
    """What was noticed while the run went on, or whom it told: after how long, and of which step, if of one."""

    after: str
    step: str
    link: str
    text: str


@dataclass(frozen=True)
class Step:
    """What became of one node, in words; ``share`` pictures its duration beside the longest one's.

    ``text`` is a condition's, or a loop's items, as their author wrote them; ``metadata`` what is known of its outputs:
    the output's name, if it has one, what is known, the value.
    """

    anchor: str
    id: str
    state: str
    text: str
    about: str
    description: str
    duration: str
    share: str
    cpu: str
    memory: str
    tries: int
    metrics: tuple[tuple[str, str], ...]
    metadata: tuple[tuple[str, str, str], ...]
    verdicts: tuple[Verdict, ...]
    error: str
    traceback: str
    attempts: tuple[Attempt, ...]

    @property
    def last_lines(self) -> list[str]:
        """What it printed last, apart from the traceback and the error."""
        log = self.attempts[-1].log if self.attempts else None
        return own_lines(log.text, self.error, self.traceback)[-_LAST_LINES:] if log else []

    @property
    def headline(self) -> str:
        """What it failed of, where its traceback follows."""
        return headline(self.error, self.traceback)

    @property
    def has_traceback(self) -> bool:
        """Whether its traceback says more than the error."""
        return not tells_nothing_more(self.error, self.traceback)


@dataclass(frozen=True)
class Content:
    """A whole report. What is an empty text or sequence is not shown; pictures are SVG."""

    run: PastRun
    description: str
    counts: tuple[tuple[str, int], ...]
    duration: str
    facts: tuple[tuple[str, str], ...]
    parameters: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...]
    steps_left_out: int
    graph: str = ""
    timeline: str = ""
    bars_left_out: int = 0
    trends: tuple[Trend, ...] = ()
    totals: tuple[tuple[str, str], ...] = ()
    failures: tuple[Step, ...] = ()
    noticed: tuple[Notice, ...] = ()

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """All gates, those that failed first."""
        return tuple(sorted((each for step in self.steps for each in step.verdicts), key=lambda each: each.passed))


def content_of(history: History, run: PastRun) -> Content:
    """Reads what a report tells of a run. Without its spec there is no graph, and the rest all the same."""
    nodes = history.nodes(run)
    spec = _spec_of(history, run)
    chosen = _chosen(nodes)
    anchors = {id_: f"n{number}" for number, id_ in enumerate(chosen)}
    longest = max((each.seconds for each in nodes.values()), default=0.0)
    steps = _Steps(run, spec, anchors, longest, origins_of(history, run, map(nodes.__getitem__, chosen)))
    rows = {id_: steps.row(nodes[id_]) for id_ in sorted(chosen, key=lambda id_: nodes[id_].state != "failed")}
    bars = tuple(_bars(run, nodes, anchors))
    return Content(
        run,
        spec.description if spec else "",
        tuple((state, count) for state in WORDS if (count := _counts(nodes)[state])),
        duration_text(run.seconds),
        tuple(_facts(run, spec)),
        tuple(_parameters(history, run)),
        tuple(rows[id_] for id_ in chosen),
        len(nodes) - len(chosen),
        drawing_of(spec, nodes, anchors) if spec else "",
        timeline(bars, run.seconds) if bars else "",
        max(len(bars) - MOST_BARS, 0),
        trends_of(history, run, nodes),
        tuple(_totals(run, nodes)),
        tuple(row for row in rows.values() if row.state == "failed"),
        tuple(itertools.islice(_noticed(run, anchors), _MOST_NOTICES)),
    )


def _noticed(run: PastRun, anchors: Mapping[str, str]) -> Iterator[Notice]:
    for event in read_journal(run.folder / JOURNAL):
        if event["event"] in _NOTICES:
            after = duration_text(max(event["time"] - run.began.timestamp(), 0.0))
            node = event.get("node", "")
            yield Notice(after, node, f"#{anchors.get(node, 'steps')}", readable(str(event.get("text", ""))))


def _spec_of(history: History, run: PastRun) -> PipelineSpec | None:
    try:
        found: PipelineSpec = history.spec(run)
    except ConfigurationError:
        return None
    return found


def _chosen(nodes: Mapping[str, PastNode]) -> tuple[str, ...]:
    """The nodes that the page lists, in their order: all, or the failed ones and the first of the others."""
    if len(nodes) <= MOST_STEPS:
        return tuple(nodes)
    failed = [id_ for id_, node in nodes.items() if node.state == "failed"][:MOST_STEPS]
    others = [id_ for id_, node in nodes.items() if node.state != "failed"][: MOST_STEPS - len(failed)]
    kept = {*failed, *others}
    return tuple(id_ for id_ in nodes if id_ in kept)


def _counts(nodes: Mapping[str, PastNode]) -> Counter[str]:
    return Counter(node.state for node in nodes.values())


def _facts(run: PastRun, spec: PipelineSpec | None) -> Iterator[tuple[str, str]]:
    started: Mapping[str, Any] = next(read_journal(run.folder / JOURNAL), {})
    yield "Run", run.id
    yield "Began", f"{run.began:%Y-%m-%d %H:%M:%S} UTC"
    yield "Took", duration_text(run.seconds)
    yield from ((name, value) for name, value in _origin(run, started, spec) if value)


def _origin(run: PastRun, started: Mapping[str, Any], spec: PipelineSpec | None) -> Iterator[tuple[str, str]]:
    yield "Source", run.target or (spec.span.file if spec and spec.span else "")
    yield "Commit", str(started.get("commit", ""))[:12]
    yield "Spec", spec_hash(spec) if spec else ""
    yield "Goes on with", run.resumes
    yield "Owner", spec.owner if spec else ""
    yield "Machine", str(started.get("host", ""))
    yield "Penstock", str(started.get("version", ""))


def _parameters(history: History, run: PastRun) -> Iterator[tuple[str, str]]:
    try:
        given = history.parameters(run)
    except ConfigurationError:
        return
    yield from ((name, shown(wire)) for name, wire in given.items())


def shown(wire: Json) -> str:
    """An encoded value as Python writes it; a long one cut."""
    text = value_text(wire)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}… ({len(text)} characters)"


def _totals(run: PastRun, nodes: Mapping[str, PastNode]) -> Iterator[tuple[str, str]]:
    attempts = [attempt for node in nodes.values() for attempt in node.attempts]
    if not attempts:
        return
    work = sum(attempt.seconds or 0.0 for attempt in attempts)
    cpu = [each.usage.cpu_seconds for each in attempts if each.usage.cpu_seconds is not None]
    memory = [each.usage.peak_memory for each in attempts if each.usage.peak_memory is not None]
    yield "Attempts", str(len(attempts))
    yield "Time in steps", duration_text(work)
    if run.seconds > 0:
        yield "At once, on average", f"{work / run.seconds:.1f}"
    if cpu:
        yield "CPU time", duration_text(sum(cpu))
    if memory:
        yield "Largest process", size_text(max(memory))


def _bars(run: PastRun, nodes: Mapping[str, PastNode], anchors: Mapping[str, str]) -> Iterator[Bar]:
    for node in nodes.values():
        for attempt in node.attempts:
            begins = (attempt.began - run.began).total_seconds()
            seconds = attempt.seconds if attempt.seconds is not None else max(run.seconds - begins, 0.0)
            label = f"{node.id} ({attempt.number})" if len(node.attempts) > 1 else node.id
            title = f"{label}: {attempt.state} in {duration_text(seconds)}"
            yield Bar(label, attempt.state, begins, begins + seconds, f"#{anchors.get(node.id, 'steps')}", title)


class _Steps:
    """Puts nodes into words; logs are read in the order in which it is asked, as long as there is room for them."""

    def __init__(
        self,
        run: PastRun,
        spec: PipelineSpec | None,
        anchors: Mapping[str, str],
        longest: float,
        origins: Mapping[str, Origin],
    ) -> None:
        self._run = run
        self._origins = origins
        self._program: Program | None = program_of(spec) if spec else None
        self._anchors = anchors
        self._longest = longest
        self._logs = Logs()

    def row(self, node: PastNode) -> Step:
        """A node in words."""
        about, description = self._about(node)
        cpu = [each.usage.cpu_seconds for each in node.attempts if each.usage.cpu_seconds is not None]
        memory = [each.usage.peak_memory for each in node.attempts if each.usage.peak_memory is not None]
        anchor = self._anchors[node.id]
        return Step(
            anchor,
            node.id,
            node.state,
            node.text,
            about,
            description,
            duration_text(node.seconds) if node.seconds else "",
            share_bar(node.seconds / self._longest) if node.seconds else "",
            duration_text(sum(cpu)) if cpu else "",
            size_text(max(memory)) if memory else "",
            len(node.attempts),
            tuple((name, f"{value:.6g}") for name, value in itertools.islice(node.metrics.items(), _MOST_METRICS)),
            tuple(itertools.islice(_metadata(node), _MOST_METRICS)),
            tuple(_verdict(node.id, anchor, each) for each in node.gates),
            readable(node.error),
            readable(node.traceback),
            tuple(self._attempt(each) for each in node.attempts) or tuple(self._earlier_attempt(node)),
        )

    def _about(self, node: PastNode) -> tuple[str, str]:
        """Where a node comes from, and what its author says of it."""
        unit = self._program.by_id.get(parts_of(node.id)[0]) if self._program else None
        if unit is None or not isinstance(unit.node, Task):
            return node.kind, ""
        span = unit.step.span
        place = f", {span.file}:{span.line}" if span else ""
        return f"{unit.step.id.rpartition(':')[2]}(){place}", unit.step.description.strip().partition("\n\n")[0]

    def _earlier_attempt(self, node: PastNode) -> Iterator[Attempt]:
        """The attempt of an earlier run whose result stood in, if it is known."""
        if node.result in self._origins:
            run, attempt = self._origins[node.result]
            yield replace(self._attempt(attempt), began=f"in run {run.id}")

    def _attempt(self, attempt: PastAttempt) -> Attempt:
        usage = attempt.usage
        facts = (
            duration_text(attempt.seconds) if attempt.seconds is not None else "",
            f"{duration_text(usage.cpu_seconds)} of CPU" if usage.cpu_seconds is not None else "",
            f"{size_text(usage.peak_memory)} at most" if usage.peak_memory is not None else "",
        )
        after = (attempt.began - self._run.began).total_seconds()
        log = self._logs.read(attempt.log) if attempt.log else None
        began = f"began after {duration_text(max(after, 0.0))}"
        return Attempt(attempt.number, attempt.state, began, tuple(filter(None, facts)), readable(attempt.error), log)


def _metadata(node: PastNode) -> Iterator[tuple[str, str, str]]:
    """What was recorded of a node's outputs, in words."""
    for output, values in node.metadata.items():
        yield from (("" if output == "output" else output, name, shown(encode(each))) for name, each in values.items())


def _verdict(step: str, anchor: str, given: Mapping[str, Any]) -> Verdict:
    values = ", ".join(f"{name} = {shown(wire)}" for name, wire in given.get("values", {}).items())
    message = "" if given["passed"] else str(given.get("message", ""))
    return Verdict(step, f"#{anchor}", given["gate"], given["passed"], values, message)
