"""Runs pipelines on this machine, and emits the stand-alone runner: a Python file that does so without Penstock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import ClassVar

from penstock.backend import Backend, Definition, Files, Options, Support, emulated, native, unsupported
from penstock.diagnostics import ConfigurationError, Diagnostic, RunError
from penstock.history import History, PastRun, Usage
from penstock.results import Listener, Run
from penstock.spec import Feature, PipelineSpec, Task, location_of
from penstock.upkeep import Upkeep
from penstock_backends.local.budget import Budget, machine, request_of
from penstock_backends.local.disk import on_disk
from penstock_backends.local.execution import Execution
from penstock_backends.local.given_secrets import Secrets, secrets_of, two_in_one
from penstock_backends.local.history import StoredHistory
from penstock_backends.local.inline import run_inline
from penstock_backends.local.layout import log_of
from penstock_backends.local.observers import observed
from penstock_backends.local.options import RunOptions
from penstock_backends.local.resuming import ANEW, Resumption, resumption_of
from penstock_backends.local.scheduler import run_in_workers
from penstock_backends.local.standalone import standalone_files
from penstock_backends.local.store import Store
from penstock_backends.local.telemetry import telemetry_lacks
from penstock_backends.local.turns import turn_of
from penstock_backends.local.upkeep import LocalUpkeep
from penstock_backends.local.weighing import usages
from penstock_backends.lowering import program_of

FEATURES: Mapping[Feature, Support] = {
    Feature.DATA_EDGES: native(),
    Feature.PARAMETERS: native(),
    Feature.ARTIFACTS: native("files by content in the store"),
    Feature.NAMED_OUTPUTS: native(),
    Feature.COLLECTED_INPUTS: native(),
    Feature.FIELD_ACCESS: native(),
    Feature.AFTER: native(),
    Feature.NESTED_PIPELINES: native("as namespaces of node ids"),
    Feature.CONDITIONS: native(),
    Feature.LOOPS: native(),
    Feature.NESTED_LOOPS: native(),
    Feature.LOOP_PARALLELISM: native(),
    Feature.GATES: native("each verdict with its values is part of the run"),
    Feature.ON_FAILURE: native(),
    Feature.ON_EXIT: native("after Ctrl-C, too; one that comes while it runs stops it"),
    Feature.ROLLBACK: native(),
    Feature.PIPELINE_TIMEOUT: native("ends what is under way, with every process below it"),
    Feature.RETRY: native(),
    Feature.TIMEOUT: native("ends the attempt's session and every process below it"),
    Feature.RESOURCES: native("what runs at once stays within a budget, by default what the machine has"),
    Feature.QUOTAS: native(
        "out of what the run says there is (`quotas=`); the emitted file counts as much as one step needs at most"
    ),
    Feature.PRIORITY: native("of what is ready, the highest goes first; the emitted file keeps the author's order"),
    Feature.ENV: native(),
    Feature.SCHEDULE_START: emulated("started by its crontab line (`--scheduled`), the file does nothing before"),
    Feature.CATCH_UP: unsupported(
        "a crontab does not know which runs were missed",
        "leave `catch_up` out, and start the file for what was missed",
    ),
    Feature.PUSH: unsupported(
        "here a run is started by a person or a crontab, not by a repository",
        "leave the trigger out, and start the run in a hook of Git",
    ),
    Feature.PULL_REQUEST: unsupported(
        "here a run is started by a person or a crontab, not by a repository", "leave the trigger out"
    ),
    Feature.AFTER_PIPELINE: unsupported(
        "here no run starts another",
        "call the other pipeline in this one, or start one after the other: `a.py && b.py`",
    ),
    Feature.DATA_CHANGE: unsupported(
        "nothing here watches data", "leave the trigger out, and have whoever changes the data start the run"
    ),
    Feature.UPDATES: unsupported(
        "nothing here waits for data", "leave `updates` out, and start what depends on the data after this"
    ),
    Feature.CONCURRENCY: native("of the runs in one store on one machine; a further one waits"),
    Feature.SEVERAL_RUNS: native(),
    Feature.CANCEL_RUNNING: native("as Ctrl-C twice would end it"),
    Feature.SECRETS: native("from the runner's environment, or from where `[tool.penstock.run.secrets]` says"),
    Feature.PACKAGES: native("a virtual environment, kept per list of requirements"),
    Feature.IMAGE: unsupported(
        "steps run as processes of this machine, not in containers",
        "leave `image` out and list what the step needs in `packages`",
    ),
    Feature.CACHE: native("by code and content; the emitted file computes everything anew"),
    Feature.EXISTING: native("a path is copied into the store, all else read by HTTP or fsspec"),
    Feature.METRICS: native(),
    Feature.METADATA: native(),
    Feature.SCHEDULE: emulated("the emitted file says, in crontab lines, when it is to be started"),
}


class LocalBackend(Backend):
    """The engine behind ``run``, and the target ``local``."""

    name: ClassVar[str] = "local"
    supports: ClassVar[Mapping[Feature, Support]] = FEATURES
    options: ClassVar[type[Options]] = Options
    run_options: ClassVar[type[RunOptions]] = RunOptions

    def emit(self, pipeline: PipelineSpec, options: Options) -> Files:
        """One file, ``NAME.py``."""
        return standalone_files(pipeline)

    def limits(self, pipeline: PipelineSpec, options: Options) -> Iterable[Diagnostic]:
        """What one environment for all of the file's steps cannot hold."""
        return two_in_one(_tasks(pipeline))

    def run(
        self,
        definition: Definition,
        parameters: Mapping[str, object],
        options: RunOptions,
        on_event: Listener | None = None,
    ) -> Run:
        """Runs a pipeline to its end; a failed step is a state of the `Run`, not an exception.

        Args:
            definition: the pipeline.
            parameters: each of its parameters, encoded.
            options: where and how.
            on_event: called with each `penstock.results.Event`, in this thread.

        Raises:
            RunError: a step asks for more than the budget ever has, for a secret without a value, or for an image; the
                store's disk is full.
            ConfigurationError: the store cannot be used, or an option makes no sense.
        """
        budget = _budget(options)
        _raise(ConfigurationError, _senseless(definition, options))
        _raise(RunError, map(definition.placed, _unfitting(definition.spec, budget)))
        secrets = _secrets(definition, options)
        store = _store(options)
        with on_disk(store.folder):
            return self._run(definition, parameters, options, store, budget, secrets, on_event)

    def _run(
        self,
        definition: Definition,
        parameters: Mapping[str, object],
        options: RunOptions,
        store: Store,
        budget: Budget,
        secrets: Secrets,
        on_event: Listener | None,
    ) -> Run:
        with turn_of(definition.spec, store.folder, on_event) as turn:
            resumption = _resumption(definition, store, options.resumes)
            execution = Execution(definition, parameters, store, on_event, resumption, secrets)
            try:
                with _mirrored(store, execution.folder), observed(execution, options):
                    if options.inline:
                        run_inline(execution, turn)
                    else:
                        at_once = options.max_workers or max(1, int(budget.cpu))
                        run_in_workers(execution, budget, at_once, turn, share_budget=options.share_budget)
                    run = execution.end()
                if options.store_limit is not None:
                    LocalUpkeep(store).keep_within(options.store_limit)
                return run
            finally:
                execution.close()

    def history(self, options: RunOptions) -> StoredHistory:
        """The runs in the store that a run with these options would use."""
        return StoredHistory(_store(options, makes=False))

    def usages(self, folder: Path, attempts: Mapping[str, int]) -> dict[str, Usage]:
        """What attempts under way of a run that this process runs have used so far, as far as that can be told."""
        place = folder.resolve()
        return usages({str(log_of(place, node, attempt)): node for node, attempt in attempts.items()})

    def report(self, history: History, run: PastRun) -> str:
        """One of these runs as a page of HTML, which one file holds."""
        from penstock_backends.local.report import report_of  # noqa: PLC0415  # makes templates ready, which runs lack

        return report_of(history, run)

    def upkeep(self, options: RunOptions) -> Upkeep:
        """What can be done for the store that a run with these options would use."""
        store = _store(options, makes=False)
        if store.sharing is None:
            return LocalUpkeep(store)
        from penstock_backends.local.shared_upkeep import SharedUpkeep  # noqa: PLC0415  # imports fsspec

        return SharedUpkeep(store.sharing.remote, LocalUpkeep(store))


