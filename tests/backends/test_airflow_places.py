"""Where the steps of a DAG run: on the worker, in a virtual environment, by another interpreter, in a pod."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from penstock import CompileError, Resources, pipeline, step
from tests.engines.airflow import airflow

MAJORS = (3, 2)


class Trained(NamedTuple):
    depth: int
    file: Path


@step
def prepare(depths: list[int]) -> dict[str, int]:
    return {str(depth): depth for depth in depths}


@step(
    image="registry.example/trainer:1",
    resources=Resources(cpu=1.5, memory="4Gi", gpu=1, gpu_type="A100"),
    secrets={"TOKEN": "warehouse/token", "KEY": "warehouse"},
    env={"DAY": "{{ ds }}"},
    retry=1,
    timeout=60,
)
def train(depth: int, table: dict[str, int]) -> Trained:
    """A tree of that depth."""
    print("by", os.environ["TOKEN"], flush=True)
    if depth < 0:
        raise ValueError(f"{os.environ['TOKEN']} does not grow below ground")
    held = hashlib.sha256("".join(os.environ[name] for name in ("TOKEN", "KEY", "DAY")).encode()).hexdigest()
    Path("tree").write_text(f"{held} {table[str(depth)]}")
    return Trained(depth, Path("tree"))


@step
def read(trees: list[Trained]) -> list[str]:
    return [each.file.read_text() for each in trees]


@pipeline
def forest(depths: list[int] = [1, 2]) -> list[str]:  # never changed
    table = prepare(depths)
    if table["1"] > 5:
        train.with_options(name="never")(1, table)
    return read([train(depth, table) for depth in depths])


IN_PODS = {
    "steps": {
        "train": {"isolation": "kubernetes", "namespace": "growing", "node_selector": {"zone": "a"}},
        "read": {"queue": "near"},
    },
    "artifact_claim": "artifacts",
}

# Kubernetes as this test has it: it builds the pod, and runs its very command as a process with its environment.
CLUSTER = """

