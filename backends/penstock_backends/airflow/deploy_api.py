"""The public REST API of an Airflow: v2 of 3.x, v1 of 2.x; and who asks, from the environment."""

from __future__ import annotations

import base64
import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from typing import Literal

from penstock.values import Json
from penstock_backends import deploy_errors

VARIABLES = "AIRFLOW_TOKEN, or AIRFLOW_USERNAME and AIRFLOW_PASSWORD"
SECONDS = 30

_PREFIX = {3: "/api/v2", 2: "/api/v1"}
_TURNED_AWAY = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


class Api:
    """An Airflow of one major version at an address. Paths are below the version's prefix.

    Every method raises `DeployError` where the server cannot be reached, turns the user away or refuses.
    """

    def __init__(self, server: str, major: Literal[3, 2]) -> None:
        self.server, self.major = server.rstrip("/"), major
        self._authorization: str | None = None

    def ask(self, method: str, path: str, body: Json = None, **query: str | int) -> Json:
        """The answer's JSON."""
        found = self._answer(method, path, body, query)
        if found is None:
            fix = f"see that this is Airflow {self.major}; option `airflow` says which one the DAG file is for"
            raise deploy_errors.refused(self.server, f"404 Not Found for {path}", fix)
        return found

    def find(self, path: str, **query: str | int) -> Json:
        """What is there, or None."""
        return self._answer("GET", path, None, query)

    def pages(self, path: str, key: str) -> list[Json]:
        """All that a path lists."""
        found: list[Json] = []
        while True:
            page = self.ask("GET", path, limit=100, offset=len(found))
            found += page[key]
            if not page[key] or len(found) >= page["total_entries"]:
                return found

    def _answer(self, method: str, path: str, body: Json, query: dict[str, str | int]) -> Json:
        url = f"{self.server}{_PREFIX[self.major]}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        if self._authorization is None:
            self._authorization = self._credentials()
        status, text = self._exchange(method, url, body, self._authorization)
        if status == HTTPStatus.UNAUTHORIZED and self._authorization:  # a token that was given for a password ends
            self._authorization = self._credentials()
            status, text = self._exchange(method, url, body, self._authorization)
        if status in _TURNED_AWAY:
            raise deploy_errors.turned_away(self.server, f"{status} {HTTPStatus(status).phrase}", VARIABLES)
        if status == HTTPStatus.NOT_FOUND:
            return None
        if status >= HTTPStatus.BAD_REQUEST:
            raise deploy_errors.refused(self.server, f"{status} {_detail(text)}")
        return self._parsed(text)

    def _credentials(self) -> str:
        """The header's value. Airflow 3 gives a token for a password; where it lets in everybody, for none."""
        token = os.environ.get("AIRFLOW_TOKEN", "")
        if token:
            return f"Bearer {token}"
        user, password = os.environ.get("AIRFLOW_USERNAME", ""), os.environ.get("AIRFLOW_PASSWORD", "")
        if self.major == 2:
            return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode() if user else ""
        body = {"username": user, "password": password} if user else None
        status, text = self._exchange("POST" if user else "GET", f"{self.server}/auth/token", body, "")
        if status < HTTPStatus.BAD_REQUEST:
            return f"Bearer {self._parsed(text)['access_token']}"
        if user:
            raise deploy_errors.turned_away(self.server, f"{status} {_detail(text)}", VARIABLES)
        return ""

    def _exchange(self, method: str, url: str, body: Json, authorization: str) -> tuple[int, bytes]:
        request = urllib.request.Request(url, method=method)  # noqa: S310  # the option takes http and https alone
        request.add_header("Accept", "application/json")
        if authorization:
            request.add_header("Authorization", authorization)
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
                return int(answer.status), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise deploy_errors.unreachable(self.server, reason) from None

    def _parsed(self, text: bytes) -> Json:
        try:
            return json.loads(text or b"{}")
        except ValueError:
            fix = "see that it is the address of Airflow's web server"
            raise deploy_errors.refused(self.server, "it answers with something other than JSON", fix) from None


def _detail(text: bytes) -> str:
    """What a refusal says of itself."""
    try:
        said = json.loads(text)["detail"]
    except (ValueError, KeyError, TypeError):
        said = text.decode(errors="replace")
    return (said if isinstance(said, str) else json.dumps(said))[:500]
