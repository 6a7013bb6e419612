"""What of a job's cache key is known when the workflow is emitted: all but what the step is given."""

from __future__ import annotations

import ast
import hashlib
import json

from penstock.harness import belongs, trimmed
from penstock.spec import GIVE, ModuleSource, PipelineSpec, Task
from penstock_backends.github.options import GithubOptions
from penstock_backends.lowering import Unit, kind_of, requirements_of

KEY_VERSION = 1


def takes_from_cache(unit: Unit, options: GithubOptions) -> bool:
    """Whether an earlier result may stand in: not for what is undone when a run fails, nor for what ends a run."""
    is_step = isinstance(unit.node, Task) and unit.role == "main" and unit.step.id != GIVE
    return options.cache and is_step and unit.task.settings.cache and unit.task.rollback is None


def code_key(pipeline: PipelineSpec, unit: Unit, options: GithubOptions) -> str:
    """A digest of a step's code as far as it reaches, without comments and layout, and of where and how it runs."""
    step, settings = unit.step, unit.task.settings
    modules = {module.name: module for module in pipeline.modules}
    fixed = [
        KEY_VERSION,
        step.id,
        [[reach.module, _code(modules[reach.module], set(reach.names))] for reach in step.reach],
        [kind_of(each.type) for each in step.inputs],
        step.returns.model_dump(mode="json"),
        [[output.name, output.type.serializer] for output in step.outputs],
        requirements_of(step, settings),
        settings.env,
        settings.secrets,
        settings.image or options.python_version,
        settings.cache_version,
    ]
    return hashlib.sha256(json.dumps(fixed).encode()).hexdigest()[:32]


def _code(module: ModuleSource, names: set[str]) -> list[str]:
    parsed = (each for statement in module.statements for each in ast.parse(statement.source).body)
    return [ast.dump(trimmed(each, names)) for each in parsed if belongs(each, names)]
