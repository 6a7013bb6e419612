"""A job for one of the helper programs under ``programs/``: its folder, its question, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.engines.processes import Helper

# Beyond a job's own time: for the helper to stop it and to answer.
GRACE_SECONDS = 30


@dataclass(frozen=True)
class Outcome:
    """What a job observed (empty where it could not), its log, and what ended it before its time, if anything did."""

    seen: dict[str, Any]
    log: str
    crash: str
    seconds: float


def carry_out(
    helper: Helper, folder: Path, seconds: float, environ: Mapping[str, str] | None, **question: Any
) -> Outcome:
    """Ask the helper to observe in this folder, within this time and with these further environment variables."""
    result, log = folder / "result", folder / "log"
    job = {"result": str(result), "log": str(log), "environ": dict(environ or {}), "seconds": seconds, **question}
    ended = helper.ask(job, seconds + GRACE_SECONDS)
    seen = json.loads(result.read_text()) if result.exists() else {"crash": f"{ended['ended']} with {ended['code']}"}
    text = log.read_text(errors="replace") if log.exists() else ""
    return Outcome(seen, text, seen.pop("crash", ""), ended["seconds"])
