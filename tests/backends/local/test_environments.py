"""Environments for steps with packages of their own: without a network, and when a run is stopped."""

from __future__ import annotations

import threading
import time

import pytest

from penstock_backends.local.environments import Installer, InstallError

# Stands in for uv: makes the folder, and installs only from its cache, or never comes to an end.
UV = """#!/bin/sh
echo "$@" >> {calls}
case "$1" in
  venv) for place; do :; done; mkdir -p "$place/bin" ;;
  pip) {pip} ;;
esac
"""
OFFLINE = 'case "$*" in *--offline*) ;; *) echo "no route to the index"; exit 2 ;; esac'


@pytest.fixture
def uv(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def made(pip: str):
        (folder / "uv").write_text(UV.format(calls=tmp_path / "calls", pip=pip))
        (folder / "uv").chmod(0o755)
        return tmp_path / "calls"

    return made


def test_what_the_cache_holds_is_installed_without_a_network_and_once(uv, tmp_path):
    calls = uv(OFFLINE)
    python = Installer(tmp_path / "made").python_with(["six==1.16.0"])
    assert python.parent.is_dir()
    assert Installer(tmp_path / "made").python_with(["six==1.16.0"]) == python
    assert [call.split()[0] for call in calls.read_text().splitlines()] == ["venv", "pip", "pip"]


def test_what_is_nowhere_is_told_as_the_index_said_it_and_tried_again_next_time(uv, tmp_path):
    calls = uv('echo "no such package"; exit 2')
    for _ in range(2):
        with pytest.raises(InstallError, match="no such package"):
            Installer(tmp_path / "made").python_with(["nowhere"])
    assert len(calls.read_text().splitlines()) == 6


def test_an_installer_ends_with_its_run(uv, tmp_path):
    calls = uv("exec sleep 60")
    installer = Installer(tmp_path / "made")
    errors = []

    def install():
        try:
            installer.python_with(["six"])
        except InstallError as error:
            errors.append(error)

    thread = threading.Thread(target=install)
    thread.start()
    deadline = time.monotonic() + 60
    while not (calls.exists() and "pip" in calls.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    installer.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert len(errors) == 1
