"""What the containers of a pipeline with branches, loops, gates or an end of its own run besides `entry`.

It is embedded after `entry`, in such pipelines only, under the same conditions.

Here a *source* of a job is an input with the node and the output that it comes from; without an output it is how the
node ended: ``{"train[0]": ["failed", "ValueError: ..."]}``. A value that comes from a loop, or from a step that did not
succeed, is marked with the place of its instance in the loops and with its state: ``{"$instance": [[0], "", 5]}``, or
of an artifact in its metadata. A place with -1 belongs to the one turn of a loop without items.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import typing
from pathlib import Path

from penstock.harness import Inputs, Json, Place, StepError, dumps, instance, located, parts_of, say
from penstock_backends.kubeflow.entry import (
    TASKS,
    Artifact,
    Call,
    Seen,
    _write,
    attempted,
    conclude,
    given,
    publish,
    read_input,
)

SHORT, SHORTER = 1000, 100  # characters of an error that travel with a state; from a loop, where there can be many


def seen_by(call: Call) -> Seen:
    """What a task is told."""
    raw = call.request.get("inputs", {}).get("parameterValues", {})
    seen = Seen({name: given(raw[name], kind) for name, kind in call.job["parameters"].items() if name in raw}, {}, {})
    for key, (node, output) in call.job.get("sources", {}).items():
        for at, state, wire in arrived(call, key):
            name = instance(node, at)
            if output and state in ("", "succeeded"):
                seen.outputs.setdefault(name, {})[output] = wire
            elif output and -1 not in at:
                seen.ended.setdefault(name, [state, ""])
            elif not output:
                seen.ended.update(wire)
    return seen


def arrived(call: Call, key: str) -> list[Json]:
    """What came by an input: of each instance its place in the loops around it, its state and its wire."""
    inputs = call.request.get("inputs", {})
    if key not in inputs.get("artifacts", {}):
        raw = inputs["parameterValues"][key]
        wires = [json.loads(text) for text in (raw if isinstance(raw, list) else [raw])]
        return [wire["$instance"] if _is_marked(wire) else [[], "", wire] for wire in wires]
    found: list[Json] = []
    for artifact in inputs["artifacts"][key]["artifacts"]:
        metadata = artifact.get("metadata", {})
        wire = read_input(artifact, call.scratch)
        if metadata.get("collected"):
            found += wire
        else:
            found.append([json.loads(metadata.get("instance", "[]")), metadata.get("state", ""), wire])
    return found


def _is_marked(wire: Json) -> bool:
    return isinstance(wire, dict) and list(wire) == ["$instance"]


def run_step(call: Call) -> int:
    """A step, unless one of the loops around it has no items or something stands in its way."""
    raw = call.request.get("inputs", {}).get("parameterValues", {})
    at = tuple(json.loads(raw[call.job["index"]])) if "index" in call.job else ()
    if -1 in at:
        say("there is no item to run for")
        return hand_on(call, {}, call.scratch, at, "skipped")
    seen, name = seen_by(call), instance(call.job["node"], at)
    place = Place(at, seen.states)
    state = Inputs(seen.parameters, call.job["parameters"], seen.outputs, job=call.job, place=place).obstacle(call.job)
    if state:
        say(f"{name} does not run: {state.replace('_', ' ')}")
        hand_on(call, {name: [state, ""]}, call.scratch, at, state)
        return int(state != "skipped" and "soft" not in call.job)
    deadline = arrived(call, call.job["deadline"])[0][2] if "deadline" in call.job else None
    result = attempted(call, seen, place, call.scratch, deadline)
    count = len(result.get("outputs", {}).get("items", ()))
    if count > call.job.get("most", count):
        said = f"{count} items are too many: Kubeflow hands on what {call.job['most']} of them give, at most"
        say(f"error: {said}")
        result = {"error": said, "attempts": result["attempts"]}
    if "outputs" not in result and "soft" not in call.job:
        return 1
    state = "failed" if "error" in result else "succeeded"
    outcome = {name: [state, result.get("error", "")[: SHORTER if at else SHORT]]}
    try:
        folder = call.scratch / f"attempt-{result['attempts']}"
        return hand_on(call, outcome, folder, at, "" if state == "succeeded" else state, result)
    except StepError as error:
        if "soft" not in call.job:
            raise
        say(f"error: {error}")
        return hand_on(call, {name: ["failed", str(error)[:SHORTER]]}, call.scratch, at, "failed")


def hand_on(call: Call, outcome: Json, folder: Path, at: tuple[int, ...], state: str, result: Json = None) -> int:
    """Publishes what a step gave, if anything, how it ended and, of a loop, where its items stand; returns 0."""
    result = result or {}
    ending = {"name": "", "key": call.job["outcome"]}
    whole = {**result, "outputs": {**result.get("outputs", {}), "": outcome}}
    publish(call.request, {**call.job, "outputs": [*call.job["outputs"], ending]}, whole, folder, at, state)
    if "listed" in call.job:
        count = len(result.get("outputs", {}).get("items", ()))
        listed = [dumps([*at, number]) for number in range(count)] or [dumps([*at, -1])]
        _write(Path(call.request["outputs"]["parameters"][call.job["listed"]]["outputFile"]), dumps(listed))
    return 0


def run_end(call: Call) -> int:
    """A step at the end of the run, or the instances of one that undoes others, the last one first."""
    seen, job = seen_by(call), call.job
    status: Json = arrived(call, job["status"])[0][2]
    ended = status.pop("ended")
    places = [parts_of(name) for name in ended]
    undone = sorted((at for node, at in places if node == job.get("parent")), reverse=True)
    outcome: dict[str, Json] = {}
    results: dict[tuple[int, ...], tuple[Path, Json]] = {}
    for at in undone if "parent" in job else [()]:
        parent = ended[instance(job["parent"], at)][0] if "parent" in job else "succeeded"
        name = instance(job["node"], at)
        if job["role"] != "on_exit" and (status["state"] != "failed" or parent != "succeeded"):
            outcome[name] = ["skipped", ""]
            continue
        folder = call.scratch / "-".join(map(str, ("instance", *at)))
        place = Place(at, {other: state for other, (state, _) in ended.items()}, status)
        result = attempted(call, seen, place, folder)
        outcome[name] = ["failed" if "error" in result else "succeeded", result.get("error", "")[:SHORT]]
        if "error" not in result:
            results[at] = (folder / f"attempt-{result['attempts']}", result)
    if "many" in job:
        return hand_on(call, outcome, call.scratch, (), "", {"outputs": _of_all(call, results)})
    if not results:
        return hand_on(call, outcome, call.scratch, (), next((state for state, _ in outcome.values()), "skipped"))
    ((folder, result),) = results.values()
    return hand_on(call, outcome, folder, (), "", result)


def _of_all(call: Call, results: typing.Mapping[tuple[int, ...], tuple[Path, Json]]) -> Json:
    """Each output of the instances of a step, as `collect` puts it together."""
    found: Json = {}
    for output in call.job["outputs"]:
        home = call.scratch / output["key"]
        home.mkdir()
        output["many"] = True
        found[output["name"]] = [
            [list(at), "", moved(located(result["outputs"][output["name"]], folder), home)]
            for at, (folder, result) in results.items()
        ]
    return found


def tell_status(call: Call) -> int:
    """Hands on how the run went; where nothing runs after it, this fails the run if a step failed."""
    ended = seen_by(call).ended
    failures = {name: said for name, (state, said) in ended.items() if state == "failed"}
    status = {"pipeline": call.job["pipeline"], "state": "failed" if failures else "succeeded", "failures": failures}
    say("\n".join(f"{name} failed: {said}" for name, said in failures.items()) or "nothing failed")
    tell(call.request, "status", {**status, "ended": ended})
    return int(bool(failures) and call.job.get("fails", False))


def tell_result(call: Call) -> int:
    """Fails the run if anything failed in it, the steps at its end included."""
    failures = dict(arrived(call, call.job["status"])[0][2]["failures"])
    ended = seen_by(call).ended
    failures.update({name: said for name, (state, said) in ended.items() if state == "failed"})
    say("\n".join(f"{name} failed: {said}" for name, said in failures.items()) or "nothing failed")
    return int(bool(failures))


def pass_gates(call: Call) -> int:
    """Fails where a gate of the step before was not passed."""
    (key,) = call.job["inputs"]
    failures = [said for _, _, ended in arrived(call, key) for state, said in ended.values() if state == "failed"]
    say("\n".join(f"error: {said}" for said in failures) or "passed")
    return int(bool(failures))


def tell(request: Json, key: str, wire: Json) -> None:
    """Makes a wire the task's only output."""
    artifact = Artifact(key, request["outputs"]["artifacts"][key]["artifacts"][0])
    artifact.write_value(wire)
    conclude(request["outputs"], {key: artifact})


