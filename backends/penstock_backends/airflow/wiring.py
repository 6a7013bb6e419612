"""The part of a DAG file that calls the task functions: groups, mapped groups, edges, and what runs at the end."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import TypeVar

from penstock.spec import Binding, OutputBinding, ParameterBinding, RecordBinding
from penstock_backends.airflow.comments import said_loops, wrapped
from penstock_backends.airflow.layout import Block, Layout
from penstock_backends.airflow.references import is_whole, node_of, parts
from penstock_backends.airflow.reserved import argument_name, free_name
from penstock_backends.airflow.source import arguments, identifier, literal
from penstock_backends.airflow.tables import has_names, task_id, xcom_key
from penstock_backends.lowering import Unit

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Names:
    """Python names in a DAG file: each task's function, and the result of its call where something refers to it."""

    functions: Mapping[str, str]
    results: Mapping[str, str]


def names_of(layout: Layout, taken: set[str]) -> Names:
    """Names for all tasks; none of them is in ``taken``, where they are added."""
    program = layout.program
    summaries = layout.summaries.values()
    last = filter(None, (layout.updated, layout.watcher))
    ids = (*program.by_id, *layout.places.values(), *summaries, *last)
    wanted = {each for unit in program.by_id.values() for each in layout.taken(unit)}
    for unit in program.units:
        after = layout.order_only(unit)
        near = [each for each in after if layout.is_near(unit, each)]
        wanted |= {each for each in after if each in near or not program.by_id[each].loops}
        wanted |= {unit.id} if near or (after and not unit.loops) else set()
    wanted |= {layout.over(unit) for unit in program.by_id.values() if unit.loops}
    wanted |= {*summaries, *(unit.id for unit in layout.endings)}
    functions = {id_: free_name(identifier(id_), taken) for id_ in ids}
    results = {id_: free_name(f"{functions[id_].rstrip('_')}_task", taken) if id_ in wanted else "" for id_ in ids}
    return Names(functions, results)


