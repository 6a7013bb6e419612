"""How long importing Penstock takes, as a ratio to importing pydantic alone.

Run: python benchmarks/import_time.py
"""

from __future__ import annotations

import subprocess
import sys
import time

ROUNDS = 15


def seconds(code: str) -> float:
    """Wall time of a fresh interpreter that runs a line of code."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def main() -> None:
    """Times both in turn, so that they meet the same noise, and compares the fastest."""
    codes = {"pydantic": "from pydantic import BaseModel", "penstock": "import penstock"}
    times: dict[str, list[float]] = {name: [] for name in codes}
    for _ in range(ROUNDS):
        for name, code in codes.items():
            times[name].append(seconds(code))
    fastest = {name: min(each) for name, each in times.items()}
    print(f"pydantic {fastest['pydantic'] * 1000:.0f} ms, penstock {fastest['penstock'] * 1000:.0f} ms")
    print(f"ratio {fastest['penstock'] / fastest['pydantic']:.2f} (bound: 2.5)")


if __name__ == "__main__":
    main()
