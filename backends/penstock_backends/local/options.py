"""What may be said of a run on this machine: on the command line, in Python, or under ``[tool.penstock.run]``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from penstock.settings import bytes_of
from penstock_backends.local.alerts import Alert
from penstock_backends.local.given_secrets import SecretSource
from penstock_backends.local.telemetry import TelemetryOptions


class RunOptions(BaseModel):
    """How a pipeline runs here.

    Attributes:
        store: the folder, or the URL, for outputs, cache and history; by default what ``PENSTOCK_STORE`` says, else
            ``.penstock`` in the current directory.
        store_options: of a store by URL, what fsspec is to know, such as its endpoint.
        store_key: of a store by URL, the environment variable that holds the key which signs what is stored; by default
            ``PENSTOCK_STORE_KEY`` where it is set, else a key of this user's own.
        store_limit: how much the store may take up, in bytes or as a text such as ``"20Gi"``: after a run, results that
            were not used for the longest time go until it fits. No limit by default.
        inline: run each step in this process and thread, one after another (see `inline`).
        max_workers: how many attempts may run at once; by default one per core of ``cpu``.
        cpu: the cores that all attempts together may ask for; by default those that this process may use.
        memory: likewise the memory, in bytes or as a text such as ``"16Gi"``; by default what the machine has.
        gpu: likewise the GPUs; by default those that the machine has.
        share_budget: have all runs of this user on this machine that say so keep within the budget together; a step
            that does not say how many cores it needs counts as one. An ``inline`` run takes no part in it.
        quotas: how much there is of each thing that steps ask for by a name of their author's (`Resources`).
        resumes: the id of an earlier run of the pipeline to go on with: what it completed is taken over (see
            `Pipeline.resume`, which gives its parameters, too).
        alerts: who is to be told of what (see `Alert`).
        secrets: where the values of secrets come from, by reference (``{"warehouse/password": {"file": "..."}}``, see
            `SecretSource`; in Python also the value itself); by default the environment variable that the step finds
            it in, as the runner has it.
        telemetry: whether spans and metrics go to an OpenTelemetry collector, and where it is (see `TelemetryOptions`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str | Path | None = None
    store_options: dict[str, Any] = Field(default_factory=dict)
    store_key: str | None = None
    store_limit: int | None = Field(None, ge=0)
    inline: bool = False
    max_workers: int | None = Field(None, ge=1)
    cpu: float | None = Field(None, gt=0)
    memory: int | None = Field(None, ge=0)
    gpu: int | None = Field(None, ge=0)
    share_budget: bool = False
    quotas: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    resumes: str = ""
    alerts: tuple[Alert, ...] = ()
    secrets: dict[str, SecretSource] = Field(default_factory=dict, repr=False)
    telemetry: TelemetryOptions | None = None

    @field_validator("memory", "store_limit", mode="before")
    @classmethod
    def _in_bytes(cls, given: object, about: ValidationInfo) -> object:
        return bytes_of(given, about.field_name or "") if isinstance(given, (int, str)) else given

    @field_validator("telemetry", mode="before")
    @classmethod
    def _switched(cls, given: object) -> object:
        """``True`` for what the environment says, ``False`` for none."""
        return (TelemetryOptions() if given else None) if isinstance(given, bool) else given
