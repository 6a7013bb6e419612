"""The pipeline as data: what the decorators capture, and what every backend reads.

`PipelineSpec` is the root. All of it is frozen, versioned, and survives JSON unchanged; nothing here acts. Sets of
things are tuples in the order of the author's file, so that the same source gives the same bytes.

A reference into another node is a `Binding`; a binding is also what the harness resolves on an engine, in the same
JSON.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from penstock.diagnostics import Location

SPEC_VERSION: Final = 1

# JSON as the exact encoding of `penstock.values` writes it; opaque here.
Encoded = Any


class SpecModel(BaseModel):
    """What all spec models share: frozen, no unknown fields, enums by value."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings", defer_build=True)


class Feature(str, Enum):
    """What a pipeline can ask for and a backend must declare an answer to."""

    DATA_EDGES = "data_edges"
    PARAMETERS = "parameters"
    ARTIFACTS = "artifacts"
    NAMED_OUTPUTS = "named_outputs"
    COLLECTED_INPUTS = "collected_inputs"
    FIELD_ACCESS = "field_access"
    AFTER = "after"
    NESTED_PIPELINES = "nested_pipelines"
    CONDITIONS = "conditions"
    LOOPS = "loops"
    NESTED_LOOPS = "nested_loops"
    LOOP_PARALLELISM = "loop_parallelism"
    GATES = "gates"
    ON_FAILURE = "on_failure"
    ON_EXIT = "on_exit"
    ROLLBACK = "rollback"
    PIPELINE_TIMEOUT = "pipeline_timeout"
    RETRY = "retry"
    TIMEOUT = "timeout"
    RESOURCES = "resources"
    QUOTAS = "quotas"
    PRIORITY = "priority"
    ENV = "env"
    SECRETS = "secrets"
    PACKAGES = "packages"
    IMAGE = "image"
    CACHE = "cache"
    EXISTING = "existing"
    METRICS = "metrics"
    METADATA = "metadata"
    SCHEDULE = "schedule"
    SCHEDULE_START = "schedule_start"
    CATCH_UP = "catch_up"
    PUSH = "push"
    PULL_REQUEST = "pull_request"
    AFTER_PIPELINE = "after_pipeline"
    DATA_CHANGE = "data_change"
    UPDATES = "updates"
    CONCURRENCY = "concurrency"
    SEVERAL_RUNS = "several_runs"
    CANCEL_RUNNING = "cancel_running"


class Span(SpecModel):
    """Where in the author's source a thing was written.

    ``file`` is relative to the folder that holds the author's top-level module or package, with ``/``, so that it is
    the same on every machine. ``line`` counts from 1, columns from 0; ``text`` is the line as written.
    """

    file: str
    line: int = Field(ge=1)
    column: int = 0
    end_column: int = 0
    text: str = ""


class TypeKind(str, Enum):
    """The shapes a value may be declared to have."""

    NONE = "none"
    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    STR = "str"
    BYTES = "bytes"
    DATETIME = "datetime"
    DATE = "date"
    TIME = "time"
    TIMEDELTA = "timedelta"
    DECIMAL = "decimal"
    UUID = "uuid"
    LIST = "list"  # args: (item,)
    TUPLE = "tuple"  # args: items; with `variadic`, args: (item,)
    SET = "set"  # args: (item,)
    FROZENSET = "frozenset"  # args: (item,)
    DICT = "dict"  # args: (key, value)
    LITERAL = "literal"  # values: the encoded choices
    ENUM = "enum"  # name; members: the names; values: the encoded values, in step with them, if all have any
    DATACLASS = "dataclass"  # name, fields
    NAMEDTUPLE = "namedtuple"  # name, fields
    TYPEDDICT = "typeddict"  # name, fields
    PYDANTIC = "pydantic"  # name, fields
    UNION = "union"  # args
    ANY = "any"
    PATH = "path"  # an artifact: a file or a directory
    OBJECT = "object"  # an artifact: any class; name, bases


class FieldSpec(SpecModel):
    """A field of a record type. ``required`` is False where the class gives a default."""

    name: str
    type: TypeSpec
    required: bool = True


