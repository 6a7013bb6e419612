"""What a step's container runs on Kubeflow: between the engine's JSON and the harness.

This file is embedded, after the harness, in what is emitted (see `program`), and started as
``python3 -c HARNESS EXECUTOR_INPUT JOB TEXT...``. It imports only the standard library and the harness, and runs on
Python 3.9.

No *mark* may stand in it: see `MARKS`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import linecache
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

from penstock.harness import EXACT_INTEGERS, Json, StepError, dumps, parse, run_job, say, supervise

# What Kubeflow, Argo, Kubernetes or kfp.local would replace in a command, an environment variable or a parameter.
MARKS = ("{" * 2, "$" * 2, "$" + "(", "python" + "3", "/kfp-" + "workspace")
LARGEST_PARAMETER = 100_000  # bytes; all of a task's parameters reach it on one command line of at most 131,072

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
    """A pipeline parameter as plain JSON, from what Kubeflow made of it."""
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
        folder = Path(tempfile.mkdtemp(dir=scratch))
        with tarfile.open(file) as archive:
            trusted = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
            archive.extractall(folder, **typing.cast("typing.Any", trusted))  # noqa: S202  # packed by `_pack` in this run
        return {"$artifact": {"format": "path", "file": str(next(folder.iterdir()))}}
    return {"$artifact": {"format": format_, "file": str(file)}}


class Artifact:
    """An output artifact on its way out: ``slot`` is the engine's entry for it, ``key`` its name there."""

    def __init__(self, key: str, slot: Json) -> None:
        self.key, self.slot = key, slot
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
            if format_ == "json" and self.slot.get("type", {}).get("schemaTitle") == "system.Metrics":
                self.add_numbers(json.loads(target.read_text(encoding="ascii")))
        elif _travels_as_it_is(source):
            shutil.move(str(source), str(self.put(source.name, format_)))
        else:
            with tarfile.open(self.put(f"{self.key}.tar", "tar"), "w") as archive:
                archive.add(source, arcname=source.name)

    def add_numbers(self, values: Json) -> None:
        """Shows numbers on the run's metrics page."""
        for name, wire in values.items() if isinstance(values, dict) else ():
            if isinstance(wire, (int, float)) and not isinstance(wire, bool):
                self.metadata[name] = wire
            elif isinstance(wire, dict) and list(wire) in (["$float"], ["$int"]):
                self.metadata[name] = next(iter(wire.values()))  # not a finite double: shown as text

    def entry(self) -> Json:
        """The artifact as the engine wants to be told of it."""
        told = {"name": self.slot.get("name", self.key), "uri": self.slot["uri"], "metadata": self.metadata}
        return {"artifacts": [told]}


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
    values = {name: read_input(found["artifacts"][0], scratch) for name, found in inputs.get("artifacts", {}).items()}
    for name, raw in inputs.get("parameterValues", {}).items():
        if name in job["parameters"]:
            parameters[name] = given(raw, job["parameters"][name])
        else:
            values[name] = json.loads(raw)
    return parameters, values


def publish(request: Json, job: Json, result: Json, folder: Path) -> None:
    """Hands a result to Kubeflow: parameters as files, artifacts where it looks for them, and what it must be told."""
    outputs = request["outputs"]
    artifacts = {key: Artifact(key, slot["artifacts"][0]) for key, slot in outputs.get("artifacts", {}).items()}
    for output in job["outputs"]:
        wire = result["outputs"][output["name"]]
        if output["key"] in outputs.get("parameters", {}):
            _write_parameter(output, wire, Path(outputs["parameters"][output["key"]]["outputFile"]))
        elif output.get("artifact"):
            artifacts[output["key"]].take(folder / wire["$artifact"]["file"], wire["$artifact"]["format"])
        else:
            artifacts[output["key"]].write_value(wire)
    if job.get("metrics"):
        artifacts[job["metrics"]].write_value(result["metrics"])
        del artifacts[job["metrics"]].metadata["preview"]
        artifacts[job["metrics"]].add_numbers(result["metrics"])
    entries = {key: artifact.entry() for key, artifact in artifacts.items() if artifact.metadata}
    told = Path(outputs["outputFile"])
    told.parent.mkdir(parents=True, exist_ok=True)
    told.write_text(dumps({"artifacts": entries}), encoding="ascii")


def _write_parameter(output: Json, wire: Json, file: Path) -> None:
    text = guarded(dumps(wire))
    if len(text) > LARGEST_PARAMETER:
        raise StepError(f"output `{output['name']}` takes {len(text)} bytes, too many for {output['text']} on Kubeflow")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="ascii")


def main(arguments: typing.Sequence[str]) -> int:
    """Runs the step; the exit code is 0 if it succeeded. ``arguments``: the executor input, the job, then the texts."""
    executor_input, job_text, *texts = [os.fsencode(argument).decode("utf-8") for argument in arguments]
    request = json.loads(executor_input)
    job = {"arguments": {}, "parameters": {}, "outputs": [], **json.loads(job_text)}
    job["arguments"] = {name: binding_of(short, job) for name, short in job["arguments"].items()}
    slots = [slot["artifacts"][0] for slot in request["outputs"].get("artifacts", {}).values()]
    beside = local_path(slots[0]).parent if slots else Path(tempfile.gettempdir())
    beside.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".scratch-", dir=beside))
    try:
        os.environ.update(job.get("env", {}))
        install(job.get("requirements", ()))
        parameters, values = inputs_of(request, job, scratch)
        modules = program_of(job, texts)

        def attempt(number: int) -> Json:
            return run_job(job, modules, parameters, {"": values}, scratch / f"attempt-{number}", number)

        result = supervise(attempt, job.get("retry"), job.get("timeout"))
        if "error" in result:
            return 1
        publish(request, job, result, scratch / f"attempt-{result['attempts']}")
    except StepError as error:
        say(f"error: {error}")
        return 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
