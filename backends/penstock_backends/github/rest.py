"""GitHub's REST API, asked with a token."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from penstock_backends import deploy_errors

SECONDS = 30
_VERSION = "2022-11-28"  # which Enterprise Servers know, too


@dataclass(frozen=True)
class Api:
    """The API at an address; what it refuses is raised as a `DeployError`."""

    address: str
    token: str = field(repr=False)

    def json(self, path: str, body: object = None) -> Any:
        """What is answered, None for nothing; with a ``body``, it is posted."""
        answer = self._ask(path, "application/vnd.github+json", body)
        return json.loads(answer) if answer else None

    def text(self, path: str) -> str | None:
        """A file as it is; None where there is none."""
        try:
            return self._ask(path, "application/vnd.github.raw+json").decode("utf-8", "replace")
        except FileNotFoundError:
            return None

    def _ask(self, path: str, accept: str, body: object = None) -> bytes:
        place = f"{self.address}{path.partition('?')[0]}"
        data = None if body is None else json.dumps(body).encode()
        headers = {"Accept": accept, "X-GitHub-Api-Version": _VERSION, "User-Agent": "penstock"}
        request = urllib.request.Request(f"{self.address}{path}", data, headers)  # noqa: S310  # `api` is of http or https
        # Unlike other headers it does not go along where the answer leads elsewhere.
        request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310  # as above
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                reason = f"{error.code} {_message(error.read()) or error.reason}"
            if error.code == 404 and "raw" in accept:
                raise FileNotFoundError from None
            if error.code in (401, 403) and error.headers.get("X-RateLimit-Remaining") != "0":
                raise deploy_errors.turned_away(
                    place, reason, "GITHUB_TOKEN or GH_TOKEN, with `actions: write`"
                ) from None
            raise deploy_errors.refused(place, reason) from None
        except (OSError, HTTPException) as error:
            cause = getattr(error, "reason", error)
            raise deploy_errors.unreachable(self.address, cause or type(error).__name__) from None


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return ""
