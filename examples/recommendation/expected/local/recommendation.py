#!/usr/bin/env python3
# recommendation: made by Penstock from pipeline.py, spec 6a411175f5b325e5.
# Change the pipeline, not this file; then make it again with
#     penstock compile pipeline.py:recommendation --to local
# ruff: noqa
# fmt: off
r'''Runs the pipeline recommendation on this machine. `python recommendation.py --help` shows its parameters.

Load, clean, engineer features, train, evaluate; deploy what deserves it.

It needs Python 3.9 or later, and:

    joblib==1.6.0
    numpy==2.4.6
    pandas==3.1.1
    pyarrow==26.0.1
    scikit-learn==1.9.1
    scipy==1.17.1

In this file, from the top: the author's source, the pipeline's parameters, the steps, the nodes, the
harness that runs a step, and the runner.
'''

from __future__ import annotations

# The author's source, module by module; each step gets the part of it that it uses.
MODULES = {
    'pipeline': r'''from pathlib import Path
from typing import Literal, NamedTuple

import joblib
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from sklearn.decomposition import TruncatedSVD
from sklearn.metrics import roc_auc_score

from penstock import Dataset, Model, log_metric

USERS, ITEMS, TASTES = 300, 120, 6
Slot = Literal["blue", "green"]


class Interactions(NamedTuple):
    """What users looked at: most of it to learn from, some held back."""

    known: Dataset[pd.DataFrame]
    held_back: Dataset[pd.DataFrame]


class Quality(NamedTuple):
    """How often a model ranks an item that a user looked at before one that the user did not."""

    test: float
    train: float
    overfitting: bool


class Release(NamedTuple):
    """The place that serves now, and the one that did before, if any."""

    slot: Slot
    previous: Slot | None


def load_data(seed: int) -> Dataset[pd.DataFrame]:
    """Views of items by users who each have a taste; some are logged twice, some by nobody who is known."""
    chance = np.random.default_rng(seed)
    tastes, kinds = chance.normal(size=(USERS, TASTES)), chance.normal(size=(ITEMS, TASTES))
    liking = np.exp(1.5 * tastes @ kinds.T)
    views = [
        (user, item)
        for user in range(USERS)
        for item in chance.choice(ITEMS, size=40, replace=False, p=liking[user] / liking[user].sum())
    ]
    log = pd.DataFrame(views, columns=["user", "item"])
    strangers = pd.DataFrame({"user": -1, "item": chance.integers(ITEMS, size=500)})
    return pd.concat([log, log.sample(500, random_state=seed), strangers], ignore_index=True)


def clean_data(log: Dataset[pd.DataFrame]) -> Dataset[pd.DataFrame]:
    """Each view by a known user, once."""
    clean = log[log["user"] >= 0].drop_duplicates(ignore_index=True)
    log_metric("dropped", len(log) - len(clean))
    return clean


def engineer_features(views: Dataset[pd.DataFrame], seed: int) -> Interactions:
    """Holds back a quarter of each user's views; weighs the others, so that what everyone looks at says less."""
    held_back = views.groupby("user").sample(frac=0.25, random_state=seed)
    known = views.drop(held_back.index)
    popularity = known.groupby("item")["user"].transform("count")
    weighted = known.assign(weight=np.log1p(USERS / popularity))
    return Interactions(weighted.reset_index(drop=True), held_back.reset_index(drop=True))


# scikit-learn leaves the GPU idle; the request is what a model of production's size is placed by.
def train_model(known: Dataset[pd.DataFrame], factors: int, seed: int) -> Model[TruncatedSVD]:
    """What explains the views best in a few numbers for each item."""
    return TruncatedSVD(n_components=factors, random_state=seed).fit(matrix(known))


def evaluate_model(model: Model[TruncatedSVD], interactions: Interactions) -> Quality:
    """Whether the model foresees the views that were held back, and whether it only knows by heart what it saw."""
    seen = matrix(interactions.known)
    scores = model.inverse_transform(model.transform(seen))
    viewed = np.zeros((USERS, ITEMS), dtype=bool)
    viewed[interactions.held_back["user"], interactions.held_back["item"]] = True
    learnt = seen.toarray() > 0
    test = float(roc_auc_score(viewed[~learnt], scores[~learnt]))
    train = float(roc_auc_score(learnt[~viewed], scores[~viewed]))
    log_metric("test", test)
    log_metric("train", train)
    return Quality(test, train, train - test > 0.2)


def matrix(views: pd.DataFrame) -> csr_matrix:
    """A row for each user, a column for each item; what was not looked at is not stored."""
    return csr_matrix((views["weight"], (views["user"], views["item"])), shape=(USERS, ITEMS))


def switch_back(registry: str, previous: Slot | None) -> None:
    """Has the other place serve again."""
    make_live(Path(registry).expanduser(), previous)
    print("serving again:", previous)


def deploy_model(model: Model[TruncatedSVD], registry: str) -> Release:
    """Puts the model where nobody is served from, then has that place serve."""
    home = Path(registry).expanduser()
    previous = live(home)
    slot: Slot = "green" if previous == "blue" else "blue"
    (home / slot).mkdir(parents=True, exist_ok=True)
    joblib.dump(model, home / slot / "model.joblib")
    make_live(home, slot)
    return Release(slot, previous)


def live(home: Path) -> Slot | None:
    """The place that serves."""
    file = home / "live"
    if not file.exists():
        return None
    return "blue" if file.read_text(encoding="utf-8") == "blue" else "green"


def make_live(home: Path, slot: Slot | None) -> None:
    """Has a place serve, or none, from one moment to the next."""
    if slot is None:
        (home / "live").unlink(missing_ok=True)
        return
    fresh = home / "live.next"
    fresh.write_text(slot, encoding="utf-8")
    fresh.replace(home / "live")


def verify(release: Release, registry: str) -> str:
    """Asks what is live for recommendations, as a client would."""
    home = Path(registry).expanduser()
    model = joblib.load(home / (live(home) or "nowhere") / "model.joblib")
    newcomer = np.zeros((1, ITEMS))
    newcomer[0, 0] = 1.0
    scores = model.inverse_transform(model.transform(newcomer))
    if not np.isfinite(scores).all():
        raise ValueError(f"{release.slot} recommends nothing that can be ranked")
    return f"{release.slot} is live"


def reject(quality: Quality) -> str:
    """Says why nothing changes."""
    reason = "it is overfitted" if quality.overfitting else f"an AUC of {quality.test:.2f} is too low"
    return f"rejected: {reason}"
''',
}

# The pipeline's parameters: type, default as exact JSON, and description.
PARAMETERS = {
    'floor': {
        'type': {'kind': 'float', 'text': 'float'},
        'default': 0.8,
        'description': 'the AUC on views held back from which a model may serve',
    },
    'factors': {
        'type': {'kind': 'int', 'text': 'int'},
        'default': 6,
        'description': 'how many numbers describe an item',
    },
    'seed': {
        'type': {'kind': 'int', 'text': 'int'},
        'default': 7,
    },
    'registry': {
        'type': {'kind': 'str', 'text': 'str'},
        'default': '~/models/recommendation',
        'description': 'the folder with both places to serve from',
    },
}

# The steps: where the function is, the names that it uses, and what it returns.
STEPS = {
    'pipeline:load_data': {
        'function': 'pipeline:load_data',
        'reach': {'pipeline': ['Dataset', 'ITEMS', 'TASTES', 'USERS', 'load_data', 'np', 'pd']},
        'outputs': [{'name': 'output',
                     'text': 'Dataset[DataFrame]',
                     'artifact': True,
                     'serializer': 'parquet'}],
        'returns': {'kind': 'value', 'type': ''},
    },
    'pipeline:clean_data': {
        'function': 'pipeline:clean_data',
        'reach': {'pipeline': ['Dataset', 'clean_data', 'log_metric', 'pd']},
        'outputs': [{'name': 'output',
                     'text': 'Dataset[DataFrame]',
                     'artifact': True,
                     'serializer': 'parquet'}],
        'returns': {'kind': 'value', 'type': ''},
    },
    'pipeline:engineer_features': {
        'function': 'pipeline:engineer_features',
        'reach': {'pipeline': ['Dataset', 'Interactions', 'NamedTuple', 'USERS', 'engineer_features', 'np',
                               'pd']},
        'outputs': [{'name': 'known',
                     'text': 'Dataset[DataFrame]',
                     'artifact': True,
                     'serializer': 'parquet'},
                    {'name': 'held_back',
                     'text': 'Dataset[DataFrame]',
                     'artifact': True,
                     'serializer': 'parquet'}],
        'returns': {'kind': 'namedtuple', 'type': 'pipeline:Interactions'},
    },
    'pipeline:train_model': {
        'function': 'pipeline:train_model',
        'reach': {'pipeline': ['Dataset', 'ITEMS', 'Model', 'TruncatedSVD', 'USERS', 'csr_matrix', 'matrix',
                               'pd', 'train_model']},
        'outputs': [{'name': 'output',
                     'text': 'Model[TruncatedSVD]',
                     'artifact': True,
                     'serializer': 'pickle'}],
        'returns': {'kind': 'value', 'type': ''},
    },
    'pipeline:evaluate_model': {
        'function': 'pipeline:evaluate_model',
        'reach': {'pipeline': ['Dataset', 'ITEMS', 'Interactions', 'Model', 'NamedTuple', 'Quality',
                               'TruncatedSVD', 'USERS', 'csr_matrix', 'evaluate_model', 'log_metric',
                               'matrix', 'np', 'pd', 'roc_auc_score']},
        'outputs': [{'name': 'test', 'text': 'float', 'kind': 'float'},
                    {'name': 'train', 'text': 'float', 'kind': 'float'},
                    {'name': 'overfitting', 'text': 'bool', 'kind': 'bool'}],
        'returns': {'kind': 'namedtuple', 'type': 'pipeline:Quality'},
    },
    'penstock:decide': {
        'function': 'penstock:decide',
        'reach': {},
        'outputs': [{'name': 'holds', 'text': 'bool', 'kind': 'bool'}],
        'returns': {'kind': 'value', 'type': ''},
    },
    'pipeline:deploy_model': {
        'function': 'pipeline:deploy_model',
        'reach': {'pipeline': ['ITEMS', 'Literal', 'Model', 'NamedTuple', 'Path', 'Release', 'Slot',
                               'TruncatedSVD', 'USERS', 'csr_matrix', 'deploy_model', 'joblib', 'live',
                               'make_live', 'matrix', 'pd']},
        'outputs': [{'name': 'slot', 'text': "Literal['blue', 'green']"},
                    {'name': 'previous', 'text': "Literal['blue', 'green'] | None"}],
        'returns': {'kind': 'namedtuple', 'type': 'pipeline:Release'},
    },
    'pipeline:switch_back': {
        'function': 'pipeline:switch_back',
        'reach': {'pipeline': ['Literal', 'Path', 'Slot', 'make_live', 'switch_back']},
        'outputs': [],
        'returns': {'kind': 'none', 'type': ''},
    },
    'pipeline:verify': {
        'function': 'pipeline:verify',
        'reach': {'pipeline': ['ITEMS', 'Literal', 'NamedTuple', 'Path', 'Release', 'Slot', 'USERS',
                               'csr_matrix', 'joblib', 'live', 'make_live', 'matrix', 'np', 'pd', 'verify']},
        'outputs': [{'name': 'output', 'text': 'str', 'kind': 'str'}],
        'returns': {'kind': 'value', 'type': ''},
    },
    'pipeline:reject': {
        'function': 'pipeline:reject',
        'reach': {'pipeline': ['Dataset', 'ITEMS', 'Interactions', 'NamedTuple', 'Quality', 'USERS',
                               'csr_matrix', 'matrix', 'pd', 'reject']},
        'outputs': [{'name': 'output', 'text': 'str', 'kind': 'str'}],
        'returns': {'kind': 'value', 'type': ''},
    },
}

