"""What of the key of a step's result is known when a file is emitted: all but what the step is given (see `reuse`)."""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
from typing import Any

from penstock.harness import belongs, trimmed
from penstock.spec import GIVE, ModuleSource, PipelineSpec, Task
from penstock_backends.lowering import Program, Unit, kind_of, requirements_of

KEY_VERSION = 2


def may_be_reused(unit: Unit) -> bool:
    """Whether an earlier result may stand in: not for what is undone when a run fails, nor for what ends a run."""
    is_step = isinstance(unit.node, Task) and unit.role == "main" and unit.step.id != GIVE
    return is_step and unit.task.settings.cache and unit.task.rollback is None


def code_key(pipeline: PipelineSpec, unit: Unit, where: str) -> str:
    """A digest of a step's code as far as it reaches, without comments and layout, and of how and ``where`` it runs."""
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
        settings.image or where,
        settings.cache_version,
    ]
    return hashlib.sha256(json.dumps(fixed).encode()).hexdigest()[:32]


def shared_loops(program: Program, unit: Unit) -> dict[str, int]:
    """How many of the loops around a unit are around what it takes or waits for, too; without those that share none."""
    taken = program.waits_for(unit)
    around = (loop for node in taken for loop in program.by_id[node].loops)
    counts = {node: _shared(unit.loops, program.by_id[node].loops) for node in (*taken, *around)}
    return {node: count for node, count in counts.items() if count}


def _shared(loops: tuple[str, ...], others: tuple[str, ...]) -> int:
    pairs = zip(loops, others, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _code(module: ModuleSource, names: set[str]) -> list[Any]:
    parsed = (each for statement in module.statements for each in ast.parse(statement.source).body)
    return [_plain(trimmed(each, names)) for each in parsed if belongs(each, names)]


def _plain(part: Any) -> Any:
    """Code as plain data without what is empty: versions of Python differ in what they have fields for."""
    if isinstance(part, ast.Constant):
        return ["Constant", repr(part.value)]
    if isinstance(part, ast.AST):
        fields = {name: _plain(value) for name, value in ast.iter_fields(part) if value is not None and value != []}
        return [type(part).__name__, fields]
    return [_plain(each) for each in part] if isinstance(part, list) else part
