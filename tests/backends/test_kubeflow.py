from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import Dataset, Model, Report, Resources, Retry, log_metric, pipeline, step
from penstock.harness import StepError, coerce, encode
from penstock.spec import Feature, ModuleSource, ParameterSpec, PipelineSpec, Statement, TypeKind, TypeSpec, tasks
from penstock_backends.kubeflow import KubeflowBackend, KubeflowOptions, arguments_for, entry
from penstock_backends.kubeflow.channels import given_value, identifier, is_bounded, parameter_type, task_name
from penstock_backends.kubeflow.plan import plan_of
from penstock_backends.kubeflow.program import harness_text, joined, joiner_for, packed_harness, sliced
from penstock_backends.lowering import kind_of
from tests.backends.kubeflow_cluster import Cluster, delivered
from tests.engines.kfp import kfp

ROOT = Path(__file__).parents[2]
MARKED = "{{$}} {{{ $$ $$$(HOME) $(PATH) ${{ x }} {{workflow.name}} python3 /kfp-workspace {{$.inputs.parameters['x']}}"


class Split(NamedTuple):
    rows: Dataset[dict[str, int]]
    size: int


@step
def load(text: str) -> Split:
    return Split({text: len(text)}, len(text))


@step
def train(rows: dict[str, int], depth: int) -> Model[dict[str, Any]]:
    log_metric("accuracy", depth / 10)
    log_metric("loss", float("inf"))
    return {"depth": depth, "rows": rows, "mark": "{{$}} $$ $(HOME)"}


@step
def select(models: list[dict[str, Any]], note: str) -> str:
    return json.dumps([note, *models])


@step
def page(text: str) -> Report[Path]:
    Path("page.html").write_text(text)
    return Path("page.html")


@pipeline
def trained(text: str = MARKED, more: tuple[int, ...] = (1, 2)) -> tuple[str, Path]:
    """What {{workflow.name}} makes of it."""
    rows = load(text).rows
    chosen = select([train(rows, depth=depth) for depth in (3, 5)], note=MARKED)
    return chosen, page(chosen)


def document(authored: Any, **options: Any) -> dict[str, Any]:
    (text,) = authored.compile("kubeflow", **options).values()
    loaded: dict[str, Any] = next(iter(yaml.safe_load_all(text)))
    return loaded


def containers(loaded: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {label: each["container"] for label, each in loaded["deploymentSpec"]["executors"].items()}


def job(container: dict[str, Any]) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(container["args"][1])
    return loaded


# --- the file as the engine takes it ----------------------------------------------------------------------------------


@step(
    retry=Retry(2, delay=10, backoff=2, jitter=0.5),
    timeout=60,
    resources=Resources(cpu=0.5, memory="4Gi", gpu=2, gpu_type="NVIDIA-A100"),
    env={"PLAIN": "x", "MARKED": MARKED},
    image="registry.example/train:1",
    cache=False,
    packages=["numpy>=2"],
)
def demanding() -> int:
    return 1


@pipeline
def demands() -> int:
    return demanding()


@pytest.mark.engine
@pytest.mark.parametrize("authored", [trained, demands], ids=lambda each: each.name)
@pytest.mark.parametrize("harness", ["text", "packed", "shared"])
def test_the_file_is_what_the_server_takes(authored: Any, harness: str, tmp_path: Path) -> None:
    (text,) = authored.compile("kubeflow", harness=harness).values()
    assert kfp().problems(text, folder=tmp_path) == []


def test_what_a_step_asks_of_its_pod_is_asked_of_kubeflow() -> None:
    (text,) = demands.compile("kubeflow", gpu_label="gpu").values()
    spec, platform = yaml.safe_load_all(text)
    container = containers(spec)["exec-demanding"]
    assert container["image"] == "registry.example/train:1"
    assert container["env"] == [{"name": "PLAIN", "value": "x"}]
    assert job(container)["env"] == {"PLAIN": "x", "MARKED": MARKED}
    assert container["resources"] == {
        "cpuRequest": 0.5,
        "resourceCpuRequest": "0.5",
        "memoryRequest": 2**32 / 1e9,
        "resourceMemoryRequest": "4Gi",
        "accelerator": {
            "count": "2",
            "type": "nvidia.com/gpu",
            "resourceCount": "2",
            "resourceType": "nvidia.com/gpu",
        },
    }
    assert platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-demanding"] == {
        "activeDeadlineSeconds": 3 * 60 + (10 + 20) * 1.5 + 3600,
        "nodeSelector": {"labels": {"gpu": "NVIDIA-A100"}},
    }
    assert spec["root"]["dag"]["tasks"]["demanding"]["cachingOptions"] == {}


