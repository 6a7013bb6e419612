"""A store against its model: whatever is run, edited, killed, damaged and cleared, just what must be done is done.

The model knows of each result what it depends on, by the numbers in the source and in the parameters, and of each
file whether it is whole. From that it tells which steps a run must execute and which results stand in, what is found
damaged, and what clearing leaves. ``PENSTOCK_STORE_STATES=N`` tries N examples, drawn at random.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock.loading import load_pipeline
from penstock_backends.local import upkeep
from penstock_backends.local.history import StoredHistory
from penstock_backends.local.journal import Journal
from penstock_backends.local.store import Store
from penstock_backends.local.upkeep import LocalUpkeep

EXAMPLES = int(os.environ.get("PENSTOCK_STORE_STATES", "0"))
STEPS = ("left", "right", "join", "stamp")
SOURCE = """
import os
import signal
from pathlib import Path
from penstock import pipeline, step

def note(name):
    with open(os.environ["NOTES"], "a") as file:
        file.write(name + "\\n")
    if os.environ.get("KILLED") == name:
        os.kill(os.getpid(), signal.SIGKILL)

def helper(value):  # {comment}
    return value + {helper}

@step
def left(value: int) -> object:
    note("left")
    return {{"left": helper(value) + {left}}}

@step
def right(value: int) -> int:
    note("right")
    return value * 10 + {right}

@step
def join(first: object, second: int) -> object:
    note("join")
    return {{"joined": first["left"] + second * 100 + {join}}}

@step(cache=False)
def stamp(joined: object) -> int:
    note("stamp")
    return joined["joined"]

@pipeline
def states(value: int) -> int:
    return stamp(join(left(value), right(value)))
"""

Key = tuple[object, ...]
Content = tuple[str, int]


@dataclasses.dataclass(frozen=True)
class Code:
    """The numbers in the source."""

    helper: int = 0
    left: int = 0
    right: int = 0
    join: int = 0
    comment: int = 0


@dataclasses.dataclass
class Known:
    """A run as the model knows it."""

    id: str
    value: int
    resumes: str
    named: set[Key] = dataclasses.field(default_factory=set)


@dataclasses.dataclass(frozen=True)
class Work:
    """What a step has to do: the key of its result, and the object that it makes, if it makes one."""

    step: str
    key: Key
    made: Content | None = None


def works(code: Code, value: int) -> list[Work]:
    """What a run has to do, in order; a stamp's key is completed by the run that it is of."""
    left = value + code.helper + code.left
    right = value * 10 + code.right
    joined = left + right * 100 + code.join
    return [
        Work("left", ("left", code.helper, code.left, value), ("left", left)),
        Work("right", ("right", code.right, value)),
        Work("join", ("join", code.join, left, right), ("joined", joined)),
        Work("stamp", ("stamp", joined)),
    ]


numbers = st.integers(0, 2)
values = st.integers(1, 2)


