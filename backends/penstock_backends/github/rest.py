"""GitHub's REST API, asked with a token."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from penstock.diagnostics import DeployError
from penstock_backends import deploy_errors
from penstock_backends.exchange import Answer, exchange

_VERSION = "2022-11-28"  # which Enterprise Servers know, too


@dataclass(frozen=True)
class Api:
    """The API at an address; what it refuses is raised as a `DeployError`."""

    server: str
    token: str = field(repr=False)

    def json(self, path: str, body: object = None) -> Any:
        """What is answered, None for nothing; with a ``body``, it is posted."""
        answer = self._ask(path, "application/vnd.github+json", body)
        if not answer.is_good:
            raise self._refusal(path, answer)
        return json.loads(answer.body) if answer.body else None

    def text(self, path: str) -> str | None:
        """A file as it is; None where there is none."""
        answer = self._ask(path, "application/vnd.github.raw+json")
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if not answer.is_good:
            raise self._refusal(path, answer)
        return answer.body.decode("utf-8", "replace")

    def _ask(self, path: str, accept: str, body: object = None) -> Answer:
        headers = {
            "Accept": accept,
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
            "User-Agent": "penstock",
            "X-GitHub-Api-Version": _VERSION,
        }
        data = None if body is None else json.dumps(body).encode()
        return exchange(self.server, "GET" if body is None else "POST", f"{self.server}{path}", headers, data)

    def _refusal(self, path: str, answer: Answer) -> DeployError:
        place = f"{self.server}{path.partition('?')[0]}"
        reason = f"{answer.status} {_message(answer.body) or answer.reason}"
        is_bound_reached = answer.headers.get("X-RateLimit-Remaining") == "0"
        if answer.turns_away and not is_bound_reached:
            return deploy_errors.turned_away(place, reason, "GITHUB_TOKEN or GH_TOKEN, with `actions: write`")
        is_not_there_yet = answer.status == HTTPStatus.NOT_FOUND  # of what was made just now
        return deploy_errors.refused(place, reason, may_pass=answer.may_pass or is_bound_reached or is_not_there_yet)


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return ""
