"""An import's distribution, pinned to what is installed here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from penstock import requirements
from penstock.requirements import needs_distribution, requirements_for

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution of which only the metadata exists."""
    monkeypatch.syspath_prepend(str(tmp_path))
    caches = (requirements._providers, requirements._contents, requirements.pinned)

    def add(name: str, number: str, *files: str, top_level: str = "") -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-{number}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")
        (folder / "RECORD").write_text("".join(f"{file},,\n" for file in files))
        for file in files:  # from Python 3.12 on, files that are listed but missing do not count
            path = folder.parent / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        if top_level:
            (folder / "top_level.txt").write_text(top_level)
        for cache in caches:
            cache.cache_clear()

    yield add
    for cache in caches:
        cache.cache_clear()


def test_an_import_is_pinned_to_the_installed_version() -> None:
    assert requirements_for("pydantic.fields") == (f"pydantic=={version('pydantic')}",)
    assert requirements_for("yaml") == (f"pyyaml=={version('pyyaml')}",)
    assert requirements_for("no_such_thing") == ()


def test_the_standard_library_and_penstock_need_nothing() -> None:
    assert not needs_distribution("os.path")
    assert not needs_distribution("penstock.spec")
    assert needs_distribution("numpy.linalg")


def test_names_are_normalised_and_local_versions_cut_off(install: Install) -> None:
    install("Torch_Like.Thing", "2.1.0+cpu", "torchlike/__init__.py")
    assert requirements_for("torchlike.nn") == ("torch-like-thing==2.1.0",)


def test_declared_top_levels_and_extension_modules_count(install: Install) -> None:
    install("declared", "1", top_level="made_of\n")
    install("compiled", "2", "fast.cpython-311-x86_64-linux-gnu.so", "compiled-2.dist-info/x.py", "../bin/tool.py")
    assert requirements_for("made_of") == ("declared==1",)
    assert requirements_for("fast") == ("compiled==2",)


def test_a_shared_package_is_told_apart_by_the_longest_part_of_the_name(install: Install) -> None:
    install("cloudy-storage", "3", "cloudy/api/storage/__init__.py", "cloudy/api/storage/client.py")
    install("cloudy-query", "4", "cloudy/api/query.py")
    assert requirements_for("cloudy.api.storage.client.Client") == ("cloudy-storage==3",)
    assert requirements_for("cloudy.api.query") == ("cloudy-query==4",)
    assert requirements_for("cloudy") == ("cloudy-query==4", "cloudy-storage==3")
