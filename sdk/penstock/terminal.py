"""What the command line says, as lines of rich markup; `penstock.cli` prints them."""

from __future__ import annotations

import math
import pprint
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.markup import escape

from penstock.backend import Level
from penstock.diagnostics import Diagnostic, shown_path
from penstock.durations import duration_text
from penstock.figure import step_name
from penstock.harness import parts_of, verdict_text
from penstock.logs import end_of, headline, own_lines, plain, shortened, tells_nothing_more
from penstock.results import AttemptFailed, Event, NodeEnded, NodeRun, Noticed, Run, RunStarted, State
from penstock.support import WORDS, Portability
from penstock.tally import Tally

MARKS: Mapping[str, tuple[str, str]] = {
    State.SUCCEEDED: ("green", "✓"),
    State.CACHED: ("cyan", "="),
    State.FAILED: ("red", "✗"),
    State.SKIPPED: ("dim", "-"),
    State.UPSTREAM_FAILED: ("dim", "-"),
    State.CANCELLED: ("yellow", "!"),
    "interrupted": ("yellow", "!"),
    "running": ("blue", "…"),
}
"""The colour and the mark of each state of a node or a run (see `penstock.history`)."""
_WORST_FIRST = (
    State.FAILED,
    State.CANCELLED,
    State.UPSTREAM_FAILED,
    State.SUCCEEDED,
    State.CACHED,
    State.SKIPPED,
)
_RESULT_LINES = 12
_WIDEST = 60
MANY = 100
_MOST_OF_EACH, _MOST_ALIKE, _SLOWEST = 8, 4, 5
_TAIL_LINES, _TAIL_BYTES = 20, 8192
_LONGEST_TRACEBACK = 4000


class Progress:
    """Turns the events of a run into lines, one for each node that ended and each attempt that will be followed.

    Given a ``tally``, which it keeps up, it says of a run of many nodes only what failed, and now and then how far the
    run is.
    """

    def __init__(self, tally: Tally | None = None) -> None:
        self._width = 0
        self._tally = tally
        self._next = 0.1

    def lines(self, event: Event) -> Iterator[str]:
        """The lines for an event, often none."""
        if self._tally is not None:
            self._tally.take(event)
        if self._tally is None or self._tally.whole.total <= MANY:
            yield from self._said(event)
            return
        is_good = isinstance(event, NodeEnded) and event.node.state is not State.FAILED
        if not is_good:
            yield from self._said(event)
        yield from self._now_and_then(self._tally)

    def _now_and_then(self, tally: Tally) -> Iterator[str]:
        """How far a run is, at every tenth of it."""
        whole = tally.whole
        share = whole.done / whole.total
        if share < self._next:
            return
        self._next = math.floor(share * 10) / 10 + 0.1
        if whole.done:
            yield f"  [dim]…[/] {whole.done} of {whole.total} done: {counted(whole.ended)}"

    def _said(self, event: Event) -> Iterator[str]:
        if isinstance(event, RunStarted):
            room = self._tally.room_for if self._tally is not None else len
            self._width = min(max(map(room, event.nodes), default=0), _WIDEST)
            yield f"[bold]{escape(event.pipeline)}[/] [dim]run {event.run}[/]"
        elif isinstance(event, AttemptFailed):
            again = f"trying again in {event.retry_in:.3g} s"
            yield f"  [yellow]↻[/] {self._name(event.node)}  attempt {event.attempt}: {escape(event.error)}; {again}"
        elif isinstance(event, Noticed):
            colour = "dim" if event.what == "alert_sent" else "yellow"
            yield f"  [{colour}]▲[/] {escape(event.text)}"
        elif isinstance(event, NodeEnded):
            yield self.ended(event.node)

    def _name(self, node: str) -> str:
        self._width = max(self._width, min(len(node), _WIDEST))  # of loops with many items
        return escape(node.ljust(self._width))

    def ended(self, node: NodeRun) -> str:
        """The line for a node that came to its end."""
        colour, mark = MARKS[node.state]
        facts = [f"{node.seconds:6.2f} s" if node.attempts else node.state.value.replace("_", " ")]
        if node.state is State.CACHED:
            facts = ["cached"]
        if node.state is State.CANCELLED and node.attempts:
            facts.append("cancelled")
        if node.attempts > 1:
            facts.append(f"{node.attempts} attempts")
        facts.extend(f"{escape(name)}={value:g}" for name, value in node.metrics.items())
        facts.extend(_decided(node))
        facts.extend(escape(verdict_text(each)) for each in node.gates if each["passed"])
        if node.state is State.FAILED:
            facts.append(f"[red]{escape(_first_line(node.error))}[/]")
        return f"  [{colour}]{mark}[/] {self._name(node.id)}  {'  '.join(facts)}"


