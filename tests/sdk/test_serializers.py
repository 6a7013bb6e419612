import functools
import importlib.metadata
import importlib.util
import os
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest

from penstock.harness import find_type, load_artifact, save_artifact, type_name
from penstock.requirements import pinned
from penstock.serializers import (
    Markdown,
    Report,
    Serializer,
    requirements_of,
    roots_of,
    serializer_for,
    serializer_name,
    serializer_problem,
)
from penstock.types import type_of


class Net:
    def __init__(self, weight: float) -> None:
        self.weight = weight

    def save(self, path: Path) -> None:
        path.write_text(str(self.weight))


def save_net(net: Net, path: Path) -> None:
    path.write_text(str(net.weight))


def load_net(path: Path) -> Net:
    return Net(float(path.read_text()))


class Frame(pd.DataFrame):
    pass


MINE = Serializer(save_net, load_net, ".net")


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (pd.DataFrame, "parquet"),
        (Frame, "pickle"),
        (pd.Series, "pickle"),
        (np.ndarray, "npy"),
        (np.matrix, "pickle"),
        (Path, "path"),
        (Net, "pickle"),
        (object, "any"),
    ],
)
def test_a_class_has_the_serializer_that_brings_back_the_same_class(cls, name):
    assert serializer_for(cls) == name


def test_the_harness_writes_and_reads_with_an_authors_serializer(tmp_path):
    name = serializer_name(MINE, type_name)
    wire = save_artifact(Net(0.5), name, tmp_path, "net")
    assert (tmp_path / "net.net").read_text() == "0.5"
    wire["$artifact"]["file"] = str(tmp_path / wire["$artifact"]["file"])
    assert load_artifact(wire["$artifact"]).weight == 0.5


@pytest.mark.parametrize(("label", "name"), [(Report, "page.html"), (Markdown, "page.md")])
def test_a_text_to_look_at_is_written_as_it_is(label, name, tmp_path):
    text = "<h1>ä</h1>\r\n"
    wire = save_artifact(text, type_of(label[str], name_of=type_name).serializer, tmp_path, "page")
    assert (tmp_path / name).read_bytes() == text.encode()
    wire["$artifact"]["file"] = str(tmp_path / wire["$artifact"]["file"])
    assert load_artifact(wire["$artifact"]) == text


def test_a_text_that_no_file_can_hold_comes_back_all_the_same(tmp_path):
    wire = save_artifact("\ud800", "html", tmp_path, "page")
    assert wire["$artifact"]["format"] == "json"
    wire["$artifact"]["file"] = str(tmp_path / wire["$artifact"]["file"])
    assert load_artifact(wire["$artifact"]) == "\ud800"


def test_the_functions_of_a_serializer_travel_with_the_step():
    assert roots_of(MINE) == (save_net, load_net)
    save, load, _ = serializer_name(MINE, type_name).split(",")
    assert (find_type(save), find_type(load)) == roots_of(MINE)


def test_what_the_standard_library_defines_may_serialize():
    assert serializer_problem(Serializer(os.replace, os.stat, ".x")) == ""


@pytest.mark.parametrize(
    ("serializer", "word"),
    [
        (Serializer(lambda *_: None, load_net, ".net"), "lambda"),
        (Serializer(save_net, lambda _: None, ".net"), "`load`"),
        (Serializer(functools.partial(save_net), load_net, ".net"), "partial"),
        (Serializer(Net.save, load_net, ".net"), "top of a module"),
        (Serializer(Net(1.0).save, load_net, ".net"), "method"),
        (Serializer(save_net, load_net, "net"), "'net'"),
        (Serializer(save_net, load_net, "./net"), "'./net'"),
        (Serializer(save_net, load_net, ""), "extension"),
    ],
)
def test_a_serializer_that_cannot_be_carried_says_why(serializer, word):
    assert word in serializer_problem(serializer)


def test_a_function_in_a_function_cannot_be_carried():
    def save(net: Net, path: Path) -> None: ...

    assert "top of a module" in serializer_problem(Serializer(save, load_net, ".net"))


@pytest.mark.parametrize("annotation", [pd.DataFrame, list[pd.DataFrame], pd.Series, pd.DataFrame | None])
def test_a_data_frame_needs_pyarrow_as_installed(annotation):
    pinned = f"pyarrow=={importlib.metadata.version('pyarrow')}"
    assert requirements_of(type_of(annotation, name_of=type_name)) == (pinned,)


def test_other_types_need_nothing_more():
    for annotation in (int, np.ndarray, Net, Any, Annotated[Net, MINE]):
        assert requirements_of(type_of(annotation, name_of=type_name)) == ()


def test_a_companion_that_is_not_installed_is_not_required(monkeypatch):
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    pinned.cache_clear()
    monkeypatch.setattr(importlib.metadata, "version", version)
    try:
        assert requirements_of(type_of(pd.DataFrame, name_of=type_name)) == ()
    finally:
        pinned.cache_clear()