class Wiring:
    """The calls of the tasks of one DAG."""

    def __init__(self, layout: Layout, names: Names, taken: set[str], descriptions: Mapping[str, str]) -> None:
        self.layout, self.program, self.descriptions = layout, layout.program, descriptions
        self.functions, self.results = names.functions, names.results
        blocks = dict.fromkeys(layout.blocks.values())
        ids = {*self.program.by_id, *layout.places.values(), *layout.summaries.values(), *descriptions}
        self.group_ids = {block: free_name(_group_id(block), ids) for block in blocks}
        self.group_names = {block: free_name(identifier(id_), taken) for block, id_ in self.group_ids.items()}
        self.ids = ids
        self.drawn: set[str] = set()

    def lines(self) -> Iterator[str]:
        """The calls, each after those whose results it takes and inside of its groups; then the edges."""
        ordered = list(self._in_order())
        paths = [self.layout.groups(units[0]) for units in ordered]
        reentered = _reentered(paths)
        opened: set[str] = set()
        path: tuple[str, ...] = ()
        for units, groups in zip(ordered, paths, strict=True):
            depth = _shared(path, groups)
            path = groups
            for level in range(depth, len(path)):
                yield "    " * level + self._with_group(path[level], path[level] in reentered, path[level] in opened)
                opened.add(path[level])
            yield from _indented(self._calls(units, 4 + 4 * len(path)), len(path))
        yield from self._edges()
        yield from self._ending()

    def _in_order(self) -> Iterator[tuple[Unit, ...]]:
        """Tasks, and the tasks of a mapped group together, so that each comes after those it takes data from."""
        members: dict[Block | str, list[Unit]] = {}
        for unit in self.program.units:
            members.setdefault(self.layout.blocks.get(unit.id, unit.id), []).append(unit)
        keys = {unit.id: key for key, units in members.items() for unit in units}
        before = {
            key: {keys[each] for unit in units for each in self._needed(unit)} - {key} for key, units in members.items()
        }
        yield from (tuple(members[key]) for key in _sorted(before))

    def _needed(self, unit: Unit) -> Iterator[str]:
        """The units whose variables the lines of a unit refer to."""
        yield from self.layout.taken(unit)
        if unit.loops:
            yield from unit.loops
            yield from (each for each in self.layout.order_only(unit) if not self.program.by_id[each].loops)

    def group_of(self, id_: str) -> str:
        """The nested pipeline in which what stands for no node is called; empty where in none."""
        layout = self.layout
        units = (unit for unit in self.program.units if id_ in (layout.over(unit), layout.summaries.get(unit.id)))
        return next((path[-1] for path in map(self.layout.groups, units) if path), "")

    # --- one call, or one mapped group ---

    def _calls(self, units: Sequence[Unit], indent: int) -> Iterator[str]:
        if not units[0].loops:
            yield self._call(units[0], indent)
            return
        block = self.layout.blocks[units[0].id]
        over = self.layout.over(units[0])
        if over in self.layout.places.values() and over not in self.drawn:
            self.drawn.add(over)
            yield f"{self.results[over]} = {self.functions[over]}()"
            yield f"{self._named(block.loops[-1])} >> {self.results[over]}"
        group, name = self.group_ids[block], self.group_names[block]
        path = self.layout.groups(units[0])
        own = task_id(group.removeprefix(f"{path[-1]}.") if path else group).replace(".", "-")
        yield ""
        yield f"@task_group(group_id={literal(own)}, prefix_group_id=False)"
        yield f"def {name}(index):"
        yield from (f"    # {line}" for line in wrapped(said_loops(self.program, block.loops), indent + 6))
        yield from _indented(self._body(units, indent + 4), 1)
        yield ""
        yield f"{name}.expand(index={self.results[over]})"
        for unit in units:
            summary = self.layout.summaries.get(unit.id)
            if summary:
                yield f"{self.results[summary]} = {self.functions[summary]}()"
                yield f"{self._named(unit.id)} >> {self.results[summary]}"

    def _body(self, units: Sequence[Unit], indent: int) -> Iterator[str]:
        path: tuple[str, ...] = ()
        for unit in self._in_order_of_data(units):
            groups = self.layout.inner_groups(unit)
            depth = _shared(path, groups)
            path = groups
            for level in range(depth, len(path)):
                yield "    " * level + self._with_inner_group(path[level])
            yield from _indented((self._call(unit, indent + 4 * len(path)),), len(path))
        for unit in units:
            near = [each for each in self.layout.order_only(unit) if self.layout.is_near(unit, each)]
            if near:
                yield _edge([self.results[each] for each in near], self.results[unit.id], indent)

    def _in_order_of_data(self, units: Sequence[Unit]) -> Iterator[Unit]:
        by_id = {unit.id: unit for unit in units}
        before = {unit.id: set(self.layout.taken(unit)) & set(by_id) for unit in units}
        yield from (by_id[id_] for id_ in _sorted(before))

    def _call(self, unit: Unit, indent: int) -> str:
        handed = self.layout.handed(unit)
        given = [self._argument(argument_name(name), each, indent + 4) for name, each in handed.items()]
        start = f"{self.results[unit.id]} = " if self.results[unit.id] else ""
        start += self.functions[unit.id]
        return start + arguments(given, indent, indent + len(start))

    def _argument(self, name: str, binding: Binding, indent: int) -> str:
        if isinstance(binding, (ParameterBinding, OutputBinding)) or is_whole(binding):
            return f"{name}={self._part(next(parts(binding)))}"
        items = [self._part(each) for each in parts(binding)]
        return f"{name}={arguments(items, indent, indent + len(name) + 2, '[]')}"

    def _part(self, part: ParameterBinding | OutputBinding | RecordBinding) -> str:
        if isinstance(part, ParameterBinding):
            return f"dag.param({literal(part.name)})"
        if isinstance(part, RecordBinding):
            return self.results[node_of(part)]
        named = has_names(self.program.by_id[part.node].step)
        return self.results[part.node] + (f"[{literal(xcom_key(part.output))}]" if named else "")

    def _with_group(self, id_: str, named: bool, again: bool) -> str:
        variable = f"{identifier(id_)}_group"
        if again:
            return f"with {variable}:"
        own_id = literal(task_id(id_.rpartition(".")[2]))
        return f"with TaskGroup({own_id}{self._tooltip(id_)}){f' as {variable}' if named else ''}:"

    def _with_inner_group(self, id_: str) -> str:
        own = id_
        if id_ in self.drawn:  # in another mapped group, or left and entered again: a group of its own
            own = next(each for each in (f"{id_}_{number}" for number in itertools.count(2)) if each not in self.ids)
        self.drawn.add(id_)
        self.ids.add(own)
        return f"with TaskGroup({literal(task_id(own).replace('.', '-'))}, prefix_group_id=False{self._tooltip(id_)}):"

    def _tooltip(self, id_: str) -> str:
        description = self.descriptions[id_].strip()
        return f", tooltip={literal(description.splitlines()[0])}" if description else ""

    # --- edges ---

    def _edges(self) -> Iterator[str]:
        """The lines, outside of mapped groups, for what tasks wait for beside the outputs that they take."""
        lines = []
        for unit in self.program.units:
            after = self.layout.order_only(unit)
            far = [each for each in after if not self.layout.is_near(unit, each)]
            if far:
                lines.append(
                    _edge([self._named(self.layout.behind(unit, each)) for each in far], self._named(unit.id), 4)
                )
        if lines:
            yield from ("", *lines)

    def _named(self, id_: str) -> str:
        """A task, outside of the mapped group that it may be in."""
        return f"dag.get_task({literal(task_id(id_))})" if id_ in self.layout.blocks else self.results[id_]

    def _ending(self) -> Iterator[str]:
        """What runs when all else has ended, one after the other, and the tasks that stand for the whole run."""
        chain = ["tasks"]
        calls = []
        for unit in self.layout.endings:
            if unit.loops:
                over = self.layout.over(unit)
                calls.append(f"{self.results[over]} = {self.functions[over]}()")
                calls.append(f"{self.results[unit.id]} = {self.functions[unit.id]}.expand(index={self.results[over]})")
                chain.append(self.results[over])
            else:
                calls.append(self._call(unit, 4))
            chain.append(self.results[unit.id])
        if calls:
            yield from ("", "tasks = list(dag.tasks)", *calls, " >> ".join(chain))
        for last in filter(None, (self.layout.updated, self.layout.watcher)):
            yield from ("", f"list(dag.tasks) >> {self.functions[last]}()")