# The nodes of the pipeline: the step that each calls and with what, the loops around it, the branches that it is in
# (`when`), and the nodes that it waits for, each with how many of the loops around it are this one's, too.
NODES = {
    'load_data': {
        'step': 'pipeline:load_data',
        'arguments': {'seed': {'kind': 'parameter', 'name': 'seed'}},
        'waits_for': [],
        'retry': {'max_retries': 2},
        'timeout': 300.0,
        'resources': {'cpu': 2.0, 'memory': 4000000000},
    },
    'clean_data': {
        'step': 'pipeline:clean_data',
        'arguments': {'log': {'kind': 'output', 'node': 'load_data', 'output': 'output'}},
        'waits_for': [['load_data', 0]],
        'retry': {'max_retries': 1},
        'timeout': 600.0,
        'resources': {'cpu': 4.0, 'memory': 8000000000},
    },
    'engineer_features': {
        'step': 'pipeline:engineer_features',
        'arguments': {'views': {'kind': 'output', 'node': 'clean_data', 'output': 'output'},
                      'seed': {'kind': 'parameter', 'name': 'seed'}},
        'waits_for': [['clean_data', 0]],
        'retry': {'max_retries': 1},
        'timeout': 900.0,
        'resources': {'cpu': 8.0, 'memory': 16000000000},
    },
    'train_model': {
        'step': 'pipeline:train_model',
        'arguments': {'known': {'kind': 'output', 'node': 'engineer_features', 'output': 'known'},
                      'factors': {'kind': 'parameter', 'name': 'factors'},
                      'seed': {'kind': 'parameter', 'name': 'seed'}},
        'waits_for': [['engineer_features', 0]],
        'retry': {'max_retries': 1},
        'timeout': 1800.0,
        'resources': {'cpu': 16.0, 'memory': 32000000000, 'gpu': 1},
    },
    'evaluate_model': {
        'step': 'pipeline:evaluate_model',
        'arguments': {'model': {'kind': 'output', 'node': 'train_model', 'output': 'output'},
                      'interactions': {'kind': 'record',
                                       'type': 'pipeline:Interactions',
                                       'fields': [['known',
                                                   {'kind': 'output',
                                                    'node': 'engineer_features',
                                                    'output': 'known'}],
                                                  ['held_back',
                                                   {'kind': 'output',
                                                    'node': 'engineer_features',
                                                    'output': 'held_back'}]]}},
        'waits_for': [['train_model', 0], ['engineer_features', 0]],
        'retry': {'max_retries': 1},
        'timeout': 300.0,
        'resources': {'cpu': 4.0, 'memory': 8000000000},
    },
    # if quality.test >= floor and (not quality.overfitting)
    'if': {
        'step': 'penstock:decide',
        'arguments': {'condition': {'kind': 'operation',
                                    'operator': 'and',
                                    'operands': [{'kind': 'operation',
                                                  'operator': '>=',
                                                  'operands': [{'kind': 'output',
                                                                'node': 'evaluate_model',
                                                                'output': 'test'},
                                                               {'kind': 'parameter', 'name': 'floor'}]},
                                                 {'kind': 'operation',
                                                  'operator': 'not',
                                                  'operands': [{'kind': 'output',
                                                                'node': 'evaluate_model',
                                                                'output': 'overfitting'}]}]}},
        'waits_for': [['evaluate_model', 0]],
    },
    'deploy_model': {
        'step': 'pipeline:deploy_model',
        'arguments': {'model': {'kind': 'output', 'node': 'train_model', 'output': 'output'},
                      'registry': {'kind': 'parameter', 'name': 'registry'}},
        'waits_for': [['if', 0], ['train_model', 0]],
        'when': [{'branch': 'if', 'holds': True}],
        'retry': {'max_retries': 2},
        'timeout': 300.0,
        'resources': {'cpu': 2.0, 'memory': 4000000000},
    },
    'verify': {
        'step': 'pipeline:verify',
        'arguments': {'release': {'kind': 'record',
                                  'type': 'pipeline:Release',
                                  'fields': [['slot',
                                              {'kind': 'output', 'node': 'deploy_model', 'output': 'slot'}],
                                             ['previous',
                                              {'kind': 'output',
                                               'node': 'deploy_model',
                                               'output': 'previous'}]]},
                      'registry': {'kind': 'parameter', 'name': 'registry'}},
        'waits_for': [['if', 0], ['deploy_model', 0]],
        'when': [{'branch': 'if', 'holds': True}],
        'timeout': 60.0,
    },
    'reject': {
        'step': 'pipeline:reject',
        'arguments': {'quality': {'kind': 'record',
                                  'type': 'pipeline:Quality',
                                  'fields': [['test',
                                              {'kind': 'output', 'node': 'evaluate_model', 'output': 'test'}],
                                             ['train',
                                              {'kind': 'output',
                                               'node': 'evaluate_model',
                                               'output': 'train'}],
                                             ['overfitting',
                                              {'kind': 'output',
                                               'node': 'evaluate_model',
                                               'output': 'overfitting'}]]}},
        'waits_for': [['if', 0], ['evaluate_model', 0]],
        'when': [{'branch': 'if', 'holds': False}],
    },
}

# What runs when all of these have ended, one after another: rollbacks and what is there for a failure if one has failed,
# and what runs in any case.
ENDINGS = {
    'switch_back': {
        'role': 'rollback',
        'undoes': 'deploy_model',
        'step': 'pipeline:switch_back',
        'arguments': {'registry': {'kind': 'parameter', 'name': 'registry'},
                      'previous': {'kind': 'output', 'node': 'deploy_model', 'output': 'previous'}},
        'when': [{'branch': 'if', 'holds': True}],
    },
}

# What the pipeline returns.
RESULT = {'kind': 'choice',
          'branch': 'if',
          'then': {'kind': 'output', 'node': 'verify', 'output': 'output'},
          'otherwise': {'kind': 'output', 'node': 'reject', 'output': 'output'}}

# --- the harness: Penstock's own code, the same in every program that it makes ---------------------------------------------
# Runs one step, anywhere: decodes its inputs, calls it, and writes its outputs.
#
# This file is the part of Penstock that travels. It is embedded in what the backends emit, so it imports nothing but the
# standard library, works on Python 3.9, and is kept short enough to be read by whoever reviews an emitted file.
#
# Words used here:
#
# - *wire*: a value as JSON. Plain JSON means itself; what JSON lacks is tagged (``{"$tuple": [1, 2]}``), so that every
#   value comes back as what it was. An artifact is ``{"$artifact": {"format": ..., "file": ...}}``, its bytes beside the
#   JSON.
# - *job*: what is to be done, as JSON: which function, its bindings, how its result divides (see `perform`).
# - *program*: the author's source that the job's function reaches, module by module.
import __future__

import ast
import base64
import contextlib
import ctypes
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import importlib
import importlib.util
import json
import linecache
import math
import operator
import os
import pickle
import re
import signal
import sys
import time
import traceback
import types
import typing
import uuid
from pathlib import Path

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

T = typing.TypeVar("T")
Json = typing.Any
Find = typing.Callable[[str], typing.Any]

EXACT_INTEGERS = 2**53  # beyond, JSON readers that keep numbers as doubles (JavaScript, protobuf) change the value


class StepError(Exception):
    """What went wrong around the author's code: an input, an output or the program, not the code itself."""


# --- values -----------------------------------------------------------------------------------------------------------


def type_name(cls: type) -> str:
    """The name by which an encoded value refers to its class: ``module:qualname``, ``penstock:...`` for our own."""
    is_own = cls.__module__ == __name__ and globals().get(cls.__qualname__) is cls  # wherever this file is embedded
    return f"{'penstock' if is_own else cls.__module__}:{cls.__qualname__}"


def find_type(name: str) -> typing.Any:
    """The class or function called ``module:qualname``; ``penstock:...`` is this file's own."""
    module, _, qualname = name.partition(":")
    if module in ("penstock", "penstock.harness"):
        return globals()[qualname]
    return functools.reduce(getattr, qualname.split("."), importlib.import_module(module))


def encode(value: object, name_of: Callable[[type], str] = type_name) -> Json:
    """The value as JSON that `decode` turns back into the same value of the same type.

    NumPy scalars become the Python number they hold. Raises:
        TypeError: the value, or a part of it, has no exact JSON form.
    """
    cls = type(value)
    if value is None or cls in (bool, str):
        return value
    if isinstance(value, enum.Flag):
        return {"$flag": [name_of(cls), value.value]}
    if isinstance(value, enum.Enum):
        return {"$enum": [name_of(cls), value.name]}
    if cls in _ENCODERS:
        return _ENCODERS[cls](value, name_of)
    plain = _plain_number(value)
    if plain is not value:
        return encode(plain, name_of)
    if dataclasses.is_dataclass(value):
        _refuse_extras(value)
        return {
            "$dataclass": [
                name_of(cls),
                {f.name: encode(getattr(value, f.name), name_of) for f in dataclasses.fields(value)},
            ]
        }
    if isinstance(value, tuple) and hasattr(cls, "_fields"):
        return {"$namedtuple": [name_of(cls), [encode(item, name_of) for item in value]]}
    if hasattr(cls, "__pydantic_validator__"):
        return {"$pydantic": [name_of(cls), _encode_pydantic(value, name_of)]}
    base = next((each.__name__ for each in cls.__mro__[1:] if each in _ENCODERS or each is str), "")
    hint = f"; make a plain {base} of it" if base else ""
    raise TypeError(f"{cls.__module__}.{cls.__qualname__} has no exact JSON form{hint}")


def _plain_number(value: typing.Any) -> typing.Any:
    """The Python number in a NumPy scalar, told apart without importing NumPy; anything else as it is."""
    is_scalar = type(value).__module__ == "numpy" and getattr(value, "shape", None) == () and hasattr(value, "item")
    return value.item() if is_scalar else value


def _refuse_extras(value: object) -> None:
    """Raises `TypeError` for a dataclass's instance that has more than its fields, which would be lost."""
    cls = type(value)
    known = {each.name for each in dataclasses.fields(value)} if dataclasses.is_dataclass(value) else set(vars(cls))
    for name in vars(value) if hasattr(value, "__dict__") else ():
        if name not in known and not isinstance(getattr(cls, name, None), functools.cached_property):
            raise TypeError(f"this {cls.__qualname__} has `{name}` beside its fields, which would be lost")


def _encode_int(value: int, _: object) -> Json:
    return value if -EXACT_INTEGERS <= value <= EXACT_INTEGERS else {"$int": str(value)}


def _encode_float(value: float, _: object) -> Json:
    plain = math.isfinite(value) and not (value == 0 and math.copysign(1, value) < 0)
    return value if plain else {"$float": repr(value)}


def _encode_set(value: typing.Collection[object], name_of: Callable[[type], str]) -> list[Json]:
    return sorted((encode(item, name_of) for item in value), key=lambda item: json.dumps(item, sort_keys=True))


def _encode_dict(value: dict[object, object], name_of: Callable[[type], str]) -> Json:
    if all(type(key) is str and not key.startswith("$") for key in value):
        return {key: encode(item, name_of) for key, item in value.items()}
    return {"$dict": [[encode(key, name_of), encode(item, name_of)] for key, item in value.items()]}


def _encode_moment(value: dt.datetime | dt.time) -> list[Json]:
    zone = value.tzinfo
    if zone is None or isinstance(zone, dt.timezone):
        return [value.isoformat(), None, value.fold]
    key = getattr(zone, "key", None)
    if type(zone).__module__.split(".")[0] not in ("zoneinfo", "backports") or key is None:
        raise TypeError(f"a time zone of type {type(zone).__qualname__} has no exact JSON form; use zoneinfo.ZoneInfo")
    return [value.replace(tzinfo=None).isoformat(), key, value.fold]


def _encode_pydantic(value: typing.Any, name_of: Callable[[type], str]) -> Json:
    state = value.__getstate__()
    return {
        "fields": {name: encode(item, name_of) for name, item in state["__dict__"].items()},
        "set": sorted(state["__pydantic_fields_set__"]),
        "extra": encode(state["__pydantic_extra__"], name_of),
        "private": encode(dict(state["__pydantic_private__"] or {}) or None, name_of),
    }


_ENCODERS: dict[type, Callable[..., Json]] = {
    int: _encode_int,
    float: _encode_float,
    list: lambda value, name_of: [encode(item, name_of) for item in value],
    tuple: lambda value, name_of: {"$tuple": [encode(item, name_of) for item in value]},
    set: lambda value, name_of: {"$set": _encode_set(value, name_of)},
    frozenset: lambda value, name_of: {"$frozenset": _encode_set(value, name_of)},
    dict: _encode_dict,
    bytes: lambda value, _: {"$bytes": base64.b64encode(value).decode("ascii")},
    dt.datetime: lambda value, _: {"$datetime": _encode_moment(value)},
    dt.time: lambda value, _: {"$time": _encode_moment(value)},
    dt.date: lambda value, _: {"$date": value.isoformat()},
    dt.timedelta: lambda value, _: {"$timedelta": [value.days, value.seconds, value.microseconds]},
    decimal.Decimal: lambda value, _: {"$decimal": str(value)},
    uuid.UUID: lambda value, _: {"$uuid": str(value)},
}


def decode(wire: Json, find: Find = find_type, load: Callable[[Json], object] | None = None) -> typing.Any:
    """The value that `encode` was given. ``find`` turns a type's name into the class, ``load`` reads an artifact.

    Raises:
        StepError: the JSON holds a tag that is not one of ours.
    """
    if isinstance(wire, list):
        return [decode(item, find, load) for item in wire]
    if not isinstance(wire, dict):
        return wire
    tag = next(iter(wire), "")
    if not tag.startswith("$"):
        return {key: decode(item, find, load) for key, item in wire.items()}
    if tag == "$artifact" and load is not None:
        return load(wire[tag])
    if tag not in _DECODERS or len(wire) != 1:
        raise StepError(f"not a value that Penstock wrote: {json.dumps(wire)[:200]}")
    return _DECODERS[tag](wire[tag], lambda item: decode(item, find, load), find)


def _decode_moment(cls: typing.Any, body: Sequence[Json]) -> typing.Any:
    text, key, fold = body
    value = cls.fromisoformat(text).replace(fold=fold)
    if key is None:
        return value
    zoneinfo = importlib.import_module("zoneinfo")
    return value.replace(tzinfo=zoneinfo.ZoneInfo(key))


def _decode_pydantic(body: Sequence[Json], part: Callable[[Json], typing.Any], find: Find) -> object:
    cls, state = find(body[0]), body[1]
    value = cls.__new__(cls)
    value.__setstate__(
        {
            "__dict__": {name: part(item) for name, item in state["fields"].items()},
            "__pydantic_fields_set__": set(state["set"]),
            "__pydantic_extra__": part(state["extra"]),
            "__pydantic_private__": part(state["private"]),
        }
    )
    return value


def assemble(cls: typing.Any, fields: Mapping[str, object]) -> typing.Any:
    """An instance of a record class from all of its fields, without running ``__init__`` again."""
    if issubclass(cls, tuple):
        return cls._make(fields.values())
    value = object.__new__(cls)
    for name, item in fields.items():
        object.__setattr__(value, name, item)
    return value


