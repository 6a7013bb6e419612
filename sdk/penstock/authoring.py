"""The decorators: `step` and `pipeline`, and what they make of a function."""

from __future__ import annotations

import datetime as dt
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from penstock import cells, compiler, deploying, parameters, tracing
from penstock.backend import Definition
from penstock.declarations import definition_location, local_names
from penstock.diagnostics import DefinitionError, Diagnostic, Location
from penstock.functions import is_named_function, method_problem, not_a_function
from penstock.modules import module_name_problem
from penstock.programs import Authored
from penstock.rejections import plain_reason
from penstock.settings import Gate, Resources, Retry, gates_of, seconds_of, settings_of, text_of, texts_of
from penstock.sources import call_site
from penstock.spec import PipelineSpec, Settings
from penstock.starting import (
    AnyTrigger,
    Concurrency,
    Schedule,
    concurrency_of,
    refuse_endless_starts,
    schedule_of,
    triggers_of,
    updates_of,
)
from penstock.values import Json

if TYPE_CHECKING:
    from penstock.deployment import Deployed
    from penstock.results import Run

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class Step(Generic[P, R_co]):
    """A function that is one step of a pipeline. Made by `step`; called outside of a pipeline, it is the function."""

    def __init__(self, call: tracing.Call) -> None:
        functools.update_wrapper(self, call.step.function)
        self._call = call

    @property
    def function(self) -> Callable[P, R_co]:
        """The author's function."""
        return self._call.step.function

    @property
    def settings(self) -> Settings:
        """How the step runs."""
        return self._call.settings

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """What the function returns; in a pipeline, a stand-in for it, and the step becomes a task."""
        trace = tracing.current_trace()
        if trace is None:
            return self.function(*args, **kwargs)
        # A placeholder stands in for the result, so that type checkers see the values that will flow.
        return trace.call(self._call, args, kwargs)  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"<step {self._call.step.name}>"

    def with_options(
        self,
        *,
        name: str | None = None,
        after: Iterable[object] | object = (),
        retry: Retry | int | None = None,
        timeout: float | dt.timedelta | None = None,
        resources: Resources | None = None,
        priority: int | None = None,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        packages: Sequence[str] | None = None,
        image: str | None = None,
        cache: bool | None = None,
        cache_version: str | None = None,
        gates: Gate | Sequence[Gate] | None = None,
        rollback: Step[..., Any] | None = None,
    ) -> Step[P, R_co]:
        """The same step, to be called in another way.

        ``name`` is what the node is called; by default the function's name, numbered where it is called more than once.
        ``after`` holds results of other steps or pipelines to wait for, though nothing of them is taken. The others
        mean what they do in `step` and take the place of what it was given, except that ``env`` and ``secrets`` add to
        it. The bounds of ``gates`` may be parameters of the pipeline and outputs of other steps.
        """
        step = self._call.step.name
        settings = _checked_settings(
            step,
            self._call.settings,
            _with_options_called,
            retry=retry,
            timeout=timeout,
            resources=resources,
            priority=priority,
            env=env,
            secrets=secrets,
            packages=packages,
            image=image,
            cache=cache,
            cache_version=cache_version,
        )
        return Step(
            replace(
                self._call,
                settings=settings,
                name=_name_of(_with_options_called, name, "P211") if name is not None else self._call.name,
                after=(*self._call.after, *_several(after)),
                gates=_checked_gates(step, gates, _with_options_called) if gates is not None else self._call.gates,
                undo=_call_of(rollback) if rollback is not None else self._call.undo,
            )
        )


def _call_of(step: Any) -> tracing.Call:
    """A step as it is to be called by an engine rather than in a pipeline function."""
    if not _is_step(step):
        here = call_site().location()
        given = f"`{step.__name__}`" if inspect.isroutine(step) else f"{step!r:.60}"
        message = f"{given} is not a step"
        raise DefinitionError(Diagnostic("P214", message, here, "give a function that `@step` made a step"))
    found: tracing.Call = step._call  # noqa: SLF001  # of the class above
    return found


