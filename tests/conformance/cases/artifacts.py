"""Artifacts: files, directories, data frames, arrays, models and whatever can be pickled."""

import json
from collections import deque
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd

from penstock import Classification, Dataset, Markdown, Metrics, Model, Report, Serializer, existing, pipeline, step
from tests.conformance.case import Case


@step
def frame() -> Dataset[pd.DataFrame]:
    made = pd.DataFrame({"n": np.array([1, 2, 3], dtype="int8"), "x": [0.5, None, 2.0], "s": ["a", None, "ü"]})
    made["when"] = pd.to_datetime(["2024-01-01", "2024-02-29", None])
    made["kind"] = pd.Categorical(["u", "v", "u"])
    return made.set_index(pd.Index([10, 20, 30], name="key"))


@step
def mixed_frame() -> pd.DataFrame:
    """Columns that Parquet cannot hold as they are."""
    return pd.DataFrame({1: [1, "two", (3,)], ("a", "b"): [None, {1}, b""]})


@step
def described(table: pd.DataFrame) -> str:
    return f"{table.dtypes.to_dict()} {table.index.name} {table.to_dict()}"


@pipeline
def data_frames() -> tuple[str, str, pd.DataFrame]:
    made = frame()
    return described(made), described(mixed_frame()), made


@step
def array(kind: str) -> np.ndarray:
    return np.arange(6, dtype=kind).reshape(2, 3)


@step
def array_of_objects() -> np.ndarray:
    return np.array([1, "two", None], dtype=object)


@step
def summed(arrays: list[np.ndarray]) -> float:
    return float(sum(each.sum() for each in arrays))


@step
def size(values: np.ndarray) -> int:
    return len(values)


@pipeline
def arrays() -> tuple[float, int, np.ndarray]:
    small, wide = array("float32"), array("complex128")
    return summed([small, array("int64")]), size(array_of_objects()), wide


@step
def one_file() -> Path:
    Path("notes.txt").write_bytes(b"binary \x00\xff and text\n")
    return Path("notes.txt")


@step
def directory() -> Path:
    root = Path("site")
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "page.html").write_text("<p>é", encoding="utf-8")
    (root / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (root / "run.sh").chmod(0o755)
    (root / ".hidden").write_text("")
    return root


@step
def listing(root: Path, note: Path) -> list[str]:
    import subprocess

    names = sorted(each.relative_to(root).as_posix() for each in root.rglob("*"))
    said = subprocess.run([root / "run.sh"], capture_output=True, text=True, check=True).stdout
    return [*names, said, root.name, note.name, note.read_bytes().hex()]


@pipeline
def files() -> tuple[list[str], Path, Path]:
    root, note = directory(), one_file()
    return listing(root, note), root, note


class Net:
    """A model of the author's own class."""

    def __init__(self, weights: list[float]) -> None:
        self.weights = weights

    def predict(self, x: float) -> float:
        return sum(weight * x**n for n, weight in enumerate(self.weights))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Net) and other.weights == self.weights

    __hash__ = None  # type: ignore[assignment]


@step
def trained(weights: list[float]) -> Model[Net]:
    return Net(weights)


@step
def best(models: list[Net], x: float) -> Model[Net]:
    return max(models, key=lambda model: model.predict(x))


@step
def predicted(model: Net, x: float) -> float:
    return model.predict(x)


@pipeline
def models(x: float = 2.0) -> tuple[float, Net]:
    chosen = best([trained([0.0, 1.0]), trained([1.0, 2.0]), trained([3.0])], x)
    return predicted(chosen, x), chosen


def save_net(net: Net, path: Path) -> None:
    path.write_text(json.dumps(net.weights))


def load_net(path: Path) -> Net:
    assert path.suffix == ".net"
    return Net([*json.loads(path.read_text()), 0.0])


Saved = Annotated[Net, Serializer(save_net, load_net, ".net")]


@step
def saved() -> Saved:
    return Net([1.0, 2.0])


@step
def weights(net: Saved) -> list[float]:
    return net.weights


@pipeline
def own_serializers() -> list[float]:
    return weights(saved())