_DECODERS: dict[str, Callable[..., typing.Any]] = {
    "$int": lambda body, part, find: int(body),
    "$float": lambda body, part, find: float(body),
    "$tuple": lambda body, part, find: tuple(map(part, body)),
    "$set": lambda body, part, find: set(map(part, body)),
    "$frozenset": lambda body, part, find: frozenset(map(part, body)),
    "$dict": lambda body, part, find: {part(key): part(item) for key, item in body},
    "$bytes": lambda body, part, find: base64.b64decode(body),
    "$datetime": lambda body, part, find: _decode_moment(dt.datetime, body),
    "$time": lambda body, part, find: _decode_moment(dt.time, body),
    "$date": lambda body, part, find: dt.date.fromisoformat(body),
    "$timedelta": lambda body, part, find: dt.timedelta(*body),
    "$decimal": lambda body, part, find: decimal.Decimal(body),
    "$uuid": lambda body, part, find: uuid.UUID(body),
    "$enum": lambda body, part, find: find(body[0])[body[1]],
    "$flag": lambda body, part, find: find(body[0])(body[1]),
    "$dataclass": lambda body, part, find: assemble(find(body[0]), {k: part(v) for k, v in body[1].items()}),
    "$namedtuple": lambda body, part, find: find(body[0])._make(map(part, body[1])),
    "$pydantic": _decode_pydantic,
}


# --- parameters given from outside ------------------------------------------------------------------------------------


def parse(text: str, kind: Json) -> Json:
    """The raw value that a person typed for a parameter of the type ``kind`` (a `TypeSpec` as JSON)."""
    if kind["kind"] == "str" or (kind["kind"] == "literal" and text in kind["values"]):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def coerce(raw: Json, kind: Json, find: Find = find_type) -> typing.Any:
    """The value of the type ``kind`` that plain JSON from outside stands for.

    What is already of the type, or tagged, stays as it is; a list becomes the declared tuple or set, a text the
    declared date, an object the declared dataclass, and so on. Raises:
        StepError: it stands for no value of that type.
    """
    if isinstance(raw, dict) and len(raw) == 1 and next(iter(raw)) in _DECODERS:
        return decode(raw, find)
    name = kind["kind"]
    try:
        if name in _COERCERS:
            return _COERCERS[name](raw, kind, find)
    except (StepError, ValueError, TypeError, KeyError, ArithmeticError) as error:
        reason = f" ({error})" if isinstance(error, StepError) else ""
        raise StepError(f"{json.dumps(raw)[:200]} is not {kind.get('text') or name}{reason}") from None
    return decode(raw, find)


def _expect(condition: bool, value: T) -> T:
    if not condition:
        raise ValueError
    return value


def _coerce_int(raw: Json, *_: object) -> int:
    if isinstance(raw, float) and raw.is_integer() and abs(raw) < EXACT_INTEGERS:
        return int(raw)  # some engines keep every number as a double
    return typing.cast("int", _expect(isinstance(raw, int) and not isinstance(raw, bool), raw))


def _coerce_float(raw: Json, *_: object) -> float:
    if raw in ("nan", "inf", "-inf", "NaN", "Infinity", "-Infinity"):
        return float(raw)
    return typing.cast("float", _expect(isinstance(raw, (int, float)) and not isinstance(raw, bool), raw))


def _coerce_items(make: Callable[[list[typing.Any]], typing.Any]) -> Callable[[Json, Json, Find], typing.Any]:
    def convert(raw: Json, kind: Json, find: Find) -> typing.Any:
        _expect(isinstance(raw, list), raw)
        kinds = kind.get("args") or [{"kind": "any"}]
        if kind["kind"] == "tuple" and not kind.get("variadic"):
            _expect(len(kinds) == len(raw), raw)
            return make([coerce(item, each, find) for item, each in zip(raw, kinds)])
        return make([coerce(item, kinds[0], find) for item in raw])

    return convert


def _coerce_dict(raw: Json, kind: Json, find: Find) -> dict[typing.Any, typing.Any]:
    _expect(isinstance(raw, dict), raw)
    key_kind, item_kind = kind.get("args") or [{"kind": "any"}, {"kind": "any"}]
    return {coerce(parse(key, key_kind), key_kind, find): coerce(item, item_kind, find) for key, item in raw.items()}


def _coerce_record(raw: Json, kind: Json, find: Find) -> typing.Any:
    fields = {field["name"]: field for field in kind.get("fields", ())}
    if kind["kind"] == "namedtuple" and isinstance(raw, list):
        raw = dict(zip(fields, raw))
    _expect(isinstance(raw, dict), raw)
    unknown = [name for name in raw if name not in fields]
    lacking = [name for name, field in fields.items() if field.get("required", True) and name not in raw]
    if unknown or lacking:
        said = [f"unknown: {', '.join(unknown)}"] * bool(unknown) + [f"missing: {', '.join(lacking)}"] * bool(lacking)
        raise StepError("; ".join(said))
    values = {name: coerce(item, fields[name]["type"], find) for name, item in raw.items()}
    return values if kind["kind"] == "typeddict" else find(kind["name"])(**values)


def _coerce_enum(raw: Json, kind: Json, find: Find) -> object:
    cls = find(kind["name"])
    return cls[raw] if raw in kind["members"] else cls(decode(raw, find))


def _coerce_literal(raw: Json, kind: Json, find: Find) -> object:
    return decode(kind["values"][[(type(each), each) for each in kind["values"]].index((type(raw), raw))], find)


def _coerce_union(raw: Json, kind: Json, find: Find) -> object:
    exact = {type(None): "none", bool: "bool", int: "int", float: "float", str: "str"}.get(type(raw))
    for member in sorted(kind["args"], key=lambda each: each["kind"] != exact):
        with contextlib.suppress(StepError):
            return coerce(raw, member, find)
    raise ValueError


_COERCERS: dict[str, Callable[[Json, Json, Find], typing.Any]] = {
    "none": lambda raw, kind, find: _expect(raw is None, raw),
    "bool": lambda raw, kind, find: _expect(isinstance(raw, bool), raw),
    "int": _coerce_int,
    "float": _coerce_float,
    "str": lambda raw, kind, find: _expect(isinstance(raw, str), raw),
    "bytes": lambda raw, kind, find: base64.b64decode(raw, validate=True),
    "datetime": lambda raw, kind, find: dt.datetime.fromisoformat(raw),
    "date": lambda raw, kind, find: dt.date.fromisoformat(raw),
    "time": lambda raw, kind, find: dt.time.fromisoformat(raw),
    "timedelta": lambda raw, kind, find: dt.timedelta(seconds=_coerce_float(raw, kind, find)),
    "decimal": lambda raw, kind, find: decimal.Decimal(_expect(not isinstance(raw, float), raw)),
    "uuid": lambda raw, kind, find: uuid.UUID(raw),
    "list": _coerce_items(list),
    "tuple": _coerce_items(tuple),
    "set": _coerce_items(set),
    "frozenset": _coerce_items(frozenset),
    "dict": _coerce_dict,
    "literal": _coerce_literal,
    "enum": _coerce_enum,
    "dataclass": _coerce_record,
    "namedtuple": _coerce_record,
    "typeddict": _coerce_record,
    "pydantic": _coerce_record,
    "union": _coerce_union,
}


# --- artifacts --------------------------------------------------------------------------------------------------------


def save_artifact(value: object, serializer: str, folder: Path, name: str, find: Find = find_type) -> Json:
    """Writes a value below ``folder`` and returns the wire that refers to it, its ``file`` relative to ``folder``.

    ``serializer`` is a built-in format (``path``, ``parquet``, ``npy``, ``html``, ``markdown``, ``pickle``, ``any``) or
    the author's own, as ``module:save,module:load,.extension``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if "," in serializer:
        save, _, extension = serializer.split(",")
        find(save)(value, folder / f"{name}{extension}")
        return _reference(f"{name}{extension}", serializer)
    if isinstance(value, os.PathLike) and serializer in ("path", "any"):
        return _reference(_copy_path(Path(value), folder / name).relative_to(folder).as_posix(), "path")
    if serializer == "path":
        raise StepError(f"output `{name}` is declared as a path, but the step returned {type(value).__qualname__}")
    failure: object = ""
    for extension, format_, write in _WRITERS.get(serializer, _WRITERS["pickle"]):
        file = folder / f"{name}{extension}"
        try:
            write(value, file)
        except Exception as error:  # noqa: BLE001  # whatever it raises, the next format may do
            file.unlink(missing_ok=True)
            failure = error
            continue
        return _reference(file.name, format_)
    raise StepError(f"output `{name}` ({type(value).__qualname__}) cannot be written: {failure}")


def _reference(file: str, format_: str) -> Json:
    return {"$artifact": {"format": format_, "file": file}}


def _copy_path(source: Path, folder: Path) -> Path:
    if not source.exists():
        raise StepError(f"the step returned the path {source}, but there is nothing there")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / (folder.name if source.resolve() == Path.cwd() else source.absolute().name)
    import shutil  # noqa: PLC0415  # it loads libraries for archives, and what is loaded costs each fork

    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target)
    return target


def _write_json(value: object, file: Path) -> None:
    file.write_text(dumps(encode(value)), encoding="ascii")


def _write_text(value: object, file: Path) -> None:
    if type(value) is not str:
        raise TypeError(f"{_short(value)} is no text")
    file.write_bytes(value.encode())


def _write_pickle(value: object, file: Path) -> None:
    with file.open("wb") as stream:
        pickle.dump(value, stream, protocol=5)


def _write_parquet(value: typing.Any, file: Path) -> None:
    write = value.to_parquet if hasattr(value, "to_parquet") else value.write_parquet
    write(file)
    if not _read_parquet(file, type(value)).equals(value):
        raise ValueError("Parquet would change the data")


def _read_parquet(file: Path, cls: type | None = None) -> typing.Any:
    library = (cls.__module__ if cls else "pandas").partition(".")[0]
    return importlib.import_module(library).read_parquet(file)


def _write_npy(value: object, file: Path) -> None:
    importlib.import_module("numpy").save(file, value, allow_pickle=False)


def _read_npy(file: Path) -> object:
    """The array. A large one is mapped: read as far as it is used, and what is written to it stays in this process."""
    numpy = importlib.import_module("numpy")
    if file.stat().st_size < 1 << 20:
        return numpy.load(file, allow_pickle=False)
    return numpy.asarray(numpy.load(file, "c", allow_pickle=False))


# Each serializer's ways to write, best first: what one cannot write exactly, the next one does.
_PICKLE = (".pkl", "pickle", _write_pickle)
_JSON = (".json", "json", _write_json)
_WRITERS: dict[str, tuple[tuple[str, str, Callable[[typing.Any, Path], None]], ...]] = {
    "any": (_JSON, _PICKLE),
    "html": ((".html", "text", _write_text), _JSON, _PICKLE),
    "markdown": ((".md", "text", _write_text), _JSON, _PICKLE),
    "parquet": ((".parquet", "parquet", _write_parquet), _PICKLE),
    "npy": ((".npy", "npy", _write_npy), _PICKLE),
    "pickle": (_PICKLE,),
}


def load_artifact(reference: Json, find: Find = find_type) -> object:
    """The value behind a reference whose ``file`` is an absolute path."""
    file, format_ = Path(reference["file"]), reference["format"]
    if "," in format_:
        return find(format_.split(",")[1])(file)
    if format_ == "path":
        return file
    if format_ == "json":
        return decode(json.loads(file.read_text(encoding="ascii")), find)
    if format_ == "text":
        return file.read_bytes().decode()
    if format_ == "parquet":
        return _read_parquet(file)
    if format_ == "npy":
        return _read_npy(file)
    with file.open("rb") as stream:
        return _Unpickler(stream, find).load()


class _Unpickler(pickle.Unpickler):
    """Finds the author's classes by the names that encoded values use."""

    def __init__(self, stream: typing.IO[bytes], find: Find) -> None:
        super().__init__(stream)
        self.find = find

    def find_class(self, module: str, name: str) -> typing.Any:
        if self.find is find_type:
            return super().find_class(module, name)
        return self.find(f"{module}:{name}")


# --- programs ---------------------------------------------------------------------------------------------------------


def running(node: ast.AST) -> Iterator[ast.AST]:
    """A top-level statement and the parts of it that run in the module's own scope where steps run.

    Left out: the bodies of functions and classes, the targets of comprehensions, and blocks under ``TYPE_CHECKING`` or
    ``__name__ == "__main__"``.
    """
    yield node
    hidden = ""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
        hidden = "body"
    elif isinstance(node, ast.comprehension):
        hidden = "target"
    elif isinstance(node, ast.If) and never_holds(node.test):
        hidden = "body"
    for field, value in ast.iter_fields(node):
        if field != hidden:
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, ast.AST):
                    yield from running(part)


def never_holds(test: ast.expr) -> bool:
    """Whether a condition is ``TYPE_CHECKING`` or ``__name__ == "__main__"``, both false where steps run."""
    if isinstance(test, ast.Compare):
        sides = [getattr(side, "id", getattr(side, "value", None)) for side in (test.left, *test.comparators)]
        return isinstance(test.ops[0], ast.Eq) and sorted(map(str, sides)) == ["__main__", "__name__"]
    return getattr(test, "attr", getattr(test, "id", "")) == "TYPE_CHECKING"


def bound_names(statement: ast.stmt) -> set[str]:
    """The names that a top-level statement binds, those in its nested blocks included."""
    names: set[str] = set()
    for part in running(statement):
        if isinstance(part, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in part.names}
        elif isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(part.name)
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            names.add(part.id)
        elif type(part).__name__ in ("MatchAs", "MatchStar", "MatchMapping"):  # new in Python 3.10
            names |= {getattr(part, "name", None) or getattr(part, "rest", None) or "_"} - {"_"}
    return names


