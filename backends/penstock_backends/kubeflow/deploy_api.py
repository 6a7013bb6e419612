"""The API of Kubeflow Pipelines (v2beta1), spoken over plain HTTP.

Not by the `kfp` package: that brings a Kubernetes client along and wants versions of what it needs that not every
index has, while of the API five resources are needed, which have stayed the same since Kubeflow Pipelines 2.0.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from penstock_backends import deploy_errors
from penstock_backends.exchange import exchange

SECONDS = 60
VARIABLES = "KUBEFLOW_TOKEN (a bearer token), or KUBEFLOW_COOKIE (of a browser's session)"
_TOKEN_FILE = "/var/run/secrets/kubeflow/pipelines/token"  # noqa: S105  # where Kubeflow puts it in a pod
_ROOT = "/apis/v2beta1"
_PAGE = 100


@dataclass(frozen=True)
class Api:
    """The API at an address; what it refuses is raised as a `DeployError`."""

    server: str

    def get(self, path: str, /, **query: str) -> Any:
        """What is there."""
        return self._ask("GET", path, query)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Makes something, or tells the server to."""
        data = None if body is None else json.dumps(body).encode()
        return self._ask("POST", path, {}, data, "application/json")

    def delete(self, path: str, /, **query: str) -> None:
        """Removes something."""
        self._ask("DELETE", path, query)

    def upload(self, path: str, text: str, /, **query: str) -> Any:
        """Sends a file of YAML, as a form does."""
        boundary = secrets.token_hex(16)
        lines = (
            f"--{boundary}",
            'Content-Disposition: form-data; name="uploadfile"; filename="pipeline.yaml"',
            "Content-Type: application/x-yaml",
            "",
            text,
            f"--{boundary}--",
            "",
        )
        form = f"multipart/form-data; boundary={boundary}"
        return self._ask("POST", path, query, "\r\n".join(lines).encode(), form)

    def all(self, path: str, key: str, /, **query: str) -> Iterator[dict[str, Any]]:
        """The things of a list, whatever the pages that it comes in."""
        token = ""
        while True:
            page = {"page_token": token} if token else {}
            found = self.get(path, **query, page_size=str(_PAGE), **page)
            yield from found.get(key, ())
            token = found.get("next_page_token", "")
            if not token:
                return

    def _ask(self, method: str, path: str, query: Mapping[str, str], data: bytes | None = None, kind: str = "") -> Any:
        asked = urlencode({name: value for name, value in query.items() if value})
        place = f"{self.server}{_ROOT}{path}"
        url = f"{place}?{asked}" if asked else place
        headers = {**({"Content-Type": kind} if kind else {}), **_credentials()}
        answer = exchange(self.server, method, url, headers, data, seconds=SECONDS, follows=False)
        if answer.is_good:
            return _read(place, answer.body)
        reason = f"{answer.status} {_message(answer.body) or answer.reason}"
        # An answer that leads elsewhere leads to a page to log in at.
        if answer.turns_away or answer.status < HTTPStatus.BAD_REQUEST:
            raise deploy_errors.turned_away(place, reason, VARIABLES)
        raise deploy_errors.refused(place, reason, may_pass=answer.may_pass)


def where(value: str, key: str = "display_name") -> dict[str, str]:
    """The query for the things of a list that are called so, or have this value otherwise."""
    predicate = {"operation": "EQUALS", "key": key, "string_value": value}
    return {"filter": json.dumps({"predicates": [predicate]})}


def _credentials() -> dict[str, str]:
    """What the environment holds to show the server who asks."""
    if cookie := os.environ.get("KUBEFLOW_COOKIE"):
        return {"Cookie": cookie}
    token = os.environ.get("KUBEFLOW_TOKEN", "")
    file = Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH") or _TOKEN_FILE)
    if not token and file.is_file():
        token = file.read_text(encoding="ascii").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _read(place: str, body: bytes) -> Any:
    try:
        return json.loads(body or b"{}")
    except ValueError:
        # A proxy that shows a page to log in at, or another server altogether.
        raise deploy_errors.turned_away(
            place, "it answers with a page, not as Kubeflow's API does", VARIABLES
        ) from None


def _message(body: bytes) -> str:
    try:
        said = json.loads(body)
        return str(said.get("message") or said.get("error_message") or said.get("error") or "")
    except (ValueError, AttributeError):
        return body.decode("utf-8", "replace").strip()[:200]
