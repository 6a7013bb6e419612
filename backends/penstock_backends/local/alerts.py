"""Who is to be told of what about a run: the rules under ``[[tool.penstock.run.alerts]]``."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from penstock.harness import parts_of
from penstock.settings import bytes_of

BOUNDED = ("duration", "memory")
FEWEST_RUNS = 3


class Alert(BaseModel):
    """One rule: what is told, and to whom.

    Attributes:
        on: ``failure`` or ``cancelled`` (the run has ended so), ``gate`` (a gate was not passed), ``duration`` or
            ``memory`` (the run, or an attempt of a node, is above a bound, told while it goes on), ``failure_rate``
            (this run failed, and so did too many of those before it).
        to: the URL of a webhook, or a command as a list; ``duration`` and ``memory`` may go without, and are then
            only flagged. ``${NAME}`` in a URL or a header stands for an environment variable.
        headers: what else to send to the webhook, for instance ``Authorization``.
        pipeline: the pipelines that it is about, as a pattern such as ``train_*``; all by default.
        node: the nodes that it is about, likewise (``prepare.*``); by default any, for ``duration`` the run itself.
        above: the bound: seconds, a size such as ``"2Gi"``, or for ``failure_rate`` a share from 0 to 1.
        times: instead of that, how many times the median of earlier runs.
        runs: how many runs are looked at for ``times`` and ``failure_rate``; at least three must be there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    on: Literal["failure", "cancelled", "gate", "duration", "memory", "failure_rate"]
    to: str | tuple[str, ...] | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    pipeline: str = "*"
    node: str = ""
    above: float | None = Field(None, ge=0)
    times: float | None = Field(None, gt=0)
    runs: int = Field(20, ge=FEWEST_RUNS)

    @field_validator("above", mode="before")
    @classmethod
    def _in_bytes(cls, given: object) -> object:
        return bytes_of(given) if isinstance(given, str) else given

    @field_validator("to")
    @classmethod
    def _reachable(cls, given: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        if isinstance(given, str) and not given.startswith(("http://", "https://", "${")):
            raise ValueError('neither a URL (https://...) nor a command as a list (["notify", "--now"])')
        if given == ():
            raise ValueError("the command is empty")
        return given

    @model_validator(mode="after")
    def _sensible(self) -> Alert:
        if self.to is None and self.on not in BOUNDED:
            raise ValueError(f"an alert on {self.on} needs `to`: a URL, or a command as a list")
        if self.on in BOUNDED and (self.above is None) == (self.times is None):
            raise ValueError(f"an alert on {self.on} needs a bound: either `above` or `times`")
        if self.on == "failure_rate" and (self.above is None or self.above >= 1):
            raise ValueError("an alert on failure_rate needs `above`, a share below 1")
        if self.times is not None and self.on not in BOUNDED:
            raise ValueError(f"an alert on {self.on} takes no `times`")
        if self.above is not None and self.on not in (*BOUNDED, "failure_rate"):
            raise ValueError(f"an alert on {self.on} takes no `above`")
        return self

    @property
    def address(self) -> str:
        """Where it goes, as it is configured; empty for nowhere."""
        return self.to if isinstance(self.to, str) else " ".join(self.to or ())

    def is_about(self, node: str) -> bool:
        """Whether it is about a node, or any instance of one; about the run itself, for an empty name."""
        if not node:
            return not self.node and self.on != "memory"
        if not self.node:
            return self.on != "duration"
        return fnmatchcase(parts_of(node)[0], self.node)
