"""The API of Kubeflow Pipelines (v2beta1), spoken over plain HTTP.

Not by the `kfp` package: that brings a Kubernetes client along and wants versions of what it needs that not every
index has, while of the API five resources are needed, which have stayed the same since Kubeflow Pipelines 2.0.
"""

from __future__ import annotations

import json
import os
import secrets
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from penstock.diagnostics import DeployError
from penstock_backends import deploy_errors

SECONDS = 60
VARIABLES = "KUBEFLOW_TOKEN (a bearer token), or KUBEFLOW_COOKIE (of a browser's session)"
_TOKEN_FILE = "/var/run/secrets/kubeflow/pipelines/token"  # noqa: S105  # where Kubeflow puts it in a pod
_ROOT = "/apis/v2beta1"
_PAGE = 100
_PASSING = (502, 503, 504)  # of a proxy, while what is behind it is away


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Has an answer that leads elsewhere be an error: it leads to a page to log in at."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


@dataclass(frozen=True)
class Api:
    """The API at an address; what it refuses is raised as a `DeployError`."""

    host: str

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
        asked = urllib.parse.urlencode({name: value for name, value in query.items() if value})
        place = f"{self.host}{_ROOT}{path}"
        request = urllib.request.Request(f"{place}?{asked}" if asked else place, data, method=method)  # noqa: S310  # of http
        for name, value in ({"Content-Type": kind} if kind else {}).items() | _credentials().items():
            request.add_header(name, value)
        try:
            with _OPENER.open(request, timeout=SECONDS) as answer:
                return _read(place, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                reason = f"{error.code} {_message(error.read()) or error.reason}"
            if error.code in (401, 403) or error.code < 400:
                raise deploy_errors.turned_away(place, reason, VARIABLES) from None
            raise deploy_errors.refused(place, reason) from None
        except (OSError, HTTPException) as error:
            cause = getattr(error, "reason", error)
            raise deploy_errors.unreachable(self.host, cause or type(error).__name__) from None


def is_passing(error: DeployError) -> bool:
    """Whether what went wrong may be over soon: nobody answered, or a proxy did that reaches nobody."""
    said = str(error)
    return deploy_errors.is_unreachable(error) or any(f"does not take it: {code} " in said for code in _PASSING)


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