def root_names(statement: ast.stmt) -> set[str]:
    """The names whose objects a statement changes: ``np`` of ``np.random.seed(0)``, ``C`` of ``C["x"] = 1``."""
    roots: set[str] = set()
    for part in running(statement):
        if isinstance(part, ast.Expr) and isinstance(part.value, ast.Call):
            roots |= _root_name(part.value)
        elif isinstance(part, (ast.Attribute, ast.Subscript, ast.Name)) and not isinstance(part.ctx, ast.Load):
            roots |= _root_name(part) if isinstance(part.ctx, ast.Del) or not isinstance(part, ast.Name) else set()
    return roots


def _root_name(node: ast.expr) -> set[str]:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def belongs(statement: ast.stmt, names: set[str]) -> bool:
    """Whether a top-level statement is part of the program of a step that reaches ``names``."""
    if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
        return True
    return bool((bound_names(statement) | root_names(statement)) & names)


def trimmed(statement: ast.stmt, names: set[str]) -> ast.stmt:
    """An import with only the aliases that bind one of ``names``; any other statement as it is."""
    if not isinstance(statement, (ast.Import, ast.ImportFrom)) or getattr(statement, "module", "") == "__future__":
        return statement
    kept = [alias for alias in statement.names if (alias.asname or alias.name.partition(".")[0]) in names]
    level = (statement.module, kept, statement.level) if isinstance(statement, ast.ImportFrom) else (kept,)
    return ast.copy_location(type(statement)(*level), statement)


class Program:
    """A finder and loader that serves the author's modules to ``import``, each holding only what one step reaches.

    ``modules`` maps a module's name to its text, or to pieces ``[file, line, text]`` which keep their place in the
    author's file; ``reach`` maps it to the names that belong to the step.
    """

    def __init__(self, modules: Mapping[str, Json], reach: Mapping[str, Sequence[str]]) -> None:
        self.reach = {name: set(names) for name, names in reach.items()}
        self.modules = {name: modules[name] for name in reach}
        self.packages = {name.rpartition(".")[0] for name in self.modules}
        self.packages |= {".".join(p.split(".")[:n]) for p in self.packages for n in range(1, p.count(".") + 1)} - {""}
        self._code: dict[str, list[types.CodeType]] = {}
        self._stand_in = types.ModuleType("penstock")
        vars(self._stand_in).update({name: globals()[name] for name in RUNTIME_NAMES})

    def install(self) -> None:
        """Makes ``import`` find these modules first, and ``import penstock`` the few names that a step may use."""
        for name in (*self.modules, *self.packages):
            sys.modules.pop(name, None)
        sys.meta_path.insert(0, self)
        sys.modules["penstock"] = self._stand_in

    def find_spec(self, name: str, path: object = None, target: object = None) -> typing.Any:
        """This as the loader of a module of the step, or of a package around one; None for all others."""
        if name not in self.modules and name not in self.packages:
            return None
        loader: typing.Any = self
        return importlib.util.spec_from_loader(name, loader, is_package=name in self.packages)

    def create_module(self, spec: object) -> None:
        """Leaves it to Python to make the module."""

    def exec_module(self, module: types.ModuleType) -> None:
        """Fills a module with what the step reaches of it."""
        for code in self.compiled(module.__name__):
            exec(code, vars(module))  # noqa: S102  # running the author's code is what this is for

    def compiled(self, name: str) -> list[types.CodeType]:
        """A module's code, piece by piece; made once, so that processes forked after this share it."""
        if name not in self._code:
            source = self.modules.get(name, "")
            pieces: Json = [[f"<{name}>", 1, source]] if isinstance(source, str) else source
            flags = 0
            self._code[name] = []
            for file, line, text in pieces:
                if file not in linecache.cache and not Path(file).exists():
                    linecache.cache[file] = (len(text), None, text.splitlines(True), file)
                tree = ast.parse(text, file)
                tree.body = [trimmed(each, self.reach[name]) for each in tree.body if belongs(each, self.reach[name])]
                ast.increment_lineno(tree, line - 1)
                flags |= _future_flags(tree.body)
                self._code[name].append(compile(tree, file, "exec", flags, True))
        return self._code[name]


def _future_flags(statements: Sequence[ast.stmt]) -> int:
    """What a module's ``from __future__`` statements switch on: it holds for the pieces after them, too."""
    found = 0
    for statement in statements:
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            for alias in statement.names:
                found |= getattr(__future__, alias.name).compiler_flag
    return found


# --- one attempt ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Attempt:
    number: int = 1
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    gates: list[Json] = dataclasses.field(default_factory=list)
    metadata: dict[str, dict[str, Json]] = dataclasses.field(default_factory=dict)  # by each output of the step


_ATTEMPTS: list[_Attempt] = []  # the attempts under way in this process, innermost last


def log_metric(name: str, value: float) -> None:
    """Records a number under a name, for the run's report, its gates, and the engine's own metrics page.

    The last value of a name stands. Outside of a run nothing is recorded. Raises:
        TypeError: ``value`` is not a number.
    """
    number = value.item() if hasattr(value, "item") else value
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise TypeError(f"metric {name!r} must be a number, not {type(value).__qualname__}")
    if _ATTEMPTS:
        _ATTEMPTS[-1].metrics[name] = number


LARGEST_METADATA = 20_000  # bytes of JSON that all metadata of an attempt may take: engines show it, and hand it on
Plain = typing.Union[None, bool, int, float, str, "typing.Sequence[Plain]", "typing.Mapping[str, Plain]"]


def log_metadata(*, output: str | None = None, **values: Plain) -> None:
    """Records what there is to know of an output, for the pages on which engines show it: ``log_metadata(rows=10)``.

    A value is a ``str``, ``int``, ``float``, ``bool`` or ``None``, or a list or dictionary of such; the last one of a
    name stands. ``output`` is for steps with several outputs. Outside of a run nothing is recorded. Raises:
        TypeError: a value is of another type.
        ValueError: the step has no such output, or several and none is named; or it is too much.
    """
    plain = {name: _plain_data(value, name) for name, value in values.items()}
    if not _ATTEMPTS:
        return
    known = _ATTEMPTS[-1].metadata
    names = ", ".join(f"`{name}`" for name in known)
    if output is None and len(known) > 1:
        raise ValueError(f"the step has several outputs: say which, as output=..., of {names}")
    name = next(iter(known), "output") if output is None else output
    if name not in known:
        raise ValueError(f"the step has no output `{name}`, but {names}" if known else "the step has no outputs")
    merged = {**known, name: {**known[name], **plain}}
    size = len(dumps(encode(merged)))
    if size > LARGEST_METADATA:
        said = f"with `{', '.join(plain)}` the metadata of the step takes {size} bytes, more than {LARGEST_METADATA}"
        raise ValueError(f"{said}; what is large is better an output")
    known[name].update(plain)


def _plain_data(value: object, name: str) -> Json:
    """Metadata as it is kept: numbers are Python's, tuples lists."""
    value = _plain_number(value)
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain_data(item, name) for item in value]
    if isinstance(value, dict) and all(type(key) is str for key in value):
        return {key: _plain_data(item, name) for key, item in value.items()}
    found = "a dictionary whose keys are not all texts" if isinstance(value, dict) else type(value).__qualname__
    said = f"metadata `{name}` must be text, a number, a bool, None, or lists and dictionaries of such"
    raise TypeError(f"{said}, not {found}; str(...) makes a text of anything")


def metadata_text(output: str, values: Mapping[str, object]) -> str:
    """What was recorded of an output on one line: ``metadata of model: rows = 10, source = 'census'``."""
    of = "" if output == "output" else f" of {output}"
    return f"metadata{of}: " + ", ".join(f"{name} = {_short(value)}" for name, value in values.items())


def current_attempt() -> int:
    """The number of the attempt that runs this step: 1 for the first, 2 for the first retry (1 outside of a run)."""
    return _ATTEMPTS[-1].number if _ATTEMPTS else 1


CHECKPOINTS = "PENSTOCK_CHECKPOINTS"  # a variable of the environment, so that what a step starts has it, too