class Pipeline(Generic[P, R_co]):
    """A function that is a pipeline. Made by `pipeline`.

    Calling it outside of another pipeline runs the function as plain Python, step by step: that is what every engine's
    result is held to. Calling it inside another pipeline nests it.
    """

    def __init__(
        self,
        authored: Authored,
        heading: tracing.Heading,
        name: str = "",
        after: tuple[object, ...] = (),
    ) -> None:
        functools.update_wrapper(self, authored.function)
        self._name = name
        self._after = after
        self._authored = authored
        self._heading = heading
        self._definition: Definition | None = None
        self._age = 0

    @property
    def name(self) -> str:
        """What the pipeline is called."""
        return self._authored.name

    @property
    def function(self) -> Callable[P, R_co]:
        """The author's function."""
        return self._authored.function

    @property
    def spec(self) -> PipelineSpec:
        """The pipeline as data. Raises `DefinitionError` with everything that is wrong with it."""
        return self.define().spec

    def define(self) -> Definition:
        """The spec with the live objects behind it; traced once. Raises `DefinitionError` as `spec` does."""
        definition = self.check()
        problems = tuple(tracing.artifact_parameters(self._authored, definition.spec))
        if problems:
            raise DefinitionError(problems)
        return definition

    def check(self) -> Definition:
        """As `define`, for a pipeline that may be there to be nested only: its parameters may be artifacts."""
        age = cells.age_of(self.function)  # in a notebook, what it calls may have been defined anew
        if self._definition is None or age != self._age:
            _refuse_a_script_that_no_program_can_import(self.function)
            self._definition, self._age = tracing.define(self._authored, self._heading), age
        return self._definition

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """What the function returns; in another pipeline, a stand-in for it, and this pipeline is nested there."""
        trace = tracing.current_trace()
        if trace is None:
            return self.function(*args, **kwargs)
        return trace.nest(self._authored, self._heading, self._name, self._after, args, kwargs)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<pipeline {self.name}>"

    def with_options(self, *, name: str | None = None, after: Iterable[object] | object = ()) -> Pipeline[P, R_co]:
        """The same pipeline, to be nested in another way.

        Args:
            name: what the group of its nodes is called; by default the pipeline's name, numbered if it is nested more
                than once.
            after: results of steps or pipelines to wait for, though nothing of them is taken.
        """
        return Pipeline(
            self._authored,
            self._heading,
            self._name if name is None else _name_of(_with_options_called, name, "P212"),
            (*self._after, *_several(after)),
        )

    def compile(self, target: str, **options: Any) -> dict[str, str]:
        """The files that run this pipeline on a target.

        Args:
            target: ``local``, ``kubeflow``, ``airflow``, ``github``, or the name of any other installed backend.
            options: the backend's own; they go before those in ``[tool.penstock.TARGET]`` of pyproject.toml.

        Returns:
            Relative path to text.

        Raises:
            DefinitionError: the pipeline is not sound.
            CompileError: the target cannot keep something that it asks for.
            ConfigurationError: no such target or option.
        """
        definition = self.define()
        return compiler.compile_definition(definition, target, options)

    def deploy(self, target: str, *, force: bool = False, **options: Any) -> Deployed:
        """Compiles the pipeline and puts it where a target's engine looks for it, as ``penstock deploy`` does.

        Args:
            target: ``kubeflow``, ``airflow``, ``github``, or the name of any other backend that can.
            force: overwrite what a person changed there.
            options: of deploying and of compiling; they go before those in ``[tool.penstock.deploy.TARGET]`` and
                ``[tool.penstock.TARGET]`` of pyproject.toml.

        Raises:
            DeployError: the place refuses it, or cannot be reached; nothing has changed there.
            DefinitionError: the pipeline is not sound.
            CompileError: the target cannot keep something that it asks for.
            ConfigurationError: no such target or option.
        """
        return deploying.deploy(self.define(), target, options, force=force)

    def run(
        self,
        given: Mapping[str, Any] | None = None,
        /,
        *,
        store: str | Path | None = None,
        inline: bool = False,
        **more: Any,
    ) -> Run:
        """Runs the pipeline on this machine, and returns when it has ended.

        A step that fails is told by the state of the result, not by an exception.

        Args:
            given: the pipeline's parameters by name; they may as well be given as keyword arguments.
            store: the folder, or the URL, for outputs, cache and history; ``.penstock`` in the current directory by
                default.
            inline: run each step in this process and thread, for debuggers and coverage, instead of worker processes.
            more: parameters, and options of the local engine (such as ``max_workers``), by name.

        Raises:
            ParameterError: a parameter is unknown, missing, or not of its type.
            DefinitionError: the pipeline is not sound.
        """
        return run_definition(self.define(), given or {}, more, store=store, inline=inline)

    def resume(
        self, run: str | Run = "latest", /, *, store: str | Path | None = None, inline: bool = False, **options: Any
    ) -> Run:
        """Goes on with an earlier run of this pipeline: a new run that takes over what that one completed.

        It has the earlier one's parameters. Steps that completed are not run again, those with ``cache=False``
        included, unless their code or inputs have changed, or they were rolled back.

        Args:
            run: the earlier run, its id, the beginning of that, or ``latest``.
            store: where it is kept; as for `run`.
            inline: as for `run`.
            options: options of the local engine, by name.

        Raises:
            ConfigurationError: there is no such run, it is one of another pipeline, or it is under way.
            ParameterError: the pipeline has changed so that the run's parameters do not fit it.
            DefinitionError: the pipeline is not sound.
        """
        definition = self.define()
        history = compiler.history(definition.folder, store)
        earlier = history.find(run if isinstance(run, str) else run.id)
        wires = parameters.encoded_again(definition, history.parameters(earlier), earlier.id)
        chosen = {"store": store, "inline": inline, **options}
        return compiler.run_definition(definition, wires, **chosen, resumes=earlier.id)

    def encode_parameters(self, given: Mapping[str, Any]) -> dict[str, Json]:
        """All parameters of a run, encoded. Raises `ParameterError` for any that is unknown, missing or ill-typed."""
        return parameters.encode_parameters(self.define(), given)


