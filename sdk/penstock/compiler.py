"""From a spec to files: verify, legalise, emit; and the backends there are."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError

from penstock.backend import Backend, Definition, Files, Level, Options, Runner
from penstock.configuration import PlaceOf, Project, project_of
from penstock.degrading import DEGRADABLE, permission, without
from penstock.diagnostics import (
    CompileError,
    ConfigurationError,
    Diagnostic,
    Location,
    SpecError,
    did_you_mean,
)
from penstock.features import Use, features_of
from penstock.keeping import without_collections
from penstock.rejections import Rejection, plain_reason, rejections
from penstock.results import Listener, Run
from penstock.spec import Feature, PipelineSpec
from penstock.strays import misspelt_pipelines
from penstock.verify import verify

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from penstock.history import History
    from penstock.upkeep import Upkeep

GROUP = "penstock.backends"
T = TypeVar("T", bound=BaseModel)
RUNNING_TARGET = "local"
_LONGEST_REASON = 200  # characters of a list of choices that help to find the right one
RUN, DEPLOY = "run", "deploy"


@functools.cache
def _installed() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # noqa: PLC0415  # slow to import, and not needed to define a pipeline

    return {each.name: each for each in sorted(entry_points(group=GROUP), key=lambda each: each.name)}


def targets() -> tuple[str, ...]:
    """The names of the installed backends."""
    return tuple(_installed())


@functools.cache
def backend(target: str) -> Backend:
    """The backend of a target. Raises `ConfigurationError` if there is none of that name."""
    found = _installed().get(target)
    if found is None:
        raise ConfigurationError(
            Diagnostic("P701", f"there is no target `{target}`", fix=did_you_mean(target, targets()))
        )
    return cast("Backend", found.load()())


def runner() -> Runner:
    """The backend that runs pipelines on this machine."""
    return cast("Runner", backend(RUNNING_TARGET))


def run_options() -> frozenset[str]:
    """The names of the local engine's own run options."""
    return frozenset({*runner().run_options.model_fields, "on_event"})


def run_definition(
    definition: Definition, parameters: Mapping[str, Any], on_event: Listener | None = None, **given: Any
) -> Run:
    """Runs a pipeline on this machine.

    Args:
        definition: the pipeline.
        parameters: each of its parameters, encoded.
        on_event: called with each `penstock.results.Event`, in this thread.
        given: run options; those that are None or left out come from ``[tool.penstock.run]`` of the nearest
            pyproject.toml at or above the pipeline's source.

    Raises:
        ConfigurationError: an option is unknown, or not of its type.
    """
    listener: object = on_event
    if listener is not None and not callable(listener):
        message = f"run option `on_event` is called with each event, and {listener!r:.60} cannot be"
        raise ConfigurationError(Diagnostic("P705", message, fix="give a function of one event"))
    return runner().run(definition, parameters, _options_with(definition.folder, given), on_event)


def history(folder: Path | None, store: str | Path | None = None) -> History:
    """The runs of a store; by default of the one that a pipeline whose source is in ``folder`` runs in."""
    return runner().history(_options_with(folder, {"store": store}))


def project(folder: Path | None) -> Project:
    """As `project_of`; raises `ConfigurationError`, too, for a table that nothing reads."""
    found = project_of(folder)
    found.refuse_unknown_tables([RUN, DEPLOY, *targets()])
    return found


def upkeep(store: str | Path | None = None) -> Upkeep:
    """What can be done for a store, by default the one that runs started in the current directory use."""
    return runner().upkeep(_options_with(None, {"store": store}))


def _options_with(folder: Path | None, given: Mapping[str, Any]) -> BaseModel:
    """The run options that are given, and for those that are None what pyproject.toml says; a problem has its line."""
    chosen = {name: value for name, value in given.items() if value is not None}
    found = project(folder or Path.cwd())
    configured = found.options(RUN)
    return checked_run_options(
        {**configured, **chosen}, found.places((RUN,), chosen), written=configured.keys() - chosen.keys()
    )


def checked_run_options(
    options: Mapping[str, Any],
    place: PlaceOf = lambda _: None,
    written: Collection[str] = (),
) -> BaseModel:
    """The local engine's run options. Raises `ConfigurationError` for one that is unknown or ill-typed.

    ``place`` says where one stands, given as its keys and indices; ``written`` names those that stand in a file.
    """
    model = runner().run_options
    try:
        return model.model_validate(dict(options), context={"written": written})
    except ValidationError as error:
        problems = [
            replace(_run_option_problem(each, model), location=_shown_place(each.path, model, place))
            for each in rejections(error, options)
        ]
        raise ConfigurationError(problems) from None


