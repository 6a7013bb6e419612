"""What a step is given, as the key under which its result is kept. Where this runs, files are at hand.

The part of this file below its first imports is embedded, after the harness, in what is emitted. It runs on Python 3.9.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from penstock.harness import Json, parts_of


def key_of(
    job: Json, index: tuple[int, ...], parameters: Mapping[str, Json], outputs: Mapping[str, Json], states: Json
) -> str:
    """What the result for an item depends on, as a digest: the code, and all that the step is given, by content.

    Equal calls in one run are as many computations: of equal items each has a key of its own, and so has each node,
    where ``job`` says its ``node``. Of it are also read: ``code``, ``arguments``, ``checks``, ``when``, ``after``, the
    ``loops`` around it, and ``shared``: how many of these are around others, where any are.
    """
    used = {name: parameters[name] for name in sorted(names_in([job["arguments"], job.get("checks", ())]))}
    given = []
    for name in sorted({*outputs, *states}):
        node, place = parts_of(name)
        shared = job.get("shared", {}).get(node, 0)
        if place[:shared] != index[:shared]:
            continue  # of another item
        found = outputs.get(name, states.get(name))
        if node in job.get("loops", ()) and name in outputs:
            before, item = found["items"][: index[len(place)]], found["items"][index[len(place)]]
            found = [before.count(item), item]
        given.append([node, place[shared:], content(found)])
    standing = [job.get("when", ()), job.get("after", ())]
    parts = [job["code"], job.get("node", ""), job["arguments"], job.get("checks", ()), standing, used, given]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def names_in(wire: Json) -> set[str]:
    """The parameters that bindings name."""
    if isinstance(wire, dict):
        own = {wire["name"]} if wire.get("kind") == "parameter" else set()
        return own.union(*map(names_in, wire.values()))
    return set().union(*map(names_in, wire)) if isinstance(wire, (list, tuple)) else set()


def content(wire: Json) -> Json:
    """A wire in which an artifact's file is its name and what is in it, by the digest that it tells or has."""
    if isinstance(wire, list):
        return [content(each) for each in wire]
    if not isinstance(wire, dict):
        return wire
    if "$artifact" in wire:
        file = Path(wire["$artifact"]["file"])
        held = [file.name] if "digest" in wire["$artifact"] else [file.name, tree(file)]
        return {"$artifact": {**wire["$artifact"], "file": held}}
    return {key: content(each) for key, each in wire.items()}


def tree(path: Path) -> Json:
    """What is at a path, as digests by name; a link is what it says."""
    if path.is_symlink():
        return ["link", str(path.readlink())]
    if path.is_dir():
        return {each.name: tree(each) for each in path.iterdir()}
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return [digest.hexdigest(), os.access(path, os.X_OK)]
