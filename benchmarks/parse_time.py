"""What Airflow takes to parse an emitted DAG file of 1,000 tasks, beside one that a person would write.

Airflow 3 parses its file again for every task instance. The hand-written file has the same tasks and edges: one
TaskFlow function, called in a loop, each call with an id (those that Airflow makes up cost it the square of their
number). Both are executed in turns, as its DAG processor does, by one process of each version of Airflow. Prints CPU
seconds, and ours as a multiple of the hand-written file's (bound: 1.5).

    make engines
    python benchmarks/parse_time.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from penstock import Pipeline, pipeline, step

ENGINES = Path(os.environ.get("PENSTOCK_ENGINES") or Path(__file__).resolve().parent.parent / ".engines")
TASKS = 1_000
ROUNDS = 5
MOST = 1.5

IMPORTS = {
    3: "from airflow.sdk import DAG, Param, task",
    2: "from airflow import DAG\nfrom airflow.decorators import task\nfrom airflow.models.param import Param",
}
HEAD = """{imports}
import pendulum

with DAG(
    dag_id="{name}",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    default_args={{"retries": 0}},
    params={{"start": Param(0, type="integer")}},
) as dag:

    @task
    def increment(number):
        return number + 1
"""
BY_HAND = {
    "chain": """
    number = dag.param("start")
    for place in range({tasks}):
        number = increment.override(task_id=f"increment_{{place}}")(number)
""",
    "wide": """
    @task
    def total(numbers):
        return sum(numbers)

    numbers = [increment.override(task_id=f"increment_{{place}}")(dag.param("start")) for place in range({tasks} - 1)]
    total(numbers)
""",
}

# Executes the files in turns, and says the fastest of each.
PARSING = """
import gc, runpy, sys, time
import airflow
files, rounds = sys.argv[2:], int(sys.argv[1])
seconds = {file: [] for file in files}
for _ in range(rounds):
    for file in files:
        gc.collect()
        began = time.process_time()
        dag = runpy.run_path(file)["dag"]
        seconds[file].append(time.process_time() - began)
        print(file, len(dag.tasks), min(seconds[file]))
"""


@step
def increment(number: int) -> int:
    """The next number."""
    return number + 1


@step
def total(numbers: list[int]) -> int:
    """Their sum."""
    return sum(numbers)


@pipeline
def chain(start: int = 0) -> int:
    """One after the other."""
    number = start
    for _ in range(TASKS):
        number = increment(number)
    return number


@pipeline
def wide(start: int = 0) -> int:
    """Side by side, and their sum."""
    return total([increment(start) for _ in range(TASKS - 1)])


def measured(a_pipeline: Pipeline[..., int], major: int, folder: Path) -> tuple[float, float]:
    """CPU seconds for the file written by hand, and for ours."""
    head = HEAD.format(imports=IMPORTS[major], name=a_pipeline.name)
    by_hand, ours = folder / "by_hand.py", folder / "ours.py"
    by_hand.write_text(head + BY_HAND[a_pipeline.name].format(tasks=TASKS), encoding="utf-8")
    (text,) = a_pipeline.compile("airflow", airflow=major).values()
    ours.write_text(text, encoding="utf-8")
    python = ENGINES / f"airflow{major}" / "venv" / "bin" / "python"
    home = {**os.environ, "AIRFLOW_HOME": str(folder), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    said = subprocess.run(
        [python, "-c", PARSING, str(ROUNDS), by_hand, ours], env=home, capture_output=True, text=True, check=True
    )
    lines = [line.split() for line in said.stdout.splitlines() if line.startswith(str(folder))]
    found = {file: (int(count), float(seconds)) for file, count, seconds in lines}
    if {count for count, _ in found.values()} != {TASKS}:
        raise SystemExit(f"the files do not have {TASKS} tasks: {found}")
    return found[str(by_hand)][1], found[str(ours)][1]


def main() -> None:
    """Measures, prints, and ends with 1 where a bound is broken."""
    broken = False
    for major in (3, 2):
        for a_pipeline in (chain, wide):
            with tempfile.TemporaryDirectory() as folder:
                by_hand, ours = measured(a_pipeline, major, Path(folder))
            told = f"{ours * 1000:.0f} ms, by hand {by_hand * 1000:.0f} ms: {ours / by_hand:.2f} times (bound: {MOST})"
            print(f"Airflow {major}, {a_pipeline.name} of {TASKS:,} tasks: {told}", flush=True)
            broken |= ours / by_hand > MOST
    sys.exit(int(broken))


if __name__ == "__main__":
    main()
