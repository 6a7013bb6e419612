"""A run as it goes on: a picture that is kept up to date on a terminal, lines everywhere else."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from penstock import terminal
from penstock.durations import duration_text
from penstock.history import Usage
from penstock.results import AttemptFailed, Event, NodeEnded, Noticed, Run, RunStarted, State
from penstock.settings import size_text
from penstock.spec import PipelineSpec
from penstock.tally import Part, Tally

_MOST_ROWS, _FEWEST_ROWS = 30, 4
_REFRESH_SECONDS, _PAUSE_PER_DRAWING, _WEIGHING_SECONDS = 0.2, 20.0, 1.0
Weigh = Callable[[Path, Mapping[str, int]], Mapping[str, Usage]]
"""Given a run's folder and the attempts under way, what each has used (see `penstock.backend.Runner.usages`)."""


class Display(Protocol):
    """What shows a run while it goes on."""

    def take(self, event: Event) -> None:
        """Takes an event of the run."""

    def closing(self, run: Run) -> Iterator[str]:
        """What is to be said of the nodes at the end, as far as it was not."""


@contextmanager
def shown(
    pipeline: PipelineSpec, *, quiet: bool = False, changing: bool = True, weigh: Weigh | None = None
) -> Iterator[Display]:
    """For its duration, what happens in a run is shown on standard output.

    Args:
        pipeline: what runs.
        quiet: whether nothing is.
        changing: whether a picture may stand there that changes, where a terminal can show it; else lines follow one
            another.
        weigh: what tells of attempts under way what they have used so far.
    """
    console = Console(highlight=False)
    if quiet:
        yield Quiet()
    elif changing and sys.stdout.isatty() and not console.is_dumb_terminal:  # FORCE_COLOR alone makes no terminal
        view = Picture(pipeline, console, weigh)
        view.start()
        try:
            yield view
        finally:
            view.stop()
    else:
        yield Lines(pipeline, console)


class Quiet:
    """Shows nothing."""

    def take(self, event: Event) -> None:
        """Does nothing."""

    def closing(self, run: Run) -> Iterator[str]:
        """Nothing."""
        yield from ()


class Lines:
    """Shows a run as lines (see `terminal.Progress`)."""

    def __init__(self, pipeline: PipelineSpec, console: Console) -> None:
        self._console = console
        self._lines = terminal.Progress(Tally(pipeline))

    def take(self, event: Event) -> None:
        """Prints the event's lines."""
        with suppress(OSError):  # a terminal that is gone: the run goes on, or is about to be stopped in order
            for line in self._lines.lines(event):
                self._console.print(line, soft_wrap=True)

    def closing(self, run: Run) -> Iterator[str]:
        """The summary of a run of so many nodes that not each had its line."""
        if len(run.nodes) > terminal.MANY:
            yield from terminal.summary(run)


class Picture:
    """Shows a run as a picture. Events come in the thread that runs the pipeline; another one draws it."""

    def __init__(self, pipeline: PipelineSpec, console: Console, weigh: Weigh | None = None) -> None:
        self._tally = Tally(pipeline)
        self._lines = terminal.Progress()
        self._weigh = weigh
        self._weighed = 0.0
        self._usages: Mapping[str, Usage] = {}
        self._folder: Path | None = None
        self._console = console
        self._run = ""
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._live = Live(
            console=console, auto_refresh=False, transient=True, get_renderable=self.picture, vertical_overflow="crop"
        )
        self._drawer = threading.Thread(target=self._draw, name="penstock-live", daemon=True)

    def start(self) -> None:
        """Begins to draw."""
        self._live.start()
        self._drawer.start()

    def stop(self) -> None:
        """Takes the picture away."""
        self._over.set()
        self._drawer.join()
        with suppress(OSError):
            self._live.stop()

    def closing(self, run: Run) -> Iterator[str]:
        """A line for each node, or the summary where there are many."""
        if len(run.nodes) > _MOST_ROWS:
            yield from terminal.summary(run)
        else:
            yield from terminal.ends(run)

    def take(self, event: Event) -> None:
        """Takes an event; what a person should not miss stays above the picture."""
        with self._lock:
            self._tally.take(event)
        if isinstance(event, RunStarted):
            self._run, self._folder = event.run, event.folder
        is_failure = isinstance(event, NodeEnded) and event.node.state is State.FAILED
        if is_failure or isinstance(event, (AttemptFailed, Noticed)):
            with suppress(OSError):
                for line in self._lines.lines(event):
                    self._console.print(line, soft_wrap=True)

    def _draw(self) -> None:
        pause = _REFRESH_SECONDS
        while not self._over.wait(pause):
            began = time.monotonic()
            self._look_at_attempts(began)
            with suppress(OSError):
                self._live.refresh()
            # A large picture is drawn less often, so that the run has nearly all of the time.
            pause = max(_REFRESH_SECONDS, _PAUSE_PER_DRAWING * (time.monotonic() - began))

    def _look_at_attempts(self, now: float) -> None:
        if self._weigh is None or self._folder is None or now < self._weighed + _WEIGHING_SECONDS:
            return
        self._weighed = now
        with self._lock:
            attempts = {node: attempt for node, (attempt, _) in self._tally.whole.running.items()}
        self._usages = self._weigh(self._folder, attempts) if attempts else {}

    def picture(self) -> Group:
        """The picture as of now."""
        with self._lock:
            now, whole = time.monotonic(), self._tally.whole
            room = min(max(self._console.height - 5, _FEWEST_ROWS), _MOST_ROWS)
            return Group(
                _head(whole, self._run, now - self._began, self._console.width),
                _bar(whole, min(self._console.width - 4, 72)),
                _table(self._tally.parts, room, now, self._usages),
            )