def start(call: Call) -> int:
    """Notes when the run's time is up."""
    tell(call.request, "deadline", time.time() + call.job["timeout"])
    return 0


def collect(call: Call) -> int:
    """Makes one artifact of each list that a loop gave."""
    outputs = call.request["outputs"]
    artifacts = {}
    for key in call.job["inputs"]:
        folder = Path(tempfile.mkdtemp(dir=call.scratch))
        artifacts[key] = Artifact(key, outputs["artifacts"][key]["artifacts"][0])
        entries = [[at, state, moved(wire, folder)] for at, state, wire in arrived(call, key)]
        artifacts[key].take_parts(entries, folder)
        artifacts[key].metadata["collected"] = "yes"
    conclude(outputs, artifacts)
    return 0


def moved(wire: Json, folder: Path) -> Json:
    """A wire with the files of its artifacts in ``folder``, each under its own name in a folder of its own."""
    if isinstance(wire, list):
        return [moved(each, folder) for each in wire]
    if not (isinstance(wire, dict) and "$artifact" in wire):
        return wire
    source, home = Path(wire["$artifact"]["file"]), Path(tempfile.mkdtemp(dir=folder))
    if source.is_dir():
        shutil.copytree(source, home / source.name, symlinks=True)
    else:
        shutil.copy2(source, home / source.name)
    return {"$artifact": {**wire["$artifact"], "file": f"{home.name}/{source.name}"}}


TASKS.update(
    {
        "step": run_step,
        "end": run_end,
        "status": tell_status,
        "result": tell_result,
        "guard": pass_gates,
        "start": start,
        "collect": collect,
    }
)
