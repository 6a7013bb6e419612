"""Names within GitHub's rules, each from one name of the author's and from nothing else."""

from __future__ import annotations

import hashlib
import re

LONGEST = 80  # GitHub allows 99 characters in a job id

_PLAIN = re.compile(r"(?!__)[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*")
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_]+")
JOB_TOKEN = "GITHUB_TOKEN"  # noqa: S105  # a name: what GitHub calls the token of a job

_PLAIN_SECRET = re.compile(r"github/token|(?!github/)[a-z][a-z0-9]*(-[a-z0-9]+)*(/[a-z0-9]+(_[a-z0-9]+)*)?")


def job_id(node: str) -> str:
    """The id of a node's job: ``outer.load`` becomes ``outer-load``.

    Ids must differ in more than case, and adding a step must rename no other; so every name that is not all lower case,
    or that GitHub would not take as it is, ends in a hash of its own after ``--``, which no other name contains.
    """
    if _PLAIN.fullmatch(node) and len(node) <= LONGEST:
        return node.replace(".", "-")
    cleaned = _FORBIDDEN.sub("-", node).strip("-_")[:LONGEST] or "job"
    letter = "" if cleaned[0].isalpha() else "job-"
    return f"{letter}{re.sub('-+', '-', cleaned)}--{hashlib.sha256(node.encode()).hexdigest()[:8]}"


def input_ids(parameters: tuple[str, ...]) -> dict[str, str]:
    """The ids of the inputs for a pipeline's parameters, which GitHub tells apart without regard to case."""
    folded = [name.lower() for name in parameters]
    return {
        name: name if name.isascii() and (folded.count(name.lower()) == 1 or name.islower()) else job_id(name)
        for name in parameters
    }


def secret_id(reference: str) -> str:
    """The name of GitHub's secret for a reference: ``warehouse/password`` is ``WAREHOUSE_PASSWORD``.

    No two references have the same. GitHub takes letters, digits and ``_``, and tells no case apart: so a ``-`` becomes
    ``__``, and a reference with anything else ends in a hash after ``___``. ``github/token`` is the token of the job.
    """
    if _PLAIN_SECRET.fullmatch(reference):
        return reference.replace("-", "__").replace("/", "_").upper()
    cleaned = _FORBIDDEN.sub("_", reference).strip("_").upper()
    return f"SECRET_{cleaned}___{hashlib.sha256(reference.encode()).hexdigest()[:8].upper()}"