def checkpoint_dir() -> Path:
    """A folder of the step's own, in which an attempt leaves what the next one can go on from.

    It is empty at first, stays when an attempt fails or dies, and goes when the step has succeeded. It belongs to one
    node of one run, in a loop to one item. Outside of a run it is a new folder each time, which goes with the process.
    """
    if CHECKPOINTS in os.environ:
        folder = Path(os.environ[CHECKPOINTS])
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    import atexit  # noqa: PLC0415  # seldom needed
    import shutil  # noqa: PLC0415  # as in `_copy_path`
    import tempfile  # noqa: PLC0415  # as in `_temporary`

    folder = Path(tempfile.mkdtemp(prefix="checkpoints-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@dataclasses.dataclass(frozen=True)
class ArtifactLabel:
    """What kind of artifact a type is, for engines that show kinds; written as ``Dataset[...]`` and the like."""

    name: str


@dataclasses.dataclass(frozen=True)
class Serializer(typing.Generic[T]):
    """How the artifacts of an annotated type are written: ``Annotated[Net, Serializer(save_net, load_net, ".pt")]``.

    ``save(value, path)`` writes one file at ``path``, ``load(path)`` reads it back; both are module-level functions.
    ``extension`` ends the file's name and begins with a dot.
    """

    save: typing.Callable[[T, Path], object]
    load: typing.Callable[[Path], T]
    extension: str = ".bin"


Dataset = typing.Annotated[T, ArtifactLabel("Dataset")]
Model = typing.Annotated[T, ArtifactLabel("Model")]
Metrics = typing.Annotated[T, ArtifactLabel("Metrics")]
Report = typing.Annotated[T, ArtifactLabel("Report")]
Markdown = typing.Annotated[T, ArtifactLabel("Markdown")]


@dataclasses.dataclass(frozen=True)
class Classification:
    """How well a classifier does: ``Metrics[Classification]`` is drawn by engines that can (Kubeflow).

    ``confusion[i][j]`` counts what belongs to the class ``labels[i]`` and was taken for ``labels[j]``. ``roc`` holds
    a false positive rate, the true positive rate and the threshold of each point. NumPy's numbers and arrays do.
    """

    labels: list[str]
    confusion: list[list[float]]
    roc: list[tuple[float, float, float]] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        rows = [list(map(_plain_number, row)) for row in self.confusion]
        if [len(row) for row in rows] != [len(self.labels)] * len(self.labels):
            raise ValueError(f"`confusion` must have a row and a column for each of the {len(self.labels)} labels")
        plain = {"labels": list(map(str, self.labels)), "confusion": rows}
        for name, value in {**plain, "roc": [tuple(map(float, point)) for point in self.roc]}.items():
            object.__setattr__(self, name, value)


@dataclasses.dataclass(frozen=True)
class RunStatus:
    """How a run went, for the steps given as ``on_failure`` and ``on_exit``.

    ``state`` is ``succeeded`` or ``failed`` (``cancelled`` where it was stopped); ``failures`` maps the id of each node
    that failed (``train``, ``train[2]`` for the third item of a loop) to what it said.
    """

    pipeline: str
    state: str
    failures: dict[str, str] = dataclasses.field(default_factory=dict)


RUNTIME_NAMES = (
    *("Classification", "Dataset", "Markdown", "Metrics", "Model", "Report", "RunStatus", "Serializer"),
    *("checkpoint_dir", "current_attempt", "log_metadata", "log_metric"),
)


# --- inputs -----------------------------------------------------------------------------------------------------------


def instance(node: str, index: Sequence[int]) -> str:
    """The name of one run of a node: ``train``, or in loops ``train[2]`` or ``train[2][0]``, outermost item first."""
    return node + "".join(f"[{each}]" for each in index)


def parts_of(name: str) -> tuple[str, tuple[int, ...]]:
    """The node and the index that `instance` made a name of."""
    node, *index = name.replace("]", "").split("[")
    return node, tuple(map(int, index))


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an instance stands, and what became of others.

    ``index`` holds the number of its item in each loop around it, outermost first. ``states`` names the instances that
    gave no outputs, with their states; one that is in neither counts as skipped. ``status`` is a `RunStatus` as JSON.
    """

    index: tuple[int, ...] = ()
    states: Mapping[str, str] = dataclasses.field(default_factory=dict)
    status: Json = None


class Absent(Exception):  # noqa: N818  # a state, not an error
    """An instance that was referred to gave nothing; ``state`` says how it ended."""

    def __init__(self, name: str, state: str) -> None:
        super().__init__(f"{name} is {state}")
        self.state = state


class Inputs:
    """Resolves the bindings of a job.

    ``parameters`` holds the pipeline's parameters as raw JSON, ``kinds`` their types; ``outputs`` the wires of the
    instances before this one, by `instance` and output, the ``file`` of each artifact an absolute path. Each is decoded
    once. Of ``job``, ``depths`` (how many loops there are around a node, where there are any) and ``members`` (the
    nodes in the body of a loop that is collected) are read.
    """

    def __init__(
        self,
        parameters: Mapping[str, Json],
        kinds: Mapping[str, Json],
        outputs: Mapping[str, Mapping[str, Json]],
        find: Find = find_type,
        job: Json = None,
        place: Place = Place(),
    ) -> None:
        self.parameters, self.kinds, self.outputs, self.find = parameters, kinds, outputs, find
        self.place, self.index = place, place.index
        self.depths: Mapping[str, int] = (job or {}).get("depths", {})
        self.members: Mapping[str, Sequence[str]] = (job or {}).get("members", {})
        self._failed = [parts_of(name) for name, state in place.states.items() if state in FAILURES]
        self._seen: dict[tuple[str, str, int], object] = {}

    def resolve(self, binding: Json) -> typing.Any:
        """The value that a binding (see ``penstock.spec.Binding``) stands for.

        Raises:
            Absent: it refers to an instance that gave nothing.
        """
        value = getattr(self, "_" + binding["kind"])(binding)
        return functools.reduce(_access, binding.get("path", ()), value)

    def obstacle(self, job: Json) -> str:
        """Why a job's instance must not run: ``upstream_failed``, ``skipped``, or empty where it may.

        Besides its ``arguments`` it has ``when`` (arms of branches, all of which must run) and ``after`` (nodes, each
        with how many of the loops around it are this one's, too).
        """
        found = [self._of_arm(arm) for arm in job.get("when", ())]
        found += [self._of_order(node, shared) for node, shared in job.get("after", ())]
        bounds = [bound for check in job.get("checks", ()) for bound in check["bounds"]]
        found += [self.state(binding) for binding in (*job["arguments"].values(), *bounds)]
        return _worst(found)

    def state(self, binding: Json) -> str:
        """As `obstacle`, of one binding; nothing is decoded."""
        kind = binding["kind"]
        if kind == "output":
            return self._of_node(binding["node"])
        if kind == "item":
            return self._of_node(binding["loop"])
        if kind == "choice":
            arm = self._of_node(binding["branch"])
            return arm or self.state(binding["then" if self.holds(binding["branch"]) else "otherwise"])
        if kind == "collect":
            return self._of_collection(binding)
        return _worst(map(self.state, _operands(binding)))

    def holds(self, branch: str) -> bool:
        """Whether the condition of a branch is true."""
        return bool(self._wires(branch)["holds"])

    def _of_node(self, node: str) -> str:
        name = self._name(node)
        if name in self.outputs:
            return ""
        return "upstream_failed" if self.place.states.get(name) in FAILURES else "skipped"

    def _of_arm(self, arm: Json) -> str:
        return self._of_node(arm["branch"]) or ("" if self.holds(arm["branch"]) is arm["holds"] else "skipped")

    def _of_order(self, node: str, shared: int) -> str:
        around = self.index[:shared]
        failed = any(name == node and index[:shared] == around for name, index in self._failed)
        return "upstream_failed" if failed else ""

    def _of_collection(self, binding: Json) -> str:
        loop = binding.get("loop")
        if loop and self._of_node(loop):
            return self._of_node(loop)
        members, around = self.members.get(loop or "", ()), self.index[: self.depths.get(loop or "", 0)]
        if any(name in members and index[: len(around)] == around for name, index in self._failed):
            return "upstream_failed"
        for _ in self._turns(loop):
            states = [_worst(map(self._of_arm, entry.get("when", ()))) for entry in binding["entries"]]
            added = [entry for entry, state in zip(binding["entries"], states) if not state]
            if "upstream_failed" in states + [self.state(entry["value"]) for entry in added]:
                return "upstream_failed"
        return ""

    def _turns(self, loop: str | None) -> Iterator[int]:
        """Goes through the items of a loop, `index` at each in turn; once, and nowhere else, without a loop."""
        if not loop:
            yield 0
            return
        before, around = self.index, self.index[: self.depths.get(loop, 0)]
        try:
            for number in range(len(self._wires(loop)["items"])):
                self.index = (*around, number)
                yield number
        finally:
            self.index = before

    def _name(self, node: str) -> str:
        return instance(node, self.index[: self.depths.get(node, 0)])

    def _wires(self, node: str) -> Mapping[str, Json]:
        name = self._name(node)
        if name not in self.outputs:
            raise Absent(name, self.place.states.get(name, "skipped"))
        return self.outputs[name]

    def _literal(self, binding: Json) -> object:
        return decode(binding["value"], self.find)

    def _list(self, binding: Json) -> list[object]:
        return [self.resolve(item) for item in binding["items"]]

    def _tuple(self, binding: Json) -> tuple[object, ...]:
        return tuple(self._list(binding))

    def _dict(self, binding: Json) -> dict[str, object]:
        return {key: self.resolve(item) for key, item in binding["items"]}

    def _record(self, binding: Json) -> object:
        return assemble(self.find(binding["type"]), {name: self.resolve(item) for name, item in binding["fields"]})

    def _parameter(self, binding: Json) -> object:
        name = binding["name"]
        if ("", name, 0) not in self._seen:
            try:
                self._seen["", name, 0] = coerce(self.parameters[name], self.kinds[name], self.find)
            except StepError as error:
                raise StepError(f"parameter `{name}`: {error}") from None
        return self._seen["", name, 0]

    def _output(self, binding: Json) -> object:
        node, output = binding["node"], binding["output"]
        return self._decoded(self._name(node), output, 0, self._wires(node)[output])

    def _item(self, binding: Json) -> object:
        loop = binding["loop"]
        number = self.index[self.depths.get(loop, 0)]
        return self._decoded(self._name(loop), "items", number, self._wires(loop)["items"][number])

    def _decoded(self, name: str, output: str, number: int, wire: Json) -> object:
        key = (name, output, number)
        if key not in self._seen:
            self._seen[key] = decode(wire, self.find, lambda reference: load_artifact(reference, self.find))
        return self._seen[key]

    def _operation(self, binding: Json) -> object:
        name, operands = binding["operator"], binding["operands"]
        if name == "if":
            return self.resolve(operands[1 if self.resolve(operands[0]) else 2])
        if name in ("and", "or"):
            value: object = None
            for operand in operands:
                value = self.resolve(operand)
                if bool(value) is (name == "or"):
                    break
            return value
        return OPERATORS[name](*map(self.resolve, operands))

    def _choice(self, binding: Json) -> object:
        return self.resolve(binding["then" if self.holds(binding["branch"]) else "otherwise"])

    def _collect(self, binding: Json) -> list[object]:
        found: list[object] = []
        for _ in self._turns(binding.get("loop")):
            for entry in binding["entries"]:
                if any(map(self._of_arm, entry.get("when", ()))) or self.state(entry["value"]):
                    continue
                value = self.resolve(entry["value"])
                found.extend(value if entry.get("spread") else (value,))
        return found

    def _status(self, _: Json) -> RunStatus:
        return RunStatus(**(self.place.status or {"pipeline": "", "state": "succeeded"}))


FAILURES = ("failed", "upstream_failed", "cancelled")  # after which what depends on an instance cannot run


def _worst(states: typing.Iterable[str]) -> str:
    return max(states, key=("", "skipped", "upstream_failed").index, default="")


def _operands(binding: Json) -> Sequence[Json]:
    kind = binding["kind"]
    if kind in ("list", "tuple"):
        return typing.cast("Sequence[Json]", binding["items"])
    pairs = binding["items"] if kind == "dict" else binding["fields"] if kind == "record" else ()
    return [item for _, item in pairs] or binding.get("operands", ())


def _access(value: typing.Any, access: Json) -> typing.Any:
    return getattr(value, access["key"]) if access["kind"] == "attribute" else value[access["key"]]


def _zip_strict(*lists: typing.Any) -> list[tuple[object, ...]]:
    if len(set(map(len, lists))) > 1:
        raise ValueError(f"zip() of lists of different lengths: {', '.join(str(len(each)) for each in lists)}")
    return list(zip(*lists))


_CONVERSIONS: dict[str, Callable[[object], object]] = {"": lambda value: value, "r": repr, "s": str, "a": ascii}

# What an operation gives for the values of its operands; `and`, `or` and `if` don't look at all of them.
OPERATORS: dict[str, Callable[..., typing.Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda item, container: item in container,
    "not in": lambda item, container: item not in container,
    "is": operator.is_,
    "is not": operator.is_not,
    "not": operator.not_,
    "len": len,
    "range": lambda *limits: list(range(*limits)),
    "zip": lambda *lists: list(zip(*lists)),
    "zip strict": _zip_strict,
    "enumerate": lambda items, start: list(enumerate(items, start)),
    "keys": list,
    "values": lambda mapping: list(mapping.values()),
    "items": lambda mapping: list(mapping.items()),
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "dict": dict,
    "slice": lambda items, *limits: items[slice(*limits)],
    "concatenate": lambda *lists: [item for each in lists for item in each],
    "text": lambda *parts: "".join(parts),
    "format": lambda value, conversion, text: format(_CONVERSIONS[conversion](value), text),
}


# --- steps of the harness's own: for branches, loops, gates, and the pipeline's result --------------------------------


def decide(condition: object) -> bool:
    """Whether a branch's condition is true."""
    return bool(condition)


def items(items: typing.Iterable[object]) -> list[object]:
    """The items of a loop."""
    return list(items)


def check(condition: object, text: str, shown: Mapping[str, object], message: object) -> None:
    """Passes a gate, or not: see `perform` for what becomes of the verdict."""
    _ATTEMPTS[-1].gates.append(_verdict(text, bool(condition), shown, message))


def give(result: object) -> object:
    """What a pipeline returns, as far as that has to be computed."""
    return result


def _verdict(text: str, passed: bool, values: Mapping[str, object], message: object) -> Json:
    plain = {name: _plain_number(value) for name, value in values.items()}
    shown = {
        name: encode(value) if isinstance(value, (bool, int, float, str, type(None))) else _short(value)
        for name, value in plain.items()
    }
    return {"gate": text, "passed": passed, "values": shown, "message": "" if message is None else str(message)}


def verdict_text(verdict: Json) -> str:
    """A verdict on one line: ``gate accuracy >= 0.8: failed (accuracy = 0.71): worse than the floor``."""
    values = ", ".join(f"{name} = {decode(wire)}" for name, wire in verdict["values"].items())
    said = f"gate {verdict['gate']}: {'passed' if verdict['passed'] else 'failed'}"
    said += f" ({values})" if values else ""
    return said if verdict["passed"] or not verdict["message"] else f"{said}: {verdict['message']}"


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


_COMPARISONS: dict[str, Callable[..., bool]] = {
    **{sign: OPERATORS[sign] for sign in ("<", "<=", ">", ">=", "==", "!=")},
    "between": lambda value, low, high: low <= value <= high,
    "is not null": lambda value: value is not None and not _is_nan(value),
}


def _checked(job: Json, values: Mapping[str, object], metrics: Mapping[str, float], inputs: Inputs) -> list[Json]:
    """The verdicts of the gates on a step, on its outputs by name and its metrics."""
    found = []
    for each in job.get("checks", ()):
        name, sign = each["value"], each["operator"]
        bounds = [inputs.resolve(bound) for bound in each["bounds"]]
        text = f"{name} {sign} {' and '.join(map(_short, bounds))}".rstrip()
        try:
            value = metrics[name] if name in metrics else _reached(name, values, metrics)
            found.append(_verdict(text, bool(_COMPARISONS[sign](value, *bounds)), {name: value}, each["message"]))
        except Exception as error:  # noqa: BLE001  # whatever comparing raises, the gate is not passed
            said = str(error) if isinstance(error, StepError) else f"{type(error).__name__}: {error}"
            found.append(_verdict(text, False, {}, f"{each['message']} ({said})" if each["message"] else said))
    return found


def _reached(name: str, values: Mapping[str, typing.Any], metrics: Mapping[str, float]) -> object:
    """A part of the outputs by its dotted name; that of a single unnamed output may be left out."""
    path = name.split(".")
    is_short = path[0] not in values and list(values) == ["output"]
    value: typing.Any = values["output"] if is_short else values
    for number, part in enumerate(path):
        if not (part in value if isinstance(value, dict) else hasattr(value, part)):
            raise StepError(_no_such_name(name, [*_parts(value, path[:number]), *values, *metrics]))
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value


def _parts(value: typing.Any, path: Sequence[str]) -> list[str]:
    """The names of the parts of a value that ``path`` leads to, as far as the value tells."""
    found = value if isinstance(value, dict) else getattr(value, "_fields", getattr(value, "__dict__", ()))
    return [".".join((*path, str(each))) for each in found if not str(each).startswith("_")]


def _no_such_name(name: str, known: Sequence[str]) -> str:
    import difflib  # noqa: PLC0415  # for this alone

    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(name, names, 1)
    listed = ", ".join(f"`{each}`" for each in names[:20]) + (" and others" if len(names) > 20 else "")
    said = f"there is no metric and no output `{name}`, but {listed or 'nothing'}"
    return said + (f"; did you mean `{near[0]}`?" if near else "")


# --- performing a job -------------------------------------------------------------------------------------------------


def divide(value: typing.Any, job: Json, find: Find = find_type) -> dict[str, typing.Any]:
    """The named outputs that a returned value holds, as the job's ``returns`` says."""
    kind, names = job["returns"]["kind"], [output["name"] for output in job["outputs"]]
    if kind == "none":
        return {}
    if kind == "value":
        return {names[0]: value}
    if kind == "tuple":
        if type(value) is not tuple or len(value) != len(names):
            raise StepError(f"the step must return a tuple of {len(names)}, not {_short(value)}")
        return dict(zip(names, value))
    declared = find(job["returns"]["type"])
    if type(value) is not declared:
        # A subclass would be cut down to the declared fields.
        raise StepError(f"the step must return a {declared.__qualname__} itself, not {_short(value)}")
    try:
        _refuse_extras(value)
    except TypeError as error:
        raise StepError(f"what the step returned cannot be kept: {error}") from None
    return {name: getattr(value, name) for name in names}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."


# What a step annotated with one of these may return; all else would be another value, or another type, elsewhere.
_SCALARS: dict[str, set[type]] = {
    "bool": {bool},
    "int": {bool, int},
    "float": {bool, int, float},
    "str": {str},
    "bytes": {bytes},
}


def to_wire(name: str, value: object, kind: Json, folder: Path, find: Find = find_type) -> Json:
    """An output as a wire; an artifact's bytes go below ``folder``."""
    if "each" in kind:
        items = typing.cast("list[object]", value)
        return [to_wire(f"{name}-{number}", item, kind["each"], folder, find) for number, item in enumerate(items)]
    if kind.get("artifact"):
        return save_artifact(value, kind.get("serializer") or "any", folder, name, find)
    value = _plain_number(value)
    if kind.get("kind") in _SCALARS and type(value) not in _SCALARS[kind["kind"]]:
        raise StepError(f"output `{name}` is declared as {kind['text']}, but the step returned {_short(value)}")
    try:
        return encode(value)
    except TypeError as error:
        raise StepError(f"output `{name}` is declared as {kind['text']}, but: {error}") from None


def perform(
    job: Json,
    function: Callable[..., object],
    inputs: Inputs,
    folder: Path,
    number: int = 1,
) -> Json:
    """Calls the job's function once, in this process.

    Args:
        job: ``arguments`` (name to binding), ``outputs`` (each ``name``, ``text``, for an artifact ``artifact: true``
            and its ``serializer``, for a loop's items ``each``: how one of them is written), ``returns``, ``checks``.
        function: the function to call.
        inputs: resolves the bindings.
        folder: where artifacts are written; the ``file`` of their wires is relative to it.
        number: the number of this attempt, from 1.

    Returns:
        ``outputs`` (name to wire), ``metrics`` (name to wire), ``metadata`` (of each output that has some, as a wire),
        ``gates`` (verdicts, where there are gates). Where one was not passed, also ``error``, and ``final``: it is not
        to be tried again, though the outputs are there.
    """
    arguments = {name: inputs.resolve(binding) for name, binding in job["arguments"].items()}
    attempt = _Attempt(number, metadata={output["name"]: {} for output in job["outputs"]})
    _ATTEMPTS.append(attempt)
    try:
        returned = function(**arguments)
    finally:
        _ATTEMPTS.pop()
    kinds = {output["name"]: output for output in job["outputs"]}
    values = divide(returned, job, inputs.find)
    result: Json = {
        "outputs": {name: to_wire(name, value, kinds[name], folder, inputs.find) for name, value in values.items()},
        "metrics": {name: encode(value) for name, value in attempt.metrics.items()},
    }
    metadata = {name: encode(found) for name, found in attempt.metadata.items() if found}
    if metadata:
        result["metadata"] = metadata
    gates = attempt.gates + _checked(job, values, attempt.metrics, inputs)
    if gates:
        result["gates"] = gates
        failed = [verdict_text(each) for each in gates if not each["passed"]]
        say("\n".join(verdict_text(each) for each in gates))
        if failed:
            result.update(error="; ".join(failed), final=True)
    return result


def run_job(
    job: Json,
    modules: Mapping[str, Json],
    parameters: Mapping[str, Json],
    outputs: Mapping[str, Mapping[str, Json]],
    folder: Path,
    number: int = 1,
    place: Place = Place(),
) -> Json:
    """Runs one attempt of a job in this process, which is then good for nothing else; see `perform` for the result.

    ``job`` has, besides what `perform` and `Inputs` read, ``function`` (``module:qualname``), ``reach`` (module to
    names), ``parameters`` (name to type) and ``env`` (name to value). The attempt gets an empty working directory of
    its own.
    """
    os.environ.update(job.get("env", {}))
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    home = Path.cwd()
    with _temporary("step-") as work:
        os.chdir(work)
        try:
            Program(modules, job["reach"]).install()
            inputs = Inputs(parameters, job["parameters"], outputs, job=job, place=place)
            return perform(job, find_type(job["function"]), inputs, folder, number)
        finally:
            os.chdir(home)


def _temporary(prefix: str) -> contextlib.AbstractContextManager[str]:
    """A folder for the duration of a block; what of it can't be removed then stays."""
    import tempfile  # noqa: PLC0415  # it loads `random`, whose hook on forks takes 0.3 ms of every process

    lenient: Json = {"ignore_cleanup_errors": True} if sys.version_info >= (3, 10) else {}
    return tempfile.TemporaryDirectory(prefix=prefix, **lenient)


# Files whose frames tell an author nothing; a program that embeds this one may add its own.
HIDDEN_FILES = {
    perform.__code__.co_filename,
    importlib.__file__,
    "<frozen importlib._bootstrap>",
    "<frozen importlib._bootstrap_external>",
}


# Where Python's own operators meet the author's values: what they raise is told by the error alone.
_COMPUTING = ("_access", "_operation", "<lambda>", "_zip_strict", "decide", "items")


def explain(error: BaseException) -> str:
    """The error as its author wants to see it: the traceback without the frames of this file, where others are left."""
    if isinstance(error, StepError):
        return f"error: {error}"
    whole = traceback.TracebackException(type(error), error, error.__traceback__)
    parts = [whole]
    for part in parts:
        shown = [each for each in part.stack if each.filename not in HIDDEN_FILES]
        is_told = not shown and bool(part.stack) and part.stack[-1].name in _COMPUTING
        part.stack[:] = shown if shown or is_told else part.stack
        parts += filter(None, (part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ())))
    is_bare = len(parts) == 1 and not whole.stack
    return "".join(whole.format_exception_only() if is_bare else whole.format()).rstrip()


def failure(error: BaseException) -> Json:
    """The error as the JSON that `supervise` reports."""
    said = ""
    with contextlib.suppress(Exception):  # the author's own class may fail at this
        said = str(error)
    message = (
        said if isinstance(error, StepError) else f"{type(error).__name__}: {said}" if said else type(error).__name__
    )
    return {"error": _bounded(message, 10_000), "traceback": _bounded(explain(error), 100_000)}


def _bounded(text: str, most: int) -> str:
    """A text without its middle where it is too long to be passed around, such as one with all of the data in it."""
    left_out = len(text) - most
    return text if left_out <= 0 else f"{text[: most // 2]}[... {left_out} characters ...]{text[-most // 2 :]}"


# --- supervision: retries and timeouts where the engine has none ------------------------------------------------------


def retry_delay(retry: Json, attempt: int) -> float:
    """Seconds to wait after the failed attempt number ``attempt`` (from 1)."""
    delay = retry.get("delay", 0.0) * retry.get("backoff", 1.0) ** (attempt - 1)
    if retry.get("max_delay") is not None:
        delay = min(delay, retry["max_delay"])
    import random  # noqa: PLC0415  # as `tempfile` in `_temporary`

    return float(delay * (1 + retry.get("jitter", 0.0) * random.random()))  # noqa: S311  # no secret


def supervise(
    attempt: Callable[[int], Json],
    retry: Json = None,
    timeout: float | None = None,
    deadline: float | None = None,
    checkpoints: Path | None = None,
    secrets: Sequence[str] = (),
) -> Json:
    """Runs ``attempt(number)`` in a process of its own until one succeeds or none is left.

    An attempt that raises, outlives ``timeout`` seconds or dies counts. Each ends with all of its child processes.
    None is begun, and none goes on, after ``deadline`` (in seconds since 1970): the end of the whole run's time.
    Returns what the last attempt returned, or ``{"error": message, "traceback": text}``, with ``attempts`` added: how
    many ran. All of them have one `checkpoint_dir`: ``checkpoints``, or a folder that goes with the last of them.
    ``secrets`` names environment variables: without a value for each nothing is run, and no value is shown (`Mask`).
    """
    lacking = [name for name in secrets if not os.environ.get(name)]
    if lacking:
        message = f"no value was given for the secret in {', '.join(lacking)}"
        say(f"error: {message}")
        return {"error": message, "final": True, "attempts": 0}
    mask = Mask(os.environ[name] for name in secrets) if secrets else None
    with _temporary("checkpoints-") as kept:
        isolated = functools.partial(isolate, mask=mask, kept=kept)
        with_checkpoints = functools.partial(_with_checkpoints, attempt, checkpoints or kept)
        return _supervised(with_checkpoints, retry, timeout, deadline, isolated)


def _with_checkpoints(attempt: Callable[[int], Json], folder: Path | str, number: int) -> Json:
    os.environ[CHECKPOINTS] = str(folder)
    return attempt(number)


def _supervised(
    attempt: Callable[[int], Json],
    retry: Json,
    timeout: float | None,
    deadline: float | None,
    isolated: Callable[[Callable[[], Json], float | None], Json],
) -> Json:
    allowed = 1 + (retry or {}).get("max_retries", 0)
    result: Json = {"error": RUN_OUT_OF_TIME, "final": True, "attempts": 0}
    for number in range(1, allowed + 1):
        left = math.inf if deadline is None else deadline - time.time()
        if left <= 0:
            return {**result, "error": RUN_OUT_OF_TIME, "final": True}
        bound = min(left, math.inf if timeout is None else timeout)
        result = isolated(functools.partial(attempt, number), None if bound == math.inf else bound)
        result["attempts"] = number
        if "error" in result and deadline is not None and time.time() >= deadline:
            result = {"error": RUN_OUT_OF_TIME, "final": True, "attempts": number}
        if "error" not in result:
            return result
        say(result.get("traceback") or f"error: {result['error']}")
        if result.get("final"):
            return result
        if number < allowed:
            delay = retry_delay(retry, number)
            say(f"attempt {number} of {allowed} failed: {result['error']}; trying again in {delay:.3g} s")
            time.sleep(delay if deadline is None else max(0.0, min(delay, deadline - time.time())))
    return result


RUN_OUT_OF_TIME = "the run exceeded its timeout"


def say(message: str) -> None:
    """A line for the step's log, after everything that the step itself printed."""
    sys.stdout.flush()
    print(message, file=sys.stderr, flush=True)


def isolate(attempt: Callable[[], Json], timeout: float | None, mask: Mask | None = None, kept: str = "") -> Json:
    """What one attempt returned, or the error that it ended with, in a process of its own that ends with all below.

    A request to stop removes the folder ``kept``, too.
    """
    with _temporary("attempt-") as folder:
        answer = Path(folder) / "answer.json"
        adopt_orphans()
        sys.stdout.flush()
        sys.stderr.flush()
        relay = Relay(mask) if mask else None
        child = os.fork()
        if child == 0:
            if relay:
                relay.enter()
            _child(attempt, answer, mask)

        def leave() -> None:
            import shutil  # noqa: PLC0415  # as in `_copy_path`

            if relay:
                relay.finish()
            for each in filter(None, (folder, kept)):
                shutil.rmtree(each, ignore_errors=True)

        with forwarded_signals(child, leave):
            if relay:
                relay.start()
            status = _wait(child, timeout)
        end_processes(child)
        if relay:
            relay.finish()
        if status is None:
            return {"error": out_of_time(timeout)}
        if answer.exists():
            return json.loads(answer.read_text(encoding="ascii"))
        return {"error": how_it_died(status)}


def _child(attempt: Callable[[], Json], answer: Path, mask: Mask | None) -> typing.NoReturn:
    os.setsid()
    code = 0
    try:
        result = attempt()
    except BaseException as error:  # noqa: BLE001  # whatever the author's code raises, SystemExit too, fails the attempt
        result, code = failure(error), 1
    result = mask.result(result) if mask else result
    draft = answer.with_suffix(".draft")
    draft.write_text(dumps(result), encoding="ascii")
    draft.rename(answer)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _wait(child: int, timeout: float | None) -> int | None:
    """The child's exit status, or None where it outlived ``timeout``."""
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = 0.001
    while True:
        done, status = os.waitpid(child, 0 if deadline is None else os.WNOHANG)
        if done:
            return status
        if deadline is not None and time.monotonic() >= deadline:
            return None
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def out_of_time(timeout: float | None) -> str:
    """What to say of an attempt that was ended after ``timeout`` seconds."""
    return f"the attempt exceeded its timeout of {timeout:g} s and was ended"


CRASHES = ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT")


def how_it_died(status: int) -> str:
    """What to say of an attempt whose process left no result, from its exit status."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        name = signal.Signals(number).name if number in list(signal.Signals) else str(number)
        hints = {"SIGKILL": " (often: out of memory)", **dict.fromkeys(CRASHES, " (a crash in native code)")}
        return f"the attempt was killed by {name}{hints.get(name, '')}"
    return f"the attempt ended its process with exit code {os.WEXITSTATUS(status)} and no result"


def adopt_orphans() -> None:
    """Makes grandchildren that outlive their parent children of this process, so that none escapes (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def end_processes(child: int, grace: float = 0.5) -> None:
    """Ends the session of ``child`` and all descendants of this process: asks, and kills after ``grace`` seconds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(OSError):
            os.killpg(child, number)
        if _is_gone(child, 0.005):
            return  # as most are, and looking through /proc takes longer
        for pid in descendants((os.getpid(),)):
            with contextlib.suppress(OSError):
                os.kill(pid, number)
        _is_gone(child, grace)


def _is_gone(child: int, seconds: float) -> bool:
    """Whether nothing of what `_remains` sees is left within so many seconds."""
    deadline, pause = time.monotonic() + seconds, 0.0005
    while _remains(child):
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.005)
    return True


def _remains(child: int) -> bool:
    """Whether a child of this process or of ``child``'s session is left; those that have ended are collected."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        with contextlib.suppress(OSError):
            os.killpg(child, 0)
            return True
        return False
    return True


def descendants(roots: typing.Iterable[int]) -> set[int]:
    """The processes below any of ``roots``, these left out."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            parents[int(entry.parent.name)] = int(entry.read_text(errors="replace").rpartition(")")[2].split()[1])
    found = set(roots)
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found - set(roots)


@contextlib.contextmanager
def forwarded_signals(child: int, leave: Callable[[], None]) -> Iterator[None]:
    """A request to stop that reaches this process ends the attempt, too, and is answered after ``leave``."""

    def stop(number: int, _: object) -> typing.NoReturn:
        end_processes(child)
        leave()
        os._exit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- secrets ----------------------------------------------------------------------------------------------------------


class Mask:
    """Puts ``***`` where the value of a secret would be shown.

    A value is known as a whole, by its lines, and by either as JSON, Python or a URL would write it. What a step makes
    of it beyond that (cut, encoded, coloured letter by letter) is not; nor is what is shorter than four characters,
    which would hide half of a log and so tell what it is.
    """

    SHORTEST = 4
    SHOWN = "***"

    def __init__(self, values: typing.Iterable[str]) -> None:
        from urllib.parse import quote  # noqa: PLC0415  # for steps with secrets alone

        known = {part.strip() for value in values for part in (value, *value.splitlines())}
        forms = {
            form
            for part in known
            if len(part) >= self.SHORTEST
            for form in (part, json.dumps(part)[1:-1], repr(part)[1:-1], quote(os.fsencode(part), safe=""))
        }
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._in_text = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._forms = [os.fsencode(form) for form in longest_first]
        self._in_bytes = re.compile(b"|".join(map(re.escape, self._forms)) or b"(?!)")

    def text(self, text: str) -> str:
        """A text, masked."""
        return self._in_text.sub(self.SHOWN, text)

    def wire(self, wire: Json) -> Json:
        """JSON with its texts masked; the keys of objects stay."""
        if isinstance(wire, str):
            return self.text(wire)
        if isinstance(wire, list):
            return [self.wire(item) for item in wire]
        return {key: self.wire(item) for key, item in wire.items()} if isinstance(wire, dict) else wire

    def named(self, wire: Json) -> Json:
        """As `wire`, with the keys of objects masked that are names of the author's."""
        if isinstance(wire, list):
            return [self.named(item) for item in wire]
        if not isinstance(wire, dict):
            return self.wire(wire)
        return {key if key.startswith("$") else self.text(key): self.named(item) for key, item in wire.items()}

    def result(self, result: Json) -> Json:
        """What an attempt returned, masked. It has failed where an output holds a secret, for outputs are kept."""
        outputs = result.get("outputs", {})
        for name, wire in outputs.items():
            if self.wire(wire) != wire:
                what = "what the step returns" if list(outputs) == ["output"] else f"output `{name}`"
                return {"error": f"{what} holds the value of a secret, which would be kept", "final": True}
        masked = {key: self.wire(value) for key, value in result.items() if key != "outputs"}
        if "metrics" in masked:
            masked["metrics"] = {self.text(name): value for name, value in masked["metrics"].items()}
        if "metadata" in masked:
            masked["metadata"] = {name: self.named(found) for name, found in masked["metadata"].items()}
        return {"outputs": outputs, **masked} if "outputs" in result else masked

    def stream(self, source: int, target: int) -> None:
        """Copies what comes from one descriptor to another until its end, masked, holding back no more than it must."""
        held, is_open = b"", True
        with contextlib.suppress(OSError), open(source, "rb", 0) as stream:
            while is_open:
                part = stream.read(1 << 16)
                is_open, held = bool(part), held + part
                end = self._settled(held) if is_open else len(held)
                left = self._in_bytes.sub(self.SHOWN.encode(), held[:end])
                held = held[end:]
                while left:
                    left = left[os.write(target, left) :]

    def _settled(self, said: bytes) -> int:
        """How much of what was said stays as it is, whatever follows: its end may be the beginning of a secret."""
        begun = (size for form in self._forms for size in range(1, len(form)) if said.endswith(form[:size]))
        end = len(said) - max(begun, default=0)
        cut = (match.end() for match in self._in_bytes.finditer(said) if match.start() < end < match.end())
        return next(cut, end)


class Relay:
    """The way of what an attempt and its children print through a `Mask`, to where it was going anyway.

    Made before the fork; then `enter` is called in the child, `start` and, when all is over, `finish` in the parent.
    """

    def __init__(self, mask: Mask) -> None:
        import threading  # noqa: PLC0415  # for steps with secrets alone

        one_place = os.path.samestat(os.fstat(1), os.fstat(2))
        self._pipes = [((1, 2), os.pipe())] if one_place else [((1,), os.pipe()), ((2,), os.pipe())]
        self._threads = [
            threading.Thread(target=mask.stream, args=(reader, targets[0]), daemon=True)
            for targets, (reader, _) in self._pipes
        ]

    def enter(self) -> None:
        """Has this process print into it."""
        for targets, ends in self._pipes:
            for target in targets:
                os.dup2(ends[1], target)
            for end in ends:
                os.close(end)

    def start(self) -> None:
        """Begins to pass on."""
        for _, (_, writer) in self._pipes:
            os.close(writer)
        for thread in self._threads:
            thread.start()

    def finish(self, patience: float = 2.0) -> None:
        """Waits until all is passed on, but not for long for a process that nobody could end."""
        for thread in self._threads:
            if thread.is_alive():
                thread.join(patience)


# --- results on disk --------------------------------------------------------------------------------------------------


def dumps(wire: Json) -> str:
    """A wire as text: one line, ASCII, the same for the same value."""
    return json.dumps(wire, allow_nan=False, separators=(",", ":"))


def write_result(folder: Path, result: Json) -> None:
    """Puts a result beside its artifacts, as ``result.json``; it is there whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / "result.json.draft"
    draft.write_text(dumps(result) + "\n", encoding="ascii")
    draft.replace(folder / "result.json")


def read_outputs(folder: Path) -> dict[str, Json]:
    """The outputs of a result written below ``folder``, their artifacts' files as absolute paths."""
    result = json.loads((folder / "result.json").read_text(encoding="ascii"))
    return {name: located(wire, folder) for name, wire in result["outputs"].items()}


def located(wire: Json, folder: Path) -> Json:
    """An output's wire with its artifact's ``file``, if it is one, made absolute; a loop's items, each of them."""
    if isinstance(wire, list):
        return [located(each, folder) for each in wire]
    if not (isinstance(wire, dict) and "$artifact" in wire):
        return wire
    return {"$artifact": {**wire["$artifact"], "file": str(folder.resolve() / wire["$artifact"]["file"])}}


# --- the runner -----------------------------------------------------------------------------------------------------------

import argparse
import contextlib
import ctypes
import datetime
import functools
import heapq
import itertools
import json
import os
import shutil
import signal
import sys
import time
import typing
import uuid
from collections import deque
from pathlib import Path
from urllib.parse import quote


class WrongParameter(Exception):
    """A value was given that its parameter does not take."""


def run_node(name: str, entry: Json, parameters: Json, outputs: Json, folder: Path, place: Place) -> typing.NoReturn:
    """Runs an instance to its end, in a process of its own; leaves ``outputs/result.json`` and ``log.txt`` in its folder."""
    kinds = {name: each["type"] for name, each in PARAMETERS.items()}
    job = {**STEPS[entry["step"]], **entry, "parameters": kinds, "env": entry.get("env", {})}
    (folder / "tries").mkdir(parents=True)
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)

    def attempt(number: int) -> Json:
        return run_job(job, MODULES, parameters, outputs, folder / "tries" / str(number), number, place)

    result = supervise(attempt, entry.get("retry"), entry.get("timeout"))
    if "error" not in result:
        (folder / "tries" / str(result["attempts"])).rename(folder / "outputs")
    shutil.rmtree(folder / "tries")
    write_result(folder / "outputs", result)
    os._exit(0)


# A node and the index of one of its instances, or the beginning of the indices of several.
Key = typing.Tuple[str, typing.Tuple[int, ...]]


class Graph:
    """Told how each instance ended, it says which may be looked at next.

    ``loops`` holds the loops around each unit, outermost first; ``waits`` what it waits for, each with how many of the
    loops around it are this one's, too; ``bounds``, for each loop, how many items of it may be under way at a time.

    Time and memory are linear in the instances and their edges: what waits for all instances in a loop waits for one
    key that stands for them, not for each.
    """

    def __init__(
        self,
        loops: Mapping[str, Sequence[str]],
        waits: Mapping[str, Sequence[tuple[str, int]]],
        bounds: Mapping[str, int | None],
    ) -> None:
        self._loops, self._waits, self._bounds = loops, waits, bounds
        self._members: dict[str, list[str]] = {loop: [] for loop in bounds}
        self._bodies: dict[str, list[str]] = {loop: [] for loop in ("", *bounds)}
        for unit, around in loops.items():
            self._bodies[around[-1] if around else ""].append(unit)
            for loop in around:
                self._members[loop].append(unit)
        self._missing: dict[Key, int] = {}
        self._followers: dict[Key, list[Key]] = {}
        self._parts: dict[Key, int] = {}
        self._good: dict[Key, bool] = {}
        self._troubled: set[Key] = set()
        self._sizes: dict[Key, int] = {}
        self._held_back: dict[Key, Iterator[int]] = {}
        self._left: dict[Key, int] = {}
        self._under_way = 0

    def begin(self) -> list[Key]:
        """The instances that wait for nothing."""
        return self._made(self._bodies[""], ())

    @property
    def is_over(self) -> bool:
        """Whether every instance that came into being has ended."""
        return self._under_way == 0

    def is_troubled(self, key: Key) -> bool:
        """Whether anything that an instance waited for did not succeed."""
        return key in self._troubled

    def waiting(self) -> list[Key]:
        """The instances that still wait."""
        return list(self._missing)

    def unsuccessful(self, key: Key) -> list[Key]:
        """The instances that this one waited for and that did not succeed."""
        unit, index = key
        found: list[Key] = []
        pending = deque((other, index[:shared]) for other, shared in self._waits[unit])
        while pending:
            other, begun = pending.popleft()
            if self._good.get((other, begun), True):
                continue
            loops = self._loops[other]
            if len(begun) == len(loops):
                found.append((other, begun))
            else:
                size = self._sizes[loops[len(begun)], begun]
                pending.extend((other, (*begun, number)) for number in range(size))
        return found

    def ended(self, key: Key, is_good: bool, size: int = 0) -> list[Key]:
        """Takes the end of an instance; the instances that waited for it last.

        Among them are those that came into being by it, as a loop's body does: ``size`` is the number of its items.
        """
        self._under_way -= 1
        ready: list[Key] = []
        ends = deque([(key, is_good)])
        if key[0] in self._bounds:
            ready += self._opened(key, size)
            if not size:
                ends.extend(((member, key[1]), is_good) for member in self._members[key[0]])
        while ends:
            each, is_good = ends.popleft()
            self._good[each] = is_good
            ready += self._followers_of(each, is_good)
            ready += self._ended_in_loop(each, is_good, ends)
        return ready

    def _opened(self, loop: Key, size: int) -> list[Key]:
        """Has the instances in a loop's body come into being, as many items of it as may be under way at a time."""
        id_, index = loop
        self._sizes[loop] = size
        for member in self._members[id_] if size else ():
            self._parts[member, index] = size
        numbers = iter(range(size))
        self._held_back[loop] = numbers
        return [key for number in itertools.islice(numbers, self._bounds[id_]) for key in self._item(loop, number)]

    def _item(self, loop: Key, number: int) -> list[Key]:
        id_, index = loop
        self._left[id_, (*index, number)] = len(self._members[id_])
        return self._made(self._bodies[id_], (*index, number))

    def _made(self, units: Sequence[str], index: tuple[int, ...]) -> list[Key]:
        ready = []
        for unit in units:
            key, missing = (unit, index), 0
            for other, shared in self._waits[unit]:
                awaited = (other, index[:shared])
                if awaited not in self._good:
                    self._followers.setdefault(awaited, []).append(key)
                    missing += 1
                elif not self._good[awaited]:
                    self._troubled.add(key)
            self._under_way += 1
            if missing:
                self._missing[key] = missing
            else:
                ready.append(key)
        return ready

    def _followers_of(self, key: Key, is_good: bool) -> list[Key]:
        ready = []
        for follower in self._followers.pop(key, ()):
            if not is_good:
                self._troubled.add(follower)
            self._missing[follower] -= 1
            if not self._missing[follower]:
                del self._missing[follower]
                ready.append(follower)
        return ready

    def _ended_in_loop(self, key: Key, is_good: bool, ends: deque[tuple[Key, bool]]) -> list[Key]:
        """Counts an end towards that of all instances in the loop around it, and of the item."""
        id_, index = key
        if not index:
            return []
        whole, loop = (id_, index[:-1]), self._loops[id_][len(index) - 1]
        self._parts[whole] -= 1
        if not is_good:
            self._troubled.add(whole)
        if not self._parts[whole]:
            ends.append((whole, whole not in self._troubled))
        self._left[loop, index] -= 1
        if self._left[loop, index]:
            return []
        return [
            each
            for number in itertools.islice(self._held_back[loop, index[:-1]], 1)
            for each in self._item((loop, index[:-1]), number)
        ]


class Run:
    """A run of the pipeline: what became of each instance of its nodes (`train`, in loops `train[0]`), and what it gave."""

    def __init__(
        self, parameters: Json, folder: Path, jobs: int, free: dict[str, float], tell: Callable[[str], object]
    ) -> None:
        self.parameters, self.folder, self.jobs, self.tell = parameters, folder, jobs, tell
        self.states: dict[str, str] = {}
        self.outputs: dict[str, dict[str, Json]] = {}
        self.running: dict[int, tuple[str, tuple[int, ...], float]] = {}
        self.ready: list[tuple[int, tuple[int, ...], str]] = []
        self.places = {node: place for place, node in enumerate(NODES)}
        self.loops = {node: entry.get("loops", []) for node, entry in NODES.items()}
        waits = {node: entry["waits_for"] for node, entry in NODES.items()}
        self.graph = Graph(self.loops, waits, {})
        self.failures: dict[str, str] = {}
        self.status: Json = None
        self.role = "main"
        self.interrupted = ""
        self.free = free

    @property
    def state(self) -> str:
        found = set(self.states.values())
        return "cancelled" if "cancelled" in found else "failed" if "failed" in found else "succeeded"

    def complete(self) -> None:
        """Runs every instance that can run, each as soon as what it waits for has ended."""
        self.admit(self.graph.begin())
        self.work()
        self.end()

    def end(self) -> None:
        """Runs what is to run at the end, one after another."""
        state = self.state
        self.status = {"pipeline": 'recommendation', "state": state, "failures": self.failures}
        for node, entry in ENDINGS.items():
            for index in self.indices(entry):
                self.role = entry["role"]
                reason = self.reason_against(entry, index, state)
                if reason:
                    self.note_end(instance(node, index), reason)
                else:
                    self.ready.append((0, index, node))
                    self.work()

    def indices(self, entry: Json) -> list[tuple[int, ...]]:
        """Which instances of a node run at the end: of a rollback, one for each of what it undoes, the last one first."""
        if "undoes" not in entry:
            return [()]
        return sorted((index for node, index in map(parts_of, self.states) if node == entry["undoes"]), reverse=True)

    def reason_against(self, entry: Json, index: tuple[int, ...], state: str) -> str:
        """Why an instance at the end must not run, as the state that it has then; empty where it may."""
        is_last = entry["role"] == "on_exit"
        if self.interrupted == "on_exit" or (self.interrupted in ("rollback", "on_failure") and not is_last):
            return "cancelled"
        if not is_last and state != "failed":
            return "skipped"
        if "undoes" in entry and self.states[instance(entry["undoes"], index)] != "succeeded":
            return "skipped"
        return Inputs({}, {}, self.outputs, job=entry, place=Place(index, self.unsuccessful())).obstacle(entry)

    def unsuccessful(self) -> dict[str, str]:
        return {name: state for name, state in self.states.items() if state != "succeeded"}

    def admit(self, keys: list[Key]) -> None:
        """Takes instances for which there is nothing to wait any more: those that must not run have ended."""
        pending = deque(keys)
        while pending:
            node, index = pending.popleft()
            states = {instance(*each): self.states[instance(*each)] for each in self.graph.unsuccessful((node, index))}
            state = ""
            if states or "when" in NODES[node]:
                place = Place(index, states)
                state = Inputs({}, {}, self.outputs, job=NODES[node], place=place).obstacle(NODES[node])
            if not state:
                heapq.heappush(self.ready, (self.places[node], index, node))
                continue
            failed = next((f" ({name} {each})" for name, each in states.items() if each in FAILURES), "")
            self.note_end(instance(node, index), state, failed if state == "upstream_failed" else "")
            pending.extend(self.graph.ended((node, index), False))

    def note_end(self, name: str, state: str, more: str = "") -> None:
        self.states[name] = state
        self.tell(f"{name}: {state}{more}")

    def work(self) -> None:
        """Runs what is ready, and what becomes so; an interrupt cancels what is left of it."""
        try:
            while self.ready or self.running:
                self.start_nodes()
                child, status = os.wait()
                if child in self.running:
                    self.end_node(*self.running[child], status)
                    del self.running[child]  # now: an interrupt before this finds the node, and how it ended
        except KeyboardInterrupt:
            for child in self.running:
                with contextlib.suppress(ProcessLookupError):  # it was waited for just when the interrupt came
                    os.kill(child, signal.SIGTERM)
            for child in self.running:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child, 0)
            left = [(node, index) for node, index, _ in self.running.values()]
            left += [(node, index) for _, index, node in self.ready]
            left += self.graph.waiting() if self.role == "main" else []
            self.interrupted = self.role
            if self.status:
                self.status["state"] = "cancelled"
            for each in left:
                self.states.setdefault(instance(*each), "cancelled")
            self.running.clear()
            self.ready.clear()

    def start_nodes(self) -> None:
        held_back = []
        while self.ready and len(self.running) < self.jobs:
            entry = heapq.heappop(self.ready)
            asked = {**NODES, **ENDINGS}[entry[2]].get("resources", {})
            if any(amount > self.free[name] for name, amount in asked.items()):
                held_back.append(entry)
                continue
            for name, amount in asked.items():
                self.free[name] -= amount
            self.start_node(*entry[1:])
        for each in held_back:
            heapq.heappush(self.ready, each)

    def start_node(self, index: tuple[int, ...], node: str) -> None:
        name = instance(node, index)
        entry = NODES[node] if node in NODES else ENDINGS[node]
        place = Place(index, {}, self.status)
        sys.stdout.flush()
        runner, child = os.getpid(), os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            end_with(runner)
            folder = self.folder / quote(name, safe="[]")
            run_node(name, entry, self.parameters, self.outputs, folder, place)
        self.running[child] = (node, index, time.monotonic())

    def end_node(self, node: str, index: tuple[int, ...], began: float, status: int) -> None:
        name = instance(node, index)
        folder = self.folder / quote(name, safe="[]")
        for resource, amount in {**NODES, **ENDINGS}[node].get("resources", {}).items():
            self.free[resource] += amount
        try:
            result = json.loads((folder / "outputs" / "result.json").read_text(encoding="ascii"))
        except OSError:
            result = {"error": how_it_died(status)}
        is_good = "error" not in result
        if is_good:
            self.outputs[name] = read_outputs(folder / "outputs")
        tries = f", {result['attempts']} attempts" if result.get("attempts", 1) > 1 else ""
        metrics = "".join(f", {metric} = {decode(value):g}" for metric, value in result.get("metrics", {}).items())
        self.note_end(name, "succeeded" if is_good else "failed", f" after {time.monotonic() - began:.2f} s{tries}{metrics}")
        if not is_good:
            self.tell(indented(result.get("traceback") or result["error"]))
            self.tell(f"    log: {folder / 'log.txt'}")
        if node not in NODES:
            return
        if not is_good:
            self.failures[name] = result["error"]
        self.admit(self.graph.ended((node, index), is_good))

    def inputs(self) -> Inputs:
        """Resolves what the pipeline returns."""
        kinds = {name: each["type"] for name, each in PARAMETERS.items()}
        depths = {node: len(loops) for node, loops in self.loops.items() if loops}
        members = {loop: [node for node, loops in self.loops.items() if loop in loops] for loop in ()}
        return Inputs(self.parameters, kinds, self.outputs, job={"depths": depths, "members": members})

    def result(self, binding: Json) -> Json:
        """What a binding stands for, as JSON: an artifact as the path of its file, save where that holds JSON."""
        if self.inputs().state(binding):
            return None
        kind = binding["kind"]
        if kind == "literal":
            return binding["value"]
        if kind in ("parameter", "output"):
            wire = self.parameters[binding["name"]] if kind == "parameter" else self.outputs[binding["node"]][binding["output"]]
            if not (isinstance(wire, dict) and "$artifact" in wire):
                return wire
            file = wire["$artifact"]["file"]
            return json.loads(Path(file).read_text(encoding="ascii")) if wire["$artifact"]["format"] == "json" else file
        if kind == "choice":
            return self.result(binding["then" if self.inputs().holds(binding["branch"]) else "otherwise"])
        if kind in ("list", "tuple"):
            items = [self.result(item) for item in binding["items"]]
            return items if kind == "list" else {"$tuple": items}
        return {name: self.result(item) for name, item in binding["items" if kind == "dict" else "fields"]}


def end_with(parent: int) -> None:
    """Has this process asked to end, and so its attempt, when its parent is killed (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, int(signal.SIGTERM), 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def machine() -> dict[str, float]:
    """What there is."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": cores, "memory": memory, "gpu": len(list(Path("/dev").glob("nvidia[0-9]*")))}


