"""A chain of trivial steps whose outputs are kept: here, and with others that run steps and keep what they gave.

Each peer lives in an environment of its own, made by uv on first use and kept, and runs the same chain in the same run:
what else the machine does slows all of them. The chain has 200 steps; 20, run once, for those that would take minutes
for it, so that their start is spread over fewer. Prints milliseconds per step, and the ratio to a chain of Penstock's
that is as long, in worker processes, or inline where the peer runs steps in its own process. A peer that cannot be
installed is named with the reason. All of it takes some minutes.

    python benchmarks/peers.py [PEER ...] [--steps N] [--steps-of-slow N] [--rounds N] [--environments FOLDER]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from penstock import pipeline, step
from penstock.authoring import Pipeline


@dataclass(frozen=True)
class Peer:
    """What it takes to measure one: what to install, and a program that prints the seconds of a chain.

    The program is started in an empty folder with the number of steps. It leaves out the time to import the peer, as
    what is measured here leaves out that of Penstock; the time to start workers counts for both.
    """

    requirements: tuple[str, ...]
    program: str
    is_inline: bool = False
    is_slow: bool = False


PIPEFUNC = """
import sys, time
from concurrent.futures import ProcessPoolExecutor
from pipefunc import PipeFunc, Pipeline

def increment(number):
    return number + 1

def main(steps):
    functions = [PipeFunc(increment, f"n{i + 1}", renames={"number": f"n{i}"}) for i in range(steps)]
    chain = Pipeline(functions)
    with ProcessPoolExecutor(2) as pool:
        began = time.perf_counter()
        found = chain.map({"n0": 0}, run_folder="run", executor=pool, storage="file_array", show_progress=False)
        assert found[f"n{steps}"].output == steps
        print(time.perf_counter() - began)

if __name__ == "__main__":
    main(int(sys.argv[1]))
"""

LUIGI = """
import pickle, sys, time
import luigi

class Increment(luigi.Task):
    index = luigi.IntParameter()

    def requires(self):
        return [Increment(self.index - 1)] if self.index else []

    def output(self):
        return luigi.LocalTarget(f"{self.index}.pkl", format=luigi.format.Nop)

    def run(self):
        number = 0
        for target in self.input():
            with target.open("r") as stream:
                number = pickle.load(stream)
        with self.output().open("w") as stream:
            pickle.dump(number + 1, stream)

if __name__ == "__main__":
    began = time.perf_counter()
    assert luigi.build([Increment(int(sys.argv[1]) - 1)], local_scheduler=True, workers=2, log_level="ERROR")
    print(time.perf_counter() - began)
"""

KEDRO = """
import logging, sys, time
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import node, pipeline
from kedro.runner import SequentialRunner
from kedro_datasets.pickle import PickleDataset

def increment(number):
    return number + 1

if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    steps = int(sys.argv[1])
    chain = pipeline([node(increment, f"n{i}", f"n{i + 1}", name=f"step{i}") for i in range(steps)])
    kept = {f"n{i + 1}": PickleDataset(filepath=f"{i + 1}.pkl") for i in range(steps)}
    catalog = DataCatalog({"n0": MemoryDataset(0), **kept})
    began = time.perf_counter()
    SequentialRunner().run(chain, catalog)
    print(time.perf_counter() - began)
"""

SNAKEMAKE = r"""
import subprocess, sys, time
from pathlib import Path

steps = int(sys.argv[1])
rules = [f"rule all:\n    input: '{steps}.txt'\n", "rule first:\n    output: '0.txt'\n    shell: 'echo 0 > {output}'\n"]
for i in range(steps):
    rules.append(
        f"rule step{i}:\n    input: '{i}.txt'\n    output: '{i + 1}.txt'\n"
        "    shell: 'echo $(( $(cat {input}) + 1 )) > {output}'\n"
    )
Path("Snakefile").write_text("\n".join(rules))
began = time.perf_counter()
subprocess.run([sys.executable, "-m", "snakemake", "--cores", "2", "--quiet", "all"], check=True, capture_output=True)
assert Path(f"{steps}.txt").read_text().strip() == str(steps)
print(time.perf_counter() - began)
"""

METAFLOW = r"""
import subprocess, sys, time
from pathlib import Path

steps = int(sys.argv[1])
lines = ["from metaflow import FlowSpec, step", "class Chain(FlowSpec):"]
for i in range(steps):
    name, after = ("start" if i == 0 else f"s{i}"), (f"s{i + 1}" if i < steps - 1 else "end")
    value = "0" if i == 0 else "self.number"
    lines += ["    @step", f"    def {name}(self):", f"        self.number = {value} + 1"]
    lines.append(f"        self.next(self.{after})")
lines += ["    @step", "    def end(self):", f"        assert self.number == {steps}"]
lines += ["if __name__ == '__main__':", "    Chain()"]
Path("chain.py").write_text("\n".join(lines))
began = time.perf_counter()
subprocess.run([sys.executable, "chain.py", "--quiet", "run"], check=True, capture_output=True)
print(time.perf_counter() - began)
"""

DAGSTER = """
import os, sys, time
from dagster import DagsterInstance, execute_job, job, op, reconstructable

@op
def zero() -> int:
    return 0

@op
def increment(number: int) -> int:
    return number + 1

@job
def chain():
    number = zero()
    for i in range(int(sys.argv[1])):
        number = increment.alias(f"step{i}")(number)

if __name__ == "__main__":
    with DagsterInstance.local_temp(os.getcwd()) as instance:
        began = time.perf_counter()
        assert execute_job(reconstructable(chain), instance=instance).success
        print(time.perf_counter() - began)