def test_every_feature_has_an_answer() -> None:
    assert set(KubeflowBackend.supports) == set(Feature)


# --- tasks and executors ----------------------------------------------------------------------------------------------


def test_tasks_that_do_the_same_share_an_executor_and_nothing_else() -> None:
    loaded = document(trained)
    assert list(loaded["deploymentSpec"]["executors"]) == ["exec-load", "exec-train", "exec-select", "exec-page"]
    components = loaded["components"]
    assert components["comp-train"] == components["comp-train-2"]
    used = [task["componentRef"]["name"] for task in loaded["root"]["dag"]["tasks"].values()]
    assert len(set(used)) == len(used) == 5


@step
def any_number(value: int) -> int:
    return value


@step
def listed() -> list[int]:
    return [1]


@step
def of_any(value: Any) -> str:
    return repr(value)


@pipeline
def by_all_ways(number: int = 1) -> list[str]:
    """The same step, its input each time another kind of input to Kubeflow."""
    return [of_any(1), of_any(any_number(2)), of_any(number), of_any(listed())]


def test_on_the_cluster_no_component_gets_the_spec_of_another() -> None:
    """The server keeps component specs by the hash of their container: the first with a container stands for all."""
    loaded = document(by_all_ways)
    by_container: dict[str, set[str]] = {}
    for component in loaded["components"].values():
        container = json.dumps(containers(loaded)[component["executorLabel"]])
        by_container.setdefault(container, set()).add(json.dumps(component))
    assert [len(found) for found in by_container.values()] == [1] * len(by_container)
    assert len({component["executorLabel"] for component in loaded["components"].values()}) == 5


def test_an_executor_holds_its_own_step_only() -> None:
    texts = containers(document(trained))["exec-page"]["args"]
    assert "def page" in texts[2]
    assert "def train" not in texts[2]
    assert "log_metric" not in texts[2]


def test_the_harness_stands_in_the_file_once() -> None:
    (text,) = trained.compile("kubeflow").values()
    assert text.count("def supervise(") == 1
    assert text.count("*harness") == 3


def test_many_tasks_get_the_packed_harness_which_is_the_same_program_but_for_annotations() -> None:
    def wide() -> list[int]:
        return [any_number(n) for n in range(30)]

    command = containers(document(pipeline(wide)))["exec-any-number"]["command"]
    assert command[2] == packed_harness()
    run: dict[str, Any] = {}
    exec(packed_harness().replace("exec(", "found = ("), run)
    shown = ast.parse(harness_text())
    for node in ast.walk(shown):
        for name in ("annotation", "returns") if isinstance(node, (ast.arg, ast.FunctionDef)) else ():
            setattr(node, name, None)
    assert ast.unparse(shown) == run["found"].decode()


def test_the_cache_key_holds_what_the_result_depends_on() -> None:
    def command(**asked: Any) -> str:
        @pipeline
        def one() -> int:
            return any_number.with_options(**asked)(1)

        (container,) = containers(document(one)).values()
        return json.dumps([container["command"], container["args"]])

    seen = [command(), command(cache_version="2"), command(env={"A": "1"}), command(packages=["six"])]
    assert len(set(seen)) == 4
    assert command() == seen[0]


@pytest.mark.slow
def test_the_same_source_gives_the_same_bytes_whatever_the_hash_seed() -> None:
    program = (
        "from tests.backends.test_kubeflow import trained; import sys;"
        "sys.stdout.write(trained.compile('kubeflow')['trained.yaml'])"
    )
    texts = set()
    for seed in ("0", "1", "4242"):
        environ = {**os.environ, "PYTHONHASHSEED": seed}
        texts.add(
            subprocess.run(
                [sys.executable, "-c", program], cwd=ROOT, env=environ, capture_output=True, check=True
            ).stdout
        )
    assert len(texts) == 1


# --- names ------------------------------------------------------------------------------------------------------------

IDS = st.one_of(
    st.from_regex(r"[a-z_]{1,6}(\.[a-z_]{1,6}){0,2}", fullmatch=True),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=90),
)


