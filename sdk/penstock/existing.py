"""What exists already, at a URI, as a value of a pipeline."""

from __future__ import annotations

import atexit
import datetime as dt
import shutil
import tempfile
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.authoring import Step
from penstock.diagnostics import DefinitionError, Diagnostic, did_you_mean
from penstock.harness import ArtifactLabel
from penstock.placeholders import Placeholder
from penstock.programs import Authored
from penstock.settings import Resources, Retry
from penstock.sources import CallSite, call_site
from penstock.spec import EXISTING, ParameterBinding, Settings
from penstock.tracing import Call, Trace, current_trace

# The distributions that fsspec needs in order to read what begins so.
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "": (),
    "file": (),
    "http": (),
    "https": (),
    "s3": ("s3fs",),
    "gs": ("gcsfs",),
    "az": ("adlfs",),
    "abfs": ("adlfs",),
    "abfss": ("adlfs",),
    "hdfs": ("fsspec", "pyarrow"),
    "sftp": ("fsspec", "paramiko"),
    "ftp": ("fsspec",),
    "hf": ("huggingface-hub",),
}
_SIGNATURES = {"x-amz-signature", "x-goog-signature", "signature", "sig"}  # of URLs that let in whoever has them


def existing(
    uri: str,
    kind: object = Path,
    *,
    scheme: str = "",
    name: str | None = None,
    after: Iterable[object] | object = (),
    retry: Retry | int | None = None,
    timeout: float | dt.timedelta | None = None,
    resources: Resources | None = None,
    env: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    packages: Sequence[str] | None = None,
    image: str | None = None,
    cache: bool = False,
) -> Path:
    """The file, or the folder, that lies at a URI when the run gets there.

    In a pipeline it is a node as that of a step; outside of one, it is read at once. What lies there must stay as it is
    for as long as the run may read it.

    Args:
        uri: an absolute path, or a URI with ``file``, ``http``, ``https``, or a scheme that fsspec knows (``s3``,
            ``gs``, ``abfs`` ...). It may be a parameter, an output of a step, or an item of a loop.
        kind: ``Path``, or a labelled one, such as ``Dataset[Path]``.
        scheme: what ``uri`` begins with, where that is known only when the pipeline runs: ``"s3"``. The packages for it
            are then there, and a URI that begins otherwise fails.
        name: what the node is called; ``existing`` by default, numbered.
        after: results of other steps or pipelines to wait for, though nothing of them is taken.
        retry: as for `step`.
        timeout: as for `step`.
        resources: as for `step`.
        env: as for `step`, for instance ``{"FSSPEC_S3_ENDPOINT_URL": "https://objects.example"}``.
        secrets: as for `step`; the store's own variables, such as ``AWS_SECRET_ACCESS_KEY``.
        packages: as for `step`; any scheme is taken then.
        image: as for `step`.
        cache: take the URI for what lies there: what was read from it once is not looked at again.

    Raises:
        DefinitionError: no step could read this URI, wherever it runs.
        FileNotFoundError: outside of a pipeline, there is nothing.
    """
    from penstock import fetching  # noqa: PLC0415  # it takes its labels from the whole package

    trace, site = current_trace(), call_site("existing")
    function = getattr(fetching, _function_for(kind, site))
    if trace is None:
        folder = Path(tempfile.mkdtemp(prefix="existing-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return fetching.fetched(uri, scheme, folder)
    begins = scheme or fetching.scheme_of(_expected(uri, trace))
    if isinstance(uri, str):
        trace.problems.extend(_problems(fetching, uri, begins, site))
    if begins not in _NEEDED and packages is None and (scheme or isinstance(uri, str)):
        trace.problems.append(_unknown(begins, site))
    authored = Authored(function, "existing", provided=EXISTING, requires=_NEEDED.get(begins, ()))
    step: Step[..., Path] = Step(Call(authored, Settings(cache=False)))
    called = step.with_options(
        name=name,
        after=after,
        retry=retry,
        timeout=timeout,
        resources=resources,
        env=env,
        secrets=secrets,
        packages=packages,
        image=image,
        cache=cache,
    )
    return called(uri, scheme) if scheme else called(uri)


def _function_for(kind: object, site: CallSite) -> str:
    """The name of the function that gives this kind of artifact."""
    labels: tuple[object, ...] = getattr(kind, "__metadata__", ())
    if kind is Path:
        return "existing"
    if len(labels) == 1 and isinstance(labels[0], ArtifactLabel) and getattr(kind, "__origin__", None) is Path:
        return f"existing_{labels[0].name.lower()}"
    message = f"`existing` gives a Path, and not {_named(kind):.60}"
    fix = "take `Path`, or `Dataset[Path]` and the like, and read the file in the step that uses it"
    raise DefinitionError(Diagnostic("P221", message, site.location(site.argument("kind", 1)), fix))


def _named(kind: object) -> str:
    """An annotation as its author wrote it: ``Dataset[DataFrame]``."""
    labels = [each.name for each in getattr(kind, "__metadata__", ()) if isinstance(each, ArtifactLabel)]
    plain = getattr(kind, "__origin__", kind) if labels else kind
    name = getattr(plain, "__name__", str(plain))
    return f"{labels[0]}[{name}]" if labels else name


def _expected(uri: object, trace: Trace) -> str:
    """The URI, or, of a parameter, what it is by default; empty where that cannot be told."""
    if isinstance(uri, Placeholder) and isinstance(uri.__penstock__.binding, ParameterBinding):
        uri = trace.defaults.get(uri.__penstock__.binding.name)
    return uri if isinstance(uri, str) else ""


def _problems(fetching: Any, uri: str, scheme: str, site: CallSite) -> Iterator[Diagnostic]:
    """What is wrong with a URI that is written in a pipeline, and is to begin with ``scheme``."""
    place, message = site.location(site.argument("uri", 0)), fetching.problem_of(uri, scheme)
    if message:
        yield Diagnostic("P220", f"`existing` cannot read this: {message}", place, _fix_of(fetching, uri))
    elif _SIGNATURES & {name.lower() for name in urllib.parse.parse_qs(urllib.parse.urlsplit(uri).query)}:
        message = f"the URL of {fetching.shown(uri)} is signed: it lets in whoever reads it"
        yield Diagnostic("P220", message, place, "take it as a parameter of the pipeline")


def _fix_of(fetching: Any, uri: str) -> str:
    if not fetching.problem_of(uri):
        return "leave `scheme=` out: this URI says itself what it begins with"
    return "name secrets that let the step in: `secrets=`" if "@" in uri else "write an absolute path, or a URI"


def _unknown(scheme: str, site: CallSite) -> Diagnostic:
    known = sorted(filter(None, _NEEDED))
    fix = did_you_mean(scheme, known, otherwise="say what package reads it, `packages=[...]`; known without: {}")
    return Diagnostic("P220", f"`existing` does not know what reads {scheme}://", site.location(), fix)
