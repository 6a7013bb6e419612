"""The exact JSON encoding of values, for code that runs beside a pipeline rather than inside a step.

The encoding itself lives in `penstock.harness`, which travels with what is emitted.
"""

from penstock.harness import Json, coerce, decode, encode, parse

__all__ = ["Json", "coerce", "decode", "encode", "parse"]