def _sorted(before: Mapping[Key, set[Key]]) -> Iterator[Key]:
    """The keys so that each comes after those it needs, and else in their order."""
    listed = list(before)
    place = {key: index for index, key in enumerate(listed)}
    sorter = TopologicalSorter(before)
    sorter.prepare()
    ready: list[int] = []
    while sorter.is_active():
        for key in sorter.get_ready():
            heapq.heappush(ready, place[key])
        key = listed[heapq.heappop(ready)]
        yield key
        sorter.done(key)


def _group_id(block: Block) -> str:
    return f"{block.loops[-1]}_body" + (f"_{block.part + 1}" if block.part else "")


def _edge(before: Sequence[str], after: str, indent: int) -> str:
    if len(before) == 1:
        return f"{before[0]} >> {after}"
    return f"{arguments(before, indent, indent + len(after) + 4, '[]')} >> {after}"


def _indented(lines: Iterable[str], levels: int) -> Iterator[str]:
    """Lines, those within a line that has several left alone: they stand where they belong."""
    yield from ("    " * levels + line if line else "" for line in lines)


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))


def _reentered(paths: Iterable[tuple[str, ...]]) -> set[str]:
    """The groups that are left and entered again on the way along the tasks' groups."""
    left: set[str] = set()
    found: set[str] = set()
    before: tuple[str, ...] = ()
    for path in paths:
        left |= set(before) - set(path)
        found |= left & set(path)
        before = path
    return found
