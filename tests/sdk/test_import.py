"""What importing Penstock costs and shows."""

from __future__ import annotations

import subprocess
import sys

import penstock

HEAVY = ["jinja2", "yaml", "typer", "rich", "fsspec", "numpy", "pandas", "kfp", "airflow", "asyncio", "email.message"]


def test_importing_penstock_loads_nothing_heavy():
    # pydantic looks for plugins through importlib.metadata, which is where the e-mail parser comes from.
    code = """
import sys, pydantic
pydantic.create_model("M")
before = set(sys.modules)
import penstock
print(*set(sys.modules) - before)
"""
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "penstock.harness" in loaded
    assert not loaded & set(HEAVY)


def test_the_public_names_are_these():
    assert sorted(penstock.__all__) == [
        "AfterPipeline", "Classification", "CompileError", "Concurrency", "ConfigurationError", "DataChange", "Dataset",
        "DefinitionError", "DeployError", "Diagnostic", "Gate", "Markdown", "Metrics", "Model", "NodeRun",
        "ParameterError", "PenstockError", "Pipeline", "PipelineSpec", "PullRequest", "Push", "Report", "Resources",
        "Retry", "Run", "RunError", "RunStatus", "Schedule", "Serializer", "SpecError", "State", "Step",
        "checkpoint_dir", "current_attempt", "existing", "log_metadata", "log_metric", "pipeline", "step",
    ]  # fmt: skip
    assert all(
        getattr(penstock, name).__doc__ for name in penstock.__all__ if isinstance(getattr(penstock, name), type)
    )