def run_definition(definition: Definition, given: Mapping[str, Any], more: Mapping[str, Any], **fixed: object) -> Run:
    """Runs a definition on this machine. ``more`` holds parameters and run options; ``fixed`` are options alone."""
    names = {each.name for each in definition.spec.parameters}
    known = sorted(compiler.run_options())
    options = {key: value for key, value in more.items() if key not in names and key in known}
    all_given = {**given, **{key: value for key, value in more.items() if key not in options}}
    wires = parameters.encode_parameters(definition, all_given, known)
    return compiler.run_definition(definition, wires, **{**options, **fixed})


@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(
    *,
    name: str | None = ...,
    retry: Retry | int | None = ...,
    timeout: float | dt.timedelta | None = ...,
    resources: Resources | None = ...,
    priority: int | None = ...,
    env: Mapping[str, str] | None = ...,
    secrets: Mapping[str, str] | None = ...,
    packages: Sequence[str] | None = ...,
    image: str | None = ...,
    cache: bool | None = ...,
    cache_version: str | None = ...,
    gates: Gate | Sequence[Gate] = ...,
    rollback: Step[..., Any] | None = ...,
) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def step(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    retry: Retry | int | None = None,
    timeout: float | dt.timedelta | None = None,
    resources: Resources | None = None,
    priority: int | None = None,
    env: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    packages: Sequence[str] | None = None,
    image: str | None = None,
    cache: bool | None = None,
    cache_version: str | None = None,
    gates: Gate | Sequence[Gate] = (),
    rollback: Step[..., Any] | None = None,
) -> Step[P, R] | Callable[[Callable[P, R]], Step[P, R]]:
    """Makes a typed function a step.

    Parameters and the return value must be annotated: a value that fits in JSON travels as a parameter, any other as an
    artifact; a `NamedTuple`, a dataclass or a ``tuple[A, B]`` as several named outputs.

    Args:
        function: the function, where the decorator is written without parentheses.
        name: what its nodes are called; the function's name by default.
        retry: further attempts after a failure; a number is `Retry` with that many.
        timeout: seconds (or a timedelta) that one attempt may take; it is then ended with all of its child processes.
        resources: what an attempt asks for.
        priority: of what could run, the steps with the highest go first; 0 by default, and it may be negative.
        env: environment variables of the step.
        secrets: environment variables that hold secrets, each with the name of one that the engine keeps (``NAME`` or
            ``NAME/KEY``: ``{"DB_PASSWORD": "warehouse/password"}``). No value is ever written down or printed.
        packages: its requirements (``"pandas==2.3.3"``), instead of those found from its imports.
        image: the container image it runs in, where the engine runs containers.
        cache: whether an earlier result for the same code and inputs may be used again; True by default.
        cache_version: a text that makes earlier results unusable when it changes.
        gates: what its metrics and outputs must satisfy, or it fails (see `Gate`); one, or several.
        rollback: a step that undoes it, run where it completed and the run fails. Its parameters take the inputs and
            the outputs of the same names; a single parameter left over takes the unnamed output.

    Raises:
        DefinitionError: the function cannot be a step, or an option makes no sense.
    """

    def make(function: Callable[P, R], depth: int) -> Step[P, R]:
        _refuse_what_cannot_be_a_step(function)
        here = functools.partial(definition_location, function)
        authored = Authored(function, _name_of(here, name, "P211") or function.__name__, local_names(function, depth))
        settings = _checked_settings(
            authored.name,
            Settings(),
            here,
            retry=retry,
            timeout=timeout,
            resources=resources,
            priority=priority,
            env=env,
            secrets=secrets,
            packages=packages,
            image=image,
            cache=cache,
            cache_version=cache_version,
        )
        undo = _call_of(rollback) if rollback is not None else None
        return Step(tracing.Call(authored, settings, gates=_checked_gates(authored.name, gates, here), undo=undo))

    if function is None:
        return lambda function: make(function, 2)
    return make(function, 2)


