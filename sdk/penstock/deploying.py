"""From a pipeline to its `Deployment`: which target, with which options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from penstock import compiler
from penstock.backend import Definition, Files
from penstock.configuration import Project
from penstock.deployment import Deployed, Deployer, Deployment
from penstock.diagnostics import ConfigurationError, Diagnostic


@dataclass(frozen=True)
class Deployable:
    """A pipeline, a target that can be deployed to, and what compiling it takes."""

    definition: Definition
    target: str
    options: Mapping[str, Any]
    project: Project
    deployment: Deployment

    def files(self) -> Files:
        """What is deployed. Raises as `compiler.compile_definition` does."""
        return compiler.compile_definition(self.definition, self.target, self.options, self.project)


def deployable(definition: Definition, target: str, given: Mapping[str, Any]) -> Deployable:
    """A pipeline with its deployment to a target.

    Args:
        definition: the pipeline.
        target: the backend's name.
        given: options of deploying and of compiling, by name; they go before those in ``[tool.penstock.deploy.TARGET]``
            and ``[tool.penstock.TARGET]`` of the nearest pyproject.toml at or above the pipeline's source.

    Raises:
        ConfigurationError: no such target or option, or the target has nowhere to be deployed to.
    """
    chosen = compiler.backend(target)
    if not hasattr(chosen, "deployment"):
        message = f"target `{target}` is not deployed: what it is compiled to runs where it lies"
        raise ConfigurationError(Diagnostic("P801", message, fix=f"compile it: `penstock compile --to {target}`"))
    deployer = cast("Deployer", chosen)
    project = compiler.project(definition.folder)
    names = deployer.deploy_options.model_fields
    compiling = {name: value for name, value in given.items() if name not in names}
    own = {name: value for name, value in given.items() if name in names}
    known = [*names, *chosen.options.model_fields]
    deploy_options = compiler.checked_options(
        deployer.deploy_options,
        {**project.options(compiler.DEPLOY, target), **own},
        f"deploying to `{target}`",
        known,
        project.places((compiler.DEPLOY, target), own),
    )
    options = compiler.checked_options(
        chosen.options,
        {**project.options(target), **compiling},
        f"target `{target}`",
        known,
        project.places((target,), compiling),
    )
    there = deployer.deployment(definition, options.of_pipeline(definition.spec.name), deploy_options)
    return Deployable(definition, target, compiling, project, there)


def deploy(definition: Definition, target: str, given: Mapping[str, Any], *, force: bool = False) -> Deployed:
    """Compiles a pipeline and puts it where a target's engine looks for it. Raises as `Pipeline.deploy` says."""
    found = deployable(definition, target, given)
    return found.deployment.put(found.files(), force=force)
