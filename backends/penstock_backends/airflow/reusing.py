"""What the process of an attempt does where earlier results are kept: look for one, else keep what the step gives.

An entry is a folder below ``request["cache"]``, called after the key and `turn`: ``entry.json``, which holds the
result and digests of it and of all files, and in ``files`` what artifacts are. It is put there whole, by a rename. What
is taken over is copied, and the copy compared: no run depends on an entry, so that any may be deleted at any time.
Where the artifact root is an object store, no process of an attempt reaches it: a look only tells the key.

The part of this file below its imports is embedded, after `attempt`, in what is emitted. It runs on Python 3.9.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from penstock.harness import Json, dumps, parts_of, say
from penstock_backends.airflow.attempt import Asked, attempted, main
from penstock_backends.reuse import key_of, names_in, tree


def reused(asked: Asked) -> Json:
    """The result that an earlier run has kept for the same code and inputs; else that of an attempt."""
    if "cache" not in asked.request:
        key = key_for(in_store(asked)) if "only_look" in asked.request else ""
        return {**attempted(asked), "key": key}
    entry = entry_for(asked)
    if entry is None:
        return attempted(asked)
    found = taken_over(entry, asked.folder)
    if found:
        say(f"taken over, and not run: the same code was given the same inputs in {found.pop('from')}")
        return {**found, "reused": True}
    result = attempted(asked)
    if "error" not in result and "only_look" not in asked.request:
        keep(entry, {**result, "from": asked.request["folder"]}, asked.folder)
    return result


def entry_for(asked: Asked) -> Path | None:
    """Where a result for this code and these inputs is kept; nothing where none may be, or where time is up."""
    key = key_for(asked)
    try:
        return Path(asked.request["cache"], f"{key}.{turn(key, asked.request)}") if key else None
    except OSError as error:
        say(f"no earlier result is looked for: {error}")
        return None


def key_for(asked: Asked) -> str:
    """What stands for this code and these inputs; empty where no result may be taken over, or time is up."""
    job, deadline = asked.job, asked.request.get("deadline")
    if "code" not in job or (deadline is not None and time.time() >= deadline):
        return ""
    python = "" if "pod" in job else f"{sys.implementation.name}-{sys.version_info[0]}.{sys.version_info[1]}"
    names = sorted(names_in([job["arguments"], job.get("checks", ())]))
    code = [job["code"], python, [job["parameters"][name] for name in names]]
    try:
        return key_of({**job, "code": code}, asked.place.index, asked.parameters, asked.outputs, asked.place.states)
    except (OSError, KeyError) as error:
        say(f"no earlier result is looked for: {error}")
        return ""


def in_store(asked: Asked) -> Asked:
    """The same with the task's own name, and its place in loops whose items it is not given, as a part of the key.

    In an object store equal calls in a run cannot be numbered as they come: nothing there is made by only one of two.
    """
    loops, index = asked.job.get("loops", ()), asked.place.index
    seen = {parts_of(name)[0] for name in asked.outputs}
    own = [number for loop, number in zip(loops, index) if loop not in seen]  # noqa: B905  # Python 3.9
    return asked._replace(job={**asked.job, "node": [asked.request["node"], own]})


def turn(key: str, request: Json) -> int:
    """Which this is, from 0, of the instances in a run that have the same key: equal calls are as many computations.

    They are numbered as they come, by links below the run's folder that name them; further attempts keep the number.
    """
    root = Path(request["cache"]).parent
    dag, run, *instance, _ = Path(request["folder"]).relative_to(root).parts
    name, claims = "/".join(instance), root / dag / run / "@claims"
    claims.mkdir(parents=True, exist_ok=True)
    for number in itertools.count():
        claim = claims / f"{key}.{number}"
        with contextlib.suppress(FileExistsError):
            claim.symlink_to(name)
        if str(claim.readlink()) == name:
            break
    return number


def taken_over(entry: Path, folder: Path) -> Json:
    """The result of an entry, its files copied below ``folder``; nothing where it is not there, or not as it was."""
    if not entry.exists():
        return None
    try:
        result = restored(entry, folder)
        os.utime(entry)
    except (OSError, ValueError, KeyError, TypeError) as error:
        say(f"the earlier result in {entry} is damaged, and made anew: {error}")
        shutil.rmtree(entry, ignore_errors=True)
        return None
    return result


def restored(entry: Path, folder: Path) -> Json:
    """As `taken_over`; of what is not as it was nothing stays below ``folder``."""
    kept = json.loads((entry / "entry.json").read_text(encoding="ascii"))
    if kept["digest"] != digest(kept["result"], kept["files"]):
        raise ValueError("entry.json is not as it was")
    with contextlib.ExitStack() as undone:
        for name in kept["files"]:
            undone.callback(erase, folder / name)
        copy(list(kept["files"]), entry / "files", folder)
        if kept["files"] != {name: tree(folder / name) for name in kept["files"]}:
            raise ValueError("its files are not as they were")
        undone.pop_all()
    return kept["result"]


def keep(entry: Path, result: Json, folder: Path) -> None:
    """Puts a result and its files there, whole or not at all; that they could not be kept is no failure of the step."""
    draft = entry.with_name(f".{entry.name}-{uuid.uuid4().hex[:8]}")
    artifacts = (
        wire["$artifact"] for wire in result["outputs"].values() if isinstance(wire, dict) and "$artifact" in wire
    )
    names = sorted({Path(each["file"]).parts[0] for each in artifacts})
    try:
        files = {name: tree(folder / name) for name in names}
        (draft / "files").mkdir(parents=True)
        copy(names, folder, draft / "files")
        text = dumps({"digest": digest(result, files), "files": files, "result": result})
        (draft / "entry.json").write_text(text, encoding="ascii")
        draft.rename(entry)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        if not entry.exists():  # else another attempt was first
            say(f"the result could not be kept for later runs: {error}")


def copy(names: Sequence[str], source: Path, target: Path) -> None:
    """Copies files and folders; links stay links."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (source / name).is_dir() and not (source / name).is_symlink():
            shutil.copytree(source / name, target / name, symlinks=True)
        else:
            shutil.copy2(source / name, target / name, follow_symlinks=False)


def erase(path: Path) -> None:
    """Removes a file or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def digest(*parts: Json) -> str:
    """A digest of plain data."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


if __name__ == "__main__":
    main(reused)