def budget(arguments: argparse.Namespace) -> dict[str, float]:
    """What the nodes that run at one time may ask for together."""
    given = {"cpu": arguments.cpu, "memory": arguments.memory and arguments.memory * 2**30, "gpu": arguments.gpu}
    chosen = {name: amount for name, amount in given.items() if amount is not None}
    return {**machine(), **chosen}


def unfitting(have: dict[str, float]) -> list[str]:
    """The nodes that ask for more than there is, and could never start."""

    def said(name: str, amount: float) -> str:
        return f"{amount / 2**30:.2f} GiB" if name == "memory" else f"{amount:g}"

    return [
        f"{node} asks for {said(name, amount)} of {name}, and this machine has {said(name, have[name])}"
        for node, entry in {**NODES, **ENDINGS}.items()
        for name, amount in entry.get("resources", {}).items()
        if amount > have[name]
    ]


def in_the_program(action: Callable[[], Json]) -> Json:
    """What ``action`` returns in a process where all of the author's modules can be imported."""

    def act() -> Json:
        reach: dict[str, list[str]] = {}
        for step in STEPS.values():
            for module, names in step["reach"].items():
                reach.setdefault(module, []).extend(names)
        Program(MODULES, reach).install()
        return action()

    return supervise(lambda number: act())


