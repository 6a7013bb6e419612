"""What can be configured about emitted workflows, and which runner a job gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from penstock.rejections import text_like
from penstock.spec import ResourcesSpec, Task
from penstock_backends.alerting import AlertOptions
from penstock_backends.github.actions import ACTIONS, PIN, Action
from penstock_backends.github.names import JOB_TOKEN, secret_id
from penstock_backends.step_options import StepOptions, options_of

GIB = 2**30


class Runner(BaseModel):
    """A kind of runner: what its jobs put into ``runs-on``, and what one of them may use.

    ``labels`` name it; ``cpu`` is in cores, ``memory_gib`` in GiB, ``gpu`` in devices of ``gpu_type``; ``minutes`` is
    how long a job may last there. The defaults are those of GitHub's standard Linux runner for public repositories.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[str, ...] = Field(min_length=1)
    cpu: float = Field(default=4, gt=0)
    memory_gib: float = Field(default=16, gt=0)
    gpu: int = Field(default=0, ge=0)
    gpu_type: str = ""
    minutes: int = Field(default=360, gt=0)

    def fits(self, resources: ResourcesSpec | None, seconds: float) -> bool:
        """Whether a job that asks for ``resources`` and may last ``seconds`` can run here."""
        if seconds > self.minutes * 60:
            return False
        if resources is None:
            return True
        return (
            (resources.cpu or 0) <= self.cpu
            and (resources.memory or 0) <= self.memory_gib * GIB
            and resources.gpu <= self.gpu
            and (not resources.gpu or resources.gpu_type in ("", self.gpu_type))
        )


_LINE = r"[^\x00-\x1f\x7f]"
OneLine = Annotated[str, text_like(f"{_LINE}+", "a text of one line")]
LineOrNothing = Annotated[str, text_like(f"{_LINE}*", "a text of one line")]
SecretName = Annotated[str, text_like(r"[A-Za-z_][A-Za-z0-9_]*", "a name of letters, digits and `_`")]
Pin = Annotated[str, text_like(PIN, "a commit and its version, such as `3d3c... # v7.0.1`")]
Scope = Literal[
    "actions", "attestations", "checks", "contents", "deployments", "discussions", "id-token", "issues", "packages",
    "pages", "pull-requests", "security-events", "statuses",
]  # fmt: skip


class Permission(BaseModel):
    """What the token of a job may do, and why: the ``reason`` stands beside it in the workflow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    access: Literal["read", "write"]
    reason: OneLine

    @model_validator(mode="before")
    @classmethod
    def _comes_with_a_reason(cls, given: object) -> object:
        if isinstance(given, str):
            message = 'a permission comes with its reason: { access = "write", reason = "to ..." }'
            raise ValueError(message)  # noqa: TRY004  # pydantic shows what a ValueError says
        return given


class Registry(BaseModel):
    """Who fetches an image from a registry: a name, and the reference of the secret that is the password."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    username: OneLine
    password: OneLine


class GithubStepOptions(StepOptions):
    """What can be said of the job of one step.

    Attributes:
        environment: the environment of the repository that it belongs to: who must approve before it starts, from which
            branches it may, and secrets that no other job gets.
        permissions: what its token may do beyond reading the repository, each with the reason; ``id-token`` for OIDC.
        runs_on: the label, or labels, of its runner, whatever the step's resources.
        container: further options of ``docker create`` for the step's image.
        registry: who fetches the step's image, where not everyone may.
    """

    environment: LineOrNothing = Field(default="", max_length=255)
    permissions: Mapping[Scope, Permission] = Field(default_factory=dict)
    runs_on: OneLine | tuple[OneLine, ...] = ()
    container: LineOrNothing = ""
    registry: Registry | None = None


class GithubOptions(AlertOptions):
    """The options of the GitHub Actions target.

    Attributes:
        runs_on: the label, or labels, of the runner for all jobs that it is large enough for.
        runners: other runners, each with what it offers; a job that asks for more than ``runs_on`` has gets the first
            of these that is large enough.
        python_version: the Python of all jobs that have no image of their own.
        retention_days: how long GitHub keeps the outputs of steps; by default as long as it lets failed jobs be run
            again.
        cache: whether a step that may be cached takes over what it gave before for the same code and inputs, where
            GitHub still has it.
        graph: whether a last job shows the graph of the run, coloured by what became of each job.
        secrets: names of secrets of the repository by reference (``{"aws/KEY": "AWS_KEY"}``), where they are not called
            as `secret_id` says.
        steps: what holds for the job of one step.
        actions: other commits of the actions that workflows use, or copies of them, by the action's name, as
            `penstock_backends.github.actions.PIN` says.
    """

    runs_on: str | tuple[str, ...] = "ubuntu-24.04"
    runners: tuple[Runner, ...] = ()
    python_version: str = "3.12"
    retention_days: int = Field(default=30, ge=1, le=90)
    cache: bool = False
    graph: bool = False
    secrets: Mapping[str, SecretName] = Field(default_factory=dict)
    steps: Mapping[str, GithubStepOptions] = Field(default_factory=dict)
    actions: Mapping[str, Pin] = Field(default_factory=dict)

    @field_validator("actions")
    @classmethod
    def _are_used(cls, given: Mapping[str, str]) -> Mapping[str, str]:
        known = [each.name for each in ACTIONS]
        unknown = [name for name in given if name not in known]
        if unknown:
            raise ValueError(f"workflows use {', '.join(known)}, and not {', '.join(unknown)}")
        return given

    def action(self, action: Action) -> Action:
        """An action as it is pinned here."""
        return action.pinned_to(self.actions[action.name]) if action.name in self.actions else action

    def runner(self, task: Task, seconds: float) -> Runner | None:
        """The first runner that fits, or the one that is named for the step; None where none is large enough."""
        known, chosen = (Runner(labels=_labels(self.runs_on)), *self.runners), _labels(self.step(task).runs_on)
        resources = task.settings.resources
        if chosen:
            known = tuple(each for each in known if each.labels == chosen)
        if chosen and not known:  # nothing is said of what it offers
            known, resources = (Runner(labels=chosen),), None
        return next((each for each in known if each.fits(resources, seconds)), None)

    def step(self, task: Task) -> GithubStepOptions:
        """What is said of a call of a step."""
        return options_of(task, self.steps, GithubStepOptions())

    def secret(self, reference: str) -> str:
        """A secret as an expression."""
        name = self.secret_name(reference)
        return f"${{{{ {'github.token' if name == JOB_TOKEN else f'secrets.{name}'} }}}}"

    def secret_name(self, reference: str) -> str:
        """What a secret is called in the repository."""
        return self.secrets.get(reference) or secret_id(reference)


def _labels(given: str | tuple[str, ...]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else given