def _mirrored(store: Store, folder: Path) -> AbstractContextManager[None]:
    return nullcontext() if store.sharing is None else store.sharing.mirrored(folder)


def _store(options: RunOptions, *, makes: bool = True) -> Store:
    return Store(options.store, options.store_options, options.store_key, makes=makes)


def _raise(error: type[ConfigurationError | RunError], found: Iterable[Diagnostic]) -> None:
    problems = list(found)
    if problems:
        raise error(problems)


def _resumption(definition: Definition, store: Store, resumes: str) -> Resumption:
    return resumption_of(StoredHistory(store), resumes, definition.spec.name) if resumes else ANEW


def _budget(options: RunOptions) -> Budget:
    have = machine()
    return Budget(
        have.cpu if options.cpu is None else options.cpu,
        have.memory if options.memory is None else options.memory,
        have.gpu if options.gpu is None else options.gpu,
        options.quotas,
    )


def _secrets(definition: Definition, options: RunOptions) -> Secrets:
    try:
        _raise(RunError, two_in_one(_tasks(definition.spec), options.secrets))
        return secrets_of(_tasks(definition.spec), options.secrets)
    except RunError as error:
        raise RunError([definition.placed(each) for each in error.diagnostics]) from None


def _senseless(definition: Definition, options: RunOptions) -> Iterator[Diagnostic]:
    steps = {task.step for task in _tasks(definition.spec)}
    if options.inline and not steps <= definition.functions.keys():
        message = f"`{definition.spec.name}` was read from a spec, which holds no functions to call in this process"
        yield Diagnostic("P726", message, fix="run it without `inline`, or from its Python file")
    if options.telemetry:
        yield from telemetry_lacks()


def _unfitting(pipeline: PipelineSpec, budget: Budget) -> Iterator[Diagnostic]:
    """What could never run here, told before anything does."""
    for task in _tasks(pipeline):
        lacking = budget.lacks(request_of(task.settings))
        if lacking:
            message = f"`{task.id}` asks for {' and '.join(lacking)} that this run may use, so it could never start"
            fix = "ask for less, or give the run a larger budget: `--cpu`, `--memory`, `--gpu` (in Python `cpu=`, ...)"
            if any("quota" in each for each in lacking):
                fix += "; say how much there is of a quota: `quotas = {...}` in [tool.penstock.run], or `quotas=`"
            yield Diagnostic("P610", message, location_of(task.span), fix)
        if task.settings.image:
            support = FEATURES[Feature.IMAGE]
            message = f"`{task.id}` asks for the image `{task.settings.image}`: {support.how}"
            yield Diagnostic("P611", message, location_of(task.span), support.fix)


def _tasks(pipeline: PipelineSpec) -> Iterator[Task]:
    """Every call of one of the author's steps, those at the end of a run included."""
    units = program_of(pipeline).by_id.values()
    return (unit.task for unit in units if isinstance(unit.node, Task))
