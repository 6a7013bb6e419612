"""What the process of one attempt does on an Airflow worker: read the request, supervise the attempt, write the result.

The part of this file below its imports is embedded, after the harness, in what is emitted. It runs on Python 3.9.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

from penstock.harness import (
    Inputs,
    Json,
    Place,
    StepError,
    dumps,
    instance,
    located,
    run_job,
    supervise,
    write_result,
)


class Asked(typing.NamedTuple):
    """What is asked of an attempt: what is run with what, where, and the folder that artifacts are written to."""

    request: Json
    job: Json
    parameters: dict[str, Json]
    outputs: dict[str, dict[str, Json]]
    place: Place
    folder: Path


def attempted(asked: Asked) -> Json:
    """The result of the attempt; of a mere look, that nothing stands against it, and what is to be fetched for it."""
    request, job = asked.request, asked.job
    if "only_look" in request:
        return {"obstacle": "", "outputs": {}, "metrics": {}, "fetch": list(stored(asked.outputs))}

    def attempt(_: int) -> Json:
        check_files(asked.outputs)
        modules, number = request["modules"], request["attempt"]
        return run_job(job, modules, asked.parameters, asked.outputs, asked.folder, number, asked.place)

    deadline, secrets = request.get("deadline"), [*job.get("secrets", ())]
    return supervise(attempt, None, job.get("timeout"), deadline, request.get("checkpoints"), secrets)


def main(answer: Callable[[Asked], Json] = attempted) -> None:
    """Answers what ``request.json`` beside this program asks for, and leaves ``result.json`` there."""
    work = Path(sys.argv[0]).resolve().parent
    request = json.loads((work / "request.json").read_text(encoding="utf-8"))
    if "parent" in request:
        end_with(request["parent"])
    call, types, folder = request["call"], request["types"], Path(request["folder"])
    job = {**request["step"], **call, "function": call["step"]}
    job["parameters"] = {name: each["type"] for name, each in types.items()}
    place = Place(**{**request.get("place", {}), "index": tuple(request.get("place", {}).get("index", ()))})
    parameters, outputs = gathered(job, request, place)
    inputs = Inputs(parameters, job["parameters"], outputs, job=job, place=place)
    obstacle = inputs.obstacle(job) if "place" in request else ""
    if obstacle:
        write_result(work, {"obstacle": obstacle, "outputs": {}, "metrics": {}})
        return
    has_artifacts = any(output.get("artifact") or "each" in output for output in job["outputs"])
    result = answer(Asked(request, job, parameters, outputs, place, folder if has_artifacts else work / "nothing"))
    result["count"] = len(result.get("outputs", {}).get("items") or ())
    for name, wire in result.get("outputs", {}).items():
        result["outputs"][name] = within(request["largest"], located(wire, folder), folder / f"{name}.json")
    write_result(work, result)


def end_with(parent: int) -> None:
    """Asks the kernel to end this process when the Airflow task that started it is killed (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def gathered(job: Json, request: Json, place: Place) -> tuple[dict[str, Json], dict[str, dict[str, Json]]]:
    """The parameters by name, and the outputs of other instances that did not fail by name: handed over, or pulled."""
    types, files = request["types"], request.get("files", {})
    parameters = {
        name: exact(types[name], value) for name, value in request.get("parameters", {}).items() if name in types
    }
    outputs = {
        name: {output: unfolded(output, json.loads(text), files) for output, text in texts.items()}
        for name, texts in request.get("pulled", {}).items()
    }
    for name, value in request["values"].items():
        binding = job["arguments"][name]
        single = binding["kind"] in ("parameter", "output") or is_whole(binding)
        for ref, item in zip(references(binding), [value] if single else value):  # noqa: B905  # Python 3.9
            if ref["kind"] == "parameter":
                parameters[ref["name"]] = exact(types[ref["name"]], item)
            elif item is not None:  # else it was skipped
                for node, output, text in received(ref, item, request.get("keys", {})):
                    known = instance(node, place.index[: job.get("depths", {}).get(node, 0)])
                    outputs.setdefault(known, {})[output] = fetched(json.loads(text), files)
    return parameters, {name: wires for name, wires in outputs.items() if name not in place.states}


def exact(known: Json, value: Json) -> Json:
    """A parameter's value; its default as it was, where plain JSON says less."""
    return known["exact"] if "exact" in known and value == known["default"] else value


def unfolded(output: str, wire: Json, files: dict[str, str]) -> Json:
    """A wire, its files here; the items of a loop by themselves, though they may be too large for XCom together."""
    wire = fetched(wire, files)
    if output != "items" or isinstance(wire, list) or wire.get("$artifact", {}).get("format") != "json":
        return wire
    return fetched(json.loads(Path(wire["$artifact"]["file"]).read_text(encoding="ascii")), files)


def fetched(wire: Json, files: dict[str, str]) -> Json:
    """A wire, or each of a loop's items, in which an object that was fetched from a store is the file that was made."""
    if isinstance(wire, list):
        return [fetched(each, files) for each in wire]
    if not (isinstance(wire, dict) and wire.get("$artifact", {}).get("file") in files):
        return wire
    return {"$artifact": {"format": wire["$artifact"]["format"], "file": files[wire["$artifact"]["file"]]}}


def stored(outputs: dict[str, dict[str, Json]]) -> Iterator[Json]:
    """The references to objects of a store, each with the node that wrote it."""
    for node, wires in outputs.items():
        for wire in wires.values():
            for each in wire if isinstance(wire, list) else [wire]:
                if isinstance(each, dict) and "digest" in each.get("$artifact", {}):
                    yield {"node": node, **each["$artifact"]}


def received(ref: Json, item: Json, keys: Json) -> Iterator[tuple[str, str, str]]:
    """The JSON texts that an argument holds, by node and output: one, or those of a whole result."""
    if ref["kind"] == "output":
        yield ref["node"], ref["output"], item
        return
    for output, field in ref["fields"]:
        yield field["node"], output, item[keys.get(field["node"], {}).get(output, output)]


def references(binding: Json) -> Iterator[Json]:
    """What a binding refers to, in its order: parameters, outputs, and whole results (as records)."""
    if binding["kind"] in ("parameter", "output") or is_whole(binding):
        yield binding
        return
    inner = [binding["then"], binding["otherwise"]] if binding["kind"] == "choice" else binding.get("operands", ())
    for item in binding.get("items", binding.get("fields", inner)):
        yield from references(item if isinstance(item, dict) else item[1])


def is_whole(binding: Json) -> bool:
    """Whether a binding is a record of one task's named outputs, each under its own name."""
    if binding["kind"] != "record":
        return False
    parts = [
        (field["kind"], field.get("node"), field.get("output") == name, "path" in field)
        for name, field in binding["fields"]
    ]
    return len(set(parts)) == 1 and parts[0][0] == "output" and parts[0][2:] == (True, False)


def check_files(outputs: dict[str, dict[str, Json]]) -> None:
    """Raises `StepError` for a file that another task wrote and this worker does not see."""
    for node, wires in outputs.items():
        for wire in wires.values():
            for each in wire if isinstance(wire, list) else [wire]:
                file = each["$artifact"]["file"] if isinstance(each, dict) and "$artifact" in each else "/"
                if not Path(file).exists():
                    raise StepError(f"{file}, which `{node}` wrote, is not here: workers must share the artifact root")


def within(largest: int, wire: Json, file: Path) -> Json:
    """The wire, or where it is too large for XCom, a reference to ``file``, which then holds it."""
    text = dumps(wire)
    if len(text) <= largest:
        return wire
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="ascii")
    return {"$artifact": {"format": "json", "file": str(file.resolve())}}


if __name__ == "__main__":
    main()
