"""What the journal of a run on this machine holds: ``events.jsonl``, a JSON object on each line.

Read it line by line, while the run goes on too, and pass over events and fields that you do not know: later versions
may add some. The last line of a run that was killed may be torn. ``penstock schema --events`` prints the JSON Schema
of a line, which is made of these classes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

FORMAT = 2

EndState = Literal["succeeded", "cached", "failed", "skipped", "upstream_failed", "cancelled"]
RunState = Literal["succeeded", "failed", "cancelled"]


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    time: float
    """When it was written, in seconds since 1970-01-01 UTC. The machine's clock is read once, as the run begins."""


class RunStarted(_Event):
    """The run begins: the first event of each journal."""

    event: Literal["run_started"]
    run: str
    """The run's id."""
    pipeline: str
    """The pipeline's name."""
    format: Literal[2]
    """The version of the journal's format."""
    version: str
    """The version of Penstock."""
    python: str = ""
    """The interpreter and its version, such as ``cpython-3.12``."""
    target: str
    """What was run, as ``FILE:NAME`` relative to ``directory``; empty where that is not known."""
    directory: str
    """The working directory of the process that runs it."""
    commit: str = ""
    """The Git commit that was checked out where the pipeline's source is; missing where there is none."""
    spec: str
    """The SHA-256 of ``spec.json``."""
    host: str
    """The machine's name."""
    pid: int
    """The process that runs it."""
    resumes: str = ""
    """The id of the run that this one goes on with."""
    trace: str = ""
    """The id of the trace that it is part of, in hexadecimal, where telemetry is on."""


class AttemptStarted(_Event):
    """A node is tried."""

    event: Literal["attempt_started"]
    node: str
    """The node's id; in a loop with its item: ``train[2]``."""
    attempt: int = Field(ge=1)
    """The attempt's number, from 1."""


class AttemptEnded(_Event):
    """An attempt came to its end, also where a timeout, a signal or Ctrl-C ended it."""

    event: Literal["attempt_ended"]
    node: str
    """The node's id."""
    attempt: int = Field(ge=1)
    """The attempt's number."""
    state: RunState
    """How it ended; ``failed`` too where only a gate was not passed."""
    seconds: float = Field(ge=0)
    """How long it took, by a clock that is never set."""
    cpu_seconds: float | None = Field(None, ge=0)
    """User and system time of its process and of the children that it waited for; missing where it is not known."""
    peak_memory: int | None = Field(None, ge=0)
    """The largest resident set of one of these processes in bytes; missing where it is not known."""
    error: str = ""
    """Why it failed."""
    retry_in: float | None = Field(None, ge=0)
    """The seconds until another attempt follows; missing where none does."""


class Gate(BaseModel):
    """The verdict of a gate."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    gate: str
    """What was asked, such as ``accuracy >= 0.8``."""
    passed: bool
    """Whether it holds."""
    values: dict[str, Any]
    """The values in it by their names, encoded as parameters are."""
    message: str = ""
    """What its author has to say where it fails."""


class NodeEnded(_Event):
    """A node came to its end."""

    event: Literal["node_ended"]
    node: str
    """The node's id."""
    state: EndState
    """What it came to."""
    kind: Literal["task", "branch", "loop", "gate", "result"] | None = None
    """What in the pipeline it is; missing for a task."""
    text: str = ""
    """A branch's condition, or a loop's items, as the author wrote it."""
    attempts: int = Field(0, ge=0)
    """How many attempts there were."""
    metrics: dict[str, Any] = {}
    """What it logged as metrics; ``nan`` and the infinities encoded as in parameters."""
    metadata: dict[str, dict[str, Any]] = {}
    """What it recorded of its outputs, by their names (``output`` where it has none); encoded as in parameters."""
    gates: list[Gate] = []
    """The verdicts of its gates."""
    error: str = ""
    """Why it failed, or which node before it did."""
    traceback: str = ""
    """The traceback of its last attempt, the author's frames alone."""
    result: str = ""
    """The key in the store under which its outputs are."""


class Flagged(_Event):
    """A run or a node takes longer, or more memory, than is expected, and goes on."""

    event: Literal["flagged"]
    node: str = ""
    """The node; missing where it is the run."""
    what: Literal["duration", "memory"]
    """What is out of bounds."""
    value: float
    """What it has come to: seconds, or bytes."""
    threshold: float
    """What was expected at the most."""
    text: str
    """All of it in a sentence."""


class Draining(_Event):
    """Ctrl-C came: what is under way may still end, and nothing else begins but what runs on exit."""

    event: Literal["draining"]
    text: str
    """What is waited for, in a sentence."""


class Superseded(_Event):
    """A further run of the pipeline, which may have no more of them at a time, ends this one."""

    event: Literal["superseded"]
    text: str
    """That, in a sentence."""


class AlertSent(_Event):
    """An alert arrived: the webhook answered with success, or the command ended with 0."""

    event: Literal["alert_sent"]
    node: str = ""
    """The node that it is about; missing where it is the run."""
    on: str
    """What the alert is about, as its configuration says it: ``failure``, ``gate``, ..."""
    to: str
    """Where it was sent, as it is configured: the names of secrets, not their values."""
    tries: int = Field(ge=1)
    """How often it was tried."""
    text: str
    """Who was told what, in a sentence."""


class AlertFailed(_Event):
    """An alert could not be delivered; the run is none the worse for it."""

    event: Literal["alert_failed"]
    node: str = ""
    """The node that it is about; missing where it is the run."""
    on: str
    """What the alert is about."""
    to: str
    """Where it should have gone."""
    tries: int = Field(ge=0)
    """How often it was tried."""
    text: str
    """What happened, in a sentence."""
    error: str
    """Why it could not be delivered."""


class TelemetryFailed(_Event):
    """Some of the run's spans or metrics did not reach the collector; the run is none the worse for it."""

    event: Literal["telemetry_failed"]
    text: str
    """What happened, in a sentence."""
    error: str
    """Why."""


class RunEnded(_Event):
    """All nodes came to their ends. What was sent about the run may be noted after it."""

    event: Literal["run_ended"]
    state: RunState
    """What the run came to."""
    seconds: float = Field(ge=0)
    """How long it took."""
    counts: dict[EndState, int]
    """How many nodes came to each state."""


Event = Annotated[
    RunStarted
    | AttemptStarted
    | AttemptEnded
    | NodeEnded
    | Flagged
    | Draining
    | Superseded
    | AlertSent
    | AlertFailed
    | TelemetryFailed
    | RunEnded,
    Field(discriminator="event"),
]


def event_schema() -> dict[str, Any]:
    """The JSON Schema of a line of the journal."""
    schema: dict[str, Any] = TypeAdapter(Event).json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An event of a run's journal",
        **schema,
    }
