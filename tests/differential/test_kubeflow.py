"""The same pipelines in `kfp.dsl` and in Penstock: they do the same, and why they are written otherwise is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from penstock_backends.kubeflow import arguments_for
from tests.differential.in_penstock import PIPELINES, PODS
from tests.differential.results import Result, result_of_kfp, result_of_ours
from tests.differential.rules import RULES, Comparison, compare
from tests.differential.shapes import shape_of
from tests.engines.kfp import kfp

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("kfp")]

IN_KFP = Path(__file__).with_name("in_kfp.py")
ENVIRON = {"DB_PASSWORD": "sesame"}  # which a cluster takes from its Secret

# The arguments of each run, where there are others than the defaults and the file that steps write to. A dict has one
# key: a Struct, which kfp makes of it, keeps no order.
ARGUMENTS: dict[str, list[dict[str, Any]]] = {
    "parameters": [{"count": -1, "share": 2.25, "text": "ä'\"", "flag": False, "names": [], "sizes": {"z": 9}}],
    "required": [{"count": 2, "text": "a"}],
    "if_alone": [{}, {"count": 2}],
    "if_else": [{}, {"count": 2}],
    "if_of_an_output": [{}, {"count": 4}],
    "elif_chain": [{}, {"count": 11}, {"count": 4}],
    "nested_conditions": [{}, {"flag": False}, {"count": 1}],
    "loop_over_a_parameter": [{}, {"values": [7]}],
    "condition_in_a_loop": [{}, {"values": [9, 1, 8]}],
    "loop_in_a_condition": [{}, {"flag": False}],
    "a_failure": [{}, {"value": 0}],
    "exit_handler_after_a_failure": [{}, {"value": 0}],
}
RUNS = [(name, given) for name in PIPELINES for given in ARGUMENTS.get(name, [{}])]


@dataclass(frozen=True)
class Beyond:
    """What kfp.local cannot run as kfp's own compiler writes it: why, what it says, and what is right.

    ``says`` is empty where it gives something wrong and reports success.
    """

    reason: str
    says: str
    right: Result


BEYOND_KFP = {
    "one_of_artifacts": Beyond(
        "kfp.local takes no artifact from whichever branch ran",
        "Expected 1 artifact in ArtifactSelectorSpec",
        Result("success", {"output": 10}, {"rows": [{"output": "row\n" * 10}], "lines": [{"output": 10}]}),
    ),
    "empty_loop": Beyond(
        "kfp.local has no outputs of a loop without items",
        "Tried to get output 'pipelinechannel--add-Output'",
        Result("success", {"output": 0}, {"total": [{"output": 0}]}),
    ),
    "optional": Beyond(
        "kfp.local knows no parameter without a value",
        "Unknown value type",
        Result("success", {"output": "hello None"}, {"greeted": [{"output": "hello None"}]}),
    ),
    "large_text": Beyond(
        "kfp.local puts every parameter on a command line, which has room for 128 KiB",
        "Argument list too long",
        Result(
            "success", {"output": 200_000}, {"repeated": [{"output": "x" * 200_000}], "size_of": [{"output": 200_000}]}
        ),
    ),
    "nested_loops": Beyond(
        "in a loop in a loop, kfp.local takes the inner item for the outer one, too",
        "",
        Result("success", {}, {"add": [{"output": each} for each in (11, 12, 21, 22)]}),
    ),
}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return kfp().compiled(IN_KFP, folder=tmp_path_factory.mktemp("kfp") / "compiled")


@pytest.fixture(scope="module")
def ours() -> dict[str, str]:
    return {name: compiled(name) for name in PIPELINES}


@pytest.fixture(scope="module")
def comparisons(theirs, ours, tmp_path_factory) -> dict[str, Comparison]:
    folder = tmp_path_factory.mktemp("messages")
    of_kfp = kfp().messages(theirs, folder=folder / "kfp")
    of_us = kfp().messages(ours, folder=folder / "ours")
    return {name: compare(shape_of(of_kfp[name]), shape_of(of_us[name])) for name in PIPELINES}


def compiled(name: str) -> str:
    steps = {"*": PODS[name]} if name in PODS else {}
    (text,) = PIPELINES[name].compile("kubeflow", deadline_margin=0, steps=steps, harness="packed").values()
    return text


def arguments(name: str, given: dict[str, Any], file: Path) -> dict[str, Any]:
    """A run's arguments; a required one that is not given is the file that steps write to."""
    required = [each.name for each in PIPELINES[name].spec.parameters if each.required]
    return {**{each: str(file) for each in required}, **given}


