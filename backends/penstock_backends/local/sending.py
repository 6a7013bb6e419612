"""Delivers alerts one after another, in a thread of its own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from penstock_backends.local.alerts import Alert
from penstock_backends.local.delivery import DeliveryError, hand, post
from penstock_backends.local.objects import Json
from penstock_backends.local.observing import Background

TIMEOUT = 5.0  # seconds for one try
TRIES = 3
PAUSE = 0.5  # seconds before the second try, twice that before the third

Note = Callable[..., None]
"""Writes an event down and has it shown: what it is, the node (empty for the run), the sentence, and what it holds."""

Letter = tuple[Alert, Json, Path]
"""What is to be delivered: by which rule, what it says, and the working directory of a command."""


class Sender(Background[Letter]):
    """Delivers alerts one after another, and notes what became of each."""

    def __init__(self, note: Note) -> None:
        super().__init__("penstock-alerts")
        self._note = note
        self._waiting: deque[Letter] = deque()

    def put(self, item: Letter) -> None:
        """Gives it an alert to deliver."""
        self._waiting.append(item)
        super().put(item)

    def close(self, patience: float) -> bool:
        """Waits for what is to be delivered as long as there is patience; what was not by then has failed."""
        has_ended = super().close(patience)
        with suppress(IndexError):
            while True:
                self._note_failure(self._waiting.popleft(), 0, "there was no time left for it at the end of the run")
        return has_ended

    def failed(self, error: Exception) -> None:
        """Says that delivering itself went wrong."""
        with suppress(IndexError):
            self._note_failure(self._waiting.popleft(), 1, f"{type(error).__name__}: {error}")

    def take(self, item: Letter) -> None:
        """Delivers an alert, trying again where that may help."""
        tries, error = _delivered(item)
        with suppress(IndexError):  # it was given up, and that was noted
            self._waiting.popleft()
            if error:
                self._note_failure(item, tries, error)
            else:
                rule, message, _ = item
                shown = f"told {rule.address}: {message['text']}"
                self._note("alert_sent", message.get("node", ""), shown, on=rule.on, to=rule.address, tries=tries)

    def _note_failure(self, letter: Letter, tries: int, error: str) -> None:
        rule, message, _ = letter
        shown = f"an alert on {rule.on} did not reach {rule.address}: {error}"
        more = {"on": rule.on, "to": rule.address, "tries": tries, "error": error}
        self._note("alert_failed", message.get("node", ""), shown, **more)


def _delivered(letter: Letter) -> tuple[int, str]:
    """How often it was tried to deliver an alert, and why it could not be, empty where it was."""
    tries = 0
    while True:
        tries += 1
        try:
            _deliver(*letter)
        except DeliveryError as error:
            if not error.may_pass or tries == TRIES:
                return tries, str(error)
            time.sleep(PAUSE * 2 ** (tries - 1))
        else:
            return tries, ""


def _deliver(rule: Alert, message: Json, folder: Path) -> None:
    if isinstance(rule.to, str):
        post(rule.to, rule.headers, message, TIMEOUT)
    elif rule.to is not None:
        hand(rule.to, folder, message, TIMEOUT)
