"""The values that the suite's secrets have on every engine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

from penstock import Pipeline
from penstock_backends.lowering import program_of

VALUES = {"conformance/password": "pass word, of 21 marks", "conformance-token": "t0ken-of-the-suite"}


def variables_of(pipeline: Pipeline[..., Any]) -> dict[str, str]:
    """The environment variables in which a pipeline's steps look for secrets, with the values."""
    settings = (unit.task.settings for unit in program_of(pipeline.spec).by_id.values())
    return {variable: VALUES[reference] for each in settings for variable, reference in each.secrets}


@contextmanager
def in_environment(pipeline: Pipeline[..., Any]) -> Iterator[None]:
    """For its duration this process has these variables."""
    with mock.patch.dict(os.environ, variables_of(pipeline)):
        yield


def asked_by(pipeline: Pipeline[..., Any]) -> Mapping[str, str]:
    """The secrets that a pipeline's steps ask for, by reference."""
    settings = (unit.task.settings for unit in program_of(pipeline.spec).by_id.values())
    return {reference: VALUES[reference] for each in settings for _, reference in each.secrets}
