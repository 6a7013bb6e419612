"""What exists already on Kubeflow: an importer where that means the same, and a step everywhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock import Dataset, Model, Retry, existing, pipeline, step
from penstock_backends.kubeflow import arguments_for
from tests.backends.kubeflow_cluster import Cluster
from tests.engines.kfp import KfpRun, kfp

ROWS, OTHER = "gs://bucket/rows.csv", "s3://bucket/models/v7"


@step
def read(found: Path) -> str:
    return " ".join(each.read_text() for each in ([found] if found.is_file() else sorted(found.iterdir())))


@step
def times(found: Path, number: int) -> str:
    return found.read_text() * number


@step
def joined(texts: list[str]) -> str:
    return ",".join(texts)


@step
def numbers() -> list[int]:
    return [1, 2]


@pipeline
def imports(where: str = OTHER) -> tuple[str, str, str, Path]:
    """Reads what others have made."""
    rows = existing(ROWS, Dataset[Path])
    model = existing(where, Model[Path], scheme="s3", name="model", after=rows)
    kept = existing(ROWS, Dataset[Path], cache=True, name="kept")
    return joined([times(rows, n) for n in numbers()]), read(model), read(kept), rows


def loaded(made: Any, **options: Any) -> dict[str, Any]:
    (text,) = made.compile("kubeflow", **options).values()
    return next(iter(yaml.safe_load_all(text)))  # type: ignore[no-any-return]


def importers(document: dict[str, Any]) -> dict[str, Any]:
    executors = document["deploymentSpec"]["executors"].items()
    return {label: each["importer"] for label, each in executors if "importer" in each}


def test_an_importer_says_where_what_lies_and_of_what_kind_it_is():
    document = loaded(imports)
    schema = {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}
    assert importers(document) == {
        "exec-existing": {
            "artifactUri": {"constant": ROWS},
            "typeSchema": schema,
            "reimport": True,
            "metadata": {"format": "path"},
        },
        "exec-model": {
            "artifactUri": {"runtimeParameter": "uri"},
            "typeSchema": {**schema, "schemaTitle": "system.Model"},
            "reimport": True,
            "metadata": {"format": "path"},
        },
        "exec-kept": {"artifactUri": {"constant": ROWS}, "typeSchema": schema, "metadata": {"format": "path"}},
    }
    tasks = document["root"]["dag"]["tasks"]
    assert tasks["existing"]["inputs"] == {"parameters": {"uri": {"runtimeValue": {"constant": ROWS}}}}
    assert tasks["model"]["inputs"] == {"parameters": {"uri": {"componentInputParameter": "where"}}}
    assert tasks["model"]["dependentTasks"] == ["existing"]


@step
def undo() -> None: ...


@pytest.mark.parametrize(
    ("uri", "options"),
    [
        ("/data/rows.csv", {}),
        ("https://host/rows.csv", {}),
        ("az://box/rows.csv", {}),
        ("s3://bucket/rows.csv?versionId=3", {}),
        ("s3://bucket", {}),
        ("s3://bucket/$(HOME)", {}),
        (None, {}),
        (ROWS, {"secrets": {"KEY": "lake/key"}}),
        (ROWS, {"retry": Retry(2)}),
        (ROWS, {"packages": ["gcsfs==2026.1.0"]}),
    ],
)
def test_what_the_launcher_cannot_read_and_what_takes_a_pod_is_a_step(uri, options):
    @pipeline
    def reading(where: str = ROWS) -> str:
        return read(existing(uri or where, **options))

    assert not importers(loaded(reading))


def test_in_a_branch_a_loop_and_before_tasks_at_the_end_it_is_a_step():
    @pipeline
    def branching(wanted: bool) -> None:
        if wanted:
            read(existing(ROWS))

    @pipeline
    def looping(wanted: list[int]) -> None:
        for number in wanted:
            times(existing(ROWS), number)

    @pipeline(on_exit=undo)
    def ending() -> None:
        read(existing(ROWS))

    assert not any(importers(loaded(each)) for each in (branching, looping, ending))


def test_options_for_its_own_pod_make_it_a_step_and_those_for_all_pods_do_not():
    labels = {"labels": {"team": "churn"}}
    assert set(importers(loaded(imports, steps={"*": labels}))) == {"exec-existing", "exec-model", "exec-kept"}
    assert set(importers(loaded(imports, steps={"model": labels}))) == {"exec-existing", "exec-kept"}


def test_an_importer_takes_no_harness_and_may_be_all_that_a_pipeline_has():
    @pipeline
    def alone() -> Path:
        return existing(ROWS)

    assert set(loaded(alone)["deploymentSpec"]["executors"]) == {"exec-existing"}
    document = loaded(imports, harness="shared")
    arrives = {name: set(each.get("inputDefinitions", {})) for name, each in document["components"].items()}
    assert arrives["comp-existing"] == {"parameters"}
    assert "artifacts" in arrives["comp-numbers"]


# --- on a cluster's own rules -----------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    """The folder behind the stores of a cluster, with what exists there."""
    (tmp_path / "gcs" / "bucket").mkdir(parents=True)
    (tmp_path / "gcs" / "bucket" / "rows.csv").write_text("r")
    (tmp_path / "s3" / "bucket" / "models" / "v7").mkdir(parents=True)
    (tmp_path / "s3" / "bucket" / "models" / "v7" / "weights").write_text("w")
    return tmp_path


def ended(cluster: Cluster, arguments: dict[str, Any] | None = None) -> dict[str, tuple[str, int]]:
    cluster.executions.clear()
    ran = cluster.run(arguments or {})
    return {each.task: (each.state, each.attempts) for each in ran.executions}


def told(ran: Cluster | KfpRun) -> dict[str, Any]:
    """The texts that were made of what existed, by task."""
    chosen = (each for each in ran.executions if each.task in ("joined", "read", "read-2"))
    return {each.task: json.loads(Path(each.outputs["output"]["uri"]).read_text()) for each in chosen}


def test_what_changed_is_read_again_in_the_next_run_and_with_cache_the_uri_stands_for_it(store):
    cluster = Cluster(loaded(imports), store)
    first = ended(cluster)
    assert {state for state, _ in first.values()} == {"success"}
    assert told(cluster) == {"joined": "r,rr", "read": "w", "read-2": "r"}
    (store / "gcs" / "bucket" / "rows.csv").write_text("s")
    again = ended(cluster)
    assert (again["times"], again["read-2"]) == (("success", 1), ("success", 0))
    assert told(cluster) == {"joined": "s,ss", "read": "w", "read-2": "r"}


def test_a_pipeline_with_a_timeout_reads_it_too(store):
    @pipeline(timeout=600)
    def timed() -> str:
        return read(existing(ROWS, Dataset[Path]))

    cluster = Cluster(loaded(timed), store)
    assert set(importers(cluster.loaded)) == {"exec-existing"}
    assert {state for state, _ in ended(cluster).values()} == {"success"}
    assert told(cluster) == {"read": "r"}


def test_where_nothing_lies_the_step_that_takes_it_says_so(store):
    cluster = Cluster(loaded(imports), store)
    arguments = arguments_for(imports.spec.parameters, {"where": "s3://bucket/models/v8"})
    seen = ended(cluster, arguments)
    assert (seen["model"], seen["read"]) == (("success", 1), ("failure", 1))
    assert "error: there is nothing at s3://bucket/models/v8" in cluster.log


def test_a_uri_that_begins_otherwise_than_was_said_fails_the_importer(store):
    cluster = Cluster(loaded(imports), store)
    seen = ended(cluster, arguments_for(imports.spec.parameters, {"where": "https://host/v7"}))
    assert seen["model"] == ("failure", 1)
    assert "read" not in seen


@pytest.mark.engine
@pytest.mark.xdist_group("kfp")
def test_kfp_itself_takes_the_importers_and_hands_on_what_they_give(store):
    (text,) = imports.compile("kubeflow").values()
    assert kfp().problems(text, folder=store) == []
    rows, model = store / "gcs" / "bucket" / "rows.csv", store / "s3" / "bucket" / "models" / "v7"
    ran = kfp().run(text.replace(ROWS, str(rows)), {"where": str(model)}, folder=store)  # where the launcher has them
    assert (ran.state, ran.crash) == ("success", "")
    given = {each.task: each.outputs for each in ran.executions}
    assert [given[task]["artifact"]["artifact"] for task in ("existing", "model")] == ["system.Dataset", "system.Model"]
    assert told(ran) == {"joined": "r,rr", "read": "w", "read-2": "r"}
    assert ran.outputs["output_3"]["uri"] == str(rows)


IN_KFP = f"""
from kfp import dsl