def _run_option_problem(error: Rejection, model: type[BaseModel]) -> Diagnostic:
    *outer, last = error.path or ("",)
    name = ".".join(map(str, error.path))
    if error.kind == "extra_forbidden" and outer:
        owner = f"run option `{'.'.join(map(str, outer))}` has"
        return _unknown_option(owner, str(last), _fields_at(model, outer))
    if error.kind == "extra_forbidden":
        return _unknown_option("`run` has", name, [*model.model_fields, "on_event"])
    fix = _nearest_choice(error) if _is_shown(error.path, model) else ""
    return Diagnostic("P705", f"run option `{name}`: {error.reason}{_given(error, model)}", fix=fix)


def _given(error: Rejection, model: type[BaseModel]) -> str:
    return f" (given: {error.given!r})" if error.given is not None and _is_shown(error.path, model) else ""


def _shown_place(path: tuple[str | int, ...], model: type[BaseModel], place: PlaceOf) -> Location | None:
    found = place(path) if path else None
    return found if found is None or _is_shown(path, model) else replace(found, text="")


def _is_shown(path: Sequence[str | int], model: type[BaseModel]) -> bool:
    """Whether what was given for an option may be shown: it may be a secret where the model shows no value, either."""
    field = model.model_fields.get(str(path[0])) if path else None
    return field is None or field.repr


