"""What a step's container runs on Kubeflow: between the engine's JSON and the harness.

This file is embedded, after the harness, in what is emitted (see `program`), and started as
``python3 -c HARNESS EXECUTOR_INPUT JOB TEXT...``. It imports only the standard library and the harness, and runs on
Python 3.9.

No *mark* may stand in it: see `MARKS`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import itertools
import json
import linecache
import math
import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import tempfile
import typing
from pathlib import Path

from penstock.harness import (
    EXACT_INTEGERS,
    Classification,
    Json,
    Place,
    StepError,
    decode,
    dumps,
    located,
    parse,
    run_job,
    say,
    supervise,
)

# What Kubeflow, Argo, Kubernetes or kfp.local would replace in a command, an environment variable or a parameter.
MARKS = ("{" * 2, "$" * 2, "$" + "(", "python" + "3", "/kfp-" + "workspace")
LARGEST_PARAMETER = 100_000  # bytes; all of a task's parameters reach it on one command line of at most 131,072
ROOM_TO_SHOW, ROOM_IN_LOOPS = 10_000, 240  # bytes, of the same line: what an artifact may say of itself for the page
POINTS = 60  # of a curve, on the page
OUR_METADATA = ("format", "preview", "instance", "state", "collected")
ITS_METADATA = ("display_name", "store_session_info", "_kfp_workspace")  # to Kubeflow, these mean something of its own

HARNESS = "run--harness"  # the input by which a task takes this program, where one task writes it for all

WRAPPED = '{"$json":'  # begins a text that is JSON, given so that no engine changes it

STORES = {"gs://": "/gcs/", "minio://": "/minio/", "s3://": "/s3/"}  # where the launcher keeps local copies


def has_mark(text: str) -> bool:
    """Whether an engine would change the text on its way to the step."""
    return any(mark in text for mark in MARKS)


def guarded(text: str) -> str:
    """JSON text without marks that means the same JSON."""
    for mark in MARKS:
        text = text.replace(mark, f"{mark[0]}\\u{ord(mark[1]):04x}{mark[2:]}")
    return text


def unjoined(text: str, joiner: str) -> str:
    """A text as it was before ``penstock_backends.kubeflow.program.joined`` parted its marks."""
    pattern = re.escape(joiner) + "([0-9a-f]*)>"
    return re.sub(pattern, lambda match: chr(int(match[1], 16)) if match[1] else "", text) if joiner else text


# --- parameters of the pipeline ---------------------------------------------------------------------------------------


def given(raw: Json, kind: Json) -> Json:
    """A pipeline parameter as JSON, from what Kubeflow made of it; a default that is ``shown``, as it is exactly."""
    if "exact" in kind and raw == kind["shown"]:
        return kind["exact"]
    exact = json.loads(raw) if isinstance(raw, str) and raw.startswith(WRAPPED) else raw
    exact = exact[0] if isinstance(exact, list) and len(exact) == 1 else exact
    if isinstance(exact, dict) and list(exact) == ["$json"]:
        return json.loads(exact["$json"])
    return parse(raw, kind) if isinstance(raw, str) else restored(raw, kind)


def restored(raw: Json, kind: Json) -> Json:
    """Numbers as they were before Kubeflow made doubles of them. Raises `StepError` where that can't be known."""
    if isinstance(raw, list):
        return [restored(item, kind["args"][0] if kind.get("args") else {"kind": "any"}) for item in raw]
    if isinstance(raw, bool) or not isinstance(raw, (int, float)):
        return raw
    if kind["kind"] == "float":
        return float(raw)
    if abs(raw) >= EXACT_INTEGERS:
        raise StepError(
            f"Kubeflow keeps numbers as doubles, so {raw} may not be what was given; write it as "
            + json.dumps({"$json": str(int(raw))})
        )
    return int(raw) if kind["kind"] == "int" and raw == int(raw) else raw


# --- artifacts --------------------------------------------------------------------------------------------------------


def local_path(artifact: Json) -> Path:
    """Where the launcher keeps the local copy of an artifact; under kfp.local its uri is the path."""
    uri: str = artifact["uri"]
    if artifact.get("customPath"):
        return Path(artifact["customPath"])
    for scheme, folder in STORES.items():
        if uri.startswith(scheme):
            return Path(folder + uri[len(scheme) :])
    return Path(uri)