"""

ZENML = """
import os, sys, time

os.environ.update(
    ZENML_CONFIG_PATH=os.path.abspath("config"),
    ZENML_ANALYTICS_OPT_IN="false",
    ZENML_LOGGING_VERBOSITY="ERROR",
    ZENML_DISABLE_STEP_LOGS_STORAGE="true",
)
from zenml import pipeline, step

@step(enable_cache=False)
def increment(number: int) -> int:
    return number + 1

@pipeline(enable_cache=False)
def chain(steps: int):
    number = 0
    for _ in range(steps):
        number = increment(number)

if __name__ == "__main__":
    chain(1)  # makes the database
    began = time.perf_counter()
    assert chain(int(sys.argv[1])).status == "completed"
    print(time.perf_counter() - began)
"""

PEERS = {
    "pipefunc": Peer(("pipefunc",), PIPEFUNC),
    "luigi": Peer(("luigi",), LUIGI),
    "kedro": Peer(("kedro", "kedro-datasets[pickle-pickledataset]"), KEDRO, is_inline=True),
    "snakemake": Peer(("snakemake",), SNAKEMAKE, is_slow=True),
    "zenml": Peer(("zenml[local]",), ZENML, is_inline=True, is_slow=True),
    "metaflow": Peer(("metaflow", "setuptools<81"), METAFLOW, is_slow=True),
    "dagster": Peer(("dagster",), DAGSTER, is_slow=True),
}

OURS = {False: "penstock", True: "penstock, inline"}


@step
def increment(number: int) -> int:
    """The next number."""
    return number + 1


def chain_of(steps: int) -> Pipeline[[], int]:
    """As many steps, one after the other."""

    @pipeline
    def chain() -> int:
        number = 0
        for _ in range(steps):
            number = increment(number)
        return number

    return chain


def penstock(steps: int, scratch: str, *, inline: bool) -> float:
    """Seconds of a whole run, the start of the workers included."""
    chain = chain_of(steps)
    chain.define()
    began = time.perf_counter()
    chain.run(store=tempfile.mkdtemp(dir=scratch), inline=inline)
    return time.perf_counter() - began


def installed(name: str, folder: Path) -> Path:
    """The interpreter of a peer's environment. Raises `CalledProcessError` where it cannot be made."""
    place = folder / name
    python = place / "bin" / "python"
    if not (place / "ready").exists():
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        shutil.rmtree(place, ignore_errors=True)
        install = [uv, "pip", "install", "--python", str(python), *PEERS[name].requirements]
        for command in ([uv, "venv", "--python", sys.executable, str(place)], install):
            subprocess.run(command, check=True, capture_output=True, text=True)
        (place / "ready").touch()
    return python


def peer(name: str, steps: int, scratch: str, environments: Path) -> float:
    """Seconds of a peer's chain."""
    python, folder = installed(name, environments), tempfile.mkdtemp(dir=scratch)
    program = Path(folder) / "program.py"
    program.write_text(PEERS[name].program)
    surroundings = {**os.environ, "HOME": folder, "PATH": f"{python.parent}:{os.environ['PATH']}", "USER": "peer"}
    command = [str(python), str(program), str(steps)]
    done = subprocess.run(command, cwd=folder, env=surroundings, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Measures in turns, and prints medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", nargs="*", choices=[*PEERS, []], help="which; all by default")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--steps-of-slow", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--environments", type=Path, default=Path.home() / ".cache" / "penstock" / "peers")
    # Removed at the end, all at once: ext4 without a journal is slow to make files soon after others were removed.
    with tempfile.TemporaryDirectory() as scratch:
        compare(parser.parse_args(), scratch)


def compare(given: argparse.Namespace, scratch: str) -> None:
    """Measures what was asked for, in turns, below a folder."""
    names = given.peers or list(PEERS)
    lengths = {name: given.steps_of_slow if PEERS[name].is_slow else given.steps for name in names}
    measured: dict[tuple[str, int], Callable[[], float]] = {
        (OURS[is_inline], steps): partial(penstock, steps, scratch, inline=is_inline)
        for steps in (given.steps, given.steps_of_slow)
        for is_inline in (False, True)
    }
    measured |= {
        (name, steps): partial(peer, name, steps, scratch, given.environments) for name, steps in lengths.items()
    }
    penstock(2, scratch, inline=False)  # imports what a run needs
    penstock(2, scratch, inline=True)
    seconds: dict[tuple[str, int], list[float]] = {each: [] for each in measured}
    for number in range(given.rounds):
        for each, measure in measured.items():
            if number and each[0] in PEERS and PEERS[each[0]].is_slow:
                continue
            try:
                seconds[each].append(measure())
            except subprocess.CalledProcessError as error:
                print(f"{each[0]}: left out, {error.cmd[1]} said: {(error.stderr or error.stdout).strip()[-300:]}")
                seconds[each].append(float("nan"))
            print(f"round {number + 1}: {each[0]}, {each[1]} steps: {seconds[each][-1]:.2f} s", file=sys.stderr)
    for (name, steps), found in seconds.items():
        is_inline = name == OURS[True] or (name in PEERS and PEERS[name].is_inline)
        median, ours = statistics.median(found), statistics.median(seconds[OURS[is_inline], steps])
        said = f"{median / steps * 1000:9.2f} ms a step  {median / ours:8.2f} times Penstock's"
        print(f"{name:18} {steps:4} steps {said}{' inline' if is_inline else ''}")


if __name__ == "__main__":
    main()
