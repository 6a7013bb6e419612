"""Inside kfp's own environment: runs pipeline YAML by kfp.local, parses it strictly, or compiles it. Imports kfp once.

kfp.local has two ways to run a DAG: the plain one stops at the first task that fails, the one for control flow goes on
with what does not wait for it, as a cluster does. Here it always takes the second.

A job adds ``{"text": YAML, "arguments": {..} or None}`` to what `forking` asks for; without arguments the text is only
parsed. Or it adds ``{"module": FILE}``, whose ``PIPELINES`` kfp's own compiler is to compile, or ``{"texts": {..}}``,
to be read as the server's message types and given back as JSON. `kfp_api` is asked by ``{"exchanges": [..]}``, and by
``{"host": URL, "name": PIPELINE}``.
"""

import functools
import importlib.util
import re
import subprocess
import sys
import threading
import types
from pathlib import Path

import forking  # takes standard output away before kfp prints to it

import kfp_api
import yaml
from google.protobuf import json_format
from kfp import compiler, components, dsl, local
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.local import subprocess_task_handler, task_dispatcher
from kfp.local.orchestrator import dag_orchestrator, enhanced_dag_orchestrator, task_executor
from kfp.pipeline_spec import pipeline_spec_pb2

# The executions so far, and the one that this thread is in: loops run theirs side by side.
EXECUTIONS = []
CURRENT = threading.local()


def observe(job):
    if "module" in job:
        return {"texts": compiled(job["module"])}
    if "exchanges" in job:
        return {"problems": kfp_api.problems_of(job["exchanges"])}
    if "host" in job:
        return {"seen": kfp_api.seen_by_client(job["host"], job["name"])}
    if "texts" in job:
        return {"documents": {name: as_messages(text) for name, text in job["texts"].items()}}
    if job["arguments"] is None:
        return {"problems": problems_of(job["text"])}
    root = Path(job["result"]).parent
    runner = local.SubprocessRunner(use_venv=False)
    local.init(runner, pipeline_root=str(root / "artifacts"), workspace_root=str(root / "workspace"))
    read_any_log()
    dag_orchestrator.run_dag = enhanced_dag_orchestrator.run_enhanced_dag
    watch()
    seen = {"executions": EXECUTIONS}
    try:
        task = components.load_component_from_text(job["text"])(**job["arguments"])
        seen.update(state="success", outputs=plain(dict(task.outputs)))
    except RuntimeError as error:
        # So does kfp.local say that a task failed; all else is a pipeline that it cannot run.
        if "finished with status" not in str(error):
            raise
        seen.update(state="failed", outputs={}, error=str(error))
    return seen


def read_any_log():
    """Let a task print what is not UTF-8, as it may on a cluster; kfp.local would give the run up."""
    lenient = functools.partial(subprocess.Popen, errors="replace")
    subprocess_task_handler.subprocess = types.SimpleNamespace(**{**vars(subprocess), "Popen": lenient})


def watch():
    """Note each task that is executed, under its own name, and each attempt at it."""
    execute = task_executor.execute_single_task
    attempt = task_dispatcher.run_single_task_implementation

    @functools.wraps(execute)
    def watched_execute(*arguments, **named):
        place = [int(number) for number in re.findall(r"-iteration-(\d+)", named["pipeline_resource_name"])]
        CURRENT.execution = {"task": named["task_name"], "place": place, "state": "error", "attempts": 0, "outputs": {}}
        EXECUTIONS.append(CURRENT.execution)
        outputs, status = execute(*arguments, **named)
        CURRENT.execution.update(state=status.name.lower(), outputs=plain(outputs))
        return outputs, status

    @functools.wraps(attempt)
    def watched_attempt(*arguments, **named):
        CURRENT.execution["attempts"] += 1
        return attempt(*arguments, **named)

    task_executor.execute_single_task = watched_execute
    task_dispatcher.run_single_task_implementation = watched_attempt


def plain(value):
    """JSON of a value; an artifact becomes its type, name, path, uri and metadata."""
    if isinstance(value, dsl.Artifact):
        named = {name: getattr(value, name) for name in ("name", "uri", "path", "metadata")}
        return {"artifact": value.schema_title, **named}
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def compiled(file):
    """What kfp makes of each of a file's pipelines."""
    specification = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    for name, pipeline in module.PIPELINES.items():
        compiler.Compiler().compile(pipeline, f"{name}.yaml")
    return {name: Path(f"{name}.yaml").read_text() for name in module.PIPELINES}


def as_messages(text):
    """The pipeline as the server reads it, in JSON, and the Kubernetes settings of its executors."""
    first, *rest = yaml.safe_load_all(text)
    platforms = rest[0]["platforms"] if rest else {"kubernetes": {"deploymentSpec": {"executors": {}}}}
    executors = platforms["kubernetes"]["deploymentSpec"]["executors"]
    config = kubernetes_executor_config_pb2.KubernetesExecutorConfig
    return [
        json_format.MessageToDict(json_format.ParseDict(first, pipeline_spec_pb2.PipelineSpec())),
        {label: json_format.MessageToDict(json_format.ParseDict(each, config())) for label, each in executors.items()},
    ]


def problems_of(text):
    """Where the documents are not what the server's own message types take."""
    documents = list(yaml.safe_load_all(text))
    problems = []
    if len(documents) not in (1, 2):
        return [f"there are {len(documents)} documents; a pipeline has one, or two with a platform's settings"]
    specification = parsed(documents[0], pipeline_spec_pb2.PipelineSpec(), "pipeline", problems)
    deployment = json_format.MessageToDict(specification.deployment_spec)
    parsed(deployment, pipeline_spec_pb2.PipelineDeploymentConfig(), "deploymentSpec", problems)
    if len(documents) == 2:
        platforms = parsed(documents[1], pipeline_spec_pb2.PlatformSpec(), "platforms", problems)
        for name, platform in platforms.platforms.items():
            for label, settings in platform.deployment_spec.executors.items():
                config = kubernetes_executor_config_pb2.KubernetesExecutorConfig()
                parsed(json_format.MessageToDict(settings), config, f"{name} executor {label}", problems)
    try:
        components.load_component_from_text(text)
    except Exception as error:
        problems.append(f"kfp does not load it: {type(error).__name__}: {error}")
    return problems


def parsed(document, message, where, problems):
    try:
        json_format.ParseDict(document, message)
    except json_format.ParseError as error:
        problems.append(f"{where}: {error}")
    return message


forking.serve(observe, local.__name__)