def read_input(artifact: Json, scratch: Path) -> Json:
    """The wire that an input artifact holds or is."""
    file, format_ = local_path(artifact), json.loads(f'"{artifact["metadata"]["format"]}"')
    if format_ == "value":
        return json.loads(file.read_text(encoding="ascii"))
    if format_ == "tar":
        return {"$artifact": {"format": "path", "file": str(next(_unpacked(file, scratch).iterdir()))}}
    if format_ == "parts":
        folder = _unpacked(file, scratch)
        return located(json.loads((folder / "wire.json").read_text(encoding="ascii")), folder)
    if not file.exists():  # as it may be of an importer's, which looks at nothing
        raise StepError(f"there is nothing at {artifact['uri']}")
    return {"$artifact": {"format": format_, "file": str(file)}}


def _unpacked(file: Path, scratch: Path) -> Path:
    folder = Path(tempfile.mkdtemp(dir=scratch))
    with tarfile.open(file) as archive:
        trusted = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
        archive.extractall(folder, **typing.cast("typing.Any", trusted))  # noqa: S202  # packed by `Artifact` in this run
    return folder


class Artifact:
    """An output artifact on its way out: ``slot`` is the engine's entry for it, ``key`` its name there."""

    def __init__(self, key: str, slot: Json, room: int = ROOM_TO_SHOW) -> None:
        self.key, self.slot, self.room = key, slot, room
        self.title: str = slot.get("type", {}).get("schemaTitle", "")
        self.folder = local_path(slot)
        self.metadata: dict[str, Json] = {}

    def put(self, name: str, format_: str) -> Path:
        """The path for a file called ``name``, which from now on is the artifact."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.slot["uri"] = f"{self.slot['uri'].rstrip('/')}/{name}"
        self.metadata["format"] = guarded(dumps(format_))[1:-1]
        return self.folder / name

    def write_value(self, wire: Json) -> None:
        """Makes a wire the artifact's content, its beginning readable on the artifact's page."""
        text = dumps(wire)
        self.put(f"{self.key}.json", "value").write_text(text + "\n", encoding="ascii")
        self.metadata["preview"] = guarded(text if len(text) <= 200 else f"{text[:199]}...")

    def take(self, source: Path, format_: str) -> None:
        """Moves a file or directory that the harness wrote to where the engine looks for it."""
        if format_ != "path":
            target = self.put(self.key + re.sub(r"[^\w.-]", "", source.suffix), format_)
            shutil.move(str(source), str(target))
            if format_ == "json" and self.title == "system.Metrics":
                self.add_numbers(json.loads(target.read_text(encoding="ascii")))
            elif format_ == "json" and self.title == "system.ClassificationMetrics":
                self.add_curves(decode(json.loads(target.read_text(encoding="ascii"))))
        elif _travels_as_it_is(source):
            shutil.move(str(source), str(self.put(source.name, format_)))
        else:
            with tarfile.open(self.put(f"{self.key}.tar", "tar"), "w") as archive:
                archive.add(source, arcname=source.name)

    def take_parts(self, wire: Json, folder: Path) -> None:
        """Makes a list the artifact's content, with the files below ``folder`` that artifacts in it name."""
        (folder / "wire.json").write_text(dumps(wire), encoding="ascii")
        with tarfile.open(self.put(f"{self.key}.tar", "parts"), "w") as archive:
            for source in sorted(folder.iterdir()):
                archive.add(source, arcname=source.name)

    def show(self, name: str, wire: Json) -> None:
        """Shows something on the artifact's page, unless there is no room for it."""
        size = len(dumps([name, wire]))
        if size > self.room:
            say(f"there is no room for `{name}` of `{self.key}` on Kubeflow's page")
            return
        self.room -= size
        wire = guarded(wire) if isinstance(wire, str) else wire
        self.metadata[guarded(name) + "_" * (name in (*OUR_METADATA, *ITS_METADATA))] = wire

    def show_known(self, values: typing.Mapping[str, object], prefix: str = "") -> None:
        """Shows what the step recorded of an output, in the place of what we say by the same name."""
        for name, value in values.items():
            self.show(prefix + name, _for_page(value))

    def show_extent(self, file: Path, format_: str) -> None:
        """Shows how many rows and columns a table has, or the shape of an array, if the libraries are there."""
        with contextlib.suppress(ImportError, OSError, ValueError):
            if format_ == "parquet":
                schema = importlib.import_module("pyarrow.parquet").read_metadata(file)
                columns = [name for name in schema.schema.names if not name.startswith("__index_level_")]
                self.show("rows", schema.num_rows)
                self.show("columns", ", ".join(columns)[:1000])
            elif format_ == "npy":
                array = importlib.import_module("numpy").load(file, "r")
                self.show("shape", " x ".join(map(str, array.shape)))
                self.show("dtype", str(array.dtype))

    def add_numbers(self, values: Json) -> None:
        """Shows numbers on the run's metrics page."""
        for name, wire in values.items() if isinstance(values, dict) else ():
            if isinstance(wire, (int, float)) and not isinstance(wire, bool):
                self.show(name, wire)
            elif isinstance(wire, dict) and list(wire) in (["$float"], ["$int"]):
                self.show(name, next(iter(wire.values())))  # not a finite double: shown as text

    def add_verdicts(self, gates: Json) -> None:
        """Shows on the run's metrics page what came of gates, and the values that they looked at."""
        for verdict in gates:
            self.show(verdict["gate"], "passed" if verdict["passed"] else "failed")
            self.add_numbers({name: wire for name, wire in verdict["values"].items() if name not in self.metadata})

    def add_curves(self, found: Classification) -> None:
        """Draws a confusion matrix and a ROC curve; the page takes finite numbers only, as JSON does."""
        if found.labels and all(map(math.isfinite, itertools.chain(*found.confusion))):
            labels = [{"displayName": guarded(label)} for label in found.labels]
            rows = [{"row": row} for row in found.confusion]
            self.show("confusionMatrix", {"annotationSpecs": labels, "rows": rows})
        points = [point for point in found.roc if math.isfinite(point[0]) and math.isfinite(point[1])]
        highest = max((at for _, _, at in points if math.isfinite(at)), default=0)
        chosen = points[:: max(1, math.ceil(len(points) / POINTS))] + points[-1:]
        if points:
            curve = [(x, y, at if math.isfinite(at) else highest + 1) for x, y, at in dict.fromkeys(chosen)]
            names = ("falsePositiveRate", "recall", "confidenceThreshold")
            self.show("confidenceMetrics", [dict(zip(names, point)) for point in curve])  # noqa: B905  # as below

    def entry(self) -> Json:
        """The artifact as the engine wants to be told of it."""
        told = {"name": self.slot.get("name", self.key), "uri": self.slot["uri"], "metadata": self.metadata}
        return {"artifacts": [told]}


