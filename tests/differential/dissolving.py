"""Taking tasks out of a shape, so that what is left means the same without them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.differential.shapes import Facts, Shape


def around(path: str) -> list[str]:
    """The DAGs that a task stands in, outermost first."""
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def dissolve(shape: Shape, is_gone: Callable[[str, Facts], bool], joined: str = "") -> None:
    """Takes tasks out: what is in such a DAG moves up, what waits for one waits for what it held or awaited.

    With ``joined`` the name of a DAG stays before those of its tasks.
    """
    gone = frozenset(path for path, facts in shape.tasks.items() if is_gone(path, facts))
    if gone:
        _Dissolving(shape, gone, joined).carry_out()


def close_waits(shape: Shape) -> None:
    """Has each task wait for all that runs before it, directly or not: only that can be told apart in a run."""
    for facts in shape.tasks.values():
        unseen = set(facts["waits"])
        while unseen:
            more = shape.tasks[unseen.pop()]["waits"] - facts["waits"]
            facts["waits"] = facts["waits"] | more
            unseen |= more


@dataclass(frozen=True)
class _Dissolving:
    shape: Shape
    gone: frozenset[str]
    joined: str

    def carry_out(self) -> None:
        names = {path: self._renamed(path) for path in self.shape.tasks if path not in self.gone}
        assert len(set(names.values())) == len(names), "two tasks would have one name"
        waits = {path: self._waits(path) for path in names}
        for path in names:
            facts = self.shape.tasks[path]
            facts["waits"] = {names[each] for each in waits[path]}
            for told in ("takes", "arriving"):
                facts[told] = {key: _moved(source, names) for key, source in facts[told].items()}
            for told in ("when", "loops"):
                facts[told] = [_moved(each, names) for each in facts[told]]
        for facts in self.shape.outputs.values():
            facts["from"] = _moved(facts["from"], names)
        self.shape.tasks = {new: self.shape.tasks[path] for path, new in names.items()}

    def _renamed(self, path: str) -> str:
        *dags, name = [*around(path), path]
        kept = [dag for dag in dags if self.joined or dag not in self.gone]
        marks = [self.joined if dag in self.gone else "/" for dag in kept]
        return "".join(_own(dag) + mark for dag, mark in zip(kept, marks, strict=True)) + _own(name)

    def _waits(self, path: str) -> set[str]:
        outer = (dag for dag in around(path) if dag in self.gone)
        waits = {each for one in (path, *outer) for each in self.shape.tasks[one]["waits"]}
        return {each for one in waits for each in self._awaited(one)}

    def _awaited(self, path: str) -> set[str]:
        """What has ended, of what stays, when a task has."""
        if path not in self.gone:
            return {path}
        inside = {each for each in self.shape.tasks if each.startswith(f"{path}/")}
        return {each for one in (inside or self.shape.tasks[path]["waits"]) for each in self._awaited(one)}


def _own(path: str) -> str:
    return path.rpartition("/")[2]


def _moved(told: Any, names: Mapping[str, str]) -> Any:
    """A source, or a tuple with one in it, in which tasks are called by their new names."""
    if isinstance(told, tuple):
        return tuple(_moved(each, names) for each in told)
    if not isinstance(told, str):
        return told
    return re.sub(r"(?<![\w/-])[\w/-]+(?=\.\w|\[|parseJson|$)", lambda found: names.get(found[0], found[0]), told)
