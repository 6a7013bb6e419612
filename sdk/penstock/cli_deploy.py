"""The command that puts a pipeline where its engine looks for it, returns to what was there, and starts a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.markup import escape

from penstock import parameters
from penstock.console import Target, err, errors, interrupts, option_values, out, pairs
from penstock.deploying import Deployable, deployable
from penstock.deployment import Deployed, Version
from penstock.diagnostics import ConfigurationError, Diagnostic
from penstock.loading import load_definition


def deploy(
    target: Target,
    to: Annotated[str, typer.Option(metavar="TARGET", help="Which engine: kubeflow, airflow or github.")],
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail if it is not up to date.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what a person changed there.")] = False,
    versions: Annotated[bool, typer.Option("--versions", help="List what is and was there.")] = False,
    roll_back: Annotated[bool, typer.Option("--roll-back", help="Return to the version before this one.")] = False,
    version: Annotated[str, typer.Option(help="With --roll-back: the version to return to.")] = "",
    run: Annotated[bool, typer.Option("--run", help="Then start a run, and wait until it has ended.")] = False,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="With --run: whether to wait.")] = True,
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="A parameter of that run; not a text: as JSON."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=VALUE", help="An option of deploying, or of the target."),
    ] = None,
) -> None:
    """Put a pipeline where its engine looks for it: as a new version, or not at all where nothing has changed."""
    with errors(), interrupts():
        _refuse_what_does_not_go_together(check=check, versions=versions, roll_back=roll_back)
        if parameter and not run:
            raise ConfigurationError(Diagnostic("P802", "`-p` is of a run, which is not asked for", fix="add `--run`"))
        if version and not roll_back:
            message = "`--version` says what to return to, which is not asked for"
            raise ConfigurationError(Diagnostic("P802", message, fix="add `--roll-back`"))
        definition = load_definition(target)
        values = parameters.parse_parameters(definition, pairs(parameter or [], "-p"))
        wires = parameters.encode_parameters(definition, values) if run else {}
        found = deployable(definition, to, option_values(option or []))
        if versions:
            _print_versions(found.deployment.versions())
            return
        if check:
            raise typer.Exit(_compare(found))
        deployment = found.deployment
        if run:
            deployment.require_server()
        deployed = deployment.roll_back(version) if roll_back else deployment.put(found.files(), force=force)
        _print_deployed(definition.spec.name, deployed, "rolled back to" if roll_back else "deployed")
        if run:
            started = deployment.start(wires)
            out.print(f"started run {escape(' '.join(filter(None, (started.id, started.url))))}")
            if follow and not deployment.follow(started, lambda line: out.print(escape(line))):
                err.print(f"[red]run {escape(started.id)} did not succeed[/]")
                raise typer.Exit(1)


def _refuse_what_does_not_go_together(**asked: bool) -> None:
    given = [f"`--{name.replace('_', '-')}`" for name, wanted in asked.items() if wanted]
    if len(given) > 1:
        message = f"{' and '.join(given)} are different things to do"
        raise ConfigurationError(Diagnostic("P802", message, fix="ask for one of them"))


def _print_versions(found: Sequence[Version]) -> None:
    if not found:
        out.print("not deployed")
    for each in found:
        mark = "[green]*[/]" if each.current else " "
        out.print(f"{mark} {escape(each.name)}  {escape(each.when)}  spec {escape(each.spec)}")


def _compare(found: Deployable) -> int:
    differences = found.deployment.differences(found.files())
    for each in differences:
        err.print(f"[red]{escape(each)}[/]")
    if differences:
        err.print("fix: deploy it, without --check; with --force over what a person changed there")
    else:
        out.print(f"{escape(found.definition.spec.name)} is up to date")
    return 1 if differences else 0


def _print_deployed(name: str, deployed: Deployed, done: str) -> None:
    said = done if deployed.changed else "is up to date:"
    out.print(f"[bold]{escape(name)}[/] {said} version {escape(deployed.version)}")
    for place in deployed.places:
        out.print(f"  {escape(place)}")
    for note in deployed.notes:
        out.print(f"  {escape(note)}")
