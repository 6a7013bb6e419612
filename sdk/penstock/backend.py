"""The contract that a backend keeps: a declaration of what its engine can, and one pure function from a spec to files.

Adding a target is one file with a `Backend` and one entry point in the group ``penstock.backends``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict, field_validator

from penstock.diagnostics import Diagnostic
from penstock.harness import find_type
from penstock.spec import Feature, PipelineSpec

if TYPE_CHECKING:
    from typing_extensions import Self

    from penstock.history import History, PastRun, Usage
    from penstock.upkeep import Upkeep
from penstock.results import Listener, Run

MADE_BY = ": made by Penstock from "
"""What stands in one of the first lines of a file that a backend emits, by which it is known as no author's own."""

Files: TypeAlias = dict[str, str]
"""What is emitted: relative path (with ``/``) to text."""


class Level(str, Enum):
    """How well an engine keeps a feature."""

    NATIVE = "native"
    EMULATED = "emulated"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True)
class Support:
    """A backend's answer to one feature. ``how`` says by what means, or why not; ``fix`` what to do instead."""

    level: Level
    how: str = ""
    fix: str = ""


def native(how: str = "") -> Support:
    """The engine's own feature means the same."""
    return Support(Level.NATIVE, how)


def emulated(how: str) -> Support:
    """Kept in full by other means than the engine's own."""
    return Support(Level.EMULATED, how)


def unsupported(why: str, fix: str) -> Support:
    """Not kept; a pipeline that asks for it is refused."""
    return Support(Level.UNSUPPORTED, why, fix)


class Options(BaseModel):
    """A backend's own options, from ``[tool.penstock.TARGET]`` in pyproject.toml, the command line, or `compile`.

    ``allow_degraded`` names features (``resources``) that the target may leave out where it cannot keep them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    allow_degraded: tuple[Feature, ...] = ()

    def of_pipeline(self, name: str) -> Self:
        """These options as they hold for the pipeline of this name.

        Where a target has options of single steps, as a mapping ``steps``, a key ``PIPELINE:STEP`` is of that pipeline
        alone: a project's configuration is read for all of its pipelines.
        """
        given: Mapping[str, object] = getattr(self, "steps", {})
        if not any(":" in key for key in given):
            return self
        everywhere = {key: value for key, value in given.items() if ":" not in key}
        own = {key.removeprefix(f"{name}:"): value for key, value in given.items() if key.startswith(f"{name}:")}
        return self.model_copy(update={"steps": {**everywhere, **own}})

    @field_validator("allow_degraded", mode="before")
    @classmethod
    def _in_one_order(cls, given: object) -> object:
        """One name, or any collection of names, in the order of `Feature`."""
        if isinstance(given, str):
            return (given,)
        if not isinstance(given, (list, tuple, set, frozenset)):
            return given
        known = [each.value for each in Feature]
        return tuple(sorted(given, key=lambda each: known.index(each) if each in known else 0))


class Backend(ABC):
    """One target. Subclasses declare, and emit; they hold no state and do no I/O."""

    name: ClassVar[str]
    """What users call it: ``--to NAME``."""
    supports: ClassVar[Mapping[Feature, Support]]
    """An answer to every `Feature`."""
    options: ClassVar[type[Options]] = Options

    @abstractmethod
    def emit(self, pipeline: PipelineSpec, options: Any) -> Files:
        """The files for a pipeline: the same bytes for the same arguments, whatever the machine."""

    def prepared(self, pipeline: PipelineSpec, options: Any) -> PipelineSpec:
        """The pipeline with what the options add to it; what is asked for here must be kept in full."""
        return pipeline

    def limits(self, pipeline: PipelineSpec, options: Any) -> Iterable[Diagnostic]:
        """What about this pipeline the engine would reject or silently change, apart from whole features."""
        return ()


@dataclass(frozen=True)
class Definition:
    """A pipeline with the live Python objects behind its spec, for running it on this machine.

    ``functions`` maps a step's id to the author's function (empty where the spec came from JSON); ``types`` the name of
    a class in the spec to the class; ``folder`` is the source root that `Span.file` is relative to; ``file`` the JSON
    that it was read from, where it was.
    """

    spec: PipelineSpec
    functions: Mapping[str, Callable[..., object]] = field(default_factory=dict)
    types: Mapping[str, type] = field(default_factory=dict)
    folder: Path | None = None
    file: Path | None = None

    @property
    def source(self) -> Path | None:
        """The file that it can be loaded from; None where there is none."""
        if self.file is not None:
            return self.file.absolute()
        if self.folder is None or self.spec.span is None:
            return None
        file = self.folder / self.spec.span.file
        return file if file.is_file() else None

    @property
    def target(self) -> str:
        """What the command line calls it: the file that it can be loaded from, and its name there; empty for none."""
        if self.source is None:
            return ""
        return f"{self.source}:{self.spec.name}" if self.file is None else str(self.source)

    def find(self, name: str) -> Any:
        """The live class or function that the spec calls ``module:qualname``."""
        return self.types.get(name) or self.functions.get(name) or find_type(name)

    def placed(self, problem: Diagnostic) -> Diagnostic:
        """The problem with a path that exists on this machine, where the source root is known."""
        at = problem.location
        if self.folder is None or at is None:
            return problem
        return replace(problem, location=replace(at, path=str(self.folder / at.path)))


class Runner(Protocol):
    """What a backend also offers when it can run a pipeline on this machine."""

    run_options: ClassVar[type[BaseModel]]

    def run(
        self, definition: Definition, parameters: Mapping[str, object], options: Any, on_event: Listener | None = None
    ) -> Run:
        """Runs to the end; a failed step is a state of the `Run`, not an exception.

        ``parameters`` holds each parameter of the pipeline, encoded; ``options`` is one of ``run_options``.
        """

    def history(self, options: Any) -> History:
        """The runs in the store that a run with these ``run_options`` would use."""

    def usages(self, folder: Path, attempts: Mapping[str, int]) -> Mapping[str, Usage]:
        """What attempts under way have used so far, as far as that can be told.

        ``folder`` is that of their run, which this process runs; ``attempts`` says the number of each node's attempt.
        """

    def report(self, history: History, run: PastRun) -> str:
        """One of these runs as a page of HTML, which one file holds."""

    def upkeep(self, options: Any) -> Upkeep:
        """What can be done for the store that a run with these ``run_options`` would use."""
