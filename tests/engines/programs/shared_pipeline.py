"""A pipeline whose store is a bucket: as a machine of a team runs it, and looks at what others ran."""

import json
import sys
import time
from pathlib import Path

from penstock import compiler, pipeline, step
from penstock.diagnostics import PenstockError
from penstock.history import History
from penstock.upkeep import Upkeep
from penstock_backends.local import shared_upkeep


@step
def names(count: int) -> list[str]:
    return [f"part {number}" for number in range(count)]


@step
def write(name: str, marker: str) -> Path:
    if marker and name == "part 1":
        Path(marker).touch()
        while Path(marker).exists():
            time.sleep(0.05)
    folder = Path("made")
    folder.mkdir()
    (folder / "text").write_text(name * 1000)
    print("wrote", name)
    return folder


@step
def measure(folders: list[Path]) -> int:
    return sum(len((folder / "text").read_text()) for folder in folders)


@pipeline
def parts(count: int = 3, marker: str = "") -> int:
    return measure([write(name, marker) for name in names(count)])


def cleared(history: History, upkeep: Upkeep) -> list[int]:
    """How many runs and objects the last machine leaves of those there were, once no time protects them."""
    before = upkeep.info()
    if before["runs"].count == 1:
        return []
    for past in list(history.runs())[1:]:
        history.remove(past)
    shared_upkeep.GRACE = -60
    upkeep.gc(max_size=0)
    after = upkeep.info()
    return [before["runs"].count, after["runs"].count, before["objects"].count, after["objects"].count]


def look(chosen: dict[str, object]) -> dict[str, object]:
    """What the store tells of its runs and of itself, or why it does not."""
    options = compiler.checked_run_options(chosen)
    history, upkeep = compiler.runner().history(options), compiler.runner().upkeep(options)
    attempts = [
        attempt for past in history.runs() for node in history.nodes(past).values() for attempt in node.attempts
    ]
    verified = upkeep.verify()
    return {
        "runs": [past.state for past in history.runs()],
        "logs": sorted(each.log.read_text().strip() for each in attempts if each.log is not None),
        "counts": dict(verified.counts),
        "damages": [each.problem for each in verified.damages],
        "freed": upkeep.gc(older_than=0).size,
        "cleared": cleared(history, upkeep),
    }


def main(store: str, options: str, marker: str) -> None:
    """Runs it, and prints what became of its nodes, what it returned, and what the store then tells."""
    chosen = {"store": store, "store_options": json.loads(options)}
    seen: dict[str, object] = {}
    try:
        run = parts.run(marker=marker, **chosen)
        seen["nodes"] = {id_: [node.state.value, node.error] for id_, node in run.nodes.items()}
        seen["outputs"] = run.outputs
        seen |= look(chosen)
    except PenstockError as error:
        seen["problems"] = [each.message for each in error.diagnostics]
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
