"""When each job of a workflow starts, said in the results of the jobs before it.

GitHub knows no more of a job than whether it succeeded, failed or was skipped, and a job that was not started because
something before it failed is skipped, too. So a rule names all that must have gone well. What differs from item to item
of a loop is not for GitHub to decide: the program does, in the job of each item.
"""

from __future__ import annotations

import graphlib
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from penstock.spec import Arm, Binding, ChoiceBinding, CollectBinding, ItemBinding, OutputBinding, parts
from penstock_backends.github.names import job_id
from penstock_backends.lowering import Program, Unit

FAILED = "(contains(needs.*.result, 'failure') || contains(needs.*.result, 'cancelled'))"

_NAMED = re.compile(r"needs\.([\w-]+)\.")


@dataclass(frozen=True)
class Term:
    """A part of a conjunction: ``text`` must hold, unless one of ``guards`` does."""

    text: str
    guards: tuple[str, ...] = ()


Terms = tuple[Term, ...]


@dataclass(frozen=True)
class Rule:
    """When a job starts.

    ``needs`` are the ids of the jobs that must have ended. ``terms`` are expressions that must all hold; with none,
    GitHub's own rule stands: nothing before the job failed or was skipped. ``lost`` names jobs in the same loop, each
    with an expression that is true where the job, if it was not started, was not because something before it failed.
    """

    needs: tuple[str, ...]
    terms: tuple[str, ...] = ()
    lost: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Where:
    """What is known where a term matters: ``arms`` run; with ``starting``, an item decides of what differs by item."""

    arms: frozenset[Arm] = frozenset()
    starting: bool = False


_STARTING = Where(starting=True)


