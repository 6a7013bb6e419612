"""What can go wrong where a pipeline is deployed, told alike for every target."""

from __future__ import annotations

from penstock.diagnostics import ConfigurationError, DeployError, Diagnostic


class PassingError(DeployError):
    """What may be over soon: the engine does not answer, or is not able to now."""


def nowhere(
    target: str, option: str, example: str, what: str = "where to deploy to", because: str = ""
) -> ConfigurationError:
    """No option says where to deploy to, or another place; ``example`` is one with which it would."""
    fix = f"write `{example}` in [tool.penstock.deploy.{target}] of pyproject.toml, or give `--option {option}=...`"
    message = f"nothing says {what} for {target}" + (f": {because}" if because else "")
    return ConfigurationError(Diagnostic("P803", message, fix=fix))


def unreachable(place: str, reason: object) -> PassingError:
    """The engine does not answer."""
    return PassingError(
        Diagnostic("P811", f"{place} cannot be reached: {reason}", fix="see that it runs, and its address")
    )


def turned_away(place: str, reason: object, variables: str) -> DeployError:
    """The engine does not accept who asks; ``variables`` are what credentials are read from."""
    fix = f"give credentials that it knows in the environment: {variables}"
    return DeployError(Diagnostic("P812", f"{place} turns this user away: {reason}", fix=fix))


def changed_by_hand(place: str) -> DeployError:
    """What is there is not what was deployed last."""
    message = f"{place} was changed since it was deployed, or was not made by Penstock"
    return DeployError(Diagnostic("P813", message, fix="bring the change into the pipeline, then deploy with --force"))


def refused(place: str, reason: object, fix: str = "", *, may_pass: bool = False) -> DeployError:
    """The engine, or the file system, does not take it; ``may_pass`` is whether it may soon."""
    kind = PassingError if may_pass else DeployError
    return kind(Diagnostic("P814", f"{place} does not take it: {reason}", fix=fix))


def of_another(place: str, origin: str, name: str) -> DeployError:
    """What is there was deployed from another pipeline, which ``origin`` tells."""
    fix = "give one of them another name (`@pipeline(name=...)`); where it is the same, and was moved, deploy with "
    return refused(place, f"the pipeline of {origin} has that name", f"{fix}`--option replaces={name}`")


def no_version(name: str, version: str, known: str) -> DeployError:
    """There is nothing to return to; ``known`` says what there is."""
    message = f"`{name}` has no version {version or 'before the current one'}"
    fix = f"its versions are: {known}" if known else "it is not deployed there: deploy it"
    return DeployError(Diagnostic("P815", message, fix=fix))
