"""How an array comes back that a step returned."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from penstock.harness import load_artifact, save_artifact


def stored(values, folder):
    wire = save_artifact(values, "npy", folder, "values")["$artifact"]
    return {**wire, "file": str(folder / wire["file"])}


def base_of(array):
    while isinstance(array, np.ndarray):
        array = array.base
    return array


@pytest.mark.parametrize(
    "values",
    [
        np.arange(200_000, dtype=np.int64),
        np.asfortranarray(np.arange(200_000.0).reshape(400, 500)),
        np.zeros(100_000, dtype=[("a", "<i4"), ("b", "<f8")]),
        np.arange(3),
        np.array(2.5),
        np.zeros((0, 4)),
    ],
    ids=["long", "Fortran", "records", "short", "scalar", "empty"],
)
def test_an_array_comes_back_as_it_was_and_may_be_written_to(values, tmp_path):
    reference = stored(values, tmp_path)
    loaded = load_artifact(reference)
    assert type(loaded) is np.ndarray
    assert (loaded.dtype, loaded.shape, loaded.flags.f_contiguous) == (
        values.dtype,
        values.shape,
        values.flags.f_contiguous,
    )
    assert np.array_equal(loaded, values)
    loaded[...] = np.ones_like(values)
    assert np.array_equal(load_artifact(reference), values)


def test_a_large_array_is_mapped_and_a_small_one_is_read(tmp_path):
    assert isinstance(base_of(load_artifact(stored(np.zeros(1 << 17), tmp_path / "large"))), mmap.mmap)
    assert base_of(load_artifact(stored(np.zeros(8), tmp_path / "small"))) is None