class TypeSpec(SpecModel):
    """A type as the author annotated it.

    Which fields are in use follows from ``kind`` (see `TypeKind`). ``name`` is ``module:qualname`` of a class.
    ``bases`` holds the names of all its bases, itself left out, so that an edge can be checked without importing
    anything. ``label`` is the artifact label (``Dataset``, ``Model``, ``Metrics``, ``Report``, ``Markdown``).
    ``serializer`` says how an artifact is written. ``text`` is the type as a person writes it, for messages.
    """

    kind: TypeKind
    args: tuple[TypeSpec, ...] = ()
    variadic: bool = False
    name: str = ""
    fields: tuple[FieldSpec, ...] = ()
    members: tuple[str, ...] = ()
    values: tuple[Encoded, ...] = ()
    bases: tuple[str, ...] = ()
    label: str = ""
    serializer: str = ""
    text: str = ""

    @property
    def is_artifact(self) -> bool:
        """Whether values of this type travel as files rather than as JSON."""
        if self.kind in (TypeKind.PATH, TypeKind.OBJECT, TypeKind.ANY):
            return True
        parts = (*self.args, *(field.type for field in self.fields))
        return bool(self.label or self.serializer) or any(part.is_artifact for part in parts)


class Access(SpecModel):
    """One step from a value to a part of it: an attribute (``.name``) or a constant item (``[key]``)."""

    kind: Literal["attribute", "item"]
    key: str | int


class LiteralBinding(SpecModel):
    """A constant written in the pipeline."""

    kind: Literal["literal"] = "literal"
    value: Encoded


class ParameterBinding(SpecModel):
    """A parameter of the pipeline, or a part of it."""

    kind: Literal["parameter"] = "parameter"
    name: str
    path: tuple[Access, ...] = ()


class OutputBinding(SpecModel):
    """An output of another node (its full id), or a part of it."""

    kind: Literal["output"] = "output"
    node: str
    output: str
    path: tuple[Access, ...] = ()


class SequenceBinding(SpecModel):
    """A list or tuple, some of whose items come from elsewhere."""

    kind: Literal["list", "tuple"]
    items: tuple[Binding, ...]


class MappingBinding(SpecModel):
    """A dict with constant string keys, some of whose values come from elsewhere."""

    kind: Literal["dict"] = "dict"
    items: tuple[tuple[str, Binding], ...]


class RecordBinding(SpecModel):
    """An instance of a class (``module:qualname``) made from parts: the whole of a node's named outputs."""

    kind: Literal["record"] = "record"
    type: str
    fields: tuple[tuple[str, Binding], ...]


class ItemBinding(SpecModel):
    """The item that a loop (its full id) is at, or a part of it. It means something inside that loop's body only."""

    kind: Literal["item"] = "item"
    loop: str
    path: tuple[Access, ...] = ()


class Operator(str, Enum):
    """What Python does with operands, and an engine is to do in the same way (see `penstock.harness.OPERATORS`).

    ``and``, ``or`` and ``if`` (test, then, otherwise) give one of their operands, as Python does.
    """

    EQ = "=="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    IN = "in"
    NOT_IN = "not in"
    IS = "is"
    IS_NOT = "is not"
    AND = "and"
    OR = "or"
    NOT = "not"
    IF = "if"
    LEN = "len"
    RANGE = "range"
    ZIP = "zip"
    ZIP_STRICT = "zip strict"
    ENUMERATE = "enumerate"
    KEYS = "keys"
    VALUES = "values"
    ITEMS = "items"
    TUPLE = "tuple"
    SET = "set"
    FROZENSET = "frozenset"
    DICT = "dict"
    SLICE = "slice"  # items, start, stop, step
    CONCATENATE = "concatenate"  # lists into one
    TEXT = "text"  # texts into one
    FORMAT = "format"  # value, conversion ("", "r", "s" or "a"), format specification


class OperationBinding(SpecModel):
    """What an operator gives for its operands, or a part of it: computed by the harness, with Python's meaning."""

    kind: Literal["operation"] = "operation"
    operator: Operator
    operands: tuple[Binding, ...]
    path: tuple[Access, ...] = ()