def _for_page(value: object) -> Json:
    """Plain data as metadata takes it, which knows no nulls and only finite doubles; without marks."""
    if isinstance(value, dict):
        return {guarded(key): _for_page(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_for_page(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if isinstance(value, int) and abs(value) <= EXACT_INTEGERS else guarded(str(value))


def size_of(path: Path) -> int:
    """How many bytes the files at or below a path have."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_file())


def _travels_as_it_is(path: Path) -> bool:
    """Whether an object store keeps it: regular files with plain names, not executable, and no empty folder."""
    if path.is_symlink() or not re.fullmatch(r"[\w.-]+", path.name, re.ASCII):
        return False
    if path.is_dir():
        inner = list(path.iterdir())
        return bool(inner) and all(map(_travels_as_it_is, inner))
    return path.is_file() and not os.access(path, os.X_OK)


# --- packages ---------------------------------------------------------------------------------------------------------


def install(requirements: typing.Sequence[str]) -> None:
    """Installs what is missing, once, before the first attempt; pip takes its index from the environment."""
    missing = [requirement for requirement in requirements if not _is_met(requirement)]
    if not missing:
        return
    say(f"installing {', '.join(missing)}")
    done = subprocess.run([*_installer(), *missing], check=False)
    if done.returncode:
        raise StepError(f"could not install {', '.join(missing)} (exit code {done.returncode})")
    users = site.getusersitepackages()
    if Path(users).is_dir() and users not in sys.path:
        sys.path.insert(1, users)  # pip made it just now: without the right to write elsewhere, it installs there
    importlib.invalidate_caches()


def _installer() -> list[str]:
    if importlib.util.find_spec("pip") is None and shutil.which("uv"):
        return ["uv", "pip", "install", "--quiet", "--python", sys.executable]
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--root-user-action=ignore"]
    return [sys.executable, "-m", "pip", "install", *quiet]


def _is_met(requirement: str) -> bool:
    """Whether the environment holds it, where that is plain (``name``, ``name==version``); else pip decides."""
    match = re.fullmatch(r"([\w.-]+)(?:==([^\s;,*]+))?", requirement.strip())
    if match is None:
        return False
    try:
        return importlib.metadata.version(match[1]) == (match[2] or importlib.metadata.version(match[1]))
    except importlib.metadata.PackageNotFoundError:
        return False


# --- the step ---------------------------------------------------------------------------------------------------------


def program_of(job: Json, texts: typing.Sequence[str]) -> dict[str, Json]:
    """The author's modules in pieces that know their place in the author's files, so that tracebacks point there."""
    modules: dict[str, Json] = {}
    for (name, place), text in zip(job["modules"].items(), texts):  # noqa: B905  # Python 3.9 has no `strict`
        lines = unjoined(text, job.get("joiner", "")).splitlines(keepends=True)
        ends = [here for here, _ in place["lines"][1:]] + [len(lines) + 1]
        pieces = [
            [place["file"], there, "".join(lines[here - 1 : end - 1])]
            for (here, there), end in zip(place["lines"], ends)  # noqa: B905  # as above
        ]
        shown: list[str] = []
        for _, line, piece in pieces:
            shown += [""] * (line - 1 - len(shown)) + piece.splitlines(keepends=True)
        linecache.cache[place["file"]] = (sum(map(len, shown)), None, shown, place["file"])
        modules[name] = pieces
    return modules


def binding_of(short: Json, job: Json) -> Json:
    """A binding for the harness, from one in which the name of an input stands for a reference to it."""
    if isinstance(short, str):
        return binding_of({"input": short}, job)
    if "input" in short:
        name, path = short["input"], short.get("path", [])
        if name in job["parameters"]:
            return {"kind": "parameter", "name": name, "path": path}
        return {"kind": "output", "node": "", "output": name, "path": path}
    if short["kind"] in ("list", "tuple"):
        return {**short, "items": [binding_of(item, job) for item in short["items"]]}
    pairs = {"dict": "items", "record": "fields"}.get(short["kind"])
    return {**short, pairs: [[key, binding_of(item, job)] for key, item in short[pairs]]} if pairs else short


def inputs_of(request: Json, job: Json, scratch: Path) -> tuple[dict[str, Json], dict[str, Json]]:
    """The pipeline's parameters that the step takes, and the wires of its other inputs."""
    inputs = request.get("inputs", {})
    parameters: dict[str, Json] = {}
    artifacts = {name: found["artifacts"][0] for name, found in inputs.get("artifacts", {}).items() if name != HARNESS}
    values = {name: read_input(artifact, scratch) for name, artifact in artifacts.items()}
    for name, raw in inputs.get("parameterValues", {}).items():
        if name in job["parameters"]:
            parameters[name] = given(raw, job["parameters"][name])
        else:
            values[name] = json.loads(raw)
    return parameters, values


def publish(
    request: Json, job: Json, result: Json, folder: Path, at: typing.Sequence[int] = (), state: str = ""
) -> None:
    """Hands a result to Kubeflow: parameters as files, artifacts where it looks for them, and what it must be told.

    ``at`` is the place in the loops around the step, ``state`` how it ended, if it did not succeed.
    """
    outputs = request["outputs"]
    slots = {key: slot["artifacts"][0] for key, slot in outputs.get("artifacts", {}).items()}
    room = ROOM_IN_LOOPS if at else ROOM_TO_SHOW
    artifacts = {key: Artifact(key, slot, room) for key, slot in slots.items()}
    if job.get("metadata"):
        artifacts[job["metadata"]].room = ROOM_TO_SHOW  # no task takes it
        artifacts[job["metadata"]].write_value(result.get("metadata", {}))
        del artifacts[job["metadata"]].metadata["preview"]
    for output in job["outputs"]:
        wire, is_marked = result.get("outputs", {}).get(output["name"]), (at or state) and "text" in output
        known = decode(result.get("metadata", {}).get(output["name"], {}))
        if output["key"] in outputs.get("parameters", {}):
            if job.get("metadata"):
                artifacts[job["metadata"]].show_known(known, "" if output["name"] == "output" else f"{output['name']}.")
            marked = {"$instance": [list(at), state, wire]} if is_marked else wire
            _write_parameter(output, marked, Path(outputs["parameters"][output["key"]]["outputFile"]))
            continue
        artifact = artifacts[output["key"]]
        if wire is not None and output.get("artifact"):
            source = folder / wire["$artifact"]["file"]
            format_ = wire["$artifact"]["format"]
            if not is_marked and artifact.title != "system.Metrics":  # whose page is a table of numbers
                artifact.show("type", output["text"])
                artifact.show("bytes", size_of(source))
                artifact.show_extent(source, format_)
            artifact.take(source, format_)
        elif wire is not None and output.get("many"):
            artifact.take_parts(wire, folder / output["key"])
            artifact.metadata["collected"] = "yes"
        elif wire is not None and output.get("each", {}).get("artifact"):
            artifact.take_parts(wire, folder)
        else:
            artifact.write_value(wire)
        if is_marked:
            artifact.metadata.pop("preview", None)  # in a list of hundreds there is no room for it
            artifact.metadata.update(instance=dumps(list(at)), state=state or "succeeded")
        artifact.show_known(known)
    if job.get("metrics"):
        artifacts[job["metrics"]].room = ROOM_TO_SHOW  # no task takes it
        artifacts[job["metrics"]].write_value(result.get("metrics", {}))
        del artifacts[job["metrics"]].metadata["preview"]
        artifacts[job["metrics"]].add_numbers(result.get("metrics", {}))
        artifacts[job["metrics"]].add_verdicts(result.get("gates", ()))
    conclude(outputs, artifacts)


def conclude(outputs: Json, artifacts: typing.Mapping[str, Artifact]) -> None:
    """Tells Kubeflow of the artifacts."""
    entries = {key: artifact.entry() for key, artifact in artifacts.items() if artifact.metadata}
    told = Path(outputs["outputFile"])
    told.parent.mkdir(parents=True, exist_ok=True)
    told.write_text(dumps({"artifacts": entries}), encoding="ascii")


def _write_parameter(output: Json, wire: Json, file: Path) -> None:
    text = guarded(dumps(wire))
    if len(text) > LARGEST_PARAMETER:
        raise StepError(f"output `{output['name']}` takes {len(text)} bytes, too many for {output['text']} on Kubeflow")
    _write(file, text)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="ascii")


class Call(typing.NamedTuple):
    """What a task was started with: the executor input, its job, the author's source, and a folder for its own use."""

    request: Json
    job: Json
    texts: typing.Sequence[str]
    scratch: Path


class Seen(typing.NamedTuple):
    """What a task is told of others: the pipeline's parameters, the outputs of instances, and how others ended."""

    parameters: dict[str, Json]
    outputs: dict[str, dict[str, Json]]
    ended: dict[str, Json]

    @property
    def states(self) -> dict[str, str]:
        """The states of the instances that gave no outputs, as far as they are known."""
        return {name: state for name, (state, _) in self.ended.items() if state != "succeeded"}


def attempted(call: Call, seen: Seen, place: Place, folder: Path, deadline: Json = None) -> Json:
    """The result of the last attempt at a step, its artifacts below ``folder`` and ``attempt-N``."""
    job = call.job
    os.environ.update(job.get("env", {}))
    try:
        install(job.get("requirements", ()))
        modules = program_of(job, call.texts)
    except StepError as error:
        say(f"error: {error}")
        return {"error": str(error), "attempts": 0}

    def attempt(number: int) -> Json:
        return run_job(job, modules, seen.parameters, seen.outputs, folder / f"attempt-{number}", number, place)

    return supervise(attempt, job.get("retry"), job.get("timeout"), deadline, secrets=tuple(job.get("secrets", ())))


def run_ordinary(call: Call) -> int:
    """A step that runs once, on inputs that are there."""
    job = call.job
    job["arguments"] = {name: binding_of(short, job) for name, short in job["arguments"].items()}
    parameters, values = inputs_of(call.request, job, call.scratch)
    result = attempted(call, Seen(parameters, {"": values}, {}), Place(), call.scratch)
    if "error" in result:
        return 1
    publish(call.request, job, result, call.scratch / f"attempt-{result['attempts']}")
    return 0


TASKS: dict[str, typing.Callable[[Call], int]] = {"": run_ordinary}  # by what a job says that it `does`


def main(arguments: typing.Sequence[str]) -> int:
    """Runs the task; the exit code is 0 if it succeeded. ``arguments``: the executor input, the job, then the texts."""
    executor_input, job_text, *texts = [os.fsencode(argument).decode("utf-8") for argument in arguments]
    request = json.loads(executor_input)
    job = {"arguments": {}, "parameters": {}, "outputs": [], "reach": {}, **json.loads(job_text)}
    slots = [slot["artifacts"][0] for slot in request["outputs"].get("artifacts", {}).values()]
    beside = local_path(slots[0]).parent if slots else Path(tempfile.gettempdir())
    beside.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".scratch-", dir=beside))
    try:
        return TASKS[job.get("does", "")](Call(request, job, texts, scratch))
    except StepError as error:
        say(f"error: {error}")
        return 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