@given(st.lists(IDS, min_size=2, unique=True))
def test_names_are_such_as_kubernetes_allows_and_never_meet(ids: list[str]) -> None:
    names = [task_name(each) for each in ids]
    assert all(re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) and len(name) <= 63 for name in names)
    assert len(set(names)) == len(names)
    keys = [identifier(each) for each in ids if each.isidentifier()]
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key) for key in keys)
    assert len(set(keys)) == len(keys)


def test_usual_names_stay_as_they_are() -> None:
    assert [task_name(each) for each in ("load", "load_2", "outer.inner.load")] == [
        "load",
        "load-2",
        "outer--inner--load",
    ]
    assert task_name("x_abc123") not in ("x-abc123", task_name("x"))


# --- text that engines would change -----------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [*entry.MARKS, "{", "$", "(", "python", "3", "<~", "<~>", "~", ">", "\\", '"', " ", "\n", "\t", "é", "🚀", "\x00"]
)
TEXTS = st.lists(PIECES | st.text(max_size=3), max_size=12).map("".join)


@given(TEXTS)
def test_source_passes_engines_and_yaml_unchanged(text: str) -> None:
    joiner = joiner_for([text])
    safe = joined(text, joiner)
    assert entry.unjoined(safe, joiner) == text
    assert not entry.has_mark(safe)
    assert yaml.safe_load(yaml.safe_dump(safe + "\n", default_style="|", allow_unicode=True)) == safe + "\n"


@given(TEXTS)
def test_json_passes_engines_unchanged(text: str) -> None:
    safe = entry.guarded(json.dumps(text))
    assert json.loads(safe) == text
    assert not entry.has_mark(safe)


def test_nothing_in_a_container_is_left_for_an_engine_to_change() -> None:
    for is_steered in (False, True):
        assert not entry.has_mark(harness_text(is_steered) + packed_harness(is_steered))
    for container in containers(document(trained)).values():
        assert container["args"][0] == "{{$}}"
        assert not any(entry.has_mark(text) for text in container["args"][1:])
        assert container["command"][0] == "python3"
        assert not entry.has_mark(container["command"][2])
        assert "kfp.dsl.executor_main" in container["command"][2]


def test_source_that_needs_no_care_stands_as_it_was_written() -> None:
    text = containers(document(trained))["exec-page"]["args"][2]
    assert text.endswith(
        'def page(text: str) -> Report[Path]:\n    Path("page.html").write_text(text)\n    return Path("page.html")\n'
    )
    assert "joiner" not in job(containers(document(trained))["exec-page"])
    (emitted,) = trained.compile("kubeflow").values()
    assert "          def page(text: str) -> Report[Path]:\n" in emitted


def test_a_slice_keeps_what_is_reached_and_where_it_was() -> None:
    source = ModuleSource(
        name="m",
        file="m.py",
        statements=(
            Statement(line=1, source="from a import b, c"),
            Statement(line=3, source="X = 1"),
            Statement(line=9, source="def f():\n    return X, c"),
            Statement(line=20, source="def g():\n    return 2"),
        ),
    )
    part = sliced(source, ["f", "X", "c"])
    assert part.text == "from a import c\n\nX = 1\n\n\ndef f():\n    return X, c\n"
    assert part.lines == [[1, 1], [3, 3], [6, 9]]


# --- parameters of the pipeline ---------------------------------------------------------------------------------------


def parameter(kind: TypeKind, *args: TypeKind, **more: Any) -> ParameterSpec:
    inner = tuple(TypeSpec(kind=each, text=each.value) for each in args)
    return ParameterSpec(name="p", type=TypeSpec(kind=kind, args=inner, text=kind.value), **more)


@pytest.mark.parametrize(
    ("given_default", "expected"),
    [
        ((TypeKind.INT, 3), "NUMBER_INTEGER"),
        ((TypeKind.INT, {"$int": str(2**53 + 1)}), "STRING"),
        ((TypeKind.INT, 2**53), "STRING"),
        ((TypeKind.FLOAT, 0.5), "NUMBER_DOUBLE"),
        ((TypeKind.FLOAT, 1.0), "NUMBER_DOUBLE"),
        ((TypeKind.FLOAT, 1), "STRING"),
        ((TypeKind.FLOAT, {"$float": "nan"}), "STRING"),
        ((TypeKind.BOOL, False), "BOOLEAN"),
        ((TypeKind.STR, "x"), "STRING"),
        ((TypeKind.DATE, {"$date": "2024-01-01"}), "STRING"),
    ],
)
def test_kubeflow_types_are_used_where_they_keep_the_default(
    given_default: tuple[TypeKind, Any], expected: str
) -> None:
    kind, default = given_default
    assert parameter_type(parameter(kind, required=False, default=default)) == expected


