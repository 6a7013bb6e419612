"""Which outputs a step's own function records metadata of, as far as that is known when the pipeline is defined."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CodeType, ModuleType

from penstock import harness
from penstock.diagnostics import DefinitionError, Diagnostic, did_you_mean
from penstock.functions import definition_of, is_named_function


def problems_with_metadata(function: Callable[..., object], outputs: Sequence[str]) -> Iterator[Diagnostic]:
    """What is wrong with a step's calls of `log_metadata`, of which each fails where it comes to it."""
    plain = inspect.unwrap(function)
    if not is_named_function(plain) or not _mentions(plain.__code__, plain.__globals__):
        return
    try:
        module, path = definition_of(plain)
    except DefinitionError:  # which is told where the step's program is captured
        return
    for call in ast.walk(path[-1]):
        if isinstance(call, ast.Call) and _is_ours(call.func, plain.__globals__):
            found = _problem(plain.__name__, call, outputs)
            if found:
                yield Diagnostic("P219", found[0], module.location(call), found[1])


def _mentions(code: CodeType, namespace: Mapping[str, object]) -> bool:
    """Whether code, or a function in it, names it; most do not, and need not be parsed."""
    return any(name == "log_metadata" or namespace.get(name) is harness.log_metadata for name in code.co_names) or any(
        _mentions(inner, namespace) for inner in code.co_consts if isinstance(inner, CodeType)
    )


def _is_ours(called: ast.expr, namespace: Mapping[str, object]) -> bool:
    """Whether what is called is `log_metadata`, as a global name or an attribute of a module that is one."""
    if isinstance(called, ast.Name):
        return namespace.get(called.id) is harness.log_metadata
    if not (isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name)):
        return False
    module = namespace.get(called.value.id)
    return isinstance(module, ModuleType) and vars(module).get(called.attr) is harness.log_metadata


def _problem(step: str, call: ast.Call, outputs: Sequence[str]) -> tuple[str, str] | None:
    """What is wrong with a call, and what to write instead."""
    given = next((each.value for each in call.keywords if each.arg == "output"), None)
    may_be_given = given is None and any(each.arg is None for each in call.keywords)
    if may_be_given or not isinstance(given, ast.Constant | None):
        return None
    name = given.value if given is not None and isinstance(given.value, str) else None
    if not outputs:
        return f"`{step}` records metadata, but has no outputs", "return what it is about, or leave it out"
    if name is None and len(outputs) > 1:
        said = ", ".join(f'`output="{each}"`' for each in outputs)
        return f"`{step}` has several outputs, and does not say which this is about", f"write one of: {said}"
    if name is not None and name not in outputs:
        fix = did_you_mean(name, outputs, otherwise="it returns: {}")
        return f"`{step}` records metadata of `{name}`, which it does not return", fix
    return None