class StoreStates(RuleBasedStateMachine):
    """Does to a store what people and accidents do."""

    @initialize()
    def begin(self) -> None:
        """Begins with no store at all."""
        self.folder = Path(tempfile.mkdtemp())
        self.place, self.notes = self.folder / "store", self.folder / "notes"
        self.code = Code()
        self.runs: list[Known] = []
        self.results: dict[Key, bool] = {}  # whether it is whole
        self.makes: dict[Key, Content] = {}
        self.objects: dict[Content, bool] = {}
        self.files: dict[Key, str] = {}
        self.digests: dict[Content, str] = {}
        self.environment = mock.patch.dict(os.environ, NOTES=str(self.notes))
        self.environment.start()
        self.write()

    def teardown(self) -> None:
        """Removes what it has made."""
        if hasattr(self, "environment"):
            self.environment.stop()
            shutil.rmtree(self.folder)

    # --- what people do

    @rule(part=st.sampled_from([field.name for field in dataclasses.fields(Code)]), number=numbers)
    def edit(self, part: str, number: int) -> None:
        """Changes a step, the helper of one, or a comment."""
        self.code = dataclasses.replace(self.code, **{part: number})
        self.write()

    @rule(value=values)
    def run(self, value: int) -> None:
        """Runs it anew."""
        expected = self.is_to_do(value)
        self.check(self.pipeline().run(value=value, inline=True, store=self.place), expected, value)
        self.learn(value)

    @precondition(lambda self: self.runs)
    @rule()
    def resume(self) -> None:
        """Goes on with the latest run."""
        latest = self.runs[-1]
        chain = list(self.chain(latest))
        expected = self.is_to_do(latest.value, chain)
        run = self.pipeline().resume(latest.id, inline=True, store=self.place)
        self.check(run, expected, latest.value)
        self.learn(latest.value, latest.id, chain)

    @rule(first=values, second=values)
    def run_two_at_once(self, first: int, second: int) -> None:
        """Runs it in this process and in another one."""
        needed = Counter(self.is_to_do(first)) | Counter(self.is_to_do(second))
        most = Counter(self.is_to_do(first)) + Counter(self.is_to_do(second))
        child = self.fork(first)
        run = self.pipeline().run(value=second, inline=True, store=self.place)
        assert os.waitpid(child, 0)[1] == 0
        done = Counter(self.noted())
        assert needed <= done <= most
        assert run.outputs == self.answer(second)
        self.learn(second, run_id=run.id)
        self.learn(first, run_id=next(id_ for id_ in self.run_ids() if id_ not in [each.id for each in self.runs]))
        self.runs.sort(key=lambda each: each.id)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        """Removes a run."""
        known = data.draw(st.sampled_from(self.runs))
        history = StoredHistory(Store(self.place))
        history.remove(history.find(known.id))
        self.runs.remove(known)

    @precondition(lambda self: self.place.exists())
    @rule()
    def clear(self) -> None:
        """Clears the store of what is not wanted."""
        self.keeper().gc()
        named = set().union(*(known.named for known in self.runs))
        self.results = {key: is_whole for key, is_whole in self.results.items() if is_whole and key in named}
        wanted = {self.makes[key] for key in self.results if key in self.makes}
        self.objects = {made: is_whole for made, is_whole in self.objects.items() if made in wanted}
        assert {file.name for file in (self.place / "results").glob("*")} == {self.files[key] for key in self.results}
        assert {file.name for file in (self.place / "objects").glob("*")} == {self.digests[o] for o in self.objects}
        assert not [each for each in self.keeper().verify().damages if each.kind == "draft"]

    @precondition(lambda self: self.place.exists())
    @rule()
    def repair(self) -> None:
        """Removes what is damaged."""
        self.keeper().verify(repair=True)
        self.objects = {made: True for made, is_whole in self.objects.items() if is_whole}
        self.results = {key: True for key in self.results if self.is_usable(key)}

    # --- accidents

    @rule(value=values, step=st.sampled_from(STEPS), is_done=st.booleans())
    def run_until_killed(self, value: int, step: str, is_done: bool) -> None:
        """Kills a run in a step, or when its result is stored but not written down; if it comes to that."""
        expected = self.is_to_do(value)
        status = os.waitpid(self.fork(value, step, is_done), 0)[1]
        assert (os.WIFSIGNALED(status), status) in ((step in expected, signal.SIGKILL), (False, 0))
        assert self.noted() == (expected[: expected.index(step) + 1] if step in expected else expected)
        self.learn(value, killed=step if step in expected else "", is_done=is_done)

    @precondition(lambda self: self.objects)
    @rule(data=st.data(), is_gone=st.booleans())
    def damage_object(self, data: st.DataObject, is_gone: bool) -> None:
        """Changes the bytes of an object, or takes it away."""
        made = data.draw(st.sampled_from(sorted(self.objects)))
        spoil(self.place / "objects" / self.digests[made], is_gone)
        self.objects[made] = False
        if is_gone:
            del self.objects[made]

    @precondition(lambda self: self.results)
    @rule(data=st.data(), is_gone=st.booleans())
    def damage_result(self, data: st.DataObject, is_gone: bool) -> None:
        """Changes the bytes of a result, or takes it away."""
        key = data.draw(st.sampled_from(sorted(self.results, key=repr)))
        spoil(self.place / "results" / self.files[key], is_gone)
        self.results[key] = False
        if is_gone:
            del self.results[key]

    @invariant()
    def just_what_is_damaged_is_found(self) -> None:
        """Holds what is found damaged to what is."""
        if not hasattr(self, "place") or not self.place.exists():
            return
        found = {(each.kind, each.name) for each in self.keeper().verify().damages if each.kind != "draft"}
        objects = {("object", self.digests[made]) for made, is_whole in self.objects.items() if not is_whole}
        lacking = {key for key in self.results if key in self.makes and self.makes[key] not in self.objects}
        torn = {key for key, is_whole in self.results.items() if not is_whole}
        assert found == objects | {("result", self.files[key]) for key in torn | lacking}

    # --- the model

    def is_usable(self, key: Key) -> bool:
        """Whether a result may stand in."""
        return self.results.get(key, False) and (key not in self.makes or self.objects.get(self.makes[key], False))

    def keys(self, work: Work, chain: Sequence[str]) -> Iterator[Key]:
        """The keys under which a step's result may be found."""
        yield from [work.key] if work.step != "stamp" else [(*work.key, run) for run in chain]

    def is_to_do(self, value: int, chain: Sequence[str] = ()) -> list[str]:
        """The steps that a run must execute."""
        return [work.step for work in works(self.code, value) if not any(map(self.is_usable, self.keys(work, chain)))]

    def chain(self, known: Known) -> Iterator[str]:
        """A run, and those that it went on with, as far as they are kept."""
        yield known.id
        for before in self.runs:
            if before.id == known.resumes:
                yield from self.chain(before)

    def answer(self, value: int) -> int:
        """What plain Python gives."""
        joined = works(self.code, value)[-1].key[1]
        assert isinstance(joined, int)
        return joined

    def learn(
        self,
        value: int,
        resumes: str = "",
        chain: Sequence[str] = (),
        killed: str = "",
        is_done: bool = False,
        run_id: str = "",
    ) -> None:
        """Takes into the model what a run has made, and holds the keys that it has used to those of the model."""
        known = Known(run_id or self.run_ids()[-1], value, resumes)
        self.runs.append(known)
        written = self.written(known.id)
        for work in works(self.code, value):
            key = next(filter(self.is_usable, self.keys(work, chain)), None)
            is_new = key is None
            if key is None:
                key = (*work.key, known.id) if work.step == "stamp" else work.key
            if is_new and work.step == killed and not is_done:
                return
            if work.made is not None:
                self.makes[key] = work.made
                self.objects[work.made] = True
                if work.made not in self.digests:
                    self.digests[work.made] = self.digest_of(work.made)
            self.results[key] = True
            if is_new and work.step == killed:
                if key not in self.files:
                    self.files[key] = self.unknown_result()
                return
            known.named.add(key)
            assert self.files.setdefault(key, written[work.step]) == written[work.step]
        assert len(set(self.files.values())) == len(self.files)

    # --- the store

    def write(self) -> None:
        """Writes the pipeline down."""
        (self.folder / "states.py").write_text(SOURCE.format(**dataclasses.asdict(self.code)))

    def pipeline(self):
        """The pipeline as it is written now."""
        sys.modules.pop("states", None)
        return load_pipeline(str(self.folder / "states.py"))

    def fork(self, value: int, killed: str = "", is_done: bool = False) -> int:
        """Starts a run in a process of its own."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks while threads run
            child = os.fork()
        if child:
            return child
        try:
            written = Journal.note

            def note(journal: Journal, event: str, **more: object) -> None:
                if is_done and event == "attempt_ended" and more["node"] == killed:
                    os.kill(os.getpid(), signal.SIGKILL)
                written(journal, event, **more)

            with mock.patch.object(Journal, "note", note), mock.patch.dict(os.environ, KILLED=killed * (not is_done)):
                run = self.pipeline().run(value=value, inline=True, store=self.place)
            os._exit(0 if run.outputs == self.answer(value) else 1)
        finally:
            os._exit(2)

    def check(self, run, expected: list[str], value: int) -> None:
        """Holds what a run has done to what it had to do."""
        assert self.noted() == expected
        assert run.outputs == self.answer(value)
        states = {id_: node.state.value for id_, node in run.nodes.items()}
        assert states == {name: "succeeded" if name in expected else "cached" for name in STEPS}

    def noted(self) -> list[str]:
        """The steps that were executed since this was asked."""
        found = self.notes.read_text().split() if self.notes.exists() else []
        self.notes.unlink(missing_ok=True)
        return found

    def keeper(self) -> LocalUpkeep:
        """The store's upkeep."""
        time.sleep(0.005)  # longer than the file system's clock takes to go on
        return LocalUpkeep(Store(self.place))

    def run_ids(self) -> list[str]:
        """The ids of the runs, the latest last."""
        return sorted(os.listdir(self.place / "runs"))

    def written(self, run_id: str) -> dict[str, str]:
        """The keys of the results that a run has written down."""
        lines = (self.place / "runs" / run_id / "events.jsonl").read_text().splitlines()
        return {each["node"]: each["result"] for each in map(json.loads, lines) if "result" in each}

    def unknown_result(self) -> str:
        """The result that no run has named."""
        (found,) = set(os.listdir(self.place / "results")) - set(self.files.values())
        return found

    def digest_of(self, made: Content) -> str:
        """The name of the object that holds something."""
        name, number = made
        for file in (self.place / "objects").iterdir():
            if file.name not in self.digests.values() and json.loads(file.read_bytes()) == {name: number}:
                return file.name
        raise AssertionError(f"{made} was not stored")


def spoil(file: Path, is_gone: bool) -> None:
    """Takes a file away, or changes its first byte."""
    content = file.read_bytes()
    file.unlink()
    if not is_gone:
        file.write_bytes(b"?" + content[1:])


@pytest.mark.slow
def test_a_store_holds_against_its_model(monkeypatch):
    monkeypatch.setattr(upkeep, "MARGIN", 0.0)
    # Python knows a compiled module by seconds and size: of two edits within a second it would run the first.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    machine = StoreStates.TestCase
    machine.settings = settings(
        max_examples=EXAMPLES or 30,
        phases=[Phase.generate],
        stateful_step_count=25,
        derandomize=not EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    machine("runTest").runTest()
