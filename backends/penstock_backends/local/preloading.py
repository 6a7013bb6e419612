"""Which libraries worker processes load once, before they fork attempts: so not every step pays for the import.

Only libraries that are known to survive a fork between import and use: each of these is in common use under
`multiprocessing`'s fork. Those that start threads of their own on import, or hold a device, are loaded by each step.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from penstock.spec import PipelineSpec, StepSpec

SAFE = ("numpy", "pandas", "pyarrow", "scipy", "sklearn")
# Of Python's own, those that worker processes don't load for themselves, and that ask no variable of the environment.
STANDARD = (
    *("bisect", "bz2", "csv", "fractions", "glob", "gzip", "hashlib", "heapq", "logging", "lzma", "random", "secrets"),
    *("shutil", "statistics", "string", "subprocess", "tarfile", "tempfile", "threading", "zipfile", "zlib"),
)
# What reading and writing a library's values loads on first use.
COMPANIONS = {"pandas": ("pyarrow.parquet", "pandas.io.parquet")}


def modules(pipeline: PipelineSpec, *, standard_only: bool = False) -> list[str]:
    """The modules to load: those safe ones that a step of the pipeline imports, or only those of Python's own."""
    imported = (name for module in pipeline.modules for each in module.statements for name in _imported(each.source))
    wanted = STANDARD if standard_only else (*STANDARD, *SAFE)
    found = dict.fromkeys(name for name in imported if name.partition(".")[0] in wanted)
    return [*found, *(other for library, others in COMPANIONS.items() if library in found for other in others)]


def benefits(step: StepSpec) -> bool:
    """Whether a step's requirements, as found from its imports, hold a library that can be loaded beforehand."""
    names = {each.partition("==")[0].lower() for each in step.requirements}
    return bool(names & {*SAFE, "scikit-learn"})


def _imported(source: str) -> Iterator[str]:
    if "import" not in source:
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