def _head(whole: Part, run: str, seconds: float, width: int) -> Text:
    left = Text.assemble((whole.label, "bold"), (f"  run {run}" if run else "", "dim"))
    right = duration_text(max(seconds, 0.1))
    left.truncate(max(width - len(right) - 2, 8), overflow="ellipsis")
    return Text.assemble(left, " " * max(width - left.cell_len - len(right) - 1, 1), right)


def _bar(whole: Part, width: int) -> Group:
    """How many nodes came to what, as parts of a bar and in numbers."""
    total = max(whole.total, whole.done + len(whole.running), 1)
    bar = Text("  ")
    for state, count in whole.ended.items():
        bar.append("━" * (count * width // total), style=terminal.MARKS[state][0])
    bar.append("━" * (len(whole.running) * width // total or bool(whole.running)), style="blue")
    bar.append("━" * max(width + 2 - bar.cell_len, 0), style="bright_black")
    counts = [Text(f"  {whole.done} of {total}")]
    for state, count in whole.ended.items():
        colour, mark = terminal.MARKS[state]
        counts.append(Text.assemble((f"{mark} ", colour), f"{count} {state.value.replace('_', ' ')}"))
    if whole.running:
        counts.append(Text.assemble(("▸ ", "blue"), f"{len(whole.running)} running"))
    line = Text("   ", no_wrap=True, overflow="ellipsis").join(counts)
    return Group(bar, line, Text())


def _table(parts: Sequence[Part], room: int, now: float, usages: Mapping[str, Usage]) -> Table:
    table = Table.grid(padding=(0, 1), expand=False)
    table.add_column(width=3, justify="right", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=2)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    chosen = chosen_parts(parts, room)
    ids = {part.id for part in chosen}
    for part in chosen:
        is_under_box = part.box is None or part.box.id in ids
        label = "  " * part.depth + part.label if is_under_box or not part.depth else part.id
        name = Text(label, style="" if part.done or part.running else "dim")
        table.add_row(_mark(part), name, *_facts(part, now, usages))
    if len(parts) > len(chosen):
        hidden = [part for part in parts if part.id not in ids and not part.is_box]
        over = sum(part.is_over for part in hidden)
        table.add_row("", Text(f"… {over} more done, {len(hidden) - over} to come", style="dim"), "", "")
    return table


def chosen_parts(parts: Sequence[Part], room: int) -> list[Part]:
    """As many parts as there is room for, in their order.

    First what runs and what failed, then the boxes around all, what ended last, and what comes next.
    """
    if len(parts) <= room:
        return list(parts)

    def rank(item: tuple[int, Part]) -> tuple[int, int]:
        place, part = item
        if part.running and not part.is_box:
            return 0, place
        if part.has_failed and not part.is_box:
            return 1, place
        if part.running or (part.is_box and not part.depth):
            return 2, place
        return (3, -part.moment) if part.is_over else (4, place)

    kept = sorted(enumerate(parts), key=rank)[: room - 1]
    return [part for _, part in sorted(kept, key=lambda item: item[0])]


def _mark(part: Part) -> Text:
    if part.has_failed:
        colour, mark = terminal.MARKS[State.FAILED]
    elif part.running:
        colour, mark = "blue", "▸"
    elif part.is_over:
        state = next((each for each in State if each in part.ended), State.SUCCEEDED)
        colour, mark = terminal.MARKS[state]
    else:
        colour, mark = "dim", "·"
    return Text(mark, style=colour)


def _facts(part: Part, now: float, usages: Mapping[str, Usage]) -> tuple[Text, Text]:
    """How far it is, or how long it took; and what else there is to say of it."""
    if part.running and not part.is_box and part.total <= 1:
        instance, (attempt, began) = next(iter(part.running.items()))
        used = usages.get(instance, Usage())
        more = [f"attempt {attempt}"] if attempt > 1 else []
        more += [f"{duration_text(used.cpu_seconds)} CPU"] if used.cpu_seconds else []
        more += [size_text(used.peak_memory)] if used.peak_memory else []
        return Text(duration_text(max(now - began, 0.1))), Text("  ".join(more), style="dim")
    if part.total > 1 or part.is_box:
        said = [f"{len(part.running)} running"] if part.running else []
        failed = part.ended[State.FAILED]
        said += [f"{failed} failed"] if failed else []
        return Text(f"[{part.done}/{max(part.total, part.done)}]"), Text(", ".join(said), style="dim")
    node = part.last
    if node is None:
        return Text(), Text()
    if not node.attempts:
        return Text(node.state.value.replace("_", " "), style="dim"), Text()
    more = [f"{name} {value:.4g}" for name, value in node.metrics.items()]
    more += [size_text(node.peak_memory)] if node.peak_memory else []
    return Text(duration_text(node.seconds)), Text("  ".join(more), style="dim")
