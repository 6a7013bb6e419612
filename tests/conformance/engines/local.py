"""This machine: the local engine in worker processes and inline, and the emitted stand-alone runner."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from penstock import Pipeline, compiler
from penstock.spec import TypeKind
from penstock.values import Json
from penstock_backends.local.objects import located
from penstock_backends.local.options import RunOptions
from penstock_backends.local.store import Store
from tests.conformance.engine import Observed
from tests.conformance.secret_values import in_environment, variables_of
from tests.engines.standalone import standalone

NOT_INLINE = {
    "deaths_count_as_attempts": "inline, a step that ends its process ends this one",
    "endings_after_killed_steps": "inline, a step that ends its process ends this one",
    "items_that_die": "inline, a step that ends its process ends this one",
    "a_timeout_ends_the_whole_attempt": "inline, what a step started is killed, but is left to this process to collect",
    "packages_of_one_step": "inline, a step has the packages of this process",
}


@dataclass(frozen=True)
class Local:
    """The engine behind ``run``. What a node gave is read from the store, as another process would read it."""

    name: str
    inline: bool
    target: str = "local"

    def run(self, pipeline: Pipeline[..., Any], parameters: dict[str, Any], folder: Path) -> Observed:
        if self.inline and pipeline.name in NOT_INLINE:
            pytest.skip(NOT_INLINE[pipeline.name])
        place = folder / f"store-{self.name}"
        heard = BytesIO()
        with TextIOWrapper(heard, write_through=True) as printed, redirect_stdout(printed), in_environment(pipeline):
            finished = pipeline.run(parameters, store=place, inline=self.inline)
            said = heard.getvalue().decode(errors="replace")
        assert finished.folder is not None
        store = Store(place)
        events = [json.loads(line) for line in (finished.folder / "events.jsonl").read_text().splitlines()]
        keys = {event["node"]: event["result"] for event in events if event.get("result")}
        outputs = {
            node: {
                name: located(wire, folder / "outputs" / node / name, store.objects)
                for name, wire in store.result(key)["outputs"].items()
            }
            for node, key in keys.items()
        }
        states = {node.id: node.state.value for node in finished.nodes.values()}
        return Observed(finished.state.value, states, outputs, "\n".join([said, *map(_told, finished.nodes.values())]))


def _told(node: Any) -> str:
    log = node.log.read_text(errors="replace") if node.log else ""
    return f"{node.id}: {node.state.value} {node.error}\n{node.traceback}\n{log}"


class StandaloneRunner:
    """The emitted file, under an interpreter that has no Penstock."""

    name = "standalone"
    target = "local"

    def run(self, pipeline: Pipeline[..., Any], parameters: dict[str, Any], folder: Path) -> Observed:
        files = pipeline.compile("local")
        (program,) = files
        arguments = [each for name, text in typed(pipeline, parameters).items() for each in (f"--{name}", text)]
        given = ["--json", *arguments, *budget(pipeline)]
        ran = standalone().run(files, program, given, folder=folder, environ=variables_of(pipeline))
        assert ran.code in (0, 1), ran.stderr
        said: dict[str, Any] = json.loads(ran.stdout)
        assert ran.code == int(said["state"] != "succeeded")
        logs = [file.read_text(errors="replace") for file in sorted(Path(said["folder"]).glob("*/log.txt"))]
        return Observed(said["state"], said["nodes"], said["outputs"], "\n".join([ran.stderr, *logs]))


def typed(pipeline: Pipeline[..., Any], parameters: dict[str, Any]) -> dict[str, str]:
    """The values as a person types them: a text as it is, all else as JSON."""
    texts = {each.name for each in pipeline.spec.parameters if each.type.kind is TypeKind.STR}
    wires: dict[str, Json] = pipeline.encode_parameters(parameters)
    return {name: wires[name] if name in texts else json.dumps(wires[name]) for name in parameters}


def budget(pipeline: Pipeline[..., Any]) -> list[str]:
    """What the project of a pipeline says that its steps may ask for together."""
    options = RunOptions(**compiler.project(pipeline.define().folder).options(compiler.RUN))
    memory = None if options.memory is None else options.memory / 2**30
    given = {"--cpu": options.cpu, "--memory": memory, "--gpu": options.gpu}
    return [each for flag, amount in given.items() if amount is not None for each in (flag, str(amount))]


ENGINES = (Local("local-inline", inline=True), Local("local-workers", inline=False), StandaloneRunner())
