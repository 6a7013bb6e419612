"""How far iterators and generators of random numbers have come, asked without taking anything of them."""

from __future__ import annotations

import operator
import random
import types

_AROUND_OTHERS = (zip, map, filter, enumerate)
"""Iterators that go through others, which they name where they are to be pickled."""


def comes_on(value: object) -> bool:
    """Whether it can be told how far an object has come that gives one value after the other."""
    return (
        isinstance(value, (types.GeneratorType, random.Random, *_AROUND_OTHERS))
        or (type(value).__module__ == "builtins" and hasattr(type(value), "__length_hint__"))
        or _is_of_numpy(value)
    )


def position_of(value: object) -> tuple[object, ...]:
    """What is another after it gave a value, and the objects that it takes its own from."""
    if isinstance(value, types.GeneratorType):
        frame = value.gi_frame
        return (-1,) if frame is None else (frame.f_lasti, *frame.f_locals.values())
    if isinstance(value, random.SystemRandom):
        return ()
    if isinstance(value, random.Random):
        return (hash(value.getstate()),)
    if isinstance(value, _AROUND_OTHERS):
        made = value.__reduce__()
        return tuple(made[1]) if isinstance(made, tuple) else ()
    if _is_of_numpy(value):
        ask = getattr(value, "get_state", None)
        return (str(ask() if ask else value.bit_generator.state),)  # type: ignore[attr-defined]  # as just checked
    return (operator.length_hint(value),)


def _is_of_numpy(value: object) -> bool:
    is_there = type(value).__module__.startswith("numpy.random")
    return is_there and (hasattr(value, "bit_generator") or hasattr(value, "get_state"))