@dsl.pipeline(name="imports")
def imports(where: str = "{OTHER}"):
    given = {{"metadata": {{"format": "path"}}}}
    rows = dsl.importer(artifact_uri="{ROWS}", artifact_class=dsl.Dataset, reimport=True, **given)
    dsl.importer(artifact_uri=where, artifact_class=dsl.Model, reimport=True, **given).after(rows)
    dsl.importer(artifact_uri="{ROWS}", artifact_class=dsl.Dataset, reimport=False, **given)

PIPELINES = {{"imports": imports}}
"""


@pytest.mark.engine
@pytest.mark.xdist_group("kfp")
def test_kfps_own_compiler_writes_the_same_importers(tmp_path):
    (tmp_path / "in_kfp.py").write_text(IN_KFP)
    theirs = yaml.safe_load(kfp().compiled(tmp_path / "in_kfp.py", folder=tmp_path / "compiled")["imports"])
    ours = loaded(imports)
    for their_name, name in (("importer", "existing"), ("importer-2", "model"), ("importer-3", "kept")):
        assert importers(ours)[f"exec-{name}"] == importers(theirs)[f"exec-{their_name}"]
        one, other = ours["components"][f"comp-{name}"], theirs["components"][f"comp-{their_name}"]
        assert {**one, "executorLabel": ""} == {**other, "executorLabel": ""}
        assert ours["root"]["dag"]["tasks"][name]["inputs"] == theirs["root"]["dag"]["tasks"][their_name]["inputs"]