def _fields_at(model: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    """The fields of the options that are at a path below others, which may be one of several of their kind."""
    for part in path:
        if isinstance(part, str) and part in model.model_fields:  # else it is an index, or the author's own key
            model = next(_models_in(model.model_fields[part].annotation))
    return list(model.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if get_origin(annotation) is None and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def compile_definition(
    definition: Definition, target: str, options: Mapping[str, Any], read: Project | None = None
) -> Files:
    """The files for a pipeline; options not given come from its `project`, which may have been ``read`` already."""
    found = read or project(definition.folder)
    problems = list(misspelt_pipelines(definition.spec.name, found, target))
    if problems:
        raise ConfigurationError(problems)
    configured = {**found.options(target), **options}
    return compile_spec(definition.spec, target, configured, definition.folder, found.places((target,), options))


def compile_spec(
    pipeline: PipelineSpec,
    target: str,
    options: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    place: PlaceOf = lambda _: None,
) -> Files:
    """The files for a spec.

    Args:
        pipeline: the spec.
        target: the backend's name.
        options: the backend's own.
        folder: the source root, so that errors show paths that exist.
        place: where an option stands, given as its keys and indices.

    Raises:
        SpecError: the spec breaks an invariant.
        CompileError: the target cannot keep something that it asks for.
        ConfigurationError: no such target or option.
    """
    chosen = backend(target)
    parsed = parse_options(chosen, options or {}, place).of_pipeline(pipeline.name)
    definition = Definition(pipeline, folder=folder)
    with without_collections():
        verify_spec(definition)
        lacking = _not_kept(pipeline, chosen)
        refused = list(_refused(lacking, chosen, parsed.allow_degraded))
        # What is refused anyway is left out, so that all that is wrong with the rest is told at once.
        if lacking:
            pipeline = without(pipeline, {use.feature for use in lacking})
        pipeline = chosen.prepared(pipeline, parsed)
        if pipeline is not definition.spec:
            lacking = _not_kept(pipeline, chosen)
        limits = () if lacking else chosen.limits(pipeline, parsed)
        _raise(CompileError, iter([*refused, *limits]), definition)
        return dict(chosen.emit(pipeline, parsed))


def verify_spec(definition: Definition) -> None:
    """Raises `SpecError` with every invariant that a pipeline's spec breaks."""
    _raise(SpecError, verify(definition.spec), definition)


def _not_kept(pipeline: PipelineSpec, chosen: Backend) -> list[Use]:
    """What a pipeline asks for that a backend does not keep."""
    return [use for use in features_of(pipeline) if chosen.supports[use.feature].level is Level.UNSUPPORTED]


def _refused(lacking: Iterable[Use], chosen: Backend, allowed: Collection[Feature]) -> Iterator[Diagnostic]:
    """Of what a backend does not keep, all but what is ``allowed`` to be left out, each at the author's line."""
    for use in lacking:
        if use.feature in allowed and use.feature in DEGRADABLE:
            continue
        support = chosen.supports[use.feature]
        message, fix = f"{chosen.name} cannot keep {use.said}: {support.how}", support.fix
        if use.feature in allowed:
            yield Diagnostic("P502", f"{message}; without it the pipeline would not mean the same", use.location, fix)
        elif use.feature in DEGRADABLE:
            yield Diagnostic("P501", message, use.location, f"{fix}; {permission(use.feature, chosen.name)}")
        else:
            yield Diagnostic("P501", message, use.location, fix)


def parse_options(chosen: Backend, options: Mapping[str, Any], place: PlaceOf = lambda _: None) -> Options:
    """A backend's options, checked. Raises `ConfigurationError` for one that is unknown or ill-typed."""
    known = list(chosen.options.model_fields)
    return checked_options(chosen.options, options, f"target `{chosen.name}`", known, place)


def checked_options(
    model: type[T], options: Mapping[str, Any], owner: str, known: Collection[str], place: PlaceOf = lambda _: None
) -> T:
    """Options as a model of them.

    Raises `ConfigurationError`, which says whose they are, for one that is ill-typed, or unknown; the nearest of the
    ``known`` ones is told then.
    """
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        problems = [
            replace(_option_problem(owner, each, model, known), location=_shown_place(each.path, model, place))
            for each in rejections(error, options)
        ]
        raise ConfigurationError(problems) from None


def shared_options(options: Mapping[str, Any], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Each target's part of the options that are given to several at once: those that it knows.

    Raises `ConfigurationError` for one that none of them knows.
    """
    known = {name: backend(name).options.model_fields for name in names}
    everything = {option for options_of in known.values() for option in options_of}
    owner = f"target `{names[0]}` has" if len(names) == 1 else f"the targets {', '.join(names)} have"
    problems = [_unknown_option(owner, each, everything) for each in options if each not in everything]
    if problems:
        raise ConfigurationError(problems)
    return {name: {key: value for key, value in options.items() if key in known[name]} for name in names}


def _unknown_option(owner: str, name: str, known: Iterable[str]) -> Diagnostic:
    fix = did_you_mean(name, sorted(known), otherwise="there are: {}")
    return Diagnostic("P702", f"{owner} no option `{name}`", fix=fix)


def _option_problem(owner: str, error: Rejection, model: type[BaseModel], known: Collection[str]) -> Diagnostic:
    *outer, last = error.path or ("",)
    name = ".".join(map(str, error.path))
    if error.kind == "extra_forbidden" and outer:
        return _unknown_option(
            f"option `{'.'.join(map(str, outer))}` of {owner} has", str(last), _fields_at(model, outer)
        )
    if error.kind == "extra_forbidden":
        return _unknown_option(f"{owner} has", name, known)
    fix = _nearest_choice(error) if _is_shown(error.path, model) else ""
    said = "there is none such" if fix and len(error.reason) > _LONGEST_REASON else error.reason
    return Diagnostic("P703", f"option `{name}` of {owner}: {said}{_given(error, model)}", fix=fix)


def _nearest_choice(error: Rejection) -> str:
    """The fix for what is not one of several texts; empty where it is like none of them."""
    if error.kind not in {"enum", "literal_error"} or not isinstance(error.given, str):
        return ""
    return did_you_mean(error.given, re.findall(r"'([^']+)'", error.context["expected"]), otherwise="")


def load_spec(text: str) -> PipelineSpec:
    """A spec from its JSON, verified; nothing of it is executed.

    Raises:
        SpecError: it is not a spec of this version, or breaks an invariant; each problem says where in the JSON it is.
    """
    try:
        spec = PipelineSpec.model_validate_json(text)
    except ValidationError as error:
        problems = [
            Diagnostic("P400", f"{'.'.join(map(str, each['loc'])) or 'the document'}: {plain_reason(each)}")
            for each in error.errors()
        ]
        raise SpecError(problems) from None
    verify_spec(Definition(spec))
    return spec


def _raise(error: type[SpecError | CompileError], found: Iterator[Diagnostic], definition: Definition) -> None:
    problems = [definition.placed(each) for each in found]
    if problems:
        raise error(problems)
