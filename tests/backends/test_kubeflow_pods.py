"""What a step asks of its pod on Kubeflow, read by kfp's own message types, and secrets as they reach the step."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from penstock import CompileError, Resources, pipeline, step
from penstock_backends.kubeflow.options import KubeflowStepOptions
from tests.engines.kfp import kfp

USE = {
    "node_selector": {"cloud.example/pool": "gpu"},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoExecute", "seconds": 60}],
    "volumes": {"/data": "training-data"},
    "secret_volumes": {"/etc/warehouse": "warehouse"},
    "config_volumes": {"/etc/settings": "settings"},
    "scratch": {"/scratch": "10Gi"},
    "shared_memory": "2Gi",
    "config_env": {"LEVEL": "settings/log.level", "MODE": "settings"},
    "image_pull_policy": "Always",
    "image_pull_secrets": ["registry"],
    "labels": {"team": "risk"},
    "annotations": {"sidecar.istio.io/inject": "false"},
    "run_as_user": 1000,
    "run_as_group": 100,
}


@step
def count() -> int:
    return 3


@step(
    secrets={"DB_PASSWORD": "warehouse/password", "API_TOKEN": "warehouse"},
    resources=Resources(gpu=1, gpu_type="NVIDIA-A100"),
    timeout=60,
)
def use(rows: int) -> str:
    print("the password is", os.environ["DB_PASSWORD"])
    return hashlib.sha256(os.environ["DB_PASSWORD"].encode()).hexdigest()


@step
def tell(rows: int) -> int:
    return rows


@pipeline(on_exit=tell)
def secretive(rows: int = 3) -> str:
    if count() > 2:
        return use(rows)
    return ""


def platform(text: str) -> dict[str, Any]:
    found: dict[str, Any] = list(yaml.safe_load_all(text))[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return found


@pytest.mark.engine
def test_all_that_can_be_asked_of_a_pod_is_in_kubernetes_own_words(tmp_path: Path) -> None:
    (text,) = secretive.compile("kubeflow", steps={"use": USE}).values()
    assert kfp().problems(text, folder=tmp_path) == []
    assert platform(text) == {
        "exec-use": {
            "activeDeadlineSeconds": 60 + 3600,
            "secretAsEnv": [
                {
                    "secretName": "warehouse",
                    "keyToEnv": [
                        {"secretKey": "API_TOKEN", "envVar": "API_TOKEN"},
                        {"secretKey": "password", "envVar": "DB_PASSWORD"},
                    ],
                }
            ],
            "configMapAsEnv": [
                {
                    "configMapName": "settings",
                    "keyToEnv": [
                        {"configMapKey": "log.level", "envVar": "LEVEL"},
                        {"configMapKey": "MODE", "envVar": "MODE"},
                    ],
                }
            ],
            "nodeSelector": {"labels": {"nvidia.com/gpu.product": "NVIDIA-A100", "cloud.example/pool": "gpu"}},
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}],
            "pvcMount": [{"constant": "training-data", "mountPath": "/data"}],
            "secretAsVolume": [{"secretName": "warehouse", "mountPath": "/etc/warehouse"}],
            "configMapAsVolume": [{"configMapName": "settings", "mountPath": "/etc/settings"}],
            "emptyDirMounts": [
                {"volumeName": "penstock-scratch-1", "mountPath": "/scratch", "sizeLimit": "10Gi"},
                {
                    "volumeName": "penstock-shared-memory",
                    "mountPath": "/dev/shm",
                    "medium": "Memory",
                    "sizeLimit": "2Gi",
                },
            ],
            "imagePullPolicy": "Always",
            "imagePullSecret": [{"secretName": "registry"}],
            "podMetadata": {"labels": {"team": "risk"}, "annotations": {"sidecar.istio.io/inject": "false"}},
            "securityContext": {"runAsUser": 1000, "runAsGroup": 100},
        }
    }


def test_what_holds_for_every_step_holds_for_the_tasks_between_them_too() -> None:
    (text,) = secretive.compile("kubeflow", steps={"*": {"image_pull_secrets": ["registry"]}}).values()
    executors = next(yaml.safe_load_all(text))["deploymentSpec"]["executors"]
    assert {"exec-if", "exec-run-status"} <= set(executors)
    assert {name for name, each in platform(text).items() if "imagePullSecret" in each} == set(executors)


def test_a_step_is_not_taken_from_the_cache_when_it_refers_to_other_secrets_and_volumes() -> None:
    """The server's key is made of the container and the inputs, not of what Kubernetes gives to the pod."""

    @pipeline
    def one() -> str:
        return use(1)

    @pipeline
    def other() -> str:
        return use.with_options(secrets={"API_TOKEN": "warehouse/other"})(1)

    def container_of(authored: Any, volume: str = "a") -> Any:
        (text,) = authored.compile("kubeflow", steps={"use": {"volumes": {"/data": volume}}}).values()
        return next(yaml.safe_load_all(text))["deploymentSpec"]["executors"]["exec-use"]["container"]

    assert container_of(one) == container_of(one)
    assert container_of(one) != container_of(other)
    assert container_of(one) != container_of(one, "b")


