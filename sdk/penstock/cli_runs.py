"""The commands for the runs that a store holds."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from penstock import chronicle, compiler, parameters
from penstock.backend import Definition
from penstock.console import err, errors, out
from penstock.delta import node_differences
from penstock.diagnostics import ConfigurationError, Diagnostic, PenstockError, did_you_mean
from penstock.differences import code_changes
from penstock.harness import parts_of
from penstock.history import History, PastAttempt, PastNode, PastRun
from penstock.loading import load_definition
from penstock.running import run_and_exit
from penstock.upkeep import span_of

app = typer.Typer(name="runs", help="See the runs that a store holds, and go on with them.", no_args_is_help=True)

RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, the beginning of one, or `latest`.")]
Where = Annotated[
    str | None, typer.Option("--store", help="Which store; by default the one that runs started here use.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
_PAUSE = 0.2
_BLOCK = 1 << 20
_MOST_NAMES = 20
_AS_IT_WAS = "have it run as it was then: --as-it-was"


@app.command(name="list")
def list_(
    pipeline: Annotated[str, typer.Option(help="Only the runs of this pipeline.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="How many, the newest first; 0 for all.")] = 20,
    store: Where = None,
    as_json: AsJson = False,
) -> None:
    """List runs, the newest first."""
    with errors():
        found = list(islice(compiler.history(None, store).runs(pipeline), limit + 1 if limit else None))
    shown = found[:limit] if limit else found
    if as_json:
        _print_json([chronicle.run_as_json(each) for each in shown])
    elif shown:
        for line in chronicle.runs(shown, more=len(found) > len(shown)):
            out.print(line)
    else:
        said = f"no runs of `{escape(pipeline)}` yet" if pipeline else "no runs yet"
        out.print(f"{said}: `penstock run FILE` makes one, `--store` looks elsewhere")


@app.command()
def show(
    run: RunId = "latest",
    explain: Annotated[
        bool, typer.Option("--explain", help="Say also why each node ran, or that a result stood in.")
    ] = False,
    store: Where = None,
    as_json: AsJson = False,
) -> None:
    """Show what a run was given, and what became of each node."""
    with errors():
        history = compiler.history(None, store)
        found = history.find(run)
        nodes, given = history.nodes(found), history.parameters(found)
        reasons = history.explain(found) if explain else {}
    if as_json:
        said = {node.id: {"why": reasons[node.id]} if node.id in reasons else {} for node in nodes.values()}
        rows = [{**chronicle.node_as_json(node), **said[node.id]} for node in nodes.values()]
        _print_json({**chronicle.run_as_json(found), "parameters": given, "nodes": rows})
        return
    for line in chronicle.run(found, given, nodes):
        out.print(line)
    if explain:
        for line in chronicle.reasons(reasons, {name: node.state for name, node in nodes.items()}):
            out.print(line)


@app.command()
def logs(
    run: RunId = "latest",
    node: Annotated[str, typer.Argument(metavar="[NODE]", help="A node, in a loop as train[2]; all by default.")] = "",
    attempt: Annotated[int | None, typer.Option(min=1, help="Which attempt; the last one by default.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    store: Where = None,
) -> None:
    """Print what steps printed, byte by byte."""
    with errors():
        history = compiler.history(None, store)
        found = history.find(run)
        if node and not (follow and found.state == "running"):
            _check_node(node, history.nodes(found), attempt)
    printed = _Printed(lambda nodes: _asked_for(nodes, node, attempt), has_headings=not node)
    while True:
        found = history.find(found.id)
        nodes = history.nodes(found)
        printed.go_on(nodes)
        if not follow or found.state != "running" or (node in nodes and nodes[node].state != "running"):
            break
        time.sleep(_PAUSE)
    if not printed.has_any:
        err.print(_why_nothing(found, [each for name, each in nodes.items() if node in ("", name)]))


def _why_nothing(run: PastRun, asked: Sequence[PastNode]) -> str:
    """What to say where nothing was printed."""
    if any(each.state == "cached" for each in asked):
        return f"nothing was printed here; which runs computed what is cached: penstock runs show {run.id} --explain"
    return "nothing was printed; what an inline run prints goes to where it was started"


def _check_node(node: str, nodes: Mapping[str, PastNode], attempt: int | None) -> None:
    if node not in nodes:
        raise ConfigurationError(Diagnostic("P734", f"the run has no node `{node}`", fix=_nodes_like(node, nodes)))
    numbers = [each.number for each in nodes[node].attempts]
    if attempt is not None and attempt not in numbers:
        fix = f"give one of: {', '.join(map(str, numbers))}" if numbers else "none was made"
        raise ConfigurationError(Diagnostic("P734", f"`{node}` has no attempt {attempt}", fix=fix))


def _nodes_like(node: str, nodes: Mapping[str, PastNode]) -> str:
    """Which nodes may have been meant: instances in a loop, or in a nested pipeline, go by longer names than steps."""
    own = {each: parts_of(each)[0].rpartition(".")[2] for each in nodes}
    meant = [each for each in nodes if node in (own[each], parts_of(each)[0])]
    if not meant and (near := did_you_mean(node, nodes, otherwise="")):
        return near
    named = ", ".join(f"`{each}`" for each in (meant or list(nodes))[:_MOST_NAMES])
    return f"{'give one of' if meant else 'there are'}: {named}"


def _asked_for(nodes: Mapping[str, PastNode], node: str, number: int | None) -> Iterator[tuple[str, PastAttempt]]:
    """The attempts whose logs are to be printed, in the order in which they began."""
    chosen = [
        (name, each)
        for name, found in nodes.items()
        if node in ("", name)
        for each in (found.attempts[-1:] if node and number is None else found.attempts)
        if number in (None, each.number)
    ]
    yield from sorted(chosen, key=lambda pair: pair[1].began)


class _Printed:
    """What was printed of logs, so that only what is new is printed next."""

    def __init__(
        self, asked_for: Callable[[Mapping[str, PastNode]], Iterator[tuple[str, PastAttempt]]], has_headings: bool
    ) -> None:
        self.has_any = False
        self._asked_for = asked_for
        self._has_headings = has_headings
        self._read: dict[Path, int] = {}
        self._last: Path | None = None

    def go_on(self, nodes: Mapping[str, PastNode]) -> None:
        """Prints what has come since."""
        for name, attempt in self._asked_for(nodes):
            if attempt.log is None:
                continue
            with attempt.log.open("rb") as stream:
                stream.seek(self._read.get(attempt.log, 0))
                while text := stream.read(_BLOCK):
                    self._print(text, attempt.log, name, attempt.number)
                self._read[attempt.log] = stream.tell()

    def _print(self, text: bytes, log: Path, name: str, number: int) -> None:
        if self._has_headings and log != self._last:
            between = "\n" if self._last is not None else ""
            sys.stdout.buffer.write(f"{between}==> {name}, attempt {number} <==\n".encode())
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
        self._last = log
        self.has_any = True


@app.command()
def compare(
    left: RunId = "latest",
    right: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="Another one; by default the newest other of its pipeline, older first."),
    ] = None,
    store: Where = None,
    as_json: AsJson = False,
) -> None:
    """Say what differs between two runs: parameters, code, and what became of the nodes."""
    with errors():
        history = compiler.history(None, store)
        one = history.find(left)
        runs = [one, history.find(right)] if right else _by_age(one, _newest_other(history, one))
        sides = [chronicle.Side(each, history.parameters(each), history.nodes(each)) for each in runs]
        specs = [history.spec(each) for each in runs]
        changes, calls = code_changes(*specs), node_differences(*specs)
    if as_json:
        _print_json(chronicle.comparison_as_json(sides[0], sides[1], changes, calls))
        return
    for line in chronicle.comparison(sides[0], sides[1], changes, calls):
        out.print(line)


def _by_age(*runs: PastRun) -> list[PastRun]:
    return sorted(runs, key=lambda each: each.began)


def _newest_other(history: History, run: PastRun) -> PastRun:
    for each in history.runs(run.pipeline):
        if each.id != run.id:
            return each
    said = f"run {run.id} is the only one of `{run.pipeline}`"
    raise ConfigurationError(Diagnostic("P737", said, fix="run it again, or say which run to compare it with"))


@app.command()
def rm(
    runs: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Runs by their ids.")] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="TIME", help="Those that began so long ago, such as 30d.")
    ] = None,
    keep: Annotated[int | None, typer.Option(min=0, help="All but so many of the newest.")] = None,
    pipeline: Annotated[str, typer.Option(help="With --older-than and --keep: only those of this pipeline.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing; say what would go.")] = False,
    store: Where = None,
) -> None:
    """Forget runs: their records and logs. Results stay until `penstock store gc`; a run under way stays."""
    with errors():
        history = compiler.history(None, store)
        found = [history.find(each) for each in runs or ()]
        if older_than is not None or keep is not None:
            found += _outdated(history, pipeline, older_than, keep)
        elif not found:
            fix = "name runs, or say which ones: --older-than 30d, --keep 10"
            raise ConfigurationError(Diagnostic("P735", "nothing says which runs to remove", fix=fix))
        for each in {run.id: run for run in found}.values():
            if not dry_run:
                history.remove(each)
            out.print(f"{'would remove' if dry_run else 'removed'} {each.id} [dim]{escape(each.pipeline)}[/]")
    if not found:
        out.print("no run is to be removed")


def _outdated(history: History, pipeline: str, older_than: str | None, keep: int | None) -> list[PastRun]:
    """The runs that are neither among the newest nor younger than asked for, nor under way."""
    try:
        until = time.time() - (0.0 if older_than is None else span_of(older_than))
    except ValueError as error:
        raise ConfigurationError(Diagnostic("P735", f"`--older-than`: {error}")) from None
    old = islice(history.runs(pipeline), keep or 0, None)
    return [run for run in old if run.state != "running" and run.began.timestamp() <= until]


@app.command()
def resume(
    run: RunId = "latest",
    as_it_was: Annotated[
        bool, typer.Option("--as-it-was", help="Run the pipeline's code as it was then, not as it is now.")
    ] = False,
    store: Where = None,
    inline: Annotated[bool, typer.Option(help="Run the steps in this process, for debuggers.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="How many steps may run at once; one per core by default.")
    ] = None,
    cpu: Annotated[float | None, typer.Option(help="The cores that steps at work may ask for together.")] = None,
    memory: Annotated[str | None, typer.Option(metavar="SIZE", help="Likewise their memory, such as 16Gi.")] = None,
    gpu: Annotated[int | None, typer.Option(help="Likewise their GPUs.")] = None,
) -> None:
    """Go on with a run: what it completed is not done again, unless its code has changed or it was rolled back."""
    with errors():
        history = compiler.history(None, store)
        found = history.find(run)

    def prepare() -> tuple[Definition, Mapping[str, Any]]:
        definition = _definition_of(history, found, as_it_was)
        given = history.parameters(found)
        done = sum(found.counts.get(state, 0) for state in ("succeeded", "cached"))
        completed = f"{done} {'node' if done == 1 else 'nodes'} completed"
        out.print(f"resuming run {found.id} [dim]({found.state}, {completed})[/]")
        before, after = history.spec(found), definition.spec
        for line in (
            *chronicle.code(code_changes(before, after)),
            *chronicle.pipeline(node_differences(before, after)),
        ):
            out.print(f"  {line}")
        return definition, parameters.encoded_again(definition, given, found.id)

    budget: dict[str, Any] = {"cpu": cpu, "memory": memory, "gpu": gpu}
    run_and_exit(prepare, store=history.place, inline=inline or None, max_workers=workers, resumes=found.id, **budget)


def _definition_of(history: History, run: PastRun, as_it_was: bool) -> Definition:
    """The pipeline of a run as it is now; as it was then where that is asked for, or its file is gone."""
    target = str(Path(run.directory) / run.target) if run.target else ""
    file = target if target.endswith(".json") else target.rpartition(":")[0]
    if not as_it_was and file and Path(file).is_file():
        try:
            return load_definition(target)
        except PenstockError as error:
            problems = [
                replace(each, fix="; or ".join(filter(None, (each.fix, _AS_IT_WAS)))) for each in error.diagnostics
            ]
            raise type(error)(problems) from None
    if not as_it_was:
        said = f"{file} is gone" if file else "it is not known which file it was run from"
        err.print(f"[yellow]{escape(said)}[/]: the pipeline runs as it was then")
    return Definition(history.spec(run))


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
