"""The step that tells a webhook of a run that failed.

It is part of what is emitted where a target's option ``alert`` asks for it. It runs on Python 3.9, and beside the names
that Penstock gives every step it needs the standard library alone.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request

from penstock import RunStatus

MOST = 300  # characters of a failure's message in the text; the whole is in `failures`


def tell_of_failure(status: RunStatus, engine: str) -> None:
    """Posts how the run ended, as JSON, to the webhook whose URL is the secret that the step is given."""
    url = os.environ["PENSTOCK_ALERT_URL"].strip()
    if not url.startswith(("https://", "http://")):
        raise ValueError("the secret is not the URL of a webhook")
    message = {
        "text": said_of(status, engine),
        "pipeline": status.pipeline,
        "state": status.state,
        "failures": dict(status.failures),
        "engine": engine,
        "format": 1,
    }
    run = run_url()
    if run:
        message["run"] = run
        message["text"] = f"{message['text']}\n{run}"
    headers = {"Content-Type": "application/json", "User-Agent": "penstock"}
    body = json.dumps(message).encode("ascii")
    request = urllib.request.Request(url, body, headers)  # noqa: S310  # the scheme is looked at above
    try:
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310  # likewise
    except urllib.error.HTTPError as error:
        error.close()
        raise ConnectionError(f"the webhook answered {error.code} {error.reason}") from None
    except OSError as error:
        raise ConnectionError(f"the webhook cannot be reached: {getattr(error, 'reason', error)}") from None


def said_of(status: RunStatus, engine: str) -> str:
    """A run's end in words, as chat services show them."""
    lines = [f"{status.pipeline} {status.state} on {engine}"]
    lines += [f"{node}: {' '.join(text.split())[:MOST]}" for node, text in status.failures.items()]
    return "\n".join(lines)


def run_url() -> str:
    """Where the run can be looked at, on GitHub, which says it."""
    parts = [os.environ.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID")]
    return "{}/{}/actions/runs/{}".format(*parts) if all(parts) else ""
