"""What a pipeline returns that has to be computed: a node of its own does that, so that it fails as any node does."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.spec import (
    Binding,
    MappingBinding,
    OutputBinding,
    RecordBinding,
    SequenceBinding,
    TypeKind,
    TypeSpec,
    is_computed,
)

_SEQUENCES = {"list": TypeKind.LIST, "tuple": TypeKind.TUPLE}


def computed_parts(result: Binding, type_: TypeSpec) -> Iterator[tuple[Binding, TypeSpec]]:
    """The parts of a result that have to be computed, each as large as it can be, with their types.

    What stands beside one in a tuple, list, dict or record is left where it is: a model that is returned beside a
    number that is computed is not read for that.
    """
    if not is_computed(result):
        return
    inner = _parts(result, type_)
    if not inner:
        yield result, type_
    for part, of_part in inner:
        yield from computed_parts(part, of_part)


def with_references(result: Binding, type_: TypeSpec, references: Iterator[OutputBinding]) -> Binding:
    """A result with each of its `computed_parts` replaced by the next of ``references``."""
    if not is_computed(result):
        return result
    inner = _parts(result, type_)
    if not inner:
        return next(references)
    replaced = [with_references(part, of_part, references) for part, of_part in inner]
    if isinstance(result, SequenceBinding):
        return result.model_copy(update={"items": tuple(replaced)})
    pairs = "fields" if isinstance(result, RecordBinding) else "items"
    names = [name for name, _ in getattr(result, pairs)]
    return result.model_copy(update={pairs: tuple(zip(names, replaced, strict=True))})


def _parts(result: Binding, type_: TypeSpec) -> list[tuple[Binding, TypeSpec]]:
    """What a binding puts together, each part with its type; none where the type does not say those of the parts."""
    fields = {field.name: field.type for field in type_.fields}
    if isinstance(result, SequenceBinding) and type_.kind is _SEQUENCES[result.kind]:
        is_even = type_.kind is TypeKind.LIST or type_.variadic
        return list(zip(result.items, type_.args * len(result.items) if is_even else type_.args, strict=True))
    if isinstance(result, RecordBinding) and type_.name == result.type:
        return [(part, fields[name]) for name, part in result.fields]
    if isinstance(result, MappingBinding) and type_.kind is TypeKind.DICT:
        return [(part, type_.args[1]) for _, part in result.items]
    if isinstance(result, MappingBinding) and type_.kind is TypeKind.TYPEDDICT:
        return [(part, fields[name]) for name, part in result.items]
    return []