class ChoiceBinding(SpecModel):
    """Whichever of two values belongs to the arm of a branch (its full id) that ran, or a part of it."""

    kind: Literal["choice"] = "choice"
    branch: str
    then: Binding
    otherwise: Binding
    path: tuple[Access, ...] = ()


class Arm(SpecModel):
    """One side of a branch (its full id): the one that runs where the condition is true, or the other."""

    branch: str
    holds: bool


class Entry(SpecModel):
    """What one statement adds to a list: a value, or with ``spread`` each item of it.

    It is added where all of the arms ``when`` run, outermost first; those around the whole list are left out.
    """

    value: Binding
    spread: bool = False
    when: tuple[Arm, ...] = ()


class CollectBinding(SpecModel):
    """A list made by adding to it.

    With a ``loop`` (its full id) the entries are added once for each item, in the order of the items; without, once.
    An entry whose node was skipped adds nothing.
    """

    kind: Literal["collect"] = "collect"
    loop: str = ""
    entries: tuple[Entry, ...]
    path: tuple[Access, ...] = ()


class StatusBinding(SpecModel):
    """How the run went so far, as a `penstock.RunStatus`; only for what runs at the end of a run."""

    kind: Literal["status"] = "status"


Binding = Annotated[
    LiteralBinding
    | ParameterBinding
    | OutputBinding
    | SequenceBinding
    | MappingBinding
    | RecordBinding
    | ItemBinding
    | OperationBinding
    | ChoiceBinding
    | CollectBinding
    | StatusBinding,
    Field(discriminator="kind"),
]


class ParameterSpec(SpecModel):
    """A parameter of a step or a pipeline. ``default`` counts only where ``required`` is False."""

    name: str
    type: TypeSpec
    required: bool = True
    default: Encoded = None
    description: str = ""


class OutputSpec(SpecModel):
    """One output of a step. An unnamed one is called ``output``."""

    name: str
    type: TypeSpec


class Returns(SpecModel):
    """How a returned value divides into outputs, and how they join again.

    ``kind``: ``none`` (no outputs), ``value`` (one, called ``output``), ``tuple`` (``output_0`` ...), ``namedtuple`` or
    ``dataclass`` (one per field of ``type``, a ``module:qualname``).
    """

    kind: Literal["none", "value", "tuple", "namedtuple", "dataclass"]
    type: str = ""


class Statement(SpecModel):
    """A top-level statement of an author's module, its text as written; ``line`` is where it began there."""

    line: int
    source: str


class ModuleSource(SpecModel):
    """The part of one of the author's modules that the steps reach, in the order of the file.

    ``name`` is the module's import name (a script's is its file name); ``file`` as in `Span`.
    """

    name: str
    file: str
    statements: tuple[Statement, ...]

    @property
    def text(self) -> str:
        """The statements as a module, spaced as the author spaced them where they stood together."""
        parts: list[str] = []
        for index, statement in enumerate(self.statements):
            if index:
                parts.append("\n" * (1 + _blank_lines(self.statements[index - 1], statement)))
            parts.append(statement.source)
        return "".join(parts) + "\n"


def _blank_lines(before: Statement, after: Statement) -> int:
    if any(_code(each).startswith(("def ", "async def ", "class ", "@")) for each in (before, after)):
        return 2
    apart = after.line - before.line - before.source.count("\n") > 1
    return int(apart or _is_import(before) != _is_import(after))


def _is_import(statement: Statement) -> bool:
    return _code(statement).startswith(("import ", "from "))


def _code(statement: Statement) -> str:
    """The statement without the comments above it."""
    lines = statement.source.split("\n")
    return "\n".join(itertools.dropwhile(lambda line: line.startswith("#"), lines))


class Reach(SpecModel):
    """The names of one module that a step reaches."""

    module: str
    names: tuple[str, ...]