def execute_sync(self, context):
    from kubernetes.client import ApiClient

    pod = self.build_pod_request_obj(context, dry_run=True)
    (container,) = pod.spec.containers
    Path(ARTIFACT_ROOT, f"{self.task_id}.json").write_text(json.dumps(ApiClient().sanitize_for_serialization(pod)))
    refs = {each.name: each.value_from.secret_key_ref for each in container.env or ()}
    variables = {name: {"token": "t0k3n", "KEY": "k3y5"}[ref.key] for name, ref in refs.items()}
    variables["PATH"] = f"{sys.prefix}/bin:{os.environ['PATH']}"
    ran = subprocess.run(container.command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    log.info("the pod ended with %s and said: %s", ran.returncode, ran.stdout)


KubernetesPodOperator.execute_sync = execute_sync
"""


def emitted(a_pipeline: Any, major: int = 3, **options: Any) -> str:
    (text,) = a_pipeline.compile("airflow", airflow=major, **options).values()
    return str(text)


@pytest.mark.engine
@pytest.mark.xdist_group("airflow")
@pytest.mark.parametrize("major", MAJORS)
def test_a_step_in_a_pod_gets_its_inputs_and_gives_its_outputs_as_any_other(major: int, tmp_path: Path) -> None:
    text = emitted(forest, major, artifact_root=str(tmp_path), **IN_PODS)
    assert airflow(major).lint(text) == []
    ran = airflow(major).dag_test(text + CLUSTER)
    assert (ran.state, ran.import_errors, ran.warnings, ran.crash) == ("success", {}, (), ""), ran.log
    held = hashlib.sha256(b"t0k3nk3y5{{ ds }}").hexdigest()
    assert json.loads(ran.xcoms["read", -1, "return_value"]) == [f"{held} 1", f"{held} 2"]
    assert ran.tasks["never", -1] == "skipped"
    assert not (tmp_path / "never.json").exists()  # no pod was started to find that out
    assert "by ***" in ran.log
    assert "t0k3n" not in ran.log + repr(ran.xcoms) + (tmp_path / "train.json").read_text()
    assert not list(tmp_path.rglob("request.json"))
    check_pod(json.loads((tmp_path / "train.json").read_text()), str(tmp_path))


@pytest.mark.engine
@pytest.mark.xdist_group("airflow")
def test_a_pod_has_copies_of_what_is_in_a_store_in_the_folder_that_it_shares_with_the_workers(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    text = emitted(forest, artifact_root=f"file://{tmp_path}/store", scratch=str(scratch), **IN_PODS)
    ran = airflow(3).dag_test(text + CLUSTER.replace("ARTIFACT_ROOT", "SCRATCH"))
    assert (ran.state, ran.import_errors, ran.crash) == ("success", {}, ""), ran.log
    assert [each[-1] for each in json.loads(ran.xcoms["read", -1, "return_value"])] == ["1", "2"]
    check_pod(json.loads((scratch / "train.json").read_text()), str(scratch))
    assert [path.name for path in scratch.iterdir()] == ["train.json"]
    assert len([path for path in tmp_path.joinpath("store").rglob("*") if path.is_file()]) == 2


def check_pod(pod: dict[str, Any], root: str) -> None:
    """It asks Kubernetes for what the step asks for."""
    (container,) = pod["spec"]["containers"]
    assert pod["metadata"]["namespace"] == "growing"
    assert pod["spec"]["nodeSelector"] == {"nvidia.com/gpu.product": "A100", "zone": "a"}
    assert pod["spec"]["restartPolicy"] == "Never"
    (volume,) = pod["spec"]["volumes"]
    assert volume == {"name": "artifacts", "persistentVolumeClaim": {"claimName": "artifacts"}}
    assert container["image"] == "registry.example/trainer:1"
    assert container["resources"] == {
        "requests": {"cpu": "1.5", "memory": "4Gi"},
        "limits": {"nvidia.com/gpu": "1"},
    }
    assert container["volumeMounts"] == [{"name": "artifacts", "mountPath": root}]
    refs = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"]}
    assert refs == {"TOKEN": {"name": "warehouse", "key": "token"}, "KEY": {"name": "warehouse", "key": "KEY"}}


@pytest.mark.engine
@pytest.mark.xdist_group("airflow")
def test_a_step_that_fails_in_a_pod_fails_its_task_with_the_authors_error(tmp_path: Path) -> None:
    ran = airflow(3).dag_test(emitted(forest, artifact_root=str(tmp_path), **IN_PODS) + CLUSTER, {"depths": [1, -1]})
    assert (ran.state, ran.tasks["train", 0], ran.tasks["train", 1]) == ("failed", "success", "failed")
    assert ran.tries["train", 1] == 2
    assert "ValueError: *** does not grow below ground" in ran.log


def test_the_provider_is_imported_only_where_a_step_runs_in_a_pod() -> None:
    plain = emitted(forest, allow_degraded=["resources", "image"])
    assert "kubernetes" not in plain
    assert "left out by permission: resources, image" in plain
    ast.parse(plain)


@step
def interpreter() -> str:
    return sys.prefix


@pipeline
def elsewhere() -> tuple[str, str]:
    return interpreter(), interpreter.with_options(name="other")()


@pytest.mark.engine
@pytest.mark.xdist_group("airflow")
def test_a_step_can_run_by_another_interpreter(tmp_path: Path) -> None:
    text = emitted(elsewhere, steps={"other": {"isolation": "external_python", "python": sys.executable}})
    ran = airflow(3).dag_test(text, environ={"AIRFLOW_VAR_ARTIFACT_ROOT": str(tmp_path)})
    own, other = (json.loads(ran.xcoms[name, -1, "return_value"]) for name in ("interpreter", "other"))
    assert other == sys.prefix != own


@step
def squares(count: int) -> list[int]:
    import numpy as np

    return [int(each) for each in np.arange(count) ** 2]


@pipeline
def numbers(count: int = 3) -> list[int]:
    return squares(count)


def test_a_virtual_environment_holds_what_the_step_imports() -> None:
    text = emitted(numbers, steps={"*": {"isolation": "virtualenv"}})
    (found,) = [line.strip() for line in text.splitlines() if line.strip().startswith('"packages": [')]
    assert found.startswith('"packages": ["numpy==')
    assert "and hold:" not in text  # the workers' own Python needs nothing for it
    assert 'queue="near"' in emitted(forest, artifact_root="/mnt", **IN_PODS)


@pytest.mark.engine
@pytest.mark.xdist_group("airflow")
def test_a_pod_installs_what_its_image_lacks_and_fails_where_it_leaves_no_result(tmp_path: Path) -> None:
    text = emitted(numbers, artifact_root=str(tmp_path), artifact_claim="a", steps={"*": {"isolation": "kubernetes"}})
    ran = airflow(3).dag_test(text + CLUSTER.replace("run(container.command", 'run(["true"]'))
    pod = json.loads((tmp_path / "squares.json").read_text())
    command = pod["spec"]["containers"][0]["command"]
    assert command[:2] == ["sh", "-c"]
    assert command[2].startswith("python -m pip install --quiet --disable-pip-version-check numpy==")
    assert " && exec python -u " in command[2]
    assert ran.state == "failed"
    assert "workers and pods must share the artifact root" in ran.log


@pytest.mark.parametrize(
    ("options", "codes"),
    [
        ({}, ["P536"] * 4),
        ({"allow_degraded": ["resources"]}, ["P536"] * 2),
        ({"allow_degraded": ["resources", "image"]}, []),
        ({**IN_PODS}, ["P537"] * 2),
        ({**IN_PODS, "artifact_root": "s3://team/x"}, ["P537"] * 2),
        ({"allow_degraded": ["resources", "image"], "steps": {"read": {"isolation": "external_python"}}}, ["P537"]),
        ({"allow_degraded": ["resources", "image"], "steps": {"raed": {}}}, ["P506"]),
    ],
)
def test_what_does_not_go_together_with_where_a_step_runs_is_refused(options: Any, codes: list[str]) -> None:
    if not codes:
        assert emitted(forest, **options)
        return
    with pytest.raises(CompileError) as caught:
        forest.compile("airflow", **options)
    assert [each.code for each in caught.value.diagnostics] == codes
    assert all(each.location and each.fix for each in caught.value.diagnostics)