@step
def anything(kind: str) -> Any:
    return {"json": {"a": (1, 2)}, "object": deque([1, 2]), "none": None}[kind]


@step
def shown(values: list[Any]) -> list[str]:
    return [repr(value) for value in values]


@step
def scores() -> Metrics[dict[str, float]]:
    return {"accuracy": 0.5, "recall": 1.0}


@step
def page(values: dict[str, float]) -> Report[Path]:
    Path("page.html").write_text(f"<p>{values}")
    return Path("page.html")


class Judgement(NamedTuple):
    quality: Metrics[Classification]
    notes: Markdown[str]


@step
def judged() -> Judgement:
    quality = Classification(["no", "yes"], [[5, 1], [2, 8]], [(0.0, 0.0, float("inf")), (1.0, 1.0, 0.5)])
    return Judgement(quality, "# Ünlike\r\n\x00")


@step
def told(quality: Classification, notes: str) -> Report[str]:
    return f"<h1>{notes!r}</h1>{quality}"


@pipeline
def labels_and_any() -> tuple[list[str], Path, str]:
    told_of = judged()
    kinds = shown([anything("json"), anything("object"), anything("none")])
    return kinds, page(scores()), told(told_of.quality, told_of.notes)


class Parts(NamedTuple):
    table: pd.DataFrame
    names: list[str]
    note: Path


@step
def parts() -> Parts:
    Path("n.md").write_text("n")
    return Parts(pd.DataFrame({"a": [1]}), ["x"], Path("n.md"))


@step
def whole(given: Parts) -> str:
    assert type(given) is Parts
    return f"{given.table.shape} {given.names} {given.note.read_text()}"


@step
def several(given: list[Parts]) -> int:
    return sum(len(each.table) for each in given)


@pipeline
def named_outputs_whole_and_in_part() -> tuple[str, int, list[str]]:
    one = parts()
    return whole(one), several([one, parts()]), one.names


SHELF = str(Path(__file__).parent / "shelf")


@step
def uris(shelf: str) -> list[str]:
    return [f"{shelf}/rows.csv", f"file://{shelf}/deep/note.txt"]


@step
def read(found: Path) -> str:
    return f"{found.name}: {found.read_text()!r}"


@pipeline
def what_exists_already(shelf: str) -> tuple[Path, Path, list[str], str]:
    rows = existing(f"{shelf}/rows.csv", Dataset[Path])
    everything = existing(shelf, name="everything")
    said = [read(existing(uri)) for uri in uris(shelf)]
    if len(said) > 1:
        chosen = existing(f"{shelf}/deep/note.txt", name="note")
    else:
        chosen = rows
    return rows, everything, said, read(chosen)


@pipeline
def what_does_not_exist(shelf: str) -> str:
    read(existing(f"{shelf}/none.csv", name="missing"))
    return read(existing(f"{shelf}/rows.csv"))


CASES = (
    Case(
        data_frames,
        "A data frame comes back with its index, its dtypes and its missing values, or it is another table.",
    ),
    Case(arrays, "Arrays keep dtype and shape; those of objects, which .npy cannot hold safely, still travel."),
    Case(files, "A directory keeps its names, hidden files and permissions on the way through each engine's store."),
    Case(models, "An instance of the author's class is unpickled by a step that holds the same class."),
    Case(
        own_serializers,
        "An author's own serializer travels with the steps on both ends.",
        gives={"saved": Net([1.0, 2.0, 0.0])},
        returns=[1.0, 2.0, 0.0],
    ),
    Case(labels_and_any, "A label says what an artifact is, not what the step gets; `Any` takes what comes."),
    Case(named_outputs_whole_and_in_part, "Named outputs are put together again for a step that takes the whole."),
    Case(
        what_exists_already,
        "What lies at a URI is an artifact as any other, also in loops and branches, file or folder.",
        parameters={"shelf": SHELF},
    ),
    Case(
        what_does_not_exist,
        "Where nothing lies, that node fails, and the error names the URI.",
        parameters={"shelf": SHELF},
        nodes={"missing": "failed", "read": "upstream_failed", "existing": "succeeded", "read_2": "succeeded"},
        fails={"missing": "there is nothing at"},
    ),
)