def _refuse_what_cannot_be_a_step(function: Any) -> None:
    error = method_problem(function) if is_named_function(function) else not_a_function(function)
    if error is not None:
        here = call_site("step").location()
        raise DefinitionError([replace(each, location=each.location or here) for each in error.diagnostics])


def _refuse_a_script_that_no_program_can_import(function: Callable[..., object]) -> None:
    file = inspect.unwrap(function).__code__.co_filename
    is_script = function.__module__ == "__main__" and Path(file).is_file()  # a notebook's cell is no file
    problem = module_name_problem(file) if is_script else None
    if problem is not None:
        raise DefinitionError(problem)


def _is_step(thing: object) -> bool:
    return issubclass(type(thing), Step)  # `isinstance` would ask a proxy for the class of what it stands for


def _several(after: Iterable[object] | object) -> tuple[object, ...]:
    return tuple(after) if type(after) in (list, tuple, set, frozenset) else (after,)  # type: ignore[arg-type]


def _checked_settings(step: str, base: Settings, here: Callable[[], Location], **options: Any) -> Settings:
    try:
        return settings_of(base, **options)
    except (ValueError, TypeError) as error:
        # Where a secret stands in the place of a reference, the line is not to be seen in logs.
        place = here if options["secrets"] is None else lambda: replace(here(), text="")
        raise _senseless(step, error, place) from None


def _checked_gates(step: str, gates: Gate | Sequence[Gate], here: Callable[[], Location]) -> tuple[Gate, ...]:
    try:
        return gates_of(gates)
    except ValueError as error:
        raise _senseless(step, error, here) from None


def _senseless(step: str, error: Exception, here: Callable[[], Location]) -> DefinitionError:
    message = f"the options of step `{step}` make no sense: {'; '.join(_reasons(error))}"
    return DefinitionError(Diagnostic("P211", message, here()))


def _reasons(error: Exception) -> list[str]:
    if not hasattr(error, "errors"):
        return [str(error)]
    return [
        f"`{'.'.join(part for part in each['loc'] if isinstance(part, str))}`: {plain_reason(each)}"
        f" (given: {each['input']!r})"
        for each in error.errors()
    ]


