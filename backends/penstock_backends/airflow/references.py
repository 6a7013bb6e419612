"""What the arguments of a task refer to, in the order in which the DAG file hands it over.

``attempt.references`` reads it in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator

from penstock import spec
from penstock.spec import Binding, OutputBinding, ParameterBinding, RecordBinding, references


def parts(binding: Binding) -> Iterator[ParameterBinding | OutputBinding | RecordBinding]:
    """Parameters, outputs, and the whole results of tasks (as records), at any depth."""
    if isinstance(binding, (ParameterBinding, OutputBinding)) or (
        isinstance(binding, RecordBinding) and is_whole(binding)
    ):
        yield binding
    else:
        for part in spec.parts(binding):
            yield from parts(part)


def is_whole(binding: Binding) -> bool:
    """Whether a binding is a record of one task's named outputs, each under its own name."""
    if not isinstance(binding, RecordBinding):
        return False
    owners = {_owner(name, item) for name, item in binding.fields}
    return len(owners) == 1 and None not in owners


def _owner(name: str, binding: Binding) -> str | None:
    """The task whose output of this name a binding is, if it is one."""
    if isinstance(binding, OutputBinding) and binding.output == name and not binding.path:
        return binding.node
    return None


def node_of(record: RecordBinding) -> str:
    """The task whose whole result a record is."""
    return next(ref.node for ref in references(record) if isinstance(ref, OutputBinding))