def noted(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def test_every_pipeline_is_there_in_both(theirs):
    assert set(theirs) == set(PIPELINES)
    assert len(PIPELINES) >= 25


@pytest.mark.slow
@pytest.mark.parametrize(("name", "given"), RUNS, ids=lambda each: each if isinstance(each, str) else None)
def test_both_do_the_same(name, given, theirs, ours, tmp_path):
    pipeline = PIPELINES[name]
    files = {who: tmp_path / f"{who}.txt" for who in ("kfp", "ours")}
    folders = {who: tmp_path / who for who in files}
    for folder in folders.values():
        folder.mkdir()
    exact = pipeline.encode_parameters(arguments(name, given, files["ours"]))
    sent = arguments_for(pipeline.spec.parameters, exact)
    our_run = kfp().run(ours[name], sent, folder=folders["ours"], environ=ENVIRON)
    their_run = kfp().run(theirs[name], arguments(name, given, files["kfp"]), folder=folders["kfp"], environ=ENVIRON)
    found = result_of_ours(pipeline, our_run, tmp_path)
    if beyond := BEYOND_KFP.get(name):
        assert found == beyond.right
        assert beyond.says in their_run.crash
        assert their_run.crash or result_of_kfp(their_run) != beyond.right
        return
    assert found == result_of_kfp(their_run)
    in_order = list if name == "order" else sorted
    assert in_order(noted(files["ours"])) == in_order(noted(files["kfp"]))


@pytest.mark.parametrize("name", PIPELINES)
def test_each_difference_has_a_name(name, comparisons):
    left = comparisons[name].left
    assert left.ours == left.kfp


def test_each_rule_explains_something(comparisons):
    used = Counter(rule for each in comparisons.values() for rule in each.used)
    assert [rule.__name__ for rule in RULES if rule.__name__ not in used] == []


PLANTED = {
    "another argument": ("chain", "constant: '3'", "constant: '4'"),
    "another producer": ("diamond", "producerTask: add-3", "producerTask: add-2"),
    "another default": ("chain", "defaultValue: 1", "defaultValue: 2"),
    "the other branch": ("if_else", '"holds": false', '"holds": true'),
    "another condition": ("elif_chain", '"value": 4}', '"value": 5}'),
    "another merge": ("if_else", '"node": "upper_2", "output"', '"node": "upper", "output"'),
    "another list": ("bounded_loop", "componentInputParameter: values", "runtimeValue: {constant: '[1]'}"),
    "no bound": ("bounded_loop", "parallelismLimit: 2", "parallelismLimit: 3"),
    "an order lost": ("order", "        - noted-2\n", ""),
    "fewer attempts": ("retries", '"max_retries": 3', '"max_retries": 2'),
    "a cache": ("no_cache", "cachingOptions: {}", "cachingOptions: {enableCache: true}"),
    "another image": ("image", "bookworm", "bullseye"),
    "another variable": ("environment", "value: big", "value: small"),
    "less memory": ("resources", "resourceMemoryRequest: 4Gi", "resourceMemoryRequest: 2Gi"),
    "more time": ("time_limit", "activeDeadlineSeconds: 60", "activeDeadlineSeconds: 61"),
    "another node": ("kind_of_gpu", "NVIDIA-A100", "NVIDIA-H100"),
    "another secret": ("secrets", "secretKey: password", "secretKey: passphrase"),
    "another volume": ("pod", "mountPath: /data", "mountPath: /date"),
    "another function": ("nested", '"function": "tests.differential.in_penstock:add"', '"function": "m:area"'),
    "another label": ("artifacts", "schemaTitle: system.Model", "schemaTitle: system.Dataset"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_difference_that_no_rule_names_is_seen(planted, theirs, ours, tmp_path):
    name, true, false = PLANTED[planted]
    assert true in ours[name]
    told = kfp().messages({"kfp": theirs[name], "ours": ours[name].replace(true, false)}, folder=tmp_path / "messages")
    try:
        left = compare(shape_of(told["kfp"]), shape_of(told["ours"])).left
    except AssertionError:
        return
    assert left.ours != left.kfp
