"""Moves the actions in `actions` to their newest releases, for those who maintain Penstock.

``python -m penstock_backends.github.pins`` asks git for the tags of each action and writes the table anew: the newest
release of the same major version, or of any with ``--major``. With ``--check`` it writes nothing, and fails where there
is a newer one. A tag that points elsewhere than when it was pinned is never followed: releases are not moved in good
faith.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from penstock_backends.github import actions
from penstock_backends.github.actions import Action

_RELEASE = re.compile(r"v(\d+)\.(\d+)\.(\d+)")


class MovedError(Exception):
    """A release is not at the commit any more that it was pinned at."""


def releases(address: str) -> dict[str, str]:
    """The commit of each release in a repository; for a tag that has a text of its own, the commit that it is about.

    Raises:
        subprocess.CalledProcessError: git cannot read the repository.
    """
    told = subprocess.run(["git", "ls-remote", "--tags", address], check=True, capture_output=True, text=True).stdout
    found: dict[str, str] = {}
    for line in sorted(told.splitlines(), key=lambda each: each.endswith("^{}")):
        commit, _, ref = line.partition("\t")
        tag = ref.removeprefix("refs/tags/").removesuffix("^{}")
        if _RELEASE.fullmatch(tag):
            found[tag] = commit
    return found


def newest(action: Action, found: Mapping[str, str], *, major: bool = False) -> Action:
    """The newest release of an action, of its own major version unless ``major`` says of any.

    Raises:
        MovedError: the release that is pinned is gone, or somewhere else.
    """
    if found.get(action.version) != action.commit:
        there = found.get(action.version, "nowhere")
        raise MovedError(f"{action.name} {action.version} was at {action.commit}, and is now at {there}: find out why")
    own = _numbers(action.version)[0]
    version = max((each for each in found if major or _numbers(each)[0] == own), key=_numbers)
    return replace(action, version=version, commit=found[version])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.removeprefix("v").split(".")))


def _written(action: Action) -> str:
    """An action as the table has it."""
    return f'"{action.name}", "{action.commit}", "{action.version}"'


def main(arguments: Sequence[str], table: Path = Path(actions.__file__)) -> int:
    """Writes the table anew, and says what has changed; 1 where ``--check`` finds something to change."""
    parser = argparse.ArgumentParser(description="Pin the actions of emitted workflows to their newest releases.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where there is a newer one")
    parser.add_argument("--major", action="store_true", help="also to the next major version: read what it breaks")
    parser.add_argument("--from", dest="base", default="https://github.com", metavar="URL", help="where they are")
    options = parser.parse_args(arguments)
    text = table.read_text(encoding="utf-8")
    changed = False
    for action in actions.ACTIONS:
        found = newest(action, releases(f"{options.base}/{action.name}"), major=options.major)
        if found != action:
            changed = True
            sys.stdout.write(f"{action.name}: {action.version} -> {found.version} {found.commit}\n")
            text = text.replace(_written(action), _written(found))
    if changed and not options.check:
        table.write_text(text, encoding="utf-8")
    return int(changed and options.check)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except MovedError as error:
        sys.exit(str(error))
