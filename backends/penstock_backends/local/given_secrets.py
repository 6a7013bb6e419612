"""The values of secrets: where they come from on this machine, and who is given which."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, model_validator

from penstock.diagnostics import Diagnostic, RunError
from penstock.harness import Mask
from penstock.spec import Settings, Task, location_of


class SecretSource(BaseModel):
    """Where the value of a secret comes from: one of these.

    Attributes:
        env: an environment variable of the runner.
        file: a file, whose last line break does not count.
        command: a program and its arguments, which prints the value; no shell reads it. Likewise.
        value: the value itself; from Python alone, where a plain text stands for it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    env: str | None = Field(None, min_length=1)
    file: Path | None = None
    command: tuple[str, ...] | None = Field(None, min_length=1)
    value: SecretStr | None = None

    @model_validator(mode="before")
    @classmethod
    def _itself(cls, given: Any, about: ValidationInfo) -> Any:
        is_value = isinstance(given, (str, SecretStr)) or (isinstance(given, Mapping) and "value" in given)
        if is_value and "secrets" in (about.context or {}).get("written", ()):
            raise ValueError('a secret does not belong into this file: say where it is, as in { env = "DB_PASSWORD" }')
        return {"value": given} if isinstance(given, (str, SecretStr)) else given

    @model_validator(mode="after")
    def _one(self) -> SecretSource:
        if sum(each is not None for each in (self.env, self.file, self.command, self.value)) != 1:
            raise ValueError("it takes one of `env`, `file` and `command`")
        return self

    def read(self) -> str:
        """The value. Raises `ValueError`, with the reason, where there is none."""
        if self.value is not None:
            return _sound(self.value.get_secret_value(), "what was given")
        if self.env is not None:
            return _sound(os.environ.get(self.env, ""), f"the environment variable {self.env}")
        if self.file is not None:
            return _sound(_without_end(_content(self.file.expanduser())), f"the file {self.file}")
        return _sound(_without_end(_printed(self.command or ())), f"what {_shown(self.command or ())} prints")


class Secrets:
    """The secrets of a run: each step is given those that it asks for, and nobody else.

    ``withheld`` names the runner's environment variables that may hold one: a step has none of these by itself.
    """

    def __init__(self, values: Mapping[tuple[str, str], str], sources: Iterable[SecretSource] = ()) -> None:
        self._values = values
        self.withheld = frozenset(variable for variable, _ in values) | {each.env for each in sources if each.env}

    def of(self, settings: Settings) -> dict[str, str]:
        """The variables that a step finds its secrets in."""
        return {variable: self._values[variable, reference] for variable, reference in settings.secrets}

    def mask(self, settings: Settings) -> Mask | None:
        """What hides them in what the step shows; None where it asks for none."""
        return Mask(self.of(settings).values()) if settings.secrets else None


def secrets_of(tasks: Iterable[Task], sources: Mapping[str, SecretSource]) -> Secrets:
    """The values of all secrets that any of these calls asks for: from the place given, else from a variable so called.

    Raises:
        RunError: there is none for one of them.
    """
    values: dict[tuple[str, str], str] = {}
    used: list[SecretSource] = []
    problems: dict[tuple[str, str], Diagnostic] = {}
    for task in tasks:
        for variable, reference in task.settings.secrets:
            if (variable, reference) in values or (variable, reference) in problems:
                continue
            source = sources.get(reference, SecretSource(env=variable))
            used.append(source)
            try:
                values[variable, reference] = source.read()
            except ValueError as error:
                problems[variable, reference] = _problem(task, variable, reference, f"{error}", sources)
    if problems:
        raise RunError(list(problems.values()))
    return Secrets(values, used)


def two_in_one(tasks: Iterable[Task], sources: Collection[str] = ()) -> Iterator[Diagnostic]:
    """The steps that look for a secret in a variable of the runner's in which another step looks for another one.

    ``sources`` are the secrets that are not looked for there.
    """
    known: dict[str, str] = {}
    for task in tasks:
        for variable, reference in task.settings.secrets:
            other = reference if reference in sources else known.setdefault(variable, reference)
            if other != reference:
                message = f"`{task.id}` looks for `{reference}` in {variable}, which holds `{other}` for another step"
                fix = "give the variables different names (for a run, [tool.penstock.run.secrets] can tell them apart)"
                yield Diagnostic("P550", message, location_of(task.span), fix)


def _problem(task: Task, variable: str, reference: str, reason: str, given: Collection[str]) -> Diagnostic:
    import difflib  # noqa: PLC0415  # only for errors

    message = f"there is no value for the secret `{reference}` that `{task.id}` asks for: {reason}"
    fix = (
        f"set {variable} in the environment, or say under [tool.penstock.run.secrets] where it is: "
        f'"{reference}" = {{ file = "..." }} (or env, or command); tests give it by `secrets=`'
    )
    near = difflib.get_close_matches(reference, given, n=1)
    if reference in given:
        fix = f"see to that, or say under [tool.penstock.run.secrets] another place where `{reference}` is"
    elif near:
        fix = f"call it `{reference}` where it is given as `{near[0]}`; or {fix}"
    return Diagnostic("P614", message, location_of(task.span), fix)


def _sound(value: str, source: str) -> str:
    if not value:
        raise ValueError(f"{source} is missing or empty")
    if "\0" in value:
        raise ValueError(f"{source} holds a NUL, which no environment variable can")
    return value


def _without_end(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def _content(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"the file {file} is not UTF-8") from None
    except OSError as error:
        raise ValueError(f"the file {file} cannot be read: {error.strerror}") from None


def _printed(command: tuple[str, ...]) -> str:
    """What a program prints; what it says or asks beside that reaches the terminal."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        printed = done.stdout.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"what {_shown(command)} prints is not UTF-8") from None
    except OSError as error:
        raise ValueError(f"{_shown(command)} cannot be started: {error.strerror}") from None
    if done.returncode:
        raise ValueError(f"{_shown(command)} ended with exit code {done.returncode}")
    return printed


def _shown(command: tuple[str, ...]) -> str:
    return f"`{shlex.join(command)}`"
