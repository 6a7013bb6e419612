from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.engines.kfp import kfp

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("kfp")]

# What a step without kfp does: reads the executor's input, writes the executor's output.
STEP = """# kfp.dsl.executor_main
import json, os, sys
told = json.loads(sys.argv[1])
given = told["inputs"].get("parameterValues", {})
number = int(given["number"])
print("number is", number)
if number > 9:
    sys.exit(f"{number} is too big")
answer = {"parameterValues": {"double": 2 * number}, "artifacts": {}}
for name, made in told["outputs"].get("artifacts", {}).items():
    artifact = made["artifacts"][0]
    os.makedirs(os.path.dirname(artifact["uri"]), exist_ok=True)
    with open(artifact["uri"], "w") as target:
        target.write("twice " + str(number))
    answer["artifacts"][name] = {"artifacts": [{"name": name, "uri": artifact["uri"], "metadata": {"rows": 1}}]}
os.makedirs(os.path.dirname(told["outputs"]["outputFile"]), exist_ok=True)
with open(told["outputs"]["outputFile"], "w") as target:
    json.dump(answer, target)
"""


def doubled(task: str, number: dict, *after: str) -> dict:
    return {
        "taskInfo": {"name": task},
        "componentRef": {"name": f"comp-{task}"},
        "inputs": {"parameters": {"number": number}},
        "cachingOptions": {},
        **({"dependentTasks": list(after)} if after else {}),
    }


def pipeline(**first: object) -> str:
    tasks = {
        "first": {**doubled("first", {"componentInputParameter": "number"}), **first},
        "second": doubled(
            "second", {"taskOutputParameter": {"producerTask": "first", "outputParameterKey": "double"}}, "first"
        ),
    }
    component = {
        "executorLabel": "exec-double",
        "inputDefinitions": {"parameters": {"number": {"parameterType": "NUMBER_INTEGER"}}},
        "outputDefinitions": {
            "parameters": {"double": {"parameterType": "NUMBER_INTEGER"}},
            "artifacts": {"note": {"artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}},
        },
    }
    from_second = {"producerSubtask": "second", "outputParameterKey": "double"}
    document = {
        "schemaVersion": "2.1.0",
        "sdkVersion": "hand-written",
        "pipelineInfo": {"name": "doubles"},
        "components": {f"comp-{task}": component for task in tasks},
        "deploymentSpec": {
            "executors": {
                "exec-double": {"container": {"image": "python:3.11", "command": ["python3", "-c", STEP, "{{$}}"]}}
            }
        },
        "root": {
            "inputDefinitions": {"parameters": {"number": {"parameterType": "NUMBER_INTEGER", "defaultValue": 3}}},
            "outputDefinitions": {"parameters": {"four_times": {"parameterType": "NUMBER_INTEGER"}}},
            "dag": {
                "tasks": tasks,
                "outputs": {"parameters": {"four_times": {"valueFromParameter": from_second}}},
            },
        },
    }
    return yaml.safe_dump(document, sort_keys=False)


def test_states_values_and_artifacts_are_seen(tmp_path):
    seen = kfp().run(pipeline(), {"number": 4}, folder=tmp_path)
    assert (seen.state, seen.crash) == ("success", "")
    assert seen.outputs == {"four_times": 16}
    assert seen.tasks == {"first": "success", "second": "success"}
    note = seen.executions[0].outputs["note"]
    assert note["artifact"] == "system.Dataset"
    assert note["metadata"] == {"rows": 1}
    assert Path(note["path"]).read_text() == "twice 4"
    assert "number is 8" in seen.log


def test_a_failing_task_is_seen_with_its_attempts(tmp_path):
    retried = {"retryPolicy": {"maxRetryCount": 2, "backoffDuration": "0s"}}
    seen = kfp().run(pipeline(**retried), {"number": 10}, folder=tmp_path)
    assert (seen.state, seen.crash) == ("failed", "")
    assert seen.tasks == {"first": "failure"}
    assert seen.executions[0].attempts == 3
    assert "10 is too big" in seen.log


def test_an_argument_that_the_pipeline_does_not_take_is_a_crash(tmp_path):
    assert "nombre" in kfp().run(pipeline(), {"nombre": 1}, folder=tmp_path).crash


def test_sound_yaml_has_no_problems(tmp_path):
    platform = {
        "platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-double": {"activeDeadlineSeconds": 60}}}}}
    }
    assert kfp().problems(f"{pipeline()}---\n{json.dumps(platform)}\n", folder=tmp_path) == []


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (pipeline(retryPolitics={}), "retryPolitics"),
        (pipeline().replace("image: python:3.11", "imag: python:3.11"), "imag"),
        (pipeline() + "---\nplatforms: {kubernetes: {deploymentSpec: {executors: {e: {deadline: 60}}}}}\n", "deadline"),
    ],
    ids=["task", "container", "platform"],
)
def test_an_unknown_field_is_a_problem_wherever_it_is(wrong, named, tmp_path):
    assert [problem for problem in kfp().problems(wrong, folder=tmp_path) if named in problem]


def test_a_run_that_takes_too_long_is_stopped(tmp_path):
    endless = pipeline().replace("print(", "__import__('time').sleep(60); print(", 1)
    seen = kfp().run(endless, folder=tmp_path, seconds=2)
    assert seen.crash.startswith("timed out")
    assert seen.seconds < 10
