"""Write a pipeline once, as typed Python functions; run it here, and on Kubeflow, Airflow and GitHub Actions.

from penstock import pipeline, step

@step
def load(url: str) -> list[int]: ...

@step
def total(values: list[int]) -> int: ...

@pipeline
def sums(url: str = "data.csv") -> int:
    return total(load(url))

sums.run(url="data.csv").outputs     # here, in parallel, cached
sums.compile("airflow")              # {"sums.py": "..."}: a DAG file that needs no Penstock
"""

from penstock.authoring import Pipeline, Step, pipeline, step
from penstock.diagnostics import (
    CompileError,
    ConfigurationError,
    DefinitionError,
    DeployError,
    Diagnostic,
    ParameterError,
    PenstockError,
    RunError,
    SpecError,
)
from penstock.existing import existing
from penstock.harness import (
    Classification,
    Dataset,
    Markdown,
    Metrics,
    Model,
    Report,
    RunStatus,
    Serializer,
    checkpoint_dir,
    current_attempt,
    log_metadata,
    log_metric,
)
from penstock.results import NodeRun, Run, State
from penstock.settings import Gate, Resources, Retry
from penstock.spec import PipelineSpec
from penstock.starting import AfterPipeline, Concurrency, DataChange, PullRequest, Push, Schedule

__version__ = "0.1.0"

__all__ = [
    "AfterPipeline",
    "Classification",
    "CompileError",
    "Concurrency",
    "ConfigurationError",
    "DataChange",
    "Dataset",
    "DefinitionError",
    "DeployError",
    "Diagnostic",
    "Gate",
    "Markdown",
    "Metrics",
    "Model",
    "NodeRun",
    "ParameterError",
    "PenstockError",
    "Pipeline",
    "PipelineSpec",
    "PullRequest",
    "Push",
    "Report",
    "Resources",
    "Retry",
    "Run",
    "RunError",
    "RunStatus",
    "Schedule",
    "Serializer",
    "SpecError",
    "State",
    "Step",
    "checkpoint_dir",
    "current_attempt",
    "existing",
    "log_metadata",
    "log_metric",
    "pipeline",
    "step",
]