def test_lists_of_plain_values_are_lists_to_kubeflow() -> None:
    assert parameter_type(parameter(TypeKind.LIST, TypeKind.INT)) == "LIST"
    assert parameter_type(parameter(TypeKind.LIST, TypeKind.INT, required=False, default=[1, 2])) == "LIST"
    assert parameter_type(parameter(TypeKind.LIST, TypeKind.FLOAT, required=False, default=[1.0, 2.5])) == "LIST"
    assert parameter_type(parameter(TypeKind.LIST, TypeKind.STR, required=False, default=["{{x}}"])) == "STRING"
    assert parameter_type(parameter(TypeKind.LIST, TypeKind.DATE)) == "STRING"
    assert parameter_type(parameter(TypeKind.DICT, TypeKind.STR, TypeKind.INT)) == "STRING"


EXACT = st.integers(-(2**53) + 1, 2**53 - 1)
VALUES = st.one_of(
    st.tuples(st.just((TypeKind.STR,)), TEXTS | st.just('{"$json":"1"}')),
    st.tuples(st.just((TypeKind.INT,)), EXACT),
    st.tuples(
        st.just((TypeKind.FLOAT,)), st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: str(x) != "-0.0")
    ),
    st.tuples(st.just((TypeKind.LIST, TypeKind.INT)), st.lists(st.integers())),
    st.tuples(st.just((TypeKind.LIST, TypeKind.FLOAT)), st.lists(st.floats(allow_nan=False))),
    st.tuples(st.just((TypeKind.LIST, TypeKind.STR)), st.lists(TEXTS)),
    st.tuples(st.just((TypeKind.DICT, TypeKind.STR, TypeKind.INT)), st.dictionaries(TEXTS, st.integers())),
)


@pytest.mark.slow
@settings(max_examples=300)
@given(VALUES)
def test_values_given_for_a_run_reach_the_step_as_what_they_were(typed: tuple[tuple[TypeKind, ...], Any]) -> None:
    kinds, value = typed
    spec = parameter(*kinds)
    sent = arguments_for([spec], {"p": encode(value)})["p"]
    if isinstance(sent, str):
        assert not entry.has_mark(sent)
    arrived = entry.given(delivered(sent), kind_of(spec.type))
    found = coerce(arrived, kind_of(spec.type))
    assert (repr(found), type(found)) == (repr(value), type(value))


@pytest.mark.parametrize("raw", [2**53, -(2**60), float(2**70)])
def test_an_integer_that_a_double_may_have_changed_is_refused(raw: float) -> None:
    with pytest.raises(StepError, match="keeps numbers as doubles"):
        entry.given(raw, {"kind": "int"})


def test_a_person_may_type_json_or_text() -> None:
    assert entry.given("2024-01-01", {"kind": "date"}) == "2024-01-01"
    assert entry.given("abc", {"kind": "str"}) == "abc"
    assert entry.given("5", {"kind": "str"}) == "5"
    assert entry.given('{"a": [1]}', {"kind": "dict"}) == {"a": [1]}


def test_only_what_can_grow_travels_as_a_file() -> None:
    def of(kind: TypeKind, *args: TypeSpec, **more: Any) -> TypeSpec:
        return TypeSpec(kind=kind, args=args, **more)

    number, text = of(TypeKind.INT), of(TypeKind.STR)
    assert is_bounded(of(TypeKind.UNION, number, of(TypeKind.NONE)))
    assert is_bounded(of(TypeKind.TUPLE, number, number))
    assert not is_bounded(of(TypeKind.TUPLE, number, variadic=True))
    assert not any(map(is_bounded, [text, of(TypeKind.LIST, number), of(TypeKind.UNION, number, text)]))


