"""What each target makes of what a pipeline asks for: the table that `penstock check` and the documentation print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock import compiler
from penstock.backend import Definition, Level, Support
from penstock.diagnostics import CompileError, Diagnostic, Location
from penstock.features import Use, features_of
from penstock.spec import Feature

WORDS = {Level.NATIVE: "native", Level.EMULATED: "emulated", Level.UNSUPPORTED: "refused"}


@dataclass(frozen=True)
class Row:
    """A feature, where it is asked for (nowhere in the documentation), and each target's answer."""

    feature: Feature
    uses: tuple[Use, ...]
    answers: Mapping[str, Support]

    @property
    def name(self) -> str:
        """The feature as a person reads it."""
        return self.feature.value.replace("_", " ")


@dataclass(frozen=True)
class Portability:
    """What becomes of one pipeline on several targets; ``refused`` says why, for those that do not take it."""

    definition: Definition
    targets: tuple[str, ...]
    rows: tuple[Row, ...]
    refused: Mapping[str, tuple[Diagnostic, ...]]

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "pipeline": self.definition.spec.name,
            "features": [
                {
                    "feature": row.feature.value,
                    "uses": [{"said": use.said, **_place(use.location)} for use in row.uses],
                    "targets": {
                        target: {"support": WORDS[answer.level], "how": answer.how, "fix": answer.fix}
                        for target, answer in row.answers.items()
                    },
                }
                for row in self.rows
            ],
            "targets": {
                target: {
                    "compiles": target not in self.refused,
                    "problems": [
                        {"code": each.code, "message": each.message, "fix": each.fix, **_place(each.location)}
                        for each in self.refused.get(target, ())
                    ],
                }
                for target in self.targets
            },
        }


def support_rows(targets: Sequence[str], uses: Iterable[Use] | None = None) -> tuple[Row, ...]:
    """A row for each feature; with ``uses``, for those that are asked for."""
    found: dict[Feature, list[Use]] = {feature: [] for feature in Feature}
    for use in uses or ():
        found[use.feature].append(use)
    return tuple(
        Row(feature, tuple(where), {target: compiler.backend(target).supports[feature] for target in targets})
        for feature, where in found.items()
        if where or uses is None
    )


def portability(definition: Definition, targets: Sequence[str]) -> Portability:
    """What becomes of a pipeline on each target, with the options that are configured.

    Raises `SpecError` where it is not sound.
    """
    compiler.verify_spec(definition)
    project = compiler.project(definition.folder)
    refused: dict[str, tuple[Diagnostic, ...]] = {}
    for target in targets:
        try:
            compiler.compile_definition(definition, target, {}, project)
        except CompileError as error:
            refused[target] = error.diagnostics
    return Portability(definition, tuple(targets), support_rows(targets, features_of(definition.spec)), refused)


def _place(location: Location | None) -> dict[str, Any]:
    return {} if location is None else {"file": location.path, "line": location.line, "text": location.text.strip()}
