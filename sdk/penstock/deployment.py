"""Putting a pipeline where its engine looks for it: what a backend offers for that, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Protocol, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from penstock.backend import Definition, Files
from penstock.rejections import text_like
from penstock.values import Json

Address: TypeAlias = Annotated[
    str,
    text_like(r"(https?://\S+)?", "an address, of http:// or https://"),
    AfterValidator(lambda address: address.rstrip("/")),
]
"""Where a server is, without a slash at its end; empty for a default."""
Names: TypeAlias = Annotated[
    tuple[str, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)
]
"""Names, of which a single one may stand by itself."""


class DeployOptions(BaseModel):
    """Where and how a target is deployed, from ``[tool.penstock.deploy.TARGET]`` in pyproject.toml or the command line.

    None of them is a secret: credentials come from the environment.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Version:
    """A state that a pipeline has, or had, at its place.

    ``name`` is what one returns to it by; ``spec`` the hash in the header of its files; ``when`` it was put there, in
    ISO 8601 with its zone; ``current`` whether it is what the engine runs now.
    """

    name: str
    spec: str
    when: str
    current: bool = False


@dataclass(frozen=True)
class Deployed:
    """What is in its place now: the version, the files or addresses, and whether anything had to change for that.

    ``notes`` are sentences on what is worth knowing, or is left for a person to do.
    """

    version: str
    places: tuple[str, ...]
    changed: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StartedRun:
    """A run that was started on an engine; ``url`` is where a person can see it, where there is such a page."""

    id: str
    url: str = ""


class Deployment(Protocol):
    """One pipeline and the one place that it is deployed to.

    Every method raises `DeployError` where the engine, or the place, refuses or cannot be reached, and changes nothing
    then.
    """

    def differences(self, files: Files) -> Sequence[str]:
        """In what the place is not as `put` would make it, a sentence each; empty where it is up to date."""

    def put(self, files: Files, *, force: bool = False) -> Deployed:
        """Puts the compiled files there, as a new version where anything is new.

        What a person changed there is not overwritten, unless with ``force``.
        """

    def versions(self) -> Sequence[Version]:
        """What is and was there, the newest first."""

    def roll_back(self, version: str = "") -> Deployed:
        """Returns to an earlier version, by default to the one before the current one."""

    def require_server(self) -> None:
        """Raises `ConfigurationError` where nothing says which server starts runs; none is asked yet.

        `DeployError` where the environment has no credentials, which every server of the kind wants.
        """

    def start(self, parameters: Mapping[str, Json]) -> StartedRun:
        """Starts a run of the current version with these parameters, encoded; those left out have their defaults."""

    def follow(self, run: StartedRun, say: Callable[[str], None]) -> bool:
        """Waits until a run has ended, telling ``say`` of each node that changes its state; whether it succeeded."""


class Deployer(Protocol):
    """What a backend also offers when it can deploy."""

    deploy_options: ClassVar[type[DeployOptions]]

    def deployment(self, definition: Definition, options: Any, deploy_options: Any) -> Deployment:
        """The deployment of a pipeline, with the options that it is compiled with and those of deploying.

        Raises:
            ConfigurationError: the options do not say where.
        """
