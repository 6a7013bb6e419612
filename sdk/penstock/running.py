"""A run as the command line has it: shown while it goes on, its end told by the exit code."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import typer

from penstock import chronicle, compiler, terminal
from penstock.backend import Definition
from penstock.console import err, errors, interrupts, out
from penstock.results import Event, Run, State


def run_and_exit(
    prepare: Callable[[], tuple[Definition, Mapping[str, Any]]], explain: bool = False, **options: Any
) -> NoReturn:
    """Runs a pipeline on this machine, and leaves with 0, 1 where it failed, or 128 + N where signal N stopped it.

    Args:
        prepare: gives the pipeline, and each of its parameters, encoded; what it raises is told as any command's.
        explain: whether to say at the end why each node ran, or that an earlier result stood in.
        options: run options; those that are None are left to the configuration.
    """
    progress = terminal.Progress()

    def show(event: Event) -> None:
        with suppress(OSError):  # a terminal that is gone: the run goes on, or is about to be stopped in order
            for line in progress.lines(event):
                out.print(line)

    with errors(), interrupts() as received:
        definition, parameters = prepare()
        finished = compiler.run_definition(definition, parameters, on_event=show, **options)
    for line in terminal.failures(finished):
        err.print(line)
    if definition.spec.returns.kind != "none" and finished.state.is_good:
        for line in _result(finished):
            out.print(line)
    if explain:
        for line in _reasons(definition, finished, options.get("store")):
            out.print(line)
    out.print(terminal.ending(finished))
    if finished.state is State.CANCELLED:
        raise typer.Exit(128 + (received[0] if received else signal.SIGINT))
    raise typer.Exit(0 if finished.state.is_good else 1)


def _reasons(definition: Definition, finished: Run, store: str | Path | None) -> Iterator[str]:
    history = compiler.history(definition.folder, store)
    states = {node.id: node.state.value for node in finished.nodes.values()}
    return chronicle.reasons(history.explain(history.find(finished.id)), states)


def _result(finished: Run) -> Iterator[str]:
    try:
        value = finished.outputs
    except Exception as error:  # noqa: BLE001  # reading it may run the author's code, which may raise anything
        return terminal.kept(finished, error)
    return terminal.result(value)
