"""The command line. The only place that prints, and that writes emitted files.

Exit codes: 0 fine; 1 the run or the check failed, or what was compared differs; 2 what the user gave was wrong;
128 + N signal N stopped a run.
"""

from __future__ import annotations

import difflib
import itertools
import json
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from penstock import (
    __version__,
    cli_deploy,
    cli_diff,
    cli_init,
    cli_lineage,
    cli_report,
    cli_runs,
    cli_store,
    compiler,
    parameters,
    terminal,
)
from penstock.backend import MADE_BY, Definition, Files
from penstock.configuration import ENVIRONMENT
from penstock.console import Target, err, errors, option_values, out, pairs, print_problems, write_all
from penstock.diagnostics import CompileError, ConfigurationError, Diagnostic
from penstock.event_log import event_schema
from penstock.figure import figure_of
from penstock.graph import mermaid
from penstock.loading import load_definition
from penstock.running import run_and_exit
from penstock.spec import GIVE, PipelineSpec, tasks
from penstock.support import portability
from penstock.svg import picture


class _EnvironmentFirst(TyperGroup):
    """The commands, with `--environment NAME` taken wherever it stands: it holds for each of them."""

    def parse_args(self, context: Any, words: list[str]) -> list[str]:
        """Puts it in front, where the group looks for its options."""
        place = next((n for n, word in enumerate(words) if word.partition("=")[0] == "--environment"), None)
        if place is None or words[place:] == ["--environment"]:
            return super().parse_args(context, words)
        end = place + (1 if "=" in words[place] else 2)
        return super().parse_args(context, [*words[place:end], *words[:place], *words[end:]])


app = typer.Typer(
    name="penstock",
    cls=_EnvironmentFirst,
    help="Write a pipeline once; run it here, and on Kubeflow, Airflow and GitHub Actions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cli_runs.app.command()(cli_report.report)
cli_runs.app.command("lineage")(cli_lineage.show_lineage)
app.command()(cli_deploy.deploy)
app.command()(cli_diff.diff)
app.command()(cli_init.init)
app.add_typer(cli_runs.app)
app.add_typer(cli_store.app)


def main() -> None:
    """Runs the command line."""
    try:
        app()
    except KeyboardInterrupt:  # before there was anything to stop
        raise SystemExit(128 + signal.SIGINT) from None


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
    environment: Annotated[
        str,
        typer.Option(
            envvar=ENVIRONMENT, help=escape("Which of the [tool.penstock.environments] of pyproject.toml holds.")
        ),
    ] = "",
) -> None:
    if environment:
        os.environ[ENVIRONMENT] = environment
    if version:
        out.print(f"penstock {__version__}")
        raise typer.Exit


@app.command()
def run(
    target: Target,
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="A parameter; anything but a text as JSON."),
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="Where outputs, cache and history go: a folder or a URL; .penstock by default.")
    ] = None,
    inline: Annotated[bool, typer.Option(help="Run the steps in this process, for debuggers.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="How many steps may run at once; one per core by default.")
    ] = None,
    cpu: Annotated[
        float | None, typer.Option(help="The cores that steps at work may ask for together; by default this machine's.")
    ] = None,
    memory: Annotated[str | None, typer.Option(metavar="SIZE", help="Likewise their memory, such as 16Gi.")] = None,
    gpu: Annotated[int | None, typer.Option(help="Likewise their GPUs.")] = None,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Say only what failed, and what the run came to.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say at the end why each node ran, or that a result stood in.")
    ] = False,
) -> None:
    """Run a pipeline on this machine."""

    def prepare() -> tuple[Definition, dict[str, Any]]:
        definition = load_definition(target)
        values = parameters.parse_parameters(definition, pairs(parameter or [], "-p"))
        return definition, parameters.encode_parameters(definition, values)

    budget: dict[str, Any] = {"cpu": cpu, "memory": memory, "gpu": gpu}
    run_and_exit(
        prepare, explain=explain, quiet=quiet, store=store, inline=inline or None, max_workers=workers, **budget
    )


@app.command(name="compile")
def compile_(
    target: Target,
    to: Annotated[str, typer.Option(metavar="TARGET[,TARGET...]", help="What to compile to, or `all`.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write to.")] = Path(),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if what is there differs.")] = False,
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="An option of the target.")
    ] = None,
    airflow: Annotated[int | None, typer.Option(help="The major version of Airflow: 3 (the default) or 2.")] = None,
) -> None:
    """Write the files that run a pipeline on other engines."""
    with errors():
        definition = load_definition(target)
        names = _targets(to)
        emitted, refused = _compiled(definition, compiler.shared_options(_options(option or [], airflow), names))
    if refused:
        _print_refusals(refused, names)
        raise typer.Exit(1)
    folders = {name: output if len(names) == 1 else output / name for name in names}
    written = {folders[name] / path: text for name, files in emitted.items() for path, text in files.items()}
    if check:
        raise typer.Exit(_compare(written))
    with errors():
        _refuse_what_others_wrote(written)
        write_all(written)


