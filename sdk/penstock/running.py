"""A run as the command line has it: shown while it goes on, its end told by the exit code."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import typer

from penstock import chronicle, compiler, live, terminal
from penstock.backend import Definition
from penstock.console import err, errors, interrupts, out
from penstock.results import Run, State


def run_and_exit(
    prepare: Callable[[], tuple[Definition, Mapping[str, Any]]],
    explain: bool = False,
    quiet: bool = False,
    **options: Any,
) -> NoReturn:
    """Runs a pipeline on this machine, and leaves with 0, 1 where it failed, or 128 + N where signal N stopped it.

    Args:
        prepare: gives the pipeline, and each of its parameters, encoded; what it raises is told as any command's.
        explain: whether to say at the end why each node ran, or that an earlier result stood in.
        quiet: whether to leave out what is told of each node.
        options: run options; those that are None are left to the configuration.
    """
    with errors(), interrupts() as received:
        definition, parameters = prepare()
        # No changing picture around steps that print, or stop in a debugger, in this process.
        weigh = compiler.runner().usages
        with live.shown(definition.spec, quiet=quiet, changing=not options.get("inline"), weigh=weigh) as display:
            finished = compiler.run_definition(definition, parameters, on_event=display.take, **options)
    for line in display.closing(finished):
        out.print(line)
    for line in terminal.failures(finished):
        err.print(line)
    if definition.spec.returns.kind != "none" and finished.state.is_good:
        for line in _result(finished):
            out.print(line)
    if explain:
        for line in _reasons(definition, finished, options.get("store")):
            out.print(line)
    for line in terminal.how_to_resume(finished, _unless_usual(options.get("store"))):
        err.print(line)
    out.print(terminal.ending(finished))
    if finished.state is State.CANCELLED:
        raise typer.Exit(128 + (received[0] if received else signal.SIGINT))
    raise typer.Exit(0 if finished.state.is_good else 1)


def _reasons(definition: Definition, finished: Run, store: str | Path | None) -> Iterator[str]:
    history = compiler.history(definition.folder, store)
    states = {node.id: node.state.value for node in finished.nodes.values()}
    return chronicle.reasons(history.explain(history.find(finished.id)), states)


def _unless_usual(store: str | None) -> str | None:
    """The store, where commands that are given none would use another."""
    return None if store is None or store == str(compiler.history(None).place) else store


def _result(finished: Run) -> Iterator[str]:
    try:
        value = finished.outputs
    except Exception as error:  # noqa: BLE001  # reading it may run the author's code, which may raise anything
        return terminal.kept(finished, error)
    return terminal.result(value)
