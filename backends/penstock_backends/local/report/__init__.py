"""A run as a page that one file holds: what happened, where the time went, what was measured, what was printed.

The page fetches nothing, and allows no script and no style but its own, so that whatever a step prints stays text.
"""

from __future__ import annotations

from penstock.history import History, PastRun
from penstock_backends.local.report.content import content_of
from penstock_backends.local.report.page import page


def report_of(history: History, run: PastRun) -> str:
    """The report of a run as HTML, also where it is under way or was interrupted."""
    return page(content_of(history, run))