def _decided(node: NodeRun) -> Iterator[str]:
    """What came of a branch's condition, or how many items a loop has."""
    if node.kind == "branch" and node.state.is_good:
        yield f"{escape(node.text)}: {'yes' if node.outputs else 'no'}"
    elif node.kind == "loop" and node.size is not None:
        yield f"{node.size} {'item' if node.size == 1 else 'items'} of {escape(node.text)}"


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def ends(run: Run) -> Iterator[str]:
    """A line for each node of a run that has ended."""
    progress = Progress()
    yield from progress.lines(RunStarted(run.id, run.pipeline, tuple(run.nodes), run.folder or Path()))
    yield from map(progress.ended, run.nodes.values())


def counted(states: Mapping[State, int]) -> str:
    """How many came to which state, the worst first."""
    found = [each for each in _WORST_FIRST if states.get(each)]
    return ", ".join(f"[{MARKS[each][0]}]{states[each]} {each.value.replace('_', ' ')}[/]" for each in found)


def summary(run: Run) -> Iterator[str]:
    """What a run of many nodes came to: the states, the gates, the metrics, and the steps that took longest."""
    nodes = run.nodes.values()
    yield f"[bold]{len(nodes)} nodes[/]: {counted(Counter(node.state for node in nodes))}"
    gates = sorted(((each, node) for node in nodes for each in node.gates), key=lambda pair: bool(pair[0]["passed"]))
    for verdict, node in gates[:_MOST_OF_EACH]:
        colour, mark = MARKS[State.SUCCEEDED if verdict["passed"] else State.FAILED]
        yield f"  [{colour}]{mark}[/] {escape(node.id)}  {escape(verdict_text(verdict))}"
    yield from _and_more(len(gates), "gates")
    metrics = list(_metrics(nodes))
    for line in metrics[:_MOST_OF_EACH]:
        yield f"  {line}"
    yield from _and_more(len(metrics), "metrics")
    slowest = sorted((node for node in nodes if node.attempts), key=lambda node: -node.seconds)[:_SLOWEST]
    if slowest:
        shown = ", ".join(f"{escape(node.id)} {duration_text(node.seconds)}" for node in slowest)
        yield f"  [dim]longest:[/] {shown}"


def _metrics(nodes: Iterable[NodeRun]) -> Iterator[str]:
    """Each metric; of a step that logged it many times, the least and the greatest."""
    alike: dict[tuple[str, str], list[tuple[str, float]]] = defaultdict(list)
    for node in nodes:
        for name, value in node.metrics.items():
            step = step_name(parts_of(node.id)[0].rpartition(".")[2])
            alike[name, step].append((node.id, value))
    for (name, step), found in sorted(alike.items(), key=lambda item: len(item[1])):
        if len(found) > _MOST_ALIKE:
            values = [value for _, value in found]
            yield f"{escape(name)} = {min(values):g} to {max(values):g}  [dim]{len(found)} calls of {escape(step)}[/]"
        else:
            yield from (f"{escape(name)} = {value:g}  [dim]{escape(id_)}[/]" for id_, value in found)


def _and_more(count: int, what: str) -> Iterator[str]:
    if count > _MOST_OF_EACH:
        yield f"  [dim]and {count - _MOST_OF_EACH} more {what}[/]"


def failures(run: Run) -> Iterator[str]:
    """Each failed node with the author's traceback and the end of its log; of many, the first."""
    failed = [node for node in run.nodes.values() if node.state is State.FAILED]
    for node in failed[:_MOST_OF_EACH]:
        yield from failure(node.id, node.error, node.traceback, node.attempts)
        if node.log is not None:
            yield from _end_of_log(node.log, node.error, node.traceback)
    if len(failed) > _MOST_OF_EACH:
        yield f"\n[bold red]{len(failed) - _MOST_OF_EACH} more failed[/]"


def failure(node: str, error: str, traceback: str, attempts: int) -> Iterator[str]:
    """What a node failed of, told once: a traceback ends with the message, of which the headline is a line then."""
    said, trace = plain(error), plain(traceback)
    when = f" at attempt {attempts}" if attempts > 1 else ""
    yield f"\n[bold red]{escape(node)} failed[/]{when}: {escape(headline(said, trace))}"
    if not tells_nothing_more(said, trace):
        yield f"[dim]{escape(shortened(trace, _LONGEST_TRACEBACK))}[/]"