# --- in the container -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_a_cluster_does_to_commands_and_parameters_changes_nothing(tmp_path: Path) -> None:
    loaded = document(trained)
    cluster = Cluster(loaded, tmp_path)
    ran = cluster.run({})
    assert ran.state == "success", ran.log
    outputs = {name: task.outputs for name, task in cluster.tasks.items()}
    said = cluster.file(outputs["page"]["output"]).read_text()
    rows = {MARKED: len(MARKED)}
    models = [{"depth": depth, "rows": rows, "mark": "{{$}} $$ $(HOME)"} for depth in (3, 5)]
    assert json.loads(said) == [MARKED, *models]
    assert outputs["page"]["output"]["uri"] == "minio://bucket/page/output/page.html"
    assert outputs["train"]["metrics"]["metadata"] == {"accuracy": 0.3, "loss": "inf", "format": "value"}
    assert outputs["load"]["size"] == str(len(MARKED))


def artifact_sent(source: Path, folder: Path) -> Path:
    """A path after it went out as an artifact and came in as one, through a store that keeps regular files only."""
    slot = {"uri": str(folder / "store"), "name": "out"}
    outgoing = entry.Artifact("out", slot)
    outgoing.take(source, "path")
    told = outgoing.entry()["artifacts"][0]
    kept = [each for each in Path(told["uri"]).rglob("*") if not each.is_dir()] or [Path(told["uri"])]
    assert all(each.is_file() and not each.is_symlink() for each in kept)
    (folder / "scratch").mkdir()
    return Path(entry.read_input(json.loads(json.dumps(told)), folder / "scratch")["$artifact"]["file"])


@pytest.mark.parametrize("kind", ["file", "folder", "executable", "empty", "holds-empty", "link", "odd-name"])
def test_files_and_folders_survive_a_store_that_keeps_only_files(kind: str, tmp_path: Path) -> None:
    source = tmp_path / ("odd {{$}} näme.txt" if kind == "odd-name" else "made")
    if kind in ("file", "executable", "odd-name"):
        source.write_text("x")
        source.chmod(0o755 if kind == "executable" else 0o644)
    else:
        source.mkdir()
    if kind in ("folder", "link"):
        (source / "deep").mkdir()
        (source / "deep" / "a.txt").write_text("a")
    if kind == "holds-empty":
        (source / "nothing").mkdir()
        (source / "a.txt").write_text("a")
    if kind == "link":
        (source / "again.txt").symlink_to("deep/a.txt")

    def seen(path: Path) -> list[Any]:
        below = sorted(path.rglob("*")) if path.is_dir() else [path]
        return [
            (p.relative_to(path.parent), p.is_symlink(), p.is_file() and p.read_bytes(), os.access(p, os.X_OK))
            for p in below
        ]

    expected = (source.name, seen(source))
    arrived = artifact_sent(source, tmp_path)
    assert (arrived.name, seen(arrived)) == expected


def test_a_scalar_too_large_for_a_command_line_fails_its_step_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="output `big` takes"):
        entry._write_parameter({"name": "big", "text": "int"}, {"$int": "9" * 200_000}, tmp_path / "big")


def test_what_is_installed_is_not_installed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(
        entry.subprocess, "run", lambda command, **_: ran.append(command) or subprocess.CompletedProcess(command, 0)
    )
    entry.install(["pytest", f"PyYAML=={yaml.__version__}"])
    assert ran == []
    entry.install(["pytest", "pyyaml==0.0.1", "no-such-thing", "hypothesis>=1"])
    assert ran[0][-3:] == ["pyyaml==0.0.1", "no-such-thing", "hypothesis>=1"]


def test_a_package_that_cannot_be_installed_fails_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 3))
    with pytest.raises(StepError, match=r"could not install no-such-thing \(exit code 3\)"):
        entry.install(["no-such-thing"])


# --- on kfp.local -----------------------------------------------------------------------------------------------------


@step
def broken(rows: int) -> int:
    first = rows
    raise ValueError(f"no {first}")


@pipeline
def breaks() -> int:
    return broken(1)


@pytest.mark.engine
def test_a_traceback_points_into_the_authors_file(tmp_path: Path) -> None:
    (text,) = breaks.compile("kubeflow").values()
    ran = kfp().run(text, folder=tmp_path)
    line = next(
        n for n, each in enumerate(Path(__file__).read_text().splitlines(), 1) if 'raise ValueError(f"no' in each
    )
    assert ran.tasks == {"broken": "failure"}
    assert re.search(rf'File ".*test_kubeflow.py", line {line}, in broken\n\s+raise ValueError', ran.log), ran.log
    assert "penstock" not in ran.log.lower()


