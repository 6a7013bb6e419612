"""How values get from task to task: directly, into the DAGs that loops are, and out of these.

Each loop is a DAG of its own, which Kubeflow runs once an item. What a task in it takes from outside is an input of
that DAG; what it gives to tasks outside is an output, of which Kubeflow makes a list. Where the list goes on, into
another loop or out of a further one, a task of its own collects it in one artifact first: Kubeflow keeps one artifact
for each input of a DAG, and kfp.local lists of lists as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.spec import PipelineSpec, Settings
from penstock_backends.kubeflow.channels import ARTIFACT, LIST, STRING, Channel, identifier, parameter_type, task_name
from penstock_backends.kubeflow.program import NOTHING_CARRIED, Carried

OUTCOME = ""  # the name, among a unit's outputs, of how it ended

Scope = tuple[str, ...]
"""The loops around a task, outermost first."""


@dataclass
class Step:
    """A task with a container: what it takes and gives, what it waits for, and its job.

    ``channels`` are its outputs by the names of the unit that it stands for, if it does; ``guard`` is the task that
    fails in its place. ``importer`` stands for the container of one that has none.
    """

    name: str
    label: str
    scope: Scope
    settings: Settings = field(default_factory=Settings)
    job: dict[str, Any] = field(default_factory=dict)
    source: Carried = NOTHING_CARRIED
    arriving: dict[str, Channel] = field(default_factory=dict)
    bound: dict[str, dict[str, Any]] = field(default_factory=dict)
    leaving: list[Channel] = field(default_factory=list)
    channels: dict[str, Channel] = field(default_factory=dict)
    waits: dict[str, None] = field(default_factory=dict)
    guard: str = ""
    importer: dict[str, Any] = field(default_factory=dict)

    def take(self, channel: Channel, bound: dict[str, Any]) -> None:
        """Adds an input, and the wait for the task that it comes from."""
        self.arriving[channel.key] = channel
        self.bound[channel.key] = bound
        self.wait_for(bound)

    def wait_for(self, bound: Mapping[str, Any]) -> None:
        """Adds the wait for the task that an input comes from, if it comes from one."""
        for source in bound.values():
            if isinstance(source, dict) and "producerTask" in source:
                self.waits[source["producerTask"]] = None

    @property
    def ended(self) -> str:
        """The task whose success means that this one succeeded."""
        return self.guard or self.name


@dataclass
class Loop:
    """A loop's DAG, and the task that runs it once an item.

    ``items`` is the task that lists the items; ``given`` says where the DAG's inputs come from.
    """

    name: str
    label: str
    scope: Scope
    items: str
    parallelism: int | None = None
    inputs: dict[str, Channel] = field(default_factory=dict)
    given: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, tuple[Channel, dict[str, Any]]] = field(default_factory=dict)
    waits: dict[str, None] = field(default_factory=dict)

    @property
    def listed(self) -> Channel:
        """The input that holds where each item stands; kfp.local finds the list's task by this name."""
        return Channel(f"pipelinechannel--{self.items}-Output", LIST)

    @property
    def index(self) -> Channel:
        """The input, in the DAG, that says at which item it is."""
        return Channel(f"{self.name}--index", STRING)


class Wiring:
    """The scopes of a pipeline, and the ways of values between them."""

    def __init__(self, pipeline: PipelineSpec) -> None:
        self.parameters = {each.name: each for each in pipeline.parameters}
        self.loops: dict[str, Loop] = {}
        self.steps: dict[str, Step] = {}
        self.added: list[Step] = []

    def parameter(self, scope: Scope, name: str) -> tuple[Channel, dict[str, Any]]:
        """A parameter of the pipeline as an input of a task in ``scope``."""
        channel = Channel(identifier(name), parameter_type(self.parameters[name]))
        return channel, self._inward(scope, 0, channel, channel.of_component)

    def value(self, step: Step, node: str, output: str) -> Channel:
        """Gives an output of a node to a task, as the input that it returns."""
        producer = self.steps[node]
        channel = producer.channels[output]
        key = f"{producer.name}-{channel.key}"
        shared = common(step.scope, producer.scope)
        source = producer.name
        for depth in range(len(producer.scope) - 1, shared - 1, -1):
            source, channel = self._out_of(producer.scope[depth], key, source, channel)
            if depth > shared or len(step.scope) > shared:
                source, channel = self._collected(producer.scope[depth], key, channel)
        bound = self._inward(step.scope, shared, channel.named(key), channel.of_task(source))
        step.take(channel.named(key), bound)
        return channel.named(key)

    def hand_on(self, step: Step, producer: Step, channel: Channel) -> None:
        """Gives an output of a task that is in no loop to a task, under its own name."""
        step.take(channel, self._inward(step.scope, 0, channel, channel.of_task(producer.name)))

    def order(self, step: Step, node: str) -> None:
        """Lets a task, or the loop that it is in, wait for a node, or for the loop that this is in."""
        earlier = self.steps[node]
        shared = common(step.scope, earlier.scope)
        inner = earlier.scope[shared : shared + 1]
        name = self.loops[inner[0]].name if inner else earlier.ended
        outer = step.scope[shared : shared + 1]
        (self.loops[outer[0]] if outer else step).waits[name] = None

    def _out_of(self, loop: str, key: str, source: str, channel: Channel) -> tuple[str, Channel]:
        """A task's output as the list that its loop gives."""
        listed = Channel(key, channel.type, many=True)
        self.loops[loop].outputs[key] = (listed, channel.of_subtask(source))
        return self.loops[loop].name, listed

    def _collected(self, loop: str, key: str, channel: Channel) -> tuple[str, Channel]:
        """A loop's list as one artifact, made by a task beside the loop."""
        name = task_name(f"{loop}.collected")
        step = next((each for each in self.added if each.name == name), None)
        if step is None:
            step = Step(name, f"{loop}: all that its items gave", self.loops[loop].scope, job={"does": "collect"})
            self.added.append(step)
        one = Channel(key, ARTIFACT)
        if key not in step.arriving:
            step.take(channel, channel.of_task(self.loops[loop].name))
            step.leaving.append(one)
        return name, one

    def _inward(self, scope: Scope, depth: int, channel: Channel, bound: dict[str, Any]) -> dict[str, Any]:
        """What an input is bound to in ``scope``, whose value there is at the outermost ``depth`` loops of it."""
        for loop in scope[depth:]:
            self.loops[loop].inputs[channel.key] = channel
            self.loops[loop].given[channel.key] = bound
            for source in bound.values():
                if isinstance(source, dict):
                    self.loops[loop].waits[source["producerTask"]] = None
            bound = channel.of_component
        return bound


def common(one: Scope, other: Scope) -> int:
    """How many loops two tasks are in together."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
