"""What the process of one attempt does on an Airflow worker: read the request, supervise the attempt, write the result.

The part of this file below its imports is embedded, after the harness, in what is emitted. It runs on Python 3.9.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from penstock.harness import Json, StepError, dumps, located, run_job, supervise, write_result


def main() -> None:
    """Runs the attempt that ``request.json`` in the working directory asks for, and leaves ``result.json`` there."""
    work = Path.cwd()
    request = json.loads((work / "request.json").read_text(encoding="utf-8"))
    end_with(request["parent"])
    call, types, folder = request["call"], request["types"], Path(request["folder"])
    job = {**request["step"], **call, "function": call["step"]}
    job["parameters"] = {name: each["type"] for name, each in types.items()}
    parameters, outputs = received(call["arguments"], types, request["values"], request.get("keys", {}))
    has_artifacts = any(output.get("artifact") for output in job["outputs"])

    def attempt(_: int) -> Json:
        check_files(outputs)
        place = folder if has_artifacts else work / "nothing"
        return run_job(job, request["modules"], parameters, outputs, place, request["attempt"])

    result = supervise(attempt, timeout=job.get("timeout"))
    for name, wire in result.get("outputs", {}).items():
        result["outputs"][name] = within(request["largest"], located(wire, folder), folder / f"{name}.json")
    write_result(work, result)


def end_with(parent: int) -> None:
    """Asks the kernel to end this process when the Airflow task that started it is killed (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def received(
    arguments: Json, types: Json, values: Json, keys: Json
) -> tuple[dict[str, Json], dict[str, dict[str, Json]]]:
    """What Airflow handed to the task: parameters by name, and outputs by node and name."""
    parameters: dict[str, Json] = {}
    outputs: dict[str, dict[str, Json]] = {}
    for name, value in values.items():
        binding = arguments[name]
        single = binding["kind"] in ("parameter", "output") or is_whole(binding)
        for ref, item in zip(references(binding), [value] if single else value):  # noqa: B905  # Python 3.9
            if ref["kind"] == "output":
                outputs.setdefault(ref["node"], {})[ref["output"]] = json.loads(item)
            elif ref["kind"] == "record":
                for output, field in ref["fields"]:
                    text = item[keys.get(field["node"], {}).get(output, output)]
                    outputs.setdefault(field["node"], {})[output] = json.loads(text)
            else:
                known = types[ref["name"]]
                parameters[ref["name"]] = known["exact"] if "exact" in known and item == known["default"] else item
    return parameters, outputs


def references(binding: Json) -> Iterator[Json]:
    """What a binding refers to, in its order: parameters, outputs, and whole results (as records)."""
    if binding["kind"] in ("parameter", "output") or is_whole(binding):
        yield binding
        return
    for item in binding.get("items", binding.get("fields", ())):
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
            file = wire["$artifact"]["file"] if isinstance(wire, dict) and "$artifact" in wire else "/"
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
