"""One request to an engine's API over HTTP, and what comes back."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from penstock_backends import deploy_errors

_CREDENTIALS = ("Authorization", "Cookie")


@dataclass(frozen=True)
class Answer:
    """What a server answered, a refusal too."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_good(self) -> bool:
        """Whether it is what was asked for."""
        return self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def turns_away(self) -> bool:
        """Whether it does not accept who asks."""
        return self.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)

    @property
    def may_pass(self) -> bool:
        """Whether it may be otherwise soon: the server is overloaded or ill, or a proxy reaches none."""
        return self.status == HTTPStatus.TOO_MANY_REQUESTS or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR


class _StayingRedirects(urllib.request.HTTPRedirectHandler):
    """Has every answer that leads elsewhere be what was answered."""

    def redirect_request(self, *_: Any) -> None:
        return None


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows where only something was asked for, and shows the credentials to no other server."""

    def redirect_request(self, req: urllib.request.Request, *about: Any) -> urllib.request.Request | None:
        if req.get_method() != "GET":  # of a change the library would make a question
            return None
        found = super().redirect_request(req, *about)
        if found is not None and not _is_same_server(req.full_url, found.full_url):
            for name in _CREDENTIALS:
                found.remove_header(name)
        return found

    def http_error_308(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: http.client.HTTPMessage
    ) -> Any:
        """As a 307, which says the same of a question; Python before 3.11 knows no 308."""
        return self.http_error_307(req, fp, 307, msg, headers)


_STAYING = urllib.request.build_opener(_StayingRedirects)
_FOLLOWING = urllib.request.build_opener(_SafeRedirects)


def exchange(
    server: str,
    method: str,
    url: str,
    headers: Mapping[str, str],
    data: bytes | None = None,
    *,
    seconds: float = 30,
    follows: bool = True,
) -> Answer:
    """What a server answers.

    Args:
        server: its address, as errors name it.
        method: ``GET``, or that of a change.
        url: what is asked, of http or https.
        headers: those of the request, credentials included: these go along to no other server.
        data: what is sent.
        seconds: how long to wait for the server.
        follows: whether a question goes on to where an answer leads; a change never does.

    Raises:
        DeployError: nobody answers.
    """
    request = urllib.request.Request(url, data, dict(headers), method=method)  # noqa: S310  # options take http alone
    try:
        return _answer(_FOLLOWING if follows else _STAYING, request, seconds)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise deploy_errors.unreachable(server, str(reason) or type(error).__name__) from None


def _answer(opener: urllib.request.OpenerDirector, request: urllib.request.Request, seconds: float) -> Answer:
    try:
        found = opener.open(request, timeout=seconds)
    except urllib.error.HTTPError as refusal:
        found = refusal
    with found:
        return Answer(found.status, found.reason, found.headers, found.read())


def _is_same_server(one: str, other: str) -> bool:
    """Whether two addresses are of one server; that an answer leads from http to https there changes nothing."""
    before, after = urlsplit(one), urlsplit(other)
    return before.netloc.lower() == after.netloc.lower() and after.scheme in (before.scheme, "https")