def _end_of_log(log: Path, error: str, traceback: str) -> Iterator[str]:
    """The last lines of a log, apart from the traceback and the error, and where it is."""
    with suppress(OSError):
        text, before = end_of(log, _TAIL_BYTES)
        lines = own_lines(text, plain(error), plain(traceback))
        if lines:
            before += len(lines) - _TAIL_LINES > 0
            yield "[dim]the end of its log:[/]" if before else "[dim]its log:[/]"
            yield from (f"  {escape(line)}" for line in lines[-_TAIL_LINES:])
    yield f"log: {escape(shown_path(str(log)))}"


def how_to_resume(run: Run, store: str | Path | None) -> Iterator[str]:
    """The command that goes on with a run that did not come to a good end."""
    if not run.state.is_good and run.folder is not None:
        where = f" --store {shlex.quote(str(store))}" if store else ""
        yield f"go on with it: [bold]penstock runs resume {run.id}{escape(where)}[/]"


def result(value: Any) -> Iterator[str]:
    """What a pipeline returned: a line for each of several named outputs."""
    fields = value._asdict() if hasattr(value, "_asdict") else value if _is_named(value) else None
    if not fields:
        shown = _shown(value)
        between = "\n" if "\n" in shown else " "
        yield f"[bold]result[/]{between}{escape(shown)}"
        return
    yield "[bold]result[/]"
    width = max(map(len, fields))
    for name, item in fields.items():
        shown = _shown(item).replace("\n", "\n" + " " * (width + 4))
        yield f"  {escape(name.ljust(width))}  {escape(shown)}"


def _is_named(value: object) -> bool:
    """Whether something is a dictionary whose keys read like the names of outputs."""
    return type(value) is dict and all(isinstance(key, str) and key.isprintable() for key in value)


def kept(run: Run, error: Exception) -> Iterator[str]:
    """What to say of a result that this process cannot read: its class may be the author's, which a spec lacks."""
    said = str(error) or type(error).__name__
    yield f"[bold]result[/] kept in {escape(shown_path(str(run.folder)))}, but it cannot be read here: {escape(said)}"


def _shown(value: Any) -> str:
    if isinstance(value, Path):
        return shown_path(str(value))
    is_text = isinstance(value, str) and "\n" in value.strip("\n")
    lines = value.strip("\n").splitlines() if is_text else pprint.pformat(value, width=100, compact=True).splitlines()
    if len(lines) > _RESULT_LINES:
        lines = [*lines[:_RESULT_LINES], f"... ({len(lines) - _RESULT_LINES} more lines)"]
    return "\n".join(lines)


def ending(run: Run) -> str:
    """The last line of a run: how it ended, after how long, where it is kept."""
    colour, _ = MARKS[run.state]
    where = f", kept in [dim]{escape(shown_path(str(run.folder)))}[/]" if run.folder else ""
    return f"[{colour}]{run.state.value}[/] in {run.seconds:.2f} s{where}"


def problem(diagnostic: Diagnostic) -> str:
    """A diagnostic, its code and message set off."""
    first, _, rest = diagnostic.render().partition("\n")
    code, _, message = first.partition(": ")
    return f"[bold red]{code}[/]: [bold]{escape(message)}[/]" + (f"\n{escape(rest)}" if rest else "")


_LEVELS = {Level.NATIVE: "green", Level.EMULATED: "cyan", Level.UNSUPPORTED: "bold red"}


def support(found: Portability) -> Iterator[str]:
    """A table of what a pipeline asks for, by target, with the first line that asks for it."""
    if not found.rows:
        return
    width = max(len(row.name) for row in found.rows)
    yield f"  [dim]{'asks for':<{width}}  {'  '.join(f'{target:<9}' for target in found.targets)}  first at[/]"
    for row in found.rows:
        answers = [row.answers[target].level for target in found.targets]
        words = "  ".join(f"[{_LEVELS[level]}]{WORDS[level]:<9}[/]" for level in answers)
        place = row.uses[0].location
        more = f" [dim]and {len(row.uses) - 1} more[/]" if len(row.uses) > 1 else ""
        at = "" if place is None else f"{escape(shown_path(place.path))}:{place.line}"
        yield f"  {row.name:<{width}}  {words}  {at}{more}"
