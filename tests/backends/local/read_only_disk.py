"""Uses a store on a disk that has become read-only; to be started where it may mount. Prints one line of JSON."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from penstock import PenstockError, compiler
from penstock_backends.local.store import Store
from penstock_backends.local.upkeep import LocalUpkeep
from tests.backends.local import faults


def told(use: Callable[[], object]) -> list[str]:
    """What is said of something that cannot be done."""
    try:
        use()
    except PenstockError as error:
        (problem,) = error.diagnostics
        return [problem.code, problem.message, problem.fix]
    return []


def main(disk: str) -> None:
    """Runs a pipeline, makes the disk read-only, and tries again."""
    subprocess.run(["mount", "-t", "tmpfs", "none", disk], check=True)
    try:
        store = Path(disk, "store")
        faults.bearing.run(how="reads_its_input", store=store)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        seen = {
            "run": told(lambda: faults.bearing.run(how="reads_its_input", store=store)),
            "inline": told(lambda: faults.bearing.run(how="reads_its_input", store=store, inline=True)),
            "new": told(lambda: faults.bearing.run(how="reads_its_input", store=Path(disk, "new"))),
            "gc": told(lambda: LocalUpkeep(Store(store)).gc()),
            "damages": len(LocalUpkeep(Store(store)).verify().damages),
            "listed": len(list(compiler.history(None, str(store)).runs())),
        }
        print(json.dumps(seen))
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