@overload
def pipeline(function: Callable[P, R], /) -> Pipeline[P, R]: ...
@overload
def pipeline(
    *,
    name: str | None = ...,
    description: str = ...,
    schedule: Schedule | str | None = ...,
    triggers: AnyTrigger | Sequence[AnyTrigger] = ...,
    updates: str | Sequence[str] = ...,
    concurrency: Concurrency | int | None = ...,
    tags: Sequence[str] = ...,
    owner: str = ...,
    on_failure: Step[..., Any] | Sequence[Step[..., Any]] = ...,
    on_exit: Step[..., Any] | Sequence[Step[..., Any]] = ...,
    timeout: float | dt.timedelta | None = ...,
) -> Callable[[Callable[P, R]], Pipeline[P, R]]: ...
def pipeline(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    description: str = "",
    schedule: Schedule | str | None = None,
    triggers: AnyTrigger | Sequence[AnyTrigger] = (),
    updates: str | Sequence[str] = (),
    concurrency: Concurrency | int | None = None,
    tags: Sequence[str] = (),
    owner: str = "",
    on_failure: Step[..., Any] | Sequence[Step[..., Any]] = (),
    on_exit: Step[..., Any] | Sequence[Step[..., Any]] = (),
    timeout: float | dt.timedelta | None = None,
) -> Pipeline[P, R] | Callable[[Callable[P, R]], Pipeline[P, R]]:
    """Makes a function that calls steps a pipeline, and checks it at once.

    Args:
        function: the function, where the decorator is written without parentheses.
        name: what it is called; the function's name by default.
        description: what it is for; the function's docstring by default.
        schedule: when it runs by itself; a plain text is a cron expression in UTC.
        triggers: what else starts a run: `Push`, `PullRequest`, `AfterPipeline`, `DataChange`; one, or several.
        updates: URIs of the data that a run which succeeds has updated; pipelines with a `DataChange` on one start.
        concurrency: how many of its runs there may be at a time; a number is `Concurrency` with that limit.
        tags: words to find it by.
        owner: who is responsible for it.
        on_failure: steps that run, one after the other, once a run has failed. A parameter annotated `RunStatus` takes
            how the run went, others the pipeline's parameters of the same names.
        on_exit: steps that run at the end of every run, after those; their parameters as for ``on_failure``. What goes
            wrong in either is reported, and hides nothing.
        timeout: seconds (or a timedelta) that a run may take, apart from these steps; what runs then is ended.

    Raises:
        DefinitionError: with everything that is wrong with it: edges whose types do not fit, placeholders used as
            values, code that cannot be captured.
    """

    def make(function: Callable[P, R], depth: int) -> Pipeline[P, R]:
        here = functools.partial(definition_location, function)
        authored = Authored(function, _name_of(here, name, "P212") or function.__name__, local_names(function, depth))
        heading = tracing.Heading(
            _checked(here, schedule_of, schedule),
            _checked(here, functools.partial(texts_of, "tags"), tags),
            _checked(here, functools.partial(text_of, "`owner`"), owner),
            _checked(here, functools.partial(text_of, "`description`"), description),
            tuple(_call_of(each) for each in _several(on_failure)),
            tuple(_call_of(each) for each in _several(on_exit)),
            _checked(here, seconds_of, timeout),
            _checked(here, triggers_of, triggers),
            _checked(here, updates_of, updates),
            _checked(here, concurrency_of, concurrency),
        )
        _checked(here, functools.partial(refuse_endless_starts, authored.name, heading.triggers), heading.updates)
        made: Pipeline[P, R] = Pipeline(authored, heading)
        try:
            made.check()
        except NameError as error:
            if not _is_bound_later(function, error):
                raise
        return made

    if function is None:
        return lambda function: make(function, 2)
    return make(function, 2)


def _name_of(here: Callable[[], Location], name: Any, code: str) -> str:
    """The name that was given, empty for none."""
    return "" if name is None else _checked(here, functools.partial(text_of, "`name`"), name, code)


def _checked(here: Callable[[], Location], read: Callable[[Any], T], given: object, code: str = "P212") -> T:
    try:
        return read(given)
    except ValueError as error:
        raise DefinitionError(Diagnostic(code, str(error), here())) from None


def _with_options_called() -> Location:
    return call_site().location()


def _is_bound_later(function: Callable[..., object], error: NameError) -> bool:
    """Whether the missing name may be one that the module binds below the pipeline: it is then traced at first use."""
    return error.name is not None and error.name not in function.__globals__