class StepSpec(SpecModel):
    """A step's definition, apart from where it is called.

    ``id`` is ``module:qualname``. ``reach`` selects, from `PipelineSpec.modules`, what its program consists of.
    ``requirements`` are those found from the imports it reaches, pinned (``numpy==2.4.6``).
    """

    id: str
    description: str = ""
    inputs: tuple[ParameterSpec, ...] = ()
    outputs: tuple[OutputSpec, ...] = ()
    returns: Returns
    reach: tuple[Reach, ...] = ()
    requirements: tuple[str, ...] = ()
    span: Span | None = None


class RetrySpec(SpecModel):
    """Up to ``max_retries`` further attempts after a failed one.

    Before the k-th (from 0), wait ``min(delay * backoff**k, max_delay)`` seconds, and up to ``jitter`` times that
    again, drawn at random.
    """

    max_retries: int = Field(ge=0)
    delay: float = Field(default=0.0, ge=0)
    backoff: float = Field(default=1.0, ge=1)
    max_delay: float | None = Field(default=None, ge=0)
    jitter: float = Field(default=0.0, ge=0, le=1)


class ResourcesSpec(SpecModel):
    """What one attempt asks for: ``cpu`` in cores, ``memory`` in bytes, ``gpu`` in devices of ``gpu_type``."""

    cpu: float | None = Field(default=None, gt=0)
    memory: int | None = Field(default=None, gt=0)
    gpu: int = Field(default=0, ge=0)
    gpu_type: str = ""


class Settings(SpecModel):
    """How a task runs.

    ``timeout`` is in seconds and bounds one attempt. ``quotas`` is how much an attempt takes of things that its author
    has named. Of what is ready, a higher ``priority`` goes first. ``secrets`` names, for each environment variable that
    holds one, the secret that it is: ``NAME`` or ``NAME/KEY``, never a value. ``packages`` given (even empty) replaces
    the requirements that were found.
    """

    retry: RetrySpec | None = None
    timeout: float | None = Field(default=None, gt=0)
    resources: ResourcesSpec | None = None
    quotas: tuple[tuple[str, Annotated[int, Field(ge=1)]], ...] = ()
    priority: int = 0
    env: tuple[tuple[str, str], ...] = ()
    secrets: tuple[tuple[str, str], ...] = ()
    packages: tuple[str, ...] | None = None
    image: str = ""
    cache: bool = True
    cache_version: str = ""


class CheckSpec(SpecModel):
    """A gate on what a step gives: ``value`` compared with ``bounds``.

    ``value`` is a metric's name, or an output's with the path to a part of it (``output.accuracy``; of an unnamed
    output, ``accuracy`` too). ``operator`` is one of ``< <= > >= == !=`` with one bound, ``between`` with two (both
    included), ``is not null`` with none.
    """

    value: str
    operator: Literal["<", "<=", ">", ">=", "==", "!=", "between", "is not null"]
    bounds: tuple[Binding, ...] = ()
    message: str = ""


class Task(SpecModel):
    """One call of a step. ``id`` is its full dotted name, unique in the pipeline; ``after`` holds ids of nodes.

    ``rollback`` undoes it where it completed and the run fails. ``left_out`` names what of it a target does not keep,
    by the author's permission.
    """

    kind: Literal["task"] = "task"
    id: str
    step: str
    inputs: tuple[tuple[str, Binding], ...] = ()
    after: tuple[str, ...] = ()
    settings: Settings = Settings()
    checks: tuple[CheckSpec, ...] = ()
    rollback: Task | None = None
    left_out: tuple[Feature, ...] = ()
    span: Span | None = None


class Group(SpecModel):
    """A nested pipeline: a namespace around its nodes, whose ids begin with this one's."""

    kind: Literal["group"] = "group"
    id: str
    pipeline: str
    description: str = ""
    body: tuple[Node, ...] = ()
    after: tuple[str, ...] = ()
    span: Span | None = None


class Branch(SpecModel):
    """Two bodies, of which one runs: ``then`` where ``condition`` is true, else ``otherwise``; no namespace.

    ``text`` is the condition as its author wrote it. An ``elif`` is a branch in ``otherwise``.
    """

    kind: Literal["branch"] = "branch"
    id: str
    condition: Binding
    text: str = ""
    then: tuple[Node, ...] = ()
    otherwise: tuple[Node, ...] = ()
    after: tuple[str, ...] = ()
    span: Span | None = None


