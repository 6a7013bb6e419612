"""Delivers one alert: posts it to a webhook, or gives it to a command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

from penstock_backends.local.expanding import UnsetError, expanded
from penstock_backends.local.objects import Json

_LATER = (408, 425, 429)


class DeliveryError(Exception):
    """It did not arrive. ``may_pass`` says whether another try could help."""

    def __init__(self, reason: str, *, may_pass: bool) -> None:
        super().__init__(reason)
        self.may_pass = may_pass


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """Follows no one elsewhere: the message would not go along, but headers with secrets would."""

    def redirect_request(self, *about: object) -> None:
        return None


def post(url: str, headers: Mapping[str, str], message: Json, seconds: float) -> None:
    """Posts a message as JSON to a URL. Raises `DeliveryError` where the answer isn't success."""
    wanted = {"Content-Type": "application/json", "User-Agent": "penstock", **headers}
    body = json.dumps(message).encode("ascii")
    try:
        request = urllib.request.Request(  # noqa: S310  # `Alert` has seen to the scheme, `expanded` to secrets
            expanded(url), body, {name: expanded(value) for name, value in wanted.items()}, method="POST"
        )
        if request.type not in ("http", "https"):
            raise DeliveryError("its URL is not one of http or https", may_pass=False)
        with urllib.request.build_opener(_NoRedirection).open(request, timeout=seconds):
            return
    except UnsetError as error:
        raise DeliveryError(str(error), may_pass=False) from None
    except urllib.error.HTTPError as error:
        error.close()
        may_pass = error.code >= 500 or error.code in _LATER
        raise DeliveryError(f"the webhook answered {error.code} {error.reason}", may_pass=may_pass) from None
    except TimeoutError:
        raise DeliveryError(f"the webhook gave no answer within {seconds:g} s", may_pass=True) from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise DeliveryError(f"the webhook cannot be reached: {reason or type(error).__name__}", may_pass=True) from None
    except ValueError:  # its text would tell the URL, and so what may be secret in it
        raise DeliveryError("its URL or a header makes no sense", may_pass=False) from None


def hand(command: Sequence[str], folder: Path, message: Json, seconds: float) -> None:
    """Starts a command with a message as JSON on its standard input. Raises `DeliveryError` where it fails or hangs."""
    body = json.dumps(message).encode("ascii")
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
                cwd=folder,
                start_new_session=True,  # so that Ctrl-C does not reach it, and what it has started ends with it
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DeliveryError(f"the command cannot be started: {reason}", may_pass=False) from None
        try:
            process.communicate(body, timeout=seconds)
        except subprocess.TimeoutExpired:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise DeliveryError(f"the command did not end within {seconds:g} s", may_pass=False) from None
        if process.returncode:
            said.seek(0)
            words = said.read(1 << 16).decode("utf-8", "replace").strip().rpartition("\n")[2]
            ended = f"the command ended with {process.returncode}"
            raise DeliveryError(f"{ended}: {words}" if words else ended, may_pass=False)
