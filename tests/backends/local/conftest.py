from __future__ import annotations

import sys

import pytest


@pytest.fixture
def among_edits(tmp_path, monkeypatch):
    """A test that writes modules, edits and imports them again has a store of its own; Python keeps nothing of them.

    It knows a compiled module by seconds and size, so of two edits within a second it would run the first.
    """
    monkeypatch.setenv("PENSTOCK_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", [*sys.path])
