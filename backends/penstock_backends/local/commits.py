"""Which commit of the author's repository a run was started at, read without starting Git."""

from __future__ import annotations

import re
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def commit_at(folder: Path) -> str:
    """The commit that is checked out where a folder is; empty where there is none, or it cannot be told.

    Changes that were not committed are not seen.
    """
    try:
        git = _git_folder(folder.absolute())
        return "" if git is None else _resolved(git, (git / "HEAD").read_text(encoding="utf-8").strip())
    except (OSError, ValueError):
        return ""


def _git_folder(folder: Path) -> Path | None:
    """The folder in which Git keeps what belongs to the checkout around a folder."""
    found = next((each / ".git" for each in (folder, *folder.parents) if (each / ".git").exists()), None)
    if found is None or found.is_dir():
        return found
    return (
        found.parent / found.read_text(encoding="utf-8").partition("gitdir:")[2].strip()
    )  # a worktree's, a submodule's


def _resolved(git: Path, head: str) -> str:
    """What HEAD says: a commit, or the branch that is at one."""
    if not head.startswith("ref: "):
        return head if _COMMIT.fullmatch(head) else ""
    name = head.removeprefix("ref: ")
    common = git / "commondir"
    shared = git / common.read_text(encoding="utf-8").strip() if common.exists() else git
    for each in (git / name, shared / name):
        if each.exists():
            return _resolved(git, each.read_text(encoding="utf-8").strip())
    packed = (shared / "packed-refs").read_text(encoding="utf-8").splitlines()
    return next((line.partition(" ")[0] for line in packed if line.endswith(f" {name}")), "")
