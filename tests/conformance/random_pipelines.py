"""Random pipelines on an engine: what each means is told by plain Python and by the model.

By hand, more than the tests run::

    python -m tests.conformance.random_pipelines --times 10 --engine local-inline --engine kfp.local
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import hashlib
import inspect
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings

from penstock import CompileError, Pipeline, harness
from penstock.loading import import_file
from tests.conformance.case import Case, difference
from tests.conformance.engine import Engine
from tests.conformance.meaning import assert_same_meaning
from tests.conformance.model import predict
from tests.conformance.random_sources import Program, programs
from tests.conformance.random_steps import LAST_ATTEMPT

BEYOND = {"P503", "P522"}
"""What a target says of a pipeline without a step, or whose file it could not keep."""
FOUND = Path(tempfile.gettempdir()) / "penstock-found"
"""Where programs are written on which an engine disagrees."""
KEPT = Path(__file__).parent / "cases" / "programs"
"""Where those stand that are cases from then on."""
QUIETLY: Any = {"database": None, "deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": False}
TOGETHER = 10
"""How many programs there are of one seed."""
CALLS = 6
"""How many calls there are in a program, about, at most."""


@contextlib.contextmanager
def written(program: Program, folder: Path) -> Iterator[Case]:
    """The program as a case, in a file of its own, with the value that plain Python gives.

    Raises:
        AssertionError: the model predicts something else than plain Python does.
    """
    name = _name(program)
    path = folder / f"{name}.py"
    path.write_text(program.source)
    before, searched = Path.cwd(), list(sys.path)
    try:
        made = import_file(path).made
        (folder / "plain").mkdir(exist_ok=True)
        os.chdir(folder / "plain")
        yield Case(made, "It is random.", program.parameters, returns=_agreed(made, program.parameters))
    finally:
        os.chdir(before)
        sys.path[:] = searched
        sys.modules.pop(name, None)


def _name(program: Program) -> str:
    whole = f"{program.source}{program.parameters}"
    return f"random_{hashlib.sha256(whole.encode()).hexdigest()[:12]}"


def whole(program: Program, engine: str, folder: Path) -> Path:
    """Writes a program on which an engine disagrees to a file from which it can be run again, as it is.

    It is a case of the suite on every engine once it stands among `tests.conformance.cases.programs`.
    """
    name = _name(program)
    source = program.source.replace("def made(", f"def {name}(")
    said = f'"""A random program on which {engine} disagreed once with plain Python, or with the model."""'
    path = folder / f"{name}.py"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{said}\n\n{source}\n\nPARAMETERS = {program.parameters!r}\n")
    return path


def _agreed(made: Pipeline[..., Any], parameters: Mapping[str, Any]) -> object:
    """What plain Python gives, which the model must give as well; None where it raises, and the model's run fails."""
    harness._ATTEMPTS.append(harness._Attempt(LAST_ATTEMPT))
    try:
        value, raised = made(**copy.deepcopy(dict(parameters))), None
    except Exception as error:  # noqa: BLE001  # whatever a step raises
        value, raised = None, error
    finally:
        harness._ATTEMPTS.pop()
    definition = made.define()
    given = inspect.signature(made.function).bind(**parameters)
    given.apply_defaults()
    predicted = predict(definition, given.arguments)
    messages = [each.message for each in predicted.ended.values() if each.state == "failed"]
    if raised is not None:
        assert messages, f"plain Python raises {raised!r}, and the model gives {predicted.result!r}"
        gates = any(message.startswith("gate output") for message in messages)  # which plain Python knows nothing of
        assert gates or any(each.endswith(str(raised)) for each in messages), f"{raised!r} is not among {messages}"
    elif messages:
        assert any(message.startswith("gate output") for message in messages), f"only the model fails: {messages}"
    else:
        assert not difference(predicted.result, value)
    return value


def some_programs(seed: int, count: int, calls: int = CALLS) -> list[Program]:
    """So many different programs, always the same ones for a seed."""
    found: dict[str, Program] = {}
    while len(found) < count:
        for each in _generated(seed, count, calls):
            found.setdefault(repr((each.source, each.parameters)), each)
        seed += 1_000_003  # a prime far away from the seeds that people give
    return list(found.values())[:count]