class Loop(SpecModel):
    """A body that runs once for each item of a list, each time by itself; no namespace.

    ``text`` is the list as its author wrote it; ``parallelism`` bounds how many items are under way at a time.
    """

    kind: Literal["loop"] = "loop"
    id: str
    items: Binding
    item: TypeSpec
    text: str = ""
    parallelism: int | None = Field(default=None, ge=1)
    body: tuple[Node, ...] = ()
    after: tuple[str, ...] = ()
    left_out: tuple[Feature, ...] = ()
    span: Span | None = None


class Gate(SpecModel):
    """A condition without which nothing that comes after it runs.

    ``text`` is the condition as its author wrote it; ``shown`` the values in it, each with its text, for those who read
    of the verdict.
    """

    kind: Literal["gate"] = "gate"
    id: str
    condition: Binding
    text: str = ""
    shown: tuple[tuple[str, Binding], ...] = ()
    message: Binding | None = None
    after: tuple[str, ...] = ()
    span: Span | None = None


Node = Annotated[Task | Group | Branch | Loop | Gate, Field(discriminator="kind")]

# The steps that decide branches, list the items of loops, pass gates, and compute what a pipeline returns, all of them
# the harness's own: `StepSpec.id`.
DECIDE, ITEMS, CHECK, GIVE = "penstock:decide", "penstock:items", "penstock:check", "penstock:give"
# The module of the steps that take what exists already at a URI; see `takes_what_exists`.
EXISTING = "penstock_existing"


class ScheduleSpec(SpecModel):
    """A five-field cron expression read in ``timezone`` (an IANA name).

    No run is before ``start``, an ISO date or local time (empty: none was given). With ``catch_up``, the runs that were
    missed since then are made up for.
    """

    cron: str
    timezone: str = "UTC"
    start: str = ""
    catch_up: bool = False


class PushTrigger(SpecModel):
    """Commits that reach one of ``branches`` and change one of ``paths`` (globs, as GitHub has them; empty: any)."""

    kind: Literal["push"] = "push"
    branches: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


class PullRequestTrigger(SpecModel):
    """A pull request that is opened or changed, into one of ``branches``, over one of ``paths`` (as for a push)."""

    kind: Literal["pull_request"] = "pull_request"
    branches: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


class PipelineTrigger(SpecModel):
    """The end of a run, in success, of the pipeline of this name on the same engine."""

    kind: Literal["pipeline"] = "pipeline"
    pipeline: str


class DataTrigger(SpecModel):
    """Data that was updated, by the URI that its producers call it by."""

    kind: Literal["data"] = "data"
    uri: str


Trigger = Annotated[
    PushTrigger | PullRequestTrigger | PipelineTrigger | DataTrigger,
    Field(discriminator="kind"),
]


class ConcurrencySpec(SpecModel):
    """At most ``limit`` runs at a time; a further one waits, or with ``cancel_running`` ends the oldest of them."""

    limit: int = Field(default=1, ge=1)
    cancel_running: bool = False


class PipelineSpec(SpecModel):
    """A pipeline, whole: everything that a backend may read.

    ``result`` is what the pipeline returns, of which all that has to be computed is an output of a node that calls
    `GIVE` (see `is_computed`); ``returns`` how that divides into outputs. ``on_failure`` runs once a run
    has failed, ``on_exit`` at the end of every run, each after what stands before it. ``timeout`` is in seconds and
    bounds the run, apart from these. A run starts by ``schedule``, and by any of ``triggers``; one that succeeded has
    updated the data called by the URIs ``updates``.
    """

    version: Literal[1] = SPEC_VERSION
    name: str
    description: str = ""
    parameters: tuple[ParameterSpec, ...] = ()
    steps: tuple[StepSpec, ...] = ()
    body: tuple[Node, ...] = ()
    result: Binding | None = None
    returns: Returns = Returns(kind="none")
    modules: tuple[ModuleSource, ...] = ()
    on_failure: tuple[Task, ...] = ()
    on_exit: tuple[Task, ...] = ()
    timeout: float | None = Field(default=None, gt=0)
    schedule: ScheduleSpec | None = None
    triggers: tuple[Trigger, ...] = ()
    updates: tuple[str, ...] = ()
    concurrency: ConcurrencySpec | None = None
    tags: tuple[str, ...] = ()
    owner: str = ""
    left_out: tuple[Feature, ...] = ()
    span: Span | None = None

    def step(self, task: Task) -> StepSpec:
        """The definition that a task calls."""
        return next(step for step in self.steps if step.id == task.step)


