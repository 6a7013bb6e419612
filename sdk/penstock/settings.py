"""How steps run, as authors write it."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from penstock.spec import ResourcesSpec, RetrySpec, Settings

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_OWN = "PENSTOCK_"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFERENCE = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(/[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?)?")
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(|k|K|M|G|T|Ki|Mi|Gi|Ti)[Bb]?\s*")


@dataclass(frozen=True)
class Retry:
    """Further attempts after a failed one.

    Before the k-th retry (from 0) the engine waits ``min(delay * backoff**k, max_delay)`` seconds, and up to ``jitter``
    times that again, drawn at random.

    Args:
        max_retries: how many further attempts there may be.
        delay: seconds before the first retry.
        backoff: what the delay is multiplied by after each retry; at least 1.
        max_delay: upper bound of the delay in seconds; none by default.
        jitter: share of the delay, from 0 to 1, by which it may randomly grow.
    """

    max_retries: int
    delay: float = 0.0
    backoff: float = 1.0
    max_delay: float | None = None
    jitter: float = 0.0


@dataclass(frozen=True)
class Resources:
    """What one attempt of a step asks for; requests, not limits.

    Args:
        cpu: cores, fractions allowed.
        memory: bytes, or a text with a unit: ``"512Mi"``, ``"16GB"`` (``Gi`` is 2**30 bytes, ``G`` is 10**9).
        gpu: number of devices.
        gpu_type: the kind of device as the engine calls it, such as ``nvidia.com/gpu``.
        quotas: how many it takes of things that you name yourself, such as ``{"licence": 1}``: whoever runs the
            pipeline says how many there are.
    """

    cpu: float | None = None
    memory: int | str | None = None
    gpu: int = 0
    gpu_type: str = ""
    quotas: Mapping[str, int] = field(default_factory=dict, hash=False)


Comparison = Literal["<", "<=", ">", ">=", "==", "!=", "between", "is not null"]
_BOUNDS = {"between": 2, "is not null": 0}


@dataclass(frozen=True, init=False)
class Gate:
    """What a step's result must satisfy, or the step fails: ``Gate("accuracy", ">=", 0.8, message="too weak")``.

    It is asked after the step has ended, and never retried; the step's outputs stay to be looked at.

    Args:
        value: a metric's name (`log_metric`), or an output's with the path to a part of it: ``scores.accuracy``. For a
            single unnamed output the part is enough (``accuracy``); as a whole it is called ``output``.
        operator: how it is compared: ``<``, ``<=``, ``>``, ``>=``, ``==``, ``!=`` with one bound, ``between`` with two
            (both included), ``is not null`` with none (neither None nor nan).
        bounds: constants; in ``with_options(gates=...)`` inside a pipeline also parameters and outputs of other steps.
        message: what to say where it fails.

    Raises:
        ValueError: there is no such operator, it takes another number of bounds, or what is to be a text is none.
    """

    value: str
    operator: Comparison
    bounds: tuple[object, ...]
    message: str

    def __init__(self, value: str, operator: Comparison, *bounds: object, message: str = "") -> None:
        if operator not in get_args(Comparison):
            raise ValueError(f"a gate has no operator {operator!r}; there are: {', '.join(get_args(Comparison))}")
        wanted = _BOUNDS.get(operator, 1)
        if len(bounds) != wanted:
            raise ValueError(f"the gate's operator {operator!r} takes {wanted} bounds, not {len(bounds)}")
        text_of("what a gate looks at", value)
        text_of("a gate's message", message)
        for name, given in {"value": value, "operator": operator, "bounds": bounds, "message": message}.items():
            object.__setattr__(self, name, given)


def settings_of(
    base: Settings,
    *,
    retry: Retry | int | None = None,
    timeout: float | dt.timedelta | None = None,
    resources: Resources | None = None,
    priority: int | None = None,
    env: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    packages: Sequence[str] | None = None,
    image: str | None = None,
    cache: bool | None = None,
    cache_version: str | None = None,
) -> Settings:
    """``base`` with what is given changed; ``env`` and ``secrets`` add to it.

    Raises `ValueError` for what makes no sense.
    """
    changes: dict[str, Any] = {}
    if retry is not None:
        given = Retry(retry) if isinstance(retry, int) else retry
        _refuse_all_but(Retry, "`retry` is a number of retries or a `Retry`", given)
        changes["retry"] = RetrySpec.model_validate(_finite(given), strict=True)
    if timeout is not None:
        changes["timeout"] = seconds_of(timeout)
    if resources is not None:
        _refuse_all_but(Resources, "`resources` takes a `Resources`, such as Resources(cpu=2)", resources)
        changes |= _asked(resources)
    if env is not None:
        _refuse_all_but(Mapping, "`env` says for each variable what it holds, such as {'LEVEL': '3'}", env)
        changes["env"] = tuple(sorted({**dict(base.env), **env}.items()))
    if secrets is not None:
        changes["secrets"] = tuple(sorted({**dict(base.secrets), **_references(secrets)}.items()))
    if packages is not None:
        changes["packages"] = texts_of("packages", packages)
    plain = {"priority": priority, "image": image, "cache": cache, "cache_version": cache_version}
    changes |= {name: value for name, value in plain.items() if value is not None}
    made = Settings.model_validate({**dict(base), **changes}, strict=True)
    own = [name for name, _ in (*made.env, *made.secrets) if name.startswith(_OWN)]
    if own:
        raise ValueError(f"`{own[0]}` is a variable of Penstock's own, as all are that begin with {_OWN}")
    twice = sorted(dict(made.env).keys() & dict(made.secrets).keys())
    if twice:
        raise ValueError(f"{', '.join(f'`{name}`' for name in twice)} is given both in `env` and in `secrets`")
    return made


def _refuse_all_but(wanted: type, what: str, given: object) -> None:
    """Raises `ValueError`, which says what it is, for anything of another class."""
    if not isinstance(given, wanted):
        message = f"{what}, not {given!r:.60}"
        raise ValueError(message)  # noqa: TRY004  # as for every other setting that cannot be


def _references(secrets: Any) -> dict[str, str]:
    """The secrets, checked to be references by name under names that an environment variable can have."""
    if not isinstance(secrets, Mapping):
        message = "`secrets` says for each variable what it holds, such as {'DB_PASSWORD': 'warehouse/password'}"
        raise ValueError(message)  # noqa: TRY004  # as for every other setting that cannot be
    for name, reference in secrets.items():
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            raise ValueError(f"`secrets` names environment variables, such as 'DB_PASSWORD', not {name!r}")
        if not isinstance(reference, str) or not _REFERENCE.fullmatch(reference):
            # What was given is not shown: it may be the secret itself.
            allowed = "small letters, digits and `-` before the slash"
            raise ValueError(
                f"the secret for `{name}` is not a reference such as 'warehouse' or 'warehouse/password': {allowed}"
            )
    return dict(secrets)


def _asked(resources: Resources) -> dict[str, Any]:
    given = _finite(resources)
    quotas = given.pop("quotas")
    if not isinstance(quotas, Mapping) or not all(isinstance(name, str) for name in quotas):
        raise ValueError(f"`quotas` says how many it takes of what, such as {{'licence': 1}}, not {quotas!r:.60}")
    given["memory"] = None if resources.memory is None else bytes_of(resources.memory)
    asked = ResourcesSpec.model_validate(given, strict=True)
    is_all = asked == ResourcesSpec() and bool(quotas)
    return {"resources": None if is_all else asked, "quotas": tuple(sorted(quotas.items()))}


def _finite(options: Retry | Resources) -> dict[str, Any]:
    """What was given, by name. Raises `ValueError` for a number that no clock and no machine has."""
    given = asdict(options)
    for name, value in given.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"`{name}` must be a finite number, not {value}")
    return given


def gates_of(given: Any) -> tuple[Gate, ...]:
    """The gates of a step, of which one may be given by itself. Raises `ValueError` for what is no `Gate`."""
    gates = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    for each in gates:
        if not isinstance(each, Gate):
            message = f"`gates` takes `Gate`s, such as Gate('accuracy', '>=', 0.8), not {each!r:.60}"
            raise ValueError(message)  # noqa: TRY004  # as for every other setting that cannot be
    return gates


def seconds_of(time: Any) -> float | None:
    """A span of time, a number or a timedelta, in seconds. Raises `ValueError` where it is not longer than nothing."""
    seconds = time.total_seconds() if isinstance(time, dt.timedelta) else time
    if seconds is None:
        return None
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not is_number or not 0 < seconds < math.inf:
        raise ValueError(f"a timeout is a number of seconds greater than 0, not {time!r}")
    return seconds


def texts_of(name: str, values: Any) -> tuple[str, ...]:
    """Several texts. Raises `ValueError`, which names what they are, for one text alone and for anything else."""
    if isinstance(values, str):
        message = f"`{name}` is a list of texts, not one text: write [{values!r}]"
        raise ValueError(message)  # noqa: TRY004  # as for every other setting that cannot be
    if not isinstance(values, Iterable):
        message = f"`{name}` is a list of texts, not {values!r:.60}"
        raise ValueError(message)  # noqa: TRY004  # as above
    return tuple(text_of(f"each of `{name}`", each) for each in values)


def text_of(what: str, given: Any) -> str:
    """One text. Raises `ValueError`, which says what it is, for anything else."""
    if not issubclass(type(given), str):  # `isinstance` would ask a proxy for the class of what it stands for
        message = f"{what} is a text, not {given!r:.60}"
        raise ValueError(message)  # noqa: TRY004  # as above
    return str(given)


def truth_of(what: str, given: Any) -> bool:
    """True or False. Raises `ValueError`, which says what it is, for anything else."""
    if not isinstance(given, bool):
        message = f"{what} is True or False, not {given!r:.60}"
        raise ValueError(message)  # noqa: TRY004  # as above
    return given


def bytes_of(size: int | str, what: str = "memory") -> int:
    """A size in bytes; a text may have a unit, such as ``512Mi`` or ``16GB``.

    Raises `ValueError`, which names ``what`` it is, for what is no size.
    """
    if not isinstance(size, str):
        return size
    match = _SIZE.fullmatch(size)
    if match is None:
        raise ValueError(f"{what} {size!r} is not a size; write for instance '512Mi' or '16GB'")
    unit = "k" if match[2] == "K" else match[2]
    return int(float(match[1]) * _UNITS[unit])


def size_text(count: float) -> str:
    """A number of bytes as a person reads it, to two decimals of the largest unit that it fills."""
    for unit in ("Ti", "Gi", "Mi", "Ki"):
        if count >= _UNITS[unit]:
            return f"{count / _UNITS[unit]:.2f}".rstrip("0").rstrip(".") + f" {unit}B"
    return f"{count:.0f} bytes"
