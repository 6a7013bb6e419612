"""Why what Penstock emits for Kubeflow differs from what kfp's compiler does: each reason a rule with a name.

A rule takes what it explains out of both shapes, or puts it in one form, and nothing else. Behind all of them the
shapes must be equal; and a rule that explains nothing in any pipeline is to go.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock_backends.kubeflow.channels import task_name
from tests.differential.dissolving import around, close_waits, dissolve
from tests.differential.shapes import Facts, Shape


@dataclass
class Pair:
    """One pipeline as kfp's compiler has it, and as Penstock does."""

    kfp: Shape
    ours: Shape

    def tasks(self) -> Iterable[Facts]:
        """All tasks of both."""
        return (*self.kfp.tasks.values(), *self.ours.tasks.values())


@dataclass
class Comparison:
    """The rules that were needed, and what they leave."""

    used: list[str] = field(default_factory=list)
    left: Pair = field(default_factory=lambda: Pair(Shape(), Shape()))


def compare(kfp: Shape, ours: Shape) -> Comparison:
    """Applies every rule in turn."""
    pair, used = Pair(kfp, ours), []
    for facts in pair.tasks():
        facts |= {"when": [], "loops": [], "arriving": {key: source for key, (_, source) in facts["takes"].items()}}
    for rule in RULES:
        before = copy.deepcopy(pair)
        rule(pair)
        if pair != before:
            used.append(rule.__name__)
    for shape in (pair.kfp, pair.ours):
        close_waits(shape)
    return Comparison(used, pair)


# --- what stands around a step ----------------------------------------------------------------------------------------


def who_compiled(pair: Pair) -> None:
    """The files say by what they were made."""
    for shape in (pair.kfp, pair.ours):
        del shape.pipeline["sdkVersion"]


def program(pair: Pair) -> None:
    """A step is started by Penstock's harness, for kfp is not in the image; the function is the same."""
    for facts in pair.kfp.tasks.values():
        if facts.pop("command", None):
            facts["function"] = facts.pop("args")[-1]
    for facts in pair.ours.tasks.values():
        if facts.pop("command", None):
            facts["job"] = json.loads(facts.pop("args")[1])
            facts["function"] = facts["job"].get("function", facts["job"].get("does")).rpartition(":")[2]


def components_of_their_own(pair: Pair) -> None:
    """No two tasks share a component: kfp.local would write the outputs of both to one place."""
    names = [facts["componentRef"]["name"] for facts in pair.ours.tasks.values()]
    assert len(set(names)) == len(names)
    for facts in pair.tasks():
        del facts["componentRef"]


# --- how values travel ------------------------------------------------------------------------------------------------


def constants(pair: Pair) -> None:
    """A constant is exact JSON in a text, because Kubeflow makes doubles of numbers."""
    for facts in pair.ours.tasks.values():
        for key, (type_, source) in facts["takes"].items():
            if source.startswith("constant "):
                assert type_ == "STRING"
                exact = json.loads(json.loads(source.removeprefix("constant ")))
                facts["takes"][key] = (type_, _constant(exact))
                facts["arriving"][key] = _constant(exact)
    for facts in pair.kfp.tasks.values():
        for key, (type_, source) in facts["takes"].items():
            if source.startswith("constant "):
                facts["takes"][key] = (type_, _constant(json.loads(source.removeprefix("constant "))))


def _constant(value: Any) -> str:
    """A constant as kfp's compiler reads it, to whom 1.0 is 1."""
    return f"constant {json.dumps(_degraded(value))}"