def takes_what_exists(step: StepSpec) -> bool:
    """Whether a step's only output is the file or folder at the URI that it is given, the input ``uri``."""
    return step.id.partition(":")[0] == EXISTING


def bodies(node: Node) -> tuple[tuple[Node, ...], ...]:
    """The bodies that a node holds."""
    if isinstance(node, (Group, Loop)):
        return (node.body,)
    return (node.then, node.otherwise) if isinstance(node, Branch) else ()


def walk(body: tuple[Node, ...]) -> Iterator[Node]:
    """Every node of a body, each before what it holds, in the author's order."""
    for node in body:
        yield node
        for inner in bodies(node):
            yield from walk(inner)


def tasks(body: tuple[Node, ...]) -> Iterator[Task]:
    """Every task of a body, at any depth, in the author's order."""
    return (node for node in walk(body) if isinstance(node, Task))


def parts(binding: Binding) -> tuple[Binding, ...]:
    """The bindings that a binding is made of."""
    if isinstance(binding, SequenceBinding):
        return binding.items
    if isinstance(binding, MappingBinding):
        return tuple(item for _, item in binding.items)
    if isinstance(binding, RecordBinding):
        return tuple(item for _, item in binding.fields)
    if isinstance(binding, OperationBinding):
        return binding.operands
    if isinstance(binding, ChoiceBinding):
        return (binding.then, binding.otherwise)
    return tuple(entry.value for entry in binding.entries) if isinstance(binding, CollectBinding) else ()


def within(binding: Binding) -> Iterator[Binding]:
    """A binding and every one in it, at any depth."""
    yield binding
    for part in parts(binding):
        yield from within(part)


def references(binding: Binding) -> Iterator[ParameterBinding | OutputBinding]:
    """Every reference in a binding to a parameter or to a task's output, at any depth."""
    return (each for each in within(binding) if isinstance(each, (ParameterBinding, OutputBinding)))


def is_computed(binding: Binding) -> bool:
    """Whether making a value takes more than putting whole outputs, parameters and constants together: it may fail."""
    return any(isinstance(each, OperationBinding) or getattr(each, "path", ()) for each in within(binding))


def structures(binding: Binding) -> Iterator[str]:
    """The ids of the branches and loops that decide what a binding stands for."""
    for each in within(binding):
        if isinstance(each, ChoiceBinding):
            yield each.branch
        elif isinstance(each, ItemBinding):
            yield each.loop
        elif isinstance(each, CollectBinding):
            yield from filter(None, (each.loop,))
            yield from (arm.branch for entry in each.entries for arm in entry.when)


def bindings_of(node: Node) -> Iterator[tuple[str, Binding]]:
    """What a node itself takes, apart from what is in its bodies: each binding by name."""
    if isinstance(node, Task):
        yield from node.inputs
        for check in node.checks:
            yield from (("", bound) for bound in check.bounds)
    elif isinstance(node, Branch):
        yield "condition", node.condition
    elif isinstance(node, Loop):
        yield "items", node.items
    elif isinstance(node, Gate):
        yield "condition", node.condition
        yield from node.shown
        if node.message is not None:
            yield "message", node.message


def location_of(span: Span | None) -> Location | None:
    """Where a span of a spec stands, its path relative to the source root."""
    if span is None:
        return None
    return Location(span.file, span.line, span.text, span.column, span.end_column)
