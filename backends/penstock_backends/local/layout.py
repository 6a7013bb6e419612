"""What is where in the folder of a run."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

JOURNAL = "events.jsonl"
SPEC = "spec.json"
PARAMETERS = "parameters.json"
SUMMARY = "run.json"
LOGS = "logs"
CHECKPOINTS = "checkpoints"
ELSEWHERE = "elsewhere"  # there where the folder is a copy of what another machine wrote down
ALIVE = "alive"  # on the shared side: until when the run counts as under way, by the clock of the machine that runs it


def log_of(folder: Path, node: str, attempt: int) -> Path:
    """Where what an attempt prints is kept."""
    return folder / f"{LOGS}/{quote(node, safe='[]')}.{attempt}.log"
