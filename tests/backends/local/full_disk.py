"""Runs a pipeline on disks that are too small for it; to be started where it may mount: `unshare -rm`.

Prints one line of JSON for each size: what the run came to, and what is left in the store.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from penstock import PenstockError, pipeline, step
from penstock_backends.local.store import Store
from penstock_backends.local.upkeep import LocalUpkeep

PAGE = 4096


@step
def large(number: int) -> bytearray:
    print("making", number)
    return bytearray(number * PAGE)


@step
def folder_of(parts: list[bytearray]) -> Path:
    folder = Path("made")
    folder.mkdir()
    for number, part in enumerate(parts):
        (folder / str(number)).write_bytes(part)
    return folder


@step
def count(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


@pipeline
def heavy() -> int:
    return count(folder_of([large(number) for number in (1, 2, 3)]))


def outcome(store: Path, inline: bool) -> dict[str, object]:
    """The state of a run, and why it is no better."""
    try:
        run = heavy.run(store=store, inline=inline, max_workers=1)
    except PenstockError as error:
        return {"state": "refused", "errors": [each.message for each in error.diagnostics]}
    return {"state": run.state.value, "errors": [node.error for node in run.nodes.values() if node.error]}


def attempt(disk: Path, pages: int, inline: bool) -> dict[str, object]:
    """A run on a disk of so many pages; then, with more room, what it has left, and another run."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={pages * PAGE}", "none", disk], check=True)
    try:
        store = disk / "store"
        seen = outcome(store, inline)
        subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
        if (store / "format.json").exists():
            seen["drafts"] = [file.name for file in (store / "drafts").glob("*")]
            seen["damages"] = [f"{each.kind} {each.problem}" for each in LocalUpkeep(Store(store)).verify().damages]
        shutil.rmtree(store / "runs", ignore_errors=True)
        return {"pages": pages, **seen, "again": outcome(store, inline)}
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def main(disk: str, inline: str, *sizes: str) -> None:
    """Tries all sizes, given in pages."""
    for size in sizes:
        print(json.dumps(attempt(Path(disk), int(size), inline == "inline")), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