def _refuse_what_others_wrote(files: Mapping[Path, str]) -> None:
    """A DAG file may well be called as the pipeline's own source, and lie beside it."""
    authored = [place for place, text in files.items() if _is_ours(text.splitlines()) and _is_anothers(place)]
    if authored:
        said = f"nothing was written: {', '.join(map(str, authored))} is there, and was not made by Penstock"
        raise ConfigurationError(Diagnostic("P707", said, fix="give another folder: -o FOLDER; or take it away"))


def _is_anothers(place: Path) -> bool:
    if not place.is_file():
        return False
    with place.open(encoding="utf-8", errors="replace") as lines:
        return not _is_ours(lines)


def _is_ours(lines: Iterable[str]) -> bool:
    return any(MADE_BY in each for each in itertools.islice(lines, 3))


def _options(texts: list[str], airflow: int | None) -> dict[str, Any]:
    options = option_values(texts)
    return options if airflow is None else {**options, "airflow": airflow}


def _targets(to: str) -> tuple[str, ...]:
    return compiler.targets() if to == "all" else tuple(dict.fromkeys(each.strip() for each in to.split(",")))


def _compiled(
    definition: Definition, options: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, Files], dict[str, tuple[Diagnostic, ...]]]:
    """What each target emits, or why it refuses."""
    emitted: dict[str, Files] = {}
    refused: dict[str, tuple[Diagnostic, ...]] = {}
    project = compiler.project(definition.folder)
    for target, given in options.items():
        try:
            emitted[target] = compiler.compile_definition(definition, target, given, project)
        except CompileError as error:
            refused[target] = error.diagnostics
    return emitted, refused


def _print_refusals(refused: Mapping[str, tuple[Diagnostic, ...]], names: tuple[str, ...]) -> None:
    print_problems([each for problems in refused.values() for each in problems])
    err.print()
    err.print(f"[red]refused by {', '.join(refused)}: nothing was written[/]")
    others = [name for name in names if name not in refused]
    if others:
        err.print(f"fix: mend it, or compile for the others: --to {','.join(others)}")


def _compare(files: Mapping[Path, str]) -> int:
    """Prints how files on disk differ from what would be written; 1 if they do."""
    differing = 0
    for path, text in files.items():
        before = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        if path.is_file() and before == text:
            continue
        differing += 1
        said = "differs" if path.is_file() else "is missing"
        err.print(f"[red]{escape(str(path))} {said}[/]")
        sides = f"{path} (on disk)", f"{path} (as compiled)"
        lines = difflib.unified_diff(before.splitlines(), text.splitlines(), *sides, lineterm="", n=2)
        sys.stdout.writelines(f"{line}\n" for line in lines if path.is_file())
    if differing:
        err.print("fix: compile again without --check, and commit the result")
    return 1 if differing else 0


@app.command()
def check(
    target: Target,
    to: Annotated[str, typer.Option(metavar="TARGET[,TARGET...]", help="Which targets to check.")] = "all",
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say whether a pipeline is sound, and what each target makes of what it asks for."""
    with errors():
        found = portability(load_definition(target), _targets(to))
    if as_json:
        sys.stdout.write(json.dumps(found.as_json(), indent=2) + "\n")
        raise typer.Exit(1 if found.refused else 0)
    spec = found.definition.spec
    called = [task.step for task in tasks(spec.body) if task.step != GIVE]
    out.print(f"[bold]{escape(spec.name)}[/]: {len(called)} tasks of {len(set(called))} steps, sound")
    for line in terminal.support(found):
        out.print(line)
    for name in found.targets:
        problems = found.refused.get(name, ())
        count = f"{len(problems)} {'reason' if len(problems) == 1 else 'reasons'}"
        out.print(f"  {name:<10} " + ("[green]ok[/]" if not problems else f"[red]refused, {count}[/]"))
        print_problems(problems)
    raise typer.Exit(1 if found.refused else 0)


@app.command()
def spec(target: Target) -> None:
    """Print a pipeline's spec as JSON."""
    with errors():
        found = load_definition(target).spec
    sys.stdout.write(found.model_dump_json(indent=2) + "\n")


@app.command()
def schema(
    events: Annotated[bool, typer.Option("--events", help="The one of a line of a run's events.jsonl.")] = False,
) -> None:
    """Print the JSON Schema of specs."""
    found = event_schema() if events else PipelineSpec.model_json_schema()
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


class GraphFormat(str, Enum):
    """How a graph is printed."""

    MERMAID = "mermaid"
    SVG = "svg"


@app.command()
def graph(
    target: Target,
    format_: Annotated[
        GraphFormat, typer.Option("--format", help="As a Mermaid flowchart, or as a picture.")
    ] = GraphFormat.MERMAID,
) -> None:
    """Print a pipeline's graph."""
    with errors():
        found = load_definition(target).spec
    sys.stdout.write(mermaid(found) if format_ is GraphFormat.MERMAID else picture(figure_of(found), title=found.name))
