"""Which jobs look for what they gave before."""

from __future__ import annotations

from typing import Any

from penstock_backends.caching import code_key, may_be_reused, shared_loops
from penstock_backends.github.options import GithubOptions
from penstock_backends.lowering import Program, Unit


def takes_from_cache(unit: Unit, options: GithubOptions) -> bool:
    """Whether a unit's job takes over an earlier result where there is one."""
    return options.cache and may_be_reused(unit)


def cached_part(program: Program, unit: Unit, options: GithubOptions) -> dict[str, Any]:
    """The part of a unit's entry that its key is made of; empty for most."""
    if not takes_from_cache(unit, options):
        return {}
    code = code_key(program.pipeline, unit, options.python_version)
    return {"code": code, "shared": shared_loops(program, unit)}
