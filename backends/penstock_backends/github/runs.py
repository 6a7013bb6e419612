"""Runs of a deployed workflow, started and followed by GitHub's REST API."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from penstock.deployment import StartedRun
from penstock.spec import ParameterSpec, PipelineSpec, TypeKind
from penstock.values import Json
from penstock_backends import deploy_errors, following
from penstock_backends.github.deploy_options import GithubDeployOptions
from penstock_backends.github.inputs import LONGEST_INPUTS, input_of
from penstock_backends.github.names import input_ids, job_id
from penstock_backends.github.record import Record, digest
from penstock_backends.github.repository import Repository
from penstock_backends.github.rest import Api

_PAGE = 100
_NOT_YET = ("queued", "pending", "requested")


@dataclass(frozen=True)
class Runs:
    """The runs of a repository on GitHub."""

    api: Api
    slug: str
    options: GithubDeployOptions

    def start(self, pipeline: PipelineSpec, record: Record, parameters: Mapping[str, Json]) -> StartedRun:
        """Starts a run of a version with parameters, encoded."""
        inputs = typed_inputs(pipeline, parameters)
        if sum(map(len, inputs.values())) > LONGEST_INPUTS:
            reason = f"the parameters are longer than {LONGEST_INPUTS:,} characters together"
            raise deploy_errors.refused(self.slug, reason, "write what is large to a place that a step reads it from")
        ref = self.options.ref or self.api.json(f"/repos/{self.slug}")["default_branch"]
        self._see_that_it_is_there(record, ref)
        workflow = f"{job_id(pipeline.name)}.yml"
        path = f"/repos/{self.slug}/actions/workflows/{workflow}/dispatches"
        told = self.api.json(path, {"ref": ref, "inputs": inputs, "return_run_details": True})
        if not told:  # an Enterprise Server before 2026
            raise deploy_errors.refused(self.slug, "it has started a run, but does not say which", "look for it there")
        return StartedRun(str(told["workflow_run_id"]), told["html_url"])

    def _see_that_it_is_there(self, record: Record, ref: str) -> None:
        for path, wanted in record.files.items():
            text = self.api.text(f"/repos/{self.slug}/contents/{quote(path)}?ref={quote(ref, safe='')}")
            if text is None or digest(text.replace("\r\n", "\n")) != wanted:
                reason = f"{path} is not there" if text is None else f"{path} is of another version there"
                raise deploy_errors.refused(f"{self.slug}, {ref}", reason, "commit what is deployed, and push it")

    def follow(self, run: StartedRun, say: Callable[[str], None]) -> bool:
        """Waits until a run has ended, telling of each job as it starts and ends; whether all went well."""
        seen: dict[int, str] = {}

        def look() -> bool | None:
            about = self.api.json(f"/repos/{self.slug}/actions/runs/{run.id}")
            for job in self._jobs(run):
                state = job["conclusion"] or job["status"]
                if state not in (*_NOT_YET, seen.get(job["id"])):
                    seen[job["id"]] = state
                    say(f"{job['name']}: {state.replace('_', ' ')}")
            return bool(about["conclusion"] == "success") if about["status"] == "completed" else None

        return following.follow(look, self.options.poll_seconds)

    def _jobs(self, run: StartedRun) -> Iterator[Any]:
        page = 1
        while True:
            path = f"/repos/{self.slug}/actions/runs/{run.id}/jobs?per_page={_PAGE}&page={page}"
            jobs = self.api.json(path)["jobs"]
            yield from jobs
            if len(jobs) < _PAGE:
                return
            page += 1


def runs_of(repository: Repository, options: GithubDeployOptions) -> Runs:
    """The runs on GitHub of the repository that the options, the environment, or its ``origin`` name.

    Raises:
        ConfigurationError: none of them does.
        DeployError: the environment has no token.
    """
    host, origin = repository.remote()
    slug = options.github or os.environ.get("GITHUB_REPOSITORY") or origin
    if not slug:
        raise deploy_errors.nowhere("github", "github", 'github = "OWNER/NAME"', "which repository starts runs")
    token = os.environ.get("GH_TOKEN") or os.environ.get("GITHUB_TOKEN") or ""
    own = f"https://{host}/api/v3" if host not in ("", "github.com") else "https://api.github.com"
    server = options.server or os.environ.get("GITHUB_API_URL") or own
    if not token:
        raise deploy_errors.turned_away(server, "no token is given", "GITHUB_TOKEN or GH_TOKEN")
    return Runs(Api(server.rstrip("/"), token), slug, options)


def typed_inputs(pipeline: PipelineSpec, parameters: Mapping[str, Json]) -> dict[str, str]:
    """The inputs of a run, by their ids, as a person would have to type them for these encoded values."""
    ids = input_ids(tuple(each.name for each in pipeline.parameters))
    given = (each for each in pipeline.parameters if each.name in parameters)
    return {ids[each.name]: _typed(each, ids[each.name], parameters[each.name]) for each in given}


def _typed(parameter: ParameterSpec, id_: str, value: Json) -> str:
    if parameter.type.kind is TypeKind.STR and isinstance(value, str):
        quoted = input_of(id_, parameter).quoted and value.startswith('"')
        return json.dumps(value) if quoted else value
    shown = input_of(id_, parameter.model_copy(update={"default": value, "required": False}))
    if shown.shown:  # it says less than the encoding
        return json.dumps(value)
    return shown.default if isinstance(shown.default, str) else json.dumps(shown.default)