class Rules:
    """The rules of a program's jobs."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._plain: set[str] = set()
        self._causes: dict[str, Terms] = {}
        self._fine: dict[str, Terms] = {}
        before = {unit.id: program.waits_for(unit) for unit in program.units}
        for id_ in graphlib.TopologicalSorter(before).static_order():
            unit = program.by_id[id_]
            if not unit.loops and not unit.arms and self._plain.issuperset(before[id_]):
                self._plain.add(id_)
                self._fine[id_] = (_succeeded(id_),)
            else:
                self._causes[id_] = self._causes_of(unit)
                self._fine[id_] = self._fine_of(unit)

    def rule(self, unit: Unit) -> Rule:
        """When the job of a unit starts."""
        if unit.role != "main":
            return self._at_the_end(unit)
        waits = tuple(map(job_id, (*self.program.waits_for(unit), *self._one_at_a_time(unit))))
        if unit.id in self._plain:
            return Rule(waits)
        starts = self._starts(unit)
        terms = ("!cancelled()", *_texts(starts))
        lost = tuple(self._lost(unit, starts)) if unit.loops else ()
        named = _NAMED.findall(" ".join((*terms, *(expression for _, expression in lost))))
        return Rule(tuple(dict.fromkeys((*waits, *named))), terms, lost)

    def _at_the_end(self, unit: Unit) -> Rule:
        """Once all has ended, one after the other; each whether or not the one before failed."""
        last = (*self.program.rollbacks, *self.program.on_failure, *self.program.on_exit)
        before = last[: last.index(unit)]
        needs = tuple(job_id(each.id) for each in (*self.program.units, *before))
        if unit.role == "on_exit":
            return Rule(needs, ("always()",))
        if unit.role == "on_failure":
            return Rule(needs, ("!cancelled()", FAILED))
        return Rule(needs, ("!cancelled()", FAILED, self._is_there(unit.node.id).text))

    def _one_at_a_time(self, unit: Unit) -> Sequence[str]:
        """The unit before in a loop whose parallelism is bounded: the jobs of both together would exceed the bound."""
        bounded = {loop for loop in unit.loops if parallelism(self.program, loop)}
        if not bounded:
            return ()
        return [each.id for each in self.program.units[: unit.place] if bounded & set(each.loops)][-1:]

    # --- what must hold for a job to start

    def _starts(self, unit: Unit) -> Terms:
        found: list[Term] = []
        if unit.loops:
            found += self._some(unit.loops[-1])
        for arm in unit.arms[-1:]:
            branch = self.program.by_id[arm.branch]
            if branch.loops:
                found.append(_began(branch.id))
            elif not unit.loops:  # the loop stands in the arm, too
                found += (_succeeded(branch.id), Term(_holds(branch.id, arm.holds)))
        for binding in unit.bindings:
            found += self._value(binding)
        for node, shared in unit.after:
            found += () if shared else self._fine[node]
        return tuple(found)

    def _some(self, loop: str) -> Terms:
        """There is an item, for all that GitHub must know before it makes jobs of a list."""
        some = Term(f"needs.{job_id(loop)}.outputs.count > 0")
        return (some,) if self.program.by_id[loop].loops else (_succeeded(loop), some)

    def _value(self, binding: Binding) -> Terms:
        """A binding has a value; where that differs from item to item, it has one for some."""
        if isinstance(binding, OutputBinding):
            return (self._is_there(binding.node),)
        if isinstance(binding, ItemBinding):
            return ()
        if isinstance(binding, ChoiceBinding):
            return self._chosen(binding)
        if isinstance(binding, CollectBinding):
            return ((self._is_there(binding.loop),) if binding.loop else ()) + self._collected(binding, _STARTING)
        return tuple(term for part in parts(binding) for term in self._value(part))

    def _chosen(self, binding: ChoiceBinding) -> Terms:
        if self.program.by_id[binding.branch].loops:
            return (_began(binding.branch),)
        then, otherwise = self._value(binding.then), self._value(binding.otherwise)
        decided = _succeeded(binding.branch)
        if then and otherwise:
            one = _all((_holds(binding.branch, True), *_texts(then)))
            other = _all((_holds(binding.branch, False), *_texts(otherwise)))
            return (decided, Term(f"({one} || {other})"))
        taken = (_unless(_holds(binding.branch, not holds), arm) for holds, arm in ((True, then), (False, otherwise)))
        return (decided, *itertools.chain(*taken))

    def _is_there(self, node: str) -> Term:
        return _began(node) if self.program.by_id[node].loops else _succeeded(node)

    # --- what is neither failed nor waits in vain

    def _fine_of(self, unit: Unit) -> Terms:
        """No instance of a unit failed, or came to nothing because something before it failed."""
        if self.program.can_be_skipped(unit):
            succeeded = _succeeded(unit.id).text
            ended = (Term(f"({succeeded} || {succeeded.replace('success', 'skipped')})"), *self._causes[unit.id])
        else:
            ended = (_succeeded(unit.id),)  # else it is skipped because something failed
        if not unit.loops:
            return ended
        for loop in unit.loops:
            ended = _unless(f"needs.{job_id(loop)}.outputs.count == 0", ended)
        return (*self._fine[unit.loops[-1]], *ended)

    def _causes_of(self, unit: Unit) -> Terms:
        """What must not have failed before a unit's job, for it to be skipped for another reason."""
        found: list[Term] = []
        for id_ in (*unit.loops[-1:], *(arm.branch for arm in unit.arms[-1:]), *(node for node, _ in unit.after)):
            found += self._fine[id_]
        for binding in unit.bindings:
            found += self._fine_value(binding)
        return tuple(dict.fromkeys(found))

    def _fine_value(self, binding: Binding, where: Where = Where()) -> Terms:
        """Nothing failed that a binding depends on."""
        if isinstance(binding, OutputBinding):
            unit = self.program.by_id[binding.node]
            is_there = not unit.loops and self.program.arms_needed(unit) <= where.arms
            return (_succeeded(unit.id),) if is_there else self._fine_node(unit.id, where)
        if isinstance(binding, ItemBinding):
            return self._fine_node(binding.loop, where)
        if isinstance(binding, ChoiceBinding):
            decided = self._fine_node(binding.branch, where)
            if self.program.by_id[binding.branch].loops:
                return decided
            then = self._fine_under(binding.then, where, Arm(branch=binding.branch, holds=True))
            otherwise = self._fine_under(binding.otherwise, where, Arm(branch=binding.branch, holds=False))
            return (*decided, *then, *otherwise)
        if isinstance(binding, CollectBinding):
            listed = self._fine_node(binding.loop, where) if binding.loop else ()
            return (*listed, *self._collected(binding, where))
        return tuple(term for part in parts(binding) for term in self._fine_value(part, where))

    def _fine_node(self, node: str, where: Where) -> Terms:
        return () if where.starting and self.program.by_id[node].loops else self._fine[node]

    def _fine_under(self, binding: Binding, where: Where, *arms: Arm) -> Terms:
        """As `_fine_value`, where all of ``arms`` run."""
        terms = self._fine_value(binding, replace(where, arms=where.arms.union(arms)))
        for arm in arms:
            terms = _unless(_holds(arm.branch, arm.holds).replace("==", "!="), terms)
        return terms

    def _collected(self, binding: CollectBinding, where: Where) -> Terms:
        """Nothing failed of what is added to a list; what was skipped is left out of it."""
        if binding.loop and self.program.by_id[binding.loop].loops:
            return ()
        found = [term for member in self.program.members.get(binding.loop, ()) for term in self._fine[member]]
        for entry in binding.entries:
            arms = [arm for arm in entry.when if not self.program.by_id[arm.branch].loops]
            found += [term for arm in arms for term in self._fine[arm.branch]]
            added = self._fine_under(entry.value, where, *arms)
            found += _unless(f"needs.{job_id(binding.loop)}.outputs.count == 0", added) if binding.loop else added
        return tuple(found)

    # --- within a loop

    def _lost(self, unit: Unit, starts: Terms) -> Iterable[tuple[str, str]]:
        for node in self.program.waits_for(unit):
            loops = self.program.by_id[node].loops
            known = self._fine[loops[-1]] if loops else ()
            causes = [term for term in self._causes.get(node, ()) if term not in known]
            if loops and causes and node not in unit.loops and _began(node) not in starts:
                yield job_id(node), f"!({_all(_texts(causes))})"


