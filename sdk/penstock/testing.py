"""Tests of pipelines: runs in a store of their own, fakes for steps, and golden files.

With pytest nothing needs to be set up: the fixtures ``penstock_run`` and ``penstock_golden`` are there.

def test_the_better_model_is_deployed(penstock_run):
    run = penstock_run(retrain, url="rows.csv", fakes={load: ROWS, "train[1]": MemoryError("too deep")})
    assert run.states["train[0]"] == "succeeded"
    assert run.assert_failed("train[1]").attempts == 3

def test_what_airflow_is_given(penstock_golden):
    penstock_golden(retrain, "airflow")          # expected/airflow/... beside the test

Elsewhere, or for a fixture of another scope, a `PipelineRunner` is made with the folder that it may use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from penstock.authoring import Pipeline, run_definition
from penstock.backend import Definition
from penstock.diagnostics import ConfigurationError, Diagnostic, PenstockError
from penstock.fakes import Call, Fake, Fakes, attempts, fake, placed, raises, refuse_missing_items, returns
from penstock.golden import Golden
from penstock.results import Event, State
from penstock.spec import Branch, Group, Loop, Node, PipelineSpec, Settings, Task
from penstock.trials import MisusedError, Recorder, Trial

__all__ = ["Call", "Fake", "Golden", "PipelineRunner", "Trial", "attempts", "fake", "raises", "returns"]


class PipelineRunner:
    """Runs pipelines in a store of its own, and keeps the ``runs``. The fixture ``penstock_run`` is one for each test.

    Args:
        store: the folder for outputs, cache and history.
    """

    def __init__(self, store: str | Path) -> None:
        self.store = Path(store)
        self.runs: list[Trial] = []

    def __call__(
        self,
        pipeline: Pipeline[..., Any],
        given: Mapping[str, Any] | None = None,
        /,
        *,
        fakes: Fakes | None = None,
        inline: bool = True,
        cache: bool = False,
        delays: bool = False,
        **more: Any,
    ) -> Trial:
        """Runs a pipeline to its end; a failed step is a state of the result, not an exception.

        Args:
            pipeline: what to run.
            given: its parameters by name; they may as well be given as keyword arguments.
            fakes: what stands in for steps: by a node's name (``train``, ``outer.train``, ``train[2]`` for one item of
                a loop) or by a step, for all of its nodes. A function is called as the step would be, an error is
                raised, any other value is returned; see `fake`, `returns`, `raises`, `attempts`. What it gives is
                checked and kept as the step's own would be.
            inline: run each step in this process, one after another, so that breakpoints, coverage and patches work.
                What a step asks for of resources and images then counts for nothing.
            cache: let what an earlier run in this store computed stand in. A fake is called each time in any case.
            delays: wait between attempts, as the steps' ``retry`` says.
            more: parameters, and options of the local engine, by name, such as ``secrets={"warehouse/password": "x"}``.
                Alerts, telemetry, and sources of secrets that the project's configuration names are off, unless they
                are given here. A step with a fake for all of its calls needs no secrets.

        Raises:
            ParameterError: a parameter is unknown, missing, or not of its type.
            DefinitionError: the pipeline is not sound.
            ConfigurationError: a fake stands in for nothing, or cannot be called as its step is.
            KeyboardInterrupt: Ctrl-C; a fake that raises one cancels the run alone.
        """
        __tracebackhide__ = True
        _refuse_all_but_pipelines(pipeline)
        if fakes and not inline:
            message = "a fake stands in for a step in this process alone, and the run is to use others"
            raise ConfigurationError(Diagnostic("P743", message, fix="leave `inline=False` out"))
        try:
            definition = pipeline.define()
            recorder = Recorder(definition, placed(definition, fakes or {}))
            adapted = _adapted(recorder, inline=inline, cache=cache, delays=delays)
            watch = _both(recorder.watch, _listener(definition.spec, more))
            with recorder.listening() if inline else nullcontext():
                fixed = {"store": self.store, "inline": inline, "on_event": watch, **_unasked(definition.spec, more)}
                run = run_definition(adapted, given or {}, more, **fixed)
            trial = Trial.of(run, recorder, is_inline=inline)
            self.runs.append(trial)
            if run.state is State.CANCELLED and not recorder.is_interrupted_on_purpose:
                raise KeyboardInterrupt
            refuse_missing_items(definition.spec, recorder.fakes, run.nodes)
        except MisusedError as misused:
            raise misused.error from None
        except PenstockError as error:
            raise error.with_traceback(None) from None  # it says what is wrong; where in Penstock tells no one more
        return trial


def _refuse_all_but_pipelines(thing: object) -> None:
    __tracebackhide__ = True
    if not isinstance(thing, Pipeline):
        raise TypeError(f"{thing!r:.60} is no pipeline: give what `@pipeline` made")


def _unasked(pipeline: PipelineSpec, more: Mapping[str, Any]) -> dict[str, object]:
    """What a test must not do to others by what the project is configured to do."""
    asked = more.keys() - {each.name for each in pipeline.parameters}
    configured: dict[str, object] = {"alerts": (), "telemetry": False, "secrets": {}}
    return {name: off for name, off in configured.items() if name not in asked}


def _listener(pipeline: PipelineSpec, more: Mapping[str, Any]) -> Callable[[Event], object] | None:
    """The test's own listener, unless ``on_event`` is a parameter of the pipeline."""
    return None if any(each.name == "on_event" for each in pipeline.parameters) else more.get("on_event")


def _both(one: Callable[[Event], object], other: Callable[[Event], object] | None) -> Callable[[Event], object]:
    def tell(event: Event) -> None:
        one(event)
        if other is not None:
            other(event)

    return tell


def _adapted(recorder: Recorder, *, inline: bool, cache: bool, delays: bool) -> Definition:
    """The pipeline as a test runs it."""
    definition = recorder.definition

    def settings(task: Task) -> Settings:
        changes: dict[str, object] = {}
        if not cache or recorder.has_fake(task.id):
            changes["cache"] = False
        if task.id in recorder.fakes:
            changes["secrets"] = ()
        if not delays and task.settings.retry is not None:
            changes["retry"] = task.settings.retry.model_copy(update={"delay": 0.0})
        if inline:
            changes |= {"resources": None, "image": ""}
        return task.settings.model_copy(update=changes)

    spec = _with_settings(definition.spec, settings)
    return replace(definition, spec=spec, functions=recorder.functions()) if inline else replace(definition, spec=spec)


def _with_settings(pipeline: PipelineSpec, settings: Callable[[Task], Settings]) -> PipelineSpec:
    """The pipeline with other settings for each of its tasks, those at its end included."""

    def task(task_: Task) -> Task:
        rollback = task_.rollback and task(task_.rollback)
        return task_.model_copy(update={"settings": settings(task_), "rollback": rollback})

    def body(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        return tuple(map(node, nodes))

    def node(node_: Node) -> Node:
        if isinstance(node_, Task):
            return task(node_)
        if isinstance(node_, (Group, Loop)):
            return node_.model_copy(update={"body": body(node_.body)})
        if isinstance(node_, Branch):
            return node_.model_copy(update={"then": body(node_.then), "otherwise": body(node_.otherwise)})
        return node_

    endings = {name: tuple(map(task, getattr(pipeline, name))) for name in ("on_failure", "on_exit")}
    return pipeline.model_copy(update={"body": body(pipeline.body), **endings})