def check_parameter(name: str, raw: Json) -> None:
    """Raises `WrongParameter` where a value is not of its parameter's type."""
    needs_program = False

    def note(class_name: str) -> typing.NoReturn:
        nonlocal needs_program
        needs_program = True
        raise LookupError(class_name)

    def checked(find: Find) -> Json:
        try:
            coerce(raw, PARAMETERS[name]["type"], find)
        except StepError as error:
            return {"error": f"parameter {name}: {error}"}
        return {}

    try:
        found = checked(note)
    except LookupError:
        found = {}
    if needs_program:  # the author's classes say what they take
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            found = in_the_program(lambda: checked(find_type))
    if "error" in found:
        raise WrongParameter(found["error"])


def flags(name: str) -> list[str]:
    """How a parameter is called on the command line: ``--learning-rate`` (or ``--learning_rate``) for ``learning_rate``."""
    if name in ("attempt", "cpu", "gpu", "help", "jobs", "json", "memory", "store"):
        name = f"parameter-{name}"
    return list(dict.fromkeys([f"--{name.replace('_', '-')}", f"--{name}"]))


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    group = parser.add_argument_group("parameters of the pipeline (anything but a text as JSON)")
    for name, each in PARAMETERS.items():
        default = f"default: {shown(each['default'])}" if "default" in each else "required"
        help_text = f"{each.get('description', '')} ({each['type'].get('text', '')}; {default})".strip().replace("%", "%%")
        group.add_argument(*flags(name), dest=f"parameter {name}", metavar="VALUE", help=help_text)
    cores = os.cpu_count() or 1
    parser.add_argument("--store", metavar="DIR", type=Path, default=Path('recommendation-runs'), help="where outputs and logs go (%(default)s)")
    parser.add_argument("--jobs", metavar="N", type=int, default=cores, help="how many nodes may run at once (%(default)s)")
    parser.add_argument("--cpu", metavar="CORES", type=float, help="what they may ask for together (default: what this machine has)")
    parser.add_argument("--memory", metavar="GIB", type=float, help="likewise")
    parser.add_argument("--gpu", metavar="N", type=int, help="likewise")
    parser.add_argument("--json", action="store_true", help="print what came of the run as JSON, and nothing else")
    return parser