def parallelism(program: Program, loop: str) -> int | None:
    """How many items of a loop may be under way at a time."""
    return getattr(program.by_id[loop].node, "parallelism", None)


def _succeeded(node: str) -> Term:
    return Term(f"needs.{job_id(node)}.result == 'success'")


def _began(node: str) -> Term:
    return Term(f"needs.{job_id(node)}.result != 'skipped'")


def _holds(branch: str, holds: bool) -> str:
    return f"needs.{job_id(branch)}.outputs.holds == '{'true' if holds else 'false'}'"


def _unless(guard: str, terms: Iterable[Term]) -> Terms:
    """Terms that need not hold where ``guard`` does."""
    return tuple(Term(term.text, tuple(dict.fromkeys((guard, *term.guards)))) for term in terms)


def _texts(terms: Iterable[Term]) -> list[str]:
    """Terms as expressions, those with the same guards together; none that follows from another."""
    distinct = dict.fromkeys(terms)
    least: dict[str, list[frozenset[str]]] = {}
    for term in distinct:
        least.setdefault(term.text, []).append(frozenset(term.guards))
    together: dict[tuple[str, ...], dict[str, None]] = {}
    for term in distinct:
        if not any(guards < frozenset(term.guards) for guards in least[term.text]):
            together.setdefault(tuple(sorted(term.guards)), {})[term.text] = None
    found: list[str] = []
    for guards, texts in together.items():
        found += [f"({' || '.join((*guards, _all(texts)))})"] if guards else texts
    return found


def _all(terms: Iterable[str]) -> str:
    return " && ".join(terms)