def _generated(seed: int, count: int, calls: int) -> list[Program]:
    found: list[Program] = []

    @hypothesis.seed(seed)
    @settings(max_examples=count, phases=[Phase.generate], **QUIETLY)
    @given(programs(calls))
    def collect(program: Program) -> None:
        found.append(program)

    collect()
    return found


@dataclass(frozen=True)
class Outcome:
    """What an engine made of a program: whether its target refused it, and what was otherwise than it should."""

    program: Program
    is_refused: bool = False
    problem: str = ""


def outcome(program: Program, engine: Engine, folder: Path) -> Outcome:
    """Runs a program on an engine, in ``folder``."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        try:
            with written(program, Path(own)) as case:
                assert_same_meaning(engine, case, Path(own))
        except CompileError as error:
            if {each.code for each in error.diagnostics} <= BEYOND:
                return Outcome(program, is_refused=True)
            return Outcome(program, problem=traceback.format_exc())
        except Exception:  # noqa: BLE001  # an engine may fail in any way
            return Outcome(program, problem=traceback.format_exc())
    return Outcome(program)


def assert_the_same_on(engine: Engine, wanted: Sequence[Program], folder: Path) -> None:
    """Runs programs, and shows the shortest one on which the engine disagrees, if any."""
    found = [outcome(each, engine, folder) for each in wanted]
    assert sum(each.is_refused for each in found) <= len(found) // 10, "too many are refused to show much"
    wrong = sorted((each for each in found if each.problem), key=lambda each: len(each.program.source))
    if wrong:
        said = f"{len(wrong)} of {len(found)} programs differ on {engine.name}, of which this is the shortest:"
        raise AssertionError(f"{said}\n{_shown(wrong[0], engine)}")


def _shown(found: Outcome, engine: Engine) -> str:
    """A program that differs, and the command that keeps it as a case."""
    path = whole(found.program, engine.name, FOUND)
    program = f"{found.program.source}\nparameters: {found.program.parameters}"
    return f"{program}\n\n{found.problem}\nto keep it as a case: mv {path} {KEPT}"


def _simplest(engine: Engine, found: Outcome, folder: Path) -> Outcome:
    """The simplest program that Hypothesis finds in some minutes on which the engine disagrees as well."""
    simplest = found

    def differs(program: Program) -> bool:
        nonlocal simplest
        seen = outcome(program, engine, folder)
        if seen.problem and len(program.source) < len(simplest.program.source):
            simplest = seen
        return bool(seen.problem)

    with contextlib.suppress(hypothesis.errors.NoSuchExample):
        hypothesis.find(programs(CALLS), differs, settings=settings(max_examples=200, **QUIETLY), random=Random(0))
    return simplest


def main(arguments: Sequence[str]) -> int:
    """Runs more programs than the tests do, and others; 1 where an engine disagrees on one."""
    from tests.conformance.engines import ENGINES
    from tests.conformance.test_random import COUNTS

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--times", type=int, default=10, help="how many times as many as the tests run")
    parser.add_argument("--count", type=int, help="how many, whatever the tests run")
    parser.add_argument("--engine", action="append", choices=[each.name for each in ENGINES])
    parser.add_argument("--seed", type=int, default=1000, help="the first one; those of the tests begin at 0")
    parser.add_argument("--simplify", action="store_true", help="look for a simpler program with the same problem")
    options = parser.parse_args(arguments)
    disagreed = False
    for engine in ENGINES:
        if engine.name in (options.engine or COUNTS):
            count = options.count or COUNTS.get(engine.name, TOGETHER) * options.times
            seeds = range(options.seed, options.seed + count // TOGETHER)
            disagreed |= _disagrees(engine, seeds, simplify=options.simplify)
    return int(disagreed)


def _disagrees(engine: Engine, seeds: Sequence[int], *, simplify: bool) -> bool:
    count = refused = wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for each in (program for seed in seeds for program in some_programs(seed, TOGETHER)):
            found = outcome(each, engine, Path(folder))
            count, refused, wrong = count + 1, refused + found.is_refused, wrong + bool(found.problem)
            if found.problem:
                shown = _simplest(engine, found, Path(folder)) if simplify else found
                print(_shown(shown, engine), flush=True)
    print(f"{engine.name}: {wrong} of {count} programs differ, {refused} are refused", flush=True)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
