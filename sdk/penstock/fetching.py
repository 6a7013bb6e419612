"""The steps that take what exists already: the file or the folder that lies at a URI.

They are part of what is emitted where a pipeline calls `penstock.existing`. They run on Python 3.9; paths, ``file:``
and ``http:`` take the standard library alone, all else fsspec and the package that it has for the scheme.
"""

from __future__ import annotations

import importlib
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from penstock import Dataset, Markdown, Metrics, Model, Report, log_metadata

PATIENCE = 60  # seconds in which a server must say something
ASKED_IN_URL = "!#$%&'()*+,/:;=?@[]~"  # what stands in a URL as it is


def existing(uri: str, scheme: str = "") -> Path:
    """The file or the folder that lies at a URI."""
    found = fetched(uri, scheme, Path.cwd())
    log_metadata(uri=shown(uri)[:2000])
    return found


def existing_dataset(uri: str, scheme: str = "") -> Dataset[Path]:
    """The data that lie at a URI."""
    return existing(uri, scheme)


def existing_model(uri: str, scheme: str = "") -> Model[Path]:
    """The model that lies at a URI."""
    return existing(uri, scheme)


def existing_metrics(uri: str, scheme: str = "") -> Metrics[Path]:
    """The metrics that lie at a URI."""
    return existing(uri, scheme)


def existing_report(uri: str, scheme: str = "") -> Report[Path]:
    """The report that lies at a URI."""
    return existing(uri, scheme)


def existing_markdown(uri: str, scheme: str = "") -> Markdown[Path]:
    """The text that lies at a URI."""
    return existing(uri, scheme)


def fetched(uri: str, scheme: str, folder: Path) -> Path:
    """What lies at a URI, under its own name: where it is, if that is a path here, or else a copy in ``folder``.

    ``scheme`` is what the URI has to begin with, if it has to. Raises:
        FileNotFoundError: there is nothing.
        ValueError: this is no URI that a step can be given.
    """
    problem, begins = problem_of(uri, scheme), scheme_of(uri)
    if problem:
        raise ValueError(problem)
    if begins in ("", "file"):
        return on_this_machine(uri)
    target = folder / name_of(uri)
    read = download if begins in ("http", "https") else read_from_store
    read(uri, target)
    return target


def scheme_of(uri: str) -> str:
    """What a URI begins with, in lower case; empty for a path."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://|(?i:file):(?=/)", uri)
    return (match[1] or "file").lower() if match else ""


def problem_of(uri: str, expected: str = "") -> str:
    """Why a URI means nothing to a step, gives a secret away, or is not as ``expected``; empty if it is sound."""
    scheme = scheme_of(uri)
    if not scheme and not uri.startswith("/"):
        return f"{uri!r} is a relative path, and each step runs in a folder of its own"
    try:
        parts = urllib.parse.urlsplit(uri)
    except ValueError as error:
        return f"{uri!r} is no URI: {error}"
    if parts.password is not None or (parts.username is not None and scheme in ("http", "https", "s3", "gs")):
        return f"{shown(uri)} was given with credentials, which all could read who see the run"
    if scheme == "file" and parts.netloc not in ("", "localhost"):
        return f"{shown(uri)} is on another machine, {parts.netloc}"
    if expected and scheme != expected:
        return f"{shown(uri)} does not begin with {expected}://, as the pipeline says"
    return ""


def shown(uri: str) -> str:
    """A URI as it may be printed: without what lets people in."""
    parts = urllib.parse.urlsplit(uri)
    if not parts.scheme:
        return uri
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def name_of(uri: str) -> str:
    """The name that a URI gives to what lies there."""
    parts = urllib.parse.urlsplit(uri)
    is_page = parts.scheme.lower() in ("http", "https")
    name = Path(urllib.parse.unquote(parts.path) if is_page else parts.path.strip("/") or parts.netloc).name
    return "content" if name in ("", "..") else name


def nothing_at(uri: str) -> FileNotFoundError:
    """The error for a URI where there is nothing."""
    return FileNotFoundError(f"there is nothing at {shown(uri)}")


def on_this_machine(uri: str) -> Path:
    """The path that a URI is, or stands for."""
    path = Path(urllib.parse.unquote(urllib.parse.urlsplit(uri).path) if scheme_of(uri) else uri)
    if not path.exists():
        raise nothing_at(uri)
    return path


def download(uri: str, target: Path) -> None:
    """Writes what a server answers into a file."""
    request = urllib.request.Request(  # noqa: S310  # `fetched` has looked at the scheme
        urllib.parse.quote(uri, safe=ASKED_IN_URL), headers={"User-Agent": "penstock"}
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer, target.open("wb") as file:  # noqa: S310  # likewise
            shutil.copyfileobj(answer, file, 1 << 20)
            promised = answer.headers.get("Content-Length")
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (404, 410):
            raise nothing_at(uri) from None
        raise OSError(f"{shown(uri)} cannot be read: the server answered {error.code} {error.reason}") from None
    except OSError as error:
        raise OSError(f"{shown(uri)} cannot be read: {getattr(error, 'reason', error)}") from None
    if promised is not None and int(promised) != target.stat().st_size:
        raise OSError(f"{shown(uri)} broke off: {target.stat().st_size} of {promised} bytes came")


def read_from_store(uri: str, target: Path) -> None:
    """Copies an object, or all objects below a prefix, by fsspec."""
    try:  # a store of its own: one that was used before may remember what lay there then
        store, path = importlib.import_module("fsspec.core").url_to_fs(uri, skip_instance_cache=True)
    except (ImportError, ValueError) as error:
        fix = "say `scheme=` or `packages=` where the pipeline calls `existing`"
        raise ModuleNotFoundError(f"nothing here can read {shown(uri)} ({error}); {fix}") from None
    try:
        if store.isfile(path):
            store.get_file(path, str(target))
        else:
            copy_all(store, path, target)
    except FileNotFoundError:
        raise nothing_at(uri) from None
    except Exception as error:  # stores have errors of their own, which do not say what was asked for
        raise OSError(f"{shown(uri)} cannot be read: {str(error) or type(error).__name__}") from error


def copy_all(store: Any, path: str, target: Path) -> None:
    """Copies all objects below a prefix into a folder."""
    found = [(each, parts_below(path, each)) for each in store.find(path)]
    files = [(each, parts) for each, parts in found if parts]
    if not files:
        raise FileNotFoundError(path)
    for each, parts in files:
        file = target.joinpath(*parts)
        file.parent.mkdir(parents=True, exist_ok=True)
        store.get_file(each, str(file))


def parts_below(path: str, inner: str) -> list[str]:
    """The names that lead from a prefix to an object below it; none for what only stands for a folder."""
    names = inner[len(path.rstrip("/")) :].lstrip("/").split("/")
    if ".." in names:
        raise ValueError(f"the object {inner!r} has a name that leads out of its folder")
    return names if names[-1] else []
