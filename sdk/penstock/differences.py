"""What differs of the code that the steps of two specs run, by the names that its author gave it.

Code is compared as a cache key does it: statement by statement, without comments, layout or place, and only as far as
a step reaches it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from penstock.harness import bound_names, root_names, trimmed
from penstock.spec import PipelineSpec, StepSpec

CHANGED, ADDED, REMOVED = "changed", "added", "removed"


@dataclass(frozen=True)
class CodeChange:
    """A function, class, constant or import that differs, as ``module.name``, and the steps that reach it.

    ``how`` is ``changed``, ``added`` or ``removed``; the latter two where a step did not reach it before, or does not
    any more. ``is_step`` says whether it is a step's own function.
    """

    name: str
    how: str
    steps: tuple[str, ...]
    is_step: bool


class Code:
    """The code of one spec, found by step and name."""

    def __init__(self, pipeline: PipelineSpec) -> None:
        self.steps: Mapping[str, StepSpec] = {step.id: step for step in pipeline.steps}
        self._modules = {module.name: module for module in pipeline.modules}
        self._known: dict[str, dict[str, str]] = {}

    def of(self, step: str) -> dict[str, str]:
        """What a step reaches: ``module.name`` to the statements that make it what it is."""
        return {
            f"{reach.module}.{name}": self._statements(reach.module).get(name, "")
            for reach in self.steps[step].reach
            for name in reach.names
        }

    def source(self, name: str) -> str:
        """The statements that make ``module.name`` what it is, as its author wrote them."""
        module, _, own = name.rpartition(".")
        written = self._modules[module].statements if module in self._modules else ()
        return "\n".join(each.source for each in written if own in _names(ast.parse(each.source).body))

    def _statements(self, module: str) -> dict[str, str]:
        if module not in self._known:
            found: dict[str, str] = {}
            for statement in self._modules[module].statements:
                for each in ast.parse(statement.source).body:
                    for name in _names([each]):
                        found[name] = found.get(name, "") + ast.dump(trimmed(each, {name}))
            self._known[module] = found
        return self._known[module]


def _names(statements: Iterable[ast.stmt]) -> set[str]:
    """The names that statements belong to."""
    return {name for each in statements for name in bound_names(each) | root_names(each)}


def own_name(step: str) -> str:
    """The name under which a step's own function is found, from the step's id."""
    module, _, qualname = step.partition(":")
    return f"{module}.{qualname.partition('.')[0]}"


def changes_of_step(before: Code, after: Code, step: str) -> dict[str, str]:
    """What differs of a step that both have: each name with how."""
    old, new = before.of(step), after.of(step)
    found = {name: REMOVED if name not in new else CHANGED for name in old if old[name] != new.get(name)}
    return {**found, **{name: ADDED for name in new if name not in old}}


def code_changes(before: PipelineSpec, after: PipelineSpec) -> list[CodeChange]:
    """What differs of the steps that both pipelines have, each thing once, and the steps that only one has."""
    old, new = Code(before), Code(after)
    found: dict[tuple[str, str], list[str]] = {}
    for step, name, how in _changes(old, new):
        found.setdefault((name, how), []).append(step)
    own = {own_name(step): step for step in (*old.steps, *new.steps)}
    return [CodeChange(name, how, tuple(steps), name in own) for (name, how), steps in found.items()]


def _changes(old: Code, new: Code) -> Iterator[tuple[str, str, str]]:
    for step in dict.fromkeys((*old.steps, *new.steps)):
        if step not in new.steps:
            yield step, own_name(step), REMOVED
        elif step not in old.steps:
            yield step, own_name(step), ADDED
        else:
            yield from ((step, name, how) for name, how in changes_of_step(old, new, step).items())