@pytest.mark.slow
@pytest.mark.engine
def test_a_secret_reaches_the_step_and_nobody_else(tmp_path: Path) -> None:
    (text,) = secretive.compile("kubeflow").values()
    given = {"DB_PASSWORD": "correct horse battery", "API_TOKEN": "staple"}
    ran = kfp().run(text, {}, folder=tmp_path, environ=given)
    assert ran.state == "success", ran.log
    used = next(each for each in ran.executions if each.task == "use")
    digest = hashlib.sha256(given["DB_PASSWORD"].encode()).hexdigest()
    assert digest in Path(used.outputs["output"]["uri"]).read_text()
    assert "the password is ***" in ran.log
    assert "correct horse" not in text + ran.log + repr(ran.executions)


@pytest.mark.slow
@pytest.mark.engine
def test_a_secret_that_is_not_there_is_told_by_its_variable(tmp_path: Path) -> None:
    (text,) = secretive.compile("kubeflow").values()
    ran = kfp().run(text, {}, folder=tmp_path, environ={"API_TOKEN": "staple"})
    assert ran.state == "failed"
    assert "no value was given for the secret in DB_PASSWORD" in ran.log


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"volumes": {"/a": "data", "/b": "data"}}, "would have `data` twice"),
        ({"volumes": {"/a": "data"}, "scratch": {"/a/": "1Gi"}}, "would have `/a` twice"),
        ({"scratch": {"/dev/shm": "1Gi"}, "shared_memory": "1Gi"}, "would have `/dev/shm` twice"),
        ({"config_env": {"DB_PASSWORD": "settings"}}, "`DB_PASSWORD` of `use` is in `config_env`"),
    ],
)
def test_a_pod_that_kubernetes_would_not_take_is_refused_at_the_step(options: dict[str, Any], said: str) -> None:
    with pytest.raises(CompileError) as caught:
        secretive.compile("kubeflow", steps={"use": options})
    (problem,) = caught.value.diagnostics
    assert (problem.code, said in problem.message) == ("P525", True)
    assert problem.location
    assert "use(rows)" in problem.location.text


@pytest.mark.parametrize(
    "options",
    [
        {"volumes": {"data": "claim"}},
        {"volumes": {"/data": "Claim"}},
        {"node_selector": {"a/b/c": "x"}},
        {"labels": {"team": "not a label"}},
        {"scratch": {"/scratch": "10 GB"}},
        {"shared_memory": "lots"},
        {"config_env": {"1": "settings"}},
        {"image_pull_policy": "Sometimes"},
        {"tolerations": [{"operator": "Equal", "value": "x"}]},
        {"tolerations": [{"key": "a", "operator": "Exists", "value": "x"}]},
        {"tolerations": [{"key": "a", "effect": "NoSchedule", "seconds": 3}]},
        {"nodes": {}},
    ],
)
def test_what_kubernetes_would_reject_cannot_be_configured(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        KubeflowStepOptions(**options)


def test_options_for_a_step_that_is_not_there_are_refused() -> None:
    with pytest.raises(CompileError, match="did you mean `use`"):
        secretive.compile("kubeflow", steps={"uze": {"run_as_user": 1}})


def test_what_is_asked_of_pods_counts_towards_what_a_cluster_keeps() -> None:
    with pytest.raises(CompileError, match="P522"):
        secretive.compile("kubeflow", steps={"*": {"annotations": {"note": "x" * 200_000}}})