def _degraded(value: Any) -> Any:
    if isinstance(value, list):
        return [_degraded(item) for item in value]
    if isinstance(value, dict):
        if list(value) == ["$dict"]:
            value = dict(value["$dict"])
        return {key: _degraded(item) for key, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def parameters_as_text(pair: Pair) -> None:
    """A dict given to a pipeline is JSON in a text, for a Struct keeps no order; so is None, which no type has."""
    for name, facts in pair.kfp.inputs.items():
        ours = pair.ours.inputs[name]
        if facts.get("isOptional") and "defaultValue" not in facts:
            assert ours.pop("defaultValue") == "null"
        if facts["parameterType"] == "STRUCT":
            assert ours["parameterType"] == "STRING"
            ours |= {"parameterType": "STRUCT", "defaultValue": json.loads(ours["defaultValue"])}


def what_to_write(pair: Pair) -> None:
    """The form says what a parameter is made of, where Kubeflow's own type does not."""
    for name, facts in pair.kfp.inputs.items():
        is_optional = facts.get("isOptional") and "defaultValue" not in facts
        if "description" not in facts and (is_optional or facts["parameterType"] in ("LIST", "STRUCT")):
            pair.ours.inputs[name].pop("description", None)


def what_may_be_left_out(pair: Pair) -> None:
    """A step is given a value for everything; what may be left out is a matter of the pipeline's own parameters."""
    for facts in pair.kfp.tasks.values():
        assert set(facts["optional"]) <= set(facts["takes"])
        facts["optional"] = []


def types_of_outputs(pair: Pair) -> None:
    """Numbers are exact JSON in a text, and what can grow is a file: a parameter ends on a command line."""
    for path, facts in pair.kfp.tasks.items():
        ours = pair.ours.tasks.get(path, {"gives": {}})["gives"]
        for name, type_ in facts["gives"].items():
            if type_ in _OURS and ours.get(name) == _OURS[type_]:
                facts["gives"][name] = ours[name]
    for name, facts in pair.kfp.outputs.items():
        if pair.ours.outputs[name]["parameterType"] == _OURS.get(facts["parameterType"]):
            facts["parameterType"] = pair.ours.outputs[name]["parameterType"]


_OURS = {
    **dict.fromkeys(("NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN"), "STRING"),
    **dict.fromkeys(("STRING", "LIST", "STRUCT"), "system.Artifact"),
}


def names_of_outputs(pair: Pair) -> None:
    """An unnamed output is called `output`."""
    for facts in pair.kfp.tasks.values():
        facts["gives"] = {"output" if name == "Output" else name: type_ for name, type_ in facts["gives"].items()}
        facts["takes"] = {key: (type_, _as_ours(source)) for key, (type_, source) in facts["takes"].items()}
    pair.kfp.outputs = {"output" if name == "Output" else name: each for name, each in pair.kfp.outputs.items()}
    for facts in pair.kfp.outputs.values():
        facts["from"] = _as_ours(facts["from"])


def _as_ours(source: str) -> str:
    return re.sub(r"\.Output\b", ".output", source)


def arguments(pair: Pair) -> None:
    """What a step takes from branches and loops is put together in its own process, as its job says."""
    for path, facts in pair.ours.tasks.items():
        told = facts.get("job", {}).get("arguments", {})
        if told and not facts["job"]["function"].startswith("penstock:"):
            rendered = {name: _argument(pair.ours, path, binding) for name, binding in told.items()}
            if {key: source for key, (_, source) in facts["takes"].items()} != rendered:
                facts["takes"] = {key: ("", source) for key, source in rendered.items()}


def _argument(shape: Shape, path: str, binding: Any) -> str:
    """A binding of a job as a source; it says nothing that does not come in through the task's own inputs."""
    facts = shape.tasks[path]
    if isinstance(binding, str):
        return str(facts["arriving"][binding])
    kind = binding["kind"]
    if kind == "literal":
        return _constant(binding["value"])
    if kind == "status":
        return "status"
    if kind == "parameter":
        return str(facts["arriving"][binding["name"]])
    if kind == "choice":
        return f"one of {', '.join(_options(shape, path, binding))}"
    if kind == "collect":
        (entry,) = binding["entries"]
        return _argument(shape, path, entry["value"])
    if kind == "item":
        part = "".join(f"[{json.dumps(access['key'])}]" for access in binding.get("path", ()))
        listed = _arriving(facts, [binding["loop"], "items"]).rpartition(".")[0]
        return f"item of {_argument(shape, listed, shape.tasks[listed]['job']['arguments']['items'])}{part}"
    assert kind == "output"
    return _arriving(facts, [binding["node"], binding["output"]])


def _options(shape: Shape, path: str, binding: Any) -> list[str]:
    found = []
    for option in (binding["then"], binding["otherwise"]):
        found += _options(shape, path, option) if option["kind"] == "choice" else [_argument(shape, path, option)]
    return found


def _arriving(facts: Facts, origin: list[str]) -> str:
    """The source of the input by which a node's output arrives."""
    (key,) = (key for key, each in facts["job"]["sources"].items() if each == origin)
    return str(facts["arriving"][key])


def types_of_inputs(pair: Pair) -> None:
    """An input has the type of what it is bound to."""
    for shape in (pair.kfp, pair.ours):
        known = {f"parameter {name}": facts["parameterType"] for name, facts in shape.inputs.items()}
        for path, facts in shape.tasks.items():
            known |= {f"{path}.{name}": type_ for name, type_ in facts["gives"].items()}
        for facts in shape.tasks.values():
            assert all(type_ in ("", known.get(source, type_)) for type_, source in facts["takes"].values())
            facts["takes"] = {key: ("", source) for key, (_, source) in facts["takes"].items()}


# --- what decides what runs -------------------------------------------------------------------------------------------


def decisions(pair: Pair) -> None:
    """A branch is decided by a task of its own; its arms' tasks stand beside it, and read what was decided."""
    for path, facts in list(pair.ours.tasks.items()):
        facts["when"] = [_decided(pair.ours, path, arm) for arm in facts.get("job", {}).get("when", ())]
    dissolve(pair.ours, lambda _, facts: facts.get("function") == "decide")
    for facts in pair.kfp.tasks.values():
        if "condition" in facts.get("triggerPolicy", {}):
            parts = facts.pop("triggerPolicy")["condition"].split(" && ")
            facts["triggers"] = [_condition(part, facts) for part in parts]
    for path, facts in pair.kfp.tasks.items():
        outer = [pair.kfp.tasks[dag] for dag in around(path)]
        facts["when"] = [part for each in (*outer, facts) for part in each.get("triggers", ())]
    dissolve(pair.kfp, lambda path, _: re.search(r"(^|/)condition-(branches-)?\d+$", path) is not None)


def _decided(shape: Shape, path: str, arm: Mapping[str, Any]) -> tuple[str, bool]:
    facts = shape.tasks[path]
    decision = _arriving(facts, [arm["branch"], "holds"]).rpartition(".")[0]
    binding = shape.tasks[decision]["job"]["arguments"]["condition"]
    if isinstance(binding, dict) and binding["kind"] == "operation":
        left, right = (_argument(shape, decision, each) for each in binding["operands"])
        return f"{left} {binding['operator']} {right.removeprefix('constant ')}", arm["holds"]
    return f"{_argument(shape, decision, binding)} == true", arm["holds"]


def _condition(text: str, facts: Facts) -> tuple[str, bool]:
    """A part of a condition in CEL, as what it compares and whether that must hold."""
    negated = re.fullmatch(r"!\((.*)\)", text)
    bare = negated[1] if negated else text
    bare = re.sub(r"int\((inputs\.parameter_values\['[^']*'\])\)", r"\1", bare)
    named = re.sub(r"inputs\.parameter_values\['([^']*)'\]", lambda found: str(facts["takes"][found[1]][1]), bare)
    return named, negated is None


def loops(pair: Pair) -> None:
    """A loop goes over the places of its items, which a task of its own lists; the items travel as a file."""
    for shape in (pair.kfp, pair.ours):
        items = {path: _items(shape, path) for path, facts in shape.tasks.items() if "parameterIterator" in facts}
        for path, facts in shape.tasks.items():
            facts["loops"] = [
                (items[dag], shape.tasks[dag].get("iteratorPolicy", {}).get("parallelismLimit"))
                for dag in around(path)
                if dag in items
            ]
        for facts in (*shape.tasks.values(), *shape.outputs.values()):
            _resolve_items(facts, items)
        dissolve(shape, lambda path, facts: path in items or facts.get("function") == "items")  # noqa: B023


def _items(shape: Shape, path: str) -> str:
    """What a loop goes over."""
    facts = shape.tasks[path]
    items = facts["parameterIterator"]["items"]
    if "raw" in items:
        return f"constant {items['raw']}"
    source = str(facts["takes"][items["inputParameter"]][1])
    lists = source.rpartition(".")[0]
    if shape.tasks.get(lists, {}).get("function") == "items":
        return _argument(shape, lists, shape.tasks[lists]["job"]["arguments"]["items"])
    return source


def _resolve_items(facts: Facts, items: Mapping[str, str]) -> None:
    def resolved(source: str) -> str:
        source = source.removeprefix("each of ")
        found = re.match(r"item of ([\w/-]+?)(?=parseJson|\[|$)", source)
        if found and found[1] in items:
            source = f"item of {items[found[1]]}{source[found.end() :]}"
        return source.replace("parseJson(string_value)", "")

    if "from" in facts:
        facts["from"] = resolved(facts["from"])
    if "takes" in facts:
        facts["takes"] = {key: (type_, resolved(each)) for key, (type_, each) in facts["takes"].items()}


def groups(pair: Pair) -> None:
    """A nested pipeline is no DAG of its own; its tasks' names keep the path."""
    dissolve(pair.kfp, lambda _, facts: "dag" in facts, joined="--")


def the_end_of_a_run(pair: Pair) -> None:
    """Kubeflow tells an exit handler neither what failed nor why: the tasks at the end are ordinary ones."""
    last = [path for path, facts in pair.kfp.tasks.items() if "strategy" in facts.get("triggerPolicy", {})]
    for path in last:
        del pair.kfp.tasks[path]["triggerPolicy"]
        pair.kfp.tasks[path]["last"] = True
    dissolve(pair.kfp, lambda path, _: path.startswith("exit-handler-") and "/" not in path)
    for facts in pair.ours.tasks.values():
        if facts.get("job", {}).get("does") == "end":
            facts["last"] = True
    own = ("run-status", "run-result")
    if own[0] in pair.ours.tasks:
        for path in last:
            takes = pair.kfp.tasks[path]["takes"]
            told = {key: ("", "status") for key, (_, source) in takes.items() if source.startswith("taskFinalStatus")}
            takes |= told
        for facts in pair.kfp.tasks.values():
            facts["cachingOptions"] = {}
    dissolve(pair.ours, lambda path, _: path in own)


def outcomes(pair: Pair) -> None:
    """A task that can be skipped, or must not fail, says itself how it ended."""
    for facts in pair.ours.tasks.values():
        if "job" in facts and "outcome" in facts["job"]:
            del facts["gives"][facts["job"]["outcome"]]


# --- settings ---------------------------------------------------------------------------------------------------------


def retries(pair: Pair) -> None:
    """The harness tries again, in the same pod: Kubeflow ignores a retry in a loop."""
    for facts in pair.ours.tasks.values():
        if retry := facts.get("job", {}).get("retry"):
            facts["retryPolicy"] = {
                "maxRetryCount": retry["max_retries"],
                "backoffDuration": f"{retry['delay']:g}s",
                "backoffFactor": retry["backoff"],
                "backoffMaxDuration": f"{retry['max_delay']:g}s",
            }


def names_of_objects(pair: Pair) -> None:
    """What a pod takes of the cluster's is named in the field that every server reads, and not in the newer one too."""
    for facts in pair.kfp.tasks.values():
        for entries in (facts.get("platform") or {}).values():
            for entry in entries if isinstance(entries, list) else ():
                newer = [key for key in entry if key.endswith("NameParameter")]
                for key in newer:
                    name = entry.pop(key)["runtimeValue"]["constant"]
                    assert name in (entry.get(key.removesuffix("Parameter")), entry.get("constant"))
                if entry.get("optional") is False:
                    del entry["optional"]


def labels(pair: Pair) -> None:
    """Kubeflow's page calls a task what its author does."""
    for path, facts in pair.ours.tasks.items():
        if task_name(facts["taskInfo"]["name"]) == path:
            facts["taskInfo"]["name"] = path.rpartition("--")[2]


def jobs(pair: Pair) -> None:
    """What else a job says is for the harness."""
    for facts in pair.tasks():
        facts.pop("job", None)
        del facts["arriving"]


RULES: tuple[Callable[[Pair], None], ...] = (
    who_compiled,
    program,
    components_of_their_own,
    constants,
    names_of_outputs,
    outcomes,
    types_of_inputs,
    parameters_as_text,
    what_may_be_left_out,
    what_to_write,
    arguments,
    decisions,
    loops,
    the_end_of_a_run,
    groups,
    types_of_outputs,
    retries,
    names_of_objects,
    labels,
    jobs,
)