def given(arguments: argparse.Namespace) -> dict[str, Json]:
    """Every parameter as raw JSON: what was given, else the default. Raises `WrongParameter`."""
    parameters = {}
    for name, each in PARAMETERS.items():
        text = vars(arguments)[f"parameter {name}"]
        if text is None and "default" not in each:
            raise WrongParameter(f"parameter {name} has no default: give {flags(name)[0]} VALUE")
        parameters[name] = each["default"] if text is None else parse(text, each["type"])
        if text is not None:
            check_parameter(name, parameters[name])
    return parameters


def shown(wire: Json) -> str:
    """A value as a person reads it."""
    with contextlib.suppress(Exception):  # it holds the author's own classes
        return repr(decode(wire))
    return dumps(wire)


def main() -> int:
    arguments = command_line().parse_args()
    try:
        parameters = given(arguments)
    except WrongParameter as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if arguments.jobs < 1:
        print("error: --jobs must be at least 1", file=sys.stderr)
        return 2
    free = budget(arguments)
    for problem in unfitting(free):
        print(f"error: {problem}", file=sys.stderr)
    if unfitting(free):
        return 1
    folder = arguments.store.resolve() / f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
    folder.mkdir(parents=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run = Run(parameters, folder, arguments.jobs, free, (lambda line: None) if arguments.json else functools.partial(print, flush=True))
    run.complete()
    good = run.state == "succeeded"
    result = run.result(RESULT) if RESULT is not None and good else None
    if arguments.json:
        print(dumps({"state": run.state, "nodes": run.states, "outputs": run.outputs, "result": result, "folder": str(folder)}))
    else:
        if RESULT is not None and good:
            print(f"result: {shown(result)}")
        print(f"{run.state}: outputs and logs are in {folder}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