@pytest.mark.engine
def test_kubeflow_shows_results_metrics_and_pages(tmp_path: Path) -> None:
    (text,) = trained.compile("kubeflow").values()
    ran = kfp().run(text, folder=tmp_path)
    assert ran.state == "success", ran.log
    shown = {each.task: each.outputs for each in ran.executions}
    assert shown["train-2"]["metrics"]["artifact"] == "system.Metrics"
    assert shown["train-2"]["metrics"]["metadata"]["accuracy"] == 0.5
    assert shown["load"]["rows"]["artifact"] == "system.Dataset"
    assert ran.outputs["output_1"]["artifact"] == "system.HTML"
    assert ran.outputs["output_1"]["uri"].endswith("/page.html")


@pytest.mark.engine
def test_nothing_is_left_beside_the_artifacts(tmp_path: Path) -> None:
    (text,) = trained.compile("kubeflow").values()
    kfp().run(text, folder=tmp_path)
    found = {each.name for each in (tmp_path / "kfp" / "artifacts").glob("*/*/*")}
    assert found == {"executor_output.json", "rows", "size", "output", "metrics"}


# --- limits -----------------------------------------------------------------------------------------------------------


def problems(authored: Any) -> list[str]:
    spec: PipelineSpec = authored.spec
    return [each.code for each in KubeflowBackend().limits(spec, KubeflowOptions())]


def test_a_program_too_large_for_a_command_line_is_refused_at_its_call() -> None:
    statement = Statement(line=1, source="def big() -> str:\n    return " + repr("x" * 130_000))

    @pipeline
    def large() -> int:
        return any_number(1)

    spec = large.spec
    (authored_step,) = spec.steps
    module = ModuleSource(name="m", file="m.py", statements=(statement,))
    reach = authored_step.reach[0].model_copy(update={"module": "m", "names": ("big",)})
    spec = spec.model_copy(
        update={"modules": (module,), "steps": (authored_step.model_copy(update={"reach": (reach,)}),)}
    )
    (problem,) = KubeflowBackend().limits(spec, KubeflowOptions())
    assert problem.code == "P521"
    assert problem.location is not None
    assert "any_number(1)" in problem.location.text


def test_constants_and_defaults_too_large_for_a_command_line_are_refused() -> None:
    @pipeline
    def large(text: str = "x" * 200_000) -> str:
        return select([], note="y" * 200_000)

    assert problems(large) == ["P523", "P523"]


def test_a_pipeline_too_large_for_the_cluster_is_refused() -> None:
    def many() -> list[int]:
        return [any_number.with_options(cache_version=str(n))(n) for n in range(250)]

    assert problems(pipeline(many)) == ["P522"]


def test_the_harness_is_no_larger_than_is_known() -> None:
    """It bounds how many tasks hold it as text, or packed; beyond 30 kB gzip no longer sees that they are the same."""
    assert len(harness_text()) < 77_000
    assert len(packed_harness()) < 24_000
    assert len(harness_text(is_steered=True)) < 87_000
    assert len(packed_harness(is_steered=True)) < 26_000


def test_a_plan_names_every_task_once() -> None:
    spec = trained.spec
    assert [each.unit.id for each in plan_of(spec, KubeflowOptions()).tasks if each.unit] == [
        task.id for task in tasks(spec.body)
    ]


def test_a_computed_result_is_an_output_of_the_pipeline() -> None:
    @pipeline
    def computed(count: int = 3) -> tuple[bool, int]:
        return count > 2, any_number(count)

    (text,) = computed.compile("kubeflow").values()
    root = yaml.safe_load(text)["root"]
    assert root["outputDefinitions"] == {
        "parameters": {"output_0": {"parameterType": "STRING"}, "output_1": {"parameterType": "STRING"}}
    }
    assert root["dag"]["outputs"]["parameters"]["output_0"]["valueFromParameter"]["producerSubtask"] == "return"


def test_a_default_that_could_be_taken_for_wrapped_json_is_wrapped_itself() -> None:
    sent = given_value(parameter(TypeKind.STR), '{"$json":"1"}')
    assert entry.given(sent, {"kind": "str"}) == '{"$json":"1"}'
