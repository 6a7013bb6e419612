"""The public REST API of an Airflow: v2 of 3.x, v1 of 2.x; and who asks, from the environment."""

from __future__ import annotations

import base64
import json
import os
from http import HTTPStatus
from typing import Literal
from urllib.parse import urlencode

from penstock.values import Json
from penstock_backends import deploy_errors
from penstock_backends.exchange import Answer, exchange

VARIABLES = "AIRFLOW_TOKEN, or AIRFLOW_USERNAME and AIRFLOW_PASSWORD"

_PREFIX = {3: "/api/v2", 2: "/api/v1"}


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
        url = f"{self.server}{_PREFIX[self.major]}{path}" + (f"?{urlencode(query)}" if query else "")
        if self._authorization is None:
            self._authorization = self._credentials()
        answer = self._exchange(method, url, body, self._authorization)
        if answer.status == HTTPStatus.UNAUTHORIZED and self._authorization:  # a token given for a password ends
            self._authorization = self._credentials()
            answer = self._exchange(method, url, body, self._authorization)
        if answer.turns_away:
            raise deploy_errors.turned_away(self.server, f"{answer.status} {answer.reason}", VARIABLES)
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if not answer.is_good:
            raise deploy_errors.refused(self.server, _told(answer), may_pass=answer.may_pass)
        return self._parsed(answer)

    def _credentials(self) -> str:
        """The header's value. Airflow 3 gives a token for a password; where it lets in everybody, for none."""
        token = os.environ.get("AIRFLOW_TOKEN", "")
        if token:
            return f"Bearer {token}"
        user, password = os.environ.get("AIRFLOW_USERNAME", ""), os.environ.get("AIRFLOW_PASSWORD", "")
        if self.major == 2:
            return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode() if user else ""
        body = {"username": user, "password": password} if user else None
        answer = self._exchange("POST" if user else "GET", f"{self.server}/auth/token", body, "")
        if answer.is_good:
            return f"Bearer {self._parsed(answer)['access_token']}"
        if answer.may_pass:
            raise deploy_errors.refused(self.server, _told(answer), may_pass=True)
        if user:
            raise deploy_errors.turned_away(self.server, _told(answer), VARIABLES)
        return ""

    def _exchange(self, method: str, url: str, body: Json, authorization: str) -> Answer:
        headers = {"Accept": "application/json", **({"Authorization": authorization} if authorization else {})}
        if body is None:
            return exchange(self.server, method, url, headers)
        headers["Content-Type"] = "application/json"
        return exchange(self.server, method, url, headers, json.dumps(body).encode())

    def _parsed(self, answer: Answer) -> Json:
        try:
            return json.loads(answer.body or b"{}")
        except ValueError:
            fix = "see that it is the address of Airflow's web server"
            raise deploy_errors.refused(self.server, "it answers with something other than JSON", fix) from None


def _told(refusal: Answer) -> str:
    """What a refusal says of itself."""
    try:
        said = json.loads(refusal.body)["detail"]
    except (ValueError, KeyError, TypeError):
        said = refusal.body.decode(errors="replace") or refusal.reason
    return f"{refusal.status} {said if isinstance(said, str) else json.dumps(said):.500}"
