"""A run looked at until it has ended, also where its engine does not answer for a while."""

from __future__ import annotations

import time
from collections.abc import Callable

from penstock_backends.deploy_errors import PassingError

AWAY_SECONDS = 300
"""How long an engine may be away: it is being restarted, say, or the network fails."""


def follow(look: Callable[[], bool | None], pause: float) -> bool:
    """Looks until a run has ended, with pauses of so many seconds; whether it succeeded.

    ``look`` gives that, or None for one that goes on. What it raises ends the following, save what may be over soon.
    """
    answered = time.monotonic()
    while True:
        try:
            succeeded = look()
        except PassingError:
            if time.monotonic() - answered > AWAY_SECONDS:
                raise
        else:
            if succeeded is not None:
                return succeeded
            answered = time.monotonic()
        time.sleep(pause)
